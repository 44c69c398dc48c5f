/* SPDX-License-Identifier: Apache-2.0 */
/* test_room.c - while the store takes nothing: who would have to be kept a message for? */
#include "route_fixture.h"
#include "unit/store/store_fixture.h"

/* One that asks, and one that would have to be kept a message for. */
static struct asker {
	struct endpoint endpoint; /* first member */
	struct latch answered;
	bool somebody_keeps;
} asker;

static void on_keepers(struct worker *me, struct endpoint *endpoint, bool somebody_keeps)
{
	struct asker *self = (struct asker *)(void *)endpoint;

	CHECK(me->id == 0);
	self->somebody_keeps = somebody_keeps;
	latch_pass(&self->answered);
}

static bool keeps(const struct endpoint *endpoint)
{
	(void)endpoint;
	return true;
}

static const struct endpoint_ops asker_ops = {.kind = "asker", .on_keepers = on_keepers};
static const struct endpoint_ops keeper_ops = {.kind = "keeper",
					       .deliver = deliver,
					       .keeps = keeps};

static void begin_here(struct worker *me, void *settings)
{
	CHECK(route_worker_init(world.route, me) == ERR_NONE);
	route_configure(me, settings);
	if (me->id == 0) {
		asker.endpoint.ops = &asker_ops;
		CHECK(route_register(me, &asker.endpoint) == ERR_NONE);
	}
}

static void end_here(struct worker *me, void *unused)
{
	(void)unused;
	if (me->id == 0)
		route_retire(me, &asker.endpoint);
}

static void post_session(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
}

static bool is_full(void)
{
	struct store_figures figures;

	store_figures(shop.store, &figures);
	return figures.state == STORE_FULL;
}

static int setup(void **state)
{
	static struct route_settings settings = {.fanout_slice = 100};
	int failed = shop_setup(state);

	if (failed)
		return failed;
	asker.answered = (struct latch)LATCH(1);
	assert_int_equal(route_create(&settings, &world.route), ERR_NONE);
	shop_open();
	world.runtime = shop.runtime;
	world.workers = shop.workers;
	for (uint16_t i = 0; i < world.workers; i++)
		do_on(i, begin_here, &settings);
	store_image_fail(shop.image, ERR_LIMIT);
	on_worker(0, post_session, NULL);
	assert_true(wait_for(is_full));
	return 0;
}

static int teardown(void **state)
{
	store_image_fail(shop.image, ERR_NONE);
	do_on(0, end_here, NULL);
	runtime_stop(shop.runtime);
	rcu_thread_register();
	for (uint16_t i = 0; i < world.workers; i++)
		route_worker_fini(runtime_worker(world.runtime, i));
	rcu_thread_unregister();
	route_destroy(&world.route);
	store_close(&shop.store);
	runtime_destroy(&shop.runtime);
	return shop_teardown(state);
}

/* What is tried, and what comes of it. */
struct attempt {
	const char *topic;
	uint8_t qos, flags;
	bool is_empty, is_admitted, asks;
	enum route_status status;
};

static void publish_here(struct worker *me, void *context)
{
	struct attempt *attempt = context;
	uint32_t row[2] = {0, 0};
	struct slice topic = slice_from_string(attempt->topic);
	struct message *message =
		message_create(me,
			       &(struct message_content){.topic = topic,
							 .payload = attempt->is_empty
									    ? SLICE_NONE
									    : slice_of(row,
										       sizeof row),
							 .topic_hash = hash_slice(topic),
							 .qos = attempt->qos,
							 .flags = attempt->flags});
	struct publication publication = {.message = message, .is_admitted = attempt->is_admitted};

	attempt->status = route_publish(me, &publication);
	if (attempt->asks)
		route_ask_keepers(me, message, asker.endpoint.handle);
	message_drop(me, &message);
}

static enum route_status try_to_publish(struct attempt attempt)
{
	do_on(0, publish_here, &attempt);
	return attempt.status;
}

static struct subscriber *keeper_make(uint16_t worker, const char *filter)
{
	struct subscriber *keeper = subscriber_make(worker, NULL);

	keeper->endpoint.ops = &keeper_ops;
	subscribe(keeper, 0, filter);
	return keeper;
}

struct count {
	const struct subscriber *subscriber;
	uint32_t value;
};

static void look_at_count(struct worker *me, void *context)
{
	struct count *count = context;

	(void)me;
	count->value = count->subscriber->count;
}

/* On its worker, which may go on counting. */
static uint32_t count_of(const struct subscriber *subscriber)
{
	struct count count = {subscriber, 0};

	do_on(subscriber->worker, look_at_count, &count);
	return count.value;
}

/* From another worker: it leaves with the end of the turn in which it was published. */
static bool receives(struct subscriber *subscriber, uint32_t count)
{
	uint64_t until_ms = clock_now_ms() + DEADLINE_S * 1000u;

	while (count_of(subscriber) < count && clock_now_ms() < until_ms)
		;
	return count_of(subscriber) == count;
}

static void what_nobody_keeps_goes_on(void **unused)
{
	struct subscriber *live = subscriber_make(0, "t");

	(void)unused;
	assert_int_equal(try_to_publish((struct attempt){.topic = "t", .qos = 1}), ROUTE_DONE);
	assert_int_equal(try_to_publish((struct attempt){.topic = "t", .qos = 0}), ROUTE_DONE);
	assert_int_equal(try_to_publish((struct attempt){.topic = "nobody", .qos = 2}), ROUTE_DONE);
	assert_int_equal(count_of(live), 2);
	subscriber_free(live);
}

static void what_somebody_here_keeps_reaches_nobody(void **unused)
{
	struct subscriber *live = subscriber_make(0, "t"), *keeper = keeper_make(0, "t");

	(void)unused;
	assert_int_equal(try_to_publish((struct attempt){.topic = "t", .qos = 1}), ROUTE_NO_ROOM);
	assert_int_equal(count_of(live) + count_of(keeper), 0);
	assert_int_equal(try_to_publish((struct attempt){.topic = "t", .qos = 0}), ROUTE_DONE);
	assert_int_equal(count_of(live) + count_of(keeper), 2);
	subscriber_free(live);
	subscriber_free(keeper);
}

static void what_would_be_retained_has_no_room_and_its_removal_has(void **unused)
{
	struct attempt attempt = {.topic = "t", .qos = 1, .flags = MESSAGE_RETAIN};

	(void)unused;
	assert_int_equal(try_to_publish(attempt), ROUTE_NO_ROOM);
	attempt.qos = 0;
	assert_int_equal(try_to_publish(attempt), ROUTE_NO_ROOM);
	attempt.is_empty = true;
	assert_int_equal(try_to_publish(attempt), ROUTE_DONE);
}

static void other_workers_are_asked_before_anybody_gets_it(void **unused)
{
	struct subscriber *live = subscriber_make(0, "t"), *keeper = keeper_make(1, "t");
	struct subscriber *other = subscriber_make(1, "u");

	(void)unused;
	assert_int_equal(try_to_publish((struct attempt){.topic = "t", .qos = 1, .asks = true}),
			 ROUTE_ASK);
	assert_true(latch_wait(&asker.answered));
	assert_true(asker.somebody_keeps);
	assert_int_equal(count_of(live) + count_of(keeper), 0);
	latch_reset(&asker.answered, 1);
	assert_int_equal(try_to_publish((struct attempt){.topic = "u", .qos = 1, .asks = true}),
			 ROUTE_ASK);
	assert_true(latch_wait(&asker.answered));
	assert_false(asker.somebody_keeps);
	assert_int_equal(count_of(other), 0);
	assert_int_equal(try_to_publish(
				 (struct attempt){.topic = "u", .qos = 1, .is_admitted = true}),
			 ROUTE_DONE);
	assert_true(receives(other, 1));
	subscriber_free(live);
	subscriber_free(keeper);
	subscriber_free(other);
}

static void the_answer_to_one_who_has_gone_is_nobodys(void **unused)
{
	struct subscriber *keeper = keeper_make(1, "t");
	handle_t mine = asker.endpoint.handle;

	(void)unused;
	asker.endpoint.handle = 0;
	assert_int_equal(try_to_publish((struct attempt){.topic = "t", .qos = 1, .asks = true}),
			 ROUTE_ASK);
	asker.endpoint.handle = mine;
	for (int i = 0; i < 3; i++)
		for (uint16_t worker = 0; worker < 2; worker++)
			do_on(worker, do_nothing, NULL);
	assert_int_equal(asker.answered.left, 1);
	subscriber_free(keeper);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_nobody_keeps_goes_on),
		CASE(what_somebody_here_keeps_reaches_nobody),
		CASE(what_would_be_retained_has_no_room_and_its_removal_has),
		CASE(other_workers_are_asked_before_anybody_gets_it),
		CASE(the_answer_to_one_who_has_gone_is_nobodys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
