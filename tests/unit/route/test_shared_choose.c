/* SPDX-License-Identifier: Apache-2.0 */
#include "shared_fixture.h"

static void equals_take_turns(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(3, 10);
		publish(&world, 0, 1, 6, 1);
		ASSERT_GOT(&members[0], 1, 4);
		ASSERT_GOT(&members[1], 2, 5);
		ASSERT_GOT(&members[2], 3, 6);
		end_all();
	}
}

static void answered_at_once_they_take_turns_too(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		for (unsigned i = 0; i < 3; i++)
			members[i].mode = FAKE_ACKS;
		join_all(3, 10);
		for (uint32_t number = 1; number <= 6; number++)
			publish(&world, 0, number, 1, 2);
		ASSERT_GOT(&members[0], 1, 4);
		ASSERT_GOT(&members[1], 2, 5);
		ASSERT_GOT(&members[2], 3, 6);
		end_all();
	}
}

static void qos0_takes_turns(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 10);
		publish(&world, 0, 1, 6, 0);
		ASSERT_GOT(&members[0], 1, 3, 5);
		ASSERT_GOT(&members[1], 2, 4, 6);
		end_all();
	}
}

static void the_least_loaded_is_chosen(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin(*workers);
		join_all(2, 10);
		publish(&world, 0, 1, 4, 1); /* 1 3 | 2 4 */
		answer(&world, &members[1], 0, SHARED_DONE);
		answer(&world, &members[1], 1, SHARED_DONE);
		publish(&world, 0, 5, 2, 1);
		ASSERT_GOT(&members[0], 1, 3);
		ASSERT_GOT(&members[1], 2, 4, 5, 6);
		end_all();
	}
}

static void round_robin_does_not_look_at_the_load(void **unused)
{
	(void)unused;
	FOR_EACH_SIZE(workers)
	{
		begin_with(*workers, &(struct shared_settings){.strategy = SHARED_ROUND_ROBIN});
		members[1].mode = FAKE_ACKS;
		join_all(2, 10);
		publish(&world, 0, 1, 6, 1);
		ASSERT_GOT(&members[0], 1, 3, 5);
		ASSERT_GOT(&members[1], 2, 4, 6);
		end_all();
	}
}

static void random_reaches_all(void **unused)
{
	(void)unused;
	begin_with(2, &(struct shared_settings){.strategy = SHARED_RANDOM});
	for (unsigned i = 0; i < 4; i++)
		members[i].mode = FAKE_ACKS;
	join_all(4, 10);
	for (uint32_t i = 0; i < 10; i++)
		publish(&world, 0, i * 40, 40, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(members[i].got_count, 40, 200);
	end_all();
}

static void publish_from(struct worker *me, void *context)
{
	struct publish_order *order = context;
	char name[32];

	snprintf(name, sizeof name, "publisher %u", order->first);
	order->origin = origin_create(0, slice_from_string(name), false, SLICE_NONE);
	publish_here(me, order);
	origin_unref(&order->origin);
}

/* From 20 publishers to one topic, or from nobody to 20 topics. */
static void publish_twenty(enum shared_strategy strategy)
{
	for (uint32_t i = 0; i < 20; i++) {
		char topic[16];
		struct publish_order order = {.first = i, .count = 1, .qos = 1, .topic = "t/x"};

		snprintf(topic, sizeof topic, "t/%u", i);
		if (strategy == SHARED_HASH_TOPIC)
			order.topic = topic;
		do_on(runtime_worker(world.runtime, 0),
		      strategy == SHARED_HASH_CLIENT ? publish_from : publish_here, &order);
	}
	do
		settle(&world);
	while (counter_total(COUNTER_MESSAGES_QUEUED));
}

/* Each of 20 publishers (or topics) has one member, and more than one member has some. */
static void hash_keeps_to_one_member(enum shared_strategy strategy)
{
	unsigned owners[20];

	begin_with(3, &(struct shared_settings){.strategy = strategy});
	for (unsigned i = 0; i < 4; i++)
		members[i].mode = FAKE_ACKS;
	for (unsigned i = 0; i < 4; i++) {
		struct join join = {.fake = &members[i],
				    .group = "g",
				    .filter = "t/#",
				    .options = {.qos = 1, .window = 1},
				    .is_online = true};

		do_on(runtime_worker(world.runtime, worker_of(i)), join_here, &join);
	}
	settle(&world);
	for (unsigned round = 0; round < 3; round++)
		publish_twenty(strategy);
	for (uint32_t i = 0; i < 20; i++)
		owners[i] = whose(i);
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(members[i].got_count, 0, 57);
	/* When one goes only what was its own moves. */
	end(&world, &members[3]);
	for (unsigned i = 0; i < 4; i++)
		members[i].got_count = 0;
	publish_twenty(strategy);
	for (uint32_t i = 0; i < 20; i++) {
		assert_in_range(whose(i), 0, 2);
		if (owners[i] != 3)
			assert_int_equal(whose(i), owners[i]);
	}
	end_all();
}

static void one_publisher_has_one_member(void **unused)
{
	(void)unused;
	hash_keeps_to_one_member(SHARED_HASH_CLIENT);
}

static void one_topic_has_one_member(void **unused)
{
	(void)unused;
	hash_keeps_to_one_member(SHARED_HASH_TOPIC);
}

static void hashing_waits_for_its_member_while_others_go_on(void **unused)
{
	unsigned owner, other;

	(void)unused;
	begin_with(3, &(struct shared_settings){.strategy = SHARED_HASH_CLIENT});
	join_all(2, 2);
	for (uint32_t round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < 20; i++) {
			struct publish_order order = {.first = i, .count = 1, .qos = 1};

			do_on(runtime_worker(world.runtime, 0), publish_from, &order);
		}
	}
	settle(&world);
	assert_int_equal(members[0].got_count, 2);
	assert_int_equal(members[1].got_count, 2);
	owner = whose(members[0].got[0].number);
	other = 1 - owner;
	/* One goes on answering, the other does not. */
	for (unsigned i = 0; i < members[other].got_count; i++)
		answer(&world, &members[other], i, SHARED_DONE);
	assert_int_equal(members[owner].got_count, 2);
	assert_in_range(members[other].got_count, 4, 76);
	for (unsigned i = 0; i < members[owner].got_count; i++)
		answer(&world, &members[owner], i, SHARED_DONE);
	assert_int_equal(members[0].got_count + members[1].got_count, 80);
	for (uint32_t i = 0; i < 20; i++)
		(void)whose(i);
	end_all();
}

static void configure_here(struct worker *me, void *context)
{
	shared_configure(me, context);
}

static void a_new_strategy_takes_effect_at_once(void **unused)
{
	struct shared_settings settings = {.strategy = SHARED_ROUND_ROBIN};

	(void)unused;
	begin(1);
	join_all(3, 10);
	publish(&world, 0, 1, 3, 1);
	answer(&world, &members[2], 0, SHARED_DONE);
	do_on(runtime_worker(world.runtime, 0), configure_here, &settings);
	publish(&world, 0, 4, 3, 1);
	ASSERT_GOT(&members[0], 1, 4);
	ASSERT_GOT(&members[1], 2, 5);
	ASSERT_GOT(&members[2], 3, 6);
	end_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_take_turns),
		cmocka_unit_test(answered_at_once_they_take_turns_too),
		cmocka_unit_test(qos0_takes_turns),
		cmocka_unit_test(the_least_loaded_is_chosen),
		cmocka_unit_test(round_robin_does_not_look_at_the_load),
		cmocka_unit_test(random_reaches_all),
		cmocka_unit_test(one_publisher_has_one_member),
		cmocka_unit_test(one_topic_has_one_member),
		cmocka_unit_test(hashing_waits_for_its_member_while_others_go_on),
		cmocka_unit_test(a_new_strategy_takes_effect_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
