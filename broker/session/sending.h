/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sending.h - what send.c, deliver.c and pump.c share: one message on its way to one client.
 *
 * Owner of everything: the session's worker.
 */
#ifndef NIGHTJAR_SESSION_SENDING_H
#define NIGHTJAR_SESSION_SENDING_H

#include "session/client.h"

static inline struct client *session_online_client(const struct session *session)
{
	struct client *client = session->client;

	return client && client->state == CLIENT_ONLINE ? client : NULL;
}

static inline bool queue_is_empty(const struct session *session)
{
	return !session->queue || (session->queue->count == 0 && session->queue->spilled == 0);
}

/* send.c: encoding. */

enum sent {
	SENT_YES,
	SENT_NEVER,	/* it cannot be sent to this client, counted */
	SENT_NO_CLIENT, /* the connection ended over it */
};

/* Writes one PUBLISH with what is particular to this receiver. */
enum sent send_publish(struct worker *me, struct session *session, const struct outgoing *out,
		       uint16_t packet_id, bool dup);
/* QoS 0 to a client that has room; encoded once for all receivers where it can be. */
void send_qos0(struct worker *me, struct session *session, const struct delivery *delivery);

/* deliver.c: the queue and the window. */

static inline bool window_has_room(struct worker *me, const struct session *session)
{
	const struct session_settings *settings = session_worker_of(me)->settings;
	const struct window *window = session->window;

	if (!window)
		return true;
	if (window->unsent > window->held || window->count >= 65535)
		return false;
	if (settings->max_inflight_bytes && window->bytes >= settings->max_inflight_bytes)
		return false;
	return window->on_wire + window->held_publish < session_window_limit(me, session);
}

/* Answers the ticket, if there is one. */
void outgoing_ticket_finish(struct worker *me, struct outgoing *out, enum shared_outcome outcome);
void session_count_queued(struct worker *me, const struct outgoing *out);
/* Counted out of the queue; what they hold belongs to the caller. */
struct outgoing session_dequeue(struct worker *me, struct session *session);
struct outgoing session_dequeue_at(struct worker *me, struct session *session, uint32_t index);
void outgoing_drop(struct worker *me, struct session *session, struct outgoing *out,
		   enum counter cause);
/* Some of it was read back: the oldest go while it is longer than it may be. */
void session_queue_trim(struct worker *me, struct session *session);
/* spill.c: the part of a long queue that is in the store alone. */

/* Is it where the next message goes? */
bool session_queue_is_in_store(struct worker *me, const struct session *session);
/* One message more there. */
void session_spill(struct worker *me, struct session *session, uint64_t number, uint32_t bytes);
/* Reads on, when there is room in memory; then session_pump() runs again. */
void session_unspill(struct worker *me, struct session *session);
/* The session ends. */
void session_spill_drop(struct worker *me, struct session *session);
/* Takes what out holds: at the end of the part in memory. false: no memory. */
bool session_requeue_take(struct worker *me, struct session *session, struct outgoing *out);

void session_finish_slot(struct worker *me, struct session *session, struct window_slot *slot,
			 enum shared_outcome outcome);
/* false: the connection ended over it. */
bool session_send_slot(struct worker *me, struct session *session, struct window_slot *slot,
		       bool dup);
/* Takes what out holds: gives it a Packet Identifier and sends it. false: as above. */
bool session_send_new_take(struct worker *me, struct session *session, struct outgoing *out);

#endif
