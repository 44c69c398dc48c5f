/* SPDX-License-Identifier: Apache-2.0 */
#include "shared_fixture.h"

static void a_full_window_waits_for_an_answer(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 2);
		publish(&world, 0, 1, 7, 1);
		ASSERT_GOT(&members[0], 1, 3);
		ASSERT_GOT(&members[1], 2, 4);
		assert_int_equal(counter_total(COUNTER_MESSAGES_QUEUED), 3);
		answer(&world, &members[1], 0, SHARED_DONE);
		answer(&world, &members[0], 1, SHARED_DISCARDED);
		answer(&world, &members[0], 0, SHARED_DROPPED);
		ASSERT_GOT(&members[0], 1, 3, 6, 7);
		ASSERT_GOT(&members[1], 2, 4, 5);
		end_all();
	}
}

static void qos0_does_not_wait_for_a_window(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 1);
		publish(&world, 0, 1, 3, 1);
		publish(&world, 0, 10, 2, 0);
		ASSERT_GOT(&members[0], 1, 10);
		ASSERT_GOT(&members[1], 2, 11);
		end_all();
	}
}

static void what_comes_back_goes_first_and_in_order(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 4);
		publish(&world, 0, 1, 10, 1); /* 1 3 5 7 | 2 4 6 8 | 9 10 wait */
		lose_connection(&world, &members[0]);
		for (unsigned i = 0; i < members[1].got_count; i++)
			answer(&world, &members[1], i, SHARED_DONE);
		ASSERT_GOT(&members[1], 2, 4, 6, 8, 1, 3, 5, 7, 9, 10);
		end_all();
	}
}

/* The news of its end is on the way while it is still given messages: they bounce in order. */
static void what_bounces_keeps_its_order(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(1, 10);
		members[0].mode = FAKE_IS_AWAY;
		publish(&world, 0, 1, 8, 1);
		assert_int_equal(counter_total(COUNTER_MESSAGES_QUEUED), 8);
		set_mode(&world, &members[0], FAKE_HOLDS);
		ASSERT_GOT(&members[0], 1, 2, 3, 4, 5, 6, 7, 8);
		assert_false(members[0].got[0].retain);
		end_all();
	}
}

/* A group at home on one worker with its only member on the other; 4 credits between them. */
static struct fake *begin_apart(uint16_t *out_home)
{
	memset(members, 0, sizeof members);
	world_begin(&world, 2, 4, &(struct shared_settings){0});
	join(&world, &members[0], 0, 10);
	*out_home = home_of_only_group(&world);
	assert_int_not_equal(*out_home, WORKER_NONE);
	if (*out_home == 1)
		return &members[0];
	join(&world, &members[1], 1, 10);
	leave(&world, &members[0]);
	return &members[1];
}

/* They come one by one, the first one first, to a queue that others stand in by then. */
static void what_bounces_goes_before_what_waits(void **unused)
{
	struct publish_order order = {.count = 15, .qos = 1};
	struct fake *member;
	uint16_t home;

	(void)unused;
	member = begin_apart(&home);
	member->mode = FAKE_IS_AWAY;
	do_on(runtime_worker(world.runtime, home), publish_here, &order);
	settle(&world);
	assert_int_equal(counter_total(COUNTER_MESSAGES_QUEUED), 15);
	set_mode(&world, member, FAKE_HOLDS);
	for (unsigned i = 0; i < member->got_count; i++)
		answer(&world, member, i, SHARED_DONE);
	assert_int_equal(member->got_count, 15);
	for (uint32_t i = 0; i < 15; i++)
		assert_int_equal(member->got[i].number, i);
	end_all();
}

static void a_bouncing_member_is_left_alone_until_it_is_back(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 10);
		members[0].mode = FAKE_IS_AWAY;
		publish(&world, 0, 1, 1, 1);
		ASSERT_GOT(&members[1], 1);
		members[0].mode = FAKE_HOLDS; /* but has not said so */
		publish(&world, 0, 2, 2, 1);
		ASSERT_GOT(&members[1], 1, 2, 3);
		set_mode(&world, &members[0], FAKE_HOLDS);
		publish(&world, 0, 4, 2, 1);
		ASSERT_GOT(&members[0], 4, 5);
		end_all();
	}
}

static void qos2_in_flight_stays_with_its_member(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 4);
		publish(&world, 0, 1, 2, 2);
		lose_connection(&world, &members[0]);
		publish(&world, 0, 3, 2, 2);
		ASSERT_GOT(&members[0], 1);
		ASSERT_GOT(&members[1], 2, 3, 4);
		answer(&world, &members[0], 0, SHARED_DONE);
		end_all();
	}
}

static void nobody_online_keeps_qos_1_and_2_for_a_persistent_member(void **unused)
{
	uint64_t offline;

	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		offline = counter_total(COUNTER_DROPPED_QOS0_OFFLINE);
		join_all(2, 10);
		lose_connection(&world, &members[0]);
		lose_connection(&world, &members[1]);
		publish(&world, 0, 1, 2, 1);
		publish(&world, 0, 3, 2, 2);
		publish(&world, 0, 5, 2, 0);
		assert_int_equal(counter_total(COUNTER_DROPPED_QOS0_OFFLINE), offline + 2);
		assert_int_equal(counter_total(COUNTER_MESSAGES_QUEUED), 4);
		set_mode(&world, &members[1], FAKE_HOLDS);
		ASSERT_GOT(&members[1], 1, 2, 3, 4);
		end_all();
	}
}

static void nobody_to_keep_it_for_drops_it(void **unused)
{
	uint64_t before;

	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		before = counter_total(COUNTER_DROPPED_SHARED_NO_MEMBER);
		join_with(&world, &members[0], worker_of(0),
			  &(struct shared_options){.qos = 1, .window = 10}, false);
		publish(&world, 0, 1, 3, 1);
		assert_int_equal(counter_total(COUNTER_DROPPED_SHARED_NO_MEMBER), before + 3);
		/* Whose session goes on is persistent after all. */
		set_mode(&world, &members[0], FAKE_HOLDS);
		lose_connection(&world, &members[0]);
		publish(&world, 0, 4, 2, 1);
		set_mode(&world, &members[0], FAKE_HOLDS);
		ASSERT_GOT(&members[0], 4, 5);
		end_all();
	}
}

static void the_last_member_takes_the_queue_along(void **unused)
{
	uint64_t before, unmatched;

	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		before = counter_total(COUNTER_DROPPED_SHARED_NO_MEMBER);
		join_all(1, 2);
		publish(&world, 0, 1, 5, 1);
		leave(&world, &members[0]); /* drops 3 in the queue; 2 are still out */
		assert_int_equal(counter_total(COUNTER_DROPPED_SHARED_NO_MEMBER), before + 3);
		unmatched = counter_total(COUNTER_PUBLISH_UNMATCHED);
		publish(&world, 0, 6, 1, 1);
		assert_int_equal(counter_total(COUNTER_PUBLISH_UNMATCHED), unmatched + 1);
		answer(&world, &members[0], 1, SHARED_BACK); /* to a group that is gone */
		assert_int_equal(counter_total(COUNTER_DROPPED_SHARED_NO_MEMBER), before + 4);
		join_all(1, 2); /* a group of the same name knows nothing of it */
		answer(&world, &members[0], 0, SHARED_DONE);
		assert_int_equal(members[0].got_count, 2);
		end_all();
	}
}

static void who_has_left_gives_back_to_the_others(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 10);
		publish(&world, 0, 1, 4, 1);
		end(&world, &members[0]);
		ASSERT_GOT(&members[1], 2, 4, 1, 3);
		end_all();
	}
}

static void a_member_that_is_gone_without_a_word_loses_nothing(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 10);
		do_on(members[0].worker, retire_here, &members[0]);
		publish(&world, 0, 1, 4, 1);
		assert_int_equal(members[0].got_count, 0);
		assert_int_equal(members[1].got_count, 4);
		for (uint32_t number = 1; number <= 4; number++)
			assert_int_equal(whose(number), 1);
		do_on(members[0].worker, leave_here, &members[0]);
		settle(&world);
		end_all();
	}
}

static void the_queue_has_limits(void **unused)
{
	uint64_t before;

	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		before = counter_total(COUNTER_DROPPED_QUEUE_FULL);
		begin_with(*workers, &(struct shared_settings){.max_queued_messages = 3});
		join_all(1, 1);
		publish(&world, 0, 1, 6, 1);
		assert_int_equal(counter_total(COUNTER_DROPPED_QUEUE_FULL), before + 2);
		for (unsigned i = 0; i < members[0].got_count; i++)
			answer(&world, &members[0], i, SHARED_DONE);
		ASSERT_GOT(&members[0], 1, 2, 3, 4);
		end_all();
	}
}

static void the_oldest_may_go_first(void **unused)
{
	uint64_t before;

	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		/* Topic and payload are 5 bytes. */
		struct shared_settings settings = {.max_queued_bytes = 15, .drop_oldest = true};

		before = counter_total(COUNTER_DROPPED_QUEUE_FULL);
		begin_with(*workers, &settings);
		join_all(1, 1);
		publish(&world, 0, 1, 6, 1);
		assert_int_equal(counter_total(COUNTER_DROPPED_QUEUE_FULL), before + 2);
		for (unsigned i = 0; i < members[0].got_count; i++)
			answer(&world, &members[0], i, SHARED_DONE);
		ASSERT_GOT(&members[0], 1, 4, 5, 6);
		end_all();
	}
}

static void what_expires_in_the_queue_is_not_sent(void **unused)
{
	struct publish_order order = {.first = 2, .count = 2, .qos = 1};
	uint64_t before = counter_total(COUNTER_DROPPED_EXPIRED);

	(void)unused;
	begin(1);
	join_all(1, 1);
	publish(&world, 0, 1, 1, 1);
	order.expires_ms = clock_now_ms() + 10000;
	do_on(runtime_worker(world.runtime, 0), publish_here, &order);
	publish(&world, 0, 4, 1, 1);
	clock_test_advance_ms(20000);
	settle(&world); /* a turn in which time has passed */
	answer(&world, &members[0], 0, SHARED_DONE);
	ASSERT_GOT(&members[0], 1, 4);
	assert_int_equal(counter_total(COUNTER_DROPPED_EXPIRED), before + 2);
	end_all();
	clock_test_reset();
}

static void each_member_has_options_of_its_own(void **unused)
{
	struct publish_order order = {.first = 1, .count = 2, .qos = 2, .flags = MESSAGE_RETAIN};

	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_with(&world, &members[0], worker_of(0),
			  &(struct shared_options){.qos = 1,
						   .window = 10,
						   .subscription_id = 7,
						   .is_readable = true},
			  true);
		join_with(&world, &members[1], worker_of(1),
			  &(struct shared_options){.qos = 0,
						   .window = 10,
						   .retain_as_published = true},
			  true);
		do_on(runtime_worker(world.runtime, 0), publish_here, &order);
		settle(&world);
		ASSERT_GOT(&members[0], 1);
		ASSERT_GOT(&members[1], 2);
		assert_int_equal(members[0].got[0].qos, 1);
		assert_int_equal(members[0].got[0].subscription_id, 7);
		assert_true(members[0].got[0].is_readable);
		assert_false(members[0].got[0].retain);
		assert_int_equal(members[1].got[0].qos, 0);
		assert_int_equal(members[1].got[0].subscription_id, 0);
		assert_false(members[1].got[0].is_readable);
		assert_true(members[1].got[0].retain);
		/* Joining again changes them. */
		join_with(&world, &members[1], worker_of(1),
			  &(struct shared_options){.qos = 2, .window = 10, .subscription_id = 9},
			  true);
		publish(&world, 0, 3, 2, 2);
		assert_int_equal(members[1].got[1].qos, 2);
		assert_int_equal(members[1].got[1].subscription_id, 9);
		end_all();
	}
}

static void groups_are_told_apart_by_name_and_filter(void **unused)
{
	struct join joins[4] = {
		{.fake = &members[0], .group = "a", .filter = "t"},
		{.fake = &members[1], .group = "b", .filter = "t"},
		{.fake = &members[2], .group = "a", .filter = "+"},
		{.fake = &members[3], .group = "at", .filter = "#"},
	};

	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		for (unsigned i = 0; i < 4; i++) {
			joins[i].options = (struct shared_options){.qos = 1, .window = 100};
			joins[i].is_online = true;
			do_on(runtime_worker(world.runtime, worker_of(i)), join_here, &joins[i]);
		}
		settle(&world);
		publish(&world, 0, 1, 3, 1);
		for (unsigned i = 0; i < 4; i++) {
			ASSERT_GOT(&members[i], 1, 2, 3);
			assert_true(
				slice_equal_string(shared_membership_group(members[i].membership),
						   joins[i].group));
			assert_true(
				slice_equal_string(shared_membership_filter(members[i].membership),
						   joins[i].filter));
		}
		end_all();
	}
}

/* 4 credits a turn: so many turns as settle() does not wait for. */
static void wait_for_empty_queues(uint16_t home)
{
	while (counter_total(COUNTER_MESSAGES_QUEUED))
		let_turn_end(runtime_worker(world.runtime, home));
	settle(&world);
}

static void qos0_beyond_the_credits_waits_in_order(void **unused)
{
	struct publish_order order = {.count = 30};
	struct fake *member;
	uint16_t home;

	(void)unused;
	member = begin_apart(&home);
	do_on(runtime_worker(world.runtime, home), publish_here, &order);
	wait_for_empty_queues(home);
	assert_int_equal(member->got_count, 30);
	for (uint32_t i = 0; i < 30; i++)
		assert_int_equal(member->got[i].number, i);
	end_all();
}

/* A flood in one turn, far more than all workers could post. */
static void too_much_qos0_is_dropped_and_counted(void **unused)
{
	struct publish_order order = {.count = 1000};
	uint64_t before = counter_total(COUNTER_DROPPED_QOS0_NO_CREDIT);
	struct fake *member;
	uint16_t home;

	(void)unused;
	member = begin_apart(&home);
	do_on(runtime_worker(world.runtime, home), publish_here, &order);
	wait_for_empty_queues(home);
	assert_int_equal(member->got_count, 4 + 4 * 2 * 4);
	assert_int_equal(counter_total(COUNTER_DROPPED_QOS0_NO_CREDIT) - before,
			 1000 - member->got_count);
	end_all();
}

/* Sessions that were not ended before the stop: all is freed on the main thread. The gauges are not
 * set right any more, so this is the last case. */
static void what_is_left_is_freed_with_the_worker(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(3, 1);
		for (unsigned i = 0; i < 3; i++)
			lose_connection(&world, &members[i]);
		publish(&world, 0, 1, 10, 1);
		runtime_stop(world.runtime);
		for (unsigned i = 0; i < 3; i++) {
			struct shared_membership *left = members[i].membership;

			memory_uncharge(MEMORY_SUBSCRIPTION, sizeof *left + left->key_len);
			free(left);
		}
		world_end(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_window_waits_for_an_answer),
		cmocka_unit_test(qos0_does_not_wait_for_a_window),
		cmocka_unit_test(what_comes_back_goes_first_and_in_order),
		cmocka_unit_test(what_bounces_keeps_its_order),
		cmocka_unit_test(what_bounces_goes_before_what_waits),
		cmocka_unit_test(a_bouncing_member_is_left_alone_until_it_is_back),
		cmocka_unit_test(qos2_in_flight_stays_with_its_member),
		cmocka_unit_test(nobody_online_keeps_qos_1_and_2_for_a_persistent_member),
		cmocka_unit_test(nobody_to_keep_it_for_drops_it),
		cmocka_unit_test(the_last_member_takes_the_queue_along),
		cmocka_unit_test(who_has_left_gives_back_to_the_others),
		cmocka_unit_test(a_member_that_is_gone_without_a_word_loses_nothing),
		cmocka_unit_test(the_queue_has_limits),
		cmocka_unit_test(the_oldest_may_go_first),
		cmocka_unit_test(what_expires_in_the_queue_is_not_sent),
		cmocka_unit_test(each_member_has_options_of_its_own),
		cmocka_unit_test(groups_are_told_apart_by_name_and_filter),
		cmocka_unit_test(qos0_beyond_the_credits_waits_in_order),
		cmocka_unit_test(too_much_qos0_is_dropped_and_counted),
		cmocka_unit_test(what_is_left_is_freed_with_the_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
