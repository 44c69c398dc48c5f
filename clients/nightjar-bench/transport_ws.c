/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_ws.c - MQTT in the binary frames of a WebSocket (RFC 6455), over a stream.
 *
 *	write:  all that a client has to say in a turn becomes one masked frame
 *	read:   payloads are moved together where they were read, so that frames disappear
 *
 * A frame whose header is on its way has to be completed: what the stream does not take of it waits
 * in web->out, and nothing more is accepted before it has left.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "transport.h"

enum {
	OPCODE_CONTINUATION = 0,
	OPCODE_BINARY = 2,
	OPCODE_CLOSE = 8,
	OPCODE_PING = 9,
	OPCODE_PONG = 10,
	IS_FINAL = 0x80,
	IS_MASKED = 0x80,
	LENGTH_16 = 126,
	LENGTH_64 = 127,
	HEADER_MAX = 14,
	ANSWER_MAX = 16 * 1024,
	KEEP_BYTES = 256 * 1024,
};

/* ------------------------------------------------------------------ frames out */

static ssize_t web_flush(struct transport *transport)
{
	struct web_socket *web = transport->web;
	ssize_t sent;

	transport->wants_write = false;
	while (web->out_sent < web->out.length) {
		sent = transport->endpoint->stream->write(transport, web->out.data + web->out_sent,
							  web->out.length - web->out_sent);
		if (sent < 0)
			return -1;
		web->out_sent += (size_t)sent;
	}
	web->out.length = web->out_sent = 0;
	if (web->out.room > KEEP_BYTES)
		bytes_free(&web->out);
	return 0;
}

/* An xorshift: masks have to differ, nobody here has to be unable to guess them. */
static uint32_t next_mask(struct web_socket *web)
{
	web->mask ^= web->mask << 13;
	web->mask ^= web->mask >> 17;
	web->mask ^= web->mask << 5;
	return web->mask;
}

static void copy_masked(uint8_t *to, const uint8_t *from, size_t count, uint32_t mask)
{
	uint64_t wide = (uint64_t)mask << 32 | mask, word;
	size_t i = 0;

	for (; i + 8 <= count; i += 8) {
		memcpy(&word, from + i, 8);
		word ^= wide;
		memcpy(to + i, &word, 8);
	}
	for (; i < count; i++)
		to[i] = (uint8_t)(from[i] ^ ((const uint8_t *)&wide)[i % 8]);
}

static void put_frame(struct web_socket *web, uint8_t opcode, const void *payload, size_t count)
{
	uint8_t *at = bytes_reserve(&web->out, HEADER_MAX + count), *begin = at;
	uint32_t mask = next_mask(web);

	*at++ = (uint8_t)(IS_FINAL | opcode);
	if (count < LENGTH_16) {
		*at++ = (uint8_t)(IS_MASKED | count);
	} else if (count <= UINT16_MAX) {
		*at++ = IS_MASKED | LENGTH_16;
		*at++ = (uint8_t)(count >> 8);
		*at++ = (uint8_t)count;
	} else {
		*at++ = IS_MASKED | LENGTH_64;
		for (int shift = 56; shift >= 0; shift -= 8)
			*at++ = (uint8_t)((uint64_t)count >> shift);
	}
	memcpy(at, &mask, sizeof(mask));
	at += sizeof(mask);
	copy_masked(at, payload, count, mask);
	web->out.length += (size_t)(at - begin) + count;
}

static ssize_t ws_write(struct transport *transport, const void *from, size_t count)
{
	struct web_socket *web = transport->web;

	if (web_flush(transport) < 0 || web->state == FRAME_UPGRADE) {
		if (web->out.length == 0)
			errno = EAGAIN;
		return -1;
	}
	if (count == 0)
		return 0;
	put_frame(web, OPCODE_BINARY, from, count);
	if (web_flush(transport) < 0 && errno != EAGAIN)
		return -1;
	return (ssize_t)count;
}

/* ------------------------------------------------------------------ the upgrade */

static int ws_open(struct transport *transport)
{
	static const char request[] = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
				      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				      "Sec-WebSocket-Protocol: mqtt\r\n"
				      "Sec-WebSocket-Key: bmlnaHRqYXItYmVuY2gtMQ==\r\n\r\n";
	const struct endpoint *endpoint = transport->endpoint;
	struct web_socket *web;
	size_t room = sizeof(request) + strlen(endpoint->path) + strlen(endpoint->host);

	if (endpoint->stream->open(transport) < 0)
		return -1;
	web = transport->web = must_allocate(1, sizeof(*web));
	web->mask = 0x9e3779b9u ^ (uint32_t)transport->fd * 2654435761u;
	web->mask |= 1; /* 0 would stay 0 */
	web->out.length = (size_t)snprintf((char *)bytes_reserve(&web->out, room), room, request,
					   endpoint->path, endpoint->host);
	return 0;
}

/* What stands behind the response's end is the first frames; returns how many bytes of them. */
static size_t take_answer(struct web_socket *web, const uint8_t *data, size_t length)
{
	size_t before = web->answer.length;
	char *text, *end;

	bytes_put(&web->answer, data, length);
	*bytes_reserve(&web->answer, 1) = '\0';
	text = (char *)web->answer.data;
	end = strstr(text, "\r\n\r\n");
	if (!end) {
		if (web->answer.length > ANSWER_MAX)
			fail("the broker's answer to the WebSocket upgrade has no end");
		return 0;
	}
	if (strncmp(text, "HTTP/1.1 101", 12) != 0)
		fail("the broker refused the WebSocket: %.*s", (int)strcspn(text, "\r"), text);
	web->state = FRAME_HEADER;
	length -= (size_t)(end + 4 - text) - before;
	bytes_free(&web->answer);
	return length;
}

/* ------------------------------------------------------------------ frames in */

static size_t header_size(const uint8_t *header, size_t have)
{
	if (have < 2 || (header[1] & 127) < LENGTH_16)
		return 2;
	return (header[1] & 127) == LENGTH_16 ? 4 : 10;
}

/* The header is complete. */
static void begin_payload(struct web_socket *web)
{
	size_t size = web->header_length;

	web->opcode = web->header[0] & 15;
	web->left = web->header[1] & 127;
	if (size > 2) {
		web->left = 0;
		for (size_t i = 2; i < size; i++)
			web->left = web->left << 8 | web->header[i];
	}
	if (web->header[1] & IS_MASKED)
		fail("the broker sent a masked WebSocket frame");
	if (web->opcode != OPCODE_BINARY && web->opcode != OPCODE_CONTINUATION &&
	    (web->opcode < OPCODE_CLOSE || web->left > sizeof(web->control)))
		fail("the broker sent a WebSocket frame with opcode %u", web->opcode);
	web->control_length = 0;
	web->header_length = 0;
	web->state = FRAME_PAYLOAD;
}

/* false: the broker closes. */
static bool end_payload(struct transport *transport)
{
	struct web_socket *web = transport->web;

	web->state = FRAME_HEADER;
	if (web->opcode == OPCODE_PING) {
		put_frame(web, OPCODE_PONG, web->control, web->control_length);
		(void)web_flush(transport);
	}
	return web->opcode != OPCODE_CLOSE;
}

static size_t take_payload(struct web_socket *web, const uint8_t *data, size_t length, uint8_t *to)
{
	size_t count = length < web->left ? length : (size_t)web->left;

	if (web->opcode < OPCODE_CLOSE) {
		if (to != data)
			memmove(to, data, count);
	} else {
		memcpy(web->control + web->control_length, data, count);
		web->control_length = (uint8_t)(web->control_length + count);
	}
	web->left -= count;
	return count;
}

/* Leaves only payload; -1: the broker closes. */
static ssize_t unframe(struct transport *transport, uint8_t *data, size_t length)
{
	struct web_socket *web = transport->web;
	uint8_t *at = data, *end = data + length, *to = data;

	while (at < end || (web->state == FRAME_PAYLOAD && web->left == 0)) {
		if (web->state == FRAME_HEADER) {
			web->header[web->header_length++] = *at++;
			if (web->header_length == header_size(web->header, web->header_length))
				begin_payload(web);
		} else {
			size_t count = take_payload(web, at, (size_t)(end - at), to);

			at += count;
			if (web->opcode < OPCODE_CLOSE)
				to += count;
			if (web->left == 0 && !end_payload(transport))
				return -1;
		}
	}
	return to - data;
}

static ssize_t ws_read(struct transport *transport, void *into, size_t room)
{
	struct web_socket *web = transport->web;
	ssize_t got = transport->endpoint->stream->read(transport, into, room);
	size_t length = (size_t)got;

	if (got <= 0)
		return got;
	if (web->state == FRAME_UPGRADE) {
		length = take_answer(web, into, length);
		memmove(into, (uint8_t *)into + got - length, length);
	}
	got = web->state == FRAME_UPGRADE ? 0 : unframe(transport, into, length);
	if (got < 0)
		return 0;
	if (got == 0)
		errno = EAGAIN;
	return got ? got : -1;
}

static void ws_close(struct transport *transport)
{
	struct web_socket *web = transport->web;

	bytes_free(&web->out);
	bytes_free(&web->answer);
	free(web);
	transport->web = NULL;
	transport->endpoint->stream->close(transport);
}

const struct transport_ops transport_ws = {
	.open = ws_open,
	.read = ws_read,
	.write = ws_write,
	.close = ws_close,
};
