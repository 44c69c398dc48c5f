/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"
#include "mqtt/topic.h"

static void check_packet(const struct publish_packet *packet, enum mqtt_version version,
			 struct slice input)
{
	fuzz_assert_inside(packet->topic, input);
	fuzz_assert_inside(packet->payload, input);
	fuzz_assert_inside(packet->content_type, input);
	fuzz_assert_inside(packet->response_topic, input);
	fuzz_assert_inside(packet->correlation_data, input);
	fuzz_assert_inside(packet->properties, input);
	fuzz_assert_inside(packet->forward.source, input);
	FUZZ_ASSERT(packet->qos <= 2);
	FUZZ_ASSERT((packet->qos > 0) == (packet->packet_id > 0));
	FUZZ_ASSERT(packet->qos > 0 || !packet->dup);
	FUZZ_ASSERT(packet->payload_format_indicator <= 1);
	FUZZ_ASSERT(packet->payload.len == 0 ||
		    packet->payload.data + packet->payload.len == input.data + input.len);
	FUZZ_ASSERT(topic_name_is_valid(packet->topic) ||
		    (version == MQTT_V5 && packet->topic.len == 0 && packet->topic_alias > 0));
	if (version != MQTT_V5)
		FUZZ_ASSERT(packet->properties.len == 0 && packet->topic_alias == 0);
}

static void check_again(const struct publish_packet *packet, struct slice encoded,
			enum mqtt_version version)
{
	struct packet_frame frame = fuzz_frame_of(encoded, version);
	struct publish_packet again;
	struct decode_error error;

	FUZZ_ASSERT(publish_decode_from_server(&frame, version, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(slice_equal(again.topic, packet->topic));
	FUZZ_ASSERT(slice_equal(again.payload, packet->payload));
	FUZZ_ASSERT(slice_equal(again.content_type, packet->content_type));
	FUZZ_ASSERT(slice_equal(again.response_topic, packet->response_topic));
	FUZZ_ASSERT(slice_equal(again.correlation_data, packet->correlation_data));
	FUZZ_ASSERT(again.qos == packet->qos && again.packet_id == packet->packet_id);
	FUZZ_ASSERT(again.dup == packet->dup && again.retain == packet->retain);
	FUZZ_ASSERT(again.topic_alias == packet->topic_alias);
	FUZZ_ASSERT(again.has_message_expiry == packet->has_message_expiry);
	FUZZ_ASSERT(again.message_expiry_s == packet->message_expiry_s);
	FUZZ_ASSERT(again.subscription_identifier == packet->subscription_identifier);
	FUZZ_ASSERT(again.forward.len == packet->forward.len && again.forward.is_run);
}

static void check_round_trip(const struct publish_packet *packet, enum mqtt_version version)
{
	uint8_t *forward = fuzz_forward_copy(&packet->forward);
	struct publish_encoding encoding = {
		.version = version,
		.dup = packet->dup,
		.retain = packet->retain,
		.qos = packet->qos,
		.packet_id = packet->packet_id,
		.topic = packet->topic,
		.payload = packet->payload,
		.topic_alias = packet->topic_alias,
		.has_message_expiry = packet->has_message_expiry,
		.message_expiry_s = packet->message_expiry_s,
		.forward_properties = slice_of(forward, packet->forward.len),
		.subscription_identifiers = &packet->subscription_identifier,
		.subscription_identifier_count = packet->subscription_identifier > 0 ? 1 : 0,
	};
	size_t size = publish_encoded_size(&encoding);
	uint8_t *out = fuzz_room(size);

	FUZZ_ASSERT(size > 0);
	FUZZ_ASSERT(publish_encode(out, &encoding) == size);
	check_again(packet, slice_of(out, size), version);
	FUZZ_ASSERT(publish_encode_header(out, &encoding) == size - packet->payload.len);
	free(out);
	free(forward);
}

/* Whether its topic is known to be valid or not, it is the same packet. */
static void check_known_topic(const struct packet_frame *frame, enum mqtt_version version,
			      const struct publish_packet *packet)
{
	struct slice valid = packet->topic.len > 0 ? packet->topic : SLICE_LITERAL("another");
	struct publish_packet again;
	struct decode_error error;

	FUZZ_ASSERT(publish_decode_again(frame, version, valid, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(slice_equal(again.topic, packet->topic));
	FUZZ_ASSERT(slice_equal(again.payload, packet->payload));
	FUZZ_ASSERT(again.topic_alias == packet->topic_alias);
}

/* Bits 3-2 of the choice: a PUBLISH of a client, or one of a server. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct publish_packet packet;
	struct packet_frame frame;
	struct decode_error error;
	enum mqtt_version version;
	enum decode_status status;

	if (size == 0)
		return 0;
	version = fuzz_version(data[0]);
	frame = fuzz_frame(PACKET_PUBLISH, data, size);
	if (data[0] & 4)
		status = publish_decode_from_server(&frame, version, &packet, &error);
	else
		status = publish_decode(&frame, version, &packet, &error);
	if (status != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return 0;
	}
	check_packet(&packet, version, frame.body);
	FUZZ_ASSERT((data[0] & 4) || packet.subscription_identifier == 0);
	if (!(data[0] & 4))
		check_known_topic(&frame, version, &packet);
	check_round_trip(&packet, version);
	return 0;
}
