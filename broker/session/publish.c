/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - PUBLISH from a client (3.3), and the answers to it.
 *
 *	decode -> Topic Alias -> limits -> QoS 2 seen before? -> rights -> message -> route
 *	       -> answer at once, or when the last receipt is in, in order of arrival
 *
 * A publication that has to wait (no credit, a plugin's answer) leaves no trace: its packet stays
 * unread and is handled again from the start.
 */
#include "session/client.h"
#include "session/keep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

/* Above this many answers that wait, an older client (no Receive Maximum) is not read. */
#define ACKS_WAITING_MAX 4096u

/* Answers. */

static void send_codes(struct client *client, const struct pending_ack *ack)
{
	const struct suback_packet suback = {
		.packet_id = ack->packet_id,
		.reason_codes = slice_of(ack->codes, ack->code_count),
	};
	size_t size = suback_encoded_size(client->version, ack->type, &suback);
	uint8_t *room;

	if (client->maximum_packet_size && size > client->maximum_packet_size) {
		client_close(client, CLOSE_PROTOCOL, RC_PACKET_TOO_LARGE,
			     "its Maximum Packet Size leaves no room for the SUBACK or UNSUBACK "
			     "[MQTT-3.1.2-24]");
		return;
	}
	room = client_reserve(client, size);
	if (room)
		client_sent(client,
			    ack->type == PACKET_SUBACK ? COUNTER_PACKETS_SENT_SUBACK
						       : COUNTER_PACKETS_SENT_UNSUBACK,
			    suback_encode(room, client->version, ack->type, &suback));
}

static void send_pending(struct client *client, const struct pending_ack *ack)
{
	if (ack->codes)
		send_codes(client, ack);
	else
		client_send_ack(client, ack->type, ack->packet_id, ack->reason_code);
}

static void publication_is_finished(struct client *client, const struct pending_ack *ack)
{
	bool is_released = ack->type == PACKET_PUBACK ||
			   (ack->type == PACKET_PUBREC && reason_code_is_error(ack->reason_code));

	if (is_released && client->received)
		client->received--;
}

static void send_ready(struct client *client)
{
	struct pending_ack *ack;
	bool is_suback;

	while ((ack = ack_queue_ready(&client->acks)) != NULL) {
		publication_is_finished(client, ack);
		is_suback = ack->type == PACKET_SUBACK;
		send_pending(client, ack);
		ack_queue_pop(&client->acks);
		/* Most clients subscribe once, and nothing else of them ever waits. */
		if (is_suback)
			ack_queue_rest(&client->acks);
		if (is_suback && --client->subacks == 0 && client->session)
			feeds_wake(client->conn.worker, client->session);
	}
	if (ack_queue_count(&client->acks) < ACKS_WAITING_MAX / 2)
		client_unpark(client, PARK_ACKS);
}

bool client_answer(struct client *client, const struct pending_ack *ack)
{
	if (ack->waiting == 0 && ack_queue_count(&client->acks) == 0) {
		publication_is_finished(client, ack);
		send_pending(client, ack);
		free(ack->codes);
		return true;
	}
	if (ack_queue_push(&client->acks, ack) == ERR_NONE) {
		if (ack->type == PACKET_SUBACK)
			client->subacks++;
		if (ack_queue_count(&client->acks) >= ACKS_WAITING_MAX)
			client_park(client, PARK_ACKS);
		return true;
	}
	free(ack->codes);
	client_close(client, CLOSE_OUT_OF_MEMORY, 0, NULL);
	return false;
}

unsigned client_wait_for_commit(struct client *client, uint64_t store_number, uint64_t token)
{
	struct worker *me = client->conn.worker;

	if (!commit_is_pending(me, me->id, store_number))
		return 0;
	route_receipt(me, me->id, store_number, client->endpoint.handle, token);
	return 1;
}

static struct client *client_of_endpoint(struct endpoint *endpoint)
{
	return TIMER_OWNER(endpoint, struct client, endpoint);
}

void client_receipt(struct client *client, uint64_t token)
{
	struct pending_ack *ack = ack_queue_find(&client->acks, token);

	if (!ack || !ack->waiting)
		return;
	ack->waiting--;
	send_ready(client);
}

static void on_receipt(struct worker *me, struct endpoint *endpoint, uint64_t token)
{
	(void)me;
	client_receipt(client_of_endpoint(endpoint), token);
}

static void on_spread(struct worker *me, struct endpoint *endpoint, bool is_done)
{
	(void)me;
	if (is_done)
		client_unpark(client_of_endpoint(endpoint), PARK_FANOUT);
	else
		client_park(client_of_endpoint(endpoint), PARK_FANOUT);
}

const struct endpoint_ops client_endpoint_ops = {
	.kind = "connection",
	.on_receipt = on_receipt,
	.on_keepers = client_on_keepers,
	.on_spread = on_spread,
};

/* One publication on its way through the stages. */
struct incoming {
	struct publish_packet packet;
	struct slice topic; /* alias resolved, mount point in front */
	uint64_t topic_hash;
};

static bool fail(struct client *client, uint8_t reason_code, const char *statement,
		 const char *text)
{
	struct decode_error error = {reason_code, statement, text};

	client_protocol_error(client, &error);
	return false;
}

/* false: the connection ended. Setting an alias twice does no harm when the packet comes again. */
static bool resolve_alias(struct client *client, struct publish_packet *packet)
{
	uint16_t maximum = client->our_topic_alias_maximum;

	if (packet->topic_alias == 0)
		return true;
	if (packet->topic_alias > maximum)
		return fail(client, RC_TOPIC_ALIAS_INVALID, "MQTT-3.3.2-9",
			    "a Topic Alias above the Topic Alias Maximum");
	if (packet->topic.len == 0) {
		packet->topic = topic_alias_get(client->aliases_in, packet->topic_alias);
		return packet->topic.len ||
		       fail(client, RC_PROTOCOL_ERROR, "3.3.2.3.4",
			    "a Topic Alias that was never set, without a Topic Name");
	}
	if (topic_alias_set(&client->aliases_in, maximum, packet->topic_alias, packet->topic) ==
	    ERR_NONE)
		return true;
	client_close(client, CLOSE_OUT_OF_MEMORY, 0, NULL);
	return false;
}

/* What ends the connection. */
static bool check_connection_limits(struct client *client, const struct publish_packet *packet)
{
	if (packet->qos > client->our_maximum_qos)
		return fail(client, RC_QOS_NOT_SUPPORTED, "MQTT-3.2.2-11",
			    "a QoS above the Maximum QoS");
	if (packet->retain && !(client->flags & CLIENT_MAY_RETAIN))
		return fail(client, RC_RETAIN_NOT_SUPPORTED, "MQTT-3.2.2-14",
			    "RETAIN is set, and retain_available is false");
	return true;
}

static bool is_above_receive_maximum(const struct client *client,
				     const struct publish_packet *packet)
{
	if (packet->qos == 0 || client->version != MQTT_V5 ||
	    client->received < client->our_receive_maximum)
		return false;
	return packet->qos == 1 ||
	       !packet_id_set_has(&client->session->received, packet->packet_id);
}

/*
 * Answers that wait for our own receipts are not the client's fault: it is only not read until they
 * have left. What then is above the maximum still, is. false: parked, or the connection ended.
 */
static bool check_receive_maximum(struct client *client, const struct publish_packet *packet)
{
	if (!is_above_receive_maximum(client, packet))
		return true;
	if (ack_queue_count(&client->acks))
		client_park(client, PARK_ACKS);
	else
		fail(client, RC_RECEIVE_MAXIMUM_EXCEEDED, "MQTT-3.3.4-9",
		     "more publications at once than our Receive Maximum");
	return false;
}

/* What refuses this publication alone: 0, or the Reason Code of its answer. */
static uint8_t check_publication(const struct client *client, const struct incoming *incoming)
{
	const struct session_settings *settings = client_settings(client);
	const struct publish_packet *packet = &incoming->packet;

	if (settings->message_size_limit && packet->payload.len > settings->message_size_limit)
		return RC_QUOTA_EXCEEDED;
	if (incoming->topic.len == 0)
		return RC_QUOTA_EXCEEDED; /* no memory for the mount point */
	if (incoming->topic.len > TOPIC_MAX_BYTES)
		return RC_TOPIC_NAME_INVALID;
	/* A topic has at most one level more than bytes: most need not be counted. */
	if (settings->max_topic_levels && packet->topic.len >= settings->max_topic_levels &&
	    topic_levels_count(packet->topic) > settings->max_topic_levels)
		return RC_TOPIC_NAME_INVALID;
	if (packet->topic.len >= 5 && memcmp(packet->topic.data, "$SYS/", 5) == 0)
		return RC_NOT_AUTHORIZED;
	if (settings->payload_format_check && packet->payload_format_indicator == 1 &&
	    !utf8_payload_is_valid(packet->payload))
		return RC_PAYLOAD_FORMAT_INVALID;
	if (memory_is_over_limit())
		return RC_QUOTA_EXCEEDED;
	return 0;
}

/* Its own Message Expiry Interval, or for what is retained ours, which only the retained copy obeys. */
static void set_expiry(const struct client *client, const struct publish_packet *packet,
		       struct message_content *content)
{
	uint32_t retain_s = client_settings(client)->retain_expiry_s;
	uint64_t now = client->conn.worker->now_ms;

	if (packet->has_message_expiry) {
		content->expires_ms = now + (uint64_t)packet->message_expiry_s * 1000;
	} else if (packet->retain && retain_s) {
		content->expires_ms = now + (uint64_t)retain_s * 1000;
		content->flags |= MESSAGE_RETAIN_EXPIRY;
	}
}

static struct message *incoming_message(struct client *client, const struct incoming *incoming)
{
	const struct publish_packet *packet = &incoming->packet;
	struct message_content content = {
		.topic = incoming->topic,
		.payload = packet->payload,
		.properties_len = (uint32_t)packet->forward.len,
		.topic_hash = incoming->topic_hash,
		.origin_handle = client->session->endpoint.handle,
		.origin = client->session->origin,
		.qos = packet->qos,
		.flags =
			(uint8_t)((packet->retain ? MESSAGE_RETAIN : 0) |
				  (packet->payload_format_indicator ? MESSAGE_PAYLOAD_IS_TEXT : 0)),
	};
	struct message *message;

	set_expiry(client, packet, &content);
	message = message_create(client->conn.worker, &content);
	if (message && packet->forward.len)
		forward_properties_copy(&packet->forward, message_properties_room(message));
	return message;
}

static bool answer_publication(struct client *client, const struct publish_packet *packet,
			       uint8_t reason_code, unsigned waiting)
{
	struct pending_ack ack;

	/* What client_answer() would do, for most of what comes. */
	if (packet->qos == 1 && reason_code == RC_SUCCESS && !waiting &&
	    !ack_queue_count(&client->acks)) {
		if (client->received)
			client->received--;
		client_send_success(client, PACKET_PUBACK, COUNTER_PACKETS_SENT_PUBACK,
				    packet->packet_id);
		return true;
	}
	ack = (struct pending_ack){
		.waiting = waiting,
		.packet_id = packet->packet_id,
		.type = packet->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC,
		.reason_code = reason_code,
	};
	return client_answer(client, &ack);
}

/* QoS 2: the Packet Identifier is remembered, and by the store if it remembers the session. Taken
 * back with ERR_NOMEM, which closes the connection. */
static enum err remember_packet_id(struct client *client, uint16_t packet_id, bool is_posted)
{
	struct session *session = client->session;

	if (packet_id_set_add(&session->received, packet_id) != ERR_NONE) {
		client_close(client, CLOSE_OUT_OF_MEMORY, 0, NULL);
		return ERR_NOMEM;
	}
	/* Alone: what this worker keeps of the publication, if anything, was posted just before, in the
	 * same batch and without an origin. */
	if (is_posted && session->kept)
		store_received_add_alone(client->conn.worker, session->kept->id, packet_id);
	return ERR_NONE;
}

/* Not routed: says so where the version can, else it counts as taken [MQTT-3.3.5-2]. */
static bool refuse_publication(struct client *client, const struct publish_packet *packet,
			       uint8_t reason_code, enum counter counter)
{
	struct worker *me = client->conn.worker;
	uint64_t mark = commit_mark(me);

	counter_add(me->counters, counter, 1);
	trace_message(client->session, "refused a publication to", packet->topic, packet->qos);
	if (packet->qos == 0)
		return true;
	client->received++;
	if (client->version == MQTT_V5)
		return answer_publication(client, packet, reason_code, 0);
	if (packet->qos == 2 && remember_packet_id(client, packet->packet_id, true) != ERR_NONE)
		return true;
	return answer_publication(client, packet, RC_SUCCESS,
				  client_wait_for_commit(client, commit_number_since(me, mark),
							 ack_queue_next_token(&client->acks)));
}

static void log_denied(const struct client *client, struct slice topic)
{
	char address[ADDRESS_TEXT_BYTES];
	struct log_fields fields;

	if (!log_is_enabled(LOG_TYPE_DEBUG))
		return;
	client_log_fields(client, address, &fields);
	fields.reason = "not authorised";
	log_event(LOG_TYPE_DEBUG, &fields, "Denied PUBLISH to '%.*s'", (int)topic.len,
		  (const char *)topic.data);
}

/*
 * How many receipts the PUBREC of a kept session waits for. What others have to take over is counted
 * by the session (publishing.c); all else is in one commit with the Packet Identifier.
 */
static bool keep_received(struct client *client, const struct publish_packet *packet,
			  const struct publication *publication, unsigned *out_waiting)
{
	struct worker *me = client->conn.worker;
	struct session *session = client->session;
	uint64_t token = ack_queue_next_token(&client->acks);

	if (remember_packet_id(client, packet->packet_id, !publication->is_split) != ERR_NONE)
		return false;
	if (!publication->is_split) {
		*out_waiting = client_wait_for_commit(client, commit_mark(me), token);
		return true;
	}
	*out_waiting = 1;
	if (publishing_begin(me, session, packet->packet_id, publication->waiting,
			     client->endpoint.handle, token))
		return true;
	client_close(client, CLOSE_OUT_OF_MEMORY, 0, NULL);
	return false;
}

/* Routed: keeps the Packet Identifier of QoS 2, and answers. */
static bool finish_routed(struct client *client, const struct publish_packet *packet,
			  const struct publication *publication)
{
	uint8_t code = publication->is_matched ? RC_SUCCESS : RC_NO_MATCHING_SUBSCRIBERS;
	unsigned waiting = publication->waiting;

	trace_message(client->session,
		      publication->is_matched ? "routed a publication to"
					      : "found no subscriber for a publication to",
		      packet->topic, packet->qos);
	if (publication->is_spreading && !publication->may_follow)
		client_park(client, PARK_FANOUT);
	if (packet->qos == 0)
		return true;
	client->received++;
	if (packet->qos == 2 && client->session->kept) {
		if (!keep_received(client, packet, publication, &waiting))
			return true;
	} else {
		if (packet->qos == 2 &&
		    remember_packet_id(client, packet->packet_id, false) != ERR_NONE)
			return true;
		waiting += client_wait_for_commit(client, publication->store_number,
						  publication->token);
	}
	return answer_publication(client, packet, client->version == MQTT_V5 ? code : RC_SUCCESS,
				  waiting);
}

/* Room may come between two looks, and with it another answer: what is refused is refused for the
 * state that it was refused in. */
static enum route_status route_or_no_room(struct client *client, struct publication *publication,
					  enum store_state *out_state)
{
	struct worker *me = client->conn.worker;
	enum route_status status;

	do {
		if (client->room == ROOM_NEEDED && !store_has_room(me))
			status = ROUTE_NO_ROOM;
		else
			status = route_publish(me, publication);
		*out_state = store_state(me);
	} while (status == ROUTE_NO_ROOM && *out_state <= STORE_OK);
	return status;
}

/* false: parked. */
static bool route_incoming(struct client *client, const struct incoming *incoming)
{
	struct worker *me = client->conn.worker;
	const struct publish_packet *packet = &incoming->packet;
	struct publication publication = {
		.publisher = client->endpoint.handle,
		.token = ack_queue_next_token(&client->acks),
		.wants_receipt = packet->qos > 0,
		.is_admitted = client->room == ROOM_NOT_NEEDED,
	};
	enum route_status status;
	enum store_state state;

	if (packet->qos == 2 && client->session->kept) {
		publication.publisher = client->session->endpoint.handle;
		publication.token = publishing_next_token(client->session);
		publication.origin.id = client->session->kept->id;
		publication.origin.packet_id = packet->packet_id;
	}
	publication.message = incoming_message(client, incoming);
	if (!publication.message)
		return refuse_publication(client, packet, RC_QUOTA_EXCEEDED,
					  COUNTER_DROPPED_MEMORY);
	status = route_or_no_room(client, &publication, &state);
	if (status == ROUTE_ASK)
		route_ask_keepers(me, publication.message, client->endpoint.handle);
	message_drop(me, &publication.message);
	switch (status) {
	case ROUTE_DONE: return finish_routed(client, packet, &publication);
	case ROUTE_REFUSED:
		return refuse_publication(client, packet, RC_QUOTA_EXCEEDED, COUNTER_DROPPED_QUOTA);
	case ROUTE_NO_ROOM:
		if (!client_no_room(client, packet, state))
			return false;
		return refuse_publication(client, packet, RC_QUOTA_EXCEEDED,
					  COUNTER_DROPPED_STORE_FULL);
	case ROUTE_ASK: client_park(client, PARK_STORE); return false;
	case ROUTE_NO_CREDIT: break;
	}
	client_park(client, PARK_CREDIT);
	letter_wait_for_credit(me, &client->credit);
	return false;
}

static enum permission may_publish(struct client *client, const struct incoming *incoming)
{
	const struct permission_request request = {
		.act = PERMISSION_PUBLISH,
		.topic = incoming->topic,
		.qos = incoming->packet.qos,
		.retain = incoming->packet.retain,
		.payload = incoming->packet.payload,
	};

	return client_check(client, &request);
}

static void count_received(struct client *client, const struct publish_packet *packet)
{
	struct counters *counters = client->conn.worker->counters;

	counter_add(counters, COUNTER_PUBLISH_RECEIVED, 1);
	counter_add(counters, COUNTER_PUBLISH_BYTES_RECEIVED, packet->payload.len);
}

/* QoS 2 that was seen before. What the first one waits for may not have come yet. */
static bool answer_repeated(struct client *client, const struct publish_packet *packet)
{
	struct session *session = client->session;
	uint64_t token = ack_queue_next_token(&client->acks);

	switch (publishing_repeat(session, packet->packet_id, client->endpoint.handle, token)) {
	case PUBLISHING_COMES: return true;
	case PUBLISHING_WAIT: return answer_publication(client, packet, RC_SUCCESS, 1);
	case PUBLISHING_UNKNOWN: break;
	}
	return answer_publication(client, packet, RC_SUCCESS,
				  session->kept
					  ? client_wait_for_commit(client,
								   commit_mark(client->conn.worker),
								   token)
					  : 0);
}

/* false: parked. */
static bool handle_incoming(struct client *client, struct incoming *incoming)
{
	const struct publish_packet *packet = &incoming->packet;
	uint8_t refused;

	if (packet->qos == 2 && packet_id_set_has(&client->session->received, packet->packet_id))
		return answer_repeated(client, packet);
	refused = check_publication(client, incoming);
	if (refused)
		return refuse_publication(client, packet, refused,
					  refused == RC_NOT_AUTHORIZED
						  ? COUNTER_DROPPED_NOT_AUTHORIZED
						  : COUNTER_DROPPED_QUOTA);
	if (!rights_publish_is_known(&client->session->rights, client_profile(client)->authority,
				     incoming->topic_hash)) {
		enum permission permission = may_publish(client, incoming);

		if (client->state == CLIENT_ENDING || permission == PERMISSION_PENDING)
			return false;
		if (permission == PERMISSION_DENIED) {
			log_denied(client, incoming->topic);
			return refuse_publication(client, packet, RC_NOT_AUTHORIZED,
						  COUNTER_DROPPED_NOT_AUTHORIZED);
		}
	}
	return route_incoming(client, incoming);
}

/* Who sends much at once often sends it to one topic: what is known of that is not found out again. */
static void resolve_topic(struct client *client, struct incoming *incoming)
{
	struct worker *me = client->conn.worker;
	struct session_worker *mine = session_worker_of(me);
	struct slice topic = incoming->packet.topic;

	incoming->topic = session_mounted_topic(me, client_profile(client), topic);
	if (topic.len && incoming->topic.data == mine->topic_seen.data) {
		incoming->topic_hash = mine->topic_seen_hash;
	} else {
		incoming->topic_hash = hash_slice(incoming->topic);
		/* An alias has its topic elsewhere, from where it may go. */
		if (incoming->topic.data == topic.data && !incoming->packet.topic_alias) {
			mine->topic_seen = topic;
			mine->topic_seen_hash = incoming->topic_hash;
		}
	}
	route_expect(me, incoming->topic_hash);
}

bool client_on_publish(struct client *client, const struct packet_frame *frame)
{
	struct incoming incoming;
	struct decode_error error;

	if (publish_decode_again(frame, client->version,
				 session_worker_of(client->conn.worker)->topic_seen,
				 &incoming.packet, &error) == DECODE_BAD) {
		client_protocol_error(client, &error);
		return true;
	}
	if (!resolve_alias(client, &incoming.packet) ||
	    !check_connection_limits(client, &incoming.packet))
		return true;
	if (!check_receive_maximum(client, &incoming.packet))
		return false;
	resolve_topic(client, &incoming);
	if (!handle_incoming(client, &incoming))
		return false;
	/* What was found out was about this one, also if in the end something else refused it. */
	client->room = ROOM_UNKNOWN;
	count_received(client, &incoming.packet);
	return true;
}

void client_on_pubrel(struct client *client, uint16_t packet_id)
{
	struct session *session = client->session;
	struct worker *me = client->conn.worker;
	struct pending_ack ack = {.type = PACKET_PUBCOMP};
	bool was_known = packet_id_set_remove(&session->received, packet_id);

	if (was_known && client->received)
		client->received--;
	ack.packet_id = packet_id;
	ack.reason_code = was_known ? RC_SUCCESS : RC_PACKET_IDENTIFIER_NOT_FOUND;
	if (!session->kept) {
		client_send_ack(client, PACKET_PUBCOMP, ack.packet_id, ack.reason_code);
		return;
	}
	if (was_known && !publishing_release(session, packet_id))
		store_received_remove(me, session->kept->id, packet_id);
	/* Also one that is not known any more may be known to the store still. */
	ack.waiting = client_wait_for_commit(client, commit_mark(me),
					     ack_queue_next_token(&client->acks));
	(void)client_answer(client, &ack);
}
