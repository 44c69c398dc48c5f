/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support.h - what the fuzz targets of the codecs share.
 *
 * An input of most targets is one byte that chooses, and then the body of a packet:
 *
 *	bits 1-0   the protocol version: 3.1, 3.1.1, 5, 5
 *	bits 3-2   which packet, where a target has several
 *	bits 7-4   the flags of the Fixed Header, where they matter
 *
 * A target does more than not crash: it checks that views lie in the input, and that what was
 * decoded can be encoded and decoded again without a change.
 */
#ifndef NIGHTJAR_TESTS_FUZZ_SUPPORT_H
#define NIGHTJAR_TESTS_FUZZ_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>

#include "mqtt/packet.h"

#define FUZZ_ASSERT(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #condition);  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline enum mqtt_version fuzz_version(uint8_t choice)
{
	static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5, MQTT_V5};

	return versions[choice & 3];
}

/* A frame around the bytes behind the choice. The total length is that of the shortest header. */
static inline struct packet_frame fuzz_frame(enum packet_type type, const uint8_t *data,
					     size_t size)
{
	size_t body_len = size - 1, header_len = 2;

	for (size_t rest = body_len >> 7; rest > 0; rest >>= 7)
		header_len++;
	return (struct packet_frame){
		.type = (uint8_t)type,
		.flags = data[0] >> 4,
		.body = slice_of(data + 1, body_len),
		.total_len = header_len + body_len,
	};
}

static inline void fuzz_assert_inside(struct slice view, struct slice input)
{
	if (view.len == 0)
		return;
	FUZZ_ASSERT(view.data >= input.data);
	FUZZ_ASSERT(view.data + view.len <= input.data + input.len);
}

/* A refusal must say why, in a way that the session can send on. */
static inline void fuzz_assert_refusal(const struct decode_error *error)
{
	FUZZ_ASSERT(error->reason_code >= 0x80);
	FUZZ_ASSERT(error->statement && error->statement[0]);
	FUZZ_ASSERT(error->text && error->text[0]);
}

/* Room of exactly this size, so that AddressSanitizer sees an encoder write past it. */
static inline uint8_t *fuzz_room(size_t size)
{
	uint8_t *room = malloc(size ? size : 1);

	FUZZ_ASSERT(room);
	return room;
}

/* The one packet that fills these bytes. */
static inline struct packet_frame fuzz_frame_of(struct slice packet, enum mqtt_version version)
{
	struct packet_frame frame;
	struct decode_error error;

	FUZZ_ASSERT(packet_frame_decode(packet, version, &frame, &error) == DECODE_DONE);
	FUZZ_ASSERT(frame.total_len == packet.len);
	return frame;
}

/* Copies the forwarded properties into room of their exact size, which the caller frees. */
static inline uint8_t *fuzz_forward_copy(const struct forward_properties *forward)
{
	uint8_t *room = fuzz_room(forward->len);

	FUZZ_ASSERT(forward_properties_copy(forward, room) == forward->len);
	FUZZ_ASSERT(forward->len <= forward->source.len);
	FUZZ_ASSERT(forward->is_run == (forward->len == forward->source.len));
	return room;
}

#endif
