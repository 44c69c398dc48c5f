/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

static void check_will(const struct connect_will *will, struct slice input)
{
	fuzz_assert_inside(will->topic, input);
	fuzz_assert_inside(will->payload, input);
	fuzz_assert_inside(will->content_type, input);
	fuzz_assert_inside(will->response_topic, input);
	fuzz_assert_inside(will->correlation_data, input);
	fuzz_assert_inside(will->properties, input);
	fuzz_assert_inside(will->forward.source, input);
	FUZZ_ASSERT(will->qos <= 2);
	if (will->present)
		FUZZ_ASSERT(topic_name_is_valid(will->topic));
	else
		FUZZ_ASSERT(!will->retain && will->qos == 0);
	free(fuzz_forward_copy(&will->forward));
}

static void check_packet(const struct connect_packet *packet, struct slice input)
{
	fuzz_assert_inside(packet->client_id, input);
	fuzz_assert_inside(packet->user_name, input);
	fuzz_assert_inside(packet->password, input);
	fuzz_assert_inside(packet->authentication_method, input);
	fuzz_assert_inside(packet->authentication_data, input);
	fuzz_assert_inside(packet->user_properties, input);
	FUZZ_ASSERT(packet->version >= MQTT_V31 && packet->version <= MQTT_V5);
	FUZZ_ASSERT(packet->protocol_level == packet->version);
	FUZZ_ASSERT(packet->receive_maximum > 0);
	FUZZ_ASSERT(utf8_is_valid(packet->client_id) && utf8_is_valid(packet->user_name));
	FUZZ_ASSERT(packet->has_password || packet->password.len == 0);
	FUZZ_ASSERT(packet->has_user_name || packet->user_name.len == 0);
	FUZZ_ASSERT(packet->has_authentication_method || !packet->has_authentication_data);
	check_will(&packet->will, input);
}

/* MQTT 3.1 lets a Password announce itself without a User Name's bytes; it cannot be said again. */
static bool can_be_encoded(const struct connect_packet *packet)
{
	return packet->version == MQTT_V5 || packet->has_user_name || !packet->has_password;
}

static void check_round_trip(const struct connect_packet *packet)
{
	size_t size = connect_encoded_size(packet);
	uint8_t *first = fuzz_room(size), *second = fuzz_room(size);
	struct connect_packet again;
	struct packet_frame frame;
	struct decode_error error;

	FUZZ_ASSERT(connect_encode(first, packet) == size);
	frame = fuzz_frame_of(slice_of(first, size), MQTT_VERSION_NONE);
	FUZZ_ASSERT(connect_decode(&frame, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(connect_encoded_size(&again) == size);
	connect_encode(second, &again);
	FUZZ_ASSERT(memcmp(first, second, size) == 0);
	FUZZ_ASSERT(again.keep_alive_s == packet->keep_alive_s);
	FUZZ_ASSERT(slice_equal(again.client_id, packet->client_id));
	FUZZ_ASSERT(slice_equal(again.will.payload, packet->will.payload));
	FUZZ_ASSERT(slice_equal(again.will.content_type, packet->will.content_type));
	FUZZ_ASSERT(slice_equal(again.will.response_topic, packet->will.response_topic));
	FUZZ_ASSERT(slice_equal(again.will.correlation_data, packet->will.correlation_data));
	free(first);
	free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct connect_packet packet;
	struct packet_frame frame;
	struct decode_error error;

	if (size == 0)
		return 0;
	frame = fuzz_frame(PACKET_CONNECT, data, size);
	if (connect_decode(&frame, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return 0;
	}
	check_packet(&packet, frame.body);
	if (can_be_encoded(&packet))
		check_round_trip(&packet);
	return 0;
}
