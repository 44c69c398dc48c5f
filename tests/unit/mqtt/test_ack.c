/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static enum decode_status decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct decode_error *error)
{
	struct ack_packet packet;

	return ack_decode(frame, version, &packet, error);
}

static struct ack_packet good(uint8_t first, const char *body, enum mqtt_version version)
{
	struct packet_frame frame = frame_of(packet_of(first, body), version);
	struct ack_packet packet;
	struct decode_error error;

	if (ack_decode(&frame, version, &packet, &error) != DECODE_DONE)
		fail_msg("refused: %s (%s)", error.text, error.statement);
	return packet;
}

static const uint8_t firsts[] = {0x40, 0x50, 0x62, 0x70};

static void a_packet_id_alone_means_success(void **state)
{
	static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(firsts); i++)
		for (size_t v = 0; v < COUNT_OF(versions); v++) {
			struct ack_packet packet = good(firsts[i], "1234", versions[v]);

			assert_int_equal(packet.packet_id, 0x1234);
			assert_int_equal(packet.reason_code, RC_SUCCESS);
		}
}

static void version_5_adds_a_reason_code_and_properties(void **state)
{
	struct ack_packet packet = good(0x40, "0001 87", MQTT_V5);
	struct slice name, value;

	(void)state;
	assert_int_equal(packet.reason_code, RC_NOT_AUTHORIZED);
	packet = good(0x50, "0001 10 00", MQTT_V5);
	assert_int_equal(packet.reason_code, RC_NO_MATCHING_SUBSCRIBERS);
	packet = good(0x62, "0001 92 0c 1f 0002 'no' 26 0001 'k' 0001 'v'", MQTT_V5);
	assert_int_equal(packet.reason_code, RC_PACKET_IDENTIFIER_NOT_FOUND);
	assert_slice(packet.reason_string, "no");
	assert_true(user_property_next(&packet.user_properties, &name, &value));
	assert_slice(name, "k");
}

static const struct bad_row bad[] = {
	{"no packet id", MQTT_V311, 0x40, "", 0x81, "2.2.1"},
	{"half a packet id", MQTT_V5, 0x50, "01", 0x81, "2.2.1"},
	{"packet id 0", MQTT_V5, 0x70, "0000", 0x82, "MQTT-2.2.1-3"},
	{"a Reason Code before version 5", MQTT_V311, 0x40, "0001 00", 0x81, "2.1.4"},
	{"a code that PUBACK does not have", MQTT_V5, 0x40, "0001 92", 0x82, "MQTT-3.4.2-1"},
	{"a code that PUBREC does not have", MQTT_V5, 0x50, "0001 04", 0x82, "MQTT-3.5.2-1"},
	{"a code that PUBREL does not have", MQTT_V5, 0x62, "0001 80", 0x82, "MQTT-3.6.2-1"},
	{"a code that PUBCOMP does not have", MQTT_V5, 0x70, "0001 10", 0x82, "MQTT-3.7.2-1"},
	{"Property Length too long", MQTT_V5, 0x40, "0001 00 01", 0x81, "MQTT-2.2.2-1"},
	{"bytes behind the properties", MQTT_V5, 0x40, "0001 00 00 00", 0x81, "2.1.4"},
	{"Reason String twice", MQTT_V5, 0x62, "0001 00 06 1f0000 1f0000", 0x82, "2.2.2.2"},
	{"a property of PUBLISH", MQTT_V5, 0x40, "0001 00 03 230001", 0x81, "2.2.2.2"},
};

static void bad_acknowledgements_are_refused(void **state)
{
	(void)state;
	expect_bad(bad, COUNT_OF(bad), decode);
	expect_cut_off_is_bad(packet_of(0x40, "0001 87 05 1f 0002 'no'"), MQTT_V5, 2, decode);
}

static void what_is_encoded_is_decoded_again(void **state)
{
	uint8_t properties[32];
	size_t len = user_property_encode(properties, SLICE_LITERAL("k"), SLICE_LITERAL("v"));
	struct ack_packet packets[] = {
		{.packet_id = 1},
		{.packet_id = 2, .reason_code = RC_PACKET_IDENTIFIER_NOT_FOUND},
		{.packet_id = 3, .reason_string = SLICE_LITERAL("why")},
		{.packet_id = 4, .user_properties = slice_of(properties, len)},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(packets); i++) {
		size_t size = ack_encoded_size(MQTT_V5, &packets[i]);
		uint8_t *out = exact_room(size);
		struct packet_frame frame;
		struct ack_packet again;
		struct decode_error error;

		assert_int_equal(ack_encode(out, MQTT_V5, PACKET_PUBREL, &packets[i]), size);
		frame = frame_of(slice_of(out, size), MQTT_V5);
		assert_int_equal(ack_decode(&frame, MQTT_V5, &again, &error), DECODE_DONE);
		assert_int_equal(again.packet_id, packets[i].packet_id);
		assert_int_equal(again.reason_code, packets[i].reason_code);
		assert_true(slice_equal(again.reason_string, packets[i].reason_string));
		assert_int_equal(again.user_properties.len, packets[i].user_properties.len);
		assert_int_equal(ack_encoded_size(MQTT_V311, &packets[i]), 4);
	}
}

static void the_brief_form_is_that_of_the_specification(void **state)
{
	uint8_t out[ACK_BRIEF_BYTES];

	(void)state;
	assert_int_equal(ack_encode_success(out, PACKET_PUBACK, 0x0102), 4);
	assert_memory_equal(out, "\x40\x02\x01\x02", 4);
	ack_encode_success(out, PACKET_PUBREL, 0x0102);
	assert_memory_equal(out, "\x62\x02\x01\x02", 4);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(a_packet_id_alone_means_success),
		CASE(version_5_adds_a_reason_code_and_properties),
		CASE(bad_acknowledgements_are_refused),
		CASE(what_is_encoded_is_decoded_again),
		CASE(the_brief_form_is_that_of_the_specification),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
