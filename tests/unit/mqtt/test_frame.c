/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static enum decode_status decode(const char *bytes, enum mqtt_version version,
				 struct packet_frame *out, struct decode_error *error)
{
	return packet_frame_decode(bytes_of(bytes), version, out, error);
}

static void a_frame_gives_type_flags_and_body(void **state)
{
	struct packet_frame frame;
	struct decode_error error;

	(void)state;
	assert_int_equal(decode("3b 03 0001 'a' ffff", MQTT_V311, &frame, &error), DECODE_DONE);
	assert_int_equal(frame.type, PACKET_PUBLISH);
	assert_int_equal(frame.flags, 0x0b);
	assert_int_equal(frame.body.len, 3);
	assert_int_equal(frame.total_len, 5);
	assert_int_equal(decode("c0 00", MQTT_V5, &frame, &error), DECODE_DONE);
	assert_int_equal(frame.type, PACKET_PINGREQ);
	assert_int_equal(frame.total_len, 2);
}

static void the_total_length_is_known_before_the_body_is_there(void **state)
{
	struct packet_frame frame;
	struct decode_error error;

	(void)state;
	assert_int_equal(decode("30", MQTT_V5, &frame, &error), DECODE_NEED_MORE);
	assert_int_equal(frame.total_len, 0);
	assert_int_equal(frame.type, PACKET_PUBLISH);
	assert_int_equal(decode("30 ffffff", MQTT_V5, &frame, &error), DECODE_NEED_MORE);
	assert_int_equal(frame.total_len, 0);
	assert_int_equal(decode("30 ffffff7f", MQTT_V5, &frame, &error), DECODE_NEED_MORE);
	assert_int_equal(frame.total_len, 5 + VARINT_MAX);
	assert_int_equal(decode("", MQTT_V5, &frame, &error), DECODE_NEED_MORE);
	assert_int_equal(frame.total_len, 0);
}

static void what_is_behind_a_packet_is_found_or_nothing(void **state)
{
	static const struct {
		const char *bytes;
		size_t left;
	} rows[] = {
		{"", 0},
		{"c0", 0},
		{"c0 00", 0},
		{"c0 00 c0", 1},
		{"30 03 000000 c0 00", 2},
		{"30 03 0000", 0},
		{"30 80", 0},
		{"30 8000 c000", 2},
		{"30 ffffffff 01 00", 0},
		{"30 ffffff7f 00", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice bytes = bytes_of(rows[i].bytes);
		struct slice behind = packet_frame_skip(bytes);

		assert_int_equal(behind.len, rows[i].left);
		if (behind.len)
			assert_ptr_equal(behind.data + behind.len, bytes.data + bytes.len);
	}
}

static void remaining_lengths_of_two_three_and_four_bytes_are_read(void **state)
{
	static const struct {
		uint8_t header[5];
		size_t header_len;
		size_t body_len;
	} rows[] = {
		{{0x30, 0x7f}, 2, 127},
		{{0x30, 0x80, 0x01}, 3, 128},
		{{0x30, 0xff, 0x7f}, 3, 16383},
		{{0x30, 0x80, 0x80, 0x01}, 4, 16384},
		{{0x30, 0x80, 0x80, 0x80, 0x01}, 5, 2097152},
	};
	uint8_t *bytes = calloc(1, 2097152 + 5);
	struct packet_frame frame;
	struct decode_error error;

	(void)state;
	assert_non_null(bytes);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		size_t total = rows[i].header_len + rows[i].body_len;

		memcpy(bytes, rows[i].header, rows[i].header_len);
		assert_int_equal(packet_frame_decode(slice_of(bytes, total), MQTT_V5, &frame,
						     &error),
				 DECODE_DONE);
		assert_int_equal(frame.body.len, rows[i].body_len);
		assert_ptr_equal(frame.body.data, bytes + rows[i].header_len);
		assert_int_equal(packet_frame_decode(slice_of(bytes, total - 1), MQTT_V5, &frame,
						     &error),
				 DECODE_NEED_MORE);
		assert_int_equal(frame.total_len, total);
	}
	free(bytes);
}

struct row {
	const char *sentence;
	enum mqtt_version version;
	const char *bytes;
	const char *statement; /* NULL: accepted */
};

static const struct row rows[] = {
	{"type 0 is reserved", MQTT_V5, "00 00", "2.1.2"},
	{"AUTH is reserved in 3.1.1", MQTT_V311, "f0 00", "2.1.2"},
	{"AUTH is reserved in 3.1", MQTT_V31, "f0 00", "2.1.2"},
	{"AUTH exists in 5", MQTT_V5, "f0 00", NULL},
	{"a length of five bytes is refused", MQTT_V5, "30 80808080 01", "1.5.5"},
	{"it is refused as soon as it is seen", MQTT_V311, "30 ffffffff", "1.5.5"},
	{"a length longer than it need be is refused in 5", MQTT_V5, "c0 8000", "MQTT-1.5.5-1"},
	{"3.1.1 does not forbid it", MQTT_V311, "c0 8000", NULL},
	{"before CONNECT it is let pass", MQTT_VERSION_NONE, "10 8000", NULL},
	{"CONNECT has no flags", MQTT_VERSION_NONE, "11 00", "MQTT-2.1.3-1"},
	{"PUBACK has no flags", MQTT_V5, "42 02 0001", "MQTT-2.1.3-1"},
	{"PUBREC has no flags", MQTT_V311, "52 02 0001", "MQTT-2.1.3-1"},
	{"PUBREL has flags 2", MQTT_V5, "60 02 0001", "MQTT-3.6.1-1"},
	{"PUBREL with 2 is accepted", MQTT_V5, "62 02 0001", NULL},
	{"PUBREL may be a duplicate in 3.1", MQTT_V31, "6a 02 0001", NULL},
	{"PUBCOMP has no flags", MQTT_V5, "71 02 0001", "MQTT-2.1.3-1"},
	{"SUBSCRIBE has flags 2", MQTT_V311, "80 00", "MQTT-3.8.1-1"},
	{"SUBSCRIBE may be a duplicate in 3.1", MQTT_V31, "8a 00", NULL},
	{"UNSUBSCRIBE has flags 2", MQTT_V5, "a3 00", "MQTT-3.10.1-1"},
	{"PINGREQ has no flags", MQTT_V5, "c1 00", "MQTT-2.1.3-1"},
	{"DISCONNECT has no flags", MQTT_V5, "e8 00", "MQTT-3.14.1-1"},
	{"AUTH has no flags", MQTT_V5, "f1 00", "MQTT-3.15.1-1"},
	{"flags are judged before the length is there", MQTT_V5, "61", "MQTT-3.6.1-1"},
	{"PUBLISH may have any flags here", MQTT_V5, "3f 00", NULL},
};

static void fixed_headers_follow_section_2_1(void **state)
{
	struct packet_frame frame;
	struct decode_error error = {0, NULL, NULL};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum decode_status status = decode(rows[i].bytes, rows[i].version, &frame, &error);

		if (!rows[i].statement) {
			ROW_ASSERT(rows[i].sentence, status == DECODE_DONE);
			continue;
		}
		ROW_ASSERT(rows[i].sentence, status == DECODE_BAD);
		ROW_ASSERT(rows[i].sentence, error.reason_code == RC_MALFORMED_PACKET);
		ROW_ASSERT(rows[i].sentence, strcmp(error.statement, rows[i].statement) == 0);
	}
}

static void reason_codes_know_their_packets_and_words(void **state)
{
	(void)state;
	assert_string_equal(reason_code_text(RC_SESSION_TAKEN_OVER), "Session taken over");
	assert_string_equal(reason_code_text(0x7f), "unknown Reason Code");
	assert_true(reason_code_is_allowed(RC_SUCCESS, PACKET_CONNACK));
	assert_true(reason_code_is_allowed(RC_QUOTA_EXCEEDED, PACKET_PUBREC));
	assert_false(reason_code_is_allowed(RC_SESSION_TAKEN_OVER, PACKET_CONNACK));
	assert_false(reason_code_is_allowed(RC_GRANTED_QOS_1, PACKET_UNSUBACK));
	assert_false(reason_code_is_allowed(0x7f, PACKET_CONNACK));
	assert_true(reason_code_is_error(0x80));
	assert_false(reason_code_is_error(RC_NO_MATCHING_SUBSCRIBERS));
}

static void reason_codes_become_the_return_codes_of_mqtt_3(void **state)
{
	(void)state;
	assert_int_equal(reason_code_to_connect_return_code(RC_SUCCESS), 0);
	assert_int_equal(reason_code_to_connect_return_code(RC_UNSUPPORTED_PROTOCOL_VERSION), 1);
	assert_int_equal(reason_code_to_connect_return_code(RC_CLIENT_IDENTIFIER_NOT_VALID), 2);
	assert_int_equal(reason_code_to_connect_return_code(RC_SERVER_UNAVAILABLE), 3);
	assert_int_equal(reason_code_to_connect_return_code(RC_BAD_USER_NAME_OR_PASSWORD), 4);
	assert_int_equal(reason_code_to_connect_return_code(RC_NOT_AUTHORIZED), 5);
	assert_int_equal(reason_code_to_connect_return_code(RC_MALFORMED_PACKET),
			 CONNECT_RETURN_NONE);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(a_frame_gives_type_flags_and_body),
		CASE(the_total_length_is_known_before_the_body_is_there),
		CASE(what_is_behind_a_packet_is_found_or_nothing),
		CASE(remaining_lengths_of_two_three_and_four_bytes_are_read),
		CASE(fixed_headers_follow_section_2_1),
		CASE(reason_codes_know_their_packets_and_words),
		CASE(reason_codes_become_the_return_codes_of_mqtt_3),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
