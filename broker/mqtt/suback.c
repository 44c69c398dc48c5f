/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/property_set.h"
#include "mqtt/subscribe.h"
#include "mqtt/wire.h"

static void properties_write(struct writer *writer, const void *packet)
{
	const struct suback_packet *suback = packet;

	write_property_string(writer, PROPERTY_REASON_STRING, suback->reason_string);
	write_user_properties(writer, suback->user_properties);
}

static void body_write_v5(struct writer *writer, const void *packet)
{
	const struct suback_packet *suback = packet;

	write_u16(writer, suback->packet_id);
	write_property_block(writer, properties_write, suback);
	write_bytes(writer, suback->reason_codes);
}

/* MQTT 3 knows one failure. */
static void suback_body_write_v3(struct writer *writer, const void *packet)
{
	const struct suback_packet *suback = packet;

	write_u16(writer, suback->packet_id);
	for (size_t i = 0; i < suback->reason_codes.len; i++) {
		uint8_t code = suback->reason_codes.data[i];

		write_u8(writer, reason_code_is_error(code) ? RC_UNSPECIFIED_ERROR : code);
	}
}

static void unsuback_body_write_v3(struct writer *writer, const void *packet)
{
	const struct suback_packet *suback = packet;

	write_u16(writer, suback->packet_id);
}

static write_part_fn *body_writer(enum mqtt_version version, enum packet_type type)
{
	if (version == MQTT_V5)
		return body_write_v5;
	return type == PACKET_SUBACK ? suback_body_write_v3 : unsuback_body_write_v3;
}

size_t suback_encoded_size(enum mqtt_version version, enum packet_type type,
			   const struct suback_packet *packet)
{
	return write_packet(NULL, type, 0, body_writer(version, type), packet);
}

size_t suback_encode(uint8_t *out, enum mqtt_version version, enum packet_type type,
		     const struct suback_packet *packet)
{
	return write_packet(out, type, 0, body_writer(version, type), packet);
}

static bool code_is_known(uint8_t code, enum mqtt_version version, enum packet_type type)
{
	if (version == MQTT_V5)
		return reason_code_is_allowed(code, type);
	return code <= 2 || code == RC_UNSPECIFIED_ERROR;
}

static enum decode_status codes_check(struct slice codes, enum mqtt_version version,
				      enum packet_type type, struct decode_error *error)
{
	bool has_codes = version == MQTT_V5 || type == PACKET_SUBACK;
	const char *statement = type == PACKET_SUBACK ? "MQTT-3.9.3-2" : "MQTT-3.11.3-2";

	if (has_codes != (codes.len > 0))
		return decode_fail(error, RC_MALFORMED_PACKET, statement,
				   "Reason Codes are missing, or there where none belong.");
	for (size_t i = 0; i < codes.len; i++)
		if (!code_is_known(codes.data[i], version, type))
			return decode_fail(error, RC_PROTOCOL_ERROR, statement,
					   "A Reason Code is none of this packet's.");
	return DECODE_DONE;
}

enum decode_status suback_decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct suback_packet *out, struct decode_error *error)
{
	enum packet_type type = (enum packet_type)frame->type;
	struct reader reader = reader_of(frame->body);
	struct property_set set;

	*out = (struct suback_packet){0};
	if (!read_u16(&reader, &out->packet_id))
		return decode_fail(error, RC_MALFORMED_PACKET, "2.2.1",
				   "The packet ends before its Packet Identifier.");
	if (out->packet_id == 0)
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-2.2.1-6",
				   "The Packet Identifier is 0.");
	if (version == MQTT_V5) {
		if (property_set_decode(&reader, type, PROPERTY_FROM_SERVER, &set, error) !=
		    DECODE_DONE)
			return DECODE_BAD;
		out->reason_string = property_set_text(&set, PROPERTY_REASON_STRING);
		out->user_properties = property_set_user_properties(&set);
	}
	out->reason_codes = reader_rest(&reader);
	return codes_check(out->reason_codes, version, type, error);
}
