/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer.h"

#include <stdlib.h>

#include "base/bug.h"

#define SMALLEST_CAP 64u

void buffer_fini(struct buffer *buffer)
{
	free(buffer->data);
	*buffer = BUFFER_NONE;
}

/* needed <= limit. In 64 bits, because twice the capacity may be more than 32 hold. */
static uint32_t buffer_next_cap(uint32_t cap, uint32_t needed, uint32_t limit)
{
	uint64_t next = cap < SMALLEST_CAP ? SMALLEST_CAP : cap;

	while (next < needed)
		next *= 2;
	return next < limit ? (uint32_t)next : limit;
}

enum err buffer_reserve(struct buffer *buffer, size_t extra, uint32_t limit_bytes)
{
	uint32_t needed, cap;
	uint8_t *data;

	if (buffer->len > limit_bytes || extra > limit_bytes - buffer->len)
		return ERR_LIMIT;
	needed = buffer->len + (uint32_t)extra;
	if (needed <= buffer->cap)
		return ERR_NONE;
	cap = buffer_next_cap(buffer->cap, needed, limit_bytes);
	data = realloc(buffer->data, cap);
	if (!data)
		return ERR_NOMEM;
	buffer->data = data;
	buffer->cap = cap;
	return ERR_NONE;
}

enum err buffer_append(struct buffer *buffer, struct slice bytes, uint32_t limit_bytes)
{
	enum err err = buffer_reserve(buffer, bytes.len, limit_bytes);

	if (err != ERR_NONE || bytes.len == 0)
		return err;
	memcpy(buffer->data + buffer->len, bytes.data, bytes.len);
	buffer->len += (uint32_t)bytes.len;
	return ERR_NONE;
}

void buffer_consume(struct buffer *buffer, size_t bytes)
{
	BUG_ON(bytes > buffer->len);
	buffer->len -= (uint32_t)bytes;
	if (bytes != 0 && buffer->len != 0)
		memmove(buffer->data, buffer->data + bytes, buffer->len);
}
