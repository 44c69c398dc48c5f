/* SPDX-License-Identifier: Apache-2.0 */
/*
 * property.h - the properties of MQTT 5: reading a checked block of them again, and writing them.
 *
 * Packet decoders check a whole property block once (identifiers, types, duplicates, ranges) and
 * keep it as a slice of encoded properties, without its Property Length. The functions here walk
 * over such a block; on bytes that no decoder has checked they stop early and read nothing outside.
 */
#ifndef NIGHTJAR_MQTT_PROPERTY_H
#define NIGHTJAR_MQTT_PROPERTY_H

#include "base/slice.h"
#include "mqtt/frame.h"

enum property_type {
	PROPERTY_TYPE_NONE, /* no such identifier */
	PROPERTY_TYPE_BYTE,
	PROPERTY_TYPE_U16,
	PROPERTY_TYPE_U32,
	PROPERTY_TYPE_VARINT,
	PROPERTY_TYPE_STRING,
	PROPERTY_TYPE_BINARY,
	PROPERTY_TYPE_PAIR, /* two strings */
};

enum property_id {
#define PROPERTY(name, id, type, packets, repeats, text) PROPERTY_##name = (id),
#include "mqtt/property.def"
#undef PROPERTY
};

struct property {
	uint8_t id;	      /* enum property_id */
	uint8_t type;	      /* enum property_type */
	uint32_t number;      /* BYTE, U16, U32, VARINT */
	struct slice text;    /* STRING, BINARY; the name of a PAIR */
	struct slice value;   /* the value of a PAIR */
	struct slice encoded; /* the whole property, its identifier included */
};

/*
 * Takes the first property off *properties. Returns false at the end, or when what follows is no
 * property; *properties is then empty or left as it was.
 */
bool property_next(struct slice *properties, struct property *out);

/* The same, passing over everything but User Properties. */
bool user_property_next(struct slice *properties, struct slice *out_name, struct slice *out_value);

/* Does this packet type carry this property? */
bool property_is_allowed(uint8_t id, enum packet_type type);

/* "Topic Alias"; "unknown property" when there is none of this identifier. */
const char *property_name(uint8_t id);

/* Both strings at most 65,535 bytes; the encoder writes what user_property_encoded_size() says. */
size_t user_property_encoded_size(struct slice name, struct slice value);
size_t user_property_encode(uint8_t *out, struct slice name, struct slice value);

/*
 * What a server passes on unaltered and in order with a message [MQTT-3.3.2-4, -15 to -18, -20]:
 * Payload Format Indicator, Content Type, Response Topic, Correlation Data and User Properties.
 * Expiry, Topic Alias, Will Delay and Subscription Identifiers are not among them.
 *
 * When these stand in one run, as they nearly always do, the source is that run and copying is one
 * memcpy; is_run tells so.
 */
struct forward_properties {
	struct slice source; /* a view, from the first of them to the last */
	size_t len;	     /* bytes that forward_properties_copy() writes; 0: there are none */
	bool is_run;	     /* source is exactly what is to be forwarded */
};

/* Writes properties->len bytes to out. Returns that number. */
size_t forward_properties_copy(const struct forward_properties *properties, uint8_t *out);

#endif
