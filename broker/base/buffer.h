/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.h - bytes that grow, up to a limit that the caller names each time.
 *
 * Owner: whoever holds the struct; it owns data. All zero is an empty buffer. The capacity
 * doubles, so appending is O(1) a byte in the long run. The buffer charges no memory class: its
 * holder charges the difference in cap, because only the holder knows the class.
 */
#ifndef NIGHTJAR_BASE_BUFFER_H
#define NIGHTJAR_BASE_BUFFER_H

#include "base/err.h"
#include "base/slice.h"

struct buffer {
	uint8_t *data;
	uint32_t len, cap;
};

#define BUFFER_NONE ((struct buffer){NULL, 0, 0})

void buffer_fini(struct buffer *buffer);

/*
 * Room for extra more bytes behind len. ERR_LIMIT when len + extra would be above limit_bytes,
 * ERR_NOMEM when there is none; the buffer is unchanged then. cap never exceeds limit_bytes.
 */
enum err buffer_reserve(struct buffer *buffer, size_t extra, uint32_t limit_bytes) ERR_CHECKED;

enum err buffer_append(struct buffer *buffer, struct slice bytes, uint32_t limit_bytes) ERR_CHECKED;

/* Takes the first bytes away; what follows moves to the front. At most len. */
void buffer_consume(struct buffer *buffer, size_t bytes);

static inline struct slice buffer_slice(const struct buffer *buffer)
{
	return slice_of(buffer->data, buffer->len);
}

static inline void buffer_clear(struct buffer *buffer)
{
	buffer->len = 0;
}

#endif
