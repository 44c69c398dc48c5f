/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "auth/acl_rules.h"
#include "mqtt/topic.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct acl_rules *compile(const struct acl_rule *rules, size_t count)
{
	struct acl_rule *copy = calloc(count + 1, sizeof *copy);
	struct acl_rules *set;

	if (count)
		memcpy(copy, rules, count * sizeof *copy);
	assert_int_equal(acl_rules_compile(copy, count, &set), ERR_NONE);
	free(copy);
	return set;
}

static unsigned match(const struct acl_rules *set, const char *topic)
{
	return acl_rules_match(set, slice_from_string(topic));
}

static struct acl_rule rule(const char *filter, uint8_t bits)
{
	return (struct acl_rule){slice_from_string(filter), bits};
}

static void no_rules_match_nothing(void **unused)
{
	struct acl_rules *set = compile(NULL, 0);

	(void)unused;
	assert_null(set);
	assert_int_equal(match(set, "a"), 0);
	assert_int_equal(acl_rules_count(set), 0);
	assert_int_equal(acl_rules_bytes(set), 0);
	acl_rules_destroy(&set);
}

static void bits_of_all_matching_rules_are_gathered(void **unused)
{
	const struct acl_rule rules[] = {
		rule("a/b", ACL_BIT_READ),   rule("a/#", ACL_BIT_WRITE), rule("+/b", ACL_BIT_DENY),
		rule("a/b/c", ACL_BIT_READ), rule("a/b", ACL_BIT_WRITE),
	};
	struct acl_rules *set = compile(rules, COUNT(rules));

	(void)unused;
	assert_int_equal(acl_rules_count(set), 5);
	assert_int_equal(match(set, "a/b"), ACL_BIT_READ | ACL_BIT_WRITE | ACL_BIT_DENY);
	assert_int_equal(match(set, "a"), ACL_BIT_WRITE);
	assert_int_equal(match(set, "a/b/c"), ACL_BIT_READ | ACL_BIT_WRITE);
	assert_int_equal(match(set, "x/b"), ACL_BIT_DENY);
	assert_int_equal(match(set, "x"), 0);
	assert_int_equal(match(set, "a/"), ACL_BIT_WRITE);
	assert_int_equal(match(set, "aa/b"), ACL_BIT_DENY);
	acl_rules_destroy(&set);
	assert_null(set);
}

/*
 * All filters of up to three levels over a few level names, empty ones included, each with a set of
 * its own and all in one set, against all names of up to three levels: the stems must find exactly
 * what trying every rule finds.
 */
#define LEVELS_MAX 3
#define TEXT_MAX 32

static size_t enumerate(const char *const *names, size_t name_count, char (*out)[TEXT_MAX])
{
	size_t count = 0, total = 1;

	for (unsigned depth = 1; depth <= LEVELS_MAX; depth++) {
		total *= name_count;
		for (size_t i = 0; i < total; i++) {
			size_t rest = i;
			char *text = out[count];

			text[0] = '\0';
			for (unsigned level = 0; level < depth; level++) {
				strcat(text, level ? "/" : "");
				strcat(text, names[rest % name_count]);
				rest /= name_count;
			}
			count += text[0] != '\0';
		}
	}
	return count;
}

static void stems_find_what_trying_every_rule_finds(void **unused)
{
	static const char *const filter_names[] = {"", "a", "b", "$s", "+", "#"};
	static const char *const topic_names[] = {"", "a", "b", "ab", "$s"};
	static char filters[300][TEXT_MAX], topics[300][TEXT_MAX];
	size_t filter_count = enumerate(filter_names, COUNT(filter_names), filters);
	size_t topic_count = enumerate(topic_names, COUNT(topic_names), topics);
	struct acl_rule rules[300];
	struct acl_rules *all;
	size_t used = 0, matches = 0;

	(void)unused;
	for (size_t i = 0; i < filter_count; i++) {
		if (!topic_filter_is_valid(slice_from_string(filters[i])))
			continue;
		rules[used] = rule(filters[i], (uint8_t)(1u << (used % 3)));
		used++;
	}
	assert_true(used > 150);
	all = compile(rules, used);
	for (size_t t = 0; t < topic_count; t++) {
		struct slice topic = slice_from_string(topics[t]);
		unsigned wanted = 0;

		for (size_t i = 0; i < used; i++) {
			struct acl_rules *single = compile(&rules[i], 1);
			bool fits = topic_matches_filter(topic, rules[i].filter);

			if (acl_rules_match(single, topic) != (fits ? rules[i].bits : 0))
				fail_msg("'%s' and rule %zu", topics[t], i);
			wanted |= fits ? rules[i].bits : 0;
			matches += fits;
			acl_rules_destroy(&single);
		}
		if (acl_rules_match(all, topic) != wanted)
			fail_msg("'%s' and all rules", topics[t]);
	}
	assert_true(matches > 1000);
	acl_rules_destroy(&all);
}

static void very_deep_rules_and_topics_work(void **unused)
{
	char exact[400] = "", filter[400] = "";
	struct acl_rule rules[2];
	struct acl_rules *set;

	(void)unused;
	for (int i = 0; i < 100; i++)
		strcat(exact, i ? "/x" : "x");
	strcpy(filter, exact);
	strcat(filter, "/+/#");
	rules[0] = rule(exact, ACL_BIT_READ);
	rules[1] = rule(filter, ACL_BIT_WRITE);
	set = compile(rules, 2);
	assert_int_equal(match(set, exact), ACL_BIT_READ);
	strcat(exact, "/y");
	assert_int_equal(match(set, exact), ACL_BIT_WRITE);
	strcat(exact, "/y");
	assert_int_equal(match(set, exact), ACL_BIT_WRITE);
	assert_int_equal(match(set, "x/x"), 0);
	acl_rules_destroy(&set);
}

static void thousands_of_rules_are_each_found(void **unused)
{
	const unsigned count = 5000;
	struct acl_rule *rules = calloc(count, sizeof *rules);
	char(*texts)[TEXT_MAX] = calloc(count, sizeof *texts), topic[TEXT_MAX];
	struct acl_rules *set;

	(void)unused;
	for (unsigned i = 0; i < count; i++) {
		sprintf(texts[i], i % 2 ? "dev/d%u/#" : "dev/d%u", i);
		rules[i] = rule(texts[i], ACL_BIT_READ);
	}
	set = compile(rules, count);
	for (unsigned i = 0; i < count; i++) {
		sprintf(topic, "dev/d%u", i);
		assert_int_equal(match(set, topic), ACL_BIT_READ);
		strcat(topic, "/x");
		assert_int_equal(match(set, topic), i % 2 ? ACL_BIT_READ : 0);
	}
	assert_int_equal(match(set, "dev"), 0);
	assert_int_equal(match(set, "dev/d5000"), 0);
	acl_rules_destroy(&set);
	free(texts);
	free(rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_rules_match_nothing),
		cmocka_unit_test(bits_of_all_matching_rules_are_gathered),
		cmocka_unit_test(stems_find_what_trying_every_rule_finds),
		cmocka_unit_test(very_deep_rules_and_topics_work),
		cmocka_unit_test(thousands_of_rules_are_each_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
