/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - the Fixed Header of a packet (section 2.1), and how decoders answer.
 *
 * A decoder never decides and never allocates: it checks the bytes against the specification and
 * fills a struct with views into them. The views are valid as long as the input is.
 */
#ifndef NIGHTJAR_MQTT_FRAME_H
#define NIGHTJAR_MQTT_FRAME_H

#include "base/slice.h"
#include "mqtt/reason_code.h"
#include "mqtt/version.h"

/* The largest Remaining Length, and the largest value of any Variable Byte Integer. */
#define VARINT_MAX 268435455U

enum decode_status {
	DECODE_DONE,
	DECODE_NEED_MORE, /* only packet_frame_decode(): the packet is not complete yet */
	DECODE_BAD,	  /* the peer broke the protocol; the decode_error says how */
};

/* Filled when the answer is DECODE_BAD. All strings are static. */
struct decode_error {
	uint8_t reason_code;   /* enum reason_code, for CONNACK or DISCONNECT of version 5 */
	const char *statement; /* "MQTT-3.3.1-4"; the section ("2.2.2.2") if it has no number */
	const char *text;      /* one sentence for the log */
};

struct packet_frame {
	uint8_t type;  /* enum packet_type */
	uint8_t flags; /* bits 3-0 of the first byte */
	struct slice body;
	size_t total_len; /* Fixed Header and body */
};

/* The general case of packet_frame_decode(); call that one. */
enum decode_status packet_frame_decode_slow(struct slice input, enum mqtt_version version,
					    struct packet_frame *out_frame,
					    struct decode_error *error);

/*
 * Finds the first packet in the input. version is that of the connection, MQTT_VERSION_NONE before
 * CONNECT; a 3.1 client may set flags that are reserved later.
 *
 * DECODE_NEED_MORE sets out_frame->total_len as soon as it is known and to 0 before, so that the
 * caller can refuse a packet that is too large before it buffers any of it; type and flags are set
 * as well then. Whether a client may send this type is not checked here.
 */
static inline enum decode_status packet_frame_decode(struct slice input, enum mqtt_version version,
						     struct packet_frame *out_frame,
						     struct decode_error *error)
{
	/* Nearly all packets are complete PUBLISHes with a Remaining Length of one byte. */
	if (input.len >= 2 && (input.data[0] >> 4) == PACKET_PUBLISH && input.data[1] < 0x80 &&
	    input.len >= 2U + input.data[1]) {
		out_frame->type = PACKET_PUBLISH;
		out_frame->flags = input.data[0] & 0x0f;
		out_frame->body = slice_of(input.data + 2, input.data[1]);
		out_frame->total_len = 2U + input.data[1];
		return DECODE_DONE;
	}
	return packet_frame_decode_slow(input, version, out_frame, error);
}

/* What is behind the packet that begins here, nothing of which has been checked; empty if that is
 * nothing, or not known. To look ahead. */
static inline struct slice packet_frame_skip(struct slice input)
{
	size_t at = 1, len = 0;

	for (; at < input.len && at <= 4; at++) {
		len |= (size_t)(input.data[at] & 0x7f) << (7 * (at - 1));
		if (!(input.data[at] & 0x80))
			break;
	}
	if (at >= input.len || at > 4 || input.len - at - 1 <= len)
		return SLICE_NONE;
	return slice_of(input.data + at + 1 + len, input.len - at - 1 - len);
}

#endif
