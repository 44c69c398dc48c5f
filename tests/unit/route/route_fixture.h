/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_fixture.h - publications across real workers. Each subscriber writes down what it gets;
 * numbers in the payload, one row of them per publisher, show what is lost, doubled or out of order.
 */
#ifndef NIGHTJAR_TESTS_UNIT_ROUTE_FIXTURE_H
#define NIGHTJAR_TESTS_UNIT_ROUTE_FIXTURE_H

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
	uint64_t origin_id;	/* in the store; 0: none */
	uint32_t id;
	const char *topics[2]; /* by turns */
	uint32_t next, end;    /* numbers to be published */
	uint32_t receipts_due, receipts, spreads;
	uint32_t parked; /* how often there was no credit */
	bool is_spreading, may_follow, wants_receipt;
	uint8_t qos;
	uint16_t waiting_for[RECEIPTS_MAX]; /* by token */
	struct latch done;
};

static struct {
	struct runtime *runtime;
	struct route *route;
	unsigned workers;
	uint32_t most_in_a_turn; /* deliveries on one worker; where there is one only */
} world;

static inline void count_in_turn(const struct worker *me)
{
	static __thread uint64_t turn;
	static __thread uint32_t count;

	count = me->turn == turn ? count + 1 : 1;
	turn = me->turn;
	if (world.workers == 1 && count > world.most_in_a_turn)
		world.most_in_a_turn = count;
}

static inline void deliver(struct worker *me, struct endpoint *endpoint,
			   const struct delivery *delivery)
{
	struct subscriber *subscriber = (struct subscriber *)(void *)endpoint;
	struct slice payload = message_payload(delivery->message);
	uint32_t row[2]; /* publisher, number */

	CHECK(worker_current == me && subscriber->worker == me->id);
	CHECK(payload.len == sizeof row);
	memcpy(row, payload.data, sizeof row);
	subscriber->count++;
	count_in_turn(me);
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

static inline void pump(struct worker *me, struct publisher *publisher);

static inline void on_receipt(struct worker *me, struct endpoint *endpoint, uint64_t token)
{
	struct publisher *publisher = (struct publisher *)(void *)endpoint;

	CHECK(worker_current == me && token < RECEIPTS_MAX);
	CHECK(publisher->waiting_for[token] > 0);
	publisher->waiting_for[token]--;
	publisher->receipts++;
	pump(me, publisher);
}

static inline void on_spread(struct worker *me, struct endpoint *endpoint, bool is_done)
{
	struct publisher *publisher = (struct publisher *)(void *)endpoint;

	CHECK(publisher->is_spreading);
	publisher->may_follow = false;
	if (!is_done)
		return;
	publisher->is_spreading = false;
	publisher->spreads++;
	pump(me, publisher);
}

static const struct endpoint_ops publisher_ops = {.kind = "test publisher",
						  .on_receipt = on_receipt,
						  .on_spread = on_spread};

static inline void on_credit(struct worker *me, struct credit_waiter *waiter)
{
	pump(me, (struct publisher *)(void *)((char *)waiter - offsetof(struct publisher, credit)));
}

static inline struct message *message_of(struct worker *me, const struct publisher *publisher)
{
	uint32_t row[2] = {publisher->id, publisher->next};
	struct slice topic = slice_from_string(publisher->topics[publisher->next % 2]);
	struct message *message =
		message_create(me,
			       &(struct message_content){.topic = topic,
							 .payload = slice_of(row, sizeof row),
							 .topic_hash = hash_slice(topic),
							 .origin_handle = publisher->origin_handle,
							 .qos = publisher->qos});

	CHECK(message);
	return message;
}

/* Publishes what is left until it has to wait; the answer calls it again. */
static inline void pump(struct worker *me, struct publisher *publisher)
{
	while (publisher->next < publisher->end &&
	       (!publisher->is_spreading || publisher->may_follow) && !publisher->credit.pprev) {
		uint64_t token = publisher->next % RECEIPTS_MAX;
		struct publication publication = {
			.message = message_of(me, publisher),
			.publisher = publisher->endpoint.handle,
			.token = token,
			.wants_receipt = publisher->wants_receipt,
			.origin.id = publisher->origin_id,
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
		if (publication.is_spreading) {
			publisher->is_spreading = true;
			publisher->may_follow = publication.may_follow;
		}
		publisher->next++;
	}
	if (publisher->next == publisher->end && !publisher->is_spreading &&
	    publisher->receipts == publisher->receipts_due)
		latch_pass(&publisher->done);
}

/* Orders. */

static inline void do_on(uint16_t worker, void (*run)(struct worker *, void *), void *context)
{
	run_on_and_wait(runtime_worker(world.runtime, worker), run, context);
}

static inline void world_begin(unsigned workers, unsigned mailbox_letters,
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

static inline void world_end(void)
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

static inline void subscriber_begin(struct worker *me, void *context)
{
	struct subscriber *subscriber = context;

	subscriber->endpoint.ops = &subscriber_ops;
	subscriber->worker = me->id;
	CHECK(route_register(me, &subscriber->endpoint) == ERR_NONE);
}

static inline void subscriber_end(struct worker *me, void *context)
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

static inline void subscribe_here(struct worker *me, void *context)
{
	struct subscribe_order *order = context;
	struct subscription *one = &order->subscriber->subscriptions[order->at];

	one->endpoint = &order->subscriber->endpoint;
	CHECK(route_subscribe(me, one, slice_from_string(order->filter)) == ERR_NONE);
}

/* Subscription number at: options are in subscriber->subscriptions[at] already. */
static inline void subscribe(struct subscriber *subscriber, unsigned at, const char *filter)
{
	struct subscribe_order order = {subscriber, at, filter};

	do_on(subscriber->worker, subscribe_here, &order);
}

static inline struct subscriber *subscriber_make(uint16_t worker, const char *filter)
{
	struct subscriber *subscriber = calloc(1, sizeof *subscriber);

	assert_non_null(subscriber);
	subscriber->subscriptions[0].qos = 2;
	do_on(worker, subscriber_begin, subscriber);
	if (filter)
		subscribe(subscriber, 0, filter);
	return subscriber;
}

static inline void subscriber_free(struct subscriber *subscriber)
{
	do_on(subscriber->worker, subscriber_end, subscriber);
	free(subscriber);
}

static inline void publisher_begin(struct worker *me, void *context)
{
	struct publisher *publisher = context;

	CHECK(route_register(me, &publisher->endpoint) == ERR_NONE);
}

static inline void publisher_end(struct worker *me, void *context)
{
	struct publisher *publisher = context;

	letter_wait_cancel(&publisher->credit);
	route_retire(me, &publisher->endpoint);
}

static inline struct publisher *publisher_make(uint16_t worker, uint32_t id)
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

static inline void publisher_free(struct publisher *publisher)
{
	do_on(handle_worker(publisher->endpoint.handle), publisher_end, publisher);
	free(publisher);
}

static inline void start_here(struct worker *me, void *context)
{
	pump(me, context);
}

static inline void publisher_start(struct publisher *publisher, uint32_t count)
{
	latch_reset(&publisher->done, 1);
	publisher->end = publisher->next + count;
	run_on(runtime_worker(world.runtime, handle_worker(publisher->endpoint.handle)), start_here,
	       publisher);
}

static inline void publish(struct publisher *publisher, uint32_t count)
{
	publisher_start(publisher, count);
	assert_true(latch_wait(&publisher->done));
}

static const struct route_settings plain = {.fanout_slice = 1000};

/* One that is answered, behind all that was published on the same worker before. */
static inline void publish_last(uint16_t worker, const char *topic, uint32_t number)
{
	struct publisher *last = publisher_make(worker, 0);

	last->next = number;
	last->topics[0] = last->topics[1] = topic;
	publish(last, 1);
	publisher_free(last);
}

#endif
