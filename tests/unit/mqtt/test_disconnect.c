/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static enum decode_status decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct decode_error *error)
{
	struct disconnect_packet disconnect;
	struct auth_packet auth;

	if (frame->type == PACKET_AUTH)
		return auth_decode(frame, &auth, error);
	if (frame->type == PACKET_PINGREQ)
		return ping_decode(frame, error);
	return disconnect_decode(frame, version, &disconnect, error);
}

static enum decode_status decode_from_server(const struct packet_frame *frame,
					     enum mqtt_version version, struct decode_error *error)
{
	struct disconnect_packet disconnect;
	struct auth_packet auth;

	(void)version;
	if (frame->type == PACKET_AUTH)
		return auth_decode_from_server(frame, &auth, error);
	return disconnect_decode_from_server(frame, &disconnect, error);
}

static struct disconnect_packet good(const char *body, enum mqtt_version version)
{
	struct packet_frame frame = frame_of(packet_of(0xe0, body), version);
	struct disconnect_packet packet;
	struct decode_error error;

	if (disconnect_decode(&frame, version, &packet, &error) != DECODE_DONE)
		fail_msg("refused: %s (%s)", error.text, error.statement);
	return packet;
}

static void a_disconnect_without_a_body_is_normal(void **state)
{
	(void)state;
	assert_int_equal(good("", MQTT_V31).reason_code, RC_NORMAL_DISCONNECTION);
	assert_int_equal(good("", MQTT_V311).reason_code, RC_NORMAL_DISCONNECTION);
	assert_int_equal(good("", MQTT_V5).reason_code, RC_NORMAL_DISCONNECTION);
	assert_false(good("", MQTT_V5).has_session_expiry);
}

static void version_5_gives_reason_and_properties(void **state)
{
	struct disconnect_packet packet = good("04", MQTT_V5);

	(void)state;
	assert_int_equal(packet.reason_code, RC_DISCONNECT_WITH_WILL);
	packet = good("00 0a 11 0000000a 1f 0002 'ok'", MQTT_V5);
	assert_true(packet.has_session_expiry);
	assert_int_equal(packet.session_expiry_s, 10);
	assert_slice(packet.reason_string, "ok");
}

static void an_auth_gives_method_and_data(void **state)
{
	struct packet_frame frame =
		frame_of(packet_of(0xf0, "18 0c 15 0005 'SCRAM' 16 0001 'x'"), MQTT_V5);
	struct auth_packet packet;
	struct decode_error error;

	(void)state;
	assert_int_equal(auth_decode(&frame, &packet, &error), DECODE_DONE);
	assert_int_equal(packet.reason_code, RC_CONTINUE_AUTHENTICATION);
	assert_slice(packet.authentication_method, "SCRAM");
	assert_true(packet.has_authentication_data);
	assert_slice(packet.authentication_data, "x");
}

static const struct bad_row bad[] = {
	{"a body before version 5", MQTT_V311, 0xe0, "00", 0x81, "3.14"},
	{"an unknown Reason Code", MQTT_V5, 0xe0, "7f", 0x82, "MQTT-3.14.2-1"},
	{"a Reason Code of servers", MQTT_V5, 0xe0, "8b", 0x82, "MQTT-3.14.2-1"},
	{"a Server Reference of a client", MQTT_V5, 0xe0, "00 04 1c 0001 's'", 0x82, "3.14.2.2.5"},
	{"Session Expiry twice", MQTT_V5, 0xe0, "00 0a 1100000001 1100000001", 0x82, "2.2.2.2"},
	{"bytes behind the properties", MQTT_V5, 0xe0, "00 00 00", 0x81, "2.1.4"},
	{"Property Length too long", MQTT_V5, 0xe0, "00 01", 0x81, "MQTT-2.2.2-1"},
	{"a PINGREQ with a body", MQTT_V311, 0xc0, "00", 0x81, "3.12.1"},
	{"an AUTH of a client that says Success", MQTT_V5, 0xf0, "", 0x82, "MQTT-3.15.2-1"},
	{"an AUTH with an unknown Reason Code", MQTT_V5, 0xf0, "1a 00", 0x82, "MQTT-3.15.2-1"},
	{"an AUTH without properties", MQTT_V5, 0xf0, "18", 0x81, "MQTT-2.2.2-1"},
	{"an AUTH without a method", MQTT_V5, 0xf0, "19 04 16 0001 'x'", 0x82, "3.15.2.2.2"},
	{"an AUTH with a method twice", MQTT_V5, 0xf0, "18 08 15 0001 'x' 15 0001 'x'", 0x82,
	 "2.2.2.2"},
	{"an AUTH with bytes left over", MQTT_V5, 0xf0, "18 04 15 0001 'x' 00", 0x81, "2.1.4"},
	{"an AUTH with Session Expiry", MQTT_V5, 0xf0, "18 09 15 0001 'x' 1100000001", 0x81,
	 "2.2.2.2"},
};

static const struct bad_row bad_of_servers[] = {
	{"Disconnect with Will of a server", MQTT_V5, 0xe0, "04", 0x82, "MQTT-3.14.2-1"},
	{"Session Expiry of a server", MQTT_V5, 0xe0, "00 05 1100000001", 0x82, "MQTT-3.14.2-2"},
	{"Re-authenticate of a server", MQTT_V5, 0xf0, "19 04 15 0001 'x'", 0x82, "MQTT-3.15.2-1"},
};

static void bad_packets_are_refused(void **state)
{
	(void)state;
	expect_bad(bad, COUNT_OF(bad), decode);
	expect_bad(bad_of_servers, COUNT_OF(bad_of_servers), decode_from_server);
	expect_cut_off_is_bad(packet_of(0xf0, "18 0c 15 0005 'SCRAM' 16 0001 'x'"), MQTT_V5,
			      SIZE_MAX, decode);
}

static void a_ping_is_two_bytes(void **state)
{
	struct packet_frame frame = frame_of(packet_of(0xc0, ""), MQTT_V311);
	struct decode_error error;
	uint8_t out[PING_BYTES];

	(void)state;
	assert_int_equal(ping_decode(&frame, &error), DECODE_DONE);
	assert_int_equal(pingreq_encode(out), 2);
	assert_memory_equal(out, "\xc0\x00", 2);
	assert_int_equal(pingresp_encode(out), 2);
	assert_memory_equal(out, "\xd0\x00", 2);
}

static struct slice disconnect(enum mqtt_version version, const struct disconnect_packet *packet)
{
	size_t size = disconnect_encoded_size(version, packet);
	uint8_t *out = exact_room(size);

	assert_int_equal(disconnect_encode(out, version, packet), size);
	return slice_of(out, size);
}

static void a_disconnect_is_as_short_as_it_can_be(void **state)
{
	struct disconnect_packet packet = {0};

	(void)state;
	assert_true(slice_equal(disconnect(MQTT_V5, &packet), bytes_of("e0 00")));
	packet.reason_code = RC_SERVER_SHUTTING_DOWN;
	assert_true(slice_equal(disconnect(MQTT_V5, &packet), bytes_of("e0 01 8b")));
	assert_true(slice_equal(disconnect(MQTT_V311, &packet), bytes_of("e0 00")));
	packet.reason_string = SLICE_LITERAL("bye");
	packet.server_reference = SLICE_LITERAL("b");
	assert_true(slice_equal(disconnect(MQTT_V5, &packet),
				bytes_of("e0 0c 8b 0a 1f 0003 'bye' 1c 0001 'b'")));
}

static void what_is_encoded_is_decoded_again(void **state)
{
	struct disconnect_packet packet = {.has_session_expiry = true, .session_expiry_s = 9};
	struct packet_frame frame = frame_of(disconnect(MQTT_V5, &packet), MQTT_V5);
	struct auth_packet auth = {
		.reason_code = RC_CONTINUE_AUTHENTICATION,
		.authentication_method = SLICE_LITERAL("SCRAM"),
		.has_authentication_data = true,
		.reason_string = SLICE_LITERAL("more"),
	};
	size_t size = auth_encoded_size(&auth);
	uint8_t *out = exact_room(size);
	struct disconnect_packet again;
	struct auth_packet auth_again;
	struct decode_error error;

	(void)state;
	assert_int_equal(disconnect_decode(&frame, MQTT_V5, &again, &error), DECODE_DONE);
	assert_int_equal(again.session_expiry_s, 9);
	assert_int_equal(auth_encode(out, &auth), size);
	frame = frame_of(slice_of(out, size), MQTT_V5);
	assert_int_equal(auth_decode_from_server(&frame, &auth_again, &error), DECODE_DONE);
	assert_slice(auth_again.authentication_method, "SCRAM");
	assert_slice(auth_again.reason_string, "more");
	assert_true(auth_again.has_authentication_data);
	assert_int_equal(auth_again.authentication_data.len, 0);
}

static void an_empty_auth_of_a_server_is_success(void **state)
{
	struct packet_frame frame = frame_of(packet_of(0xf0, ""), MQTT_V5);
	struct auth_packet packet;
	struct decode_error error;

	(void)state;
	assert_int_equal(auth_decode_from_server(&frame, &packet, &error), DECODE_DONE);
	assert_int_equal(packet.reason_code, RC_SUCCESS);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(a_disconnect_without_a_body_is_normal),
		CASE(version_5_gives_reason_and_properties),
		CASE(an_auth_gives_method_and_data),
		CASE(bad_packets_are_refused),
		CASE(a_ping_is_two_bytes),
		CASE(a_disconnect_is_as_short_as_it_can_be),
		CASE(what_is_encoded_is_decoded_again),
		CASE(an_empty_auth_of_a_server_is_success),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
