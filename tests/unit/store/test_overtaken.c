/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_overtaken.c - a worker stands still between drawing the version of a retained message and the end
 * of its turn; meanwhile another one removes what would have been newer.
 */
#include "store_fixture.h"

#define LONG_MS 61000 /* longer than a round lasts at least */

static struct latch has_drawn = LATCH(1), goes_on = LATCH(1);

static void retain(struct worker *me, const char *topic, const char *payload, uint64_t version)
{
	struct message *message = say(me, topic, payload);

	message->retained_version = version;
	store_retained_put(me, message);
	message_drop(me, &message);
}

static void put_old_and_stand_still(struct worker *me, void *unused)
{
	(void)unused;
	retain(me, "t", "old", 5);
	latch_pass(&has_drawn);
	CHECK(latch_wait(&goes_on));
}

static void remove_newer(struct worker *me, void *unused)
{
	(void)unused;
	store_retained_remove(me, SLICE_LITERAL("t"), 6);
}

static void remove_another(struct worker *me, void *unused)
{
	static uint64_t version = 10;

	(void)unused;
	store_retained_remove(me, SLICE_LITERAL("u"), ++version);
}

static void in_tables(void (*post)(struct worker *, void *))
{
	on_worker(1, post, NULL);
	wait_until_left(1);
	CHECK(wait_for(tables_have_all));
}

static void worker_0_stands_still(void)
{
	latch_reset(&has_drawn, 1);
	latch_reset(&goes_on, 1);
	run_on(runtime_worker(shop.runtime, 0), put_old_and_stand_still, NULL);
	CHECK(latch_wait(&has_drawn));
}

static void a_removal_is_remembered_while_a_worker_stands_still(void **unused)
{
	(void)unused;
	shop_open();
	worker_0_stands_still();
	in_tables(remove_newer);
	for (int i = 0; i < 4; i++) {
		clock_test_advance_ms(LONG_MS);
		in_tables(remove_another);
	}
	latch_pass(&goes_on);
	settle();
	clock_test_reset();
	shop_reopen();
	expect_lines("retained", 0);
}

/* Each round begins only when the last was seen by the idle worker, too. */
static bool is_in_third_round(void)
{
	clock_test_advance_ms(LONG_MS);
	on_worker(1, remove_another, NULL);
	return __atomic_load_n(&shop.store->round, __ATOMIC_RELAXED) >= 3;
}

static void a_removal_is_forgotten_when_all_workers_have_ended_a_turn(void **unused)
{
	(void)unused;
	shop_open();
	assert_true(wait_for(is_in_third_round));
	settle();
	clock_test_reset();
}

static void remove_and_die(void)
{
	worker_0_stands_still();
	in_tables(remove_newer);
	latch_pass(&goes_on);
}

static void what_a_ring_has_does_not_undo_a_removal_in_the_tables(void **unused)
{
	(void)unused;
#ifdef RCU_TELLS_TSAN
	skip(); /* ThreadSanitizer has no threads after a fork */
#endif
	shop_fill_and_die(remove_and_die);
	shop_open();
	expect_lines("retained", 0);
}

static void post_values(struct worker *me, void *unused)
{
	static uint64_t version =
		100; /* of the threads one after the other: each to a topic of its own */
	char topic[16];

	(void)unused;
	snprintf(topic, sizeof topic, "worker/%u", me->id);
	retain(me, topic, "value", __atomic_add_fetch(&version, 1, __ATOMIC_RELAXED));
}

/* The writer waits for who adds, and takes in what was added, over and over. */
static void removals_and_values_at_the_same_time_stop_nobody(void **unused)
{
	(void)unused;
	shop_open();
	for (int i = 0; i < 300; i++) {
		run_on(runtime_worker(shop.runtime, 0), post_values, NULL);
		on_worker(1, i % 2 ? post_values : remove_another, NULL);
	}
	settle();
	on_worker(0, do_nothing, NULL);
	settle();
	shop_reopen();
	expect_lines("retained worker/0=value", 1);
	expect_lines("retained worker/1=value", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(a_removal_is_remembered_while_a_worker_stands_still, MEMORY),
		WITH(a_removal_is_remembered_while_a_worker_stands_still, LMDB_PROCESS),
		WITH(a_removal_is_forgotten_when_all_workers_have_ended_a_turn, MEMORY),
		WITH(a_removal_is_forgotten_when_all_workers_have_ended_a_turn, LMDB_PROCESS),
		WITH(what_a_ring_has_does_not_undo_a_removal_in_the_tables, LMDB_PROCESS),
		WITH(removals_and_values_at_the_same_time_stop_nobody, LMDB_DISK),
		WITH(removals_and_values_at_the_same_time_stop_nobody, LMDB_PROCESS),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
