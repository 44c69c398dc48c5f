/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_hello.c - reads a ClientHello (RFC 8446, 4.1.2) out of its records (5.1).
 *
 *	record  | 22 | version 2 | length 2 | piece of the message ...
 *	message | 1 | length 3 | version 2 | random 32 | session id <1> | cipher suites <2> |
 *	        | compression methods <1> | extensions <2>: type 2, length 2, data
 *
 * A cursor walks over the message byte by byte and steps over the heads of records on its way, so
 * that nothing has to be put together and nothing is copied.
 */
#include "net/client_hello.h"

#include <stdint.h>
#include <string.h>

#define RECORD_HEAD 5u
#define RECORD_HANDSHAKE 22
#define RECORD_BYTES_MAX 16384u
#define MESSAGE_CLIENT_HELLO 1
#define EXTENSION_ALPN 16u

struct cursor {
	struct slice bytes;
	size_t at;
	size_t record_left; /* of the record that at stands in */
	size_t wanted;	    /* set when the bytes end */
	bool is_bad;
};

static bool has_failed(const struct cursor *cursor)
{
	return cursor->is_bad || cursor->wanted;
}

static void enter_record(struct cursor *cursor)
{
	const uint8_t *head = cursor->bytes.data + cursor->at;
	size_t here = cursor->bytes.len - cursor->at;

	if (here < RECORD_HEAD) {
		cursor->is_bad = here > 0 && head[0] != RECORD_HANDSHAKE;
		cursor->wanted = cursor->at + RECORD_HEAD;
		return;
	}
	cursor->record_left = (size_t)(head[3] << 8 | head[4]);
	cursor->is_bad = head[0] != RECORD_HANDSHAKE || head[1] != 3 || !cursor->record_left ||
			 cursor->record_left > RECORD_BYTES_MAX;
	cursor->at += RECORD_HEAD;
}

static uint8_t next_byte(struct cursor *cursor)
{
	if (!has_failed(cursor) && !cursor->record_left)
		enter_record(cursor);
	if (has_failed(cursor))
		return 0;
	if (cursor->at >= cursor->bytes.len) {
		cursor->wanted = cursor->at + cursor->record_left;
		return 0;
	}
	cursor->record_left--;
	return cursor->bytes.data[cursor->at++];
}

/* A number of so many bytes. */
static size_t next_number(struct cursor *cursor, int bytes)
{
	size_t number = 0;

	while (bytes-- > 0)
		number = number << 8 | next_byte(cursor);
	return number;
}

/* left: what remains of the part that is being read. Its bounds are the message's own claims. */
static bool take(struct cursor *cursor, size_t *left, size_t count)
{
	/* A length of which not all is here yet says nothing. */
	if (has_failed(cursor))
		return false;
	if (count > *left) {
		cursor->is_bad = true;
		return false;
	}
	*left -= count;
	return true;
}

static void skip(struct cursor *cursor, size_t *left, size_t count)
{
	if (!take(cursor, left, count))
		return;
	while (count-- > 0 && !has_failed(cursor))
		(void)next_byte(cursor);
}

static size_t take_number(struct cursor *cursor, size_t *left, int bytes)
{
	return take(cursor, left, (size_t)bytes) ? next_number(cursor, bytes) : 0;
}

static void read_protocol(struct cursor *cursor, size_t *left, struct client_hello *out)
{
	size_t len = take_number(cursor, left, 1);
	char name[16] = "";

	if (!take(cursor, left, len))
		return;
	for (size_t i = 0; i < len && !has_failed(cursor); i++) {
		uint8_t byte = next_byte(cursor);

		if (i < sizeof name - 1)
			name[i] = (char)byte;
	}
	if (len == 4 && memcmp(name, "mqtt", 4) == 0)
		out->asks_for_mqtt = true;
	else if (len == 14 && memcmp(name, "x-amzn-mqtt-ca", 14) == 0)
		out->asks_for_mqtt = true;
	else if (len == 8 && memcmp(name, "http/1.1", 8) == 0)
		out->asks_for_http = true;
}

static void read_extensions(struct cursor *cursor, size_t left, struct client_hello *out)
{
	while (left && !has_failed(cursor)) {
		size_t type = take_number(cursor, &left, 2);
		size_t len = take_number(cursor, &left, 2);
		size_t names;

		if (type != EXTENSION_ALPN || has_failed(cursor)) {
			skip(cursor, &left, len);
			continue;
		}
		if (!take(cursor, &left, len))
			return;
		names = take_number(cursor, &len, 2);
		while (names && !has_failed(cursor))
			read_protocol(cursor, &names, out);
	}
}

static void read_message(struct cursor *cursor, struct client_hello *out)
{
	size_t left;

	if (next_byte(cursor) != MESSAGE_CLIENT_HELLO) {
		cursor->is_bad = !cursor->wanted;
		return;
	}
	left = next_number(cursor, 3);
	skip(cursor, &left, 2 + 32);
	skip(cursor, &left, take_number(cursor, &left, 1));
	skip(cursor, &left, take_number(cursor, &left, 2));
	skip(cursor, &left, take_number(cursor, &left, 1));
	if (left && !has_failed(cursor)) {
		size_t extensions = take_number(cursor, &left, 2);

		if (take(cursor, &left, extensions))
			read_extensions(cursor, extensions, out);
	}
	skip(cursor, &left, left);
}

enum client_hello_status client_hello_parse(struct slice bytes, struct client_hello *out)
{
	struct cursor cursor = {.bytes = bytes};

	*out = (struct client_hello){0};
	read_message(&cursor, out);
	if (cursor.is_bad)
		return CLIENT_HELLO_BAD;
	if (!cursor.wanted)
		return CLIENT_HELLO_DONE;
	out->wanted = cursor.wanted;
	return CLIENT_HELLO_NEED_MORE;
}
