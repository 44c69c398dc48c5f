/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packet.h - the few MQTT packets that a load generator writes and reads.
 *
 * Written apart from the broker's codec on purpose: a mistake that both ends share would not show.
 * Reading is in place: a packet points into the buffer that it was received in, for the call only.
 */
#ifndef NIGHTJAR_BENCH_PACKET_H
#define NIGHTJAR_BENCH_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"

enum mqtt_version { MQTT_3_1_1 = 4, MQTT_5 = 5 };

enum packet_type {
	PACKET_CONNECT = 1,
	PACKET_CONNACK = 2,
	PACKET_PUBLISH = 3,
	PACKET_PUBACK = 4,
	PACKET_PUBREC = 5,
	PACKET_PUBREL = 6,
	PACKET_PUBCOMP = 7,
	PACKET_SUBSCRIBE = 8,
	PACKET_SUBACK = 9,
	PACKET_PINGREQ = 12,
	PACKET_PINGRESP = 13,
	PACKET_DISCONNECT = 14,
};

enum {
	PUBLISH_RETAIN = 1,
	PACKET_HEADER_MAX = 5,
	PACKET_TOO_LONG = -1, /* a Remaining Length of more than four bytes */
};

struct packet {
	uint8_t first; /* type and flags */
	uint32_t length;
	const uint8_t *body;
};

struct connect_options {
	const char *client_id;
	const char *username; /* NULL: none */
	const char *password;
	uint16_t keep_alive_s;
	bool clean_start;
	uint32_t session_expiry_s; /* MQTT 5; 3.1.1 keeps a session that is not clean for ever */
};

struct publish {
	const uint8_t *topic;
	const uint8_t *payload;
	uint32_t payload_length;
	uint16_t topic_length;
	uint16_t packet_id; /* 0 for QoS 0 */
};

/* What a CONNACK says. */
struct connack {
	uint8_t code;
	bool session_present;
	uint16_t receive_maximum; /* 65535 when the broker says nothing */
	uint32_t maximum_packet;  /* 0: no limit */
};

/*
 * The packet at the beginning of the bytes: its whole size, 0 when its header is not complete, or
 * PACKET_TOO_LONG. The packet's body may reach beyond `available`; compare the size with it.
 */
static inline int64_t packet_header(const uint8_t *data, size_t available, struct packet *out)
{
	uint32_t length = 0;

	for (size_t i = 1; i < PACKET_HEADER_MAX; i++) {
		if (i >= available)
			return 0;
		length |= (uint32_t)(data[i] & 127) << (7 * (i - 1));
		if (!(data[i] & 128)) {
			*out = (struct packet){data[0], length, data + i + 1};
			return (int64_t)length + (int64_t)i + 1;
		}
	}
	return PACKET_TOO_LONG;
}

static inline unsigned packet_type(const struct packet *packet)
{
	return packet->first >> 4;
}

static inline uint16_t packet_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* False when the packet contradicts its own lengths. */
static inline bool packet_read_publish(const struct packet *packet, enum mqtt_version version,
				       struct publish *out)
{
	const uint8_t *at = packet->body, *end = at + packet->length;
	uint32_t properties = 0, shift = 0;

	if (end - at < 2)
		return false;
	out->topic_length = packet_u16(at);
	out->topic = at + 2;
	at += 2 + out->topic_length;
	out->packet_id = 0;
	if (packet->first & 6) {
		if (end - at < 2)
			return false;
		out->packet_id = packet_u16(at);
		at += 2;
	}
	if (version == MQTT_5) {
		do {
			if (at >= end || shift > 21)
				return false;
			properties |= (uint32_t)(*at & 127) << shift;
			shift += 7;
		} while (*at++ & 128);
	}
	if (end - at < (int64_t)properties)
		return false;
	out->payload = at + properties;
	out->payload_length = (uint32_t)(end - out->payload);
	return true;
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP: the Packet Identifier, 0 when the packet has none. */
static inline uint16_t packet_id(const struct packet *packet)
{
	return packet->length < 2 ? 0 : packet_u16(packet->body);
}

/* The Reason Code of the four above; 0 when it is left out. */
static inline uint8_t packet_reason(const struct packet *packet)
{
	return packet->length < 3 ? 0 : packet->body[2];
}

static inline void packet_put_ack(struct bytes *out, enum packet_type type, uint16_t id)
{
	uint8_t *at = bytes_reserve(out, 4);

	at[0] = (uint8_t)(type << 4 | (type == PACKET_PUBREL ? 2 : 0));
	at[1] = 2;
	at[2] = (uint8_t)(id >> 8);
	at[3] = (uint8_t)id;
	out->length += 4;
}

bool packet_read_connack(const struct packet *packet, enum mqtt_version version,
			 struct connack *out);

/* The first code of a SUBACK, and whether all `count` codes grant at least `qos`. */
bool packet_suback_grants(const struct packet *packet, enum mqtt_version version, uint8_t qos,
			  unsigned count, uint8_t *out_code);

void packet_put_connect(struct bytes *out, enum mqtt_version version,
			const struct connect_options *options);

/* SUBSCRIBE in steps: begin, any number of filters, end. Returns where it began, for the end. */
size_t packet_begin_subscribe(struct bytes *out, enum mqtt_version version, uint16_t id);
void packet_add_filter(struct bytes *out, const char *filter, uint8_t qos);
void packet_end_subscribe(struct bytes *out, size_t began);

/*
 * A PUBLISH with room for `payload_length` bytes, which the caller fills in; returns where in the
 * buffer the payload begins. A Packet Identifier stands two bytes (MQTT 5: three) before it.
 */
size_t packet_put_publish(struct bytes *out, enum mqtt_version version, uint8_t flags,
			  const char *topic, uint16_t id, uint32_t payload_length);

void packet_put_pingreq(struct bytes *out);
void packet_put_disconnect(struct bytes *out);

#endif
