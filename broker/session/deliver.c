/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deliver.c - the last part of the road: a message to one session.
 *
 *	deliver: may it read this? --> online and room: encode behind the connection's output
 *	                           \-> else the queue, within its limits, every drop counted
 *	pump (after an answer, when the socket takes bytes again, after a reconnect):
 *	         what was in flight, in its order --> the queue --> retained messages
 *
 * Order: QoS 1 and 2 never overtake each other. QoS 0 goes past messages that wait for the window,
 * but not past other QoS 0.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "session/keep.h"
#include "session/sending.h"

/* By how much a queue may pass its limits while its oldest are read back to be dropped. */
#define BEYOND_MESSAGES 1000u
#define BEYOND_BYTES (4u * 1024u * 1024u)

uint32_t session_window_limit(struct worker *me, const struct session *session)
{
	uint32_t limit = session_worker_of(me)->settings->max_inflight_messages;

	if (limit == 0 || limit > 65535)
		limit = 65535;
	if (session->client && session->client->receive_maximum < limit)
		limit = session->client->receive_maximum;
	return limit;
}

static inline bool is_ready(struct worker *me, const struct session *session, uint8_t qos)
{
	const struct client *client = session_online_client(session);

	return client && client_has_room(client) && queue_is_empty(session) &&
	       (qos == 0 || window_has_room(me, session));
}

bool session_is_ready(struct worker *me, const struct session *session, uint8_t qos)
{
	return is_ready(me, session, qos);
}

/* The queue. */

void outgoing_ticket_finish(struct worker *me, struct outgoing *out, enum shared_outcome outcome)
{
	struct shared_ticket *ticket = out->ticket;

	out->ticket = NULL;
	if (ticket)
		shared_ticket_finish(me, ticket, outcome);
}

void session_count_queued(struct worker *me, const struct outgoing *out)
{
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED, 1);
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED_BYTES, outgoing_bytes(out->message));
}

static void count_unqueued(struct worker *me, const struct outgoing *out)
{
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED, 1);
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED_BYTES, outgoing_bytes(out->message));
}

struct outgoing session_dequeue(struct worker *me, struct session *session)
{
	struct outgoing out = queue_pop(session->queue);

	count_unqueued(me, &out);
	return out;
}

struct outgoing session_dequeue_at(struct worker *me, struct session *session, uint32_t index)
{
	struct outgoing out = queue_remove(session->queue, index);

	count_unqueued(me, &out);
	return out;
}

void outgoing_drop(struct worker *me, struct session *session, struct outgoing *out,
		   enum counter cause)
{
	counter_add(me->counters, cause, 1);
	keep_done(me, session, out);
	outgoing_ticket_finish(me, out, SHARED_DROPPED);
	outgoing_fini(me, out);
}

/* With so many more, would it be longer than the limits and what is allowed beyond them? */
static bool queue_is_over(const struct session_settings *settings, const struct queue *queue,
			  struct queue_size more, struct queue_size beyond)
{
	uint64_t messages, bytes;

	if (!queue)
		return false;
	messages = (uint64_t)queue->count + queue->spilled + more.messages;
	bytes = queue->bytes + queue->spilled_bytes + more.bytes;
	return (settings->max_queued_messages &&
		messages > settings->max_queued_messages + beyond.messages) ||
	       (settings->max_queued_bytes && bytes > settings->max_queued_bytes + beyond.bytes);
}

static struct queue_size beyond_limits(const struct session_settings *settings)
{
	uint64_t messages = settings->queue_memory_messages;

	return (struct queue_size){messages > BEYOND_MESSAGES ? messages : BEYOND_MESSAGES,
				   BEYOND_BYTES};
}

/*
 * The oldest go. Those that are in the store alone have to come back first, to be known; meanwhile the
 * queue may be somewhat longer than it should be.
 */
static bool queue_drop_oldest(struct worker *me, struct session *session, struct queue_size more,
			      enum counter cause)
{
	const struct session_settings *settings = session_worker_of(me)->settings;
	struct queue_size beyond = {0, 0};
	struct queue *queue = session->queue;

	if (!queue || !queue_is_over(settings, queue, more, beyond))
		return true;
	while (queue->count && queue_is_over(settings, queue, more, beyond)) {
		struct outgoing oldest = session_dequeue(me, session);

		outgoing_drop(me, session, &oldest, cause);
	}
	if (queue->spilled) {
		session_unspill(me, session);
		beyond = beyond_limits(settings);
	}
	return !queue_is_over(settings, queue, more, beyond);
}

void session_queue_trim(struct worker *me, struct session *session)
{
	if (session_worker_of(me)->settings->queue_drop_oldest)
		(void)queue_drop_oldest(me, session, (struct queue_size){0, 0},
					COUNTER_DROPPED_QUEUE_FULL);
}

static bool queue_make_room(struct worker *me, struct session *session, size_t bytes,
			    enum counter cause)
{
	const struct session_settings *settings = session_worker_of(me)->settings;
	const struct queue_size one = {1, bytes};

	/* What could not stay in an empty queue pushes nothing out. */
	if (!settings->queue_drop_oldest ||
	    (settings->max_queued_bytes && bytes > settings->max_queued_bytes))
		return !queue_is_over(settings, session->queue, one, (struct queue_size){0, 0});
	return queue_drop_oldest(me, session, one, cause);
}

static void refuse_delivery(struct worker *me, const struct session *session,
			    const struct delivery *delivery, enum counter cause)
{
	counter_add(me->counters, cause, 1);
	trace_message(session, "dropped", message_topic(delivery->message), delivery->qos);
	if (delivery->ticket)
		shared_ticket_finish(me, delivery->ticket, SHARED_DROPPED);
}

static void enqueue(struct worker *me, struct session *session, const struct delivery *delivery,
		    enum counter cause)
{
	size_t bytes = outgoing_bytes(delivery->message);
	struct outgoing out;

	if (memory_is_over_limit()) {
		refuse_delivery(me, session, delivery, COUNTER_DROPPED_MEMORY);
		return;
	}
	if (!queue_make_room(me, session, bytes, cause)) {
		refuse_delivery(me, session, delivery, cause);
		return;
	}
	if (delivery->qos && !delivery->ticket && !(delivery->message->flags & MESSAGE_OF_BROKER) &&
	    session_queue_is_in_store(me, session)) {
		keep_queue(me, session, delivery, &out);
		session_spill(me, session, out.number, (uint32_t)bytes);
		trace_message(session, "queued", message_topic(delivery->message), delivery->qos);
		return;
	}
	if (!session->queue)
		session->queue = calloc(1, sizeof *session->queue);
	if (!session->queue || outgoing_init(me, &out, delivery) != ERR_NONE) {
		refuse_delivery(me, session, delivery, COUNTER_DROPPED_MEMORY);
		return;
	}
	if (queue_push_take(session->queue, &out) != ERR_NONE) {
		outgoing_drop(me, session, &out, COUNTER_DROPPED_MEMORY);
		return;
	}
	keep_delivery(me, session, delivery, queue_last(session->queue));
	session_count_queued(me, &out);
	trace_message(session, "queued", message_topic(out.message), out.qos);
}

/* QoS 1 and 2: the window. */

void session_finish_slot(struct worker *me, struct session *session, struct window_slot *slot,
			 enum shared_outcome outcome)
{
	struct window_slot *next = window_next(session->window, slot);
	struct outgoing out = window_remove(session->window, slot);

	/* Answers come in order: the next one is for a message that nobody has touched for a while. */
	if (next)
		message_expect_end(next->out.message);
	counter_sub(me->counters, COUNTER_MESSAGES_INFLIGHT, 1);
	/* What goes back to its group the group takes over in the store. */
	if (outcome != SHARED_BACK)
		keep_done(me, session, &out);
	outgoing_ticket_finish(me, &out, outcome);
	outgoing_fini(me, &out);
}

static inline void slot_is_sent(struct window *window, struct window_slot *slot)
{
	window_unhold(window, slot);
	if (slot->state == WINDOW_UNSENT)
		window->unsent--;
	slot->state = WINDOW_SENT;
	slot->out.flags &= (uint8_t)~OUTGOING_NEVER_SENT;
	if (!slot->is_on_wire)
		window->on_wire++;
	slot->is_on_wire = true;
}

static inline bool send_slot(struct worker *me, struct session *session, struct window_slot *slot,
			     bool dup)
{
	uint32_t index = (uint32_t)(slot - session->window->slots);
	enum sent sent = send_publish(me, session, &slot->out, slot->packet_id, dup);

	slot = &session->window->slots[index];
	if (sent == SENT_NO_CLIENT)
		return false;
	if (sent == SENT_NEVER) {
		session_finish_slot(me, session, slot, SHARED_DROPPED);
		return true;
	}
	slot_is_sent(session->window, slot);
	return true;
}

bool session_send_slot(struct worker *me, struct session *session, struct window_slot *slot,
		       bool dup)
{
	return send_slot(me, session, slot, dup);
}

/* In line where most messages go. */
__attribute__((always_inline)) static inline bool send_new_take(struct worker *me,
								struct session *session,
								struct outgoing *out)
{
	struct window_slot *slot = window_add_take(&session->window, out, 65535);

	if (!slot) {
		outgoing_drop(me, session, out, COUNTER_DROPPED_MEMORY);
		return true;
	}
	counter_add(me->counters, COUNTER_MESSAGES_INFLIGHT, 1);
	keep_sending(me, session, slot);
	/* What waits for the store lets nothing pass: QoS 1 and 2 keep their order. */
	if (slot->waits_for || session->window->held_publish) {
		slot->out.flags |= OUTGOING_NEVER_SENT;
		window_hold(session->window, slot, WINDOW_UNSENT, WINDOW_HOLDS_PUBLISH);
		return true;
	}
	if (send_slot(me, session, slot, false))
		return true;
	/* Not sent: on the next connection, as what it is, without DUP. */
	slot->state = WINDOW_UNSENT;
	slot->out.flags |= OUTGOING_NEVER_SENT;
	session->window->unsent++;
	return false;
}

bool session_send_new_take(struct worker *me, struct session *session, struct outgoing *out)
{
	return send_new_take(me, session, out);
}

static void deliver_qos12(struct worker *me, struct session *session,
			  const struct delivery *delivery)
{
	struct outgoing out;

	if (!is_ready(me, session, delivery->qos)) {
		enqueue(me, session, delivery, COUNTER_DROPPED_QUEUE_FULL);
		return;
	}
	if (outgoing_init(me, &out, delivery) != ERR_NONE) {
		refuse_delivery(me, session, delivery, COUNTER_DROPPED_MEMORY);
		return;
	}
	keep_delivery(me, session, delivery, &out);
	(void)send_new_take(me, session, &out);
}

static void deliver_qos0(struct worker *me, struct session *session,
			 const struct delivery *delivery)
{
	const struct client *client = session_online_client(session);
	bool is_first = !session->queue || session->queue->qos0_count == 0;

	if (client && is_first && client_has_room(client))
		send_qos0(me, session, delivery);
	else if (client)
		enqueue(me, session, delivery, COUNTER_DROPPED_QOS0_NO_CREDIT);
	else if (session_worker_of(me)->settings->queue_qos0_messages)
		enqueue(me, session, delivery, COUNTER_DROPPED_QUEUE_FULL);
	else
		counter_add(me->counters, COUNTER_DROPPED_QOS0_OFFLINE, 1);
}

/* Most answers are known: no rights at all, proven with the subscription, or asked for before. */
static bool may_read(struct worker *me, struct session *session, const struct delivery *delivery)
{
	const struct authority *now = session_profile(me, session)->authority;
	const struct rights *rights = &session->rights;

	if (rights->authority == now) {
		uint64_t generation;

		if (rights_are_open(rights))
			return true;
		generation = authority_generation(now);
		if (delivery->is_readable && delivery->rights_generation == (uint16_t)generation)
			return true;
		if (acl_cache_get(rights->cache, ACL_READ, delivery->message->topic_hash,
				  generation) == ACL_CACHED_ALLOWED)
			return true;
	}
	return rights_may_read(me, session, delivery->message);
}

/* A connection that is being ended takes nothing; without a session behind it, neither. */
static bool is_vanishing(const struct session *session)
{
	return (session->flags & SESSION_ENDING) ||
	       (session->expiry_s == 0 &&
		(!session->client || session->client->state == CLIENT_ENDING));
}

void session_deliver(struct worker *me, struct endpoint *endpoint, const struct delivery *delivery)
{
	struct session *session = (struct session *)(void *)endpoint;

	if (is_vanishing(session)) {
		if (delivery->ticket)
			shared_ticket_finish(me, delivery->ticket, SHARED_BACK);
		return;
	}
	if (delivery->ticket && !session_online_client(session)) {
		shared_ticket_finish(me, delivery->ticket, SHARED_BACK);
		return;
	}
	if (!may_read(me, session, delivery)) {
		refuse_delivery(me, session, delivery, COUNTER_DROPPED_NOT_AUTHORIZED);
		return;
	}
	trace_message(session, "delivered", message_topic(delivery->message), delivery->qos);
	if (delivery->qos == 0)
		deliver_qos0(me, session, delivery);
	else
		deliver_qos12(me, session, delivery);
}
