/* SPDX-License-Identifier: Apache-2.0 */
#include "route_fixture.h"

#define CROWD 60

static void crowd_make(struct subscriber **crowd, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		crowd[i] = subscriber_make((uint16_t)(i % world.workers), "big");
}

/*
 * By turns to a topic that goes in slices and to one with a single subscriber: what comes behind a
 * large fan-out must not overtake it, at any subscriber, on any worker.
 */
static void a_publisher_keeps_its_order_across_fan_outs_in_slices(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 3};
	struct subscriber *crowd[CROWD];
	struct publisher *publishers[PUBLISHERS];
	const uint32_t count = 300;

	(void)unused;
	world_begin(WORKERS_USED, 8, &slices);
	crowd_make(crowd, CROWD);
	/* One on each worker gets both. */
	for (unsigned i = 0; i < WORKERS_USED; i++)
		subscribe(crowd[i], 1, "small");
	for (uint32_t i = 0; i < PUBLISHERS; i++) {
		publishers[i] = publisher_make((uint16_t)(i % WORKERS_USED), i);
		publishers[i]->topics[0] = "big";
		publishers[i]->topics[1] = "small";
		publishers[i]->wants_receipt = i % 2 == 0;
	}
	for (unsigned i = 0; i < PUBLISHERS; i++)
		publisher_start(publishers[i], count);
	for (unsigned i = 0; i < PUBLISHERS; i++)
		assert_true(latch_wait(&publishers[i]->done));
	for (unsigned i = 0; i < PUBLISHERS; i++) {
		publishers[i]->wants_receipt = true;
		publish(publishers[i], 2);
		assert_true(publishers[i]->spreads > 0);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		uint32_t each = i < WORKERS_USED ? count + 2 : (count + 2) / 2;

		assert_int_equal(crowd[i]->count, each * PUBLISHERS);
		assert_false(crowd[i]->is_out_of_order);
		subscriber_free(crowd[i]);
	}
	for (unsigned i = 0; i < PUBLISHERS; i++)
		publisher_free(publishers[i]);
	world_end();
}

/* Others need not wait until a large fan-out is done. */
static void another_publisher_passes_a_fan_out_by(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 1};
	struct publisher *slow, *quick;
	struct subscriber *crowd[CROWD], *watcher;

	(void)unused;
	world_begin(2, 16, &slices);
	crowd_make(crowd, CROWD);
	watcher = subscriber_make(1, "small");
	slow = publisher_make(0, 0);
	slow->topics[0] = slow->topics[1] = "big";
	quick = publisher_make(0, 1);
	quick->topics[0] = quick->topics[1] = "small";
	publisher_start(slow, 200);
	publish(quick, 20);
	assert_int_equal(watcher->count, 20);
	assert_true(latch_wait(&slow->done));
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i]->count, 200);
		subscriber_free(crowd[i]);
	}
	subscriber_free(watcher);
	publisher_free(slow);
	publisher_free(quick);
	world_end();
}

/* A turn does one slice, however many fan-outs there are: others do not wait longer. */
static void fan_outs_take_turns(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 10};
	struct publisher *publishers[PUBLISHERS];
	struct subscriber *crowd[CROWD];

	(void)unused;
	world_begin(1, 16, &slices);
	world.most_in_a_turn = 0;
	crowd_make(crowd, CROWD);
	for (uint32_t i = 0; i < PUBLISHERS; i++) {
		publishers[i] = publisher_make(0, i);
		publishers[i]->topics[0] = publishers[i]->topics[1] = "big";
		publisher_start(publishers[i], 1);
	}
	for (unsigned i = 0; i < PUBLISHERS; i++)
		assert_true(latch_wait(&publishers[i]->done));
	assert_int_equal(world.most_in_a_turn, 10);
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i]->count, PUBLISHERS);
		subscriber_free(crowd[i]);
	}
	for (unsigned i = 0; i < PUBLISHERS; i++)
		publisher_free(publishers[i]);
	world_end();
}

/* The other half of them is on another worker, where they come as letters. */
static void what_a_publisher_says_at_once_goes_through_the_same_slices(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 10};
	struct subscriber *crowd[CROWD];
	struct publisher *publisher;

	(void)unused;
	world_begin(2, 64, &slices);
	crowd_make(crowd, CROWD);
	publisher = publisher_make(0, 0);
	publisher->topics[0] = publisher->topics[1] = "big";
	publisher->wants_receipt = true;
	publisher_start(publisher, 40);
	assert_true(latch_wait(&publisher->done));
	assert_int_equal(publisher->spreads, 3); /* of 16, 16 and 8 */
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i]->count, 40);
		assert_false(crowd[i]->is_out_of_order);
		subscriber_free(crowd[i]);
	}
	publisher_free(publisher);
	world_end();
}

/* Endpoints that go in the middle of a fan-out. */

#define MANY 400

struct leaving {
	struct subscriber **crowd;
	struct subscriber *newcomer;
};

/* Every second one. Its memory is given back as well, so that AddressSanitizer sees a late touch. */
static void leave_here(struct worker *me, void *context)
{
	struct leaving *leaving = context;

	for (unsigned i = me->id; i < MANY; i += world.workers * 2) {
		subscriber_end(me, leaving->crowd[i]);
		free(leaving->crowd[i]);
		leaving->crowd[i] = NULL;
	}
	/* It gets a place in the table that has just become free. */
	subscriber_begin(me, leaving->newcomer);
}

static void who_goes_in_the_middle_of_a_fan_out_is_left_out(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 1};
	struct subscriber *crowd[MANY], *newcomers[2];
	struct publisher *publisher;

	(void)unused;
	world_begin(2, 16, &slices);
	crowd_make(crowd, MANY);
	publisher = publisher_make(0, 0);
	publisher->topics[0] = publisher->topics[1] = "big";
	publisher_start(publisher, 1);
	for (uint16_t worker = 0; worker < 2; worker++) {
		newcomers[worker] = calloc(1, sizeof(struct subscriber));
		assert_non_null(newcomers[worker]);
		do_on(worker, leave_here, &(struct leaving){crowd, newcomers[worker]});
	}
	assert_true(latch_wait(&publisher->done));
	for (unsigned i = 0; i < MANY; i++) {
		if (!crowd[i])
			continue;
		assert_int_equal(crowd[i]->count, 1);
		subscriber_free(crowd[i]);
	}
	for (uint16_t worker = 0; worker < 2; worker++) {
		assert_int_equal(newcomers[worker]->count, 0);
		subscriber_free(newcomers[worker]);
	}
	publisher_free(publisher);
	world_end();
}

static void a_publisher_that_goes_in_the_middle_of_its_fan_out_is_not_told(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 1};
	struct subscriber *crowd[CROWD];

	(void)unused;
	world_begin(2, 64, &slices);
	crowd_make(crowd, CROWD);
	for (unsigned i = 0; i < 20; i++) {
		struct publisher *publisher = publisher_make(i % 2, 0);

		publisher->topics[0] = publisher->topics[1] = "big";
		publisher_start(publisher, 1);
		publisher_free(publisher);
	}
	for (uint16_t i = 0; i < 2; i++)
		publish_last(i, "big", 1);
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i]->count, 22);
		subscriber_free(crowd[i]);
	}
	world_end();
}

/* The same session, but the connection that was held back is gone. */
static void what_comes_over_a_new_connection_waits_behind_the_fan_out_of_the_old_one(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 1};
	const uint32_t count = 40;
	struct subscriber *crowd[CROWD];

	(void)unused;
	world_begin(2, 64, &slices);
	crowd_make(crowd, CROWD);
	for (unsigned i = CROWD - 2; i < CROWD; i++)
		subscribe(crowd[i], 1, "small");
	for (uint32_t i = 0; i < count; i++) {
		struct publisher *publisher = publisher_make(0, 0);

		publisher->next = i;
		publisher->topics[0] = "big";
		publisher->topics[1] = "small";
		publisher_start(publisher, 1);
		publisher_free(publisher);
	}
	publish_last(0, "big", count);
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i]->count, i < CROWD - 2 ? count / 2 + 1 : count + 1);
		assert_false(crowd[i]->is_out_of_order);
		subscriber_free(crowd[i]);
	}
	world_end();
}

/* In one turn, so that the first has not begun when a reload makes it small enough to go at once. */
static void publish_and_reload_here(struct worker *me, void *publisher)
{
	static const struct route_settings large = {.fanout_slice = 100};

	pump(me, publisher);
	route_configure(me, &large);
	((struct publisher *)publisher)->end = 2;
	pump(me, publisher);
}

static void what_follows_a_fan_out_waits_behind_it_also_after_a_reload(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 1};
	struct subscriber *crowd[CROWD];
	struct publisher *publisher;

	(void)unused;
	world_begin(1, 16, &slices);
	crowd_make(crowd, CROWD);
	publisher = publisher_make(0, 0);
	publisher->topics[0] = publisher->topics[1] = "big";
	publisher->end = 1;
	publisher->wants_receipt = true;
	do_on(0, publish_and_reload_here, publisher);
	assert_true(latch_wait(&publisher->done));
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i]->count, 2);
		assert_false(crowd[i]->is_out_of_order);
		subscriber_free(crowd[i]);
	}
	publisher_free(publisher);
	world_end();
}

static void stop_here(struct worker *me, void *context)
{
	(void)context;
	route_worker_stop(me);
}

static void fan_outs_that_are_cancelled_give_their_receipts(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 1};
	struct subscriber *crowd[CROWD];
	struct publisher *publishers[2];

	(void)unused;
	world_begin(2, 16, &slices);
	crowd_make(crowd, CROWD);
	for (uint16_t i = 0; i < 2; i++) {
		publishers[i] = publisher_make(i, i);
		publishers[i]->topics[0] = publishers[i]->topics[1] = "big";
		publisher_start(publishers[i], 1);
	}
	for (uint16_t i = 0; i < 2; i++)
		do_on(i, stop_here, NULL);
	for (unsigned i = 0; i < 2; i++)
		assert_true(latch_wait(&publishers[i]->done));
	for (unsigned i = 0; i < CROWD; i++) {
		assert_in_range(crowd[i]->count, 0, 2);
		subscriber_free(crowd[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		publisher_free(publishers[i]);
	world_end();
}

/* In one turn, so that nothing is delivered between. */
static void start_and_stop_here(struct worker *me, void *context)
{
	pump(me, context);
	route_worker_stop(me);
}

static void a_fan_out_that_is_cancelled_is_not_stored_as_delivered(void **unused)
{
	static const struct route_settings slices = {.fanout_slice = 1};
	struct subscriber *crowd[CROWD];
	struct publisher *publisher;

	(void)unused;
	world_begin(1, 16, &slices);
	crowd_make(crowd, CROWD);
	publisher = publisher_make(0, 0);
	publisher->topics[0] = "big";
	publisher->end = 1;
	publisher->origin_id = 17;
	do_on(0, start_and_stop_here, publisher);
	assert_int_equal(publisher->receipts_due, 1);
	assert_int_equal(publisher->receipts, 0);
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i]->count, 0);
		subscriber_free(crowd[i]);
	}
	publisher_free(publisher);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_publisher_keeps_its_order_across_fan_outs_in_slices),
		cmocka_unit_test(another_publisher_passes_a_fan_out_by),
		cmocka_unit_test(fan_outs_take_turns),
		cmocka_unit_test(what_a_publisher_says_at_once_goes_through_the_same_slices),
		cmocka_unit_test(who_goes_in_the_middle_of_a_fan_out_is_left_out),
		cmocka_unit_test(a_publisher_that_goes_in_the_middle_of_its_fan_out_is_not_told),
		cmocka_unit_test(
			what_comes_over_a_new_connection_waits_behind_the_fan_out_of_the_old_one),
		cmocka_unit_test(what_follows_a_fan_out_waits_behind_it_also_after_a_reload),
		cmocka_unit_test(fan_outs_that_are_cancelled_give_their_receipts),
		cmocka_unit_test(a_fan_out_that_is_cancelled_is_not_stored_as_delivered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
