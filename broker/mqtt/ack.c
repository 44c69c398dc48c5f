/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/ack.h"

#include "mqtt/property_set.h"
#include "mqtt/wire.h"

static const char *reason_statement(uint8_t type)
{
	switch (type) {
	case PACKET_PUBACK: return "MQTT-3.4.2-1";
	case PACKET_PUBREC: return "MQTT-3.5.2-1";
	case PACKET_PUBREL: return "MQTT-3.6.2-1";
	default: return "MQTT-3.7.2-1";
	}
}

/* What version 5 adds behind the Packet Identifier. */
static enum decode_status reason_decode(struct reader *reader, enum packet_type type,
					struct ack_packet *out, struct decode_error *error)
{
	struct property_set set;

	if (!read_u8(reader, &out->reason_code) || !reason_code_is_allowed(out->reason_code, type))
		return decode_fail(error, RC_PROTOCOL_ERROR, reason_statement((uint8_t)type),
				   "The Reason Code is none of this packet's.");
	/* With a Remaining Length of 3 there is no Property Length (section 3.4.2.2.1). */
	if (reader_left(reader) == 0)
		return DECODE_DONE;
	if (property_set_decode(reader, type, PROPERTY_FROM_CLIENT, &set, error) != DECODE_DONE)
		return DECODE_BAD;
	out->reason_string = property_set_text(&set, PROPERTY_REASON_STRING);
	out->user_properties = property_set_user_properties(&set);
	return DECODE_DONE;
}

enum decode_status ack_decode(const struct packet_frame *frame, enum mqtt_version version,
			      struct ack_packet *out, struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);

	*out = (struct ack_packet){0};
	if (!read_u16(&reader, &out->packet_id))
		return decode_fail(error, RC_MALFORMED_PACKET, "2.2.1",
				   "The packet ends before its Packet Identifier.");
	if (out->packet_id == 0)
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-2.2.1-3",
				   "The Packet Identifier is 0.");
	if (version == MQTT_V5 && reader_left(&reader) > 0 &&
	    reason_decode(&reader, (enum packet_type)frame->type, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (reader_left(&reader) > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "2.1.4",
				   "The packet is longer than its fields.");
	return DECODE_DONE;
}

static void properties_write(struct writer *writer, const void *packet)
{
	const struct ack_packet *ack = packet;

	write_property_string(writer, PROPERTY_REASON_STRING, ack->reason_string);
	write_user_properties(writer, ack->user_properties);
}

static void body_write(struct writer *writer, const void *packet)
{
	const struct ack_packet *ack = packet;

	write_u16(writer, ack->packet_id);
	write_u8(writer, ack->reason_code);
	if (ack->reason_string.len > 0 || ack->user_properties.len > 0)
		write_property_block(writer, properties_write, ack);
}

static bool is_brief(enum mqtt_version version, const struct ack_packet *packet)
{
	return version != MQTT_V5 ||
	       (packet->reason_code == RC_SUCCESS && packet->reason_string.len == 0 &&
		packet->user_properties.len == 0);
}

size_t ack_encoded_size(enum mqtt_version version, const struct ack_packet *packet)
{
	if (is_brief(version, packet))
		return ACK_BRIEF_BYTES;
	return write_packet(NULL, PACKET_PUBACK, 0, body_write, packet);
}

size_t ack_encode(uint8_t *out, enum mqtt_version version, enum packet_type type,
		  const struct ack_packet *packet)
{
	if (is_brief(version, packet))
		return ack_encode_success(out, type, packet->packet_id);
	return write_packet(out, type, type == PACKET_PUBREL ? 2 : 0, body_write, packet);
}
