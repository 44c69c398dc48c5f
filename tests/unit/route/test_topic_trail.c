/* SPDX-License-Identifier: Apache-2.0 */
#include "retained_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "route/retained_tree.h"

static void set(const char *topic, const char *payload)
{
	struct message_content content = {
		.topic = slice_from_string(topic),
		.payload = slice_from_string(payload),
	};
	struct message *message = message_create(NULL, &content);

	assert_int_equal(retained_set(retained, NULL, message), ERR_NONE);
	message_drop(NULL, &message);
}

/* Of the topic, how much leads to the node above its last level. */
static size_t led_to(const struct trie_place *place)
{
	size_t len = place->rest.at ? (size_t)(place->rest.at - place->filter.data)
				    : place->filter.len - place->node->name_len;

	return len > TOPIC_TRAIL_BYTES ? 0 : len;
}

/* The same as without the trail, which then is where it should be. */
static void look(const char *topic)
{
	struct trie_place place, along;
	struct trie_node *node, *found;

	rcu_read_section_begin();
	node = topic_trie_look(&retained->trie, slice_from_string(topic), &place);
	found = topic_trail_look(&retained->trie, &trail, slice_from_string(topic), &along);
	rcu_read_section_end();
	assert_ptr_equal(found, node);
	assert_ptr_equal(along.node, place.node);
	assert_ptr_equal(along.rest.at, place.rest.at);
	if (!node) {
		assert_int_equal(along.has_tail, place.has_tail);
		assert_int_equal(along.level_len, place.level_len);
		assert_int_equal(along.level_hash, place.level_hash);
	}
	assert_int_equal(trail.node ? trail.len : 0, led_to(&place));
	assert_memory_equal(trail.topic, topic, led_to(&place));
}

static void topics_that_begin_alike_are_found_from_there(void **unused)
{
	(void)unused;
	look("plant/line1/temp");
	set("plant/line1/temp", "x");
	look("plant/line1/temp");
	assert_null(trail.node); /* a tail below the root */
	set("plant/line2/temp", "x");
	look("plant/line2/temp");
	assert_int_equal(trail.len, strlen("plant/"));
	look("plant/line3/temp");
	set("plant/line2/speed", "x");
	look("plant/line2/speed");
	assert_int_equal(trail.len, strlen("plant/line2/"));
	look("plant/line2/other");
	look("plant/line20/other");
	look("plant/");
	look("plant");
	look("other");
	assert_null(trail.node);
}

/* Its node is further up, because the others of its levels came later. */
static void the_first_of_its_levels_is_found_where_it_is(void **unused)
{
	(void)unused;
	set("plant/line1/temp", "x");
	set("plant/line2/temp", "x");
	set("plant/line2/speed", "x");
	look("plant/line2/speed");
	look("plant/line2/temp");
	look("plant/line1/speed");
	set("plant/line1/speed", "x");
	look("plant/line1/speed");
	look("plant/line1/temp");
}

static void nothing_is_found_by_a_node_that_went(void **unused)
{
	(void)unused;
	set("a/b/c", "x");
	set("a/b/d", "x");
	look("a/b/c");
	look("a/b/d");
	set("a/b/c", "");
	set("a/b/d", "");
	rcu_wait_deferred();
	look("a/b/d");
	set("a/b/d", "x");
	look("a/b/d");
}

static void a_topic_too_long_for_the_trail_is_found_without(void **unused)
{
	char topic[3 * TOPIC_TRAIL_BYTES];

	(void)unused;
	memset(topic, 'x', sizeof topic);
	memcpy(topic + sizeof topic - 6, "/a/b", 5);
	set(topic, "x");
	topic[sizeof topic - 5] = 'c';
	look(topic);
	set(topic, "x");
	look(topic);
}

/* Topics of few levels and names, which come and go, so that there are nodes and tails of all kinds. */
static void random_topics_are_found_as_without(void **unused)
{
	enum { ROUNDS = 20000 };
	unsigned seed = 1;

	(void)unused;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned levels = 1 + (unsigned)rand_r(&seed) % 4;
		char topic[32];
		size_t len = 0;

		for (unsigned level = 0; level < levels; level++) {
			if (level)
				topic[len++] = '/';
			for (int letters = rand_r(&seed) % 3; letters > 0; letters--)
				topic[len++] = (char)('a' + rand_r(&seed) % 2);
		}
		topic[len] = 0;
		if (len == 0)
			continue;
		rcu_read_section_begin();
		topic_trail_expect(&retained->trie, &trail, slice_from_string(topic));
		rcu_read_section_end();
		look(topic);
		if (rand_r(&seed) % 4 == 0)
			set(topic, rand_r(&seed) % 64 ? "x" : "");
	}
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		cmocka_unit_test_setup_teardown(topics_that_begin_alike_are_found_from_there, start,
						finish),
		cmocka_unit_test_setup_teardown(the_first_of_its_levels_is_found_where_it_is, start,
						finish),
		cmocka_unit_test_setup_teardown(nothing_is_found_by_a_node_that_went, start,
						finish),
		cmocka_unit_test_setup_teardown(a_topic_too_long_for_the_trail_is_found_without,
						start, finish),
		cmocka_unit_test_setup_teardown(random_topics_are_found_as_without, start, finish),
	};
	int failed;

	rcu_thread_register();
	failed = cmocka_run_group_tests(cases, NULL, NULL);
	rcu_thread_unregister();
	return failed;
}
