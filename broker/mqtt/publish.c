/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/publish.h"

#include "mqtt/property_set.h"
#include "mqtt/topic.h"
#include "mqtt/wire.h"

/*
 * Member by member, because gcc clears a whole struct of this size with "rep stos", which takes as
 * long as the rest of decoding a small PUBLISH.
 */
static inline void packet_clear(struct publish_packet *out)
{
	out->packet_id = 0;
	out->has_message_expiry = false;
	out->payload_format_indicator = 0;
	out->topic_alias = 0;
	out->message_expiry_s = 0;
	out->subscription_identifier = 0;
	out->topic = SLICE_NONE;
	out->payload = SLICE_NONE;
	out->content_type = SLICE_NONE;
	out->response_topic = SLICE_NONE;
	out->correlation_data = SLICE_NONE;
	out->properties = SLICE_NONE;
	out->forward = (struct forward_properties){SLICE_NONE, 0, true};
}

static enum decode_status flags_decode(uint8_t flags, struct publish_packet *out,
				       struct decode_error *error)
{
	out->retain = (flags & 1) != 0;
	out->qos = flags >> 1 & 3;
	out->dup = (flags & 8) != 0;
	if (out->qos == 3)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.3.1-4",
				   "A PUBLISH has both QoS bits set.");
	if (out->dup && out->qos == 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.3.1-2",
				   "A PUBLISH at QoS 0 has DUP set.");
	return DECODE_DONE;
}

static enum decode_status packet_id_decode(struct reader *reader, struct publish_packet *out,
					   struct decode_error *error)
{
	if (!read_u16(reader, &out->packet_id))
		return decode_fail(error, RC_MALFORMED_PACKET, "3.3.2.2",
				   "A PUBLISH ends before its Packet Identifier.");
	if (out->packet_id == 0)
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-2.2.1-3",
				   "A PUBLISH has the Packet Identifier 0.");
	return DECODE_DONE;
}

/* Kept out of line: most messages have no properties, and the set is large. */
__attribute__((noinline)) static enum decode_status properties_decode(struct reader *reader,
								      enum property_sender sender,
								      struct publish_packet *out,
								      struct decode_error *error)
{
	struct property_set set;

	if (property_set_decode(reader, PACKET_PUBLISH, sender, &set, error) != DECODE_DONE)
		return DECODE_BAD;
	out->has_message_expiry = property_set_has(&set, PROPERTY_MESSAGE_EXPIRY_INTERVAL);
	out->message_expiry_s = property_set_number(&set, PROPERTY_MESSAGE_EXPIRY_INTERVAL, 0);
	out->payload_format_indicator =
		(uint8_t)property_set_number(&set, PROPERTY_PAYLOAD_FORMAT_INDICATOR, 0);
	out->topic_alias = (uint16_t)property_set_number(&set, PROPERTY_TOPIC_ALIAS, 0);
	out->subscription_identifier =
		property_set_number(&set, PROPERTY_SUBSCRIPTION_IDENTIFIER, 0);
	out->content_type = property_set_text(&set, PROPERTY_CONTENT_TYPE);
	out->response_topic = property_set_text(&set, PROPERTY_RESPONSE_TOPIC);
	out->correlation_data = property_set_text(&set, PROPERTY_CORRELATION_DATA);
	out->forward = set.forward;
	out->properties = set.block;
	return DECODE_DONE;
}

static enum decode_status topic_check(struct publish_packet *packet, struct slice valid,
				      enum mqtt_version version, struct decode_error *error)
{
	if (valid.len && slice_equal(packet->topic, valid)) {
		packet->topic = valid;
		return DECODE_DONE;
	}
	if (topic_name_is_valid(packet->topic))
		return DECODE_DONE;
	if (packet->topic.len > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.3.2-2",
				   "A Topic Name is not valid UTF-8, or holds U+0000 or a wildcard "
				   "character.");
	if (version == MQTT_V5 && packet->topic_alias > 0)
		return DECODE_DONE;
	return decode_fail(error, version == MQTT_V5 ? RC_PROTOCOL_ERROR : RC_MALFORMED_PACKET,
			   "MQTT-4.7.3-1", "A Topic Name is empty, and there is no Topic Alias.");
}

static inline enum decode_status decode_any(const struct packet_frame *frame,
					    enum mqtt_version version, enum property_sender sender,
					    struct slice valid, struct publish_packet *out,
					    struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);

	packet_clear(out);
	if (flags_decode(frame->flags, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (!read_binary(&reader, &out->topic))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.3.2-1",
				   "A PUBLISH ends before or within its Topic Name.");
	if (out->qos > 0 && packet_id_decode(&reader, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (version == MQTT_V5) {
		if (reader_left(&reader) > 0 && *reader.at == 0)
			reader.at++;
		else if (properties_decode(&reader, sender, out, error) != DECODE_DONE)
			return DECODE_BAD;
	}
	out->payload = reader_rest(&reader);
	return topic_check(out, valid, version, error);
}

enum decode_status publish_decode(const struct packet_frame *frame, enum mqtt_version version,
				  struct publish_packet *out, struct decode_error *error)
{
	return decode_any(frame, version, PROPERTY_FROM_CLIENT, SLICE_NONE, out, error);
}

enum decode_status publish_decode_again(const struct packet_frame *frame, enum mqtt_version version,
					struct slice valid, struct publish_packet *out,
					struct decode_error *error)
{
	return decode_any(frame, version, PROPERTY_FROM_CLIENT, valid, out, error);
}

enum decode_status publish_decode_from_server(const struct packet_frame *frame,
					      enum mqtt_version version, struct publish_packet *out,
					      struct decode_error *error)
{
	return decode_any(frame, version, PROPERTY_FROM_SERVER, SLICE_NONE, out, error);
}

/* Writing is by hand and not through a writer: one PUBLISH in may be a thousand out. */

static size_t properties_size(const struct publish_encoding *publish)
{
	size_t size = publish->forward_properties.len;

	size += publish->has_message_expiry ? 5 : 0;
	size += publish->topic_alias > 0 ? 3 : 0;
	for (size_t i = 0; i < publish->subscription_identifier_count; i++)
		size += 1 + varint_size(publish->subscription_identifiers[i]);
	return size;
}

static inline bool topic_is_omitted(const struct publish_encoding *publish)
{
	return publish->omit_topic && publish->version == MQTT_V5;
}

/* The Remaining Length; properties_len is given back to be written. */
static size_t body_size(const struct publish_encoding *publish, size_t *out_properties_len)
{
	size_t size = 2 + publish->payload.len;

	*out_properties_len = 0;
	if (!topic_is_omitted(publish))
		size += publish->topic.len;
	if (publish->qos > 0)
		size += 2;
	if (publish->version == MQTT_V5) {
		*out_properties_len = properties_size(publish);
		if (*out_properties_len > VARINT_MAX)
			return SIZE_MAX;
		size += varint_size((uint32_t)*out_properties_len) + *out_properties_len;
	}
	return size;
}

size_t publish_encoded_size(const struct publish_encoding *publish)
{
	size_t properties_len, body_len;

	if (publish->topic.len > WIRE_STRING_MAX || publish->payload.len > VARINT_MAX)
		return 0;
	body_len = body_size(publish, &properties_len);
	if (body_len > VARINT_MAX)
		return 0;
	return 1 + varint_size((uint32_t)body_len) + body_len;
}

static uint8_t *properties_put(uint8_t *at, const struct publish_encoding *publish,
			       size_t properties_len)
{
	at = wire_put_varint(at, (uint32_t)properties_len);
	if (properties_len == 0)
		return at;
	if (publish->has_message_expiry) {
		*at++ = PROPERTY_MESSAGE_EXPIRY_INTERVAL;
		at = wire_put_u32(at, publish->message_expiry_s);
	}
	if (publish->topic_alias > 0) {
		*at++ = PROPERTY_TOPIC_ALIAS;
		at = wire_put_u16(at, publish->topic_alias);
	}
	for (size_t i = 0; i < publish->subscription_identifier_count; i++) {
		*at++ = PROPERTY_SUBSCRIPTION_IDENTIFIER;
		at = wire_put_varint(at, publish->subscription_identifiers[i]);
	}
	return wire_put_bytes(at, publish->forward_properties);
}

size_t publish_encode_header(uint8_t *out, const struct publish_encoding *publish)
{
	struct slice topic = topic_is_omitted(publish) ? SLICE_NONE : publish->topic;
	size_t properties_len;
	size_t body_len = body_size(publish, &properties_len);
	uint8_t *at = out;

	BUG_ON(body_len > VARINT_MAX || topic.len > WIRE_STRING_MAX);
	*at++ = (uint8_t)(PACKET_PUBLISH << 4 | (publish->dup ? 8 : 0) | publish->qos << 1 |
			  (publish->retain ? 1 : 0));
	at = wire_put_varint(at, (uint32_t)body_len);
	at = wire_put_u16(at, (uint16_t)topic.len);
	at = wire_put_bytes(at, topic);
	if (publish->qos > 0)
		at = wire_put_u16(at, publish->packet_id);
	if (publish->version == MQTT_V5)
		at = properties_put(at, publish, properties_len);
	return (size_t)(at - out);
}

size_t publish_encode(uint8_t *out, const struct publish_encoding *publish)
{
	uint8_t *at = out + publish_encode_header(out, publish);

	return (size_t)(wire_put_bytes(at, publish->payload) - out);
}
