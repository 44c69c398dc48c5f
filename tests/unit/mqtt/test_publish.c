/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "mqtt/publish_brief.h"

static enum decode_status decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct decode_error *error)
{
	struct publish_packet packet;

	return publish_decode(frame, version, &packet, error);
}

static struct publish_packet good(uint8_t first, const char *body, enum mqtt_version version)
{
	struct packet_frame frame = frame_of(packet_of(first, body), version);
	struct publish_packet packet;
	struct decode_error error;

	if (publish_decode(&frame, version, &packet, &error) != DECODE_DONE)
		fail_msg("refused: %s (%s)", error.text, error.statement);
	return packet;
}

static void publish_at_qos_0_has_topic_and_payload(void **state)
{
	struct publish_packet packet = good(0x31, "0003 'a/b' 'hello'", MQTT_V311);

	(void)state;
	assert_slice(packet.topic, "a/b");
	assert_slice(packet.payload, "hello");
	assert_int_equal(packet.qos, 0);
	assert_int_equal(packet.packet_id, 0);
	assert_true(packet.retain);
	assert_false(packet.dup);
	assert_int_equal(packet.forward.len, 0);
}

static void publish_at_qos_2_has_a_packet_id_and_may_be_a_duplicate(void **state)
{
	struct publish_packet packet = good(0x3c, "0001 'a' 1234 'x'", MQTT_V31);

	(void)state;
	assert_int_equal(packet.qos, 2);
	assert_int_equal(packet.packet_id, 0x1234);
	assert_true(packet.dup);
	assert_false(packet.retain);
	assert_slice(packet.payload, "x");
}

static void an_empty_payload_is_a_payload(void **state)
{
	struct publish_packet packet = good(0x30, "0001 'a' 00", MQTT_V5);

	(void)state;
	assert_int_equal(packet.payload.len, 0);
	assert_slice(packet.topic, "a");
}

static void version_5_properties_are_read(void **state)
{
	struct publish_packet packet =
		good(0x32,
		     "0001 'a' 0007 27 0101 02 0000003c 03 0002 'ct' 08 0002 'rt' 09 0003 010203 "
		     "23 0005 26 0001 'k' 0001 'v' 26 0001 'k' 0000 'data'",
		     MQTT_V5);
	uint8_t forwarded[64];
	struct slice rest, name, value;

	(void)state;
	assert_int_equal(packet.packet_id, 7);
	assert_int_equal(packet.payload_format_indicator, 1);
	assert_true(packet.has_message_expiry);
	assert_int_equal(packet.message_expiry_s, 60);
	assert_slice(packet.content_type, "ct");
	assert_slice(packet.response_topic, "rt");
	assert_int_equal(packet.correlation_data.len, 3);
	assert_int_equal(packet.topic_alias, 5);
	assert_slice(packet.payload, "data");
	assert_false(packet.forward.is_run);
	assert_int_equal(packet.forward.len, 2 + 5 + 5 + 6 + 7 + 6);
	assert_int_equal(forward_properties_copy(&packet.forward, forwarded), packet.forward.len);
	rest = slice_of(forwarded, packet.forward.len);
	assert_true(user_property_next(&rest, &name, &value));
	assert_slice(name, "k");
	assert_slice(value, "v");
	assert_true(user_property_next(&rest, &name, &value));
	assert_int_equal(value.len, 0);
	assert_false(user_property_next(&rest, &name, &value));
}

static void properties_that_are_all_forwarded_are_a_view(void **state)
{
	struct publish_packet packet =
		good(0x30, "0001 'a' 0c 26 0001 'k' 0001 'v' 03 0002 'ct' 'x'", MQTT_V5);
	uint8_t forwarded[12];

	(void)state;
	assert_true(packet.forward.is_run);
	assert_int_equal(packet.forward.len, sizeof forwarded);
	assert_ptr_equal(packet.forward.source.data, packet.properties.data);
	assert_int_equal(forward_properties_copy(&packet.forward, forwarded), sizeof forwarded);
	assert_memory_equal(forwarded, packet.properties.data, sizeof forwarded);
}

static void forwarded_properties_behind_an_alias_are_still_one_view(void **state)
{
	struct publish_packet packet =
		good(0x30, "0001 'a' 0f 23 0001 26 0001 'k' 0001 'v' 02 00000001 'x'", MQTT_V5);

	(void)state;
	assert_true(packet.forward.is_run);
	assert_int_equal(packet.forward.len, 7);
	assert_ptr_equal(packet.forward.source.data, packet.properties.data + 3);
}

static void an_alias_may_stand_for_the_topic(void **state)
{
	struct publish_packet packet = good(0x30, "0000 03 23 000a 'x'", MQTT_V5);

	(void)state;
	assert_int_equal(packet.topic.len, 0);
	assert_int_equal(packet.topic_alias, 10);
}

static const struct bad_row bad[] = {
	{"QoS 3", MQTT_V311, 0x36, "0001 'a' 0001", 0x81, "MQTT-3.3.1-4"},
	{"DUP at QoS 0", MQTT_V311, 0x38, "0001 'a'", 0x81, "MQTT-3.3.1-2"},
	{"no topic", MQTT_V311, 0x30, "", 0x81, "MQTT-3.3.2-1"},
	{"topic cut off", MQTT_V311, 0x30, "0002 'a'", 0x81, "MQTT-3.3.2-1"},
	{"topic with plus", MQTT_V311, 0x30, "0003 'a/+'", 0x81, "MQTT-3.3.2-2"},
	{"topic with hash", MQTT_V5, 0x30, "0003 'a/#' 00", 0x81, "MQTT-3.3.2-2"},
	{"topic with null", MQTT_V5, 0x30, "0003 'a' 00 'b' 00", 0x81, "MQTT-3.3.2-2"},
	{"topic that is not UTF-8", MQTT_V31, 0x30, "0002 c328", 0x81, "MQTT-3.3.2-2"},
	{"empty topic in 3.1.1", MQTT_V311, 0x30, "0000 'x'", 0x81, "MQTT-4.7.3-1"},
	{"empty topic without alias", MQTT_V5, 0x30, "0000 00 'x'", 0x82, "MQTT-4.7.3-1"},
	{"packet id 0", MQTT_V311, 0x32, "0001 'a' 0000", 0x82, "MQTT-2.2.1-3"},
	{"packet id cut off", MQTT_V311, 0x32, "0001 'a' 01", 0x81, "3.3.2.2"},
	{"no Property Length", MQTT_V5, 0x30, "0001 'a'", 0x81, "MQTT-2.2.2-1"},
	{"Property Length too long", MQTT_V5, 0x30, "0001 'a' 05 0101", 0x81, "MQTT-2.2.2-1"},
	{"Property Length of five bytes", MQTT_V5, 0x30, "0001 'a' 8080808001", 0x81,
	 "MQTT-2.2.2-1"},
	{"Property Length longer than need be", MQTT_V5, 0x30, "0001 'a' 8000", 0x81,
	 "MQTT-2.2.2-1"},
	{"unknown property", MQTT_V5, 0x30, "0001 'a' 02 0401", 0x81, "2.2.2.2"},
	{"property above the last", MQTT_V5, 0x30, "0001 'a' 02 7f01", 0x81, "2.2.2.2"},
	{"property of another packet", MQTT_V5, 0x30, "0001 'a' 05 1100000001", 0x81, "2.2.2.2"},
	{"property cut off", MQTT_V5, 0x30, "0001 'a' 03 020000 'xx'", 0x81, "2.2.2.2"},
	{"string property cut off", MQTT_V5, 0x30, "0001 'a' 04 03 0005 'x' 'xxxx'", 0x81,
	 "2.2.2.2"},
	{"expiry twice", MQTT_V5, 0x30, "0001 'a' 0a 0200000001 0200000001", 0x82, "2.2.2.2"},
	{"format indicator 2", MQTT_V5, 0x30, "0001 'a' 02 0102", 0x82, "2.2.2.2"},
	{"alias 0", MQTT_V5, 0x30, "0001 'a' 03 230000", 0x94, "MQTT-3.3.2-8"},
	{"alias twice", MQTT_V5, 0x30, "0001 'a' 06 230001 230001", 0x82, "2.2.2.2"},
	{"Subscription Identifier of a client", MQTT_V5, 0x30, "0001 'a' 02 0b01", 0x82,
	 "MQTT-3.3.4-6"},
	{"Response Topic with wildcard", MQTT_V5, 0x30, "0001 'a' 06 08 0003 'a/+'", 0x81,
	 "MQTT-3.3.2-14"},
	{"Response Topic that is empty", MQTT_V5, 0x30, "0001 'a' 03 08 0000", 0x81,
	 "MQTT-3.3.2-14"},
	{"Content Type that is not UTF-8", MQTT_V5, 0x30, "0001 'a' 04 03 0001 ff", 0x81,
	 "MQTT-1.5.4-1"},
	{"User Property name that is not UTF-8", MQTT_V5, 0x30, "0001 'a' 06 26 0001 ff 0000", 0x81,
	 "MQTT-1.5.7-1"},
	{"User Property value with null", MQTT_V5, 0x30, "0001 'a' 06 26 0000 0001 00", 0x81,
	 "MQTT-1.5.7-1"},
};

static void bad_publishes_are_refused_with_reason_and_statement(void **state)
{
	(void)state;
	expect_bad(bad, COUNT_OF(bad), decode);
}

static void a_publish_cut_off_before_its_payload_is_refused(void **state)
{
	struct slice packet =
		packet_of(0x32, "0003 'a/b' 0001 0e 02 00000001 23 0001 03 0003 'ctx' 'payload'");

	(void)state;
	expect_cut_off_is_bad(packet, MQTT_V5, 3 + 2 + 2 + 1 + 14, decode);
}

static void a_servers_publish_may_have_several_subscription_identifiers(void **state)
{
	struct packet_frame frame =
		frame_of(packet_of(0x30, "0001 'a' 05 0b01 0b8101 'x'"), MQTT_V5);
	struct publish_packet packet;
	struct decode_error error;

	(void)state;
	assert_int_equal(publish_decode_from_server(&frame, MQTT_V5, &packet, &error), DECODE_DONE);
	assert_int_equal(packet.subscription_identifier, 1);
	assert_slice(packet.payload, "x");
}

static struct slice encoded(const struct publish_encoding *publish)
{
	size_t size = publish_encoded_size(publish);
	uint8_t *out = exact_room(size);

	assert_true(size > 0);
	assert_int_equal(publish_encode(out, publish), size);
	return slice_of(out, size);
}

static void what_is_encoded_is_decoded_again(void **state)
{
	static const uint32_t identifiers[] = {1, 300, VARINT_MAX};
	uint8_t forward[32];
	struct publish_encoding publish = {
		.version = MQTT_V5,
		.dup = true,
		.retain = true,
		.qos = 1,
		.packet_id = 0xfffe,
		.topic = SLICE_LITERAL("plant/line1"),
		.payload = SLICE_LITERAL("21.5"),
		.topic_alias = 9,
		.has_message_expiry = true,
		.message_expiry_s = 77,
		.subscription_identifiers = identifiers,
		.subscription_identifier_count = COUNT_OF(identifiers),
	};
	struct packet_frame frame;
	struct publish_packet packet;
	struct decode_error error;

	(void)state;
	publish.forward_properties =
		slice_of(forward,
			 user_property_encode(forward, SLICE_LITERAL("k"), SLICE_LITERAL("v")));
	assert_int_equal(publish.forward_properties.len,
			 user_property_encoded_size(SLICE_LITERAL("k"), SLICE_LITERAL("v")));
	frame = frame_of(encoded(&publish), MQTT_V5);
	assert_int_equal(publish_decode_from_server(&frame, MQTT_V5, &packet, &error), DECODE_DONE);
	assert_slice(packet.topic, "plant/line1");
	assert_slice(packet.payload, "21.5");
	assert_true(packet.dup && packet.retain && packet.qos == 1);
	assert_int_equal(packet.packet_id, 0xfffe);
	assert_int_equal(packet.topic_alias, 9);
	assert_int_equal(packet.message_expiry_s, 77);
	assert_int_equal(packet.subscription_identifier, 1);
	assert_true(packet.forward.is_run);
	assert_true(slice_equal(packet.forward.source, publish.forward_properties));

	publish.version = MQTT_V311;
	frame = frame_of(encoded(&publish), MQTT_V311);
	assert_int_equal(publish_decode(&frame, MQTT_V311, &packet, &error), DECODE_DONE);
	assert_slice(packet.topic, "plant/line1");
	assert_slice(packet.payload, "21.5");
	assert_int_equal(frame.body.len, 2 + 11 + 2 + 4);
}

static void the_topic_is_left_out_for_a_known_alias_in_version_5_only(void **state)
{
	struct publish_encoding publish = {
		.version = MQTT_V5,
		.topic = SLICE_LITERAL("a/b"),
		.topic_alias = 2,
		.omit_topic = true,
		.payload = SLICE_LITERAL("x"),
	};
	struct packet_frame frame = frame_of(encoded(&publish), MQTT_V5);
	struct publish_packet packet;
	struct decode_error error;

	(void)state;
	assert_int_equal(publish_decode(&frame, MQTT_V5, &packet, &error), DECODE_DONE);
	assert_int_equal(packet.topic.len, 0);
	assert_int_equal(packet.topic_alias, 2);
	publish.version = MQTT_V311;
	frame = frame_of(encoded(&publish), MQTT_V311);
	assert_int_equal(publish_decode(&frame, MQTT_V311, &packet, &error), DECODE_DONE);
	assert_slice(packet.topic, "a/b");
}

static void the_bytes_of_a_publish_are_those_of_the_specification(void **state)
{
	struct publish_encoding publish = {
		.version = MQTT_V311,
		.topic = SLICE_LITERAL("a/b"),
		.payload = SLICE_LITERAL("x"),
		.qos = 1,
		.packet_id = 10,
		.retain = true,
	};

	(void)state;
	assert_true(slice_equal(encoded(&publish), bytes_of("33 08 0003 'a/b' 000a 'x'")));
	publish.version = MQTT_V5;
	assert_true(slice_equal(encoded(&publish), bytes_of("33 09 0003 'a/b' 000a 00 'x'")));
}

/* Around the sizes where the Remaining Length grows by a byte. */
static void sizes_are_right_where_the_remaining_length_grows(void **state)
{
	static const size_t lengths[] = {0,   100,   123,   124,   125,	  126,	 127,
					 128, 16378, 16379, 16380, 16381, 16384, 70000};
	uint8_t *payload = calloc(1, 70000);

	(void)state;
	assert_non_null(payload);
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		struct publish_encoding publish = {
			.version = MQTT_V5,
			.topic = SLICE_LITERAL("t"),
			.payload = slice_of(payload, lengths[i]),
		};
		struct slice packet = encoded(&publish);
		struct packet_frame frame;
		struct decode_error error;

		assert_int_equal(packet_frame_decode(packet, MQTT_V5, &frame, &error), DECODE_DONE);
		assert_int_equal(frame.total_len, packet.len);
		assert_int_equal(frame.body.len, 4 + lengths[i]);
	}
	free(payload);
}

static void a_packet_beyond_the_protocol_has_no_size(void **state)
{
	uint8_t byte = 0;
	struct publish_encoding publish = {
		.version = MQTT_V5,
		.topic = SLICE_LITERAL("t"),
		.payload = slice_of(&byte, VARINT_MAX),
	};

	(void)state;
	assert_int_equal(publish_encoded_size(&publish), 0);
	publish.payload.len = VARINT_MAX - 4;
	assert_int_equal(publish_encoded_size(&publish), (size_t)VARINT_MAX + 5);
	publish.topic = slice_of(&byte, 65536);
	assert_int_equal(publish_encoded_size(&publish), 0);
}

static void the_header_alone_is_what_stands_before_the_payload(void **state)
{
	struct publish_encoding publish = {
		.version = MQTT_V5,
		.topic = SLICE_LITERAL("a/b"),
		.payload = SLICE_LITERAL("payload"),
	};
	struct slice whole = encoded(&publish);
	uint8_t header[64];
	size_t len = publish_encode_header(header, &publish);

	(void)state;
	assert_int_equal(len, whole.len - 7);
	assert_memory_equal(header, whole.data, len);
}

static void only_the_topic_of_a_whole_retained_publish_is_peeked_at(void **state)
{
	static const struct {
		const char *bytes, *topic;
	} rows[] = {
		{"31 05 0003 'a/b'", "a/b"},
		{"3b 07 0003 'a/b' 0001", "a/b"},
		{"31 8001 0003 'a/b' 00", "a/b"},
		{"30 05 0003 'a/b'", NULL},
		{"31 05 0003 'a/'", NULL},
		{"31 80808001 0003 'a/b'", "a/b"},
		{"31 8080808001 0003 'a/b'", NULL},
		{"31 02 0000", NULL},
		{"31 05 00", NULL},
		{"c0 00", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice topic = publish_peek_retained(bytes_of(rows[i].bytes));

		assert_true(rows[i].topic ? slice_equal_string(topic, rows[i].topic)
					  : topic.len == 0);
	}
}

/* Around the sizes where the Remaining Length grows by a byte. */
static const size_t payload_lengths[] = {0,	1,     100,   117,   118,   119,   120,
					 121,	122,   123,   124,   16370, 16375, 16376,
					 16377, 16378, 16379, 16380, 70000};

static void assert_brief_is_the_same(enum mqtt_version version, uint8_t qos, unsigned flags,
				     struct slice payload)
{
	struct publish_brief brief = {
		.version = version,
		.qos = qos,
		.dup = (flags & 1) != 0,
		.retain = (flags & 2) != 0,
		.packet_id = 0x1234,
		.topic = bytes_of("0003 'a/b'"),
		.payload = payload,
	};
	struct publish_encoding publish = {
		.version = version,
		.qos = qos,
		.dup = brief.dup,
		.retain = brief.retain,
		.packet_id = brief.packet_id,
		.topic = SLICE_LITERAL("a/b"),
		.payload = payload,
	};
	struct slice packet = encoded(&publish);
	uint8_t *out = malloc(packet.len);

	assert_non_null(out);
	assert_int_equal(publish_brief_size(&brief), packet.len);
	assert_int_equal(publish_brief_encode(out, &brief), packet.len);
	assert_memory_equal(out, packet.data, packet.len);
	free(out);
}

static void a_brief_publish_is_encoded_as_any_other(void **state)
{
	static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};
	uint8_t *payload = calloc(1, 70000);

	(void)state;
	assert_non_null(payload);
	for (size_t v = 0; v < COUNT_OF(versions); v++)
		for (uint8_t qos = 0; qos <= 2; qos++)
			for (unsigned flags = 0; flags < 4; flags++)
				for (size_t i = 0; i < COUNT_OF(payload_lengths); i++)
					assert_brief_is_the_same(versions[v], qos, flags,
								 slice_of(payload,
									  payload_lengths[i]));
	free(payload);
}

static void a_brief_publish_beyond_the_protocol_has_no_size(void **state)
{
	struct publish_brief brief = {
		.version = MQTT_V5,
		.qos = 1,
		.topic = bytes_of("0001 't'"),
		.payload = {NULL, VARINT_MAX - 6},
	};

	(void)state;
	assert_int_equal(publish_brief_size(&brief), (size_t)VARINT_MAX + 5);
	brief.payload.len++;
	assert_int_equal(publish_brief_size(&brief), 0);
	brief.version = MQTT_V311;
	assert_int_equal(publish_brief_size(&brief), (size_t)VARINT_MAX + 5);
}

static enum decode_status decode_again(const char *body, struct slice valid,
				       struct publish_packet *out)
{
	struct packet_frame frame = frame_of(packet_of(0x30, body), MQTT_V311);
	struct decode_error error;

	return publish_decode_again(&frame, MQTT_V311, valid, out, &error);
}

static void only_a_topic_that_is_the_same_is_not_checked_again(void **state)
{
	struct slice valid = SLICE_LITERAL("a/b");
	struct publish_packet packet;

	(void)state;
	assert_int_equal(decode_again("0003 'a/b' 'x'", valid, &packet), DECODE_DONE);
	assert_ptr_equal(packet.topic.data, valid.data);
	assert_slice(packet.payload, "x");
	assert_int_equal(decode_again("0003 'a/b' 'x'", SLICE_NONE, &packet), DECODE_DONE);
	assert_slice(packet.topic, "a/b");
	assert_int_equal(decode_again("0003 'a/c' 'x'", valid, &packet), DECODE_DONE);
	assert_slice(packet.topic, "a/c");
	assert_int_equal(decode_again("0004 'a/b+' 'x'", valid, &packet), DECODE_BAD);
	assert_int_equal(decode_again("0003 'a/#' 'x'", valid, &packet), DECODE_BAD);
	assert_int_equal(decode_again("0000 'x'", valid, &packet), DECODE_BAD);
	assert_int_equal(decode_again("0000 'x'", SLICE_NONE, &packet), DECODE_BAD);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(publish_at_qos_0_has_topic_and_payload),
		CASE(publish_at_qos_2_has_a_packet_id_and_may_be_a_duplicate),
		CASE(an_empty_payload_is_a_payload),
		CASE(version_5_properties_are_read),
		CASE(properties_that_are_all_forwarded_are_a_view),
		CASE(forwarded_properties_behind_an_alias_are_still_one_view),
		CASE(an_alias_may_stand_for_the_topic),
		CASE(bad_publishes_are_refused_with_reason_and_statement),
		CASE(a_publish_cut_off_before_its_payload_is_refused),
		CASE(a_servers_publish_may_have_several_subscription_identifiers),
		CASE(what_is_encoded_is_decoded_again),
		CASE(the_topic_is_left_out_for_a_known_alias_in_version_5_only),
		CASE(the_bytes_of_a_publish_are_those_of_the_specification),
		CASE(sizes_are_right_where_the_remaining_length_grows),
		CASE(a_packet_beyond_the_protocol_has_no_size),
		CASE(only_the_topic_of_a_whole_retained_publish_is_peeked_at),
		CASE(the_header_alone_is_what_stands_before_the_payload),
		CASE(a_brief_publish_is_encoded_as_any_other),
		CASE(a_brief_publish_beyond_the_protocol_has_no_size),
		CASE(only_a_topic_that_is_the_same_is_not_checked_again),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
