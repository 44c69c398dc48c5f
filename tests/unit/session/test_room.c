/* SPDX-License-Identifier: Apache-2.0 */
/* test_room.c - who waits while the store takes nothing, and what for. */
#include "unit/store/store_fixture.h"

#include "session/broker_sessions.h"
#include "session/client.h"

/* Owner: worker 0. The clients are connected to nobody. */
static struct {
	struct route *route;
	struct session_settings settings;
	struct session_worker sessions;
	struct client clients[3];
	unsigned closed, closed_for_room; /* any thread */
} scene;

#define YOUNG (&scene.clients[0]) /* version 5 */
#define OLD (&scene.clients[1])
#define LATE (&scene.clients[2])

static ssize_t nobody_writes(struct connection *conn, const void *bytes, size_t len)
{
	(void)conn;
	(void)bytes;
	return (ssize_t)len;
}

static void nobody_watches(struct connection *conn, uint16_t events)
{
	(void)conn;
	(void)events;
}

static void nobody_closes(struct connection *conn)
{
	(void)conn;
}

static const struct transport nowhere = {
	.name = "nowhere",
	.write = nobody_writes,
	.close = nobody_closes,
	.watch = nobody_watches,
};

static size_t nothing_is_read(struct connection *conn, struct slice bytes)
{
	(void)conn;
	(void)bytes;
	return 0;
}

static void on_closed(struct connection *conn)
{
	struct client *client = client_of_connection(conn);

	route_retire(conn->worker, &client->endpoint);
	if (client->close_cause == CLOSE_STORE_FULL)
		__atomic_add_fetch(&scene.closed_for_room, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&scene.closed, 1, __ATOMIC_RELAXED);
}

static const struct connection_ops no_bytes = {.on_bytes = nothing_is_read, .on_closed = on_closed};

static void client_begin(struct worker *me, struct client *client, enum mqtt_version version)
{
	client->endpoint.ops = &client_endpoint_ops;
	client->version = (uint8_t)version;
	client->state = CLIENT_ONLINE;
	CHECK(route_register(me, &client->endpoint) == ERR_NONE);
	connection_init_pushed(&client->conn, me, &nowhere, NULL, &no_bytes, 65536);
}

static void begin_here(struct worker *me, void *unused)
{
	(void)unused;
	CHECK(route_worker_init(scene.route, me) == ERR_NONE);
	CHECK(net_worker_init(me) == ERR_NONE);
	scene.sessions.settings = &scene.settings;
	me->slot[WORKER_SLOT_SESSION] = &scene.sessions;
	room_init(&scene.sessions);
	client_begin(me, YOUNG, MQTT_V5);
	client_begin(me, OLD, MQTT_V311);
	client_begin(me, LATE, MQTT_V311);
}

static void end_here(struct worker *me, void *unused)
{
	(void)unused;
	for (size_t i = 0; i < 3; i++)
		if (scene.clients[i].state != CLIENT_ENDING)
			client_close(&scene.clients[i], CLOSE_CLIENT_DISCONNECTED, 0, NULL);
	room_stop(me);
}

static int setup(void **state)
{
	static struct route_settings settings = {.fanout_slice = 100};

	memset(&scene, 0, sizeof scene);
	scene.settings.room_wait_ms = 3600000;
	if (shop_setup(state))
		return -1;
	shop.workers = 1;
	assert_int_equal(route_create(&settings, &scene.route), ERR_NONE);
	shop_open();
	on_worker(0, begin_here, NULL);
	return 0;
}

static int teardown(void **state)
{
	on_worker(0, end_here, NULL);
	runtime_stop(shop.runtime);
	room_fini(&scene.sessions);
	rcu_thread_register();
	net_worker_fini(runtime_worker(shop.runtime, 0));
	route_worker_fini(runtime_worker(shop.runtime, 0));
	rcu_thread_unregister();
	route_destroy(&scene.route);
	store_close(&shop.store);
	runtime_destroy(&shop.runtime);
	return shop_teardown(state);
}

/* The writer sleeps: nothing was posted. */
static void store_becomes(enum store_state state)
{
	struct store *store = shop.store;
	int kept = state == STORE_BUSY ? STORE_OK : (int)state;

	__atomic_store_n(&store->state, kept, __ATOMIC_RELAXED);
	__atomic_store_n(&store->waiting_bytes, state == STORE_BUSY ? UINT64_MAX / 2 : 0,
			 __ATOMIC_RELAXED);
}

/* It has published what would have to be kept, and has met the state that there is. */
static void must_wait(struct worker *me, struct client *client)
{
	const struct publish_packet packet = {.qos = 1, .packet_id = 7};

	CHECK(!client_no_room(client, &packet, store_state(me)));
	CHECK(client->parked & PARK_STORE);
}

static bool waits(const struct client *client)
{
	return client->parked & PARK_STORE;
}

static void busy_and_then_full(struct worker *me, void *unused)
{
	(void)unused;
	store_becomes(STORE_BUSY);
	must_wait(me, YOUNG);
	must_wait(me, LATE);
	store_becomes(STORE_FULL);
	must_wait(me, OLD); /* before this worker has heard of it */
	sessions_store_changed(me);
	CHECK(!waits(YOUNG) && !waits(LATE)); /* to be refused, and to be given an end */
	CHECK(waits(OLD));
	store_becomes(STORE_OK);
	sessions_store_changed(me);
	CHECK(!waits(OLD));
	CHECK(!scene.sessions.room_waiters);
}

static void who_waits_for_a_busy_store_hears_that_it_is_full(void **unused)
{
	(void)unused;
	on_worker(0, busy_and_then_full, NULL);
}

static void full_and_then_busy(struct worker *me, void *unused)
{
	(void)unused;
	store_becomes(STORE_FULL);
	must_wait(me, OLD);
	store_becomes(STORE_BUSY); /* there was room, and it is taken already */
	must_wait(me, YOUNG);
	sessions_store_changed(me);
	CHECK(!waits(OLD)); /* or it would be closed as if the store were full still */
	CHECK(waits(YOUNG));
	must_wait(me, OLD);
	sessions_store_changed(me);
	CHECK(waits(OLD) && waits(YOUNG));
	store_becomes(STORE_OK);
	sessions_store_changed(me);
	CHECK(!waits(OLD) && !waits(YOUNG));
}

static void who_waits_for_a_full_store_hears_that_it_is_only_busy(void **unused)
{
	(void)unused;
	on_worker(0, full_and_then_busy, NULL);
}

static void old_ones_meet_a_full_store(struct worker *me, void *unused)
{
	(void)unused;
	store_becomes(STORE_FULL);
	must_wait(me, OLD);
	client_close(OLD, CLOSE_CONNECTION_LOST, 0, NULL);
	scene.settings.room_wait_ms = 20; /* as a reload does it */
	must_wait(me, LATE);
}

static bool both_are_closed(void)
{
	return __atomic_load_n(&scene.closed, __ATOMIC_RELAXED) == 2;
}

static void who_waits_too_long_is_closed_and_forgotten(void **unused)
{
	(void)unused;
	on_worker(0, old_ones_meet_a_full_store, NULL);
	assert_true(wait_for(both_are_closed));
	assert_int_equal(__atomic_load_n(&scene.closed_for_room, __ATOMIC_RELAXED), 1);
}

static bool nothing_is_kept(void)
{
	return memory_used(MEMORY_INPUT) == 0;
}

static void one_leaves_while_it_waits(struct worker *me, void *unused)
{
	(void)unused;
	scene.settings.room_wait_ms = 20;
	store_becomes(STORE_FULL);
	must_wait(me, OLD);
	client_close(OLD, CLOSE_CONNECTION_LOST, 0, NULL);
}

static void who_has_gone_while_it_waited_leaves_nothing_behind(void **unused)
{
	(void)unused;
	on_worker(0, one_leaves_while_it_waits, NULL);
	assert_true(wait_for(nothing_is_kept));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(who_waits_for_a_busy_store_hears_that_it_is_full),
		CASE(who_waits_for_a_full_store_hears_that_it_is_only_busy),
		CASE(who_waits_too_long_is_closed_and_forgotten),
		CASE(who_has_gone_while_it_waited_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
