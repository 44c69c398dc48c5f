/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ack.h - PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7): four packets of one shape.
 */
#ifndef NIGHTJAR_MQTT_ACK_H
#define NIGHTJAR_MQTT_ACK_H

#include "mqtt/frame.h"
#include "mqtt/property.h"

struct ack_packet {
	uint16_t packet_id;
	uint8_t reason_code; /* RC_SUCCESS before version 5 */
	struct slice reason_string;
	struct slice user_properties; /* a property block; only its User Properties count */
};

/* frame->type is one of the four; the Reason Code is checked to be one of that packet's. */
enum decode_status ack_decode(const struct packet_frame *frame, enum mqtt_version version,
			      struct ack_packet *out, struct decode_error *error);

/*
 * The common case of packet_frame_decode() and ack_decode() in one look: success in four bytes, which
 * is the same in every version. false: the input begins with something else.
 */
static inline bool ack_decode_brief(struct slice input, uint8_t *out_type, uint16_t *out_packet_id)
{
	uint8_t first;

	if (input.len < 4 || input.data[1] != 2)
		return false;
	first = input.data[0];
	if (first != PACKET_PUBACK << 4 && first != PACKET_PUBREC << 4 &&
	    first != (PACKET_PUBREL << 4 | 2) && first != PACKET_PUBCOMP << 4)
		return false;
	*out_type = first >> 4;
	*out_packet_id = (uint16_t)(input.data[2] << 8 | input.data[3]);
	return *out_packet_id != 0;
}

/* Success without a property is four bytes. Before version 5 all but the packet_id is ignored. */
size_t ack_encoded_size(enum mqtt_version version, const struct ack_packet *packet);
size_t ack_encode(uint8_t *out, enum mqtt_version version, enum packet_type type,
		  const struct ack_packet *packet);

/* The common case of ack_encode(), the same in every version: success. Always ACK_BRIEF_BYTES. */
#define ACK_BRIEF_BYTES 4

static inline size_t ack_encode_success(uint8_t *out, enum packet_type type, uint16_t packet_id)
{
	out[0] = (uint8_t)((unsigned)type << 4 | (type == PACKET_PUBREL ? 2U : 0U));
	out[1] = 2;
	out[2] = (uint8_t)(packet_id >> 8);
	out[3] = (uint8_t)packet_id;
	return ACK_BRIEF_BYTES;
}

#endif
