/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - one connection: packets out of bytes, time, and the end.
 */
#include "session/client.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/rcu.h"

struct close_cause_info {
	const char *text;
	enum counter counter;
	uint8_t reason_code;
	enum log_type level;
	bool publishes_will;
};

static const struct close_cause_info causes[CLOSE_CAUSE_COUNT] = {
#define CLOSE_CAUSE(name, text, reason_code, level, will)                                          \
	[CLOSE_##name] = {text, COUNTER_CLOSED_##name, reason_code, LOG_TYPE_##level, will},
#include "session/close_cause.def"
#undef CLOSE_CAUSE
};

_Static_assert(CLOSE_CAUSE_COUNT < 31, "session.last_cause has five bits");

const char *close_cause_text(enum close_cause cause)
{
	return causes[cause].text;
}

void client_log_fields(const struct client *client, char *text, struct log_fields *out)
{
	*out = (struct log_fields){.address = address_text(&client->conn.address, text)};
	if (client->session) {
		out->client_id = session_client_id(client->session);
		out->user = origin_username(client->session->origin);
	}
}

/* Bytes out. */

static enum counter ack_counter(enum packet_type type)
{
	switch (type) {
	case PACKET_PUBREC: return COUNTER_PACKETS_SENT_PUBREC;
	case PACKET_PUBREL: return COUNTER_PACKETS_SENT_PUBREL;
	case PACKET_PUBCOMP: return COUNTER_PACKETS_SENT_PUBCOMP;
	default: return COUNTER_PACKETS_SENT_PUBACK;
	}
}

void client_send_ack(struct client *client, enum packet_type type, uint16_t packet_id,
		     uint8_t reason_code)
{
	struct ack_packet ack = {.packet_id = packet_id, .reason_code = reason_code};
	uint8_t *room;
	size_t len;

	if (reason_code == RC_SUCCESS) {
		client_send_success(client, type, ack_counter(type), packet_id);
		return;
	}
	room = client_reserve(client, ack_encoded_size(client->version, &ack));
	if (!room)
		return;
	len = ack_encode(room, client->version, type, &ack);
	client_sent(client, ack_counter(type), len);
}

/* Not read for a while. */

static enum counter park_counter(enum park reason)
{
	switch (reason) {
	case PARK_HOOK: return COUNTER_PARKED_HOOK;
	case PARK_FANOUT: return COUNTER_PARKED_FANOUT;
	case PARK_MOVING: return COUNTER_PARKED_HANDOVER;
	case PARK_STORE:
	case PARK_START: return COUNTER_PARKED_STORE;
	case PARK_CREDIT:
	case PARK_ACKS: break;
	}
	return COUNTER_PARKED_CREDIT;
}

void client_park(struct client *client, enum park reason)
{
	if (client->parked & reason)
		return;
	client->parked |= (uint8_t)reason;
	counter_add(client->conn.worker->counters, park_counter(reason), 1);
	connection_pause(&client->conn);
}

void client_unpark(struct client *client, enum park reason)
{
	if (!(client->parked & reason))
		return;
	client->parked &= (uint8_t)~reason;
	if (!client->parked)
		connection_resume(&client->conn);
}

static void on_credit(struct worker *me, struct credit_waiter *waiter)
{
	struct client *client = TIMER_OWNER(waiter, struct client, credit);

	(void)me;
	client_unpark(client, PARK_CREDIT);
}

/* The end. */

static void send_disconnect(struct client *client, uint8_t reason_code, const char *detail)
{
	struct disconnect_packet packet = {.reason_code = reason_code};
	uint8_t *room;
	size_t size;

	if (detail && (client->flags & CLIENT_PROBLEM_INFORMATION))
		packet.reason_string = slice_from_string(detail);
	size = disconnect_encoded_size(MQTT_V5, &packet);
	if (client->maximum_packet_size && size > client->maximum_packet_size) {
		packet.reason_string = SLICE_NONE; /* [MQTT-3.14.2-3] */
		size = disconnect_encoded_size(MQTT_V5, &packet);
	}
	room = client_reserve(client, size);
	if (room)
		client_sent(client, COUNTER_PACKETS_SENT_DISCONNECT,
			    disconnect_encode(room, MQTT_V5, &packet));
}

static void log_client_closed(const struct client *client, const struct close_cause_info *info,
			      const char *detail)
{
	char text[ADDRESS_TEXT_BYTES];
	struct log_fields fields;

	if (!client_settings(client)->connection_messages || !log_is_enabled(info->level))
		return;
	client_log_fields(client, text, &fields);
	fields.reason = detail ? detail : info->text;
	log_event(info->level, &fields,
		  client->session ? "Client disconnected" : "Connection closed");
}

/* For a WebSocket's Close frame. */
static enum connection_farewell farewell_of(enum close_cause cause, uint8_t reason_code)
{
	if (reason_code == RC_PACKET_TOO_LARGE)
		return FAREWELL_TOO_LARGE;
	switch (cause) {
	case CLOSE_PROTOCOL:
	case CLOSE_NOT_MQTT: return FAREWELL_PROTOCOL;
	case CLOSE_SHUTTING_DOWN: return FAREWELL_GOING_AWAY;
	case CLOSE_OUT_OF_MEMORY: return FAREWELL_BUSY;
	case CLOSE_CONNECT_TIMEOUT:
	case CLOSE_CONNECT_REFUSED:
	case CLOSE_KEEP_ALIVE:
	case CLOSE_TAKEN_OVER:
	case CLOSE_NOT_AUTHORIZED:
	case CLOSE_ADMINISTRATIVE: return FAREWELL_POLICY;
	default: return FAREWELL_NORMAL;
	}
}

void client_close(struct client *client, enum close_cause cause, uint8_t reason_code,
		  const char *detail)
{
	const struct close_cause_info *info = &causes[cause];
	bool was_online = client->state == CLIENT_ONLINE;

	if (client->state == CLIENT_ENDING)
		return;
	if (!reason_code)
		reason_code = info->reason_code;
	if (was_online && client->version == MQTT_V5 && reason_code &&
	    !(client->conn.flags & CONNECTION_EOF))
		send_disconnect(client, reason_code, detail);
	if (client->state == CLIENT_ENDING) /* sending found the connection lost */
		return;
	client->state = CLIENT_ENDING;
	client->close_cause = (uint8_t)cause;
	counter_add(client->conn.worker->counters, info->counter, 1);
	if (client->session) {
		client->session->last_cause = (cause + 1) & 31u;
		client->session->last_end_s = (uint32_t)(client->conn.worker->now_ms / 1000);
	}
	/* At once: before this turn ends another connection may take the session over. */
	if (client->session && !info->publishes_will)
		will_withdraw(client->conn.worker, client->session);
	log_client_closed(client, info, detail);
	if (was_online)
		counter_sub(client->conn.worker->counters, COUNTER_CLIENTS_CONNECTED, 1);
	client->conn.farewell = (uint8_t)farewell_of(cause, reason_code);
	connection_close(&client->conn);
}

void client_protocol_error(struct client *client, const struct decode_error *error)
{
	char text[ERR_DETAIL_BYTES];

	snprintf(text, sizeof text, "%s [%s]", error->text, error->statement);
	client_close(client, CLOSE_PROTOCOL, error->reason_code, text);
}

static void client_on_lost(struct connection *conn, int error)
{
	struct client *client = client_of_connection(conn);

	if (client->state == CLIENT_ENDING)
		return;
	/* Nothing can be sent any more. */
	conn->flags |= CONNECTION_EOF;
	if (error == ENOMEM)
		client_close(client, CLOSE_OUT_OF_MEMORY, 0, NULL);
	else if (error == EBADMSG)
		client_close(client, CLOSE_PROTOCOL, 0,
			     "a WebSocket frame that is not binary [MQTT-6.0.0-1]");
	else if (error == EPROTO)
		client_close(client, CLOSE_PROTOCOL, 0, "a WebSocket frame breaks RFC 6455");
	else
		client_close(client, CLOSE_CONNECTION_LOST, 0, error ? strerror(error) : NULL);
}

/* It was to move, but is lost before it could. */
static void leave_moving(struct session_worker *mine, struct client *client)
{
	struct client **at = &mine->moving;

	while (*at && *at != client)
		at = &(*at)->moving_next;
	if (!*at)
		return;
	*at = client->moving_next;
	client->moving_next = NULL;
}

static void client_on_closed(struct connection *conn)
{
	struct client *client = client_of_connection(conn);
	struct worker *me = conn->worker;
	struct session *session = client->session;

	timer_disarm(&me->wheel, &client->timer);
	letter_wait_cancel(&client->credit);
	leave_moving(session_worker_of(me), client);
	client_auth_end(client);
	client_answers_clear(client);
	pending_connect_free(client);
	ack_queue_fini(&client->acks);
	topic_alias_table_free(&client->aliases_in);
	topic_alias_out_free(&client->aliases_out);
	route_retire(me, &client->endpoint);
	if (client->flags & CLIENT_HOLDS_PLACE)
		listener_forget_connection(client_profile(client)->listener);
	session_worker_of(me)->clients--;
	client->session = NULL;
	if (session)
		session_detach(me, session, causes[client->close_cause].publishes_will);
	memory_uncharge(MEMORY_INPUT, sizeof *client);
	free(client);
}

static void client_on_drained(struct connection *conn)
{
	struct client *client = client_of_connection(conn);

	if (client->session && client->state == CLIENT_ONLINE)
		session_pump(conn->worker, client->session);
}

/* Time. */

static void keep_alive_check(struct client *client)
{
	struct worker *me = client->conn.worker;
	uint64_t allowed_ms = (uint64_t)client->keep_alive_s * 1500;
	uint64_t since = client->conn.last_read_ms;

	/* While we do not read, silence is not the client's. While it takes no output, it is: net
	 * counts what a stalled peer takes as a sign of life. */
	if (client->conn.flags & CONNECTION_PAUSED)
		since = me->now_ms;
	if (me->now_ms >= since + allowed_ms) {
		client_close(client, CLOSE_KEEP_ALIVE, 0, NULL);
		return;
	}
	ack_queue_rest(&client->acks);
	/* A little slack lets the timers of many clients meet in one wake-up. */
	timer_arm_within(&me->wheel, &client->timer, since + allowed_ms, allowed_ms / 32);
}

void client_watch_keep_alive(struct client *client)
{
	timer_disarm(&client->conn.worker->wheel, &client->timer);
	if (client->keep_alive_s)
		keep_alive_check(client);
}

static void client_on_timer(struct timer *timer)
{
	struct client *client = TIMER_OWNER(timer, struct client, timer);

	if (client->state == CLIENT_ONLINE) {
		keep_alive_check(client);
		return;
	}
	if (client->state == CLIENT_ENDING)
		return;
	if (client->parked & PARK_START) /* it is us who are late */
		return;
	counter_add(client->conn.worker->counters, COUNTER_REFUSED_TIMEOUT, 1);
	client_close(client, CLOSE_CONNECT_TIMEOUT, 0, NULL);
}

/* Packets in. */

static void client_on_pingreq(struct client *client, const struct packet_frame *frame)
{
	struct decode_error error;
	uint8_t *room;

	if (ping_decode(frame, &error) == DECODE_BAD) {
		client_protocol_error(client, &error);
		return;
	}
	room = client_reserve(client, PING_BYTES);
	if (room)
		client_sent(client, COUNTER_PACKETS_SENT_PINGRESP, pingresp_encode(room));
}

static void client_on_disconnect(struct client *client, const struct packet_frame *frame)
{
	static const struct decode_error expiry_raised =
		{RC_PROTOCOL_ERROR, "MQTT-3.1.2-23",
		 "DISCONNECT sets a Session Expiry Interval, but CONNECT had none"};
	struct disconnect_packet packet;
	struct decode_error error;

	if (disconnect_decode(frame, client->version, &packet, &error) == DECODE_BAD) {
		client_protocol_error(client, &error);
		return;
	}
	if (packet.has_session_expiry && client->session) {
		if (client->session->expiry_s == 0 && packet.session_expiry_s != 0) {
			client_protocol_error(client, &expiry_raised);
			return;
		}
		session_set_expiry(client->conn.worker, client->session, packet.session_expiry_s);
	}
	client_close(client,
		     packet.reason_code == RC_NORMAL_DISCONNECTION
			     ? CLOSE_CLIENT_DISCONNECTED
			     : CLOSE_CLIENT_DISCONNECTED_WITH_WILL,
		     0, NULL);
}

static void take_answer(struct client *client, uint8_t type, uint16_t packet_id,
			uint8_t reason_code)
{
	struct worker *me = client->conn.worker;

	switch (type) {
	case PACKET_PUBACK: session_on_puback(me, client->session, packet_id, reason_code); break;
	case PACKET_PUBREC: session_on_pubrec(me, client->session, packet_id, reason_code); break;
	case PACKET_PUBREL: client_on_pubrel(client, packet_id); break;
	default: session_on_pubcomp(me, client->session, packet_id); break;
	}
}

static void client_on_answer(struct client *client, const struct packet_frame *frame)
{
	struct decode_error error;
	struct ack_packet ack;

	if (ack_decode(frame, client->version, &ack, &error) == DECODE_BAD) {
		client_protocol_error(client, &error);
		return;
	}
	take_answer(client, frame->type, ack.packet_id, ack.reason_code);
}

static void client_on_unexpected(struct client *client, const struct packet_frame *frame)
{
	struct decode_error error = {RC_PROTOCOL_ERROR, "MQTT-3.1.0-2",
				     "a second CONNECT on one connection"};

	if (frame->type != PACKET_CONNECT) {
		error.statement = "2.1.2";
		error.text = "a packet that only servers send";
	}
	client_protocol_error(client, &error);
}

/* All but PUBLISH. false: parked, the packet comes again. */
static bool dispatch_online(struct client *client, const struct packet_frame *frame)
{
	switch (frame->type) {
	case PACKET_SUBSCRIBE: return client_on_subscribe(client, frame);
	case PACKET_UNSUBSCRIBE: return client_on_unsubscribe(client, frame);
	case PACKET_PUBACK:
	case PACKET_PUBREC:
	case PACKET_PUBREL:
	case PACKET_PUBCOMP: client_on_answer(client, frame); return true;
	case PACKET_PINGREQ: client_on_pingreq(client, frame); return true;
	case PACKET_DISCONNECT: client_on_disconnect(client, frame); return true;
	case PACKET_AUTH: client_on_auth(client, frame); return true;
	default: client_on_unexpected(client, frame); return true;
	}
}

static inline bool dispatch(struct client *client, const struct packet_frame *frame)
{
	if (client->state == CLIENT_ONLINE)
		return frame->type == PACKET_PUBLISH ? client_on_publish(client, frame)
						     : dispatch_online(client, frame);
	if (client->state == CLIENT_ACCEPTED && frame->type == PACKET_CONNECT) {
		if (!session_worker_of(client->conn.worker)->is_serving) {
			client_park(client, PARK_START);
			return false;
		}
		client_on_connect(client, frame);
	} else if (client->state == CLIENT_DECIDING && frame->type == PACKET_AUTH) {
		client_on_auth(client, frame);
	} else if (client->state == CLIENT_DECIDING && frame->type == PACKET_DISCONNECT) {
		client_close(client, CLOSE_CLIENT_DISCONNECTED, 0, NULL);
	} else {
		client_close(client, CLOSE_NOT_MQTT, 0,
			     "the first packet is not a CONNECT [MQTT-3.1.0-1]");
	}
	return true;
}

void client_on_serving(struct client *client)
{
	struct worker *me = client->conn.worker;

	if (!(client->parked & PARK_START))
		return;
	timer_arm_at(&me->wheel, &client->timer,
		     me->now_ms + client_settings(client)->connect_timeout_ms);
	client_unpark(client, PARK_START);
}

static const enum counter received_counter[16] = {
	[PACKET_CONNECT] = COUNTER_PACKETS_RECEIVED_CONNECT,
	[PACKET_PUBLISH] = COUNTER_PACKETS_RECEIVED_PUBLISH,
	[PACKET_PUBACK] = COUNTER_PACKETS_RECEIVED_PUBACK,
	[PACKET_PUBREC] = COUNTER_PACKETS_RECEIVED_PUBREC,
	[PACKET_PUBREL] = COUNTER_PACKETS_RECEIVED_PUBREL,
	[PACKET_PUBCOMP] = COUNTER_PACKETS_RECEIVED_PUBCOMP,
	[PACKET_SUBSCRIBE] = COUNTER_PACKETS_RECEIVED_SUBSCRIBE,
	[PACKET_UNSUBSCRIBE] = COUNTER_PACKETS_RECEIVED_UNSUBSCRIBE,
	[PACKET_PINGREQ] = COUNTER_PACKETS_RECEIVED_PINGREQ,
	[PACKET_DISCONNECT] = COUNTER_PACKETS_RECEIVED_DISCONNECT,
	[PACKET_AUTH] = COUNTER_PACKETS_RECEIVED_AUTH,
};

static uint32_t packet_limit(const struct client *client)
{
	const struct session_settings *settings = client_settings(client);
	uint32_t limit = settings->max_packet_size;

	if (client->state == CLIENT_ONLINE)
		return client->our_packet_size;
	if (!limit || limit > settings->max_connect_packet_size)
		limit = settings->max_connect_packet_size;
	return limit;
}

static void packet_too_large(struct client *client)
{
	static const struct decode_error error = {RC_PACKET_TOO_LARGE, "MQTT-3.2.2-15",
						  "a packet larger than max_packet_size"};

	if (client->state != CLIENT_ONLINE)
		counter_add(client->conn.worker->counters, COUNTER_REFUSED_PROTOCOL, 1);
	client_protocol_error(client, &error);
}

enum step { STEP_NEXT, STEP_STOP };

/* Retained messages seldom come alone, and each has its place somewhere else in memory: that of the
 * next but one is fetched while this one is handled. With a mount point topics are others, and none
 * is found. */
static void expect_behind(struct client *client, struct slice behind)
{
	route_expect_retained(client->conn.worker,
			      publish_peek_retained(packet_frame_skip(behind)));
}

/* In line at its only place, which the compiler finds too large for it. */
__attribute__((always_inline)) static inline enum step take_packet(struct client *client,
								   struct slice rest, size_t *used)
{
	uint32_t limit = packet_limit(client);
	struct packet_frame frame;
	struct decode_error error;
	enum decode_status status = packet_frame_decode(rest, client->version, &frame, &error);

	if (status == DECODE_BAD) {
		client_protocol_error(client, &error);
		return STEP_STOP;
	}
	if (limit && frame.total_len > limit) {
		packet_too_large(client);
		return STEP_STOP;
	}
	if (status == DECODE_NEED_MORE) {
		client->conn.in_wanted = (uint32_t)frame.total_len;
		return STEP_STOP;
	}
	client->conn.in_wanted = 0;
	if (frame.type == PACKET_PUBLISH && frame.flags & 1)
		expect_behind(client,
			      slice_of(rest.data + frame.total_len, rest.len - frame.total_len));
	if (!dispatch(client, &frame))
		return STEP_STOP;
	if (client->answers)
		client_answers_clear(client);
	counter_add(client->conn.worker->counters, received_counter[frame.type], 1);
	*used += frame.total_len;
	return STEP_NEXT;
}

/* Four bytes that no limit is below: at QoS 2 they are three of four packets. */
static bool take_brief_answer(struct client *client, struct slice rest, size_t *used)
{
	uint16_t packet_id;
	uint8_t type;

	if (client->state != CLIENT_ONLINE || !ack_decode_brief(rest, &type, &packet_id))
		return false;
	client->conn.in_wanted = 0;
	if (type == PACKET_PUBACK)
		session_on_puback(client->conn.worker, client->session, packet_id, RC_SUCCESS);
	else
		take_answer(client, type, packet_id, RC_SUCCESS);
	counter_add(client->conn.worker->counters, received_counter[type], 1);
	*used += ACK_BRIEF_BYTES;
	return true;
}

static size_t client_on_bytes(struct connection *conn, struct slice bytes)
{
	struct client *client = client_of_connection(conn);
	struct session_worker *mine = session_worker_of(conn->worker);
	size_t used = 0;

	rcu_read_section_begin();
	client->flags &= (uint8_t)~CLIENT_PUMP_IS_DUE;
	while (used < bytes.len && !connection_is_closing(conn) &&
	       !(conn->flags & CONNECTION_PAUSED)) {
		struct slice rest = slice_of(bytes.data + used, bytes.len - used);

		if (!take_brief_answer(client, rest, &used) &&
		    take_packet(client, rest, &used) == STEP_STOP)
			break;
	}
	/* Once for all answers, of which a client that reads many messages at once sends as many. */
	if ((client->flags & CLIENT_PUMP_IS_DUE) && client->session)
		session_pump(conn->worker, client->session);
	mine->topic_seen = SLICE_NONE;
	rcu_read_section_end();
	return used;
}

static const struct connection_ops client_connection_ops = {
	.on_bytes = client_on_bytes,
	.on_drained = client_on_drained,
	.on_lost = client_on_lost,
	.on_closed = client_on_closed,
};

bool client_may_accept(struct worker *me)
{
	bool is_stopping = session_worker_of(me)->is_stopping;

	if (!is_stopping && !memory_is_over_limit())
		return true;
	counter_add(me->counters, is_stopping ? COUNTER_REFUSED_SHUTDOWN : COUNTER_REFUSED_MEMORY,
		    1);
	return false;
}

/* A client that waits for CONNECT, without its connection. NULL: no memory. */
static struct client *client_make(struct worker *me, uint16_t listener,
				  const struct address *address)
{
	struct client *client = calloc(1, sizeof *client);

	if (!client)
		return NULL;
	client->endpoint.ops = &client_endpoint_ops;
	client->listener = listener;
	client->credit.on_credit = on_credit;
	client->conn.address = *address;
	timer_init(&client->timer, client_on_timer);
	if (route_register(me, &client->endpoint) != ERR_NONE) {
		free(client);
		return NULL;
	}
	return client;
}

static void client_wait_for_connect(struct worker *me, struct client *client, uint64_t deadline_ms)
{
	memory_charge(MEMORY_INPUT, sizeof *client);
	session_worker_of(me)->clients++;
	timer_arm_at(&me->wheel, &client->timer, deadline_ms);
}

bool client_accept(struct worker *me, const struct newcomer *newcomer)
{
	const struct transport *transport = newcomer->ssl ? &transport_tls : &transport_tcp;
	struct client *client;

	if (!client_may_accept(me))
		return false;
	client = client_make(me, newcomer->listener, &newcomer->address);
	if (!client)
		return false;
	client->conn.transport_state = newcomer->ssl;
	if (connection_init(&client->conn, me, newcomer->fd, transport, &client_connection_ops,
			    session_worker_of(me)->settings->output_buffer_bytes) != ERR_NONE) {
		route_retire(me, &client->endpoint);
		free(client);
		return false;
	}
	client->flags |= CLIENT_HOLDS_PLACE;
	client_wait_for_connect(me, client, newcomer->deadline_ms);
	return true;
}

struct connection *client_accept_pushed(struct worker *me, const struct transport *transport,
					void *transport_state, uint16_t listener,
					const struct address *address, uint64_t deadline_ms)
{
	struct client *client;

	if (!client_may_accept(me))
		return NULL;
	client = client_make(me, listener, address);
	if (!client)
		return NULL;
	connection_init_pushed(&client->conn, me, transport, transport_state,
			       &client_connection_ops,
			       session_worker_of(me)->settings->output_buffer_bytes);
	client_wait_for_connect(me, client, deadline_ms);
	return &client->conn;
}

bool client_accept_websocket(struct worker *me, struct web_socket *socket,
			     const struct web_peer *peer, uint64_t deadline_ms)
{
	struct connection *conn = client_accept_pushed(me, &transport_websocket, socket,
						       peer->listener, peer->address, deadline_ms);

	if (conn)
		websocket_bind(socket, conn);
	return conn != NULL;
}
