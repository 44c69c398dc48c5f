/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_fixture.h"

#include "base/hash.h"
#include "runtime/message.h"

static struct message_content content_of(const char *topic, const char *payload)
{
	return (struct message_content){.topic = slice_from_string(topic),
					.payload = slice_from_string(payload),
					.topic_hash = hash_slice(slice_from_string(topic)),
					.qos = 1};
}

static void a_message_holds_what_it_was_made_of(void **unused)
{
	struct message_content content = content_of("plant/line1", "42.5");
	struct message *m;

	(void)unused;
	content.properties = SLICE_LITERAL("props");
	content.properties_len = 5;
	content.flags = MESSAGE_RETAIN;
	content.expires_ms = 77;
	m = message_create(NULL, &content);
	assert_true(slice_equal_string(message_topic(m), "plant/line1"));
	assert_true(slice_equal_string(message_payload(m), "42.5"));
	assert_true(slice_equal_string(message_properties(m), "props"));
	assert_int_equal(m->bytes[0] << 8 | m->bytes[1], 11);
	assert_int_equal(m->expires_ms, 77);
	assert_int_equal(m->flags, MESSAGE_RETAIN);
	assert_int_equal(m->home, WORKER_NONE);
	assert_true(m->arrived_us > 0);
	message_unref_shared(NULL, &m);
	assert_null(m);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
}

static void room_for_properties_can_be_filled_in_afterwards(void **unused)
{
	struct message_content content = content_of("t", "");
	struct message *m;

	(void)unused;
	content.properties_len = 3;
	m = message_create(NULL, &content);
	memcpy(message_properties_room(m), "abc", 3);
	assert_true(slice_equal_string(message_properties(m), "abc"));
	assert_int_equal(message_payload(m).len, 0);
	message_unref_shared(NULL, &m);
}

static void numbers_are_unique_and_name_the_worker(void **unused)
{
	struct runtime *runtime = runtime_make(2, 4);
	struct message_content content = content_of("t", "p");
	struct worker *workers[2] = {runtime_worker(runtime, 0), runtime_worker(runtime, 1)};
	struct message *a = message_create(workers[1], &content);
	struct message *b = message_create(workers[1], &content);
	struct message *c = message_create(NULL, &content);

	(void)unused;
	assert_true(a->number != b->number);
	assert_int_equal(a->number >> 48, 1);
	assert_int_equal(c->number >> 48, WORKER_NONE);
	message_drop(workers[1], &a);
	message_drop(workers[1], &b);
	message_drop(NULL, &c);
	runtime_destroy(&runtime);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
}

static void a_limit_that_is_reached_refuses_messages(void **unused)
{
	struct message_content content = content_of("t", "p");
	struct message *m;

	(void)unused;
	memory_limit_set(1);
	memory_charge(MEMORY_MESSAGE, MEMORY_STEP_BYTES);
	assert_null(message_create(NULL, &content));
	memory_uncharge(MEMORY_MESSAGE, MEMORY_STEP_BYTES);
	memory_limit_set(0);
	m = message_create(NULL, &content);
	assert_non_null(m);
	message_unref_shared(NULL, &m);
}

/* The home's uses go to none and to one again while somebody else still holds the message. */
static void a_message_can_come_back_to_its_home_while_others_hold_it(void **unused)
{
	struct runtime *runtime = runtime_make(2, 4);
	struct worker *home = runtime_worker(runtime, 0), *other = runtime_worker(runtime, 1);
	struct message_content content = content_of("t", "p");
	struct message *m = message_create(home, &content), *local, *far;

	(void)unused;
	local = far = m;
	message_use(home, m);
	message_ref_shared(m);
	assert_int_equal(m->local_uses, 2);
	assert_int_equal(m->shared_refs, 2);
	message_drop(home, &local);
	assert_null(local);
	local = m;
	message_drop(home, &local);
	assert_int_equal(m->local_uses, 0);
	assert_int_equal(m->shared_refs, 1);
	message_use(home, m);
	assert_int_equal(m->local_uses, 1);
	assert_int_equal(m->shared_refs, 2);
	message_use(other, m);
	assert_int_equal(m->shared_refs, 3);
	local = m;
	message_drop(home, &local);
	local = m;
	message_drop(other, &local);
	message_unref_shared(other, &far);
	assert_true(memory_used(MEMORY_MESSAGE) > 0); /* on its way home */
	runtime_destroy(&runtime);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
}

static void an_origin_lives_as_long_as_its_messages(void **unused)
{
	struct runtime *runtime = runtime_make(1, 4);
	struct worker *home = runtime_worker(runtime, 0);
	struct origin *origin =
		origin_create(3, SLICE_LITERAL("client"), true, SLICE_LITERAL("me"));
	struct message_content content = content_of("t", "p");
	struct message *m;

	(void)unused;
	content.origin = origin;
	m = message_create(home, &content);
	assert_int_equal(origin->uses, 2);
	origin_unref(&origin);
	assert_null(origin);
	assert_true(slice_equal_string(origin_client_id(m->origin), "client"));
	assert_true(slice_equal_string(origin_username(m->origin), "me"));
	message_drop(home, &m);
	runtime_destroy(&runtime);
}

/*
 * Messages of four workers wander about: each worker that gets one uses it, drops it, sends it on
 * to others, puts it into a shared place from which others take it under RCU, and so on, at random.
 * In the end every byte is uncharged and every origin has its first use only.
 */
#define WANDERERS 4
#define WANDER_MESSAGES 4000
#define WANDER_PLACES 8

struct wander_letter {
	struct letter letter;
	struct message *m;
	int hops;
};

static struct {
	struct origin *origin[WANDERERS];
	uint64_t random[WANDERERS];
	struct message *place[WANDER_PLACES]; /* RCU */
	int made[WANDERERS];
	int ended; /* atomic */
	struct latch done;
} wander;

static unsigned wander_random(struct worker *me, unsigned below)
{
	uint64_t *x = &wander.random[me->id];

	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return (unsigned)(*x % below);
}

static const struct letter_type wander_type;

static void wander_send(struct worker *me, struct message *m, int hops)
{
	struct wander_letter *letter = letter_create(me, &wander_type, sizeof *letter);

	message_ref_shared(m);
	letter->m = m;
	letter->hops = hops;
	letter_post(me, (uint16_t)wander_random(me, WANDERERS), &letter->letter);
}

static void wander_put_into_place(struct worker *me, struct message *m)
{
	struct message *old;

	/* A message is retained at most once: it has one place to wait for its readers. */
	if (__atomic_exchange_n(&m->retained_version, 1, __ATOMIC_RELAXED) != 0)
		return;
	message_ref_shared(m);
	old = rcu_exchange(&wander.place[wander_random(me, WANDER_PLACES)], m);
	if (old)
		message_unref_after_readers(old);
}

static void wander_look_at_place(struct worker *me)
{
	struct message *m;

	rcu_read_section_begin();
	m = rcu_load(wander.place[wander_random(me, WANDER_PLACES)]);
	if (m)
		message_use(me, m);
	rcu_read_section_end();
	if (!m)
		return;
	CHECK(slice_equal_string(message_topic(m), "wander"));
	message_drop(me, &m);
}

static void wander_on_arrive(struct worker *me, struct letter *l)
{
	struct wander_letter *letter = (struct wander_letter *)l;
	struct message *use = letter->m;

	message_use(me, use);
	if (wander_random(me, 4) == 0)
		wander_put_into_place(me, use);
	if (wander_random(me, 3) == 0)
		wander_look_at_place(me);
	if (letter->hops > 0)
		for (unsigned n = wander_random(me, 3); n > 0; n--)
			wander_send(me, use, letter->hops - 1);
	message_unref_shared(me, &letter->m);
	CHECK(slice_equal_string(message_payload(use), "here and there"));
	message_drop(me, &use);
	letter_return(me, l);
}

static const struct letter_type wander_type = {.name = "wander",
					       .on_arrive = wander_on_arrive,
					       .on_return = letter_destroy};

static bool wander_make(struct worker *me, struct task *task)
{
	struct message_content content = content_of("wander", "here and there");
	struct message *m;

	content.origin = wander.origin[me->id];
	m = message_create(me, &content);
	CHECK(m);
	wander_send(me, m, 6);
	wander_send(me, m, 6);
	message_drop(me, &m);
	if (++wander.made[me->id] < WANDER_MESSAGES)
		return true;
	free(task);
	latch_pass(&wander.done);
	return false;
}

static void wander_begin(struct worker *me, void *unused)
{
	struct task *task = calloc(1, sizeof *task);

	(void)unused;
	task->run = wander_make;
	worker_add_task(me, task);
}

static void messages_of_four_workers_wander_and_are_freed_once(void **unused)
{
	struct runtime *runtime = runtime_begin(WANDERERS, 64);

	(void)unused;
	memset(&wander, 0, sizeof wander);
	wander.done = (struct latch)LATCH(WANDERERS);
	for (unsigned i = 0; i < WANDERERS; i++) {
		wander.random[i] = 0x9e3779b97f4a7c15u * (i + 1);
		wander.origin[i] = origin_create(0, SLICE_LITERAL("w"), false, SLICE_NONE);
	}
	runtime_on_every_worker(runtime, wander_begin, NULL, NULL);
	assert_true(latch_wait(&wander.done));
	runtime_stop(runtime);
	for (int i = 0; i < WANDER_PLACES; i++)
		if (wander.place[i])
			message_unref_after_readers(wander.place[i]);
	runtime_destroy(&runtime);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
	for (int i = 0; i < WANDERERS; i++) {
		assert_int_equal(wander.origin[i]->uses, 1);
		origin_unref(&wander.origin[i]);
	}
}

/* A message that ends elsewhere wakes its sleeping home only when that is worth it. */
static struct {
	struct message *m;
	struct latch made, gone;
} large;

static void large_make(struct worker *me, void *payload)
{
	struct message_content content = content_of("large", payload);

	large.m = message_create(me, &content);
	message_ref_shared(large.m);
	message_drop(me, &(struct message *){large.m});
	latch_pass(&large.made);
}

static void large_drop(struct worker *me, void *unused)
{
	(void)unused;
	message_unref_shared(me, &large.m);
	latch_pass(&large.gone);
}

static void a_large_message_is_freed_at_once_though_its_home_sleeps(void **unused)
{
	struct runtime *runtime = runtime_begin(2, 64);
	char *payload = malloc(200001);
	uint64_t deadline_us;

	(void)unused;
	memset(payload, 'x', 200000);
	payload[200000] = '\0';
	large.made = large.gone = (struct latch)LATCH(1);
	run_on(runtime_worker(runtime, 0), large_make, payload);
	assert_true(latch_wait(&large.made));
	run_on(runtime_worker(runtime, 1), large_drop, NULL);
	assert_true(latch_wait(&large.gone));
	deadline_us = clock_now_us() + DEADLINE_S * 1000000u;
	while (memory_used(MEMORY_MESSAGE) > 0 && clock_now_us() < deadline_us)
		sched_yield();
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
	runtime_end(runtime);
	free(payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_holds_what_it_was_made_of),
		cmocka_unit_test(room_for_properties_can_be_filled_in_afterwards),
		cmocka_unit_test(numbers_are_unique_and_name_the_worker),
		cmocka_unit_test(a_limit_that_is_reached_refuses_messages),
		cmocka_unit_test(a_message_can_come_back_to_its_home_while_others_hold_it),
		cmocka_unit_test(an_origin_lives_as_long_as_its_messages),
		cmocka_unit_test(messages_of_four_workers_wander_and_are_freed_once),
		cmocka_unit_test(a_large_message_is_freed_at_once_though_its_home_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
