/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_fixture.h - workers with routing, and members that do what the test says.
 *
 * The test's main thread gives each order to the worker concerned and waits until it is done
 * (do_on()); settle() waits until all that follows from it is done as well.
 */
#ifndef NIGHTJAR_TESTS_UNIT_SHARED_FIXTURE_H
#define NIGHTJAR_TESTS_UNIT_SHARED_FIXTURE_H

#include "unit/runtime/runtime_fixture.h"

#include "base/hash.h"
#include "route/route.h"
#include "route/shared_home.h"

/* One for each letter in the longest chain, and some for tasks and queues. */
#define SETTLE_ROUNDS 10
#define GOT_MAX 4096

enum fake_mode {
	FAKE_HOLDS,   /* keeps its tickets until told */
	FAKE_ACKS,    /* at once, inside deliver() */
	FAKE_IS_AWAY, /* its connection has ended, but the group does not know yet */
};

struct fake_got {
	struct shared_ticket *ticket;
	uint32_t number;
	uint32_t subscription_id;
	uint8_t qos;
	bool retain;
	bool is_readable;
};

/* Owner: its worker; the main thread looks between orders. */
struct fake {
	struct endpoint endpoint;
	struct worker *worker;
	struct shared_membership *membership;
	enum fake_mode mode;
	struct fake_got got[GOT_MAX];
	unsigned got_count;
	unsigned told; /* how often done was called */
};

struct world {
	struct runtime *runtime;
	struct route *route;
	unsigned workers;
};

static inline void fake_deliver(struct worker *me, struct endpoint *endpoint,
				const struct delivery *delivery)
{
	struct fake *fake = (struct fake *)(void *)endpoint;
	struct slice payload = message_payload(delivery->message);
	struct fake_got *got = &fake->got[fake->got_count];

	CHECK(worker_current == me && fake->worker == me);
	CHECK((delivery->ticket != NULL) == (delivery->qos > 0));
	if (fake->mode == FAKE_IS_AWAY) {
		if (delivery->ticket)
			shared_ticket_finish(me, delivery->ticket, SHARED_BACK);
		return;
	}
	CHECK(fake->got_count++ < GOT_MAX && payload.len == sizeof got->number);
	memcpy(&got->number, payload.data, sizeof got->number);
	got->ticket = delivery->ticket;
	got->qos = delivery->qos;
	got->retain = delivery->retain;
	got->is_readable = delivery->is_readable;
	got->subscription_id = delivery->subscription_id_count ? delivery->subscription_ids[0] : 0;
	if (fake->mode == FAKE_ACKS && got->ticket) {
		shared_ticket_finish(me, got->ticket, SHARED_DONE);
		got->ticket = NULL;
	}
}

static const struct endpoint_ops fake_ops = {.kind = "fake member", .deliver = fake_deliver};

/* Orders. */

static inline void do_on(struct worker *worker, void (*run)(struct worker *, void *), void *context)
{
	run_on_and_wait(worker, run, context);
}

static inline void tell_turn(struct worker *me, void *turn)
{
	*(uint64_t *)turn = me->turn;
}

/* What was posted by the turn that we met has left when we meet the next one. */
static inline void let_turn_end(struct worker *worker)
{
	uint64_t first, turn;

	do_on(worker, tell_turn, &first);
	do
		do_on(worker, tell_turn, &turn);
	while (turn == first);
}

static inline void audit_here(struct worker *me, void *context)
{
	(void)context;
	shared_audit(me);
}

static inline void settle(struct world *world)
{
	for (unsigned round = 0; round < SETTLE_ROUNDS; round++)
		for (uint16_t i = 0; i < world->workers; i++)
			let_turn_end(runtime_worker(world->runtime, i));
	for (uint16_t i = 0; i < world->workers; i++)
		do_on(runtime_worker(world->runtime, i), audit_here, NULL);
}

/* The world. */

static inline void world_begin(struct world *world, unsigned workers, unsigned mailbox_letters,
			       const struct shared_settings *settings)
{
	struct route_settings route = {.fanout_slice = 100};
	struct err_detail detail;

	world->workers = workers;
	world->runtime = runtime_make(workers, mailbox_letters);
	assert_int_equal(route_create(&route, &world->route), ERR_NONE);
	for (uint16_t i = 0; i < workers; i++) {
		struct worker *worker = runtime_worker(world->runtime, i);

		assert_int_equal(route_worker_init(world->route, worker), ERR_NONE);
		assert_int_equal(shared_worker_init(worker, settings), ERR_NONE);
	}
	assert_int_equal(runtime_start(world->runtime, start_nothing, &detail), ERR_NONE);
}

/* And nothing may be left. */
static inline void world_end(struct world *world)
{
	runtime_stop(world->runtime);
	rcu_thread_register();
	for (uint16_t i = 0; i < world->workers; i++) {
		shared_worker_fini(runtime_worker(world->runtime, i));
		route_worker_fini(runtime_worker(world->runtime, i));
	}
	rcu_thread_unregister();
	route_destroy(&world->route);
	runtime_destroy(&world->runtime);
	assert_int_equal(memory_used(MEMORY_SUBSCRIPTION), 0);
	assert_int_equal(memory_used(MEMORY_QUEUE), 0);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
}

/* The worker where a group with this filter is at home; WORKER_NONE: there is none. */
static inline void look_for_home(struct worker *me, void *home)
{
	if (shared_worker_of(me)->groups)
		*(uint16_t *)home = me->id;
}

static inline uint16_t home_of_only_group(struct world *world)
{
	uint16_t home = WORKER_NONE;

	for (uint16_t i = 0; i < world->workers; i++)
		do_on(runtime_worker(world->runtime, i), look_for_home, &home);
	return home;
}

/* Members. */

static inline void told(struct worker *me, uint64_t context_handle, uint64_t context_token)
{
	struct fake *fake = (struct fake *)(void *)route_find(me, context_handle);

	CHECK(worker_current == me);
	if (fake)
		fake->told += (unsigned)context_token;
}

struct join {
	struct fake *fake;
	const char *group, *filter;
	struct shared_options options;
	bool is_online;
};

static inline void join_here(struct worker *me, void *context)
{
	struct join *join = context;
	struct fake *fake = join->fake;

	if (!fake->endpoint.handle) {
		fake->endpoint.ops = &fake_ops;
		fake->worker = me;
		CHECK(route_register(me, &fake->endpoint) == ERR_NONE);
	}
	CHECK(shared_join(me, slice_from_string(join->group), slice_from_string(join->filter),
			  &fake->endpoint, &join->options, join->is_online, told,
			  fake->endpoint.handle, 1, &fake->membership) == ERR_NONE);
}

static inline void join_with(struct world *world, struct fake *fake, uint16_t worker,
			     const struct shared_options *options, bool is_online)
{
	struct join join = {fake, "g", "t", *options, is_online};
	unsigned before = fake->told;

	do_on(runtime_worker(world->runtime, worker), join_here, &join);
	settle(world);
	assert_int_equal(fake->told, before + 1);
}

static inline void join(struct world *world, struct fake *fake, uint16_t worker, uint32_t window)
{
	join_with(world, fake, worker,
		  &(struct shared_options){.qos = 2, .is_persistent = true, .window = window},
		  true);
}

static inline void leave_here(struct worker *me, void *context)
{
	struct fake *fake = context;

	shared_leave(me, &fake->membership, told, fake->endpoint.handle, 1);
	CHECK(!fake->membership);
}

static inline void leave(struct world *world, struct fake *fake)
{
	unsigned before = fake->told;

	do_on(fake->worker, leave_here, fake);
	settle(world);
	assert_int_equal(fake->told, before + 1);
}

static inline void retire_here(struct worker *me, void *context)
{
	struct fake *fake = context;

	route_retire(me, &fake->endpoint);
}

static inline void online_here(struct worker *me, void *context)
{
	struct fake *fake = context;

	shared_member_online(me, fake->membership, fake->mode != FAKE_IS_AWAY, 10);
}

static inline void set_mode(struct world *world, struct fake *fake, enum fake_mode mode)
{
	fake->mode = mode;
	do_on(fake->worker, online_here, fake);
	settle(world);
}

struct answer_order {
	struct fake *fake;
	unsigned at;
	enum shared_outcome outcome;
};

static inline void answer_here(struct worker *me, void *context)
{
	struct answer_order *order = context;
	struct fake_got *got = &order->fake->got[order->at];

	CHECK(got->ticket);
	shared_ticket_finish(me, got->ticket, order->outcome);
	got->ticket = NULL;
}

static inline void answer(struct world *world, struct fake *fake, unsigned at,
			  enum shared_outcome outcome)
{
	struct answer_order order = {fake, at, outcome};

	do_on(fake->worker, answer_here, &order);
	settle(world);
}

/* As a session does when its connection ends: the last one first, then the news. */
static inline void lose_connection_here(struct worker *me, void *context)
{
	struct fake *fake = context;

	for (unsigned i = fake->got_count; i-- > 0;) {
		if (fake->got[i].ticket && fake->got[i].qos == 1)
			shared_ticket_finish(me, fake->got[i].ticket, SHARED_BACK);
		if (fake->got[i].qos == 1)
			fake->got[i].ticket = NULL;
	}
	fake->mode = FAKE_IS_AWAY;
	shared_member_online(me, fake->membership, false, 10);
}

static inline void lose_connection(struct world *world, struct fake *fake)
{
	do_on(fake->worker, lose_connection_here, fake);
	settle(world);
}

/* As a session that ends does: leaves first, then answers what it holds. */
static inline void end_here(struct worker *me, void *context)
{
	struct fake *fake = context;

	if (fake->membership)
		shared_leave(me, &fake->membership, NULL, 0, 0);
	for (unsigned i = fake->got_count; i-- > 0;) {
		if (fake->got[i].ticket)
			shared_ticket_finish(me, fake->got[i].ticket,
					     fake->got[i].qos == 1 ? SHARED_BACK : SHARED_DROPPED);
		fake->got[i].ticket = NULL;
	}
	route_retire(me, &fake->endpoint);
}

static inline void end(struct world *world, struct fake *fake)
{
	do_on(fake->worker, end_here, fake);
	settle(world);
}

/* Publications. */

struct publish_order {
	uint32_t first, count;
	const char *topic;
	uint8_t qos, flags;
	uint64_t expires_ms;
	struct origin *origin;
};

static inline struct message *publish_make(struct worker *me, const struct publish_order *order,
					   uint32_t number)
{
	struct slice topic = slice_from_string(order->topic ? order->topic : "t");
	struct message *message =
		message_create(me, &(struct message_content){.topic = topic,
							     .payload = slice_of(&number,
										 sizeof number),
							     .topic_hash = hash_slice(topic),
							     .expires_ms = order->expires_ms,
							     .origin = order->origin,
							     .qos = order->qos,
							     .flags = order->flags});

	CHECK(message);
	return message;
}

static inline void publish_here(struct worker *me, void *context)
{
	const struct publish_order *order = context;

	for (uint32_t i = 0; i < order->count; i++) {
		struct publication publication = {
			.message = publish_make(me, order, order->first + i)};

		CHECK(route_publish(me, &publication) == ROUTE_DONE);
		message_drop(me, &publication.message);
	}
}

static inline void publish(struct world *world, uint16_t worker, uint32_t first, uint32_t count,
			   uint8_t qos)
{
	struct publish_order order = {.first = first, .count = count, .qos = qos};

	do_on(runtime_worker(world->runtime, worker), publish_here, &order);
	settle(world);
}

/* Every case runs with everything on one worker, and with members on workers of their own. */
static const unsigned worker_counts[] = {1, 4};

static struct fake members[4];
static struct world world;

static inline void begin_with(unsigned workers, const struct shared_settings *settings)
{
	memset(members, 0, sizeof members);
	world_begin(&world, workers, 256, settings);
}

static inline void begin(unsigned workers)
{
	begin_with(workers, &(struct shared_settings){0});
}

/* Spread over the workers. */
static inline uint16_t worker_of(unsigned member)
{
	return (uint16_t)(member % world.workers);
}

static inline void join_all(unsigned count, uint32_t window)
{
	for (unsigned i = 0; i < count; i++)
		join(&world, &members[i], worker_of(i), window);
}

static inline void end_all(void)
{
	for (unsigned i = 0; i < 4; i++) {
		if (members[i].endpoint.handle)
			end(&world, &members[i]);
	}
	world_end(&world);
	assert_int_equal(counter_total(COUNTER_MESSAGES_QUEUED), 0);
	assert_int_equal(counter_total(COUNTER_MESSAGES_QUEUED_BYTES), 0);
}

static inline void assert_got(const struct fake *fake, const uint32_t *numbers, unsigned count)
{
	assert_int_equal(fake->got_count, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(fake->got[i].number, numbers[i]);
}

#define ASSERT_GOT(fake, ...)                                                                      \
	assert_got(fake, (const uint32_t[]){__VA_ARGS__},                                          \
		   sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

#define FOR_EACH_SIZE(workers)                                                                     \
	for (const unsigned *workers = worker_counts; workers < worker_counts + 2; workers++)

/* The one member that got the number; 4: none. */
static inline unsigned whose(uint32_t number)
{
	unsigned owner = 4;

	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < members[i].got_count; k++) {
			if (members[i].got[k].number != number)
				continue;
			if (owner != 4)
				assert_int_equal(owner, i);
			owner = i;
		}
	}
	return owner;
}

#endif
