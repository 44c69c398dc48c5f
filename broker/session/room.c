/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.c - publications that would have to be kept, while the store takes nothing.
 *
 * A version 5 client is told (0x97). An older one cannot be: it is not read, and after a while closed, so
 * that it comes back and sends again. When the store is only behind, everybody just waits. Where it
 * is not known whether anybody has to keep it, the other workers are asked first, and the packet comes
 * again with the answer.
 *
 * A session or a subscription that would be new in the store is refused as well, to all. What is there
 * already goes on: it is resumed, subscribed to again, and given up.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "session/broker_sessions.h"
#include "session/connect.h"
#include "session/keep.h"

/* A stored session that comes back is written anew, but hardly grows, unless by its will. */
#define RESUMED_WILL_BYTES 1024

/* In the order in which they began to wait. */
struct room_waiter {
	struct room_waiter *next;
	handle_t client;
	uint64_t due_ms; /* then it is closed; 0: never */
	uint8_t state;	 /* enum store_state: the one that it waits to see gone */
};

/* Not all wait for the same state to go. */
#define ROOM_STATES_DIFFER UINT8_MAX

static void on_timer(struct timer *timer);

void room_init(struct session_worker *mine)
{
	mine->room_waiters_end = &mine->room_waiters;
	timer_init(&mine->room_timer, on_timer);
}

void room_stop(struct worker *me)
{
	timer_disarm(&me->wheel, &session_worker_of(me)->room_timer);
}

/* Returns whose turn it was. */
static handle_t waiter_remove(struct session_worker *mine, struct room_waiter **at)
{
	struct room_waiter *gone = *at;
	handle_t client = gone->client;

	*at = gone->next;
	if (!*at)
		mine->room_waiters_end = at;
	memory_uncharge(MEMORY_INPUT, sizeof *gone);
	free(gone);
	return client;
}

void room_fini(struct session_worker *mine)
{
	while (mine->room_waiters)
		(void)waiter_remove(mine, &mine->room_waiters);
}

static struct client *waiting_client(struct worker *me, handle_t handle)
{
	struct endpoint *endpoint = route_find(me, handle);
	struct client *client;

	if (!endpoint || endpoint->ops != &client_endpoint_ops)
		return NULL;
	client = TIMER_OWNER(endpoint, struct client, endpoint);
	return client->parked & PARK_STORE ? client : NULL;
}

static void arm(struct worker *me, struct session_worker *mine, uint64_t due_ms)
{
	if (timer_is_armed(&mine->room_timer) && mine->room_due_ms <= due_ms)
		return;
	mine->room_due_ms = due_ms;
	timer_arm_at(&me->wheel, &mine->room_timer, due_ms);
}

/* Those whose client has gone meanwhile go here as well: while the store is full nothing else ends them. */
static void on_timer(struct timer *timer)
{
	struct session_worker *mine = TIMER_OWNER(timer, struct session_worker, room_timer);
	struct worker *me = worker_current;
	struct room_waiter **at = &mine->room_waiters;

	sessions_store_changed(me); /* who need not wait any more is not closed */
	while (*at) {
		uint64_t due_ms = (*at)->due_ms;
		struct client *client;

		if (due_ms == 0 || due_ms > me->now_ms) {
			if (due_ms)
				arm(me, mine, due_ms);
			at = &(*at)->next;
			continue;
		}
		client = waiting_client(me, waiter_remove(mine, at));
		if (client)
			client_close(client, CLOSE_STORE_FULL, 0, NULL);
	}
}

/* state: that which it waits to see gone; the worker may not have looked since it began. */
static void wait_for_room(struct client *client, enum store_state state, bool is_closed_later)
{
	struct worker *me = client->conn.worker;
	struct session_worker *mine = session_worker_of(me);
	struct room_waiter *fresh = calloc(1, sizeof *fresh);

	if (!fresh) {
		client_close(client, CLOSE_OUT_OF_MEMORY, 0, NULL);
		return;
	}
	memory_charge(MEMORY_INPUT, sizeof *fresh);
	fresh->client = client->endpoint.handle;
	fresh->due_ms = is_closed_later ? me->now_ms + mine->settings->room_wait_ms : 0;
	fresh->state = (uint8_t)state;
	if (!mine->room_waiters)
		mine->room_state = fresh->state;
	else if (mine->room_state != fresh->state)
		mine->room_state = ROOM_STATES_DIFFER;
	*mine->room_waiters_end = fresh;
	mine->room_waiters_end = &fresh->next;
	client_park(client, PARK_STORE);
	if (fresh->due_ms)
		arm(me, mine, fresh->due_ms);
}

/*
 * Each waits for the state that it met to go, because it decides what becomes of it: who waited while
 * the store was busy is refused, or gets an end, when the store is full now. Between two of these
 * calls there may have been several states.
 */
void sessions_store_changed(struct worker *me)
{
	struct session_worker *mine = session_worker_of(me);
	enum store_state state = store_state(me);
	struct room_waiter **at = &mine->room_waiters;

	if (!*at || mine->room_state == (uint8_t)state)
		return;
	mine->room_state = (uint8_t)state;
	while (*at) {
		struct client *client;

		if ((*at)->state == (uint8_t)state) {
			at = &(*at)->next;
			continue;
		}
		client = waiting_client(me, waiter_remove(mine, at));
		if (client)
			client_unpark(client, PARK_STORE);
	}
}

void client_on_keepers(struct worker *me, struct endpoint *endpoint, bool somebody_keeps)
{
	struct client *client = TIMER_OWNER(endpoint, struct client, endpoint);

	(void)me;
	client->room = somebody_keeps ? ROOM_NEEDED : ROOM_NOT_NEEDED;
	client_unpark(client, PARK_STORE);
}

bool client_no_room(struct client *client, const struct publish_packet *packet,
		    enum store_state state)
{
	client->room = ROOM_UNKNOWN;
	if (state == STORE_BUSY) {
		wait_for_room(client, state, false);
		return false;
	}
	if (client->version == MQTT_V5 || packet->qos == 0)
		return true;
	wait_for_room(client, state, true);
	return false;
}

static bool session_needs_room(const struct client *client, const struct session *session)
{
	const struct connect_packet *packet = &client->pending->packet;
	const struct connect_will *will = &packet->will;

	if (session_expiry_asked(packet) == 0)
		return false;
	if (!session || !session->kept)
		return true;
	return will->present &&
	       will->topic.len + will->payload.len + will->forward.len > RESUMED_WILL_BYTES;
}

bool client_session_fits(struct client *client, struct registration *registration)
{
	struct worker *me = client->conn.worker;
	enum store_state state = store_state(me);

	if (state < STORE_FULL || !session_needs_room(client, registration->session))
		return true;
	if (!registration->session) /* made for this CONNECT */
		registry_release(session_worker_of(me)->world->registry, &registration);
	counter_add(me->counters, COUNTER_REFUSED_STORE, 1);
	client_refuse(
		client, RC_QUOTA_EXCEEDED,
		state == STORE_FAILED
			? "its session cannot be stored: the disk fails, see the log above"
			: "its session cannot be stored: the store is full, see the log above");
	return false;
}
