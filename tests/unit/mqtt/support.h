/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support.h - what the tests of the codecs share: packets written as text, and rows of bad packets.
 *
 * A packet is written as hexadecimal digits and quoted text, "0004 'MQTT' 05 02". Each lies in an
 * allocation of its exact size, so that AddressSanitizer sees a decoder read past its end.
 */
#ifndef NIGHTJAR_TESTS_UNIT_MQTT_SUPPORT_H
#define NIGHTJAR_TESTS_UNIT_MQTT_SUPPORT_H

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mqtt/packet.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CASE(function) cmocka_unit_test(function)
/* For a row of a table: says which row failed. */
#define ROW_ASSERT(row, condition)                                                                 \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("%s: %s is not so", (row), #condition);                           \
	} while (0)

static void *allocations[65536];
static size_t allocation_count;

static inline uint8_t *exact_room(size_t len)
{
	uint8_t *room = malloc(len ? len : 1);

	assert_non_null(room);
	assert_true(allocation_count < COUNT_OF(allocations));
	allocations[allocation_count++] = room;
	return room;
}

static inline uint8_t *exact_copy(const void *bytes, size_t len)
{
	uint8_t *copy = exact_room(len);

	if (len > 0)
		memcpy(copy, bytes, len);
	return copy;
}

static inline int release_all(void **state)
{
	(void)state;
	while (allocation_count > 0)
		free(allocations[--allocation_count]);
	return 0;
}

static inline uint8_t hex_digit(char digit)
{
	const char *digits = "0123456789abcdef";
	const char *found = strchr(digits, tolower((unsigned char)digit));

	assert_true(found && *found);
	return (uint8_t)(found - digits);
}

static inline struct slice bytes_of(const char *text)
{
	uint8_t buffer[4096];
	size_t len = 0;

	while (*text) {
		assert_true(len < sizeof buffer);
		if (*text == ' ') {
			text++;
		} else if (*text == '\'') {
			for (text++; *text != '\''; text++)
				buffer[len++] = (uint8_t)*text;
			text++;
		} else {
			buffer[len++] = (uint8_t)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
			text += 2;
		}
	}
	return slice_of(exact_copy(buffer, len), len);
}

/* A packet of this first byte and body, with the Remaining Length between them. */
static inline struct slice packet_of(uint8_t first, const char *body_text)
{
	struct slice body = bytes_of(body_text);
	uint8_t buffer[4200];
	size_t len = 0, rest = body.len;

	buffer[len++] = first;
	for (; rest >= 0x80; rest >>= 7)
		buffer[len++] = (uint8_t)(rest | 0x80);
	buffer[len++] = (uint8_t)rest;
	memcpy(buffer + len, body.data, body.len);
	return slice_of(exact_copy(buffer, len + body.len), len + body.len);
}

/* Feeds the packet one byte at a time, and then whole. */
static inline struct packet_frame frame_of(struct slice packet, enum mqtt_version version)
{
	struct decode_error error;
	struct packet_frame frame;

	for (size_t len = 0; len < packet.len; len++) {
		struct slice part = slice_of(exact_copy(packet.data, len), len);

		assert_int_equal(packet_frame_decode(part, version, &frame, &error),
				 DECODE_NEED_MORE);
		assert_true(frame.total_len == 0 || frame.total_len == packet.len);
	}
	assert_int_equal(packet_frame_decode(packet, version, &frame, &error), DECODE_DONE);
	assert_int_equal(frame.total_len, packet.len);
	return frame;
}

typedef enum decode_status decode_body_fn(const struct packet_frame *frame,
					  enum mqtt_version version, struct decode_error *error);

struct bad_row {
	const char *sentence;
	enum mqtt_version version;
	uint8_t first;
	const char *body;
	uint8_t reason_code;
	const char *statement;
};

static inline void expect_bad(const struct bad_row *rows, size_t count, decode_body_fn *decode)
{
	for (size_t i = 0; i < count; i++) {
		const struct bad_row *row = &rows[i];
		struct packet_frame frame =
			frame_of(packet_of(row->first, row->body), row->version);
		struct decode_error error = {0};

		ROW_ASSERT(row->sentence, decode(&frame, row->version, &error) == DECODE_BAD);
		if (error.reason_code != row->reason_code ||
		    strcmp(error.statement, row->statement) != 0)
			fail_msg("%s: refused with 0x%02x %s (%s)", row->sentence,
				 error.reason_code, error.statement, error.text);
		assert_true(strlen(error.text) > 10);
	}
}

/*
 * Every beginning of a good body, as a body of its own. Those of shorter_is_good bytes and more may
 * be complete packets; the others must be refused.
 */
static inline void expect_cut_off_is_bad(struct slice packet, enum mqtt_version version,
					 size_t shorter_is_good, decode_body_fn *decode)
{
	struct packet_frame whole = frame_of(packet, version);
	struct decode_error error;

	assert_int_equal(decode(&whole, version, &error), DECODE_DONE);
	for (size_t len = 0; len < whole.body.len; len++) {
		struct packet_frame frame = whole;
		enum decode_status status;

		frame.body = slice_of(exact_copy(whole.body.data, len), len);
		frame.total_len = len + 2;
		status = decode(&frame, version, &error);
		if (len < shorter_is_good && status != DECODE_BAD)
			fail_msg("a body cut off after %zu bytes was accepted", len);
	}
}

static inline void assert_slice(struct slice actual, const char *expected)
{
	if (!slice_equal_string(actual, expected))
		fail_msg("found '%.*s', expected '%s'", (int)actual.len,
			 actual.data ? (const char *)actual.data : "", expected);
}

#endif
