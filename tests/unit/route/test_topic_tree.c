/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/rcu.h"
#include "mqtt/topic.h"
#include "route/topic_tree.h"

/* A subscriber that knows its filter, so that a match can be compared with the plain rule. */
struct subscriber {
	struct topic_link link; /* first member */
	char filter[64];
	uint16_t worker;
};

static struct topic_tree *tree;
static struct topic_match match;

static int start(void **unused)
{
	(void)unused;
	return topic_tree_create(&tree) != ERR_NONE;
}

static int finish(void **unused)
{
	struct topic_tree_stats stats;

	(void)unused;
	topic_tree_audit(tree);
	topic_tree_stats(tree, &stats);
	assert_int_equal(stats.links, 0);
	assert_int_equal(stats.nodes, 0);
	topic_match_fini(&match);
	topic_tree_destroy(&tree);
	assert_null(tree);
	return 0;
}

static void subscribe(struct subscriber *subscriber, uint16_t worker, const char *filter)
{
	snprintf(subscriber->filter, sizeof subscriber->filter, "%s", filter);
	subscriber->worker = worker;
	assert_true(topic_filter_is_valid(slice_from_string(filter)));
	assert_int_equal(topic_tree_add(tree, worker, slice_from_string(filter), &subscriber->link),
			 ERR_NONE);
}

static void unsubscribe(struct subscriber *subscriber)
{
	topic_tree_remove(tree, subscriber->worker, &subscriber->link);
	assert_null(subscriber->link.node);
}

/* Number of subscribers of worker that match. */
static unsigned count_matches(uint16_t worker, const char *topic)
{
	unsigned count = 0;

	rcu_read_section_begin();
	assert_int_equal(topic_tree_match(tree, worker, slice_from_string(topic),
					  hash_slice(slice_from_string(topic)), &match),
			 ERR_NONE);
	for (uint32_t i = 0; i < match.own_count; i++)
		for (struct topic_link *link = match.own[i]; link; link = link->next)
			count++;
	rcu_read_section_end();
	return count;
}

static bool one_matches(const char *filter, const char *topic)
{
	struct subscriber subscriber;
	unsigned count;

	subscribe(&subscriber, 0, filter);
	topic_tree_audit(tree);
	count = count_matches(0, topic);
	unsubscribe(&subscriber);
	return count == 1;
}

static void filters_match_as_the_specification_says(void **unused)
{
	static const struct {
		const char *filter, *topic;
		bool matches;
	} cases[] = {
		{"a/b", "a/b", true},	    {"a/b", "a/c", false},
		{"a/b", "a", false},	    {"a", "a/b", false},
		{"a/+", "a/b", true},	    {"a/+", "a", false},
		{"a/+", "a/", true},	    {"a/+", "a/b/c", false},
		{"+", "a", true},	    {"+", "/a", false},
		{"/+", "/a", true},	    {"+/+", "/a", true},
		{"#", "a/b/c", true},	    {"#", "/", true},
		{"a/#", "a", true},	    {"a/#", "a/b/c", true},
		{"a/#", "ab", false},	    {"+/#", "a", true},
		{"a/+/c", "a/b/c", true},   {"a/+/c", "a/b/d", false},
		{"a/+/#", "a/b", true},	    {"a/+/#", "a", false},
		{"#", "$SYS/x", false},	    {"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true}, {"$SYS/+", "$SYS/x", true},
		{"a/#", "a/$x", true},	    {"a/+", "a/$x", true},
		{"/", "/", true},	    {"//", "//", true},
		{"//", "/", false},	    {"+/+/+", "//", true},
		{"a//b", "a//b", true},	    {"a/b/c/d/e", "a/b/c/d/e", true},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(topic_matches_filter(slice_from_string(cases[i].topic),
						      slice_from_string(cases[i].filter)),
				 cases[i].matches);
		assert_int_equal(one_matches(cases[i].filter, cases[i].topic), cases[i].matches);
	}
}

static void subscribers_of_other_workers_are_bits(void **unused)
{
	struct subscriber subscribers[4];

	(void)unused;
	subscribe(&subscribers[0], 0, "a/+");
	subscribe(&subscribers[1], 200, "a/b");
	subscribe(&subscribers[2], 65, "#");
	subscribe(&subscribers[3], 200, "a/b/#");
	assert_int_equal(count_matches(0, "a/b"), 1);
	assert_true(match.has_others);
	assert_true(match.others[3] == 1ull << (200 - 192));
	assert_true(match.others[1] == 1ull << 1);
	assert_true(match.others[0] == 0 && match.others[2] == 0);
	assert_int_equal(count_matches(200, "a/b"), 2);
	assert_int_equal(count_matches(65, "zzz"), 1);
	assert_false(match.has_others);
	for (int i = 0; i < 4; i++)
		unsubscribe(&subscribers[i]);
	assert_int_equal(count_matches(0, "a/b"), 0);
	assert_false(match.has_others);
}

static void many_workers_share_a_node(void **unused)
{
	struct subscriber subscribers[64];

	(void)unused;
	for (uint16_t i = 0; i < 64; i++)
		subscribe(&subscribers[i], i / 2, "shared/node");
	topic_tree_audit(tree);
	for (uint16_t worker = 0; worker < 32; worker++)
		assert_int_equal(count_matches(worker, "shared/node"), 2);
	for (uint16_t i = 0; i < 64; i += 2)
		unsubscribe(&subscribers[i]);
	topic_tree_audit(tree);
	for (uint16_t worker = 0; worker < 32; worker++)
		assert_int_equal(count_matches(worker, "shared/node"), 1);
	for (uint16_t i = 1; i < 64; i += 2)
		unsubscribe(&subscribers[i]);
}

static void each_change_raises_the_generation(void **unused)
{
	struct subscriber a, b;
	uint64_t generation = topic_tree_generation(tree);

	(void)unused;
	subscribe(&a, 0, "x");
	assert_true(topic_tree_generation(tree) > generation);
	generation = topic_tree_generation(tree);
	subscribe(&b, 0, "x");
	assert_true(topic_tree_generation(tree) > generation);
	generation = topic_tree_generation(tree);
	unsubscribe(&a);
	assert_true(topic_tree_generation(tree) > generation);
	generation = topic_tree_generation(tree);
	topic_tree_touch(tree);
	assert_true(topic_tree_generation(tree) > generation);
	unsubscribe(&b);
}

static void node_is_found_by_its_filter_and_tells_it(void **unused)
{
	static const char *const filters[] = {"a", "a/b", "/", "//x/", "+/#", "a/+/c"};
	struct subscriber subscribers[6];
	uint8_t path[64];

	(void)unused;
	for (unsigned i = 0; i < 6; i++)
		subscribe(&subscribers[i], 0, filters[i]);
	rcu_read_section_begin();
	for (unsigned i = 0; i < 6; i++) {
		struct topic_node *node = topic_tree_find(tree, slice_from_string(filters[i]));
		size_t len = topic_node_path(node, path, sizeof path);

		assert_ptr_equal(node, subscribers[i].link.node);
		assert_true(slice_equal_string(slice_of(path, len), filters[i]));
		assert_int_equal(topic_node_path(node, NULL, 0), strlen(filters[i]));
	}
	assert_null(topic_tree_find(tree, SLICE_LITERAL("a/c")));
	rcu_read_section_end();
	for (unsigned i = 0; i < 6; i++)
		unsubscribe(&subscribers[i]);
}

static void count_visit(void *context, struct slice filter, uint32_t workers)
{
	unsigned *seen = context;

	assert_true(slice_equal_string(filter, workers == 2 ? "a/b" : "a/#"));
	*seen += workers;
}

static void visit_names_each_filter_once(void **unused)
{
	struct subscriber subscribers[3];
	unsigned seen = 0;

	(void)unused;
	subscribe(&subscribers[0], 0, "a/b");
	subscribe(&subscribers[1], 1, "a/b");
	subscribe(&subscribers[2], 1, "a/#");
	topic_tree_visit(tree, count_visit, &seen);
	assert_int_equal(seen, 3);
	for (unsigned i = 0; i < 3; i++)
		unsubscribe(&subscribers[i]);
}

static void deepest_topic_matches_without_recursion(void **unused)
{
	static char deep[TOPIC_MAX_BYTES + 1];
	struct topic_link link = {0}, all = {0};

	(void)unused;
	memset(deep, '/', TOPIC_MAX_BYTES);
	assert_int_equal(topic_tree_add(tree, 0, slice_of(deep, TOPIC_MAX_BYTES), &link), ERR_NONE);
	assert_int_equal(topic_tree_add(tree, 0, SLICE_LITERAL("+/+/#"), &all), ERR_NONE);
	assert_int_equal(count_matches(0, deep), 2);
	assert_int_equal(topic_node_path(link.node, NULL, 0), TOPIC_MAX_BYTES);
	topic_tree_remove(tree, 0, &link);
	topic_tree_remove(tree, 0, &all);
}

static void long_names_differ_at_their_end(void **unused)
{
	static char name[60001];
	struct topic_link link = {0};

	(void)unused;
	memset(name, 'x', 60000);
	assert_int_equal(topic_tree_add(tree, 0, slice_of(name, 60000), &link), ERR_NONE);
	assert_int_equal(count_matches(0, name), 1);
	name[59999] = 'y';
	assert_int_equal(count_matches(0, name), 0);
	topic_tree_remove(tree, 0, &link);
}

/* Words of few letters, so that random filters and topics meet often. */
static void random_path(char *out, bool is_filter)
{
	static const char *const words[] = {"a", "b", "", "cc", "$d", "+", "#"};
	int levels = 1 + rand() % 4;

	*out = '\0';
	for (int i = 0; i < levels; i++) {
		const char *word = words[rand() % (is_filter ? 7 : 5)];

		if (i > 0)
			strcat(out, "/");
		strcat(out, word);
		if (*word == '#')
			break;
	}
	if (*out == '\0')
		strcat(out, "a");
}

static void compare_with_the_plain_rule(const struct subscriber *subscribers, int count,
					uint16_t worker, const char *topic)
{
	uint64_t others[WORKERS_MAX / 64] = {0};
	unsigned own = 0;

	for (int i = 0; i < count; i++) {
		if (!subscribers[i].link.node ||
		    !topic_matches_filter(slice_from_string(topic),
					  slice_from_string(subscribers[i].filter)))
			continue;
		if (subscribers[i].worker == worker)
			own++;
		else
			others[subscribers[i].worker / 64] |= 1ull << subscribers[i].worker % 64;
	}
	assert_int_equal(count_matches(worker, topic), own);
	assert_memory_equal(match.others, others, sizeof others);
}

static void random_filters_match_like_the_plain_rule(void **unused)
{
	enum { COUNT = 300, STEPS = 30000 };
	static struct subscriber subscribers[COUNT];

	(void)unused;
	srand(1);
	memset(subscribers, 0, sizeof subscribers);
	for (int step = 0; step < STEPS; step++) {
		struct subscriber *one = &subscribers[rand() % COUNT];
		char path[64];

		if (one->link.node) {
			unsubscribe(one);
		} else {
			random_path(path, true);
			subscribe(one, (uint16_t)(rand() % 3 * 100), path);
		}
		if (step % 10 == 0) {
			random_path(path, false);
			compare_with_the_plain_rule(subscribers, COUNT,
						    (uint16_t)(rand() % 3 * 100), path);
		}
		if (step % 1000 == 0)
			topic_tree_audit(tree);
	}
	for (int i = 0; i < COUNT; i++)
		if (subscribers[i].link.node)
			unsubscribe(&subscribers[i]);
}

/*
 * Threads in the roles of workers, each with subscribers of its own. After each add, every other
 * thread is asked through a counter of its own to have seen it: the promise of a SUBACK.
 */
enum { THREADS = 4, OWN = 40, ROUNDS = 3000 };

struct role {
	pthread_t thread;
	uint16_t worker;
	struct topic_match match;
	struct subscriber subscribers[OWN];
	unsigned failures;
};

static uint64_t live_since[THREADS]; /* odd: up; even: down or changing */

static bool others_see(struct role *role, unsigned other)
{
	uint64_t since = __atomic_load_n(&live_since[other], __ATOMIC_ACQUIRE);
	char topic[64];
	bool seen;

	if (since % 2 == 0)
		return true;
	snprintf(topic, sizeof topic, "live/%u/%llu", other, (unsigned long long)since / 2 % 50);
	rcu_read_section_begin();
	if (topic_tree_match(tree, role->worker, slice_from_string(topic),
			     hash_slice(slice_from_string(topic)), &role->match) != ERR_NONE)
		role->failures++;
	seen = role->match.others[other / 64] >> other % 64 & 1;
	rcu_read_section_end();
	/* Taken down meanwhile: the answer may be either. */
	return seen || __atomic_load_n(&live_since[other], __ATOMIC_ACQUIRE) != since;
}

static void churn_once(struct role *role, unsigned *seed)
{
	struct subscriber *one = &role->subscribers[rand_r(seed) % OWN];

	if (one->link.node) {
		topic_tree_remove(tree, role->worker, &one->link);
		return;
	}
	snprintf(one->filter, sizeof one->filter, "%c/%s%u", 'a' + rand_r(seed) % 3,
		 rand_r(seed) % 4 ? "x/" : "+/", rand_r(seed) % 8);
	if (topic_tree_add(tree, role->worker, slice_from_string(one->filter), &one->link) !=
	    ERR_NONE)
		role->failures++;
}

static void *play_role(void *context)
{
	struct role *role = context;
	unsigned seed = role->worker + 1u;
	struct subscriber live = {.worker = role->worker};

	rcu_thread_register();
	for (uint64_t round = 0; round < ROUNDS; round++) {
		snprintf(live.filter, sizeof live.filter, "live/%u/%llu", role->worker,
			 (unsigned long long)round % 50);
		if (topic_tree_add(tree, role->worker, slice_from_string(live.filter),
				   &live.link) != ERR_NONE)
			role->failures++;
		__atomic_store_n(&live_since[role->worker], round * 2 + 1, __ATOMIC_RELEASE);
		churn_once(role, &seed);
		for (unsigned other = 0; other < THREADS; other++)
			role->failures += other != role->worker && !others_see(role, other);
		__atomic_store_n(&live_since[role->worker], round * 2 + 2, __ATOMIC_RELEASE);
		topic_tree_remove(tree, role->worker, &live.link);
	}
	for (int i = 0; i < OWN; i++)
		if (role->subscribers[i].link.node)
			topic_tree_remove(tree, role->worker, &role->subscribers[i].link);
	topic_match_fini(&role->match);
	rcu_thread_unregister();
	return NULL;
}

static void accept_any_visit(void *context, struct slice filter, uint32_t workers)
{
	(void)context;
	assert_true(topic_filter_is_valid(filter) && workers > 0);
}

static void what_was_added_is_seen_by_every_later_match(void **unused)
{
	static struct role roles[THREADS];

	(void)unused;
	memset(roles, 0, sizeof roles);
	for (uint16_t i = 0; i < THREADS; i++) {
		roles[i].worker = i;
		assert_int_equal(pthread_create(&roles[i].thread, NULL, play_role, &roles[i]), 0);
	}
	for (int i = 0; i < 20; i++)
		topic_tree_visit(tree, accept_any_visit, NULL);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(roles[i].thread, NULL);
		assert_int_equal(roles[i].failures, 0);
	}
}

static void nothing_is_left_of_what_was_removed(void **unused)
{
	enum { COUNT = 5000 };
	struct subscriber *subscribers = calloc(COUNT, sizeof *subscribers);
	uint64_t before = memory_used(MEMORY_SUBSCRIPTION);
	char filter[64];

	(void)unused;
	for (int i = 0; i < COUNT; i++) {
		snprintf(filter, sizeof filter, "device/%d/cmd", i);
		subscribe(&subscribers[i], (uint16_t)(i % 32), filter);
	}
	/* Node by node: a subscription to a path of its own must stay small. */
	assert_in_range(memory_used(MEMORY_SUBSCRIPTION) - before, COUNT, COUNT * 120);
	for (int i = 0; i < COUNT; i++)
		unsubscribe(&subscribers[i]);
	rcu_wait_deferred();
	rcu_wait_deferred();
	rcu_wait_deferred();
	assert_int_equal(memory_used(MEMORY_SUBSCRIPTION), before);
	free(subscribers);
}

#define TREE_TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(filters_match_as_the_specification_says),
		TREE_TEST(subscribers_of_other_workers_are_bits),
		TREE_TEST(many_workers_share_a_node),
		TREE_TEST(each_change_raises_the_generation),
		TREE_TEST(node_is_found_by_its_filter_and_tells_it),
		TREE_TEST(visit_names_each_filter_once),
		TREE_TEST(deepest_topic_matches_without_recursion),
		TREE_TEST(long_names_differ_at_their_end),
		TREE_TEST(random_filters_match_like_the_plain_rule),
		TREE_TEST(what_was_added_is_seen_by_every_later_match),
		TREE_TEST(nothing_is_left_of_what_was_removed),
	};
	int failed;

	rcu_thread_register();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return failed;
}
