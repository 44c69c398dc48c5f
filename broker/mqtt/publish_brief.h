/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_brief.h - the common case of publish_encode(): a PUBLISH without any property.
 *
 * Most of what a broker sends is a Fixed Header, a topic, a Packet Identifier and a payload. In line,
 * because one of these is written for each message and receiver.
 */
#ifndef NIGHTJAR_MQTT_PUBLISH_BRIEF_H
#define NIGHTJAR_MQTT_PUBLISH_BRIEF_H

#include "mqtt/publish.h"
#include "mqtt/wire.h"

struct publish_brief {
	enum mqtt_version version;
	uint8_t qos;
	bool dup, retain;
	uint16_t packet_id; /* QoS 1 and 2 */
	struct slice topic; /* the Topic Name with its length in front, two bytes, as it is sent */
	struct slice payload;
};

static inline size_t publish_brief_body(const struct publish_brief *publish)
{
	return publish->topic.len + publish->payload.len + (publish->qos ? 2 : 0) +
	       (publish->version == MQTT_V5 ? 1 : 0);
}

/* The whole packet in bytes; 0 when it is larger than MQTT can express. */
static inline size_t publish_brief_size(const struct publish_brief *publish)
{
	size_t body = publish_brief_body(publish);

	return body > VARINT_MAX ? 0 : 1 + varint_size((uint32_t)body) + body;
}

/* Writes the packet; the caller has made room for publish_brief_size(). Returns the bytes. */
static inline size_t publish_brief_encode(uint8_t *out, const struct publish_brief *publish)
{
	uint8_t *at = out;

	*at++ = (uint8_t)(PACKET_PUBLISH << 4 | (publish->dup ? 8 : 0) | publish->qos << 1 |
			  (publish->retain ? 1 : 0));
	at = wire_put_varint(at, (uint32_t)publish_brief_body(publish));
	at = wire_put_bytes(at, publish->topic);
	if (publish->qos)
		at = wire_put_u16(at, publish->packet_id);
	if (publish->version == MQTT_V5)
		*at++ = 0; /* Property Length */
	return (size_t)(wire_put_bytes(at, publish->payload) - out);
}

#endif
