/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/disconnect.h"

#include "mqtt/property_set.h"
#include "mqtt/wire.h"

enum decode_status ping_decode(const struct packet_frame *frame, struct decode_error *error)
{
	if (frame->body.len > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "3.12.1",
				   "A PINGREQ or PINGRESP has a body.");
	return DECODE_DONE;
}

static size_t ping_encode(uint8_t *out, enum packet_type type)
{
	out[0] = (uint8_t)((unsigned)type << 4);
	out[1] = 0;
	return PING_BYTES;
}

size_t pingreq_encode(uint8_t *out)
{
	return ping_encode(out, PACKET_PINGREQ);
}

size_t pingresp_encode(uint8_t *out)
{
	return ping_encode(out, PACKET_PINGRESP);
}

/*
 * Section 3.14.2.1 says who sends which code; reason_code.def does not, because no other packet has
 * codes of one side only.
 */
static bool reason_is_of(uint8_t code, enum property_sender sender)
{
	if (!reason_code_is_allowed(code, PACKET_DISCONNECT))
		return false;
	switch (code) {
	case RC_NORMAL_DISCONNECTION:
	case RC_UNSPECIFIED_ERROR:
	case RC_MALFORMED_PACKET:
	case RC_PROTOCOL_ERROR:
	case RC_IMPLEMENTATION_SPECIFIC_ERROR:
	case RC_BAD_AUTHENTICATION_METHOD:
	case RC_TOPIC_NAME_INVALID:
	case RC_RECEIVE_MAXIMUM_EXCEEDED:
	case RC_TOPIC_ALIAS_INVALID:
	case RC_PACKET_TOO_LARGE:
	case RC_MESSAGE_RATE_TOO_HIGH:
	case RC_QUOTA_EXCEEDED:
	case RC_ADMINISTRATIVE_ACTION:
	case RC_PAYLOAD_FORMAT_INVALID: return true;
	case RC_DISCONNECT_WITH_WILL: return sender == PROPERTY_FROM_CLIENT;
	default: return sender == PROPERTY_FROM_SERVER;
	}
}

static enum decode_status disconnect_properties_decode(struct reader *reader,
						       enum property_sender sender,
						       struct disconnect_packet *out,
						       struct decode_error *error)
{
	struct property_set set;

	if (property_set_decode(reader, PACKET_DISCONNECT, sender, &set, error) != DECODE_DONE)
		return DECODE_BAD;
	out->has_session_expiry = property_set_has(&set, PROPERTY_SESSION_EXPIRY_INTERVAL);
	out->session_expiry_s = property_set_number(&set, PROPERTY_SESSION_EXPIRY_INTERVAL, 0);
	out->reason_string = property_set_text(&set, PROPERTY_REASON_STRING);
	out->server_reference = property_set_text(&set, PROPERTY_SERVER_REFERENCE);
	out->user_properties = property_set_user_properties(&set);
	if (sender == PROPERTY_FROM_CLIENT && property_set_has(&set, PROPERTY_SERVER_REFERENCE))
		return decode_fail(error, RC_PROTOCOL_ERROR, "3.14.2.2.5",
				   "A client sent a Server Reference.");
	if (sender == PROPERTY_FROM_SERVER && out->has_session_expiry)
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.14.2-2",
				   "A server sent a Session Expiry Interval in a DISCONNECT.");
	return DECODE_DONE;
}

/* The Reason Code may be left out, and the properties then or alone (section 3.14.2.1). */
static enum decode_status disconnect_body_decode(struct reader *reader, enum property_sender sender,
						 struct disconnect_packet *out,
						 struct decode_error *error)
{
	if (!read_u8(reader, &out->reason_code))
		return DECODE_DONE;
	if (!reason_is_of(out->reason_code, sender))
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.14.2-1",
				   "The Reason Code is none that this side may send.");
	if (reader_left(reader) > 0 &&
	    disconnect_properties_decode(reader, sender, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (reader_left(reader) > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "2.1.4",
				   "A DISCONNECT is longer than its fields.");
	return DECODE_DONE;
}

enum decode_status disconnect_decode(const struct packet_frame *frame, enum mqtt_version version,
				     struct disconnect_packet *out, struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);

	*out = (struct disconnect_packet){0};
	if (version == MQTT_V5)
		return disconnect_body_decode(&reader, PROPERTY_FROM_CLIENT, out, error);
	if (frame->body.len > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "3.14",
				   "A DISCONNECT has a body, which only MQTT 5 knows.");
	return DECODE_DONE;
}

enum decode_status disconnect_decode_from_server(const struct packet_frame *frame,
						 struct disconnect_packet *out,
						 struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);

	*out = (struct disconnect_packet){0};
	return disconnect_body_decode(&reader, PROPERTY_FROM_SERVER, out, error);
}

static void properties_write(struct writer *writer, const void *packet)
{
	const struct disconnect_packet *disconnect = packet;

	write_property_u32(writer, disconnect->has_session_expiry, PROPERTY_SESSION_EXPIRY_INTERVAL,
			   disconnect->session_expiry_s);
	write_property_string(writer, PROPERTY_REASON_STRING, disconnect->reason_string);
	write_property_string(writer, PROPERTY_SERVER_REFERENCE, disconnect->server_reference);
	write_user_properties(writer, disconnect->user_properties);
}

static void body_write_v5(struct writer *writer, const void *packet)
{
	const struct disconnect_packet *disconnect = packet;
	bool has_properties = write_part_size(properties_write, packet) > 0;

	if (disconnect->reason_code == RC_NORMAL_DISCONNECTION && !has_properties)
		return;
	write_u8(writer, disconnect->reason_code);
	if (has_properties)
		write_property_block(writer, properties_write, disconnect);
}

static void body_write_v3(struct writer *writer, const void *packet)
{
	(void)writer;
	(void)packet;
}

size_t disconnect_encoded_size(enum mqtt_version version, const struct disconnect_packet *packet)
{
	return disconnect_encode(NULL, version, packet);
}

size_t disconnect_encode(uint8_t *out, enum mqtt_version version,
			 const struct disconnect_packet *packet)
{
	write_part_fn *body = version == MQTT_V5 ? body_write_v5 : body_write_v3;

	return write_packet(out, PACKET_DISCONNECT, 0, body, packet);
}
