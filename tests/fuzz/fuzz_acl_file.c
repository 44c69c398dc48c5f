/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A subject (client id, user name), a Topic Name and a Topic Filter on a line each, then the text of
 * an acl_file. Whatever the rules are: what a view claims to have proven about the filter must hold
 * for the name, and nothing may be granted that no line grants.
 */
#include "auth/acl_file.h"
#include "base/log.h"
#include "fuzz/support.h"
#include "mqtt/topic.h"

static struct slice take_line(struct slice *rest)
{
	const uint8_t *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
	struct slice line = *rest;

	line.len = end ? (size_t)(end - rest->data) : rest->len;
	rest->data += end ? line.len + 1 : line.len;
	rest->len -= end ? line.len + 1 : line.len;
	return line;
}

static bool holds(struct slice text, const char *word)
{
	return text.len > 0 && memmem(text.data, text.len, word, strlen(word));
}

static void check_view(const struct acl_view *view, struct slice name, struct slice filter,
		       struct slice text)
{
	bool reads = acl_view_may_read(view, name);
	bool writes = acl_view_may_publish(view, name);
	enum acl_scope scope = acl_view_read_scope(view, filter);

	if (!holds(text, "topic") && !holds(text, "pattern"))
		FUZZ_ASSERT(!reads && !writes && scope == ACL_SCOPE_NONE);
	FUZZ_ASSERT(acl_view_read_scope(view, name) == (reads ? ACL_SCOPE_ALL : ACL_SCOPE_NONE));
	if (!topic_matches_filter(name, filter))
		return;
	if (scope == ACL_SCOPE_ALL)
		FUZZ_ASSERT(reads);
	if (scope == ACL_SCOPE_NONE)
		FUZZ_ASSERT(!reads);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size);
	struct acl_subject subject = {.client_id = take_line(&rest)};
	struct slice name, filter;
	struct err_detail detail = {0};
	struct acl_file *acl;
	struct acl_view *view;

	log_types_enabled = 0; /* a line per input would be all that the fuzzer does */
	subject.username = take_line(&rest);
	subject.has_username = subject.username.len > 0;
	name = take_line(&rest);
	filter = take_line(&rest);
	if (acl_file_parse(rest, "acl", &acl, &detail) != ERR_NONE) {
		FUZZ_ASSERT(!acl && strncmp(detail.text, "acl:", 4) == 0);
		return 0;
	}
	FUZZ_ASSERT(acl_view_create(acl, &subject, &view) == ERR_NONE && view);
	acl_file_unref(&acl);
	if (topic_name_is_valid(name) && topic_filter_is_valid(filter))
		check_view(view, name, filter, rest);
	acl_view_destroy(&view);
	return 0;
}
