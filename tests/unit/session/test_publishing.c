/* SPDX-License-Identifier: Apache-2.0 */
/* test_publishing.c - a kept session's QoS 2 publications, while others have still to take them over. */
#include "unit/store/store_fixture.h"

#include "session/keep.h"

/* Owner: worker 0. A client is only what answers come to. */
struct listener_to_answers {
	struct endpoint endpoint; /* first member */
	unsigned answers;
	uint64_t last_token;
};

static struct {
	struct route *route;
	struct session session;
	struct listener_to_answers first, second;
} scene;

static void on_answer(struct worker *me, struct endpoint *endpoint, uint64_t token)
{
	struct listener_to_answers *client = (struct listener_to_answers *)(void *)endpoint;

	CHECK(me->id == 0);
	client->answers++;
	client->last_token = token;
}

static const struct endpoint_ops client_ops = {.kind = "client", .on_receipt = on_answer};

/* As the broker's does it for all sessions. */
static void on_store(struct worker *me)
{
	commit_wait_run(me);
	if (!store_asks_for_origins(me))
		return;
	publishing_name(me, &scene.session);
	store_origins_named(me);
}

static void begin_here(struct worker *me, void *settings)
{
	CHECK(commit_wait_init(me) == ERR_NONE);
	store_set_hook(me, on_store);
	CHECK(route_worker_init(scene.route, me) == ERR_NONE);
	route_configure(me, settings);
	scene.first.endpoint.ops = scene.second.endpoint.ops = &client_ops;
	CHECK(route_register(me, &scene.first.endpoint) == ERR_NONE);
	CHECK(route_register(me, &scene.second.endpoint) == ERR_NONE);
	scene.session.kept = keep_create(1);
	put_session(me, 1, "alpha", STORE_SESSION);
}

static void end_here(struct worker *me, void *unused)
{
	(void)unused;
	keep_free(me, &scene.session);
	route_retire(me, &scene.first.endpoint);
	route_retire(me, &scene.second.endpoint);
	store_set_hook(me, NULL);
	commit_wait_fini(me);
}

static int setup(void **state)
{
	static struct route_settings settings = {.fanout_slice = 100};

	memset(&scene, 0, sizeof scene);
	if (shop_setup(state))
		return -1;
	shop.workers = 1;
	shop.origin_wait_ms = 20;
	assert_int_equal(route_create(&settings, &scene.route), ERR_NONE);
	shop_open();
	on_worker(0, begin_here, &settings);
	settle();
	return 0;
}

static int teardown(void **state)
{
	on_worker(0, end_here, NULL);
	runtime_stop(shop.runtime);
	rcu_thread_register();
	route_worker_fini(runtime_worker(shop.runtime, 0));
	rcu_thread_unregister();
	route_destroy(&scene.route);
	store_close(&shop.store);
	runtime_destroy(&shop.runtime);
	return shop_teardown(state);
}

/* Returns the token that its receipts have. */
static uint64_t begin(struct worker *me, uint16_t packet_id, unsigned receipts)
{
	uint64_t token = publishing_next_token(&scene.session);

	CHECK(publishing_begin(me, &scene.session, packet_id, receipts, scene.first.endpoint.handle,
			       1000u + packet_id));
	return token;
}

static void receipt(struct worker *me, uint64_t token)
{
	publishing_on_receipt(me, &scene.session.endpoint, token);
}

static void two_publications(struct worker *me, void *unused)
{
	uint64_t one, two, posted = store_posted(me);

	(void)unused;
	one = begin(me, 1, 2);
	two = begin(me, 2, 1);
	receipt(me, one);
	CHECK(store_posted(me) == posted);
	receipt(me, two); /* the later one is complete first */
	CHECK(store_posted(me) == posted + 1);
	receipt(me, two); /* nobody's any more */
	receipt(me, 12345);
	receipt(me, one);
	CHECK(store_posted(me) == posted + 2);
	CHECK(scene.first.answers == 0); /* nothing is committed yet */
}

static unsigned wanted;

static void count_answers(struct worker *me, void *out)
{
	(void)me;
	*(unsigned *)out = scene.first.answers + scene.second.answers;
}

static bool all_have_come(void)
{
	unsigned answers;

	on_worker(0, count_answers, &answers);
	return answers >= wanted;
}

/* On both connections; and no more than these, which what follows would see. */
static void wait_for_answers(unsigned count)
{
	wanted = count;
	assert_true(wait_for(all_have_come));
	settle();
}

static void the_answer_waits_for_all_receipts_and_for_the_store(void **unused)
{
	(void)unused;
	store_image_hold(shop.image, true);
	on_worker(0, two_publications, NULL);
	on_worker(0, do_nothing, NULL);
	assert_int_equal(scene.first.answers, 0);
	store_image_hold(shop.image, false);
	wait_for_answers(2);
	assert_int_equal(scene.first.answers, 2);
	assert_int_equal(scene.first.last_token, 1001);
}

static uint64_t long_token;

static void begin_what_takes_long(struct worker *me, void *unused)
{
	struct store_delivery delivery = {.qos = 2, .origin_id = 1, .origin_packet_id = 11};
	struct message *message = say(me, "far", "away");

	(void)unused;
	long_token = begin(me, 11, 1);
	(void)store_queue(me, 1, message, &delivery);
	message_drop(me, &message);
}

static void end_what_takes_long(struct worker *me, void *unused)
{
	(void)unused;
	receipt(me, long_token);
}

static bool was_asked_often(void)
{
	return __atomic_load_n(&shop.store->question, __ATOMIC_ACQUIRE) >= 4;
}

static void what_is_under_way_is_named_and_waited_for(void **unused)
{
	(void)unused;
	on_worker(0, begin_what_takes_long, NULL);
	assert_true(wait_for(was_asked_often));
	assert_false(is_committed(0));
	on_worker(0, end_what_takes_long, NULL);
	wait_for_answers(1);
}

static void released_before_it_is_answered(struct worker *me, void *unused)
{
	uint64_t token = begin(me, 7, 1), posted = store_posted(me);

	(void)unused;
	CHECK(!publishing_release(&scene.session, 8));
	CHECK(publishing_release(&scene.session, 7));
	receipt(me, token);
	CHECK(store_posted(me) == posted + 2); /* added, and given up in the same commit */
	CHECK(!publishing_release(&scene.session, 7));
}

static void an_identifier_that_is_released_early_is_not_kept(void **unused)
{
	const struct place *place;

	(void)unused;
	on_worker(0, released_before_it_is_answered, NULL);
	wait_for_answers(1);
	place = ledger_place(&shop.store->ledger, 1);
	assert_int_equal(place->received_count, 0);
	assert_int_equal(scene.first.answers, 1);
}

static void repeated_on_another_connection(struct worker *me, void *unused)
{
	uint64_t token = begin(me, 9, 1);
	handle_t first = scene.first.endpoint.handle, second = scene.second.endpoint.handle;

	(void)unused;
	CHECK(publishing_repeat(&scene.session, 8, second, 1) == PUBLISHING_UNKNOWN);
	CHECK(publishing_repeat(&scene.session, 9, first, 1) == PUBLISHING_COMES);
	CHECK(publishing_repeat(&scene.session, 9, second, 55) == PUBLISHING_WAIT);
	receipt(me, token);
}

static void a_publish_that_comes_again_is_answered_where_it_came_from(void **unused)
{
	const struct place *place;

	(void)unused;
	on_worker(0, repeated_on_another_connection, NULL);
	wait_for_answers(1);
	assert_int_equal(scene.first.answers, 0);
	assert_int_equal(scene.second.answers, 1);
	assert_int_equal(scene.second.last_token, 55);
	place = ledger_place(&shop.store->ledger, 1);
	assert_int_equal(place->received_count, 1);
	assert_int_equal(place->received[0], 9);
}

static void ended(struct worker *me, void *unused)
{
	uint64_t token = begin(me, 1, 1);

	(void)unused;
	begin(me, 2, 3);
	publishing_free_all(me, &scene.session);
	receipt(me, token);
	CHECK(!publishing_release(&scene.session, 2));
	token = begin(me, 3, 1); /* the row begins anew */
	receipt(me, token);
}

static void receipts_for_what_has_ended_are_ignored(void **unused)
{
	(void)unused;
	on_worker(0, ended, NULL);
	wait_for_answers(1);
	assert_int_equal(scene.first.answers, 1);
	assert_int_equal(scene.first.last_token, 1003);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_answer_waits_for_all_receipts_and_for_the_store),
		CASE(what_is_under_way_is_named_and_waited_for),
		CASE(an_identifier_that_is_released_early_is_not_kept),
		CASE(a_publish_that_comes_again_is_answered_where_it_came_from),
		CASE(receipts_for_what_has_ended_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
