/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

enum {
	PROPERTY_SESSION_EXPIRY = 0x11,
	PROPERTY_RECEIVE_MAXIMUM = 0x21,
	PROPERTY_MAXIMUM_PACKET = 0x27,
	SUBACK_FAILURE = 0x80,
	/* A SUBSCRIBE's length is written in three bytes, and corrected at its end. */
	LONG_LENGTH = 3,
};

/* ------------------------------------------------------------------ reading a CONNACK */

/* Bytes that the value of a property of a CONNACK takes; 0 for what does not belong there. */
static size_t property_size(uint8_t id, const uint8_t *at, size_t left)
{
	switch (id) {
	case 0x24: /* Maximum QoS */
	case 0x25: /* Retain Available */
	case 0x28: /* Wildcard Subscription Available */
	case 0x29: /* Subscription Identifiers Available */
	case 0x2a: /* Shared Subscription Available */ return 1;
	case 0x13: /* Server Keep Alive */
	case PROPERTY_RECEIVE_MAXIMUM:
	case 0x22: /* Topic Alias Maximum */ return 2;
	case PROPERTY_SESSION_EXPIRY:
	case PROPERTY_MAXIMUM_PACKET: return 4;
	case 0x12: /* Assigned Client Identifier */
	case 0x15: /* Authentication Method */
	case 0x16: /* Authentication Data */
	case 0x1a: /* Response Information */
	case 0x1c: /* Server Reference */
	case 0x1f: /* Reason String */ return left < 2 ? 0 : 2u + packet_u16(at);
	case 0x26: { /* User Property */
		size_t name = left < 4 ? 0 : 2u + packet_u16(at);

		return name == 0 || name + 2 > left ? 0 : name + 2u + packet_u16(at + name);
	}
	default: return 0;
	}
}

static uint32_t read_u32(const uint8_t *at)
{
	return (uint32_t)packet_u16(at) << 16 | packet_u16(at + 2);
}

bool packet_read_connack(const struct packet *packet, enum mqtt_version version,
			 struct connack *out)
{
	const uint8_t *at = packet->body + 3, *end = packet->body + packet->length;

	*out = (struct connack){.receive_maximum = UINT16_MAX};
	if (packet_type(packet) != PACKET_CONNACK || packet->length < 2)
		return false;
	out->session_present = packet->body[0] & 1;
	out->code = packet->body[1];
	if (version != MQTT_5 || packet->length < 3)
		return true;
	if (packet->body[2] & 128) /* the length of the properties has two bytes */
		at++;
	while (at < end) {
		uint8_t id = *at++;
		size_t size = property_size(id, at, (size_t)(end - at));

		if (size == 0 || size > (size_t)(end - at))
			return false;
		if (id == PROPERTY_RECEIVE_MAXIMUM)
			out->receive_maximum = packet_u16(at);
		if (id == PROPERTY_MAXIMUM_PACKET)
			out->maximum_packet = read_u32(at);
		at += size;
	}
	return true;
}

bool packet_suback_grants(const struct packet *packet, enum mqtt_version version, uint8_t qos,
			  unsigned count, uint8_t *out_code)
{
	uint32_t at = 2;

	*out_code = SUBACK_FAILURE;
	if (packet->length < 3)
		return false;
	if (version == MQTT_5)
		at += 1u + packet->body[2];
	if (packet->length != at + count)
		return false;
	for (; at < packet->length; at++) {
		*out_code = packet->body[at];
		if (*out_code >= SUBACK_FAILURE || *out_code < qos)
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------ writing */

static void put_length(struct bytes *out, uint32_t length)
{
	do {
		bytes_put_u8(out, (uint8_t)((length & 127) | (length > 127 ? 128 : 0)));
		length >>= 7;
	} while (length);
}

static void put_text(struct bytes *out, const char *text)
{
	size_t length = strlen(text);

	bytes_put_u16(out, (uint16_t)length);
	bytes_put(out, text, length);
}

void packet_put_connect(struct bytes *out, enum mqtt_version version,
			const struct connect_options *options)
{
	uint8_t properties = options->session_expiry_s ? 5 : 0;
	uint8_t flags = (uint8_t)((options->clean_start ? 2 : 0) | (options->username ? 128 : 0) |
				  (options->password ? 64 : 0));
	size_t length = 10 + 2 + strlen(options->client_id);

	if (version == MQTT_5)
		length += 1u + properties;
	if (options->username)
		length += 2 + strlen(options->username);
	if (options->password)
		length += 2 + strlen(options->password);
	bytes_put_u8(out, PACKET_CONNECT << 4);
	put_length(out, (uint32_t)length);
	put_text(out, "MQTT");
	bytes_put_u8(out, (uint8_t)version);
	bytes_put_u8(out, flags);
	bytes_put_u16(out, options->keep_alive_s);
	if (version == MQTT_5) {
		bytes_put_u8(out, properties);
		if (properties) {
			bytes_put_u8(out, PROPERTY_SESSION_EXPIRY);
			bytes_put_u16(out, (uint16_t)(options->session_expiry_s >> 16));
			bytes_put_u16(out, (uint16_t)options->session_expiry_s);
		}
	}
	put_text(out, options->client_id);
	if (options->username)
		put_text(out, options->username);
	if (options->password)
		put_text(out, options->password);
}

size_t packet_begin_subscribe(struct bytes *out, enum mqtt_version version, uint16_t id)
{
	size_t began = out->length;

	bytes_put_u8(out, PACKET_SUBSCRIBE << 4 | 2);
	bytes_put(out, "\0\0\0", LONG_LENGTH);
	bytes_put_u16(out, id);
	if (version == MQTT_5)
		bytes_put_u8(out, 0);
	return began;
}

void packet_add_filter(struct bytes *out, const char *filter, uint8_t qos)
{
	put_text(out, filter);
	bytes_put_u8(out, qos);
}

/* The length goes into as few bytes as it takes [MQTT-1.5.5-1]; the rest moves forward. */
void packet_end_subscribe(struct bytes *out, size_t began)
{
	uint8_t *packet = out->data + began;
	size_t body = out->length - began - 1 - LONG_LENGTH, used = 0, length = body;

	do {
		packet[1 + used++] = (uint8_t)((length & 127) | (length > 127 ? 128 : 0));
		length >>= 7;
	} while (length);
	memmove(packet + 1 + used, packet + 1 + LONG_LENGTH, body);
	out->length = began + 1 + used + body;
}

size_t packet_put_publish(struct bytes *out, enum mqtt_version version, uint8_t flags,
			  const char *topic, uint16_t id, uint32_t payload_length)
{
	size_t length = 2 + strlen(topic) + payload_length;

	length += (id ? 2u : 0) + (version == MQTT_5 ? 1u : 0);
	bytes_put_u8(out, (uint8_t)(PACKET_PUBLISH << 4 | flags));
	put_length(out, (uint32_t)length);
	put_text(out, topic);
	if (id)
		bytes_put_u16(out, id);
	if (version == MQTT_5)
		bytes_put_u8(out, 0);
	memset(bytes_reserve(out, payload_length), 0, payload_length);
	out->length += payload_length;
	return out->length - payload_length;
}

void packet_put_pingreq(struct bytes *out)
{
	bytes_put(out, "\xc0\0", 2);
}

void packet_put_disconnect(struct bytes *out)
{
	bytes_put(out, "\xe0\0", 2);
}
