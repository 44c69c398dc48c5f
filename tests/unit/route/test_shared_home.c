/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three groups with members on four workers, all of which publish at once with few credits, while
 * members answer when they like, lose their connections, come back, leave and join again. Nothing
 * may be lost, given twice after it was done, or left behind.
 */
#include "shared_fixture.h"

#define GROUPS 3
#define HELD_MAX 64
#define PER_WORKER 3000
#define WORKERS 4
#define CHAOS_STEPS 4000
#define WINDOW 8

struct held {
	struct shared_ticket *ticket;
	uint32_t number;
	uint8_t qos;
};

/* Owner: its worker. */
struct member {
	struct endpoint endpoint;
	struct shared_membership *membership;
	unsigned group;
	bool is_away, never_leaves;
	struct held held[HELD_MAX];
	unsigned held_count;
	uint64_t qos0_got, qos0_missed;
};

/* Owner: its worker. */
struct actor {
	struct task chaos, publishing;
	struct credit_waiter waiter;
	struct latch *done;
	uint32_t published, steps;
	uint64_t random;
	struct member members[GROUPS];
};

static const char *const filters[GROUPS] = {"t", "+", "#"};
static struct actor actors[WORKERS];
static uint8_t finished[GROUPS][WORKERS * PER_WORKER]; /* how often; atomics */

static uint32_t random_below(struct actor *actor, uint32_t limit)
{
	actor->random = actor->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((actor->random >> 33) % limit);
}

static void member_answer(struct worker *me, struct member *member, unsigned at,
			  enum shared_outcome outcome)
{
	struct held held = member->held[at];

	memmove(&member->held[at], &member->held[at + 1],
		(--member->held_count - at) * sizeof held);
	if (outcome != SHARED_BACK)
		__atomic_add_fetch(&finished[member->group][held.number], 1, __ATOMIC_RELAXED);
	shared_ticket_finish(me, held.ticket, outcome);
}

static void member_deliver(struct worker *me, struct endpoint *endpoint,
			   const struct delivery *delivery)
{
	struct member *member = (struct member *)(void *)endpoint;
	struct held *held = &member->held[member->held_count];

	CHECK(worker_current == me);
	if (!delivery->ticket) {
		member->qos0_got += !member->is_away;
		member->qos0_missed += member->is_away;
		return;
	}
	if (member->is_away) {
		shared_ticket_finish(me, delivery->ticket, SHARED_BACK);
		return;
	}
	CHECK(member->held_count++ < HELD_MAX);
	held->ticket = delivery->ticket;
	held->qos = delivery->qos;
	memcpy(&held->number, message_payload(delivery->message).data, sizeof held->number);
	if (actors[me->id].steps >= CHAOS_STEPS)
		member_answer(me, member, member->held_count - 1, SHARED_DONE);
}

static const struct endpoint_ops member_ops = {.kind = "member", .deliver = member_deliver};

static void member_join(struct worker *me, struct member *member)
{
	const struct shared_options options = {.qos = 2, .is_persistent = true, .window = WINDOW};

	member->endpoint.ops = &member_ops;
	CHECK(route_register(me, &member->endpoint) == ERR_NONE);
	CHECK(shared_join(me, slice_from_string("g"), slice_from_string(filters[member->group]),
			  &member->endpoint, &options, !member->is_away, NULL, 0, 0,
			  &member->membership) == ERR_NONE);
}

/* The last one first, as sessions do it. */
static void member_give_back(struct worker *me, struct member *member, bool is_ending)
{
	for (unsigned i = member->held_count; i-- > 0;) {
		if (member->held[i].qos == 1)
			member_answer(me, member, i, SHARED_BACK);
		else if (is_ending)
			member_answer(me, member, i, SHARED_DROPPED);
	}
}

static void member_leave(struct worker *me, struct member *member)
{
	shared_leave(me, &member->membership, NULL, 0, 0);
	member_give_back(me, member, true);
	route_retire(me, &member->endpoint);
}

static void member_set_away(struct worker *me, struct member *member, bool is_away)
{
	if (is_away && !member->is_away)
		member_give_back(me, member, false);
	member->is_away = is_away;
	shared_member_online(me, member->membership, !is_away, WINDOW);
}

static void member_step(struct worker *me, struct actor *actor, struct member *member)
{
	uint32_t dice = random_below(actor, 100);

	if (!member->membership)
		member_join(me, member);
	else if (dice < 80 && member->held_count && !member->is_away)
		member_answer(me, member, random_below(actor, member->held_count),
			      dice < 10 ? SHARED_DISCARDED : SHARED_DONE);
	else if (dice >= 95 && !member->never_leaves)
		member_leave(me, member);
	else if (dice >= 90)
		member_set_away(me, member, !member->is_away);
}

/* From now on all are there and answer at once. */
static void member_settle_down(struct worker *me, struct member *member)
{
	if (!member->membership)
		member_join(me, member);
	member_set_away(me, member, false);
	while (member->held_count)
		member_answer(me, member, 0, SHARED_DONE);
}

static bool chaos_run(struct worker *me, struct task *task)
{
	struct actor *actor = &actors[me->id];

	CHECK(task == &actor->chaos);
	for (unsigned i = 0; i < GROUPS; i++)
		member_step(me, actor, &actor->members[i]);
	if (++actor->steps < CHAOS_STEPS)
		return true;
	for (unsigned i = 0; i < GROUPS; i++)
		member_settle_down(me, &actor->members[i]);
	latch_pass(actor->done);
	return false;
}

static bool publishing_run(struct worker *me, struct task *task)
{
	struct actor *actor = &actors[me->id];

	CHECK(task == &actor->publishing);
	for (unsigned n = 0; n < 4 && actor->published < PER_WORKER; n++) {
		uint32_t number = me->id * PER_WORKER + actor->published;
		struct publish_order order = {.qos = (uint8_t)(number % 3)};
		struct publication publication = {.message = publish_make(me, &order, number)};
		enum route_status status = route_publish(me, &publication);

		message_drop(me, &publication.message);
		if (status == ROUTE_NO_CREDIT) {
			letter_wait_for_credit(me, &actor->waiter);
			return false;
		}
		CHECK(status == ROUTE_DONE);
		actor->published++;
	}
	if (actor->published < PER_WORKER)
		return true;
	latch_pass(actor->done);
	return false;
}

static void publishing_on_credit(struct worker *me, struct credit_waiter *waiter)
{
	struct actor *actor = &actors[me->id];

	CHECK(waiter == &actor->waiter);
	worker_add_task(me, &actor->publishing);
}

static void actor_begin(struct worker *me, void *unused)
{
	struct actor *actor = &actors[me->id];

	(void)unused;
	for (unsigned i = 0; i < GROUPS; i++) {
		actor->members[i].group = i;
		actor->members[i].never_leaves = me->id == i;
		member_join(me, &actor->members[i]);
	}
}

static void actor_go(struct worker *me, void *unused)
{
	struct actor *actor = &actors[me->id];

	(void)unused;
	worker_add_task(me, &actor->chaos);
	worker_add_task(me, &actor->publishing);
}

static void actor_end(struct worker *me, void *unused)
{
	struct actor *actor = &actors[me->id];

	(void)unused;
	for (unsigned i = 0; i < GROUPS; i++) {
		CHECK(actor->members[i].held_count == 0);
		member_leave(me, &actor->members[i]);
	}
}

static void on_all(struct world *here, void (*run)(struct worker *, void *))
{
	for (uint16_t i = 0; i < WORKERS; i++)
		do_on(runtime_worker(here->runtime, i), run, NULL);
	settle(here);
}

static uint64_t qos0_seen(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < WORKERS; i++) {
		for (unsigned k = 0; k < GROUPS; k++)
			sum += actors[i].members[k].qos0_got + actors[i].members[k].qos0_missed;
	}
	return sum;
}

static uint64_t qos0_dropped(void)
{
	return counter_total(COUNTER_DROPPED_QOS0_OFFLINE) +
	       counter_total(COUNTER_DROPPED_QOS0_NO_CREDIT);
}

static void assert_all_finished_once(void)
{
	for (unsigned i = 0; i < GROUPS; i++) {
		for (uint32_t number = 0; number < WORKERS * PER_WORKER; number++)
			assert_int_equal(finished[i][number], number % 3 ? 1 : 0);
	}
}

static void tumult(enum shared_strategy strategy)
{
	struct latch done = LATCH(2 * WORKERS);
	struct world here;
	uint64_t dropped = qos0_dropped();
	uint64_t no_member = counter_total(COUNTER_DROPPED_SHARED_NO_MEMBER);

	memset(actors, 0, sizeof actors);
	memset(finished, 0, sizeof finished);
	for (unsigned i = 0; i < WORKERS; i++) {
		actors[i].chaos.run = chaos_run;
		actors[i].publishing.run = publishing_run;
		actors[i].waiter.on_credit = publishing_on_credit;
		actors[i].done = &done;
		actors[i].random = 17 * i + (unsigned)strategy;
	}
	world_begin(&here, WORKERS, 16, &(struct shared_settings){.strategy = strategy});
	on_all(&here, actor_begin);
	for (uint16_t i = 0; i < WORKERS; i++)
		run_on(runtime_worker(here.runtime, i), actor_go, NULL);
	assert_true(latch_wait(&done));
	while (counter_total(COUNTER_MESSAGES_QUEUED))
		settle(&here);
	settle(&here);
	assert_all_finished_once();
	assert_int_equal(qos0_seen() + qos0_dropped() - dropped, GROUPS * WORKERS * PER_WORKER / 3);
	on_all(&here, actor_end);
	assert_int_equal(counter_total(COUNTER_DROPPED_SHARED_NO_MEMBER), no_member);
	world_end(&here);
}

static void least_inflight_loses_and_doubles_nothing(void **unused)
{
	(void)unused;
	tumult(SHARED_LEAST_INFLIGHT);
}

static void random_loses_and_doubles_nothing(void **unused)
{
	(void)unused;
	tumult(SHARED_RANDOM);
}

static void hash_topic_loses_and_doubles_nothing(void **unused)
{
	(void)unused;
	tumult(SHARED_HASH_TOPIC);
}

static void hash_client_loses_and_doubles_nothing(void **unused)
{
	(void)unused;
	tumult(SHARED_HASH_CLIENT);
}

/* As a broker that stops: whatever still goes on ends here. */
static void actor_stop(struct worker *me, void *unused)
{
	struct actor *actor = &actors[me->id];

	(void)unused;
	worker_cancel_task(&actor->chaos);
	worker_cancel_task(&actor->publishing);
	letter_wait_cancel(&actor->waiter);
	for (unsigned i = 0; i < GROUPS; i++) {
		if (actor->members[i].membership)
			member_leave(me, &actor->members[i]);
	}
}

/* The broker stops while tickets are out and letters on their way: each worker ends its members. */
static void stop_in_full_swing(void **unused)
{
	(void)unused;
	for (unsigned round = 0; round < 5; round++) {
		struct latch done = LATCH(1); /* the first that has published all of its own */
		struct world here;

		memset(actors, 0, sizeof actors);
		memset(finished, 0, sizeof finished);
		for (unsigned i = 0; i < WORKERS; i++) {
			actors[i].chaos.run = chaos_run;
			actors[i].publishing.run = publishing_run;
			actors[i].waiter.on_credit = publishing_on_credit;
			actors[i].done = &done;
			actors[i].published = PER_WORKER - 300;
		}
		world_begin(&here, WORKERS, 16, &(struct shared_settings){0});
		on_all(&here, actor_begin);
		for (uint16_t i = 0; i < WORKERS; i++)
			run_on(runtime_worker(here.runtime, i), actor_go, NULL);
		assert_true(latch_wait(&done));
		runtime_on_every_worker(here.runtime, actor_stop, NULL, NULL);
		world_end(&here);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(least_inflight_loses_and_doubles_nothing),
		cmocka_unit_test(random_loses_and_doubles_nothing),
		cmocka_unit_test(hash_topic_loses_and_doubles_nothing),
		cmocka_unit_test(hash_client_loses_and_doubles_nothing),
		cmocka_unit_test(stop_in_full_swing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
