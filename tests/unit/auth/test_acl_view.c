/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "auth/acl_file.h"
#include "base/memory.h"
#include "mqtt/topic.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The view keeps the rules alive by itself. user NULL: no user name. */
static struct acl_view *bind(const char *text, const char *client_id, const char *user)
{
	struct acl_subject subject = {
		.client_id = slice_from_string(client_id),
		.has_username = user != NULL,
		.username = slice_from_string(user),
	};
	struct err_detail detail = {0};
	struct acl_view *view;
	struct acl_file *acl;

	if (acl_file_parse(slice_from_string(text), "acl", &acl, &detail) != ERR_NONE)
		fail_msg("%s", detail.text);
	assert_int_equal(acl_view_create(acl, &subject, &view), ERR_NONE);
	acl_file_unref(&acl);
	assert_non_null(view);
	return view;
}

static bool reads(const struct acl_view *view, const char *topic)
{
	return acl_view_may_read(view, slice_from_string(topic));
}

static bool writes(const struct acl_view *view, const char *topic)
{
	return acl_view_may_publish(view, slice_from_string(topic));
}

static enum acl_scope scope(const struct acl_view *view, const char *filter)
{
	return acl_view_read_scope(view, slice_from_string(filter));
}

static enum acl_scope scope_of(const char *text, const char *filter)
{
	struct acl_view *view = bind(text, "id", "user");
	enum acl_scope result = scope(view, filter);

	acl_view_destroy(&view);
	return result;
}

static void without_an_acl_file_everything_is_allowed(void **unused)
{
	struct acl_subject subject = {.client_id = SLICE_LITERAL("c")};
	struct acl_view *view = (void *)(uintptr_t)1;

	(void)unused;
	assert_int_equal(acl_view_create(NULL, &subject, &view), ERR_NONE);
	assert_null(view);
	assert_true(reads(view, "$SYS/x"));
	assert_true(writes(view, "a"));
	assert_int_equal(scope(view, "#"), ACL_SCOPE_ALL);
	acl_view_destroy(&view);
}

static void with_an_acl_file_what_nothing_grants_is_refused(void **unused)
{
	struct acl_view *view = bind("", "c", NULL);

	(void)unused;
	assert_false(reads(view, "a"));
	assert_false(writes(view, "a"));
	assert_int_equal(scope(view, "#"), ACL_SCOPE_NONE);
	acl_view_destroy(&view);
}

static void first_section_is_for_clients_without_a_name_only(void **unused)
{
	static const char text[] = "topic read free/#\nuser bob\ntopic write bobs\n";
	struct acl_view *nameless = bind(text, "c", NULL);
	struct acl_view *bob = bind(text, "c", "bob");
	struct acl_view *eve = bind(text, "c", "eve");

	(void)unused;
	assert_true(reads(nameless, "free/a"));
	assert_false(writes(nameless, "free/a"));
	assert_false(writes(nameless, "bobs"));
	assert_true(writes(bob, "bobs"));
	assert_false(reads(bob, "bobs"));
	assert_false(reads(bob, "free/a"));
	assert_false(reads(eve, "free/a"));
	assert_false(writes(eve, "bobs"));
	acl_view_destroy(&nameless);
	acl_view_destroy(&bob);
	acl_view_destroy(&eve);
}

static void deny_beats_a_grant_of_its_layer_wherever_it_stands(void **unused)
{
	struct acl_view *view = bind("user u\ntopic readwrite a/#\ntopic deny a/secret/#\n"
				     "pattern readwrite p/%u/#\npattern deny p/%u/x\n",
				     "c", "u");

	(void)unused;
	assert_true(reads(view, "a/b"));
	assert_false(reads(view, "a/secret"));
	assert_false(writes(view, "a/secret/b"));
	assert_true(writes(view, "p/u/y"));
	assert_false(reads(view, "p/u/x"));
	assert_false(writes(view, "p/u/x"));
	acl_view_destroy(&view);
}

/* Seen so on mosquitto 2.0.11. */
static void what_the_users_topics_grant_no_pattern_takes_away(void **unused)
{
	struct acl_view *view = bind("user u\ntopic read a/#\ntopic deny q\npattern deny a/b\n"
				     "pattern deny a/%c\npattern readwrite q\n",
				     "c", "u");

	(void)unused;
	assert_true(reads(view, "a/b"));
	assert_true(reads(view, "a/c"));
	assert_false(writes(view, "a/b"));
	assert_false(reads(view, "q")); /* the user's deny does hold against patterns */
	acl_view_destroy(&view);
}

static void leading_wildcards_leave_dollar_topics_alone(void **unused)
{
	struct acl_view *view = bind("topic #\ntopic +/x\npattern +/%c\n", "c", NULL);
	struct acl_view *explicit = bind("topic read $SYS/#\n", "c", NULL);

	(void)unused;
	assert_true(reads(view, "any/thing"));
	assert_false(reads(view, "$SYS/x"));
	assert_false(reads(view, "$SYS/c"));
	assert_false(writes(view, "$SYS"));
	assert_int_equal(scope(view, "#"), ACL_SCOPE_ALL);
	assert_int_equal(scope(view, "$SYS/#"), ACL_SCOPE_NONE);
	assert_true(reads(explicit, "$SYS/broker/uptime"));
	assert_int_equal(scope(explicit, "$SYS/#"), ACL_SCOPE_ALL);
	assert_int_equal(scope(explicit, "#"), ACL_SCOPE_NONE);
	acl_view_destroy(&view);
	acl_view_destroy(&explicit);
}

static void placeholders_are_filled_in(void **unused)
{
	static const char text[] = "pattern readwrite dev/%c/#\npattern read u/%u\n"
				   "pattern write both/%u-%c/%%x\npattern read %c%c/c\n";
	struct acl_view *named = bind(text, "d1", "bob");
	struct acl_view *nameless = bind(text, "d2", NULL);

	(void)unused;
	assert_true(writes(named, "dev/d1/state"));
	assert_false(writes(named, "dev/d2/state"));
	assert_false(writes(named, "dev/%c/state"));
	assert_true(reads(named, "u/bob"));
	assert_true(writes(named, "both/bob-d1/%%x"));
	assert_true(reads(named, "d1d1/c"));
	assert_true(reads(nameless, "dev/d2"));
	assert_false(reads(nameless, "u/"));
	assert_false(reads(nameless, "u/%u"));
	acl_view_destroy(&named);
	acl_view_destroy(&nameless);
}

static void ids_with_wildcards_get_nothing_from_patterns(void **unused)
{
	static const char text[] =
		"user +\ntopic read own\nuser u\ntopic read own\npattern readwrite dev/%c/#\n"
		"pattern read u/%u\npattern read all\n";
	static const char *const dangerous[][2] = {{"+", "u"},
						   {"#", "u"},
						   {"a+b", "u"},
						   {"c", "+"}};

	(void)unused;
	for (size_t i = 0; i < COUNT(dangerous); i++) {
		struct acl_view *view = bind(text, dangerous[i][0], dangerous[i][1]);

		assert_false(reads(view, "dev/other/x"));
		assert_false(reads(view, "u/bob"));
		assert_false(reads(view, "all")); /* as mosquitto: no pattern counts */
		assert_true(reads(view, "own"));
		assert_int_equal(scope(view, "dev/#"), ACL_SCOPE_NONE);
		acl_view_destroy(&view);
	}
}

static void slash_in_a_client_id_adds_no_levels(void **unused)
{
	static const char text[] = "pattern readwrite dev/%c\npattern read all/#\n"
				   "pattern deny all/%c\npattern readwrite t/%u/#\n";
	struct acl_view *view = bind(text, "a/cmd", "tenant/bob");

	(void)unused;
	assert_false(writes(view, "dev/a/cmd"));
	assert_true(reads(view, "all/a"));
	assert_false(reads(view, "all/a/cmd")); /* what denies still denies */
	assert_true(writes(view, "t/tenant/bob/x"));
	assert_false(writes(view, "t/tenant/eve/x"));
	acl_view_destroy(&view);
}

static void dollar_in_front_opens_no_dollar_topics(void **unused)
{
	static const char text[] = "pattern readwrite %c/#\npattern readwrite x/%c/#\n"
				   "pattern readwrite %u/u\n";
	struct acl_view *view = bind(text, "$SYS", "$own");

	(void)unused;
	assert_false(reads(view, "$SYS/broker/uptime"));
	assert_true(reads(view, "x/$SYS/y"));
	assert_false(reads(view, "$own/u"));
	acl_view_destroy(&view);
}

static void scope_is_all_when_one_grant_covers_and_no_deny_touches(void **unused)
{
	(void)unused;
	assert_int_equal(scope_of("user user\ntopic read a/#\n", "a/+/c"), ACL_SCOPE_ALL);
	assert_int_equal(scope_of("user user\ntopic read a/#\n", "a"), ACL_SCOPE_ALL);
	assert_int_equal(scope_of("user user\ntopic write a/#\n", "a/+"), ACL_SCOPE_NONE);
	assert_int_equal(scope_of("user user\ntopic read a/#\n", "#"), ACL_SCOPE_PART);
	assert_int_equal(scope_of("user user\ntopic read a/b\n", "a/+"), ACL_SCOPE_PART);
	assert_int_equal(scope_of("pattern read dev/%c/#\n", "dev/id/+"), ACL_SCOPE_ALL);
	assert_int_equal(scope_of("pattern read dev/%c/#\n", "dev/+/x"), ACL_SCOPE_PART);
	assert_int_equal(scope_of("pattern read dev/%c/#\n", "dev/od/+"), ACL_SCOPE_NONE);
	assert_int_equal(scope_of("user user\ntopic read a/#\ntopic deny a/x\n", "a/+"),
			 ACL_SCOPE_PART);
	assert_int_equal(scope_of("user user\ntopic read a/#\ntopic deny a/x\n", "a/+/b"),
			 ACL_SCOPE_ALL);
	/* A pattern's deny does not touch what the user's topics grant. */
	assert_int_equal(scope_of("user user\ntopic read a/#\npattern deny a/x\n", "a/+"),
			 ACL_SCOPE_ALL);
	assert_int_equal(scope_of("pattern read a/#\npattern deny a/%c\n", "a/+"), ACL_SCOPE_PART);
}

static void scope_is_none_when_nothing_can_be_read(void **unused)
{
	(void)unused;
	assert_int_equal(scope_of("user user\ntopic read a/#\ntopic deny a/b/#\n", "a/b/+"),
			 ACL_SCOPE_NONE);
	assert_int_equal(scope_of("user user\ntopic read a/b\ntopic deny a/+\n", "#"),
			 ACL_SCOPE_NONE);
	assert_int_equal(scope_of("pattern read a/b\nuser user\ntopic deny a/#\n", "a/#"),
			 ACL_SCOPE_NONE);
	assert_int_equal(scope_of("pattern read a/b\npattern deny a/+\n", "#"), ACL_SCOPE_NONE);
	assert_int_equal(scope_of("user user\ntopic read a/b\npattern deny a/+\n", "#"),
			 ACL_SCOPE_PART);
	assert_int_equal(scope_of("pattern read a/#\npattern deny a/b/#\n", "a/b/+"),
			 ACL_SCOPE_NONE);
}

/*
 * Random sets of rules and filters over a small world of topics: a scope that claims to be proven
 * is compared with the answers for each topic. The numbers come from a fixed seed.
 */
static uint32_t random_state = 20240611;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % limit;
}

static void random_text(char *out, const char *const *names, uint32_t count)
{
	uint32_t depth = 1 + random_below(3);

	out[0] = '\0';
	for (uint32_t level = 0; level < depth; level++) {
		const char *name = names[random_below(count)];

		strcat(out, level ? "/" : "");
		strcat(out, name);
		if (name[0] == '#')
			return;
	}
}

static void random_rules(char *out)
{
	static const char *const words[] = {"read", "write", "deny", "readwrite"};
	static const char *const names[] = {"a", "b", "+", "#", "$s", "%c"};
	uint32_t count = 1 + random_below(5);
	char filter[32];

	strcpy(out, "user user\n");
	for (uint32_t i = 0; i < count; i++) {
		bool is_pattern = random_below(2);

		/* "%c" is the last name: a topic does without it. */
		random_text(filter, names, COUNT(names) - !is_pattern);
		sprintf(out + strlen(out), "%s %s %s\n", is_pattern ? "pattern" : "topic",
			words[random_below(COUNT(words))], filter);
	}
}

/* All topics of one to three levels; "z" stands for every name that no rule mentions. */
static size_t all_topics(char (*out)[16])
{
	static const char *const names[] = {"a", "b", "$s", "id", "z"};
	size_t count = 0, total = 1;

	for (unsigned depth = 1; depth <= 3; depth++) {
		total *= COUNT(names);
		for (size_t i = 0; i < total; i++) {
			size_t rest = i;

			out[count][0] = '\0';
			for (unsigned level = 0; level < depth; level++) {
				strcat(out[count], level ? "/" : "");
				strcat(out[count], names[rest % COUNT(names)]);
				rest /= COUNT(names);
			}
			count++;
		}
	}
	return count;
}

static void proven_scopes_hold_for_every_topic(void **unused)
{
	static const char *const names[] = {"a", "b", "+", "#", "$s", "id"};
	static char topics[200][16];
	size_t topic_count = all_topics(topics);
	unsigned seen[3] = {0};

	(void)unused;
	for (int round = 0; round < 20000; round++) {
		char rules[512], filter[32];
		struct acl_view *view;
		enum acl_scope found;

		random_rules(rules);
		random_text(filter, names, COUNT(names));
		view = bind(rules, "id", "user");
		found = scope(view, filter);
		seen[found]++;
		for (size_t i = 0; i < topic_count && found != ACL_SCOPE_PART; i++)
			if (topic_matches_filter(slice_from_string(topics[i]),
						 slice_from_string(filter)) &&
			    reads(view, topics[i]) != (found == ACL_SCOPE_ALL))
				fail_msg("%s: %s is not scope %d of\n%s", filter, topics[i],
					 (int)found, rules);
		acl_view_destroy(&view);
	}
	assert_true(seen[ACL_SCOPE_ALL] > 500);
	assert_true(seen[ACL_SCOPE_PART] > 500);
	assert_true(seen[ACL_SCOPE_NONE] > 500);
}

static void view_gives_its_memory_back(void **unused)
{
	uint64_t before = memory_used(MEMORY_SESSION);
	struct acl_view *view = bind("pattern read dev/%c/#\n", "d1", NULL);

	(void)unused;
	assert_true(memory_used(MEMORY_SESSION) > before);
	acl_view_destroy(&view);
	assert_null(view);
	assert_int_equal(memory_used(MEMORY_SESSION), before);
}

static void pattern_that_becomes_too_long_matches_nothing(void **unused)
{
	char *id = calloc(1, 40001);
	struct acl_view *view;

	(void)unused;
	memset(id, 'x', 40000);
	view = bind("pattern read %c/%c\npattern read a\n", id, NULL);
	assert_true(reads(view, "a"));
	assert_false(reads(view, id));
	acl_view_destroy(&view);
	free(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_acl_file_everything_is_allowed),
		cmocka_unit_test(with_an_acl_file_what_nothing_grants_is_refused),
		cmocka_unit_test(first_section_is_for_clients_without_a_name_only),
		cmocka_unit_test(deny_beats_a_grant_of_its_layer_wherever_it_stands),
		cmocka_unit_test(what_the_users_topics_grant_no_pattern_takes_away),
		cmocka_unit_test(leading_wildcards_leave_dollar_topics_alone),
		cmocka_unit_test(placeholders_are_filled_in),
		cmocka_unit_test(ids_with_wildcards_get_nothing_from_patterns),
		cmocka_unit_test(slash_in_a_client_id_adds_no_levels),
		cmocka_unit_test(dollar_in_front_opens_no_dollar_topics),
		cmocka_unit_test(scope_is_all_when_one_grant_covers_and_no_deny_touches),
		cmocka_unit_test(scope_is_none_when_nothing_can_be_read),
		cmocka_unit_test(proven_scopes_hold_for_every_topic),
		cmocka_unit_test(view_gives_its_memory_back),
		cmocka_unit_test(pattern_that_becomes_too_long_matches_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
