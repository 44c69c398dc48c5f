/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl_view.c - the rules of one client: two layers, asked one after the other.
 *
 *	layer 0   the `topic` lines of the user         (shared by the user's connections)
 *	layer 1   the `pattern` lines without %c and %u (shared by all connections)
 *	          and those with, filled in             (the view's own)
 *
 * In a layer a deny beats what grants; what layer 0 grants, layer 1 does not take away. A view has
 * no layer 1 when the client's id or name could act as a wildcard in it.
 */
#include <stdlib.h>

#include "auth/acl_file.h"
#include "auth/acl_rules.h"
#include "auth/acl_sections.h"
#include "base/log.h"
#include "base/memory.h"
#include "mqtt/topic.h"

/* Owner: the connection's worker. */
struct acl_view {
	struct acl_file *acl;		  /* one reference; keeps what the next two point to */
	const struct acl_rules *user;	  /* layer 0; NULL: no rules */
	const struct acl_rules *patterns; /* layer 1; NULL: no rules */
	struct acl_rules *own;		  /* layer 1, of this client; NULL: no rules */
};

static bool holds_wildcard(struct slice text)
{
	return topic_filter_has_wildcard(text);
}

static bool holds_slash(struct slice text)
{
	return text.len > 0 && memchr(text.data, '/', text.len);
}

static bool is_placeholder(struct slice text, size_t at, char letter)
{
	return at + 1 < text.len && text.data[at] == '%' && text.data[at + 1] == (uint8_t)letter;
}

static bool uses(struct slice pattern, char letter)
{
	for (size_t i = 0; i < pattern.len; i++)
		if (is_placeholder(pattern, i, letter))
			return true;
	return false;
}

/* Writes the pattern with the subject's names into out, or only counts when out is NULL. */
static size_t substitute(struct slice pattern, const struct acl_subject *subject, uint8_t *out)
{
	size_t length = 0;

	for (size_t i = 0; i < pattern.len; i++) {
		struct slice piece = slice_of(&pattern.data[i], 1);
		bool is_client_id = is_placeholder(pattern, i, 'c');

		if (is_client_id || is_placeholder(pattern, i, 'u')) {
			piece = is_client_id ? subject->client_id : subject->username;
			i++; /* the letter behind '%' */
		}
		if (out && piece.len)
			memcpy(out + length, piece.data, piece.len);
		length += piece.len;
	}
	return length;
}

/*
 * Would this pattern, filled in, grant topics that its author did not mean? The client chooses its
 * id: with "a/cmd" it would reach under "devices/%c" what belongs to the device "a", and with
 * "$SYS" under "%c/#" the broker's own topics. A user name was given out by whoever made the
 * password file, and names like "tenant/device" are in use: only the '$' counts there.
 */
static bool widens(struct slice pattern, struct slice filled, const struct acl_subject *subject)
{
	if (filled.len > 0 && filled.data[0] == '$' && pattern.data[0] != '$')
		return true;
	return uses(pattern, 'c') && holds_slash(subject->client_id);
}

static void log_left_out(const struct acl_file *acl, const struct acl_subject *subject,
			 const char *what)
{
	struct log_fields fields = {.client_id = subject->client_id};

	if (subject->has_username)
		fields.user = subject->username;
	log_event(LOG_TYPE_NOTICE, &fields, "%s: %s", acl_file_name(acl), what);
}

struct filling {
	struct acl_rule *rules; /* filters point into text */
	uint8_t *text;
	size_t count, used;
	bool left_out;
};

static void fill_in(struct filling *filling, const struct acl_rule *pattern,
		    const struct acl_subject *subject)
{
	struct slice filter;

	if (!subject->has_username && uses(pattern->filter, 'u'))
		return;
	filter.data = filling->text + filling->used;
	filter.len = substitute(pattern->filter, subject, filling->text + filling->used);
	if (!(pattern->bits & ACL_BIT_DENY) && widens(pattern->filter, filter, subject)) {
		filling->left_out = true;
		return;
	}
	/* Longer than a Topic Name can be, or empty: there is nothing that it could match. */
	if (!topic_filter_is_valid(filter))
		return;
	filling->used += filter.len;
	filling->rules[filling->count++] = (struct acl_rule){filter, pattern->bits};
}

static size_t filled_bytes(const struct acl_file *acl, const struct acl_subject *subject)
{
	size_t bytes = 1;

	for (size_t i = 0; i < acl_file_pattern_count(acl); i++)
		bytes += substitute(acl_file_pattern_at(acl, i).filter, subject, NULL);
	return bytes;
}

static enum err fill_patterns(struct acl_view *view, const struct acl_subject *subject)
{
	size_t count = acl_file_pattern_count(view->acl);
	struct filling filling = {0};
	enum err err = ERR_NOMEM;

	if (count == 0)
		return ERR_NONE;
	filling.rules = calloc(count, sizeof *filling.rules);
	filling.text = malloc(filled_bytes(view->acl, subject));
	if (filling.rules && filling.text) {
		for (size_t i = 0; i < count; i++) {
			struct acl_rule pattern = acl_file_pattern_at(view->acl, i);

			fill_in(&filling, &pattern, subject);
		}
		err = acl_rules_compile(filling.rules, filling.count, &view->own);
	}
	free(filling.rules);
	free(filling.text);
	if (filling.left_out)
		log_left_out(view->acl, subject,
			     "patterns that would get a '/' from this client's id, or a '$' in "
			     "front, grant it nothing");
	return err;
}

static enum err bind_patterns(struct acl_view *view, const struct acl_subject *subject)
{
	const struct acl_rules *common = acl_file_common_patterns(view->acl);

	if (!common && acl_file_pattern_count(view->acl) == 0)
		return ERR_NONE;
	if (holds_wildcard(subject->client_id) ||
	    (subject->has_username && holds_wildcard(subject->username))) {
		log_left_out(view->acl, subject,
			     "no pattern grants anything to this client, because its id or user "
			     "name holds a '+' or '#'");
		return ERR_NONE;
	}
	view->patterns = common;
	return fill_patterns(view, subject);
}

static size_t view_bytes(const struct acl_view *view)
{
	return sizeof *view + acl_rules_bytes(view->own);
}

enum err acl_view_create(struct acl_file *acl, const struct acl_subject *subject,
			 struct acl_view **out)
{
	struct acl_view *view;
	enum err err;

	*out = NULL;
	if (!acl)
		return ERR_NONE;
	view = calloc(1, sizeof *view);
	if (!view)
		return ERR_NOMEM;
	view->acl = acl_file_ref(acl);
	view->user = acl_file_user_rules(acl, subject->has_username, subject->username);
	err = bind_patterns(view, subject);
	memory_charge(MEMORY_SESSION, view_bytes(view));
	if (err)
		acl_view_destroy(&view);
	*out = view;
	return err;
}

void acl_view_destroy(struct acl_view **view)
{
	struct acl_view *gone = *view;

	*view = NULL;
	if (!gone)
		return;
	memory_uncharge(MEMORY_SESSION, view_bytes(gone));
	acl_rules_destroy(&gone->own);
	acl_file_unref(&gone->acl);
	free(gone);
}

static bool is_permitted(const struct acl_view *view, struct slice topic, unsigned access)
{
	unsigned bits;

	if (!view)
		return true;
	bits = acl_rules_match(view->user, topic);
	if (bits & ACL_BIT_DENY)
		return false;
	if (bits & access)
		return true;
	bits = acl_rules_match(view->patterns, topic) | acl_rules_match(view->own, topic);
	return !(bits & ACL_BIT_DENY) && (bits & access);
}

bool acl_view_may_publish(const struct acl_view *view, struct slice topic)
{
	return is_permitted(view, topic, ACL_BIT_WRITE);
}

bool acl_view_may_read(const struct acl_view *view, struct slice topic)
{
	return is_permitted(view, topic, ACL_BIT_READ);
}

/* Is there a rule with this bit whose topics relate to filter in this way? */
typedef bool (*filter_relation)(struct slice rule, struct slice filter);

static bool any_rule(const struct acl_rules *rules, unsigned bit, filter_relation relation,
		     struct slice filter)
{
	for (size_t i = 0; i < acl_rules_count(rules); i++) {
		struct acl_rule rule = acl_rules_at(rules, i);

		if ((rule.bits & bit) && relation(rule.filter, filter))
			return true;
	}
	return false;
}

static bool any_pattern(const struct acl_view *view, unsigned bit, filter_relation relation,
			struct slice filter)
{
	return any_rule(view->patterns, bit, relation, filter) ||
	       any_rule(view->own, bit, relation, filter);
}

static bool reads_all(const struct acl_view *view, struct slice filter)
{
	if (any_rule(view->user, ACL_BIT_DENY, topic_filters_overlap, filter))
		return false;
	if (any_rule(view->user, ACL_BIT_READ, topic_filter_covers, filter))
		return true;
	return any_pattern(view, ACL_BIT_READ, topic_filter_covers, filter) &&
	       !any_pattern(view, ACL_BIT_DENY, topic_filters_overlap, filter);
}

/*
 * May a rule of this set let the client read something that filter matches? Not when it has no
 * topic in common with filter, or when a single deny takes away all that it grants. Several denies
 * that only together do so are not found: the answer is then a yes that no delivery makes use of.
 */
static bool may_read_some(const struct acl_view *view, const struct acl_rules *rules,
			  bool is_pattern, struct slice filter)
{
	for (size_t i = 0; i < acl_rules_count(rules); i++) {
		struct acl_rule rule = acl_rules_at(rules, i);

		if (!(rule.bits & ACL_BIT_READ) || !topic_filters_overlap(rule.filter, filter))
			continue;
		if (any_rule(view->user, ACL_BIT_DENY, topic_filter_covers, rule.filter))
			continue;
		if (is_pattern && any_pattern(view, ACL_BIT_DENY, topic_filter_covers, rule.filter))
			continue;
		return true;
	}
	return false;
}

static bool reads_some(const struct acl_view *view, struct slice filter)
{
	if (any_rule(view->user, ACL_BIT_DENY, topic_filter_covers, filter))
		return false;
	if (may_read_some(view, view->user, false, filter))
		return true;
	if (any_pattern(view, ACL_BIT_DENY, topic_filter_covers, filter))
		return false;
	return may_read_some(view, view->patterns, true, filter) ||
	       may_read_some(view, view->own, true, filter);
}

enum acl_scope acl_view_read_scope(const struct acl_view *view, struct slice filter)
{
	if (!view)
		return ACL_SCOPE_ALL;
	if (!topic_filter_has_wildcard(filter))
		return acl_view_may_read(view, filter) ? ACL_SCOPE_ALL : ACL_SCOPE_NONE;
	if (reads_all(view, filter))
		return ACL_SCOPE_ALL;
	return reads_some(view, filter) ? ACL_SCOPE_PART : ACL_SCOPE_NONE;
}
