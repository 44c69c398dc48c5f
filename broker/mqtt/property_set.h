/* SPDX-License-Identifier: Apache-2.0 */
/*
 * property_set.h - a whole property block, checked and spread out by identifier. For decoders.
 *
 * Only `seen` and the forwarded part are initialised: a member of number or text has a meaning only
 * when its bit in `seen` is set, so that a block of two properties costs two properties.
 */
#ifndef NIGHTJAR_MQTT_PROPERTY_SET_H
#define NIGHTJAR_MQTT_PROPERTY_SET_H

#include "mqtt/property.h"
#include "mqtt/wire.h"

#define PROPERTY_ID_MAX 0x2a

struct property_set {
	uint64_t seen;	    /* bit n: property n was there */
	struct slice block; /* encoded, without the Property Length */
	struct forward_properties forward;
	uint32_t number[PROPERTY_ID_MAX + 1];
	struct slice text[PROPERTY_ID_MAX + 1];
};

enum property_sender {
	PROPERTY_FROM_CLIENT,
	PROPERTY_FROM_SERVER, /* may repeat the Subscription Identifier in a PUBLISH */
};

/*
 * Reads a Property Length and its properties, and checks all that sections 2.2.2 and 3.x.2.2 say
 * about identifiers, types, repetition and ranges.
 */
enum decode_status property_set_decode(struct reader *reader, enum packet_type packet,
				       enum property_sender sender, struct property_set *out,
				       struct decode_error *error);

static inline bool property_set_has(const struct property_set *set, enum property_id id)
{
	return (set->seen >> id & 1) != 0;
}

static inline uint32_t property_set_number(const struct property_set *set, enum property_id id,
					   uint32_t otherwise)
{
	return property_set_has(set, id) ? set->number[id] : otherwise;
}

static inline struct slice property_set_text(const struct property_set *set, enum property_id id)
{
	return property_set_has(set, id) ? set->text[id] : SLICE_NONE;
}

/* The block when it has User Properties, else nothing: so that others need not look through it. */
static inline struct slice property_set_user_properties(const struct property_set *set)
{
	return property_set_has(set, PROPERTY_USER_PROPERTY) ? set->block : SLICE_NONE;
}

/* Encoding: each writes nothing when there is nothing to say. */
static inline void write_property_u8(struct writer *writer, bool present, enum property_id id,
				     uint8_t value)
{
	if (!present)
		return;
	write_u8(writer, (uint8_t)id);
	write_u8(writer, value);
}

static inline void write_property_u16(struct writer *writer, bool present, enum property_id id,
				      uint16_t value)
{
	if (!present)
		return;
	write_u8(writer, (uint8_t)id);
	write_u16(writer, value);
}

static inline void write_property_u32(struct writer *writer, bool present, enum property_id id,
				      uint32_t value)
{
	if (!present)
		return;
	write_u8(writer, (uint8_t)id);
	write_u32(writer, value);
}

static inline void write_property_binary(struct writer *writer, bool present, enum property_id id,
					 struct slice value)
{
	if (!present)
		return;
	write_u8(writer, (uint8_t)id);
	write_binary(writer, value);
}

static inline void write_property_string(struct writer *writer, enum property_id id,
					 struct slice value)
{
	write_property_binary(writer, value.len > 0, id, value);
}

/* Copies the User Properties of a block and nothing else. */
void write_user_properties(struct writer *writer, struct slice block);

#endif
