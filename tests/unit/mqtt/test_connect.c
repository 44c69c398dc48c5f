/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static enum decode_status decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct decode_error *error)
{
	struct connect_packet packet;

	(void)version;
	return connect_decode(frame, &packet, error);
}

static struct connect_packet good(const char *body)
{
	struct packet_frame frame = frame_of(packet_of(0x10, body), MQTT_VERSION_NONE);
	struct connect_packet packet;
	struct decode_error error;

	if (connect_decode(&frame, &packet, &error) != DECODE_DONE)
		fail_msg("refused: %s (%s)", error.text, error.statement);
	return packet;
}

static void the_smallest_connect_of_each_version_has_the_defaults(void **state)
{
	struct connect_packet packet = good("0004 'MQTT' 04 02 003c 0000");

	(void)state;
	assert_int_equal(packet.version, MQTT_V311);
	assert_int_equal(packet.protocol_level, 4);
	assert_false(packet.is_bridge);
	assert_true(packet.clean_start);
	assert_int_equal(packet.keep_alive_s, 60);
	assert_int_equal(packet.client_id.len, 0);
	assert_false(packet.has_user_name || packet.has_password || packet.will.present);
	assert_int_equal(packet.receive_maximum, 65535);
	assert_true(packet.request_problem_information);

	packet = good("0004 'MQTT' 05 00 0000 00 0002 'id'");
	assert_int_equal(packet.version, MQTT_V5);
	assert_false(packet.clean_start);
	assert_slice(packet.client_id, "id");
	assert_false(packet.has_session_expiry);
	assert_int_equal(packet.receive_maximum, 65535);
	assert_int_equal(packet.maximum_packet_size, 0);
	assert_true(packet.request_problem_information);
	assert_false(packet.request_response_information);

	packet = good("0006 'MQIsdp' 03 00 000a 0002 'id'");
	assert_int_equal(packet.version, MQTT_V31);
	assert_slice(packet.client_id, "id");
}

static void will_user_name_and_password_are_read_in_their_order(void **state)
{
	struct connect_packet packet = good(
		"0004 'MQTT' 04 f6 0000 0002 'id' 0003 'w/t' 0004 'gone' 0004 'user' 0002 00ff");

	(void)state;
	assert_true(packet.will.present && packet.will.retain);
	assert_int_equal(packet.will.qos, 2);
	assert_slice(packet.will.topic, "w/t");
	assert_slice(packet.will.payload, "gone");
	assert_true(packet.has_user_name && packet.has_password);
	assert_slice(packet.user_name, "user");
	assert_int_equal(packet.password.len, 2);
}

static void version_5_properties_are_read(void **state)
{
	struct connect_packet packet =
		good("0004 'MQTT' 05 02 0000 "
		     "2a 11 ffffffff 21 0014 27 00001000 22 000a 19 01 17 00 26 0001 'k' 0002 'vv' "
		     "15 0005 'PLAIN' 16 0003 000102 0002 'id'");
	struct slice name, value, rest = packet.user_properties;

	(void)state;
	assert_true(packet.has_session_expiry);
	assert_int_equal(packet.session_expiry_s, 0xffffffff);
	assert_int_equal(packet.receive_maximum, 20);
	assert_int_equal(packet.maximum_packet_size, 4096);
	assert_int_equal(packet.topic_alias_maximum, 10);
	assert_true(packet.request_response_information);
	assert_false(packet.request_problem_information);
	assert_true(user_property_next(&rest, &name, &value));
	assert_slice(name, "k");
	assert_slice(value, "vv");
	assert_false(user_property_next(&rest, &name, &value));
	assert_true(packet.has_authentication_method && packet.has_authentication_data);
	assert_slice(packet.authentication_method, "PLAIN");
	assert_int_equal(packet.authentication_data.len, 3);
}

static void will_properties_are_read_and_those_to_forward_kept_apart(void **state)
{
	struct connect_packet packet =
		good("0004 'MQTT' 05 0e 0000 00 0002 'id' "
		     "22 18 0000000a 01 01 02 0000001e 03 0002 'ct' 08 0002 'rt' 09 0002 'cd' "
		     "26 0001 'k' 0001 'v' 0001 'w' 0000");
	const struct connect_will *will = &packet.will;
	uint8_t forwarded[64];

	(void)state;
	assert_int_equal(will->qos, 1);
	assert_int_equal(will->delay_interval_s, 10);
	assert_int_equal(will->payload_format_indicator, 1);
	assert_true(will->has_message_expiry);
	assert_int_equal(will->message_expiry_s, 30);
	assert_slice(will->content_type, "ct");
	assert_slice(will->response_topic, "rt");
	assert_slice(will->correlation_data, "cd");
	assert_slice(will->topic, "w");
	assert_int_equal(will->payload.len, 0);
	assert_int_equal(will->forward.len, 2 + 5 + 5 + 5 + 7);
	assert_int_equal(forward_properties_copy(&will->forward, forwarded), will->forward.len);
	assert_memory_equal(forwarded, "\x01\x01\x03\x00\x02", 5);
}

static void version_5_allows_a_password_without_a_user_name(void **state)
{
	struct connect_packet packet = good("0004 'MQTT' 05 42 0000 00 0002 'id' 0002 'pw'");

	(void)state;
	assert_false(packet.has_user_name);
	assert_slice(packet.password, "pw");
}

static void a_bridge_says_so_with_bit_7_of_its_level(void **state)
{
	struct connect_packet packet = good("0004 'MQTT' 84 02 003c 0002 'br'");

	(void)state;
	assert_true(packet.is_bridge);
	assert_int_equal(packet.version, MQTT_V311);
	assert_int_equal(packet.protocol_level, 4);
	packet = good("0006 'MQIsdp' 83 02 003c 0002 'br'");
	assert_true(packet.is_bridge);
	assert_int_equal(packet.version, MQTT_V31);
}

static void version_3_1_is_lenient_where_it_was_vague(void **state)
{
	struct connect_packet packet = good("0006 'MQIsdp' 03 c3 000a 0002 'id'");

	(void)state;
	assert_false(packet.has_user_name || packet.has_password);
	packet = good("0006 'MQIsdp' 03 c2 000a 0002 'id' 0001 'u'");
	assert_true(packet.has_user_name);
	assert_false(packet.has_password);
	packet = good("0006 'MQIsdp' 03 38 000a 0002 'id'");
	assert_false(packet.will.present || packet.will.retain);
	assert_int_equal(packet.will.qos, 0);
}

static void an_unknown_level_is_recognised_with_a_version_to_answer_in(void **state)
{
	static const struct {
		const char *body;
		enum mqtt_version version;
	} rows[] = {
		{"0004 'MQTT' 06 02 003c 0000", MQTT_V5},
		{"0004 'MQTT' 85 02 003c 0000", MQTT_V5},
		{"0004 'MQTT' 03 02 003c 0000", MQTT_V311},
		{"0004 'MQTT' 00", MQTT_V311},
		{"0006 'MQIsdp' 04 02 003c 0000", MQTT_V31},
		{"0004 'mqtt' 04 02 003c 0000", MQTT_VERSION_NONE},
		{"0000 04 02 003c 0000", MQTT_VERSION_NONE},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct packet_frame frame =
			frame_of(packet_of(0x10, rows[i].body), MQTT_VERSION_NONE);
		struct connect_packet packet;
		struct decode_error error;

		ROW_ASSERT(rows[i].body, connect_decode(&frame, &packet, &error) == DECODE_BAD);
		ROW_ASSERT(rows[i].body, error.reason_code == RC_UNSUPPORTED_PROTOCOL_VERSION);
		ROW_ASSERT(rows[i].body, packet.version == rows[i].version);
	}
}

#define V5 "0004 'MQTT' 05 "
#define V311 "0004 'MQTT' 04 "

static const struct bad_row bad[] = {
	{"no bytes", MQTT_V311, 0x10, "", 0x81, "MQTT-3.1.4-1"},
	{"reserved flag", MQTT_V311, 0x10, V311 "03 0000 0000", 0x81, "MQTT-3.1.2-3"},
	{"Will QoS without Will", MQTT_V311, 0x10, V311 "0a 0000 0000", 0x81, "MQTT-3.1.2-11"},
	{"Will Retain without Will", MQTT_V5, 0x10, V5 "22 0000 00 0000", 0x81, "MQTT-3.1.2-13"},
	{"Will QoS 3", MQTT_V5, 0x10, V5 "1e 0000 00 0000 00 0001 'a' 0000", 0x81, "MQTT-3.1.2-12"},
	{"password without user in 3.1.1", MQTT_V311, 0x10, V311 "42 0000 0000 0001 'p'", 0x81,
	 "MQTT-3.1.2-22"},
	{"password without user in 3.1", MQTT_V31, 0x10, "0006 'MQIsdp' 03 42 0000 0000", 0x81,
	 "MQTT-3.1.2-22"},
	{"no client id", MQTT_V311, 0x10, V311 "02 0000", 0x81, "MQTT-3.1.3-3"},
	{"client id that is not UTF-8", MQTT_V311, 0x10, V311 "02 0000 0001 ff", 0x81,
	 "MQTT-3.1.3-4"},
	{"client id with null", MQTT_V5, 0x10, V5 "02 0000 00 0001 00", 0x81, "MQTT-3.1.3-4"},
	{"user name announced and missing", MQTT_V311, 0x10, V311 "82 0000 0000", 0x81,
	 "MQTT-3.1.2-17"},
	{"user name that is not UTF-8", MQTT_V5, 0x10, V5 "82 0000 00 0000 0002 c080", 0x81,
	 "MQTT-3.1.3-12"},
	{"password announced and missing", MQTT_V311, 0x10, V311 "c2 0000 0000 0001 'u'", 0x81,
	 "MQTT-3.1.2-19"},
	{"will announced and missing", MQTT_V311, 0x10, V311 "06 0000 0000", 0x81, "MQTT-3.1.2-9"},
	{"will topic with wildcard", MQTT_V311, 0x10, V311 "06 0000 0000 0001 '#' 0000", 0x81,
	 "MQTT-3.1.3-11"},
	{"will topic that is empty", MQTT_V311, 0x10, V311 "06 0000 0000 0000 0000", 0x81,
	 "MQTT-3.1.3-11"},
	{"bytes left over", MQTT_V311, 0x10, V311 "02 0000 0000 00", 0x81, "MQTT-3.1.4-1"},
	{"Receive Maximum 0", MQTT_V5, 0x10, V5 "02 0000 03 210000 0000", 0x82, "3.1.2.11.3"},
	{"Maximum Packet Size 0", MQTT_V5, 0x10, V5 "02 0000 05 2700000000 0000", 0x82,
	 "3.1.2.11.4"},
	{"Request Problem Information 2", MQTT_V5, 0x10, V5 "02 0000 02 1702 0000", 0x82,
	 "2.2.2.2"},
	{"Request Response Information 2", MQTT_V5, 0x10, V5 "02 0000 02 1902 0000", 0x82,
	 "2.2.2.2"},
	{"Session Expiry twice", MQTT_V5, 0x10, V5 "02 0000 0a 1100000001 1100000001 0000", 0x82,
	 "2.2.2.2"},
	{"method twice", MQTT_V5, 0x10, V5 "02 0000 08 15000161 15000161 0000", 0x82, "2.2.2.2"},
	{"data without method", MQTT_V5, 0x10, V5 "02 0000 04 16000161 0000", 0x82, "3.1.2.11.10"},
	{"Topic Alias in CONNECT", MQTT_V5, 0x10, V5 "02 0000 03 230001 0000", 0x81, "2.2.2.2"},
	{"Will Delay outside of the Will", MQTT_V5, 0x10, V5 "02 0000 05 1800000001 0000", 0x81,
	 "2.2.2.2"},
	{"Session Expiry in the Will", MQTT_V5, 0x10,
	 V5 "06 0000 00 0000 05 1100000001 0001 'a' 0000", 0x81, "2.2.2.2"},
	{"Will Delay twice", MQTT_V5, 0x10,
	 V5 "06 0000 00 0000 0a 1800000001 1800000001 0001 'a' 0000", 0x82, "2.2.2.2"},
	{"properties cut off", MQTT_V5, 0x10, V5 "02 0000 05 11", 0x81, "MQTT-2.2.2-1"},
};

static void bad_connects_are_refused_with_reason_and_statement(void **state)
{
	(void)state;
	expect_bad(bad, COUNT_OF(bad), decode);
}

static void a_remaining_length_that_is_too_long_is_refused_once_the_version_is_known(void **state)
{
	static const char v5[] = "10 8d00 0004 'MQTT' 05 02 0000 00 0000";
	static const char v311[] = "10 8c00 0004 'MQTT' 04 02 0000 0000";
	struct packet_frame frame = frame_of(bytes_of(v5), MQTT_VERSION_NONE);
	struct connect_packet packet;
	struct decode_error error;

	(void)state;
	assert_int_equal(connect_decode(&frame, &packet, &error), DECODE_BAD);
	assert_string_equal(error.statement, "MQTT-1.5.5-1");
	frame = frame_of(bytes_of(v311), MQTT_VERSION_NONE);
	assert_int_equal(connect_decode(&frame, &packet, &error), DECODE_DONE);
}

static void every_connect_that_is_cut_off_is_refused(void **state)
{
	(void)state;
	expect_cut_off_is_bad(packet_of(0x10, V311 "c6 0000 0002 'id' 0001 'w' 0001 'x' 0001 'u' "
						   "0001 'p'"),
			      MQTT_VERSION_NONE, SIZE_MAX, decode);
	expect_cut_off_is_bad(packet_of(0x10, V5 "c6 0000 05 1100000001 0002 'id' 02 0101 0001 'w' "
						 "0001 'x' 0001 'u' 0001 'p'"),
			      MQTT_VERSION_NONE, SIZE_MAX, decode);
}

static void check_round_trip(const struct connect_packet *packet)
{
	size_t size = connect_encoded_size(packet);
	uint8_t *out = exact_room(size), *again;
	struct connect_packet decoded;
	struct packet_frame frame;
	struct decode_error error;

	assert_int_equal(connect_encode(out, packet), size);
	frame = frame_of(slice_of(out, size), MQTT_VERSION_NONE);
	assert_int_equal(connect_decode(&frame, &decoded, &error), DECODE_DONE);
	assert_int_equal(connect_encoded_size(&decoded), size);
	again = exact_room(size);
	connect_encode(again, &decoded);
	assert_memory_equal(out, again, size);
}

static void what_is_encoded_is_decoded_again_in_every_version(void **state)
{
	static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};
	uint8_t properties[64];
	size_t len = user_property_encode(properties, SLICE_LITERAL("k"), SLICE_LITERAL("v"));

	(void)state;
	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		struct connect_packet packet;

		connect_packet_init(&packet, versions[i]);
		packet.client_id = SLICE_LITERAL("client");
		check_round_trip(&packet);

		packet.clean_start = packet.is_bridge = versions[i] != MQTT_V5;
		packet.keep_alive_s = 30;
		packet.has_user_name = packet.has_password = true;
		packet.user_name = SLICE_LITERAL("user");
		packet.password = SLICE_LITERAL("secret");
		packet.has_session_expiry = true;
		packet.session_expiry_s = 3600;
		packet.receive_maximum = 10;
		packet.maximum_packet_size = 1000000;
		packet.topic_alias_maximum = 5;
		packet.request_response_information = true;
		packet.request_problem_information = false;
		packet.has_authentication_method = packet.has_authentication_data = true;
		packet.authentication_method = SLICE_LITERAL("SCRAM");
		packet.authentication_data = SLICE_LITERAL("data");
		packet.user_properties = slice_of(properties, len);
		packet.will.present = packet.will.retain = packet.will.has_message_expiry = true;
		packet.will.qos = 2;
		packet.will.delay_interval_s = 5;
		packet.will.message_expiry_s = 6;
		packet.will.payload_format_indicator = 1;
		packet.will.topic = SLICE_LITERAL("will");
		packet.will.payload = SLICE_LITERAL("gone");
		packet.will.content_type = SLICE_LITERAL("text/plain");
		packet.will.response_topic = SLICE_LITERAL("answer");
		packet.will.correlation_data = SLICE_LITERAL("7");
		packet.will.properties = slice_of(properties, len);
		check_round_trip(&packet);
	}
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(the_smallest_connect_of_each_version_has_the_defaults),
		CASE(will_user_name_and_password_are_read_in_their_order),
		CASE(version_5_properties_are_read),
		CASE(will_properties_are_read_and_those_to_forward_kept_apart),
		CASE(version_5_allows_a_password_without_a_user_name),
		CASE(a_bridge_says_so_with_bit_7_of_its_level),
		CASE(version_3_1_is_lenient_where_it_was_vague),
		CASE(an_unknown_level_is_recognised_with_a_version_to_answer_in),
		CASE(bad_connects_are_refused_with_reason_and_statement),
		CASE(a_remaining_length_that_is_too_long_is_refused_once_the_version_is_known),
		CASE(every_connect_that_is_cut_off_is_refused),
		CASE(what_is_encoded_is_decoded_again_in_every_version),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
