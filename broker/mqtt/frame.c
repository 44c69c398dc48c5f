/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/frame.h"

#include "mqtt/wire.h"

void decode_error_set(struct decode_error *error, enum reason_code reason, const char *statement,
		      const char *text)
{
	error->reason_code = (uint8_t)reason;
	error->statement = statement;
	error->text = text;
}

/* The statement that fixes bits 3-0 for this type. */
static const char *flags_statement(uint8_t type)
{
	switch (type) {
	case PACKET_PUBREL: return "MQTT-3.6.1-1";
	case PACKET_SUBSCRIBE: return "MQTT-3.8.1-1";
	case PACKET_UNSUBSCRIBE: return "MQTT-3.10.1-1";
	case PACKET_DISCONNECT: return "MQTT-3.14.1-1";
	case PACKET_AUTH: return "MQTT-3.15.1-1";
	default: return "MQTT-2.1.3-1";
	}
}

static enum decode_status first_byte_check(const struct packet_frame *frame,
					   enum mqtt_version version, struct decode_error *error)
{
	uint8_t flags = 0;

	if (frame->type == 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "2.1.2",
				   "Packet type 0 is reserved.");
	if (frame->type == PACKET_AUTH && (version == MQTT_V31 || version == MQTT_V311))
		return decode_fail(error, RC_MALFORMED_PACKET, "2.1.2",
				   "Packet type 15 is reserved before MQTT 5.");
	/* MQTT 3.1 gave DUP to packets that were sent again, and reserved nothing. */
	if (frame->type == PACKET_PUBLISH || version == MQTT_V31)
		return DECODE_DONE;
	if (frame->type == PACKET_PUBREL || frame->type == PACKET_SUBSCRIBE ||
	    frame->type == PACKET_UNSUBSCRIBE)
		flags = 2;
	if (frame->flags != flags)
		return decode_fail(error, RC_MALFORMED_PACKET, flags_statement(frame->type),
				   "Reserved flags of the Fixed Header have another value.");
	return DECODE_DONE;
}

/*
 * Reads the Remaining Length. Only MQTT 5 demands the shortest form [MQTT-1.5.5-1]; before CONNECT
 * the version is not known, and connect_decode() looks at the length again.
 */
static enum decode_status remaining_length_decode(struct slice input, enum mqtt_version version,
						  uint32_t *out_length, size_t *out_header_len,
						  struct decode_error *error)
{
	uint32_t value = 0;

	for (size_t i = 1; i <= 4; i++) {
		if (i >= input.len)
			return DECODE_NEED_MORE;
		value |= (uint32_t)(input.data[i] & 0x7f) << (7 * (i - 1));
		if (input.data[i] & 0x80)
			continue;
		if (version == MQTT_V5 && i > varint_size(value))
			return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-1.5.5-1",
					   "The Remaining Length has more bytes than it needs.");
		*out_length = value;
		*out_header_len = i + 1;
		return DECODE_DONE;
	}
	return decode_fail(error, RC_MALFORMED_PACKET, "1.5.5",
			   "The Remaining Length has more than four bytes.");
}

enum decode_status packet_frame_decode_slow(struct slice input, enum mqtt_version version,
					    struct packet_frame *out_frame,
					    struct decode_error *error)
{
	enum decode_status status;
	size_t header_len;
	uint32_t length;

	*out_frame = (struct packet_frame){0};
	if (input.len == 0)
		return DECODE_NEED_MORE;
	out_frame->type = input.data[0] >> 4;
	out_frame->flags = input.data[0] & 0x0f;
	status = first_byte_check(out_frame, version, error);
	if (status != DECODE_DONE)
		return status;
	status = remaining_length_decode(input, version, &length, &header_len, error);
	if (status != DECODE_DONE)
		return status;

	out_frame->total_len = header_len + length;
	if (input.len < out_frame->total_len)
		return DECODE_NEED_MORE;
	out_frame->body = slice_of(input.data + header_len, length);
	return DECODE_DONE;
}
