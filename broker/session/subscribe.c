/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscribe.c - SUBSCRIBE and UNSUBSCRIBE packets (3.8, 3.10), and their answers.
 */
#include <stdlib.h>

#include "base/log.h"
#include "mqtt/topic.h"
#include "session/client.h"
#include "store/commit_wait.h"

/* A shared group has taken its member in, or let it go: one receipt of the SUBACK's. */
static void on_shared_done(struct worker *me, uint64_t handle, uint64_t token)
{
	struct endpoint *endpoint = route_find(me, handle);

	if (endpoint && endpoint->ops->on_receipt)
		endpoint->ops->on_receipt(me, endpoint, token);
}

static void request_fill(struct client *client, const struct subscribe_filter *filter,
			 struct subscribe_request *out)
{
	const struct listener_profile *profile = client_profile(client);

	*out = (struct subscribe_request){
		.text = filter->text,
		.filter = session_mounted_topic(client->conn.worker, profile, filter->filter),
		.group = filter->group,
		.is_shared = filter->is_shared,
		.no_local = filter->no_local,
		.retain_as_published = filter->retain_as_published,
		.qos = filter->qos < profile->max_qos ? filter->qos : profile->max_qos,
		.retain_handling = filter->retain_handling,
		.done = on_shared_done,
		.done_handle = client->endpoint.handle,
	};
	/* A mosquitto bridge wants what other brokers would get: nothing back, RETAIN as it is. */
	if (client->flags & CLIENT_IS_BRIDGE) {
		out->no_local = !filter->is_shared;
		out->retain_as_published = true;
	}
}

/* Is there any topic that the filter matches and that this client may read? */
static enum permission may_subscribe(struct client *client, const struct subscribe_request *request)
{
	const struct permission_request asked = {
		.act = PERMISSION_SUBSCRIBE,
		.topic = request->filter,
		.qos = request->qos,
	};
	const struct session_settings *settings = client_settings(client);
	const struct rights *rights = &client->session->rights;

	if (!settings->check_subscription_rights &&
	    !authority_hooks(rights->authority)->check_permission)
		return PERMISSION_ALLOWED;
	return client_check(client, &asked);
}

static void log_subscribe(const struct client *client, const struct subscribe_filter *filter,
			  uint8_t code)
{
	char address[ADDRESS_TEXT_BYTES];
	enum log_type type = reason_code_is_error(code) ? LOG_TYPE_NOTICE : LOG_TYPE_SUBSCRIBE;
	struct log_fields fields;

	if (!log_is_enabled(type))
		return;
	client_log_fields(client, address, &fields);
	if (reason_code_is_error(code))
		fields.reason = reason_code_text(code);
	log_event(type, &fields, "%s '%.*s' (QoS %u)",
		  reason_code_is_error(code) ? "Denied SUBSCRIBE to" : "Subscribed to",
		  (int)filter->text.len, (const char *)filter->text.data, filter->qos);
}

static uint8_t check_filter(struct client *client, const struct subscribe_filter *filter,
			    const struct subscribe_request *request)
{
	const struct session_settings *settings = client_settings(client);

	if (request->filter.len == 0 || request->filter.len > TOPIC_MAX_BYTES)
		return RC_TOPIC_FILTER_INVALID;
	if (settings->max_topic_levels &&
	    topic_levels_count(filter->filter) > settings->max_topic_levels)
		return RC_TOPIC_FILTER_INVALID;
	return 0;
}

/* MQTT 3.1 has no code for a refusal: granted, and nothing will be delivered (3.8.4 there). */
static uint8_t code_for_version(const struct client *client, uint8_t code, uint8_t asked_qos)
{
	return client->version == MQTT_V31 && reason_code_is_error(code) ? asked_qos : code;
}

static uint8_t subscribe_one(struct client *client, const struct subscribe_packet *packet,
			     const struct subscribe_filter *filter, enum permission permission,
			     uint64_t token, bool *out_is_waiting)
{
	struct subscribe_request request;
	uint8_t code;

	request_fill(client, filter, &request);
	request.done_token = token;
	request.subscription_id = packet->subscription_identifier;
	code = check_filter(client, filter, &request);
	if (!code && permission == PERMISSION_DENIED)
		code = RC_NOT_AUTHORIZED;
	if (!code)
		code = session_subscribe(client->conn.worker, client->session, &request,
					 out_is_waiting);
	log_subscribe(client, filter, code);
	return code_for_version(client, code, request.qos);
}

/* All hooks answer before anything is done: the packet takes effect as a whole. false: parked. */
static bool gather_permissions(struct client *client, const struct subscribe_packet *packet,
			       uint8_t *out)
{
	struct subscribe_filter filter;
	struct subscribe_request request;
	bool is_pending = false;
	size_t offset = 0, i = 0;

	while (subscribe_next(packet, &offset, &filter)) {
		enum permission permission;

		request_fill(client, &filter, &request);
		permission = may_subscribe(client, &request);
		if (client->state == CLIENT_ENDING)
			return false;
		is_pending |= permission == PERMISSION_PENDING;
		out[i++] = (uint8_t)permission;
	}
	return !is_pending;
}

static bool answer(struct client *client, enum packet_type type, uint16_t packet_id, uint8_t *codes,
		   size_t count, unsigned waiting)
{
	struct pending_ack ack = {
		.codes = codes,
		.code_count = (uint32_t)count, /* a packet has fewer bytes */
		.waiting = waiting,
		.packet_id = packet_id,
		.type = (uint8_t)type,
	};

	return client_answer(client, &ack);
}

/* For a Reason Code each. NULL: no memory, and the connection ends. */
static uint8_t *codes_make(struct client *client, size_t count)
{
	uint8_t *codes = malloc(count);

	if (!codes)
		client_close(client, CLOSE_OUT_OF_MEMORY, 0, NULL);
	return codes;
}

/* All codes are there; what it has posted since mark has to be committed. */
static void answer_is_complete(struct client *client, uint64_t token, uint64_t mark)
{
	uint64_t posted = commit_number_since(client->conn.worker, mark);

	ack_queue_find(&client->acks, token)->waiting +=
		client_wait_for_commit(client, posted, token);
	client_receipt(client, token);
}

/* One receipt more than groups are joined: so the SUBACK cannot leave before the last is asked. */
bool client_on_subscribe(struct client *client, const struct packet_frame *frame)
{
	struct subscribe_packet packet;
	struct subscribe_filter filter;
	struct decode_error error;
	struct pending_ack *pending;
	uint64_t token = ack_queue_next_token(&client->acks);
	uint64_t mark = commit_mark(client->conn.worker);
	size_t offset = 0, i = 0;
	uint8_t *codes;

	if (subscribe_decode(frame, client->version, &packet, &error) == DECODE_BAD) {
		client_protocol_error(client, &error);
		return true;
	}
	codes = codes_make(client, packet.filter_count);
	if (!codes)
		return true;
	if (!gather_permissions(client, &packet, codes)) {
		free(codes);
		return false;
	}
	if (!answer(client, PACKET_SUBACK, packet.packet_id, codes, packet.filter_count, 1))
		return true;
	while (subscribe_next(&packet, &offset, &filter)) {
		bool is_waiting = false;
		uint8_t code;

		pending = ack_queue_find(&client->acks, token);
		pending->waiting++;
		code = subscribe_one(client, &packet, &filter, (enum permission)pending->codes[i],
				     token, &is_waiting);
		pending = ack_queue_find(&client->acks, token);
		if (!is_waiting)
			pending->waiting--;
		pending->codes[i++] = code;
	}
	answer_is_complete(client, token, mark);
	return true;
}

bool client_on_unsubscribe(struct client *client, const struct packet_frame *frame)
{
	struct unsubscribe_packet packet;
	struct subscribe_filter filter;
	struct subscribe_request request;
	struct decode_error error;
	uint64_t token = ack_queue_next_token(&client->acks);
	uint64_t mark = commit_mark(client->conn.worker);
	size_t offset = 0, i = 0;
	uint8_t *codes;

	if (unsubscribe_decode(frame, client->version, &packet, &error) == DECODE_BAD) {
		client_protocol_error(client, &error);
		return true;
	}
	codes = codes_make(client, packet.filter_count);
	if (!codes)
		return true;
	if (!answer(client, PACKET_UNSUBACK, packet.packet_id, codes, packet.filter_count, 1))
		return true;
	while (unsubscribe_next(&packet, &offset, &filter)) {
		bool is_waiting = false;

		request_fill(client, &filter, &request);
		request.done_token = token;
		ack_queue_find(&client->acks, token)->waiting++;
		codes[i++] = session_unsubscribe(client->conn.worker, client->session, &request,
						 &is_waiting);
		if (!is_waiting)
			ack_queue_find(&client->acks, token)->waiting--;
	}
	answer_is_complete(client, token, mark);
	return true;
}
