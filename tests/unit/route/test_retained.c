/* SPDX-License-Identifier: Apache-2.0 */
#include "retained_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "mqtt/topic.h"

static struct message *message_new(const char *topic, const char *payload, uint64_t expires_ms)
{
	struct message_content content = {
		.topic = slice_from_string(topic),
		.payload = slice_from_string(payload),
		.expires_ms = expires_ms,
		.flags = MESSAGE_RETAIN,
	};
	struct message *message = message_create(NULL, &content);

	assert_non_null(message);
	return message;
}

/* Returns the version that the message was given. */
static uint64_t set_expiring(const char *topic, const char *payload, uint64_t expires_ms)
{
	struct message *message = message_new(topic, payload, expires_ms);
	uint64_t version;

	assert_int_equal(retained_set(retained, &trail, message), ERR_NONE);
	version = message->retained_version;
	message_drop(NULL, &message);
	return version;
}

static uint64_t set(const char *topic, const char *payload)
{
	return set_expiring(topic, payload, 0);
}

static bool is_set_to(const char *topic, const char *payload)
{
	struct message *message = retained_get(NULL, retained, slice_from_string(topic));
	bool is_equal;

	if (!message)
		return payload == NULL;
	is_equal = payload && slice_equal_string(message_payload(message), payload);
	message_drop(NULL, &message);
	return is_equal;
}

static void last_message_replaces_and_empty_one_removes(void **unused)
{
	(void)unused;
	assert_true(is_set_to("a/b", NULL));
	set("a/b", "one");
	assert_true(is_set_to("a/b", "one"));
	set("a/b", "two");
	assert_true(is_set_to("a/b", "two"));
	assert_int_equal(retained_count(retained), 1);
	assert_int_equal(retained_bytes(retained), 6);
	assert_int_equal(counter_total(COUNTER_RETAINED_MESSAGES), 1);
	assert_true(is_set_to("a", NULL));
	set("a/b", "");
	assert_true(is_set_to("a/b", NULL));
	assert_int_equal(retained_count(retained), 0);
	assert_int_equal(retained_bytes(retained), 0);
	set("never/set", "");
	assert_int_equal(retained_count(retained), 0);
}

static void versions_of_a_topic_rise_even_when_its_node_went(void **unused)
{
	uint64_t first = set("v", "1"), second = set("v", "2"), third = set("v", ""), fourth;

	(void)unused;
	assert_true(first > 0 && second > first && third > second);
	fourth = set("v", "4");
	assert_true(fourth > third);
	set("v/below", "x");
	assert_true(set("v", "") > fourth);
	assert_true(set("v", "6") > fourth + 1);
}

static void removing_a_topic_keeps_what_is_below(void **unused)
{
	(void)unused;
	set("a", "top");
	set("a/b/c", "deep");
	set("a", "");
	retained_audit(retained);
	assert_true(is_set_to("a", NULL));
	assert_true(is_set_to("a/b/c", "deep"));
	set("a/b/c", "");
	assert_int_equal(retained_count(retained), 0);
}

static void limits_refuse_what_is_new_and_allow_what_replaces(void **unused)
{
	struct message *message;

	(void)unused;
	retained_configure(retained, &(struct retained_settings){2, 60});
	set("1", "x");
	set("2", "x");
	message = message_new("3", "x", 0);
	assert_int_equal(retained_set(retained, &trail, message), ERR_LIMIT);
	message_drop(NULL, &message);
	assert_true(is_set_to("3", NULL));
	set("2", "y");
	assert_true(is_set_to("2", "y"));
	set("1", "");
	set("3", "x");
	message = message_new("3",
			      "longer than what is left of the sixty bytes which these messages "
			      "may have together, by a little",
			      0);
	assert_int_equal(retained_set(retained, &trail, message), ERR_LIMIT);
	message_drop(NULL, &message);
	assert_true(is_set_to("3", "x"));
}

static void expired_message_is_not_found_and_goes(void **unused)
{
	(void)unused;
	clock_test_freeze(1000);
	set_expiring("leaf", "x", 1500);
	set_expiring("inner", "x", 1500);
	set("inner/below", "stays");
	assert_int_equal(retained_expiring_count(retained), 2);
	assert_true(is_set_to("leaf", "x"));
	while (retained_expire_slice(NULL, retained, 1))
		;
	assert_int_equal(retained_count(retained), 3);
	clock_test_advance_ms(500);
	assert_true(is_set_to("leaf", NULL));
	assert_true(is_set_to("inner", NULL));
	assert_int_equal(retained_count(retained), 3);
	while (retained_expire_slice(NULL, retained, 1))
		;
	assert_int_equal(retained_count(retained), 1);
	assert_int_equal(retained_expiring_count(retained), 0);
	retained_audit(retained);
	assert_true(is_set_to("inner/below", "stays"));
	set("inner", "again");
	assert_true(is_set_to("inner", "again"));
	clock_test_reset();
}

/* Walks with so many nodes a slice; counts the messages, and checks each against the filter. */
static unsigned walk(const char *filter, unsigned slice)
{
	struct retained_cursor *cursor;
	struct message *message;
	unsigned count = 0, budget = slice;
	bool more = true;

	assert_int_equal(retained_cursor_create(retained, slice_from_string(filter), &cursor),
			 ERR_NONE);
	while (more) {
		message = retained_cursor_next(NULL, cursor, &budget, &more);
		if (message) {
			assert_true(topic_matches_filter(message_topic(message),
							 slice_from_string(filter)));
			message_drop(NULL, &message);
			count++;
		} else if (more) {
			assert_int_equal(budget, 0);
			budget = slice;
		}
	}
	retained_cursor_destroy(&cursor);
	assert_null(cursor);
	return count;
}

static void cursor_finds_what_matches(void **unused)
{
	static const char *const topics[] = {"a",   "a/b", "a/b/c", "a/c",  "/",    "/a",
					     "b/b", "b",   "$x",    "$x/b", "a/$x", "a//"};
	static const char *const filters[] = {"a",     "a/b", "+",   "#",     "a/#",   "a/+",
					      "+/b",   "+/+", "/+",  "$x/#",  "$x/+",  "+/#",
					      "a/b/#", "x",   "a/x", "a/+/c", "+/b/#", "a/+/+"};

	(void)unused;
	for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
		set(topics[i], "x");
	for (size_t f = 0; f < sizeof filters / sizeof *filters; f++) {
		unsigned expected = 0;

		for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
			expected += topic_matches_filter(slice_from_string(topics[i]),
							 slice_from_string(filters[f]));
		assert_int_equal(walk(filters[f], 1000), expected);
		assert_int_equal(walk(filters[f], 1), expected);
		assert_int_equal(walk(filters[f], 3), expected);
	}
}

/* Levels of a small alphabet, so that topics often share some, and often are of the same name. */
static void random_levels(unsigned *seed, const char *const *names, unsigned count, char *out)
{
	unsigned levels = 1 + (unsigned)rand_r(seed) % 5;

	*out = '\0';
	for (unsigned i = 0; i < levels; i++) {
		if (i)
			strcat(out, "/");
		strcat(out, names[(unsigned)rand_r(seed) % count]);
	}
}

static unsigned index_of(char names[][32], unsigned count, const char *name)
{
	unsigned i = 0;

	while (i < count && strcmp(names[i], name) != 0)
		i++;
	return i;
}

static void random_topics_are_found_by_random_filters(void **unused)
{
	enum { STEPS = 4000, MOST = 60 };
	static const char *const names[] = {"a", "b", "ab", "", "+", "+"};
	char topics[MOST][32], topic[32], filter[32];
	unsigned count = 0, seed = 7;

	(void)unused;
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned at, expected = 0;
		bool is_found;

		random_levels(&seed, names, 4, topic);
		at = topic[0] ? index_of(topics, count, topic) : MOST;
		if (at == count && count < MOST) {
			set(topic, topic);
			strcpy(topics[count++], topic);
		} else if (at < count) {
			assert_true(is_set_to(topic, topic));
			set(topic, "");
			memmove(topics[at], topics[--count], sizeof topics[at]);
		}
		assert_int_equal(retained_count(retained), count);
		random_levels(&seed, names, 6, filter);
		if (rand_r(&seed) % 3 == 0)
			strcat(filter, "/#");
		if (!filter[0])
			continue;
		for (unsigned i = 0; i < count; i++)
			expected += topic_matches_filter(slice_from_string(topics[i]),
							 slice_from_string(filter));
		assert_int_equal(walk(filter, 1 + step % 7), expected);
		is_found = retained_may_match(retained, slice_from_string(filter));
		assert_true(is_found || expected == 0);
		if (!topic_filter_has_wildcard(slice_from_string(filter)))
			assert_int_equal(is_found, expected);
		if (step % 100 == 0)
			retained_audit(retained);
	}
	while (count)
		set(topics[--count], "");
	assert_int_equal(retained_count(retained), 0);
	retained_audit(retained);
}

/* What nothing else shares takes one node, and another topic does not change it. */
static void topic_alone_below_a_level_is_one_node(void **unused)
{
	uint64_t one, two;

	(void)unused;
	set("device/1/state", "x");
	set("device/2/state", "x");
	one = memory_used(MEMORY_RETAINED);
	set("device/3/state", "x");
	two = memory_used(MEMORY_RETAINED);
	set("device/4/state", "x");
	assert_int_equal(memory_used(MEMORY_RETAINED) - two, two - one);
	assert_true(two - one < 2 * sizeof(void *) * 8);
	set("device/3/cmd", "y");
	assert_true(is_set_to("device/3/state", "x"));
	assert_true(is_set_to("device/3/cmd", "y"));
	assert_int_equal(walk("device/3/+", 1), 2);
	assert_int_equal(walk("device/+/state", 1), 4);
	set("device/3/state", "");
	set("device/3/state", "z");
	assert_int_equal(walk("device/3/#", 1), 2);
	assert_int_equal(walk("device/3", 1), 0);
	assert_int_equal(walk("+/3/cmd", 1), 1);
}

static void cursor_over_nothing_ends_at_once(void **unused)
{
	(void)unused;
	assert_int_equal(walk("#", 1), 0);
	assert_int_equal(walk("a/+/b", 1), 0);
}

static void topic_removed_under_the_cursor_does_not_stop_it(void **unused)
{
	struct retained_cursor *cursor;
	struct message *message;
	unsigned budget = 1000, seen = 0;
	char topic[32], removed[32];
	bool more = true;

	(void)unused;
	for (int i = 0; i < 10; i++) {
		snprintf(topic, sizeof topic, "t/%d/x", i);
		set(topic, "x");
	}
	assert_int_equal(retained_cursor_create(retained, SLICE_LITERAL("#"), &cursor), ERR_NONE);
	while ((message = retained_cursor_next(NULL, cursor, &budget, &more))) {
		struct slice name = message_topic(message);

		snprintf(removed, sizeof removed, "%.*s", (int)name.len, (const char *)name.data);
		message_drop(NULL, &message);
		set(removed, "");
		retained_audit(retained);
		seen++;
	}
	assert_false(more);
	assert_int_equal(seen, 10);
	assert_int_equal(retained_count(retained), 0);
	retained_cursor_destroy(&cursor);
}

static void cursor_left_in_the_middle_lets_its_node_go(void **unused)
{
	struct retained_cursor *cursor;
	struct message *message;
	unsigned budget = 1000;
	bool more;

	(void)unused;
	set("a/b/c", "x");
	assert_int_equal(retained_cursor_create(retained, SLICE_LITERAL("#"), &cursor), ERR_NONE);
	message = retained_cursor_next(NULL, cursor, &budget, &more);
	assert_non_null(message);
	message_drop(NULL, &message);
	set("a/b/c", "");
	assert_int_equal(retained_count(retained), 0);
	assert_true(memory_used(MEMORY_RETAINED) > 0);
	retained_cursor_destroy(&cursor);
	retained_audit(retained);
	set("a/b/c", "y");
	assert_true(is_set_to("a/b/c", "y"));
}

/* Writers on one set of topics; in the end the highest version stands at each. */
enum { WRITERS = 4, TOPICS = 8, ROUNDS = 4000 };

struct writer {
	struct counters counters;
	struct topic_trail trail;
	pthread_t thread;
	unsigned seed;
	uint64_t highest[TOPICS]; /* version of the last of mine, by topic */
	bool is_empty[TOPICS];
	unsigned failures;
};

static void *write_at_random(void *context)
{
	struct writer *writer = context;

	rcu_thread_register();
	counters_attach(&writer->counters);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned topic = (unsigned)rand_r(&writer->seed) % TOPICS;
		bool is_empty = rand_r(&writer->seed) % 3 == 0;
		struct message_content content = {.payload = is_empty ? SLICE_NONE
								      : SLICE_LITERAL("x")};
		struct message *message;
		char name[32];

		/* Some topics are below others, so that nodes come and go with and without. */
		snprintf(name, sizeof name, topic % 2 ? "t/%u/below" : "t/%u", topic / 2);
		content.topic = slice_from_string(name);
		message = message_create(NULL, &content);
		rcu_read_section_begin();
		retained_expect(retained, &writer->trail, content.topic);
		rcu_read_section_end();
		writer->failures += retained_set(retained, &writer->trail, message) != ERR_NONE;
		/* A removal where there was nothing gets a version that says nothing. */
		if (message->retained_version > writer->highest[topic]) {
			writer->highest[topic] = message->retained_version;
			writer->is_empty[topic] = is_empty;
		}
		message_drop(NULL, &message);
	}
	counters_detach(&writer->counters);
	rcu_thread_unregister();
	return NULL;
}

static void highest_version_of_many_writers_stands(void **unused)
{
	static struct writer writers[WRITERS];

	(void)unused;
	memset(writers, 0, sizeof writers);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].seed = i + 1;
		assert_int_equal(pthread_create(&writers[i].thread, NULL, write_at_random,
						&writers[i]),
				 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, NULL);
		assert_int_equal(writers[i].failures, 0);
	}
	retained_audit(retained);
	for (unsigned topic = 0; topic < TOPICS; topic++) {
		uint64_t highest = 0;
		bool is_empty = true;
		char name[32];

		for (unsigned i = 0; i < WRITERS; i++) {
			if (writers[i].highest[topic] <= highest)
				continue;
			highest = writers[i].highest[topic];
			is_empty = writers[i].is_empty[topic];
		}
		snprintf(name, sizeof name, topic % 2 ? "t/%u/below" : "t/%u", topic / 2);
		assert_true(is_set_to(name, is_empty ? NULL : "x"));
	}
}

/* A walk over topics that stay, while others next to them, above and below come and go. */
static int stop;

static void *change_around(void *context)
{
	unsigned seed = *(unsigned *)context;
	struct topic_trail own_trail = {0};
	struct counters counters;
	char name[48];

	rcu_thread_register();
	counters_attach(&counters);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		unsigned n = (unsigned)rand_r(&seed) % 1000;
		struct message_content content = {.payload = rand_r(&seed) % 2 ? SLICE_LITERAL("x")
									       : SLICE_NONE};
		struct message *message;

		snprintf(name, sizeof name, seed % 3 ? "s/%u/gone/%u" : "s/%u", n % 100, n / 100);
		content.topic = slice_from_string(name);
		message = message_create(NULL, &content);
		if (retained_set(retained, &own_trail, message) != ERR_NONE)
			abort();
		message_drop(NULL, &message);
	}
	counters_detach(&counters);
	rcu_thread_unregister();
	return NULL;
}

static void walk_once_amid_changes(struct slice filter, uint8_t *seen, unsigned stable)
{
	struct retained_cursor *cursor;
	struct message *message;
	unsigned budget = 100;
	bool more = true;

	assert_int_equal(retained_cursor_create(retained, filter, &cursor), ERR_NONE);
	while (more) {
		message = retained_cursor_next(NULL, cursor, &budget, &more);
		if (!message) {
			budget = 100;
			continue;
		}
		if (slice_equal_string(message_payload(message), "stays")) {
			unsigned n =
				(unsigned)strtoul((const char *)message_topic(message).data + 2,
						  NULL, 10);

			assert_true(n < stable);
			seen[n]++;
		}
		message_drop(NULL, &message);
	}
	retained_cursor_destroy(&cursor);
}

static void what_stays_is_seen_once_whatever_changes_around(void **unused)
{
	enum { STABLE = 1000, WALKS = 20 };
	static uint8_t seen[STABLE];
	pthread_t threads[2];
	unsigned seeds[2] = {1, 2};
	char name[32];

	(void)unused;
	stop = 0;
	for (unsigned i = 0; i < STABLE; i++) {
		snprintf(name, sizeof name, "s/%u/stay", i);
		set(name, "stays");
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, change_around, &seeds[i]), 0);
	for (int i = 0; i < WALKS; i++) {
		memset(seen, 0, sizeof seen);
		walk_once_amid_changes(i % 2 ? SLICE_LITERAL("s/#") : SLICE_LITERAL("s/+/stay"),
				       seen, STABLE);
		for (unsigned n = 0; n < STABLE; n++)
			assert_int_equal(seen[n], 1);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void hundred_thousand_topics_come_in_slices(void **unused)
{
	enum { COUNT = 100000 };
	char name[48];

	(void)unused;
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "site/%d/device/%d", i % 100, i);
		set(name, "x");
	}
	assert_int_equal(retained_count(retained), COUNT);
	assert_int_equal(walk("#", 1000), COUNT);
	assert_int_equal(walk("site/+/device/#", 77), COUNT);
	assert_int_equal(walk("site/7/#", 1000), COUNT / 100);
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "site/%d/device/%d", i % 100, i);
		set(name, "");
	}
	assert_int_equal(retained_count(retained), 0);
}

#define RETAINED_TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RETAINED_TEST(last_message_replaces_and_empty_one_removes),
		RETAINED_TEST(versions_of_a_topic_rise_even_when_its_node_went),
		RETAINED_TEST(removing_a_topic_keeps_what_is_below),
		RETAINED_TEST(limits_refuse_what_is_new_and_allow_what_replaces),
		RETAINED_TEST(expired_message_is_not_found_and_goes),
		RETAINED_TEST(cursor_finds_what_matches),
		RETAINED_TEST(random_topics_are_found_by_random_filters),
		RETAINED_TEST(topic_alone_below_a_level_is_one_node),
		RETAINED_TEST(cursor_over_nothing_ends_at_once),
		RETAINED_TEST(topic_removed_under_the_cursor_does_not_stop_it),
		RETAINED_TEST(cursor_left_in_the_middle_lets_its_node_go),
		RETAINED_TEST(highest_version_of_many_writers_stands),
		RETAINED_TEST(what_stays_is_seen_once_whatever_changes_around),
		RETAINED_TEST(hundred_thousand_topics_come_in_slices),
	};
	int failed;

	rcu_thread_register();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return failed;
}
