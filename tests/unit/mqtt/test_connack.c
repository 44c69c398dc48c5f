/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static enum decode_status decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct decode_error *error)
{
	struct connack_packet packet;

	return connack_decode(frame, version, &packet, error);
}

static struct slice encoded(enum mqtt_version version, const struct connack_packet *packet)
{
	size_t size = connack_encoded_size(version, packet);
	uint8_t *out = exact_room(size);

	assert_int_equal(connack_encode(out, version, packet), size);
	return slice_of(out, size);
}

static void a_plain_connack_is_short_in_every_version(void **state)
{
	struct connack_packet packet = {.session_present = true};

	(void)state;
	assert_true(slice_equal(encoded(MQTT_V5, &packet), bytes_of("20 03 01 00 00")));
	assert_true(slice_equal(encoded(MQTT_V311, &packet), bytes_of("20 02 01 00")));
	assert_true(slice_equal(encoded(MQTT_V31, &packet), bytes_of("20 02 00 00")));
}

static void a_refusal_is_translated_for_mqtt_3(void **state)
{
	struct connack_packet packet = {.reason_code = RC_NOT_AUTHORIZED};

	(void)state;
	assert_true(slice_equal(encoded(MQTT_V5, &packet), bytes_of("20 03 00 87 00")));
	assert_true(slice_equal(encoded(MQTT_V311, &packet), bytes_of("20 02 00 05")));
	packet.reason_code = RC_UNSUPPORTED_PROTOCOL_VERSION;
	assert_true(slice_equal(encoded(MQTT_V31, &packet), bytes_of("20 02 00 01")));
	packet.reason_code = RC_UNSPECIFIED_ERROR;
	assert_true(slice_equal(encoded(MQTT_V311, &packet), bytes_of("20 02 00 03")));
}

static struct connack_packet full_packet(struct slice user_properties)
{
	return (struct connack_packet){
		.session_present = true,
		.has_session_expiry = true,
		.session_expiry_s = 100,
		.receive_maximum = 20,
		.has_maximum_qos = true,
		.maximum_qos = 1,
		.retain_unavailable = true,
		.wildcard_subscription_unavailable = true,
		.subscription_identifier_unavailable = true,
		.shared_subscription_unavailable = true,
		.maximum_packet_size = 2000000,
		.topic_alias_maximum = 10,
		.has_server_keep_alive = true,
		.server_keep_alive_s = 45,
		.assigned_client_id = SLICE_LITERAL("auto-1"),
		.reason_string = SLICE_LITERAL("welcome"),
		.response_information = SLICE_LITERAL("answers/1"),
		.server_reference = SLICE_LITERAL("other"),
		.authentication_method = SLICE_LITERAL("SCRAM"),
		.has_authentication_data = true,
		.authentication_data = SLICE_LITERAL("v=1"),
		.user_properties = user_properties,
	};
}

static void every_property_comes_back(void **state)
{
	uint8_t properties[32];
	size_t len = user_property_encode(properties, SLICE_LITERAL("k"), SLICE_LITERAL("v"));
	struct connack_packet packet = full_packet(slice_of(properties, len));
	struct slice bytes = encoded(MQTT_V5, &packet);
	struct packet_frame frame = frame_of(bytes, MQTT_V5);
	struct connack_packet again;
	struct decode_error error;

	(void)state;
	assert_int_equal(connack_decode(&frame, MQTT_V5, &again, &error), DECODE_DONE);
	assert_true(again.session_present && again.retain_unavailable);
	assert_true(again.wildcard_subscription_unavailable);
	assert_true(again.subscription_identifier_unavailable);
	assert_true(again.shared_subscription_unavailable);
	assert_int_equal(again.session_expiry_s, 100);
	assert_int_equal(again.receive_maximum, 20);
	assert_int_equal(again.maximum_qos, 1);
	assert_int_equal(again.maximum_packet_size, 2000000);
	assert_int_equal(again.topic_alias_maximum, 10);
	assert_int_equal(again.server_keep_alive_s, 45);
	assert_slice(again.assigned_client_id, "auto-1");
	assert_slice(again.reason_string, "welcome");
	assert_slice(again.response_information, "answers/1");
	assert_slice(again.server_reference, "other");
	assert_slice(again.authentication_method, "SCRAM");
	assert_slice(again.authentication_data, "v=1");
	assert_true(slice_equal(encoded(MQTT_V5, &again), bytes));
	expect_cut_off_is_bad(bytes, MQTT_V5, SIZE_MAX, decode);
}

static const struct bad_row bad[] = {
	{"reserved flags", MQTT_V5, 0x20, "02 00 00", 0x81, "MQTT-3.2.2-1"},
	{"no Reason Code", MQTT_V311, 0x20, "00", 0x81, "3.2.2"},
	{"a Reason Code of another packet", MQTT_V5, 0x20, "00 8e 00", 0x82, "MQTT-3.2.2-8"},
	{"bytes left over", MQTT_V311, 0x20, "00 00 00", 0x81, "2.1.4"},
	{"Maximum QoS 2", MQTT_V5, 0x20, "00 00 02 2402", 0x82, "2.2.2.2"},
	{"Retain Available 2", MQTT_V5, 0x20, "00 00 02 2502", 0x82, "2.2.2.2"},
};

static void bad_connacks_are_refused(void **state)
{
	(void)state;
	expect_bad(bad, COUNT_OF(bad), decode);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(a_plain_connack_is_short_in_every_version),
		CASE(a_refusal_is_translated_for_mqtt_3),
		CASE(every_property_comes_back),
		CASE(bad_connacks_are_refused),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
