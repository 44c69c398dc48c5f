/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - numbers and slices as bytes, and back.
 *
 * What is stored and what is posted is little-endian; small numbers are varints (seven bits a byte,
 * the lowest first). Reading never leaves the slice: a reader that ran out, or found what cannot
 * be, says so in is_bad and gives zeros from then on.
 */
#ifndef NIGHTJAR_STORE_PACK_H
#define NIGHTJAR_STORE_PACK_H

#include <endian.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/slice.h"

/* Owner: who holds it. All zero is empty. */
struct pack {
	uint8_t *data;
	size_t len, cap;
};

struct unpack {
	const uint8_t *at, *end;
	bool is_bad;
};

#define VARINT_BYTES 10

/* Without memory for what was admitted the process stops: nothing of it was acknowledged. */
static inline uint8_t *pack_room(struct pack *pack, size_t bytes)
{
	if (__builtin_expect(pack->cap - pack->len < bytes, 0)) {
		pack->cap = (pack->len + bytes) * 2 > 512 ? (pack->len + bytes) * 2 : 512;
		pack->data = realloc(pack->data, pack->cap);
		BUG_ON(!pack->data);
	}
	return pack->data + pack->len;
}

static inline void pack_fini(struct pack *pack)
{
	free(pack->data);
	*pack = (struct pack){NULL, 0, 0};
}

static inline struct slice pack_slice(const struct pack *pack)
{
	return slice_of(pack->data, pack->len);
}

static inline void pack_u8(struct pack *pack, uint8_t value)
{
	*pack_room(pack, 1) = value;
	pack->len++;
}

/* Writing where there is room: each returns where it ended. */
static inline uint8_t *put_fixed(uint8_t *at, uint64_t value, unsigned bytes)
{
	value = htole64(value);
	memcpy(at, &value, bytes);
	return at + bytes;
}

static inline uint8_t *put_u16(uint8_t *at, uint16_t value)
{
	return put_fixed(at, value, 2);
}

static inline uint8_t *put_u32(uint8_t *at, uint32_t value)
{
	return put_fixed(at, value, 4);
}

static inline uint8_t *put_u64(uint8_t *at, uint64_t value)
{
	return put_fixed(at, value, 8);
}

static inline uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	for (; value > 127; value >>= 7)
		*at++ = (uint8_t)(value | 128);
	*at++ = (uint8_t)value;
	return at;
}

static inline uint8_t *put_bytes(uint8_t *at, struct slice bytes)
{
	if (bytes.len)
		memcpy(at, bytes.data, bytes.len);
	return at + bytes.len;
}

/* Its length in front. */
static inline uint8_t *put_text(uint8_t *at, struct slice text)
{
	return put_bytes(put_varint(at, text.len), text);
}

static inline void pack_until(struct pack *pack, const uint8_t *end)
{
	pack->len = (size_t)(end - pack->data);
}

static inline void pack_u16(struct pack *pack, uint16_t value)
{
	pack_until(pack, put_u16(pack_room(pack, 2), value));
}

static inline void pack_u32(struct pack *pack, uint32_t value)
{
	pack_until(pack, put_u32(pack_room(pack, 4), value));
}

static inline void pack_u64(struct pack *pack, uint64_t value)
{
	pack_until(pack, put_u64(pack_room(pack, 8), value));
}

static inline void pack_varint(struct pack *pack, uint64_t value)
{
	pack_until(pack, put_varint(pack_room(pack, VARINT_BYTES), value));
}

/* Small whichever sign it has. */
static inline void pack_signed(struct pack *pack, int64_t value)
{
	pack_varint(pack, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

static inline void pack_bytes(struct pack *pack, struct slice bytes)
{
	if (bytes.len)
		pack_until(pack, put_bytes(pack_room(pack, bytes.len), bytes));
}

static inline void pack_text(struct pack *pack, struct slice text)
{
	pack_until(pack, put_text(pack_room(pack, VARINT_BYTES + text.len), text));
}

static inline struct unpack unpack_of(struct slice bytes)
{
	return (struct unpack){bytes.data, bytes.data + bytes.len, false};
}

static inline size_t unpack_left(const struct unpack *from)
{
	return (size_t)(from->end - from->at);
}

static inline bool unpack_has(struct unpack *from, uint64_t bytes)
{
	if (__builtin_expect(bytes > unpack_left(from), 0)) {
		from->is_bad = true;
		from->at = from->end;
	}
	return !from->is_bad;
}

static inline uint8_t unpack_u8(struct unpack *from)
{
	return unpack_has(from, 1) ? *from->at++ : 0;
}

static inline uint64_t unpack_fixed(struct unpack *from, unsigned bytes)
{
	uint64_t value = 0;

	if (!unpack_has(from, bytes))
		return 0;
	memcpy(&value, from->at, bytes);
	from->at += bytes;
	return le64toh(value);
}

static inline uint16_t unpack_u16(struct unpack *from)
{
	return (uint16_t)unpack_fixed(from, 2);
}

static inline uint32_t unpack_u32(struct unpack *from)
{
	return (uint32_t)unpack_fixed(from, 4);
}

static inline uint64_t unpack_u64(struct unpack *from)
{
	return unpack_fixed(from, 8);
}

static inline uint64_t unpack_varint(struct unpack *from)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = unpack_u8(from);

		value |= (uint64_t)(byte & 127) << shift;
		if (!(byte & 128))
			return value;
	}
	from->is_bad = true;
	return 0;
}

static inline int64_t unpack_signed(struct unpack *from)
{
	uint64_t value = unpack_varint(from);

	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* A number that must not be above max. */
static inline uint64_t unpack_limited(struct unpack *from, uint64_t max)
{
	uint64_t value = unpack_varint(from);

	if (value > max)
		from->is_bad = true;
	return from->is_bad ? 0 : value;
}

static inline struct slice unpack_bytes(struct unpack *from, uint64_t len)
{
	struct slice bytes = SLICE_NONE;

	if (unpack_has(from, len))
		bytes = slice_of(from->at, (size_t)len);
	from->at += bytes.len;
	return bytes;
}

static inline struct slice unpack_text(struct unpack *from)
{
	return unpack_bytes(from, unpack_varint(from));
}

/* Keys are big-endian, so that their order as bytes is that of the numbers. */
#define KEY_BYTES_MAX 24

struct key {
	uint8_t bytes[KEY_BYTES_MAX];
	size_t len;
};

static inline void key_add(struct key *key, uint64_t number)
{
	for (int i = 0; i < 8; i++)
		key->bytes[key->len++] = (uint8_t)(number >> (56 - 8 * i));
}

static inline struct key key_of(uint64_t number)
{
	struct key key = {.len = 0};

	key_add(&key, number);
	return key;
}

static inline struct slice key_slice(const struct key *key)
{
	return slice_of(key->bytes, key->len);
}

static inline uint64_t key_number(struct slice key, size_t at)
{
	uint64_t number = 0;

	for (size_t i = at; i < at + 8 && i < key.len; i++)
		number = number << 8 | key.data[i];
	return number;
}

#endif
