/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - the life of a session.
 *
 *	session_open --> online --session_detach--> offline --(expiry)--> session_end
 *	                   ^------- session_open ------'
 */
#include "session/session.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "session/connect.h"
#include "session/keep.h"

static void session_on_timer(struct timer *timer);

static bool session_keeps(const struct endpoint *endpoint)
{
	return ((const struct session *)(const void *)endpoint)->kept != NULL;
}

/* Of a publication whose receipts come to the session (publishing.c). */
static void on_spread(struct worker *me, struct endpoint *endpoint, bool is_done)
{
	struct session *session = (struct session *)(void *)endpoint;

	(void)me;
	if (session->client && is_done)
		client_unpark(session->client, PARK_FANOUT);
	else if (session->client)
		client_park(session->client, PARK_FANOUT);
}

const struct endpoint_ops session_endpoint_ops = {
	.kind = "session",
	.deliver = session_deliver,
	.on_receipt = publishing_on_receipt,
	.keeps = session_keeps,
	.on_spread = on_spread,
};

struct session *session_make(struct worker *me, struct registration *registration)
{
	struct session *session = calloc(1, sizeof *session);

	if (!session)
		return NULL;
	session->endpoint.ops = &session_endpoint_ops;
	if (route_register(me, &session->endpoint) != ERR_NONE) {
		free(session);
		return NULL;
	}
	timer_init(&session->timer, session_on_timer);
	session->registration = registration;
	registration->session = session;
	session->since_ms = clock_now_ms(); /* one read back from the store is away since now */
	memory_charge(MEMORY_SESSION, sizeof *session);
	counter_add(me->counters, COUNTER_SESSIONS, 1);
	counter_add(me->counters, COUNTER_SESSIONS_OFFLINE, 1); /* until a client is attached */
	return session;
}

/* Frees what is left when nothing refers to the session any more. */
static void session_free(struct worker *me, struct session *session)
{
	timer_disarm(&me->wheel, &session->timer);
	route_retire(me, &session->endpoint);
	rights_fini(&session->rights);
	packet_id_set_fini(&session->received);
	keep_free(me, session);
	queue_free(&session->queue);
	window_free(&session->window);
	will_free(me, &session->will);
	if (session->origin)
		origin_unref(&session->origin);
	session->registration->session = NULL;
	memory_uncharge(MEMORY_SESSION, sizeof *session);
	counter_sub(me->counters, COUNTER_SESSIONS, 1);
	counter_sub(me->counters, COUNTER_SESSIONS_OFFLINE, 1);
	if (session->expiry_s)
		counter_sub(me->counters, COUNTER_SESSIONS_PERSISTENT, 1);
	free(session);
}

/* Its state ends, its registration stays. */
static void session_discard(struct worker *me, struct session *session)
{
	session->flags |= SESSION_ENDING;
	if (session->will)
		will_publish(me, session);
	session_unsubscribe_all(me, session);
	feeds_cancel(session, NULL);
	session_return_tickets(me, session);
	keep_end(me, session); /* what went back to a group is there already */
	session_drop_outgoing(me, session);
	session_free(me, session);
}

void session_end(struct worker *me, struct session **session_ref)
{
	struct session *session = *session_ref;
	struct registration *registration = session->registration;

	BUG_ON(session->client);
	session_discard(me, session);
	registry_release(session_worker_of(me)->world->registry, &registration);
	*session_ref = NULL;
}

void session_set_expiry(struct worker *me, struct session *session, uint32_t expiry_s)
{
	const struct session_settings *settings = session_worker_of(me)->settings;
	bool was_persistent = session->expiry_s != 0;

	if (settings->max_session_expiry_interval_s &&
	    expiry_s > settings->max_session_expiry_interval_s)
		expiry_s = settings->max_session_expiry_interval_s;
	session->expiry_s = expiry_s;
	if (expiry_s && !was_persistent)
		counter_add(me->counters, COUNTER_SESSIONS_PERSISTENT, 1);
	else if (!expiry_s && was_persistent)
		counter_sub(me->counters, COUNTER_SESSIONS_PERSISTENT, 1);
}

/* The connection that had the session until now goes, and the new one takes its place. */
static void take_over(struct worker *me, struct session *session, bool session_goes_on)
{
	struct client *old = session->client;

	counter_add(me->counters, COUNTER_TAKEOVERS, 1);
	client_close(old, CLOSE_TAKEN_OVER, 0, NULL);
	old->session = NULL;
	session->client = NULL;
	counter_add(me->counters, COUNTER_SESSIONS_OFFLINE, 1);
	session_return_tickets(me, session);
	/* With a delay the will waits for the session, which has just come back [MQTT-3.1.3-9]. */
	if (session->will && session_goes_on && session->will->delay_s == 0)
		will_publish(me, session);
}

static bool session_keeps_state(const struct session *session)
{
	return session->expiry_s != 0;
}

/* What an old session says about the new connection: resume it, or let it end now. */
static struct session *session_find_old(struct worker *me, struct registration *registration,
					bool clean_start)
{
	struct session *session = registration->session;
	bool goes_on;

	if (!session)
		return NULL;
	goes_on = !clean_start && session_keeps_state(session);
	if (session->client)
		take_over(me, session, goes_on);
	if (goes_on)
		return session;
	session_discard(me, session);
	return NULL;
}

uint32_t session_expiry_asked(const struct connect_packet *packet)
{
	if (packet->version == MQTT_V5)
		return packet->session_expiry_s;
	return packet->clean_start ? 0 : SESSION_EXPIRY_NEVER;
}

/* The Will of CONNECT as a message. The mount point goes in front of its topic. */
static struct will *will_make(struct worker *me, struct client *client, struct session *session)
{
	const struct connect_will *asked = &client->pending->packet.will;
	struct will *will = calloc(1, sizeof *will);
	struct slice topic;

	if (!will)
		return NULL;
	topic = session_mounted_topic(me, client_profile(client), asked->topic);
	will->message = message_create(me, &(struct message_content){
						   .topic = topic,
						   .payload = asked->payload,
						   .properties_len = (uint32_t)asked->forward.len,
						   .topic_hash = hash_slice(topic),
						   .origin_handle = session->endpoint.handle,
						   .origin = session->origin,
						   .qos = asked->qos,
						   .flags = asked->retain ? MESSAGE_RETAIN : 0,
					   });
	if (!will->message) {
		free(will);
		return NULL;
	}
	forward_properties_copy(&asked->forward, message_properties_room(will->message));
	will->delay_s = asked->delay_interval_s;
	will->has_expiry = asked->has_message_expiry;
	will->expiry_s = asked->message_expiry_s;
	memory_charge(MEMORY_SESSION, sizeof *will);
	return will;
}

/* Everything that can fail, before anything is changed. */
static enum err session_dress(struct worker *me, struct client *client, struct session *session)
{
	const struct listener_profile *profile = client_profile(client);
	const struct pending_connect *pending = client->pending;
	struct origin *origin = origin_create(profile->index, pending->client_id,
					      pending->has_username, pending->username);
	struct origin *before = session->origin;

	if (!origin)
		return ERR_NOMEM;
	session->origin = origin;
	if (before)
		origin_unref(&before);
	session->listener = profile->index;
	rights_fini(&session->rights);
	if (rights_init(&session->rights, profile->authority, session) != ERR_NONE)
		return ERR_NOMEM;
	will_free(me, &session->will);
	if (pending->packet.will.present) {
		session->will = will_make(me, client, session);
		if (!session->will)
			return ERR_NOMEM;
	}
	return ERR_NONE;
}

enum err session_open(struct worker *me, struct client *client, struct registration *registration,
		      bool *out_session_present)
{
	const struct connect_packet *packet = &client->pending->packet;
	struct session *session = session_find_old(me, registration, packet->clean_start);

	*out_session_present = session != NULL;
	if (!session)
		session = session_make(me, registration);
	if (!session) {
		registry_release(session_worker_of(me)->world->registry, &registration);
		return ERR_NOMEM;
	}
	timer_disarm(&me->wheel, &session->timer);
	session->expiry_due_ms = 0;
	if (session_dress(me, client, session) != ERR_NONE) {
		session_end(me, &session);
		return ERR_NOMEM;
	}
	session_set_expiry(me, session, session_expiry_asked(packet));
	session->version = client->version & 7u;
	if (keep_open(me, session) != ERR_NONE) {
		session_end(me, &session);
		return ERR_NOMEM;
	}
	session->client = client;
	session->since_ms = me->now_ms;
	client->session = session;
	trace_set(me, session);
	counter_sub(me->counters, COUNTER_SESSIONS_OFFLINE, 1);
	session_window_restart(session);
	return ERR_NONE;
}

static uint64_t expiry_due(struct worker *me, const struct session *session)
{
	uint64_t limit_s = session_worker_of(me)->settings->persistent_client_expiration_s;
	uint64_t expiry_s = session->expiry_s;

	if (session->expiry_s == SESSION_EXPIRY_NEVER)
		expiry_s = limit_s;
	else if (limit_s && limit_s < expiry_s)
		expiry_s = limit_s;
	return expiry_s ? clock_now_ms() + expiry_s * 1000 : 0;
}

/* The same moment, as if it had been offline for some time already. */
static uint64_t earlier(uint64_t due_ms, uint64_t by_ms)
{
	uint64_t now_ms = clock_now_ms();

	return due_ms > now_ms + by_ms ? due_ms - by_ms : now_ms;
}

static void session_arm(struct worker *me, struct session *session)
{
	uint64_t due = session->expiry_due_ms;

	if (session->will && session->will->due_ms && (!due || session->will->due_ms < due))
		due = session->will->due_ms;
	if (due)
		timer_arm_at(&me->wheel, &session->timer, due);
}

void session_arm_offline(struct worker *me, struct session *session, uint64_t offline_for_ms)
{
	session->expiry_due_ms = expiry_due(me, session);
	if (session->expiry_due_ms)
		session->expiry_due_ms = earlier(session->expiry_due_ms, offline_for_ms);
	if (session->will)
		session->will->due_ms =
			earlier(clock_now_ms() + (uint64_t)session->will->delay_s * 1000,
				offline_for_ms);
	session_on_timer(&session->timer); /* what is over is over before anybody is served */
}

static void session_on_timer(struct timer *timer)
{
	struct session *session = TIMER_OWNER(timer, struct session, timer);
	struct worker *me = worker_current;
	uint64_t now = clock_now_ms();

	if (session->client)
		return;
	if (session->will && session->will->due_ms && session->will->due_ms <= now)
		will_publish(me, session);
	if (session->expiry_due_ms && session->expiry_due_ms <= now) {
		log_event(LOG_TYPE_INFORMATION,
			  &(struct log_fields){.client_id = session_client_id(session)},
			  "Session expired");
		counter_add(me->counters, COUNTER_CLIENTS_EXPIRED, 1);
		session_end(me, &session);
		return;
	}
	session_arm(me, session);
}

void session_detach(struct worker *me, struct session *session, bool publish_will)
{
	session->client = NULL;
	session->since_ms = me->now_ms;
	counter_add(me->counters, COUNTER_SESSIONS_OFFLINE, 1);
	if (!publish_will)
		will_withdraw(me, session);
	if (!session_keeps_state(session) ||
	    (session_worker_of(me)->is_stopping && !session->kept)) {
		session_end(me, &session);
		return;
	}
	session_return_tickets(me, session);
	session_members_online(me, session, false);
	/* What is offline may be so for long: it keeps what it needs. */
	if (session->window && session->window->count == 0)
		window_free(&session->window);
	if (session->queue && session->queue->count == 0 && session->queue->spilled == 0)
		queue_free(&session->queue);
	session->expiry_due_ms = expiry_due(me, session);
	keep_offline(me, session);
	if (session->will && session->will->delay_s == 0)
		will_publish(me, session);
	else if (session->will)
		session->will->due_ms = clock_now_ms() + (uint64_t)session->will->delay_s * 1000;
	session_arm(me, session);
}
