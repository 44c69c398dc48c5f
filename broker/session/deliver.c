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
#include "session/client.h"

/* Aliases are looked for one by one, so there are few, whatever the client would take. */
#define TOPIC_ALIASES_MAX 64u

static struct client *session_online_client(const struct session *session)
{
	struct client *client = session->client;

	return client && client->state == CLIENT_ONLINE ? client : NULL;
}

uint32_t session_window_limit(struct worker *me, const struct session *session)
{
	uint32_t limit = session_worker_of(me)->settings->max_inflight_messages;

	if (limit == 0 || limit > 65535)
		limit = 65535;
	if (session->client && session->client->receive_maximum < limit)
		limit = session->client->receive_maximum;
	return limit;
}

static bool window_has_room(struct worker *me, const struct session *session)
{
	const struct session_settings *settings = session_worker_of(me)->settings;
	const struct window *window = session->window;

	if (!window)
		return true;
	if (window->unsent || window->count >= 65535)
		return false;
	if (settings->max_inflight_bytes && window->bytes >= settings->max_inflight_bytes)
		return false;
	return window->on_wire < session_window_limit(me, session);
}

static bool queue_is_empty(const struct session *session)
{
	return !session->queue || session->queue->count == 0;
}

bool session_is_ready(struct worker *me, const struct session *session, uint8_t qos)
{
	const struct client *client = session_online_client(session);

	return client && client_has_room(client) && queue_is_empty(session) &&
	       (qos == 0 || window_has_room(me, session));
}

/*
 * What is left of the Message Expiry Interval; false: nothing [MQTT-3.3.2-5]. This worker's time may
 * stand a little before the arrival at another: then nothing has passed, and not less than that.
 */
static bool expiry_left(struct worker *me, const struct message *message, uint32_t *out_s)
{
	uint64_t now_ms = me->now_ms > message->arrived_ms ? me->now_ms : message->arrived_ms;
	uint64_t left_ms;

	if (message->expires_ms <= now_ms)
		return false;
	left_ms = message->expires_ms - now_ms;
	*out_s = (uint32_t)((left_ms + 999) / 1000);
	return true;
}

static void encoding_fill(const struct client *client, const struct message *message,
			  struct publish_encoding *out)
{
	*out = (struct publish_encoding){
		.version = client->version,
		.topic = message_topic(message),
		.payload = message_payload(message),
		.forward_properties = message_properties(message),
		.has_message_expiry = message->expires_ms != 0,
	};
}

/* Everything that is the same for all receivers of a version. false: it has expired. */
static bool encoding_begin(struct worker *me, const struct client *client,
			   const struct message *message, struct publish_encoding *out)
{
	encoding_fill(client, message, out);
	if (!message->expires_ms || expiry_left(me, message, &out->message_expiry_s))
		return true;
	counter_add(me->counters, COUNTER_DROPPED_EXPIRED, 1);
	return false;
}

static void encoding_strip_mount_point(struct worker *me, const struct session *session,
				       struct publish_encoding *encoding)
{
	size_t len = session_profile(me, session)->mount_point.len;

	if (len && len < encoding->topic.len) {
		encoding->topic.data += len;
		encoding->topic.len -= len;
	}
}

static void encoding_use_alias(struct worker *me, struct client *client,
			       const struct message *message, struct publish_encoding *encoding)
{
	uint32_t count = client_profile(client)->max_topic_alias_broker;

	(void)me;
	if (count > client->topic_alias_maximum)
		count = client->topic_alias_maximum;
	if (count > TOPIC_ALIASES_MAX)
		count = TOPIC_ALIASES_MAX;
	if (count == 0 || client->version != MQTT_V5)
		return;
	switch (topic_alias_choose(&client->aliases_out, (uint16_t)count, message->topic_hash,
				   encoding->topic, &encoding->topic_alias)) {
	case TOPIC_ALIAS_NONE: encoding->topic_alias = 0; break;
	case TOPIC_ALIAS_KNOWN: encoding->omit_topic = true; break;
	case TOPIC_ALIAS_INTRODUCE: break;
	}
}

static void count_sent(struct worker *me, const struct message *message)
{
	counter_add(me->counters, COUNTER_PACKETS_SENT_PUBLISH, 1);
	counter_add(me->counters, COUNTER_PUBLISH_SENT, 1);
	counter_add(me->counters, COUNTER_PUBLISH_BYTES_SENT, message->payload_len);
}

static bool fits_client(struct worker *me, const struct client *client, size_t size)
{
	if (size && (!client->maximum_packet_size || size <= client->maximum_packet_size))
		return true;
	counter_add(me->counters, COUNTER_DROPPED_TOO_LARGE, 1);
	return false;
}

enum sent {
	SENT_YES,
	SENT_NEVER,	/* it cannot be sent to this client, counted */
	SENT_NO_CLIENT, /* the connection ended over it */
};

/* Writes one PUBLISH with what is particular to this receiver. */
static enum sent send_publish(struct worker *me, struct session *session,
			      const struct outgoing *out, uint16_t packet_id, bool dup)
{
	struct client *client = session->client;
	struct publish_encoding encoding;
	uint8_t *room;
	size_t size;

	if (dup && out->message->expires_ms && out->message->expires_ms <= me->now_ms) {
		/* In flight before it expired: it has to be finished, with the least time left. */
		encoding_fill(client, out->message, &encoding);
		encoding.message_expiry_s = 1;
	} else if (!encoding_begin(me, client, out->message, &encoding)) {
		return SENT_NEVER;
	}
	encoding_strip_mount_point(me, session, &encoding);
	encoding.dup = dup;
	encoding.qos = out->qos;
	encoding.retain = (out->flags & OUTGOING_RETAIN) != 0;
	encoding.packet_id = packet_id;
	encoding.subscription_identifiers = outgoing_ids(out);
	encoding.subscription_identifier_count = out->id_count;
	if (!fits_client(me, client, publish_encoded_size(&encoding)))
		return SENT_NEVER;
	if (client->topic_alias_maximum)
		encoding_use_alias(me, client, out->message, &encoding);
	size = publish_encoded_size(&encoding);
	room = client_reserve(client, size);
	if (!room)
		return SENT_NO_CLIENT;
	connection_wrote(&client->conn, publish_encode(room, &encoding));
	count_sent(me, out->message);
	return SENT_YES;
}

/* QoS 0: encoded once for all receivers of the same version and RETAIN flag. */

static struct encoding *shared_encoding(struct worker *me, const struct client *client,
					const struct delivery *delivery)
{
	unsigned index = (client->version == MQTT_V5 ? 2u : 0u) | (delivery->retain ? 1u : 0u);
	struct encoding *shared = &delivery->encodings->slot[index];
	struct publish_encoding encoding;
	size_t size;

	if (shared->is_valid)
		return shared;
	if (!encoding_begin(me, client, delivery->message, &encoding))
		return NULL;
	encoding.retain = delivery->retain;
	size = publish_encoded_size(&encoding);
	if (size > shared->cap) {
		uint8_t *bytes = realloc(shared->bytes, size);

		if (!bytes) {
			counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
			return NULL;
		}
		shared->bytes = bytes;
		shared->cap = (uint32_t)size;
	}
	shared->len = (uint32_t)publish_encode(shared->bytes, &encoding);
	shared->is_valid = true;
	return shared;
}

static void send_shared(struct worker *me, struct client *client, const struct delivery *delivery)
{
	struct encoding *shared = shared_encoding(me, client, delivery);
	uint8_t *room;

	if (!shared || !fits_client(me, client, shared->len))
		return;
	room = connection_reserve(&client->conn, shared->len);
	if (!room)
		return;
	memcpy(room, shared->bytes, shared->len);
	connection_wrote(&client->conn, shared->len);
	count_sent(me, delivery->message);
}

/* The only receiver: straight into its output, without the copy that others would share. */
static void send_plain(struct worker *me, struct client *client, const struct delivery *delivery)
{
	struct publish_encoding encoding;
	uint8_t *room;
	size_t size;

	if (!encoding_begin(me, client, delivery->message, &encoding))
		return;
	encoding.retain = delivery->retain;
	size = publish_encoded_size(&encoding);
	if (!fits_client(me, client, size))
		return;
	room = connection_reserve(&client->conn, size);
	if (!room)
		return;
	connection_wrote(&client->conn, publish_encode(room, &encoding));
	count_sent(me, delivery->message);
}

static void send_qos0(struct worker *me, struct session *session, const struct delivery *delivery)
{
	struct client *client = session->client;
	struct outgoing out;

	if (delivery->subscription_id_count == 0 && client->topic_alias_maximum == 0 &&
	    session_profile(me, session)->mount_point.len == 0) {
		if (delivery->encodings)
			send_shared(me, client, delivery);
		else
			send_plain(me, client, delivery);
		return;
	}
	if (outgoing_init(me, &out, delivery) != ERR_NONE) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return;
	}
	(void)send_publish(me, session, &out, 0, false);
	outgoing_fini(me, &out);
}

/* The queue. */

static void ticket_finish(struct worker *me, struct outgoing *out, enum shared_outcome outcome)
{
	struct shared_ticket *ticket = out->ticket;

	out->ticket = NULL;
	if (ticket)
		shared_ticket_finish(me, ticket, outcome);
}

static void count_queued(struct worker *me, const struct outgoing *out)
{
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED, 1);
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED_BYTES, outgoing_bytes(out->message));
}

static void count_unqueued(struct worker *me, const struct outgoing *out)
{
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED, 1);
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED_BYTES, outgoing_bytes(out->message));
}

static struct outgoing dequeue(struct worker *me, struct session *session)
{
	struct outgoing out = queue_pop(session->queue);

	count_unqueued(me, &out);
	return out;
}

static void drop_outgoing(struct worker *me, struct outgoing *out, enum counter cause)
{
	counter_add(me->counters, cause, 1);
	ticket_finish(me, out, SHARED_DROPPED);
	outgoing_fini(me, out);
}

static bool queue_is_full(struct worker *me, const struct session *session, size_t bytes)
{
	const struct session_settings *settings = session_worker_of(me)->settings;
	const struct queue *queue = session->queue;

	if (!queue)
		return false;
	return (settings->max_queued_messages && queue->count >= settings->max_queued_messages) ||
	       (settings->max_queued_bytes && queue->bytes + bytes > settings->max_queued_bytes);
}

static bool queue_make_room(struct worker *me, struct session *session, size_t bytes,
			    enum counter cause)
{
	if (!session_worker_of(me)->settings->queue_drop_oldest)
		return !queue_is_full(me, session, bytes);
	while (queue_is_full(me, session, bytes) && session->queue->count) {
		struct outgoing oldest = dequeue(me, session);

		drop_outgoing(me, &oldest, cause);
	}
	return !queue_is_full(me, session, bytes);
}

static void refuse_delivery(struct worker *me, const struct delivery *delivery, enum counter cause)
{
	counter_add(me->counters, cause, 1);
	if (delivery->ticket)
		shared_ticket_finish(me, delivery->ticket, SHARED_DROPPED);
}

static void enqueue(struct worker *me, struct session *session, const struct delivery *delivery,
		    enum counter cause)
{
	size_t bytes = outgoing_bytes(delivery->message);
	struct outgoing out;

	if (memory_is_over_limit()) {
		refuse_delivery(me, delivery, COUNTER_DROPPED_MEMORY);
		return;
	}
	if (!queue_make_room(me, session, bytes, cause)) {
		refuse_delivery(me, delivery, cause);
		return;
	}
	if (!session->queue)
		session->queue = calloc(1, sizeof *session->queue);
	if (!session->queue || outgoing_init(me, &out, delivery) != ERR_NONE) {
		refuse_delivery(me, delivery, COUNTER_DROPPED_MEMORY);
		return;
	}
	if (queue_push_take(session->queue, &out) != ERR_NONE) {
		drop_outgoing(me, &out, COUNTER_DROPPED_MEMORY);
		return;
	}
	count_queued(me, &out);
}

/* QoS 1 and 2: the window. */

static void finish_slot(struct worker *me, struct session *session, struct window_slot *slot,
			enum shared_outcome outcome)
{
	struct outgoing out = window_remove(session->window, slot);

	counter_sub(me->counters, COUNTER_MESSAGES_INFLIGHT, 1);
	ticket_finish(me, &out, outcome);
	outgoing_fini(me, &out);
}

static void slot_is_sent(struct window *window, struct window_slot *slot)
{
	if (slot->state == WINDOW_UNSENT)
		window->unsent--;
	slot->state = WINDOW_SENT;
	slot->out.flags &= (uint8_t)~OUTGOING_NEVER_SENT;
	if (!slot->is_on_wire)
		window->on_wire++;
	slot->is_on_wire = true;
}

/* false: the connection ended over it. */
static bool send_slot(struct worker *me, struct session *session, struct window_slot *slot,
		      bool dup)
{
	uint32_t index = (uint32_t)(slot - session->window->slots);
	enum sent sent = send_publish(me, session, &slot->out, slot->packet_id, dup);

	slot = &session->window->slots[index];
	if (sent == SENT_NO_CLIENT)
		return false;
	if (sent == SENT_NEVER) {
		finish_slot(me, session, slot, SHARED_DROPPED);
		return true;
	}
	slot_is_sent(session->window, slot);
	return true;
}

/* Takes what out holds: gives it a Packet Identifier and sends it. */
static bool send_new_take(struct worker *me, struct session *session, struct outgoing *out)
{
	struct window_slot *slot = window_add_take(&session->window, out, 65535);

	if (!slot) {
		drop_outgoing(me, out, COUNTER_DROPPED_MEMORY);
		return true;
	}
	counter_add(me->counters, COUNTER_MESSAGES_INFLIGHT, 1);
	if (send_slot(me, session, slot, false))
		return true;
	/* Not sent: on the next connection, as what it is, without DUP. */
	slot->state = WINDOW_UNSENT;
	slot->out.flags |= OUTGOING_NEVER_SENT;
	session->window->unsent++;
	return false;
}

static void deliver_qos12(struct worker *me, struct session *session,
			  const struct delivery *delivery)
{
	struct outgoing out;

	if (!session_is_ready(me, session, delivery->qos)) {
		enqueue(me, session, delivery, COUNTER_DROPPED_QUEUE_FULL);
		return;
	}
	if (outgoing_init(me, &out, delivery) != ERR_NONE) {
		refuse_delivery(me, delivery, COUNTER_DROPPED_MEMORY);
		return;
	}
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

static bool may_read(struct worker *me, struct session *session, const struct delivery *delivery)
{
	const struct rights *rights = &session->rights;

	if (rights->authority == session_profile(me, session)->authority) {
		if (rights_are_open(rights))
			return true;
		if (delivery->is_readable &&
		    delivery->rights_generation ==
			    (uint32_t)authority_generation(rights->authority))
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
		refuse_delivery(me, delivery, COUNTER_DROPPED_NOT_AUTHORIZED);
		return;
	}
	if (delivery->qos == 0)
		deliver_qos0(me, session, delivery);
	else
		deliver_qos12(me, session, delivery);
}

/* Going on: after an answer, after a choked socket, after a reconnect. */

static void send_pubrel(struct worker *me, struct client *client, struct window *window,
			struct window_slot *slot)
{
	(void)me;
	client_send_ack(client, PACKET_PUBREL, slot->packet_id, RC_SUCCESS);
	if (slot->state == WINDOW_RELEASE_UNSENT)
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
		if (slot->state == WINDOW_RELEASE_UNSENT) {
			send_pubrel(me, session->client, session->window, slot);
			continue;
		}
		if (session->window->on_wire >= limit)
			return false;
		if (!send_slot(me, session, slot, !(slot->out.flags & OUTGOING_NEVER_SENT)))
			return false;
	}
	return true;
}

/* Rights may have changed while it waited. */
static bool queued_is_readable(struct worker *me, struct session *session,
			       const struct outgoing *out)
{
	return rights_are_open(&session->rights) || rights_may_read(me, session, out->message);
}

static bool pump_one(struct worker *me, struct session *session, const struct outgoing *head)
{
	struct outgoing out;
	bool goes_on;

	if (head->qos && !window_has_room(me, session))
		return false;
	out = dequeue(me, session);
	if (!queued_is_readable(me, session, &out)) {
		drop_outgoing(me, &out, COUNTER_DROPPED_NOT_AUTHORIZED);
		return true;
	}
	if (out.qos)
		return send_new_take(me, session, &out);
	goes_on = send_publish(me, session, &out, 0, false) != SENT_NO_CLIENT;
	outgoing_fini(me, &out);
	return goes_on;
}

void session_pump(struct worker *me, struct session *session)
{
	struct outgoing *head;

	if (!session_online_client(session) || !client_has_room(session->client))
		return;
	if (session->window && session->window->unsent && !pump_unsent(me, session))
		return;
	while (session_online_client(session) && client_has_room(session->client) &&
	       (head = queue_head(session->queue)) != NULL) {
		if (!pump_one(me, session, head))
			break;
	}
	if (session->feeds && queue_is_empty(session))
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
	finish_slot(me, session, slot, outcome_of(me, reason_code));
	session_pump(me, session);
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
		finish_slot(me, session, slot, outcome_of(me, reason_code));
		session_pump(me, session);
		return;
	}
	/* From here on only the identifier counts; a shared group is done with it as well once the
	 * receiver has taken the message over. */
	if (slot->out.message) {
		session->window->bytes -= outgoing_bytes(slot->out.message);
		message_drop(me, &slot->out.message);
	}
	send_pubrel(me, client, session->window, slot);
}

void session_on_pubcomp(struct worker *me, struct session *session, uint16_t packet_id)
{
	struct window_slot *slot = window_find(session->window, packet_id);

	if (!slot || slot->out.qos != 2 || slot->state != WINDOW_RELEASED)
		return;
	finish_slot(me, session, slot, SHARED_DONE);
	session_pump(me, session);
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
		out = queue_remove(session->queue, i);
		count_unqueued(me, &out);
		ticket_finish(me, &out, SHARED_BACK);
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
			finish_slot(me, session, slot, SHARED_BACK);
	}
}

void session_drop_outgoing(struct worker *me, struct session *session)
{
	struct window_slot *slot;

	while (queue_head(session->queue)) {
		struct outgoing out = dequeue(me, session);

		drop_outgoing(me, &out, COUNTER_DROPPED_SESSION_ENDED);
	}
	while ((slot = window_first(session->window)) != NULL) {
		/* After PUBREC the receiver has the message: nothing is lost with the slot. */
		if (slot->out.message)
			counter_add(me->counters, COUNTER_DROPPED_SESSION_ENDED, 1);
		finish_slot(me, session, slot, slot->out.message ? SHARED_DROPPED : SHARED_DONE);
	}
}
