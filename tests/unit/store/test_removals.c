/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_removals.c - what is lost when, on a disk without room, removals were written alone, and the broker
 * dies before all the rest is.
 */
#include "store_fixture.h"

static struct kv_ops narrow_ops;
static const struct kv_ops *wide_ops;
static bool is_narrow; /* atomic */
static uint64_t number, group_number;

/* No room for anything but the META table's record, which a commit of removals alone puts too. */
static enum err narrow_put(struct kv *kv, enum kv_table table, struct slice key, struct slice value,
			   bool append)
{
	if (table != KV_META && __atomic_load_n(&is_narrow, __ATOMIC_ACQUIRE))
		return ERR_LIMIT;
	return wide_ops->put(kv, table, key, value, append);
}

static void make_narrow(struct kv *kv)
{
	wide_ops = kv->ops;
	narrow_ops = *wide_ops;
	narrow_ops.put = narrow_put;
	kv->ops = &narrow_ops;
}

static void narrow(bool on)
{
	__atomic_store_n(&is_narrow, on, __ATOMIC_RELEASE);
}

static uint64_t failures_before, commits_before;

static bool has_failed_three_times(void)
{
	return counter_total(COUNTER_STORE_FAILURES) - failures_before >= 3;
}

static uint64_t commits(void)
{
	struct store_figures figures;

	store_figures(shop.store, &figures);
	return figures.commits;
}

static bool has_committed(void)
{
	return commits() > commits_before;
}

static void post_session(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	put_session(me, 2, "$share/g/t", STORE_GROUP);
}

static void post_sent(struct worker *me, void *unused)
{
	struct message *message = say(me, "t", "once");

	(void)unused;
	number = queue_qos(me, 1, message, 2);
	store_inflight(me, 1, number, 7, STORE_SENT, 2);
	message_drop(me, &message);
}

static void post_released(struct worker *me, void *unused)
{
	(void)unused;
	store_inflight(me, 1, number, 7, STORE_RELEASED, 2);
}

static void post_to_two(struct worker *me, void *unused)
{
	struct message *message = say(me, "t", "both");

	(void)unused;
	number = queue_qos(me, 1, message, 2);
	group_number = queue_qos(me, 2, message, 1);
	store_inflight(me, 1, number, 7, STORE_SENT, 2);
	message_drop(me, &message);
}

/* The record dies with the one whose end nothing else has to tell of. */
static void post_released_and_done(struct worker *me, void *unused)
{
	post_released(me, unused);
	store_done(me, 2, group_number);
}

static void post_done(struct worker *me, void *unused)
{
	(void)unused;
	store_done(me, 2, group_number);
}

static void post_to_group(struct worker *me, void *unused)
{
	struct message *message = say(me, "t", "shared");

	(void)unused;
	group_number = queue_qos(me, 2, message, 2);
	message_drop(me, &message);
}

/* A member takes it over; by then the body that was read back has another number. */
static void post_move(struct worker *me, void *unused)
{
	struct message *message = say(me, "t", "shared");
	struct store_delivery delivery = {.qos = 2, .from_id = 2, .from_number = group_number};

	(void)unused;
	number = store_queue(me, 1, message, &delivery);
	store_inflight(me, 1, number, 8, STORE_SENT, 2);
	message_drop(me, &message);
}

/* A store, and what is committed before there is no room. */
static void open_with(void (*before)(struct worker *, void *))
{
	shop.opened = make_narrow;
	narrow(false);
	shop_open();
	on_worker(0, post_session, NULL);
	on_worker(0, before, NULL);
}

static void fail_to_write(void (*what)(struct worker *, void *))
{
	settle();
	narrow(true);
	failures_before = counter_total(COUNTER_STORE_FAILURES);
	on_worker(0, what, NULL);
	assert_true(wait_for(has_failed_three_times));
}

/* before is committed; after finds no room; then the power goes. */
static void cut_after(void (*before)(struct worker *, void *),
		      void (*after)(struct worker *, void *))
{
	open_with(before);
	fail_to_write(after);
	store_image_cut(shop.image);
	narrow(false);
	shop_reopen();
	ledger_audit(&shop.store->ledger);
}

static void what_was_released_is_in_flight_still(void **unused)
{
	(void)unused;
	cut_after(post_sent, post_released);
	expect_lines("message 1 t=once qos 2 ids 0 flight 1 as 7", 1);
}

static void what_one_has_released_and_another_has_done_is_in_flight_still(void **unused)
{
	(void)unused;
	cut_after(post_to_two, post_released_and_done);
	expect_lines("message 1 t=both qos 2 ids 0 flight 1 as 7", 1);
}

static void what_a_member_took_over_is_the_groups_still(void **unused)
{
	(void)unused;
	cut_after(post_to_group, post_move);
	expect_lines("t=shared", 1);
	expect_lines("message 2 t=shared qos 2", 1);
}

static void post_session_three(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 3, "gamma", STORE_SESSION);
}

/* What a state had to tell of is written: so now the record is nothing but in the way. */
static void what_was_released_long_ago_gives_room(void **unused)
{
	(void)unused;
	open_with(post_to_two);
	on_worker(0, post_released, NULL);
	settle();
	narrow(true);
	on_worker(0, post_session_three, NULL);
	on_worker(0, post_done, NULL);
	commits_before = commits();
	assert_true(wait_for(has_committed)); /* the removals */
	store_image_cut(shop.image);
	narrow(false);
	shop_reopen();
	expect_lines("released 1 as 7", 1);
	expect_lines("message", 0);
}

/* Once there is room all is written, and what was removed is. */
static void with_room_again_all_of_it_is_written(void **unused)
{
	(void)unused;
	open_with(post_to_two);
	fail_to_write(post_released_and_done);
	narrow(false);
	settle();
	shop_reopen();
	expect_lines("released 1 as 7", 1);
	expect_lines("message", 0);
}

static void post_done_and_another(struct worker *me, void *unused)
{
	struct message *message = say(me, "t", "precious");

	(void)unused;
	store_done(me, 2, group_number);
	number = queue_qos(me, 1, message, 1);
	message_drop(me, &message);
}

static void fill_a_ring(void)
{
	on_worker(0, post_session, NULL);
	on_worker(0, post_to_group, NULL);
	settle();
	CHECK(wait_for(tables_have_all));
	narrow(true);
	commits_before = commits();
	on_worker(0, post_done_and_another, NULL);
	CHECK(wait_for(has_committed)); /* the removals */
}

/* Nor does it say that what is in a ring had been applied. */
static void what_is_in_a_ring_is_still_to_be_applied(void **unused)
{
	(void)unused;
#ifdef RCU_TELLS_TSAN
	skip(); /* ThreadSanitizer has no threads after a fork */
#endif
	shop.opened = make_narrow;
	narrow(false);
	shop_fill_and_die(fill_a_ring);
	narrow(false);
	shop_open();
	expect_lines("message 1 t=precious", 1);
	expect_lines("t=shared", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(what_was_released_is_in_flight_still, MEMORY),
		WITH(what_one_has_released_and_another_has_done_is_in_flight_still, MEMORY),
		WITH(what_a_member_took_over_is_the_groups_still, MEMORY),
		WITH(what_was_released_long_ago_gives_room, MEMORY),
		WITH(with_room_again_all_of_it_is_written, MEMORY),
		WITH(what_is_in_a_ring_is_still_to_be_applied, LMDB_PROCESS),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
