/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - reading and writing MQTT's data types (section 1.5). For mqtt's own files.
 *
 * A reader never passes its end: each read says whether there was enough. A writer without an
 * output only counts, so that one function gives both the size of a packet and its bytes.
 */
#ifndef NIGHTJAR_MQTT_WIRE_H
#define NIGHTJAR_MQTT_WIRE_H

#include "base/bug.h"
#include "base/slice.h"
#include "mqtt/frame.h"

#define WIRE_STRING_MAX 65535

/* Cold: keeps refusals out of the way of what is well-formed. */
__attribute__((cold)) void decode_error_set(struct decode_error *error, enum reason_code reason,
					    const char *statement, const char *text);

/* Always DECODE_BAD, so that a refusal is one line. */
static inline enum decode_status decode_fail(struct decode_error *error, enum reason_code reason,
					     const char *statement, const char *text)
{
	decode_error_set(error, reason, statement, text);
	return DECODE_BAD;
}

struct reader {
	const uint8_t *at;
	const uint8_t *end;
};

static inline struct reader reader_of(struct slice input)
{
	return (struct reader){input.data, input.data ? input.data + input.len : NULL};
}

static inline size_t reader_left(const struct reader *reader)
{
	return (size_t)(reader->end - reader->at);
}

static inline struct slice reader_rest(const struct reader *reader)
{
	return slice_of(reader->at, reader_left(reader));
}

static inline uint16_t wire_get_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t wire_get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline bool read_u8(struct reader *reader, uint8_t *out)
{
	if (reader_left(reader) < 1)
		return false;
	*out = *reader->at++;
	return true;
}

static inline bool read_u16(struct reader *reader, uint16_t *out)
{
	if (reader_left(reader) < 2)
		return false;
	*out = wire_get_u16(reader->at);
	reader->at += 2;
	return true;
}

static inline bool read_u32(struct reader *reader, uint32_t *out)
{
	if (reader_left(reader) < 4)
		return false;
	*out = wire_get_u32(reader->at);
	reader->at += 4;
	return true;
}

/* Binary Data, or a string that is not checked yet. */
static inline bool read_binary(struct reader *reader, struct slice *out)
{
	size_t len;

	if (reader_left(reader) < 2)
		return false;
	len = wire_get_u16(reader->at);
	if (reader_left(reader) - 2 < len)
		return false;
	*out = slice_of(reader->at + 2, len);
	reader->at += 2 + len;
	return true;
}

static inline size_t varint_size(uint32_t value)
{
	if (value < 1U << 7)
		return 1;
	if (value < 1U << 14)
		return 2;
	return value < 1U << 21 ? 3 : 4;
}

/* Refuses what is cut off, longer than four bytes, or longer than it need be [MQTT-1.5.5-1]. */
static inline bool read_varint(struct reader *reader, uint32_t *out)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4 && reader->at + i < reader->end; i++) {
		uint8_t byte = reader->at[i];

		value |= (uint32_t)(byte & 0x7f) << (7 * i);
		if (byte & 0x80)
			continue;
		if (byte == 0 && i > 0)
			return false;
		reader->at += i + 1;
		*out = value;
		return true;
	}
	return false;
}

static inline uint8_t *wire_put_u16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return at + 2;
}

static inline uint8_t *wire_put_u32(uint8_t *at, uint32_t value)
{
	at = wire_put_u16(at, (uint16_t)(value >> 16));
	return wire_put_u16(at, (uint16_t)value);
}

static inline uint8_t *wire_put_varint(uint8_t *at, uint32_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

static inline uint8_t *wire_put_bytes(uint8_t *at, struct slice bytes)
{
	if (bytes.len > 0)
		memcpy(at, bytes.data, bytes.len);
	return at + bytes.len;
}

struct writer {
	uint8_t *out; /* NULL: count only */
	size_t len;
};

static inline void write_u8(struct writer *writer, uint8_t value)
{
	if (writer->out)
		writer->out[writer->len] = value;
	writer->len++;
}

static inline void write_u16(struct writer *writer, uint16_t value)
{
	if (writer->out)
		wire_put_u16(writer->out + writer->len, value);
	writer->len += 2;
}

static inline void write_u32(struct writer *writer, uint32_t value)
{
	if (writer->out)
		wire_put_u32(writer->out + writer->len, value);
	writer->len += 4;
}

static inline void write_varint(struct writer *writer, uint32_t value)
{
	BUG_ON(value > VARINT_MAX);
	if (writer->out)
		wire_put_varint(writer->out + writer->len, value);
	writer->len += varint_size(value);
}

static inline void write_bytes(struct writer *writer, struct slice bytes)
{
	if (writer->out)
		wire_put_bytes(writer->out + writer->len, bytes);
	writer->len += bytes.len;
}

/* A string or Binary Data with its length before it. */
static inline void write_binary(struct writer *writer, struct slice bytes)
{
	BUG_ON(bytes.len > WIRE_STRING_MAX);
	write_u16(writer, (uint16_t)bytes.len);
	write_bytes(writer, bytes);
}

/* A Fixed Header in front of a body whose length is known. */
static inline void write_fixed_header(struct writer *writer, enum packet_type type, uint8_t flags,
				      size_t body_len)
{
	BUG_ON(body_len > VARINT_MAX);
	write_u8(writer, (uint8_t)((unsigned)type << 4 | flags));
	write_varint(writer, (uint32_t)body_len);
}

/* Writes or counts one part of a packet, without its Fixed Header or Property Length. */
typedef void write_part_fn(struct writer *writer, const void *packet);

static inline size_t write_part_size(write_part_fn *part, const void *packet)
{
	struct writer counter = {NULL, 0};

	part(&counter, packet);
	return counter.len;
}

/* A whole packet. out may be NULL; returns the bytes that were written, or would have been. */
static inline size_t write_packet(uint8_t *out, enum packet_type type, uint8_t flags,
				  write_part_fn *body, const void *packet)
{
	struct writer writer = {out, 0};

	write_fixed_header(&writer, type, flags, write_part_size(body, packet));
	body(&writer, packet);
	return writer.len;
}

/* The Property Length and the properties. */
static inline void write_property_block(struct writer *writer, write_part_fn *properties,
					const void *packet)
{
	write_varint(writer, (uint32_t)write_part_size(properties, packet));
	properties(writer, packet);
}

#endif
