/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/subscribe.h"

#include "mqtt/property_set.h"
#include "mqtt/topic.h"
#include "mqtt/wire.h"

/* The Subscription Options. */
#define OPTION_QOS(o) ((o)&3)
#define OPTION_NO_LOCAL 0x04
#define OPTION_RETAIN_AS_PUBLISHED 0x08
#define OPTION_RETAIN_HANDLING(o) ((o) >> 4 & 3)
#define OPTIONS_RESERVED 0xc0
#define OPTIONS_RESERVED_BEFORE_V5 0xfc

static enum decode_status packet_id_decode(struct reader *reader, uint16_t *out,
					   struct decode_error *error)
{
	if (!read_u16(reader, out))
		return decode_fail(error, RC_MALFORMED_PACKET, "2.2.1",
				   "The packet ends before its Packet Identifier.");
	if (*out == 0)
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-2.2.1-3",
				   "The Packet Identifier is 0.");
	return DECODE_DONE;
}

/* Reads and checks one filter, for both packets; the options are left alone. */
static enum decode_status filter_decode(struct reader *reader, struct subscribe_filter *out,
					struct decode_error *error)
{
	if (!read_binary(reader, &out->text))
		return decode_fail(error, RC_MALFORMED_PACKET, "3.8.3",
				   "The packet ends within a Topic Filter.");
	out->filter = out->text;
	out->group = SLICE_NONE;
	out->is_shared = false;
	switch (topic_filter_parse_shared(out->text, &out->group, &out->filter)) {
	case TOPIC_SHARED: out->is_shared = true; return DECODE_DONE;
	case TOPIC_SHARE_INVALID:
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-4.8.2-2",
				   "A Shared Subscription is not $share/ShareName/filter.");
	case TOPIC_NOT_SHARED: break;
	}
	if (topic_filter_is_valid(out->text))
		return DECODE_DONE;
	return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-4.7.1-1",
			   "A Topic Filter is empty, not valid UTF-8, or has a wildcard out of "
			   "place.");
}

static void options_take(uint8_t options, enum mqtt_version version, struct subscribe_filter *out)
{
	bool is_v5 = version == MQTT_V5;

	out->qos = OPTION_QOS(options);
	out->no_local = is_v5 && (options & OPTION_NO_LOCAL) != 0;
	out->retain_as_published = is_v5 && (options & OPTION_RETAIN_AS_PUBLISHED) != 0;
	out->retain_handling = is_v5 ? (uint8_t)OPTION_RETAIN_HANDLING(options) : RETAIN_SEND;
}

/* MQTT 3.1 does not say that the upper bits are reserved. */
static enum decode_status options_check(uint8_t options, enum mqtt_version version, bool is_shared,
					struct decode_error *error)
{
	uint8_t reserved = version == MQTT_V5 ? OPTIONS_RESERVED : OPTIONS_RESERVED_BEFORE_V5;

	if (version != MQTT_V31 && (options & reserved))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.8.3-5",
				   "Reserved bits of the Subscription Options are set.");
	if (OPTION_QOS(options) == 3)
		return decode_fail(error,
				   version == MQTT_V5 ? RC_PROTOCOL_ERROR : RC_MALFORMED_PACKET,
				   "3.8.3.1", "The QoS of a subscription is 3.");
	if (version != MQTT_V5)
		return DECODE_DONE;
	if (OPTION_RETAIN_HANDLING(options) == 3)
		return decode_fail(error, RC_PROTOCOL_ERROR, "3.8.3.1",
				   "The Retain Handling of a subscription is 3.");
	if (is_shared && (options & OPTION_NO_LOCAL))
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.8.3-4",
				   "A Shared Subscription has No Local set.");
	return DECODE_DONE;
}

static enum decode_status subscription_decode(struct reader *reader, enum mqtt_version version,
					      struct subscribe_filter *out,
					      struct decode_error *error)
{
	uint8_t options;

	if (filter_decode(reader, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (!read_u8(reader, &options))
		return decode_fail(error, RC_MALFORMED_PACKET, "3.8.3",
				   "A SUBSCRIBE ends before the options of a Topic Filter.");
	if (options_check(options, version, out->is_shared, error) != DECODE_DONE)
		return DECODE_BAD;
	options_take(options, version, out);
	return DECODE_DONE;
}

enum decode_status subscribe_decode(const struct packet_frame *frame, enum mqtt_version version,
				    struct subscribe_packet *out, struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);
	struct subscribe_filter filter;
	struct property_set set;

	*out = (struct subscribe_packet){.version = version};
	if (packet_id_decode(&reader, &out->packet_id, error) != DECODE_DONE)
		return DECODE_BAD;
	if (version == MQTT_V5) {
		if (property_set_decode(&reader, PACKET_SUBSCRIBE, PROPERTY_FROM_CLIENT, &set,
					error) != DECODE_DONE)
			return DECODE_BAD;
		out->subscription_identifier =
			property_set_number(&set, PROPERTY_SUBSCRIPTION_IDENTIFIER, 0);
		out->user_properties = property_set_user_properties(&set);
	}
	out->filters = reader_rest(&reader);
	if (out->filters.len == 0)
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.8.3-2",
				   "A SUBSCRIBE has no Topic Filter.");
	for (; reader_left(&reader) > 0; out->filter_count++)
		if (subscription_decode(&reader, version, &filter, error) != DECODE_DONE)
			return DECODE_BAD;
	return DECODE_DONE;
}

/* Only views are made here: decoding has checked everything. */
static bool filter_next(struct reader *reader, struct subscribe_filter *out)
{
	*out = (struct subscribe_filter){0};
	if (!read_binary(reader, &out->text))
		return false;
	out->filter = out->text;
	out->is_shared =
		topic_filter_parse_shared(out->text, &out->group, &out->filter) == TOPIC_SHARED;
	return true;
}

static struct reader reader_from(struct slice bytes, size_t offset)
{
	struct reader reader = reader_of(bytes);

	reader.at = offset < bytes.len ? reader.at + offset : reader.end;
	return reader;
}

bool subscribe_next(const struct subscribe_packet *packet, size_t *offset,
		    struct subscribe_filter *out)
{
	struct reader reader = reader_from(packet->filters, *offset);
	uint8_t options;

	if (!filter_next(&reader, out) || !read_u8(&reader, &options))
		return false;
	options_take(options, packet->version, out);
	*offset = packet->filters.len - reader_left(&reader);
	return true;
}

enum decode_status unsubscribe_decode(const struct packet_frame *frame, enum mqtt_version version,
				      struct unsubscribe_packet *out, struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);
	struct subscribe_filter filter;
	struct property_set set;

	*out = (struct unsubscribe_packet){0};
	if (packet_id_decode(&reader, &out->packet_id, error) != DECODE_DONE)
		return DECODE_BAD;
	if (version == MQTT_V5) {
		if (property_set_decode(&reader, PACKET_UNSUBSCRIBE, PROPERTY_FROM_CLIENT, &set,
					error) != DECODE_DONE)
			return DECODE_BAD;
		out->user_properties = property_set_user_properties(&set);
	}
	out->filters = reader_rest(&reader);
	if (out->filters.len == 0)
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.10.3-2",
				   "An UNSUBSCRIBE has no Topic Filter.");
	for (; reader_left(&reader) > 0; out->filter_count++)
		if (filter_decode(&reader, &filter, error) != DECODE_DONE)
			return DECODE_BAD;
	return DECODE_DONE;
}

bool unsubscribe_next(const struct unsubscribe_packet *packet, size_t *offset,
		      struct subscribe_filter *out)
{
	struct reader reader = reader_from(packet->filters, *offset);

	if (!filter_next(&reader, out))
		return false;
	*offset = packet->filters.len - reader_left(&reader);
	return true;
}

static void properties_write(struct writer *writer, const void *packet)
{
	const struct subscribe_encoding *subscribe = packet;

	if (subscribe->subscription_identifier > 0) {
		write_u8(writer, PROPERTY_SUBSCRIPTION_IDENTIFIER);
		write_varint(writer, subscribe->subscription_identifier);
	}
	write_user_properties(writer, subscribe->user_properties);
}

static void unsubscribe_properties_write(struct writer *writer, const void *packet)
{
	const struct subscribe_encoding *unsubscribe = packet;

	write_user_properties(writer, unsubscribe->user_properties);
}

static uint8_t options_of(const struct subscribe_filter *filter, enum mqtt_version version)
{
	unsigned options = filter->qos;

	if (version != MQTT_V5)
		return (uint8_t)options;
	if (filter->no_local)
		options |= OPTION_NO_LOCAL;
	if (filter->retain_as_published)
		options |= OPTION_RETAIN_AS_PUBLISHED;
	return (uint8_t)(options | (unsigned)filter->retain_handling << 4);
}

static void subscribe_body_write(struct writer *writer, const void *packet)
{
	const struct subscribe_encoding *subscribe = packet;

	write_u16(writer, subscribe->packet_id);
	if (subscribe->version == MQTT_V5)
		write_property_block(writer, properties_write, subscribe);
	for (size_t i = 0; i < subscribe->filter_count; i++) {
		write_binary(writer, subscribe->filters[i].text);
		write_u8(writer, options_of(&subscribe->filters[i], subscribe->version));
	}
}

static void unsubscribe_body_write(struct writer *writer, const void *packet)
{
	const struct subscribe_encoding *unsubscribe = packet;

	write_u16(writer, unsubscribe->packet_id);
	if (unsubscribe->version == MQTT_V5)
		write_property_block(writer, unsubscribe_properties_write, unsubscribe);
	for (size_t i = 0; i < unsubscribe->filter_count; i++)
		write_binary(writer, unsubscribe->filters[i].text);
}

size_t subscribe_encoded_size(const struct subscribe_encoding *subscribe)
{
	return write_packet(NULL, PACKET_SUBSCRIBE, 2, subscribe_body_write, subscribe);
}

size_t subscribe_encode(uint8_t *out, const struct subscribe_encoding *subscribe)
{
	return write_packet(out, PACKET_SUBSCRIBE, 2, subscribe_body_write, subscribe);
}

size_t unsubscribe_encoded_size(const struct subscribe_encoding *unsubscribe)
{
	return write_packet(NULL, PACKET_UNSUBSCRIBE, 2, unsubscribe_body_write, unsubscribe);
}

size_t unsubscribe_encode(uint8_t *out, const struct subscribe_encoding *unsubscribe)
{
	return write_packet(out, PACKET_UNSUBSCRIBE, 2, unsubscribe_body_write, unsubscribe);
}
