/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscribe.h - SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (sections 3.8 to 3.11).
 *
 * The decoders check every Topic Filter and option, so that the walk over them cannot fail: a
 * packet takes effect as a whole or not at all.
 */
#ifndef NIGHTJAR_MQTT_SUBSCRIBE_H
#define NIGHTJAR_MQTT_SUBSCRIBE_H

#include "mqtt/frame.h"
#include "mqtt/property.h"

struct subscribe_packet {
	enum mqtt_version version;
	uint16_t packet_id;
	uint32_t subscription_identifier; /* 0: none */
	size_t filter_count;		  /* at least 1 */
	struct slice filters;		  /* the payload, for subscribe_next() */
	struct slice user_properties;	  /* a property block; only its User Properties count */
};

/* The values of Retain Handling. */
enum retain_handling {
	RETAIN_SEND = 0,
	RETAIN_SEND_IF_NEW = 1,
	RETAIN_DO_NOT_SEND = 2,
};

struct subscribe_filter {
	struct slice text;   /* as sent, "$share/group/" included: the key of the subscription */
	struct slice filter; /* the Topic Filter alone: the same as text unless shared */
	struct slice group;  /* the ShareName, empty unless shared */
	bool is_shared;
	uint8_t qos;
	bool no_local; /* never with is_shared [MQTT-3.8.3-4] */
	bool retain_as_published;
	uint8_t retain_handling; /* enum retain_handling */
};

enum decode_status subscribe_decode(const struct packet_frame *frame, enum mqtt_version version,
				    struct subscribe_packet *out, struct decode_error *error);

/*
 * Gives the filters of a decoded packet in order. *offset starts at 0. Before version 5 the options
 * are what that version does: No Local false, Retain As Published false, Retain Handling 0.
 */
bool subscribe_next(const struct subscribe_packet *packet, size_t *offset,
		    struct subscribe_filter *out);

struct unsubscribe_packet {
	uint16_t packet_id;
	size_t filter_count; /* at least 1 */
	struct slice filters;
	struct slice user_properties;
};

enum decode_status unsubscribe_decode(const struct packet_frame *frame, enum mqtt_version version,
				      struct unsubscribe_packet *out, struct decode_error *error);

/* As subscribe_next(); only text, filter, group and is_shared are set, the options are zero. */
bool unsubscribe_next(const struct unsubscribe_packet *packet, size_t *offset,
		      struct subscribe_filter *out);

/* SUBACK and UNSUBACK. */
struct suback_packet {
	uint16_t packet_id;
	struct slice reason_codes; /* one byte per filter, in their order */
	struct slice reason_string;
	struct slice user_properties;
};

/*
 * Before version 5 every failure is sent as 0x80, and an UNSUBACK has no Reason Codes. MQTT 3.1 has
 * no failure at all: there the caller gives a granted QoS in its place.
 */
size_t suback_encoded_size(enum mqtt_version version, enum packet_type type,
			   const struct suback_packet *packet);
size_t suback_encode(uint8_t *out, enum mqtt_version version, enum packet_type type,
		     const struct suback_packet *packet);
enum decode_status suback_decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct suback_packet *out, struct decode_error *error);

/*
 * What a client sends. Each of the filters uses text and the options; text is written as it is. For
 * UNSUBSCRIBE the options and the identifier are ignored.
 */
struct subscribe_encoding {
	enum mqtt_version version;
	uint16_t packet_id;
	uint32_t subscription_identifier; /* 0: none */
	const struct subscribe_filter *filters;
	size_t filter_count;
	struct slice user_properties;
};

size_t subscribe_encoded_size(const struct subscribe_encoding *subscribe);
size_t subscribe_encode(uint8_t *out, const struct subscribe_encoding *subscribe);
size_t unsubscribe_encoded_size(const struct subscribe_encoding *unsubscribe);
size_t unsubscribe_encode(uint8_t *out, const struct subscribe_encoding *unsubscribe);

#endif
