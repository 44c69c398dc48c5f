/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump.c - going on with what a session has to send: after an answer, after a choked socket, after a
 * reconnect; and what becomes of it when the connection or the session ends.
 *
 *	in flight on an earlier connection, in its order --> the queue --> retained messages
 */
#include "session/keep.h"
#include "session/sending.h"

/* What was queued has left the caches by now: so far ahead its memory is asked for. */
#define PUMP_AHEAD 3u

static void send_pubrel(struct client *client, struct window *window, struct window_slot *slot)
{
	client_send_ack(client, PACKET_PUBREL, slot->packet_id, RC_SUCCESS);
	window_unhold(window, slot);
	/* UNSENT: it answers a PUBLISH of its connection before. */
	if (slot->state == WINDOW_UNSENT || slot->state == WINDOW_RELEASE_UNSENT)
		window->unsent--;
	slot->state = WINDOW_RELEASED;
}

/* What was in flight before, in its order [MQTT-4.4.0-1, 4.6.0-1]. false: no further now. */
static bool pump_unsent(struct worker *me, struct session *session)
{
	uint32_t limit = session_window_limit(me, session);
	struct window_slot *slot = window_first(session->window);
	struct window_slot *next;

	for (; slot && session->window->unsent; slot = next) {
		next = window_next(session->window, slot);
		if (slot->state != WINDOW_UNSENT && slot->state != WINDOW_RELEASE_UNSENT)
			continue;
		if (!client_has_room(session->client))
			return false;
		if (keep_is_pending(me, slot)) {
			keep_wait(me, session, slot);
			return false;
		}
		if (slot->state == WINDOW_RELEASE_UNSENT) {
			send_pubrel(session->client, session->window, slot);
			continue;
		}
		if (session->window->on_wire >= limit)
			return false;
		if (!session_send_slot(me, session, slot, !(slot->out.flags & OUTGOING_NEVER_SENT)))
			return false;
	}
	return true;
}

/* Rights may have changed while it waited. */
static bool queued_is_readable(struct worker *me, struct session *session,
			       const struct outgoing *out)
{
	const struct rights *rights = &session->rights;

	if (rights->authority == session_profile(me, session)->authority && rights_are_open(rights))
		return true;
	return rights_may_read(me, session, out->message);
}

static bool pump_one(struct worker *me, struct session *session, const struct outgoing *head)
{
	struct outgoing out;
	bool goes_on;

	if (head->qos && !window_has_room(me, session))
		return false;
	out = session_dequeue(me, session);
	if (!queued_is_readable(me, session, &out)) {
		outgoing_drop(me, session, &out, COUNTER_DROPPED_NOT_AUTHORIZED);
		return true;
	}
	if (out.qos)
		return session_send_new_take(me, session, &out);
	goes_on = send_publish(me, session, &out, 0, false) != SENT_NO_CLIENT;
	outgoing_fini(me, &out);
	return goes_on;
}

void session_pump(struct worker *me, struct session *session)
{
	struct outgoing *head;

	if (!session_online_client(session) || !client_has_room(session->client))
		return;
	/* What only waits for the store does not keep others from being given an identifier. */
	if (session->window && session->window->unsent && !pump_unsent(me, session) &&
	    session->window && session->window->unsent > session->window->held)
		return;
	while (session_online_client(session) && client_has_room(session->client) &&
	       (head = queue_head(session->queue)) != NULL) {
		if (session->queue->count > PUMP_AHEAD)
			message_expect(queue_at(session->queue, PUMP_AHEAD)->message);
		if (!pump_one(me, session, head))
			break;
	}
	if (session->queue && session->queue->spilled)
		session_unspill(me, session);
	else if (session->feeds && queue_is_empty(session))
		feeds_wake(me, session);
}

/* Answers. */

static enum shared_outcome outcome_of(struct worker *me, uint8_t reason_code)
{
	if (!reason_code_is_error(reason_code))
		return SHARED_DONE;
	counter_add(me->counters, COUNTER_DROPPED_REFUSED_BY_RECEIVER, 1);
	return SHARED_DISCARDED;
}

void session_on_puback(struct worker *me, struct session *session, uint16_t packet_id,
		       uint8_t reason_code)
{
	struct window_slot *slot = window_find(session->window, packet_id);

	if (!slot || slot->out.qos != 1 || slot->state != WINDOW_SENT)
		return; /* an answer to nothing changes nothing */
	session_finish_slot(me, session, slot, outcome_of(me, reason_code));
	session->client->flags |= CLIENT_PUMP_IS_DUE;
}

void session_on_pubrec(struct worker *me, struct session *session, uint16_t packet_id,
		       uint8_t reason_code)
{
	struct window_slot *slot = window_find(session->window, packet_id);
	struct client *client = session->client;

	if (!slot || slot->out.qos != 2) {
		if (!reason_code_is_error(reason_code))
			client_send_ack(client, PACKET_PUBREL, packet_id,
					RC_PACKET_IDENTIFIER_NOT_FOUND);
		return;
	}
	if (reason_code_is_error(reason_code)) {
		session_finish_slot(me, session, slot, outcome_of(me, reason_code));
		client->flags |= CLIENT_PUMP_IS_DUE;
		return;
	}
	/* From here on only the identifier counts; a shared group is done with it as well once the
	 * receiver has taken the message over. */
	if (slot->out.message) {
		session->window->bytes -= outgoing_bytes(slot->out.message);
		message_drop(me, &slot->out.message);
	}
	if (keep_release(me, session, slot))
		window_hold(session->window, slot, WINDOW_RELEASE_UNSENT, WINDOW_HOLDS_PUBREL);
	else
		send_pubrel(client, session->window, slot);
}

void session_on_pubcomp(struct worker *me, struct session *session, uint16_t packet_id)
{
	struct window_slot *slot = window_find(session->window, packet_id);

	if (!slot || slot->out.qos != 2 || slot->state != WINDOW_RELEASED)
		return;
	session_finish_slot(me, session, slot, SHARED_DONE);
	session->client->flags |= CLIENT_PUMP_IS_DUE;
}

/* The connection or the session ends. */

void session_window_restart(struct session *session)
{
	struct window *window = session->window;

	if (!window)
		return;
	window->on_wire = 0;
	for (struct window_slot *slot = window_first(window); slot;
	     slot = window_next(window, slot)) {
		slot->is_on_wire = false;
		window_unhold(window, slot);
		if (slot->state == WINDOW_SENT) {
			slot->state = WINDOW_UNSENT;
			window->unsent++;
		} else if (slot->state == WINDOW_RELEASED) {
			slot->state = WINDOW_RELEASE_UNSENT;
			window->unsent++;
		}
	}
}

static void return_queued(struct worker *me, struct session *session)
{
	for (uint32_t i = session->queue ? session->queue->count : 0; i-- > 0;) {
		struct outgoing out;

		if (!queue_at(session->queue, i)->ticket)
			continue;
		out = session_dequeue_at(me, session, i);
		outgoing_ticket_finish(me, &out, SHARED_BACK);
		outgoing_fini(me, &out);
	}
}

/* Last in, first back: each goes to the front of its group, so that their order stays. QoS 2 that
 * was sent stays with this client [MQTT-4.8.2-4]. */
void session_return_tickets(struct worker *me, struct session *session)
{
	struct window *window = session->window;
	uint32_t index = window ? window->last : WINDOW_NONE;

	return_queued(me, session);
	while (index != WINDOW_NONE) {
		struct window_slot *slot = &window->slots[index];

		index = slot->prev;
		if (slot->out.ticket &&
		    (slot->out.qos == 1 || (slot->out.flags & OUTGOING_NEVER_SENT)))
			session_finish_slot(me, session, slot, SHARED_BACK);
	}
}

void session_drop_outgoing(struct worker *me, struct session *session)
{
	struct window_slot *slot;

	session_spill_drop(me, session);
	while (queue_head(session->queue)) {
		struct outgoing out = session_dequeue(me, session);

		outgoing_drop(me, session, &out, COUNTER_DROPPED_SESSION_ENDED);
	}
	while ((slot = window_first(session->window)) != NULL) {
		/* After PUBREC the receiver has the message: nothing is lost with the slot. */
		if (slot->out.message)
			counter_add(me->counters, COUNTER_DROPPED_SESSION_ENDED, 1);
		session_finish_slot(me, session, slot,
				    slot->out.message ? SHARED_DROPPED : SHARED_DONE);
	}
}
