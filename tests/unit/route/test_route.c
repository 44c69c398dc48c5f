/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publications across real workers. Each subscriber writes down what it gets; numbers in the
 * payload, one row of them per publisher, show what is lost, doubled or out of order.
 */
#include "unit/runtime/runtime_fixture.h"

#include "base/hash.h"
#include "route/route.h"

#define WORKERS_USED 3
#define PUBLISHERS 4
#define SUBSCRIPTIONS 3
#define RECEIPTS_MAX 4096

struct got {
	uint8_t qos;
	bool retain;
	uint16_t id_count;
	uint32_t ids[4];
};

/* Owner: its worker; the main thread looks when nothing is under way. */
struct subscriber {
	struct endpoint endpoint; /* first member */
	struct subscription subscriptions[SUBSCRIPTIONS];
	uint16_t worker;
	struct got last;
	uint32_t count;
	uint32_t next[PUBLISHERS]; /* number that has to come from each publisher */
	bool is_out_of_order;
};

struct publisher {
	struct endpoint endpoint; /* first member */
	struct credit_waiter credit;
	uint64_t origin_handle; /* as a session's, whose subscriptions may have No Local */
	uint32_t id;
	const char *topics[2]; /* by turns */
	uint32_t next, end;    /* numbers to be published */
	uint32_t receipts_due, receipts, spreads;
	uint32_t parked; /* how often there was no credit */
	bool is_spreading, wants_receipt;
	uint8_t qos;
	uint16_t waiting_for[RECEIPTS_MAX]; /* by token */
	struct latch done;
};

static struct {
	struct runtime *runtime;
	struct route *route;
	unsigned workers;
} world;

static void deliver(struct worker *me, struct endpoint *endpoint, const struct delivery *delivery)
{
	struct subscriber *subscriber = (struct subscriber *)(void *)endpoint;
	struct slice payload = message_payload(delivery->message);
	uint32_t row[2]; /* publisher, number */

	CHECK(worker_current == me && subscriber->worker == me->id);
	CHECK(payload.len == sizeof row);
	memcpy(row, payload.data, sizeof row);
	subscriber->count++;
	if (row[1] < subscriber->next[row[0]])
		subscriber->is_out_of_order = true;
	subscriber->next[row[0]] = row[1] + 1;
	subscriber->last = (struct got){.qos = delivery->qos,
					.retain = delivery->retain,
					.id_count = delivery->subscription_id_count};
	for (unsigned i = 0; i < delivery->subscription_id_count && i < 4; i++)
		subscriber->last.ids[i] = delivery->subscription_ids[i];
}

static const struct endpoint_ops subscriber_ops = {.kind = "test subscriber", .deliver = deliver};

static void pump(struct worker *me, struct publisher *publisher);

static void on_receipt(struct worker *me, struct endpoint *endpoint, uint64_t token)
{
	struct publisher *publisher = (struct publisher *)(void *)endpoint;

	CHECK(worker_current == me && token < RECEIPTS_MAX);
	CHECK(publisher->waiting_for[token] > 0);
	publisher->waiting_for[token]--;
	publisher->receipts++;
	pump(me, publisher);
}

static void on_spread(struct worker *me, struct endpoint *endpoint)
{
	struct publisher *publisher = (struct publisher *)(void *)endpoint;

	CHECK(publisher->is_spreading);
	publisher->is_spreading = false;
	publisher->spreads++;
	pump(me, publisher);
}

static const struct endpoint_ops publisher_ops = {
	.kind = "test publisher", .on_receipt = on_receipt, .on_spread = on_spread};

static void on_credit(struct worker *me, struct credit_waiter *waiter)
{
	pump(me, (struct publisher *)(void *)((char *)waiter - offsetof(struct publisher, credit)));
}

static struct message *message_of(struct worker *me, const struct publisher *publisher)
{
	uint32_t row[2] = {publisher->id, publisher->next};
	struct slice topic = slice_from_string(publisher->topics[publisher->next % 2]);
	struct message *message = message_create(
		me, &(struct message_content){.topic = topic,
					      .payload = slice_of(row, sizeof row),
					      .topic_hash = hash_slice(topic),
					      .origin_handle = publisher->origin_handle,
					      .qos = publisher->qos});

	CHECK(message);
	return message;
}

/* Publishes what is left until it has to wait; the answer calls it again. */
static void pump(struct worker *me, struct publisher *publisher)
{
	while (publisher->next < publisher->end && !publisher->is_spreading &&
	       !publisher->credit.pprev) {
		uint64_t token = publisher->next % RECEIPTS_MAX;
		struct publication publication = {
			.message = message_of(me, publisher),
			.publisher = publisher->endpoint.handle,
			.token = token,
			.wants_receipt = publisher->wants_receipt,
		};
		enum route_status status = route_publish(me, &publication);

		message_drop(me, &publication.message);
		if (status == ROUTE_NO_CREDIT) {
			publisher->parked++;
			letter_wait_for_credit(me, &publisher->credit);
			return;
		}
		CHECK(status == ROUTE_DONE);
		CHECK(publisher->waiting_for[token] == 0);
		publisher->waiting_for[token] = (uint16_t)publication.waiting;
		publisher->receipts_due += publication.waiting;
		publisher->is_spreading = publication.is_spreading;
		publisher->next++;
	}
	if (publisher->next == publisher->end && !publisher->is_spreading &&
	    publisher->receipts == publisher->receipts_due)
		latch_pass(&publisher->done);
}

/* Orders. */

struct order {
	void (*run)(struct worker *me, void *context);
	void *context;
	struct latch done;
};

static void order_run(struct worker *me, void *context)
{
	struct order *order = context;

	order->run(me, order->context);
	latch_pass(&order->done);
}

static void do_on(uint16_t worker, void (*run)(struct worker *, void *), void *context)
{
	struct order order = {run, context, LATCH(1)};

	run_on(runtime_worker(world.runtime, worker), order_run, &order);
	assert_true(latch_wait(&order.done));
}

static void world_begin(unsigned workers, unsigned mailbox_letters,
			const struct route_settings *settings)
{
	struct err_detail detail;

	world.workers = workers;
	world.runtime = runtime_make(workers, mailbox_letters);
	assert_int_equal(route_create(settings, &world.route), ERR_NONE);
	for (uint16_t i = 0; i < workers; i++) {
		struct worker *worker = runtime_worker(world.runtime, i);

		assert_int_equal(route_worker_init(world.route, worker), ERR_NONE);
		route_configure(worker, settings);
	}
	assert_int_equal(runtime_start(world.runtime, start_nothing, &detail), ERR_NONE);
}

static void world_end(void)
{
	runtime_stop(world.runtime);
	rcu_thread_register();
	for (uint16_t i = 0; i < world.workers; i++)
		route_worker_fini(runtime_worker(world.runtime, i));
	rcu_thread_unregister();
	route_destroy(&world.route);
	runtime_destroy(&world.runtime);
	assert_int_equal(memory_used(MEMORY_SUBSCRIPTION), 0);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
}

static void subscriber_begin(struct worker *me, void *context)
{
	struct subscriber *subscriber = context;

	subscriber->endpoint.ops = &subscriber_ops;
	subscriber->worker = me->id;
	CHECK(route_register(me, &subscriber->endpoint) == ERR_NONE);
}

static void subscriber_end(struct worker *me, void *context)
{
	struct subscriber *subscriber = context;

	for (unsigned i = 0; i < SUBSCRIPTIONS; i++)
		route_unsubscribe(me, &subscriber->subscriptions[i]);
	route_retire(me, &subscriber->endpoint);
}

struct subscribe_order {
	struct subscriber *subscriber;
	unsigned at;
	const char *filter;
};

static void subscribe_here(struct worker *me, void *context)
{
	struct subscribe_order *order = context;
	struct subscription *one = &order->subscriber->subscriptions[order->at];

	one->endpoint = &order->subscriber->endpoint;
	CHECK(route_subscribe(me, one, slice_from_string(order->filter)) == ERR_NONE);
}

/* Subscription number at: options are in subscriber->subscriptions[at] already. */
static void subscribe(struct subscriber *subscriber, unsigned at, const char *filter)
{
	struct subscribe_order order = {subscriber, at, filter};

	do_on(subscriber->worker, subscribe_here, &order);
}

static struct subscriber *subscriber_make(uint16_t worker, const char *filter)
{
	struct subscriber *subscriber = calloc(1, sizeof *subscriber);

	assert_non_null(subscriber);
	subscriber->subscriptions[0].qos = 2;
	do_on(worker, subscriber_begin, subscriber);
	if (filter)
		subscribe(subscriber, 0, filter);
	return subscriber;
}

static void subscriber_free(struct subscriber *subscriber)
{
	do_on(subscriber->worker, subscriber_end, subscriber);
	free(subscriber);
}

static void publisher_begin(struct worker *me, void *context)
{
	struct publisher *publisher = context;

	CHECK(route_register(me, &publisher->endpoint) == ERR_NONE);
}

static void publisher_end(struct worker *me, void *context)
{
	struct publisher *publisher = context;

	letter_wait_cancel(&publisher->credit);
	route_retire(me, &publisher->endpoint);
}

static struct publisher *publisher_make(uint16_t worker, uint32_t id)
{
	struct publisher *publisher = calloc(1, sizeof *publisher);

	assert_non_null(publisher);
	publisher->endpoint.ops = &publisher_ops;
	publisher->credit.on_credit = on_credit;
	publisher->id = id;
	publisher->origin_handle = 1000 + id;
	publisher->topics[0] = publisher->topics[1] = "t";
	publisher->wants_receipt = true;
	publisher->qos = 1;
	publisher->done = (struct latch)LATCH(1);
	do_on(worker, publisher_begin, publisher);
	return publisher;
}

static void publisher_free(struct publisher *publisher)
{
	do_on(handle_worker(publisher->endpoint.handle), publisher_end, publisher);
	free(publisher);
}

static void start_here(struct worker *me, void *context)
{
	pump(me, context);
}

static void publisher_start(struct publisher *publisher, uint32_t count)
{
	latch_reset(&publisher->done, 1);
	publisher->end = publisher->next + count;
	run_on(runtime_worker(world.runtime, handle_worker(publisher->endpoint.handle)), start_here,
	       publisher);
}

static void publish(struct publisher *publisher, uint32_t count)
{
	publisher_start(publisher, count);
	assert_true(latch_wait(&publisher->done));
}

static const struct route_settings plain = {.fanout_slice = 1000};

/* Receipts. */

static void each_other_worker_with_subscribers_gives_one_receipt(void **unused)
{
	struct subscriber *subscribers[6];
	struct publisher *publisher;

	(void)unused;
	world_begin(4, 16, &plain);
	publisher = publisher_make(0, 0);
	publish(publisher, 3);
	assert_int_equal(publisher->receipts_due, 0);
	/* Two on the publisher's own worker, two each on 1 and 3, none on 2. */
	for (uint16_t i = 0; i < 6; i++)
		subscribers[i] = subscriber_make((uint16_t[]){0, 0, 1, 1, 3, 3}[i], "t");
	publish(publisher, 10);
	assert_int_equal(publisher->receipts_due, 20);
	assert_int_equal(publisher->receipts, 20);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(subscribers[i]->count, 10);
		assert_false(subscribers[i]->is_out_of_order);
		subscriber_free(subscribers[i]);
	}
	publisher_free(publisher);
	world_end();
}

/* Without receipts nothing tells when a publication has arrived: one that wants them comes behind. */
static void who_wants_no_receipt_gets_none(void **unused)
{
	struct subscriber *subscriber;
	struct publisher *publisher;

	(void)unused;
	world_begin(2, 16, &plain);
	publisher = publisher_make(0, 0);
	subscriber = subscriber_make(1, "t");
	publisher->wants_receipt = false;
	publish(publisher, 50);
	assert_int_equal(publisher->receipts_due, 0);
	publisher->wants_receipt = true;
	publish(publisher, 1);
	assert_int_equal(publisher->receipts, 1);
	assert_int_equal(subscriber->count, 51);
	assert_false(subscriber->is_out_of_order);
	subscriber_free(subscriber);
	publisher_free(publisher);
	world_end();
}

/* One that is answered, behind all that was published on the same worker before. */
static void publish_last(uint16_t worker, const char *topic, uint32_t number)
{
	struct publisher *last = publisher_make(worker, 0);

	last->next = number;
	last->topics[0] = last->topics[1] = topic;
	publish(last, 1);
	publisher_free(last);
}

static void receipts_for_a_publisher_that_has_gone_find_nobody(void **unused)
{
	struct subscriber *subscriber;

	(void)unused;
	world_begin(2, 512, &plain);
	subscriber = subscriber_make(1, "t");
	for (unsigned i = 0; i < 50; i++) {
		struct publisher *publisher = publisher_make(0, 0);

		publisher_start(publisher, 5);
		publisher_free(publisher);
	}
	publish_last(0, "t", 5);
	assert_int_equal(subscriber->count, 251);
	subscriber_free(subscriber);
	world_end();
}

/* What a subscriber gets. */

static void the_lower_of_both_qos_is_delivered_unless_upgrading(void **unused)
{
	static const struct route_settings upgrading = {.fanout_slice = 10,
							.upgrade_outgoing_qos = true};

	(void)unused;
	for (unsigned upgrade = 0; upgrade < 2; upgrade++) {
		struct subscriber *subscriber;
		struct publisher *publisher;

		world_begin(1, 16, upgrade ? &upgrading : &plain);
		subscriber = subscriber_make(0, NULL);
		publisher = publisher_make(0, 0);
		for (uint8_t asked = 0; asked < 3; asked++) {
			subscriber->subscriptions[asked].qos = asked;
			/* Only the last of them matches. */
			subscribe(subscriber, asked, (const char *[]){"q0", "q1", "q2"}[asked]);
			publisher->topics[0] = publisher->topics[1] =
				(const char *[]){"q0", "q1", "q2"}[asked];
			for (publisher->qos = 0; publisher->qos < 3; publisher->qos++) {
				uint8_t lower = publisher->qos < asked ? publisher->qos : asked;

				publish(publisher, 1);
				assert_int_equal(subscriber->last.qos, upgrade ? asked : lower);
			}
		}
		subscriber_free(subscriber);
		publisher_free(publisher);
		world_end();
	}
}

static void overlapping_subscriptions_get_one_copy_or_one_each(void **unused)
{
	static const struct route_settings duplicates = {.fanout_slice = 10,
							 .allow_duplicate_messages = true};

	(void)unused;
	for (unsigned twice = 0; twice < 2; twice++) {
		struct publisher *publisher;
		struct subscriber *subscriber;

		world_begin(2, 16, twice ? &duplicates : &plain);
		publisher = publisher_make(0, 0);
		publisher->topics[0] = publisher->topics[1] = "a/b";
		subscriber = subscriber_make(1, NULL);
		for (unsigned i = 0; i < 3; i++) {
			subscriber->subscriptions[i].id = 5 + i;
			subscribe(subscriber, i, (const char *[]){"a/b", "a/+", "#"}[i]);
		}
		publish(publisher, 7);
		assert_int_equal(subscriber->count, twice ? 21 : 7);
		assert_int_equal(subscriber->last.id_count, twice ? 1 : 3);
		subscriber_free(subscriber);
		publisher_free(publisher);
		world_end();
	}
}

static void of_overlapping_subscriptions_those_with_no_local_do_not_count_for_oneself(void **unused)
{
	struct publisher *own, *other;
	struct subscriber *subscriber;

	(void)unused;
	world_begin(2, 16, &plain);
	subscriber = subscriber_make(0, NULL);
	subscriber->subscriptions[0].flags = SUBSCRIPTION_NO_LOCAL;
	subscriber->subscriptions[0].qos = 2;
	subscriber->subscriptions[0].id = 1;
	subscriber->subscriptions[1].qos = 1;
	subscriber->subscriptions[1].id = 2;
	subscribe(subscriber, 0, "t");
	own = publisher_make(0, 0);
	own->origin_handle = subscriber->endpoint.handle;
	own->qos = 2;
	other = publisher_make(1, 1);
	other->qos = 2;
	/* All of them have No Local. */
	publish(own, 1);
	assert_int_equal(subscriber->count, 0);
	publish(other, 1);
	assert_int_equal(subscriber->count, 1);
	/* One of two has. */
	subscribe(subscriber, 1, "+");
	publish(own, 1);
	assert_int_equal(subscriber->count, 2);
	assert_int_equal(subscriber->last.qos, 1);
	assert_int_equal(subscriber->last.id_count, 1);
	assert_int_equal(subscriber->last.ids[0], 2);
	publish(other, 1);
	assert_int_equal(subscriber->count, 3);
	assert_int_equal(subscriber->last.qos, 2);
	assert_int_equal(subscriber->last.id_count, 2);
	subscriber_free(subscriber);
	publisher_free(own);
	publisher_free(other);
	world_end();
}

static bool wants_even(const struct subscription_policy *policy, const struct message *message)
{
	uint32_t row[2];

	(void)policy;
	memcpy(row, message_payload(message).data, sizeof row);
	return row[1] % 2 == 0;
}

static void a_predicate_decides_what_its_subscription_gets(void **unused)
{
	static const struct subscription_policy even = {wants_even};
	struct publisher *publisher;
	struct subscriber *subscriber;

	(void)unused;
	world_begin(2, 16, &plain);
	publisher = publisher_make(0, 0);
	subscriber = subscriber_make(1, NULL);
	subscriber->subscriptions[0].policy = &even;
	subscribe(subscriber, 0, "t");
	publish(publisher, 10);
	assert_int_equal(subscriber->count, 5);
	subscriber_free(subscriber);
	publisher_free(publisher);
	world_end();
}

/* Order and credits. */

static void check_all_in_order(struct subscriber **subscribers, unsigned count,
			       const uint32_t *from_each)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t all = 0;

		for (unsigned p = 0; p < PUBLISHERS; p++) {
			assert_int_equal(subscribers[i]->next[p], from_each[p]);
			all += from_each[p];
		}
		assert_int_equal(subscribers[i]->count, all);
		assert_false(subscribers[i]->is_out_of_order);
	}
}

/* Both post all the time, and each can only go on when the other gives letters back. */
static void two_workers_that_flood_each_other_with_four_credits_lose_nothing(void **unused)
{
	const uint32_t count = RECEIPTS_MAX;
	struct subscriber *subscribers[4];
	struct publisher *publishers[4];

	(void)unused;
	world_begin(2, 4, &plain);
	for (uint16_t i = 0; i < 4; i++) {
		subscribers[i] = subscriber_make(i % 2, "t");
		publishers[i] = publisher_make(i % 2, i);
		publishers[i]->wants_receipt = i < 2;
	}
	for (unsigned round = 1; round <= 4; round++) {
		for (unsigned i = 0; i < 4; i++)
			publisher_start(publishers[i], count);
		for (unsigned i = 0; i < 4; i++)
			assert_true(latch_wait(&publishers[i]->done));
	}
	assert_true(publishers[0]->parked > 0 && publishers[1]->parked > 0);
	/* Their last publications have to arrive as well: one behind them that is answered. */
	for (unsigned i = 2; i < 4; i++) {
		publishers[i]->wants_receipt = true;
		publish(publishers[i], 1);
	}
	check_all_in_order(subscribers, 4,
			   (uint32_t[]){4 * count, 4 * count, 4 * count + 1, 4 * count + 1});
	assert_int_equal(publishers[0]->receipts, 4 * count);
	for (unsigned i = 0; i < 4; i++) {
		subscriber_free(subscribers[i]);
		publisher_free(publishers[i]);
	}
	world_end();
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_other_worker_with_subscribers_gives_one_receipt),
		cmocka_unit_test(who_wants_no_receipt_gets_none),
		cmocka_unit_test(receipts_for_a_publisher_that_has_gone_find_nobody),
		cmocka_unit_test(the_lower_of_both_qos_is_delivered_unless_upgrading),
		cmocka_unit_test(overlapping_subscriptions_get_one_copy_or_one_each),
		cmocka_unit_test(
			of_overlapping_subscriptions_those_with_no_local_do_not_count_for_oneself),
		cmocka_unit_test(a_predicate_decides_what_its_subscription_gets),
		cmocka_unit_test(two_workers_that_flood_each_other_with_four_credits_lose_nothing),
		cmocka_unit_test(a_publisher_keeps_its_order_across_fan_outs_in_slices),
		cmocka_unit_test(another_publisher_passes_a_fan_out_by),
		cmocka_unit_test(who_goes_in_the_middle_of_a_fan_out_is_left_out),
		cmocka_unit_test(a_publisher_that_goes_in_the_middle_of_its_fan_out_is_not_told),
		cmocka_unit_test(
			what_comes_over_a_new_connection_waits_behind_the_fan_out_of_the_old_one),
		cmocka_unit_test(fan_outs_that_are_cancelled_give_their_receipts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
