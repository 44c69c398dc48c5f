/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes.h - a growing run of bytes: what a client has still to send, or has received in part.
 * An all-zero struct is empty and owns nothing.
 */
#ifndef NIGHTJAR_BENCH_BYTES_H
#define NIGHTJAR_BENCH_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

struct bytes {
	uint8_t *data;
	size_t length;
	size_t room;
};

/* Room for `more` bytes behind the last; the caller writes there and adds to length. */
static inline uint8_t *bytes_reserve(struct bytes *bytes, size_t more)
{
	if (bytes->length + more > bytes->room) {
		bytes->room = (bytes->length + more) * 2;
		bytes->data = must_resize(bytes->data, bytes->room);
	}
	return bytes->data + bytes->length;
}

static inline void bytes_put(struct bytes *bytes, const void *from, size_t count)
{
	memcpy(bytes_reserve(bytes, count), from, count);
	bytes->length += count;
}

static inline void bytes_put_u8(struct bytes *bytes, uint8_t value)
{
	bytes_put(bytes, &value, 1);
}

static inline void bytes_put_u16(struct bytes *bytes, uint16_t value)
{
	uint8_t text[2] = {(uint8_t)(value >> 8), (uint8_t)value};

	bytes_put(bytes, text, 2);
}

static inline void bytes_free(struct bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct bytes){0};
}

#endif
