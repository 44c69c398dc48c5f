/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice.h - a borrowed run of bytes.
 *
 * A slice owns nothing: it is valid as long as the buffer that it points into, which for a
 * parameter means until the call returns. It is not terminated by a zero byte.
 */
#ifndef NIGHTJAR_BASE_SLICE_H
#define NIGHTJAR_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *data;
	size_t len;
};

#define SLICE_NONE ((struct slice){NULL, 0})
/* For string literals only: the length is that of the array less its zero byte. */
#define SLICE_LITERAL(text) ((struct slice){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct slice slice_of(const void *data, size_t len)
{
	return (struct slice){data, len};
}

static inline struct slice slice_from_string(const char *text)
{
	return (struct slice){(const uint8_t *)text, text ? strlen(text) : 0};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_equal_string(struct slice a, const char *text)
{
	return slice_equal(a, slice_from_string(text));
}

#endif
