/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/connect.h"
#include "mqtt/property_set.h"
#include "mqtt/wire.h"

static void properties_write(struct writer *writer, const void *packet)
{
	const struct connack_packet *connack = packet;

	write_property_u32(writer, connack->has_session_expiry, PROPERTY_SESSION_EXPIRY_INTERVAL,
			   connack->session_expiry_s);
	write_property_u16(writer, connack->receive_maximum > 0, PROPERTY_RECEIVE_MAXIMUM,
			   connack->receive_maximum);
	write_property_u8(writer, connack->has_maximum_qos, PROPERTY_MAXIMUM_QOS,
			  connack->maximum_qos);
	write_property_u8(writer, connack->retain_unavailable, PROPERTY_RETAIN_AVAILABLE, 0);
	write_property_u32(writer, connack->maximum_packet_size > 0, PROPERTY_MAXIMUM_PACKET_SIZE,
			   connack->maximum_packet_size);
	write_property_string(writer, PROPERTY_ASSIGNED_CLIENT_IDENTIFIER,
			      connack->assigned_client_id);
	write_property_u16(writer, connack->topic_alias_maximum > 0, PROPERTY_TOPIC_ALIAS_MAXIMUM,
			   connack->topic_alias_maximum);
	write_property_string(writer, PROPERTY_REASON_STRING, connack->reason_string);
	write_property_u8(writer, connack->wildcard_subscription_unavailable,
			  PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE, 0);
	write_property_u8(writer, connack->subscription_identifier_unavailable,
			  PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE, 0);
	write_property_u8(writer, connack->shared_subscription_unavailable,
			  PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE, 0);
	write_property_u16(writer, connack->has_server_keep_alive, PROPERTY_SERVER_KEEP_ALIVE,
			   connack->server_keep_alive_s);
	write_property_string(writer, PROPERTY_RESPONSE_INFORMATION, connack->response_information);
	write_property_string(writer, PROPERTY_SERVER_REFERENCE, connack->server_reference);
	write_property_string(writer, PROPERTY_AUTHENTICATION_METHOD,
			      connack->authentication_method);
	write_property_binary(writer, connack->has_authentication_data,
			      PROPERTY_AUTHENTICATION_DATA, connack->authentication_data);
	write_user_properties(writer, connack->user_properties);
}

static void body_write_v5(struct writer *writer, const void *packet)
{
	const struct connack_packet *connack = packet;

	write_u8(writer, connack->session_present ? 1 : 0);
	write_u8(writer, connack->reason_code);
	write_property_block(writer, properties_write, connack);
}

/* MQTT 3.1 reserves the byte that tells Session Present later. */
static void body_write_v31(struct writer *writer, const void *packet)
{
	const struct connack_packet *connack = packet;
	enum connect_return_code code = reason_code_to_connect_return_code(connack->reason_code);

	if (code == CONNECT_RETURN_NONE)
		code = CONNECT_RETURN_SERVER_UNAVAILABLE;
	write_u8(writer, 0);
	write_u8(writer, (uint8_t)code);
}

static void body_write_v311(struct writer *writer, const void *packet)
{
	const struct connack_packet *connack = packet;
	size_t start = writer->len;

	body_write_v31(writer, connack);
	if (writer->out)
		writer->out[start] = connack->session_present ? 1 : 0;
}

static write_part_fn *body_writer(enum mqtt_version version)
{
	if (version == MQTT_V5)
		return body_write_v5;
	return version == MQTT_V311 ? body_write_v311 : body_write_v31;
}

size_t connack_encoded_size(enum mqtt_version version, const struct connack_packet *packet)
{
	return write_packet(NULL, PACKET_CONNACK, 0, body_writer(version), packet);
}

size_t connack_encode(uint8_t *out, enum mqtt_version version, const struct connack_packet *packet)
{
	return write_packet(out, PACKET_CONNACK, 0, body_writer(version), packet);
}

static void limits_take(const struct property_set *set, struct connack_packet *out)
{
	out->has_session_expiry = property_set_has(set, PROPERTY_SESSION_EXPIRY_INTERVAL);
	out->session_expiry_s = property_set_number(set, PROPERTY_SESSION_EXPIRY_INTERVAL, 0);
	out->receive_maximum = (uint16_t)property_set_number(set, PROPERTY_RECEIVE_MAXIMUM, 0);
	out->has_maximum_qos = property_set_has(set, PROPERTY_MAXIMUM_QOS);
	out->maximum_qos = (uint8_t)property_set_number(set, PROPERTY_MAXIMUM_QOS, 0);
	out->retain_unavailable = property_set_number(set, PROPERTY_RETAIN_AVAILABLE, 1) == 0;
	out->wildcard_subscription_unavailable =
		property_set_number(set, PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE, 1) == 0;
	out->subscription_identifier_unavailable =
		property_set_number(set, PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE, 1) == 0;
	out->shared_subscription_unavailable =
		property_set_number(set, PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE, 1) == 0;
	out->maximum_packet_size = property_set_number(set, PROPERTY_MAXIMUM_PACKET_SIZE, 0);
	out->topic_alias_maximum =
		(uint16_t)property_set_number(set, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0);
	out->has_server_keep_alive = property_set_has(set, PROPERTY_SERVER_KEEP_ALIVE);
	out->server_keep_alive_s =
		(uint16_t)property_set_number(set, PROPERTY_SERVER_KEEP_ALIVE, 0);
}

static enum decode_status properties_decode(struct reader *reader, struct connack_packet *out,
					    struct decode_error *error)
{
	struct property_set set;

	if (property_set_decode(reader, PACKET_CONNACK, PROPERTY_FROM_SERVER, &set, error) !=
	    DECODE_DONE)
		return DECODE_BAD;
	limits_take(&set, out);
	out->assigned_client_id = property_set_text(&set, PROPERTY_ASSIGNED_CLIENT_IDENTIFIER);
	out->reason_string = property_set_text(&set, PROPERTY_REASON_STRING);
	out->response_information = property_set_text(&set, PROPERTY_RESPONSE_INFORMATION);
	out->server_reference = property_set_text(&set, PROPERTY_SERVER_REFERENCE);
	out->authentication_method = property_set_text(&set, PROPERTY_AUTHENTICATION_METHOD);
	out->has_authentication_data = property_set_has(&set, PROPERTY_AUTHENTICATION_DATA);
	out->authentication_data = property_set_text(&set, PROPERTY_AUTHENTICATION_DATA);
	out->user_properties = property_set_user_properties(&set);
	return DECODE_DONE;
}

enum decode_status connack_decode(const struct packet_frame *frame, enum mqtt_version version,
				  struct connack_packet *out, struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);
	uint8_t flags;

	*out = (struct connack_packet){0};
	if (!read_u8(&reader, &flags) || !read_u8(&reader, &out->reason_code))
		return decode_fail(error, RC_MALFORMED_PACKET, "3.2.2", "A CONNACK is cut off.");
	if (version != MQTT_V31 && (flags & 0xfe))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.2.2-1",
				   "Reserved Connect Acknowledge Flags are set.");
	out->session_present = version != MQTT_V31 && (flags & 1) != 0;
	if (version == MQTT_V5) {
		if (!reason_code_is_allowed(out->reason_code, PACKET_CONNACK))
			return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.2.2-8",
					   "The Reason Code is none of a CONNACK's.");
		if (properties_decode(&reader, out, error) != DECODE_DONE)
			return DECODE_BAD;
	}
	if (reader_left(&reader) > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "2.1.4",
				   "A CONNACK is longer than its fields.");
	return DECODE_DONE;
}
