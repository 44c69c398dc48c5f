/* SPDX-License-Identifier: Apache-2.0 */
#include "stress/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	READ_BYTES = 65536,
	PACKET_LIMIT = 1 << 24,
};

static void buffer_reserve(struct wire_buffer *buffer, size_t more)
{
	if (buffer->start == buffer->end) {
		buffer->start = buffer->end = 0;
	}
	if (buffer->capacity - buffer->end >= more) {
		return;
	}
	if (buffer->start > 0) {
		memmove(buffer->data, buffer->data + buffer->start, buffer->end - buffer->start);
		buffer->end -= buffer->start;
		buffer->start = 0;
	}
	while (buffer->capacity - buffer->end < more) {
		buffer->capacity = buffer->capacity ? buffer->capacity * 2 : 1024;
		buffer->data = realloc(buffer->data, buffer->capacity);
		if (!buffer->data) {
			fputs("out of memory\n", stderr);
			exit(2);
		}
	}
}

void wire_init(struct wire *wire, uint8_t version)
{
	*wire = (struct wire){.fd = -1, .version = version};
}

int wire_open(struct wire *wire, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	wire->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (wire->fd < 0) {
		return -1;
	}
	if (connect(wire->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int saved = errno;

		wire_close(wire);
		errno = saved;
		return -1;
	}
	setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(wire->fd, F_SETFL, O_NONBLOCK);
	return 0;
}

void wire_close(struct wire *wire)
{
	if (wire->fd >= 0) {
		close(wire->fd);
	}
	wire->fd = -1;
	wire->in.start = wire->in.end = 0;
	wire->out.start = wire->out.end = 0;
}

int wire_flush(struct wire *wire)
{
	struct wire_buffer *out = &wire->out;

	while (out->start < out->end) {
		ssize_t sent =
			send(wire->fd, out->data + out->start, out->end - out->start, MSG_NOSIGNAL);

		if (sent < 0) {
			return errno == EAGAIN ? 1 : -1;
		}
		out->start += (size_t)sent;
	}
	return 0;
}

int wire_fill(struct wire *wire)
{
	struct wire_buffer *in = &wire->in;
	ssize_t got;

	buffer_reserve(in, READ_BYTES);
	got = recv(wire->fd, in->data + in->end, in->capacity - in->end, 0);
	if (got > 0) {
		in->end += (size_t)got;
		return (int)got;
	}
	return got < 0 && errno == EAGAIN ? 0 : -1;
}

/* Returns how many bytes the Variable Byte Integer takes, 0: not complete, -1: malformed. */
static int varint_read(const uint8_t *bytes, size_t length, size_t *out_value)
{
	*out_value = 0;
	for (int i = 0; i < 4; i++) {
		if ((size_t)i >= length) {
			return 0;
		}
		*out_value |= (size_t)(bytes[i] & 0x7f) << (7 * i);
		if (!(bytes[i] & 0x80)) {
			return i + 1;
		}
	}
	return -1;
}

int wire_next(struct wire *wire, struct wire_packet *out_packet)
{
	struct wire_buffer *in = &wire->in;
	size_t available = in->end - in->start;
	const uint8_t *bytes = in->data + in->start;
	size_t length;
	int width;

	if (available < 2) {
		return 0;
	}
	width = varint_read(bytes + 1, available - 1, &length);
	if (width <= 0 || length > PACKET_LIMIT) {
		return width == 0 ? 0 : -1;
	}
	if (available < 1 + (size_t)width + length) {
		return 0;
	}
	out_packet->type = bytes[0] >> 4;
	out_packet->flags = bytes[0] & 15;
	out_packet->body = bytes + 1 + width;
	out_packet->length = length;
	in->start += 1 + (size_t)width + length;
	return 1;
}

static uint16_t u16_read(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

bool wire_read_publish(const struct wire *wire, const struct wire_packet *packet,
		       struct wire_publish *out_publish)
{
	struct wire_publish *pub = out_publish;
	size_t at = 2;

	memset(pub, 0, sizeof(*pub));
	pub->qos = packet->flags >> 1 & 3;
	pub->dup = packet->flags & 8;
	pub->retain = packet->flags & 1;
	if (packet->length < 2) {
		return false;
	}
	pub->topic = packet->body + 2;
	pub->topic_length = u16_read(packet->body);
	at += pub->topic_length;
	if (pub->qos > 0 && at + 2 <= packet->length) {
		pub->packet_id = u16_read(packet->body + at);
		at += 2;
	}
	if (wire->version == 5 && at < packet->length) {
		size_t properties;
		int width = varint_read(packet->body + at, packet->length - at, &properties);

		if (width <= 0) {
			return false;
		}
		at += (size_t)width + properties;
	}
	if (at > packet->length || (pub->qos > 0 && pub->packet_id == 0)) {
		return false;
	}
	pub->payload = packet->body + at;
	pub->payload_length = packet->length - at;
	return true;
}

uint16_t wire_packet_id(const struct wire_packet *packet)
{
	return packet->length >= 2 ? u16_read(packet->body) : 0;
}

uint8_t wire_reason(const struct wire_packet *packet)
{
	if (packet->type == WIRE_CONNACK) {
		return packet->length >= 2 ? packet->body[1] : 0xff;
	}
	return packet->length >= 3 ? packet->body[2] : 0;
}

bool wire_session_present(const struct wire_packet *packet)
{
	return packet->length >= 1 && (packet->body[0] & 1);
}

void wire_put_bytes(struct wire *wire, const void *bytes, size_t length)
{
	buffer_reserve(&wire->out, length);
	memcpy(wire->out.data + wire->out.end, bytes, length);
	wire->out.end += length;
}

static void put_u8(struct wire *wire, uint8_t value)
{
	wire_put_bytes(wire, &value, 1);
}

static void put_u16(struct wire *wire, size_t value)
{
	uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};

	wire_put_bytes(wire, bytes, sizeof(bytes));
}

static void put_text(struct wire *wire, const char *text)
{
	put_u16(wire, strlen(text));
	wire_put_bytes(wire, text, strlen(text));
}

static void put_header(struct wire *wire, enum wire_type type, uint8_t flags, size_t length)
{
	put_u8(wire, (uint8_t)((unsigned)type << 4 | flags));
	do {
		put_u8(wire, (uint8_t)((length & 0x7f) | (length > 0x7f ? 0x80 : 0)));
		length >>= 7;
	} while (length > 0);
}

static size_t connect_properties_length(const struct wire_connect *options)
{
	return (options->receive_maximum ? 3u : 0u) + (options->session_expiry_s ? 5u : 0u);
}

void wire_put_connect(struct wire *wire, const struct wire_connect *options)
{
	const char *name = wire->version == 3 ? "MQIsdp" : "MQTT";
	size_t properties = connect_properties_length(options);
	size_t length = 2 + strlen(name) + 4 + 2 + strlen(options->client_id);

	put_header(wire, WIRE_CONNECT, 0, length + (wire->version == 5 ? 1 + properties : 0));
	put_text(wire, name);
	put_u8(wire, wire->version);
	put_u8(wire, options->clean_start ? 2 : 0);
	put_u16(wire, options->keep_alive_s);
	if (wire->version == 5) {
		put_u8(wire, (uint8_t)properties);
		if (options->receive_maximum) {
			put_u8(wire, 0x21);
			put_u16(wire, options->receive_maximum);
		}
		if (options->session_expiry_s) {
			put_u8(wire, 0x11);
			put_u16(wire, options->session_expiry_s >> 16);
			put_u16(wire, options->session_expiry_s & 0xffff);
		}
	}
	put_text(wire, options->client_id);
}

void wire_put_publish(struct wire *wire, const struct wire_publish *publish)
{
	size_t length = 2 + publish->topic_length + publish->payload_length;
	unsigned flags = (publish->dup ? 8u : 0u) | publish->qos * 2u | (publish->retain ? 1u : 0u);

	length += (publish->qos ? 2u : 0u) + (wire->version == 5 ? 1u : 0u);
	put_header(wire, WIRE_PUBLISH, (uint8_t)flags, length);
	put_u16(wire, publish->topic_length);
	wire_put_bytes(wire, publish->topic, publish->topic_length);
	if (publish->qos) {
		put_u16(wire, publish->packet_id);
	}
	if (wire->version == 5) {
		put_u8(wire, 0);
	}
	wire_put_bytes(wire, publish->payload, publish->payload_length);
}

void wire_put_ack(struct wire *wire, enum wire_type type, uint16_t packet_id)
{
	put_header(wire, type, type == WIRE_PUBREL ? 2 : 0, 2);
	put_u16(wire, packet_id);
}

void wire_put_subscribe(struct wire *wire, uint16_t packet_id, const char *filter, uint8_t options)
{
	bool v5 = wire->version == 5;

	put_header(wire, WIRE_SUBSCRIBE, 2, 2 + (v5 ? 1u : 0u) + 2 + strlen(filter) + 1);
	put_u16(wire, packet_id);
	if (v5) {
		put_u8(wire, 0);
	}
	put_text(wire, filter);
	put_u8(wire, options);
}

void wire_put_unsubscribe(struct wire *wire, uint16_t packet_id, const char *filter)
{
	bool v5 = wire->version == 5;

	put_header(wire, WIRE_UNSUBSCRIBE, 2, 2 + (v5 ? 1u : 0u) + 2 + strlen(filter));
	put_u16(wire, packet_id);
	if (v5) {
		put_u8(wire, 0);
	}
	put_text(wire, filter);
}

void wire_put_empty(struct wire *wire, enum wire_type type)
{
	put_header(wire, type, 0, 0);
}
