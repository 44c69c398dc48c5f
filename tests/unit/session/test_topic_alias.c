/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "session/topic_alias.h"

static struct topic_alias_table *table;
static struct topic_alias_out *out;

static int finish(void **unused)
{
	(void)unused;
	topic_alias_table_free(&table);
	topic_alias_out_free(&out);
	assert_null(table);
	assert_null(out);
	assert_int_equal(memory_used(MEMORY_SESSION), 0);
	return 0;
}

static void set(uint16_t maximum, uint16_t alias, const char *topic)
{
	assert_int_equal(topic_alias_set(&table, maximum, alias, slice_from_string(topic)),
			 ERR_NONE);
}

static bool is(uint16_t alias, const char *topic)
{
	return slice_equal_string(topic_alias_get(table, alias), topic);
}

static void an_alias_that_was_never_set_is_empty(void **unused)
{
	(void)unused;
	assert_true(is(1, ""));
	set(10, 3, "a/b");
	assert_true(is(0, ""));
	assert_true(is(1, ""));
	assert_true(is(10, ""));
	assert_true(is(11, ""));
	assert_true(is(65535, ""));
}

static void an_alias_stands_for_the_topic_that_was_set_last(void **unused)
{
	char topic[] = "a/b";

	(void)unused;
	set(10, 1, topic);
	set(10, 10, "another");
	topic[0] = 'x'; /* it was copied */
	assert_true(is(1, "a/b"));
	set(10, 1, "a/b");
	assert_true(is(1, "a/b"));
	set(10, 1, "c");
	assert_true(is(1, "c"));
	assert_true(is(10, "another"));
}

static void a_reload_does_not_raise_the_maximum_that_connack_said(void **unused)
{
	(void)unused;
	set(2, 2, "a");
	assert_int_equal(topic_alias_set(&table, 5, 3, slice_from_string("b")), ERR_LIMIT);
	assert_true(is(3, ""));
}

static enum topic_alias_use choose(uint16_t count, const char *topic, uint16_t *alias)
{
	struct slice name = slice_from_string(topic);

	return topic_alias_choose(&out, count, hash_slice(name), name, alias);
}

static void a_topic_is_introduced_once_and_then_known(void **unused)
{
	uint16_t alias = 0, again = 0;

	(void)unused;
	assert_int_equal(choose(4, "a/b", &alias), TOPIC_ALIAS_INTRODUCE);
	assert_in_range(alias, 1, 4);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(choose(4, "a/b", &again), TOPIC_ALIAS_KNOWN);
		assert_int_equal(again, alias);
	}
}

static void topics_with_the_same_hash_are_told_apart(void **unused)
{
	uint16_t one = 0, two = 0;

	(void)unused;
	assert_int_equal(topic_alias_choose(&out, 2, 1, slice_from_string("a"), &one),
			 TOPIC_ALIAS_INTRODUCE);
	assert_int_equal(topic_alias_choose(&out, 2, 1, slice_from_string("b"), &two),
			 TOPIC_ALIAS_INTRODUCE);
	assert_int_not_equal(one, two);
}

static void more_topics_than_aliases_do_not_push_each_other_out_in_turn(void **unused)
{
	char topic[16];
	uint16_t alias;

	(void)unused;
	for (int round = 0; round < 50; round++) {
		unsigned known = 0;

		for (int i = 0; i < 5; i++) {
			snprintf(topic, sizeof topic, "t/%d", i);
			known += choose(4, topic, &alias) == TOPIC_ALIAS_KNOWN;
		}
		if (round > 0)
			assert_in_range(known, 3, 5);
	}
}

static void a_topic_that_is_used_no_more_gives_its_alias_up(void **unused)
{
	uint16_t old = 0, busy = 0, alias = 0;
	enum topic_alias_use use = TOPIC_ALIAS_NONE;

	(void)unused;
	choose(2, "old", &old);
	choose(2, "busy", &busy);
	for (int i = 0; i < 20 && use != TOPIC_ALIAS_INTRODUCE; i++) {
		assert_int_equal(choose(2, "busy", &alias), TOPIC_ALIAS_KNOWN);
		use = choose(2, "new", &alias);
	}
	assert_int_equal(use, TOPIC_ALIAS_INTRODUCE);
	assert_int_equal(alias, old);
	assert_int_equal(choose(2, "new", &alias), TOPIC_ALIAS_KNOWN);
	assert_int_equal(choose(2, "busy", &alias), TOPIC_ALIAS_KNOWN);
	assert_int_equal(alias, busy);
}

/* Whatever is chosen, a receiver that believes each packet must always have the right topic. */
static void a_receiver_that_follows_always_has_the_right_topic(void **unused)
{
	char topics[9][16] = {""};
	char topic[16];

	(void)unused;
	srand(5);
	for (int step = 0; step < 20000; step++) {
		enum topic_alias_use use;
		uint16_t alias = 0;

		snprintf(topic, sizeof topic, "t/%d", rand() % (1 + step % 40));
		use = choose(8, topic, &alias);
		if (use == TOPIC_ALIAS_NONE)
			continue;
		assert_in_range(alias, 1, 8);
		if (use == TOPIC_ALIAS_INTRODUCE)
			snprintf(topics[alias], sizeof topics[alias], "%s", topic);
		assert_string_equal(topics[alias], topic);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(an_alias_that_was_never_set_is_empty, finish),
		cmocka_unit_test_teardown(an_alias_stands_for_the_topic_that_was_set_last, finish),
		cmocka_unit_test_teardown(a_reload_does_not_raise_the_maximum_that_connack_said,
					  finish),
		cmocka_unit_test_teardown(a_topic_is_introduced_once_and_then_known, finish),
		cmocka_unit_test_teardown(topics_with_the_same_hash_are_told_apart, finish),
		cmocka_unit_test_teardown(
			more_topics_than_aliases_do_not_push_each_other_out_in_turn, finish),
		cmocka_unit_test_teardown(a_topic_that_is_used_no_more_gives_its_alias_up, finish),
		cmocka_unit_test_teardown(a_receiver_that_follows_always_has_the_right_topic,
					  finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
