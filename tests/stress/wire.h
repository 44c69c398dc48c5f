/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NIGHTJAR_TESTS_WIRE_H
#define NIGHTJAR_TESTS_WIRE_H

/*
 * A small MQTT client on non-blocking sockets, for the programs that put load on a broker: packets
 * are appended to an output buffer, and read from an input buffer. It shares no code with the
 * broker on purpose: a mistake in the broker's codec must not be hidden by the same one here.
 *
 * One thread; nothing in here blocks except wire_open().
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
	WIRE_CONNECT = 1,
	WIRE_CONNACK,
	WIRE_PUBLISH,
	WIRE_PUBACK,
	WIRE_PUBREC,
	WIRE_PUBREL,
	WIRE_PUBCOMP,
	WIRE_SUBSCRIBE,
	WIRE_SUBACK,
	WIRE_UNSUBSCRIBE,
	WIRE_UNSUBACK,
	WIRE_PINGREQ,
	WIRE_PINGRESP,
	WIRE_DISCONNECT,
	WIRE_AUTH,
};

struct wire_buffer {
	uint8_t *data;
	size_t start; /* first byte not consumed */
	size_t end;   /* one behind the last byte */
	size_t capacity;
};

/* Owner: the one thread. fd is -1 while not connected. */
struct wire {
	int fd;
	uint8_t version; /* 3, 4 or 5 */
	struct wire_buffer in;
	struct wire_buffer out;
};

struct wire_packet {
	uint8_t type;
	uint8_t flags;
	const uint8_t *body; /* borrowed until the next wire_fill() */
	size_t length;
};

struct wire_publish {
	const uint8_t *topic;
	size_t topic_length;
	const uint8_t *payload;
	size_t payload_length;
	uint16_t packet_id; /* 0 at QoS 0 */
	uint8_t qos;
	bool dup;
	bool retain;
};

struct wire_connect {
	const char *client_id;
	bool clean_start;
	uint16_t keep_alive_s;
	uint16_t receive_maximum;  /* version 5 only; 0: not sent */
	uint32_t session_expiry_s; /* version 5 only; 0: not sent */
};

void wire_init(struct wire *wire, uint8_t version);

/* Connects to 127.0.0.1:port and makes the socket non-blocking. Returns 0, or -1 with errno. */
int wire_open(struct wire *wire, uint16_t port);

/* Closes the socket and forgets what was not read or written; the buffers' memory stays. */
void wire_close(struct wire *wire);

/* Writes what it can. Returns 1 when output is left, 0 when none is, -1 when the peer is gone. */
int wire_flush(struct wire *wire);

/* Reads once. Returns the number of bytes, 0 when there are none now, -1 when the peer is gone. */
int wire_fill(struct wire *wire);

/* Takes the next packet. Returns 1, 0 when it is not complete, -1 when it is malformed. */
int wire_next(struct wire *wire, struct wire_packet *out_packet);

/* Returns false when the body is no PUBLISH of this version. */
bool wire_read_publish(const struct wire *wire, const struct wire_packet *packet,
		       struct wire_publish *out_publish);

/* The Packet Identifier that an acknowledgement starts with; 0 when it is too short. */
uint16_t wire_packet_id(const struct wire_packet *packet);

/* The Reason Code of a CONNACK, PUBACK, PUBREC, PUBREL or PUBCOMP; 0 where it is left out. */
uint8_t wire_reason(const struct wire_packet *packet);

/* CONNACK only. */
bool wire_session_present(const struct wire_packet *packet);

void wire_put_connect(struct wire *wire, const struct wire_connect *options);
void wire_put_publish(struct wire *wire, const struct wire_publish *publish);
void wire_put_ack(struct wire *wire, enum wire_type type, uint16_t packet_id);
void wire_put_subscribe(struct wire *wire, uint16_t packet_id, const char *filter, uint8_t options);
void wire_put_unsubscribe(struct wire *wire, uint16_t packet_id, const char *filter);
void wire_put_empty(struct wire *wire, enum wire_type type);
void wire_put_bytes(struct wire *wire, const void *bytes, size_t length);

#endif
