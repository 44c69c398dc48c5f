/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/property.h"

#include "mqtt/property_set.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

struct property_row {
	uint8_t type; /* enum property_type */
	bool repeats;
	uint16_t packets; /* bit n: packets of type n may carry it */
	const char *name;
};

static const struct property_row rows[PROPERTY_ID_MAX + 1] = {
#define PROPERTY(name, id, type, packets, repeats, text)                                           \
	[id] = {PROPERTY_TYPE_##type, (repeats), (uint16_t)(packets), (text)},
#include "mqtt/property.def"
#undef PROPERTY
};

#define BIT(name) (1ULL << PROPERTY_##name)
#define FORWARDED                                                                                  \
	(BIT(PAYLOAD_FORMAT_INDICATOR) | BIT(CONTENT_TYPE) | BIT(RESPONSE_TOPIC) |                 \
	 BIT(CORRELATION_DATA) | BIT(USER_PROPERTY))
#define NEVER_ZERO                                                                                 \
	(BIT(SUBSCRIPTION_IDENTIFIER) | BIT(RECEIVE_MAXIMUM) | BIT(TOPIC_ALIAS) |                  \
	 BIT(MAXIMUM_PACKET_SIZE))

bool property_is_allowed(uint8_t id, enum packet_type type)
{
	return id <= PROPERTY_ID_MAX && (rows[id].packets & 1U << type) != 0;
}

const char *property_name(uint8_t id)
{
	if (id > PROPERTY_ID_MAX || !rows[id].name)
		return "unknown property";
	return rows[id].name;
}

static bool read_number(struct reader *reader, uint8_t type, uint32_t *out)
{
	uint16_t u16 = 0;
	uint8_t u8 = 0;
	bool whole;

	switch (type) {
	case PROPERTY_TYPE_BYTE:
		whole = read_u8(reader, &u8);
		*out = u8;
		return whole;
	case PROPERTY_TYPE_U16:
		whole = read_u16(reader, &u16);
		*out = u16;
		return whole;
	case PROPERTY_TYPE_U32: return read_u32(reader, out);
	default: return read_varint(reader, out);
	}
}

/* Reads one property of a known identifier. Strings are not checked yet. */
static bool read_property(struct reader *reader, struct property *out)
{
	const uint8_t *start = reader->at;
	uint8_t id;
	bool whole;

	if (!read_u8(reader, &id) || id > PROPERTY_ID_MAX || rows[id].type == PROPERTY_TYPE_NONE)
		return false;
	out->id = id;
	out->type = rows[id].type;
	out->number = 0;
	out->text = SLICE_NONE;
	out->value = SLICE_NONE;
	switch (out->type) {
	case PROPERTY_TYPE_STRING:
	case PROPERTY_TYPE_BINARY: whole = read_binary(reader, &out->text); break;
	case PROPERTY_TYPE_PAIR:
		whole = read_binary(reader, &out->text) && read_binary(reader, &out->value);
		break;
	default: whole = read_number(reader, out->type, &out->number);
	}
	out->encoded = slice_of(start, (size_t)(reader->at - start));
	return whole;
}

bool property_next(struct slice *properties, struct property *out)
{
	struct reader reader = reader_of(*properties);

	if (properties->len == 0 || !read_property(&reader, out))
		return false;
	*properties = reader_rest(&reader);
	return true;
}

bool user_property_next(struct slice *properties, struct slice *out_name, struct slice *out_value)
{
	struct property property;

	while (property_next(properties, &property)) {
		if (property.id != PROPERTY_USER_PROPERTY)
			continue;
		*out_name = property.text;
		*out_value = property.value;
		return true;
	}
	return false;
}

size_t user_property_encoded_size(struct slice name, struct slice value)
{
	return 1 + 2 + name.len + 2 + value.len;
}

size_t user_property_encode(uint8_t *out, struct slice name, struct slice value)
{
	struct writer writer = {out, 0};

	write_u8(&writer, PROPERTY_USER_PROPERTY);
	write_binary(&writer, name);
	write_binary(&writer, value);
	return writer.len;
}

void write_user_properties(struct writer *writer, struct slice block)
{
	struct property property;

	while (property_next(&block, &property))
		if (property.id == PROPERTY_USER_PROPERTY)
			write_bytes(writer, property.encoded);
}

size_t forward_properties_copy(const struct forward_properties *properties, uint8_t *out)
{
	struct slice rest = properties->source;
	struct property property;
	uint8_t *at = out;

	if (properties->is_run) {
		wire_put_bytes(out, rest);
		return rest.len;
	}
	while (property_next(&rest, &property))
		if (FORWARDED >> property.id & 1)
			at = wire_put_bytes(at, property.encoded);
	return (size_t)(at - out);
}

static const char *zero_statement(uint8_t id)
{
	switch (id) {
	case PROPERTY_TOPIC_ALIAS: return "MQTT-3.3.2-8";
	case PROPERTY_SUBSCRIPTION_IDENTIFIER: return "3.8.2.1.2";
	case PROPERTY_RECEIVE_MAXIMUM: return "3.1.2.11.3";
	default: return "3.1.2.11.4";
	}
}

static enum decode_status number_check(const struct property *property, struct decode_error *error)
{
	if (property->type == PROPERTY_TYPE_BYTE && property->number > 1)
		return decode_fail(error, RC_PROTOCOL_ERROR, "2.2.2.2",
				   "A property that is 0 or 1 has another value.");
	if (property->number > 0 || !(NEVER_ZERO >> property->id & 1))
		return DECODE_DONE;
	return decode_fail(error,
			   property->id == PROPERTY_TOPIC_ALIAS ? RC_TOPIC_ALIAS_INVALID
								: RC_PROTOCOL_ERROR,
			   zero_statement(property->id),
			   "A property has the value 0, which it must not have.");
}

static enum decode_status text_check(const struct property *property, struct decode_error *error)
{
	if (property->type == PROPERTY_TYPE_BINARY)
		return DECODE_DONE;
	if (!utf8_is_valid(property->text) || !utf8_is_valid(property->value))
		return decode_fail(error, RC_MALFORMED_PACKET,
				   property->type == PROPERTY_TYPE_PAIR ? "MQTT-1.5.7-1"
									: "MQTT-1.5.4-1",
				   "A string in a property is not valid UTF-8 or holds U+0000.");
	if (property->id == PROPERTY_RESPONSE_TOPIC && !topic_name_is_valid(property->text))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.3.2-14",
				   "The Response Topic is empty or holds a wildcard character.");
	return DECODE_DONE;
}

/* Which packet may carry it, and how often. */
static enum decode_status place_check(const struct property *property, enum packet_type packet,
				      enum property_sender sender, const struct property_set *set,
				      struct decode_error *error)
{
	if (!(rows[property->id].packets & 1U << packet))
		return decode_fail(error, RC_MALFORMED_PACKET, "2.2.2.2",
				   "A property does not belong in this packet.");
	if (property->id == PROPERTY_SUBSCRIPTION_IDENTIFIER && packet == PACKET_PUBLISH) {
		if (sender == PROPERTY_FROM_SERVER)
			return DECODE_DONE;
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.3.4-6",
				   "A client sent a Subscription Identifier in a PUBLISH.");
	}
	if (property_set_has(set, (enum property_id)property->id) && !rows[property->id].repeats)
		return decode_fail(error, RC_PROTOCOL_ERROR, "2.2.2.2",
				   "A property that must not repeat stands twice.");
	return DECODE_DONE;
}

/* Invariant: source goes from the first to the last forwarded property, len counts those alone. */
static void forward_add(struct forward_properties *forward, struct slice encoded)
{
	if (forward->len == 0)
		forward->source.data = encoded.data;
	forward->len += encoded.len;
	forward->source.len = (size_t)(encoded.data + encoded.len - forward->source.data);
	forward->is_run = forward->source.len == forward->len;
}

static void property_set_add(struct property_set *set, const struct property *property)
{
	bool is_first = !property_set_has(set, (enum property_id)property->id);

	set->seen |= 1ULL << property->id;
	if (FORWARDED >> property->id & 1)
		forward_add(&set->forward, property->encoded);
	if (!is_first)
		return;
	set->number[property->id] = property->number;
	set->text[property->id] = property->text;
}

static enum decode_status property_check(const struct property *property, enum packet_type packet,
					 enum property_sender sender,
					 const struct property_set *set, struct decode_error *error)
{
	enum decode_status status = place_check(property, packet, sender, set, error);

	if (status != DECODE_DONE)
		return status;
	if (property->type < PROPERTY_TYPE_STRING)
		return number_check(property, error);
	return text_check(property, error);
}

enum decode_status property_set_decode(struct reader *reader, enum packet_type packet,
				       enum property_sender sender, struct property_set *out,
				       struct decode_error *error)
{
	struct property property;
	struct reader block;
	uint32_t len;

	out->seen = 0;
	out->block = SLICE_NONE;
	out->forward = (struct forward_properties){SLICE_NONE, 0, true};
	if (!read_varint(reader, &len) || len > reader_left(reader))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-2.2.2-1",
				   "The Property Length is missing, ill-formed or too long.");
	out->block = slice_of(reader->at, len);
	block = reader_of(out->block);
	reader->at += len;
	while (block.at < block.end) {
		if (!read_property(&block, &property))
			return decode_fail(error, RC_MALFORMED_PACKET, "2.2.2.2",
					   "A property is unknown or cut off.");
		if (property_check(&property, packet, sender, out, error) != DECODE_DONE)
			return DECODE_BAD;
		property_set_add(out, &property);
	}
	return DECODE_DONE;
}
