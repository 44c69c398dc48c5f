/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h - PUBLISH (section 3.3), the packet that speed depends on.
 */
#ifndef NIGHTJAR_MQTT_PUBLISH_H
#define NIGHTJAR_MQTT_PUBLISH_H

#include "mqtt/frame.h"
#include "mqtt/property.h"

struct publish_packet {
	struct slice topic; /* a valid Topic Name; empty only with a topic_alias */
	struct slice payload;
	uint16_t packet_id; /* 0 at QoS 0 */
	uint8_t qos;
	bool dup;
	bool retain;

	/* Version 5. */
	bool has_message_expiry;
	uint8_t payload_format_indicator; /* 1: the payload claims to be UTF-8; not checked here */
	uint16_t topic_alias;		  /* 0: none. Its maximum is the session's to check */
	uint32_t message_expiry_s;
	uint32_t subscription_identifier; /* only publish_decode_from_server(): the first, or 0 */
	struct slice content_type;
	struct slice response_topic;   /* a valid Topic Name, or empty */
	struct slice correlation_data; /* data is NULL when absent */
	struct forward_properties forward;
	struct slice properties; /* all of them, encoded */
};

/* Decodes what a client sent to a server: a Subscription Identifier is refused. */
enum decode_status publish_decode(const struct packet_frame *frame, enum mqtt_version version,
				  struct publish_packet *out, struct decode_error *error);

/*
 * The same when the topic may well be one that was decoded before, valid: then it is only compared,
 * and out->topic is valid itself, so that what else is known of it can be used again. SLICE_NONE:
 * none is known.
 */
enum decode_status publish_decode_again(const struct packet_frame *frame, enum mqtt_version version,
					struct slice valid, struct publish_packet *out,
					struct decode_error *error);

/*
 * The Topic Name of a PUBLISH with RETAIN that begins here, nothing of which has been checked; empty
 * if something else begins here, or its topic is not all there.
 */
static inline struct slice publish_peek_retained(struct slice input)
{
	size_t at = 1, len;

	if (input.len < 5 || (input.data[0] & 0xf1) != (PACKET_PUBLISH << 4 | 1))
		return SLICE_NONE;
	while (input.data[at] & 0x80 && at < 4)
		at++;
	if (input.len - at < 3)
		return SLICE_NONE;
	len = (size_t)(input.data[at + 1] << 8 | input.data[at + 2]);
	return input.len - at - 3 < len ? SLICE_NONE : slice_of(input.data + at + 3, len);
}

/* Decodes what a server sent to a client. */
enum decode_status publish_decode_from_server(const struct packet_frame *frame,
					      enum mqtt_version version, struct publish_packet *out,
					      struct decode_error *error);

/*
 * A PUBLISH to be written. Before version 5 everything from topic_alias on is ignored, so that one
 * encoding can serve receivers of all versions by changing the version.
 */
struct publish_encoding {
	enum mqtt_version version;
	bool dup;
	bool retain;
	uint8_t qos;
	uint16_t packet_id; /* ignored at QoS 0 */
	struct slice topic;
	struct slice payload;

	uint16_t topic_alias; /* 0: none */
	bool omit_topic;      /* the receiver knows the alias already: send an empty Topic Name */
	bool has_message_expiry;
	uint32_t message_expiry_s;	 /* what is left of it */
	struct slice forward_properties; /* encoded, written as they are */
	const uint32_t *subscription_identifiers;
	size_t subscription_identifier_count;
};

/* The whole packet in bytes; 0 when it is larger than MQTT can express. */
size_t publish_encoded_size(const struct publish_encoding *publish);

/* Writes the packet; the caller has made room for publish_encoded_size(). Returns the bytes. */
size_t publish_encode(uint8_t *out, const struct publish_encoding *publish);

/*
 * Writes everything before the payload, whose length is counted in: for a payload that is sent from
 * where it lies. The caller has made room for publish_encoded_size() less the payload.
 */
size_t publish_encode_header(uint8_t *out, const struct publish_encoding *publish);

#endif
