/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/hash.h"
#include "base/rcu.h"
#include "route/match_cache.h"

#define MINE 2

static struct topic_tree *tree;
static struct match_cache *cache;
static struct match_result *result;
static struct endpoint endpoints[4];
static struct subscription subscriptions[8];
static uint16_t workers[8];
static unsigned used;

static int begin(void **unused)
{
	(void)unused;
	used = 0;
	for (unsigned i = 0; i < 4; i++)
		endpoints[i].handle = 100 + i;
	return topic_tree_create(&tree) != ERR_NONE ||
	       match_cache_create(tree, MINE, &cache) != ERR_NONE;
}

static int finish(void **unused)
{
	(void)unused;
	match_result_unref(&result);
	match_cache_destroy(&cache);
	while (used--)
		topic_tree_remove(tree, workers[used], &subscriptions[used].link);
	topic_tree_destroy(&tree);
	return 0;
}

/* What is not said is 0. */
static struct subscription *subscribe(uint16_t worker, const char *filter, unsigned endpoint,
				      struct subscription given)
{
	struct subscription *one = &subscriptions[used];

	*one = given;
	one->endpoint = &endpoints[endpoint];
	workers[used++] = worker;
	assert_int_equal(topic_tree_add(tree, worker, slice_from_string(filter), &one->link),
			 ERR_NONE);
	return one;
}

/* Filters without wildcards are found only with the topic's own hash. */
static struct match_result *find_hashed(const char *topic, uint64_t hash, bool duplicates)
{
	struct message *message =
		message_create(NULL, &(struct message_content){.topic = slice_from_string(topic),
							       .topic_hash = hash});
	struct match_result *found = match_cache_find(cache, message, duplicates);

	assert_non_null(found);
	message_drop(NULL, &message);
	return found;
}

/* Into `result`, which the teardown lets go. */
static void find(const char *topic)
{
	match_result_unref(&result);
	result = find_hashed(topic, hash_slice(slice_from_string(topic)), false);
}

static const struct route_target *target_of(unsigned endpoint)
{
	const struct route_target *found = NULL;

	for (uint32_t i = 0; i < result->target_count; i++) {
		if (result->targets[i].endpoint != &endpoints[endpoint])
			continue;
		assert_null(found);
		found = &result->targets[i];
	}
	assert_non_null(found);
	assert_int_equal(found->handle, endpoints[endpoint].handle);
	return found;
}

/* All identifiers of the target, in whatever order. */
static void assert_ids(const struct route_target *target, const uint32_t *ids, unsigned count)
{
	assert_int_equal(target->id_count, count);
	for (unsigned i = 0; i < count; i++) {
		unsigned found = 0;

		for (unsigned k = 0; k < count; k++)
			found += result->ids[target->first_id + k] == ids[i];
		assert_int_equal(found, 1);
	}
}

static void a_topic_that_nobody_wants_has_no_targets(void **unused)
{
	(void)unused;
	subscribe(MINE, "a/b", 0, (struct subscription){.qos = 1});
	find("a");
	assert_int_equal(result->target_count, 0);
	assert_int_equal(result->other_count, 0);
}

static void overlapping_subscriptions_are_one_target_with_all_identifiers(void **unused)
{
	(void)unused;
	subscribe(MINE, "a/b", 0, (struct subscription){.qos = 0, .id = 10});
	subscribe(MINE, "a/+", 1, (struct subscription){.qos = 1, .id = 20});
	subscribe(MINE, "a/#", 0, (struct subscription){.qos = 2, .id = 11});
	subscribe(MINE, "#", 0, (struct subscription){.qos = 1}); /* without an identifier */
	subscribe(MINE, "+/b", 0, (struct subscription){.qos = 1, .id = 12});
	find("a/b");
	assert_int_equal(result->target_count, 2);
	assert_int_equal(target_of(0)->qos, 2);
	assert_ids(target_of(0), (uint32_t[]){10, 11, 12}, 3);
	assert_int_equal(target_of(1)->qos, 1);
	assert_ids(target_of(1), (uint32_t[]){20}, 1);
}

static void with_duplicates_each_subscription_is_a_target(void **unused)
{
	unsigned qos_seen = 0;

	(void)unused;
	subscribe(MINE, "a/b", 0, (struct subscription){.qos = 0, .id = 10});
	subscribe(MINE, "a/+", 0, (struct subscription){.qos = 1, .id = 11});
	subscribe(MINE, "a/#", 0, (struct subscription){.qos = 2, .id = 12});
	result = find_hashed("a/b", hash_slice(slice_from_string("a/b")), true);
	assert_int_equal(result->target_count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		const struct route_target *target = &result->targets[i];

		assert_int_equal(target->id_count, 1);
		assert_int_equal(result->ids[target->first_id], 10 + target->qos);
		qos_seen |= 1u << target->qos;
	}
	assert_int_equal(qos_seen, 7);
}

static void no_local_of_all_and_of_some_are_told_apart(void **unused)
{
	const uint8_t no_local = TARGET_NO_LOCAL, mixed = TARGET_MIXED_NO_LOCAL;

	(void)unused;
	subscribe(MINE, "a/b", 0, (struct subscription){.flags = SUBSCRIPTION_NO_LOCAL});
	subscribe(MINE, "a/+", 0, (struct subscription){.flags = SUBSCRIPTION_NO_LOCAL});
	subscribe(MINE, "a/b", 1, (struct subscription){.flags = SUBSCRIPTION_NO_LOCAL});
	subscribe(MINE, "a/+", 1, (struct subscription){.qos = 1});
	subscribe(MINE, "a/#", 1, (struct subscription){.flags = SUBSCRIPTION_NO_LOCAL});
	subscribe(MINE, "a/b", 2, (struct subscription){.qos = 1});
	subscribe(MINE, "a/+", 2, (struct subscription){.qos = 1});
	find("a/b");
	assert_int_equal(target_of(0)->flags & (no_local | mixed), no_local);
	assert_int_equal(target_of(1)->flags & (no_local | mixed), mixed);
	assert_int_equal(target_of(2)->flags & (no_local | mixed), 0);
}

static void retain_as_published_of_one_is_enough(void **unused)
{
	(void)unused;
	subscribe(MINE, "a", 0, (struct subscription){.flags = 0});
	subscribe(MINE, "+", 0, (struct subscription){.flags = SUBSCRIPTION_RETAIN_AS_PUBLISHED});
	subscribe(MINE, "a", 1, (struct subscription){.flags = 0});
	find("a");
	assert_true(target_of(0)->flags & TARGET_RETAIN_AS_PUBLISHED);
	assert_false(target_of(1)->flags & TARGET_RETAIN_AS_PUBLISHED);
}

/* Rights that were proven for one filter say nothing about the other one. */
static void only_rights_proven_for_all_at_the_same_time_are_proven(void **unused)
{
	const uint8_t readable = SUBSCRIPTION_READABLE;

	(void)unused;
	subscribe(MINE, "a", 0, (struct subscription){.flags = readable, .rights_generation = 5});
	subscribe(MINE, "+", 0, (struct subscription){.flags = readable, .rights_generation = 5});
	subscribe(MINE, "a", 1, (struct subscription){.flags = readable, .rights_generation = 5});
	subscribe(MINE, "+", 1, (struct subscription){.flags = readable, .rights_generation = 6});
	subscribe(MINE, "a", 2, (struct subscription){.flags = readable, .rights_generation = 5});
	subscribe(MINE, "+", 2, (struct subscription){.flags = 0, .rights_generation = 5});
	find("a");
	assert_true(target_of(0)->flags & TARGET_READABLE);
	assert_int_equal(target_of(0)->rights_generation, 5);
	assert_false(target_of(1)->flags & TARGET_READABLE);
	assert_false(target_of(2)->flags & TARGET_READABLE);
}

static void a_predicate_holds_only_if_nothing_else_of_the_endpoint_matches(void **unused)
{
	static const struct subscription_policy policy, other;

	(void)unused;
	subscribe(MINE, "a", 0, (struct subscription){.policy = &policy});
	subscribe(MINE, "a", 1, (struct subscription){.policy = &policy});
	subscribe(MINE, "+", 1, (struct subscription){.policy = NULL});
	subscribe(MINE, "a", 2, (struct subscription){.policy = &policy});
	subscribe(MINE, "+", 2, (struct subscription){.policy = &other});
	find("a");
	assert_ptr_equal(target_of(0)->policy, &policy);
	assert_null(target_of(1)->policy);
	assert_null(target_of(2)->policy);
}

static void other_workers_are_named_once_each(void **unused)
{
	(void)unused;
	subscribe(7, "a", 0, (struct subscription){.qos = 1});
	subscribe(7, "+", 0, (struct subscription){.qos = 1});
	subscribe(200, "#", 1, (struct subscription){.qos = 1});
	subscribe(MINE, "a", 2, (struct subscription){.qos = 1});
	find("a");
	assert_int_equal(result->target_count, 1);
	assert_int_equal(result->other_count, 2);
	assert_int_equal(result->others[0], 7);
	assert_int_equal(result->others[1], 200);
}

static void the_same_result_serves_until_a_subscription_changes(void **unused)
{
	struct match_result *before;

	(void)unused;
	subscribe(MINE, "a", 0, (struct subscription){.qos = 1});
	find("a");
	find("a"); /* comes again: has a place from now on */
	before = result;
	result = NULL;
	find("a");
	assert_ptr_equal(result, before);
	subscribe(MINE, "+", 1, (struct subscription){.qos = 1});
	find("a");
	assert_ptr_not_equal(result, before);
	assert_int_equal(result->target_count, 2);
	/* Who still holds the old one may go on reading it. */
	assert_int_equal(before->target_count, 1);
	match_result_unref(&before);
	subscriptions[0].qos = 2;
	topic_tree_touch(tree);
	find("a");
	assert_int_equal(target_of(0)->qos, 2);
}

static void topics_with_the_same_hash_do_not_get_each_others_result(void **unused)
{
	(void)unused;
	subscribe(MINE, "a/#", 0, (struct subscription){.qos = 1});
	subscribe(MINE, "b/#", 1, (struct subscription){.qos = 1});
	subscribe(MINE, "c/#", 2, (struct subscription){.qos = 1});
	/* More topics than the set has places, round and round. */
	for (unsigned round = 0; round < 20; round++) {
		static const char *const topics[] = {"a", "b", "c", "a", "b"};

		match_result_unref(&result);
		result = find_hashed(topics[round % 5], 4711, false);
		assert_int_equal(result->target_count, 1);
		(void)target_of(round % 5 % 3);
	}
}

static void topics_that_come_once_push_nothing_out(void **unused)
{
	struct match_result *again;
	uint64_t hash = 4711;

	(void)unused;
	subscribe(MINE, "a", 0, (struct subscription){.qos = 1});
	for (unsigned i = 0; i < 2; i++) {
		match_result_unref(&result);
		result = find_hashed("a", hash, false);
	}
	/* Into the same set, whose index is in the lower half of the hash. */
	for (uint64_t i = 1; i <= 10; i++) {
		struct match_result *once = find_hashed("b", hash + (i << 32), false);

		assert_int_equal(once->target_count, 0);
		match_result_unref(&once);
	}
	again = find_hashed("a", hash, false);
	assert_ptr_equal(again, result);
	match_result_unref(&again);
}

static void a_result_without_a_place_stays_for_who_holds_it(void **unused)
{
	struct match_result *held, *next;

	(void)unused;
	subscribe(MINE, "a", 0, (struct subscription){.qos = 1});
	subscribe(MINE, "b", 1, (struct subscription){.qos = 2});
	held = find_hashed("a", hash_slice(slice_from_string("a")), false);
	next = find_hashed("b", hash_slice(slice_from_string("b")), false);
	assert_ptr_not_equal(held, next);
	assert_int_equal(held->targets[0].qos, 1);
	assert_int_equal(next->targets[0].qos, 2);
	match_result_unref(&next);
	match_result_unref(&held);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_topic_that_nobody_wants_has_no_targets),
		CASE(overlapping_subscriptions_are_one_target_with_all_identifiers),
		CASE(with_duplicates_each_subscription_is_a_target),
		CASE(no_local_of_all_and_of_some_are_told_apart),
		CASE(retain_as_published_of_one_is_enough),
		CASE(only_rights_proven_for_all_at_the_same_time_are_proven),
		CASE(a_predicate_holds_only_if_nothing_else_of_the_endpoint_matches),
		CASE(other_workers_are_named_once_each),
		CASE(the_same_result_serves_until_a_subscription_changes),
		CASE(topics_with_the_same_hash_do_not_get_each_others_result),
		CASE(topics_that_come_once_push_nothing_out),
		CASE(a_result_without_a_place_stays_for_who_holds_it),
	};
	int failed;

	rcu_thread_register();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return failed;
}
