/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

static enum decode_status decode(const struct packet_frame *frame, enum mqtt_version version,
				 struct decode_error *error)
{
	struct unsubscribe_packet unsubscribe;
	struct subscribe_packet subscribe;

	if (frame->type == PACKET_UNSUBSCRIBE)
		return unsubscribe_decode(frame, version, &unsubscribe, error);
	return subscribe_decode(frame, version, &subscribe, error);
}

static struct subscribe_packet good(const char *body, enum mqtt_version version)
{
	struct packet_frame frame = frame_of(packet_of(0x82, body), version);
	struct subscribe_packet packet;
	struct decode_error error;

	if (subscribe_decode(&frame, version, &packet, &error) != DECODE_DONE)
		fail_msg("refused: %s (%s)", error.text, error.statement);
	return packet;
}

static void filters_come_out_in_order_with_their_qos(void **state)
{
	struct subscribe_packet packet = good("000a 0003 'a/b' 01 0001 '#' 02", MQTT_V311);
	struct subscribe_filter filter;
	size_t offset = 0;

	(void)state;
	assert_int_equal(packet.packet_id, 10);
	assert_int_equal(packet.filter_count, 2);
	assert_int_equal(packet.subscription_identifier, 0);
	assert_true(subscribe_next(&packet, &offset, &filter));
	assert_slice(filter.text, "a/b");
	assert_slice(filter.filter, "a/b");
	assert_int_equal(filter.qos, 1);
	assert_false(filter.is_shared || filter.no_local || filter.retain_as_published);
	assert_true(subscribe_next(&packet, &offset, &filter));
	assert_slice(filter.text, "#");
	assert_int_equal(filter.qos, 2);
	assert_false(subscribe_next(&packet, &offset, &filter));
	assert_false(subscribe_next(&packet, &offset, &filter));
}

static void every_option_of_version_5_is_read(void **state)
{
	struct subscribe_packet packet =
		good("0001 0a 0b 8101 26 0001 'k' 0001 'v' 0001 'a' 1d 000b '$share/g/+/' 20",
		     MQTT_V5);
	struct slice name, value, rest = packet.user_properties;
	struct subscribe_filter filter;
	size_t offset = 0;

	(void)state;
	assert_int_equal(packet.subscription_identifier, 129);
	assert_true(user_property_next(&rest, &name, &value));
	assert_slice(value, "v");
	assert_true(subscribe_next(&packet, &offset, &filter));
	assert_true(filter.no_local && filter.retain_as_published);
	assert_int_equal(filter.qos, 1);
	assert_int_equal(filter.retain_handling, RETAIN_SEND_IF_NEW);
	assert_true(subscribe_next(&packet, &offset, &filter));
	assert_true(filter.is_shared);
	assert_slice(filter.text, "$share/g/+/");
	assert_slice(filter.group, "g");
	assert_slice(filter.filter, "+/");
	assert_int_equal(filter.retain_handling, RETAIN_DO_NOT_SEND);
}

static void older_versions_may_share_a_subscription_too(void **state)
{
	struct subscribe_packet packet = good("0001 000a '$share/g/a' 01", MQTT_V311);
	struct subscribe_filter filter;
	size_t offset = 0;

	(void)state;
	assert_true(subscribe_next(&packet, &offset, &filter));
	assert_true(filter.is_shared);
	assert_slice(filter.filter, "a");
}

static void unsubscribe_gives_its_filters(void **state)
{
	struct packet_frame frame =
		frame_of(packet_of(0xa2, "0007 00 0001 'a' 000a '$share/g/b'"), MQTT_V5);
	struct unsubscribe_packet packet;
	struct subscribe_filter filter;
	struct decode_error error;
	size_t offset = 0;

	(void)state;
	assert_int_equal(unsubscribe_decode(&frame, MQTT_V5, &packet, &error), DECODE_DONE);
	assert_int_equal(packet.packet_id, 7);
	assert_int_equal(packet.filter_count, 2);
	assert_true(unsubscribe_next(&packet, &offset, &filter));
	assert_slice(filter.text, "a");
	assert_false(filter.is_shared);
	assert_true(unsubscribe_next(&packet, &offset, &filter));
	assert_slice(filter.group, "g");
	assert_slice(filter.filter, "b");
	assert_false(unsubscribe_next(&packet, &offset, &filter));
}

static const struct bad_row bad[] = {
	{"no packet id", MQTT_V311, 0x82, "", 0x81, "2.2.1"},
	{"packet id 0", MQTT_V311, 0x82, "0000 0001 'a' 00", 0x82, "MQTT-2.2.1-3"},
	{"no filter", MQTT_V311, 0x82, "0001", 0x82, "MQTT-3.8.3-2"},
	{"no filter in 5", MQTT_V5, 0x82, "0001 00", 0x82, "MQTT-3.8.3-2"},
	{"no Property Length", MQTT_V5, 0x82, "0001", 0x81, "MQTT-2.2.2-1"},
	{"no options", MQTT_V311, 0x82, "0001 0001 'a'", 0x81, "3.8.3"},
	{"filter cut off", MQTT_V311, 0x82, "0001 0003 'a'", 0x81, "3.8.3"},
	{"empty filter", MQTT_V311, 0x82, "0001 0000 00", 0x81, "MQTT-4.7.1-1"},
	{"wildcard out of place", MQTT_V311, 0x82, "0001 0003 'a/#' 00 0002 '#a' 00", 0x81,
	 "MQTT-4.7.1-1"},
	{"filter that is not UTF-8", MQTT_V5, 0x82, "0001 00 0001 ff 00", 0x81, "MQTT-4.7.1-1"},
	{"QoS 3", MQTT_V311, 0x82, "0001 0001 'a' 03", 0x81, "3.8.3.1"},
	{"QoS 3 in 5", MQTT_V5, 0x82, "0001 00 0001 'a' 03", 0x82, "3.8.3.1"},
	{"options in 3.1.1", MQTT_V311, 0x82, "0001 0001 'a' 04", 0x81, "MQTT-3.8.3-5"},
	{"reserved option bit 6", MQTT_V5, 0x82, "0001 00 0001 'a' 40", 0x81, "MQTT-3.8.3-5"},
	{"reserved option bit 7", MQTT_V5, 0x82, "0001 00 0001 'a' 80", 0x81, "MQTT-3.8.3-5"},
	{"Retain Handling 3", MQTT_V5, 0x82, "0001 00 0001 'a' 30", 0x82, "3.8.3.1"},
	{"No Local on a shared one", MQTT_V5, 0x82, "0001 00 000a '$share/g/a' 04", 0x82,
	 "MQTT-3.8.3-4"},
	{"shared without a filter", MQTT_V5, 0x82, "0001 00 0008 '$share/g' 00", 0x81,
	 "MQTT-4.8.2-2"},
	{"shared without a name", MQTT_V311, 0x82, "0001 0009 '$share//a' 00", 0x81,
	 "MQTT-4.8.2-2"},
	{"Subscription Identifier 0", MQTT_V5, 0x82, "0001 02 0b00 0001 'a' 00", 0x82, "3.8.2.1.2"},
	{"Subscription Identifier twice", MQTT_V5, 0x82, "0001 04 0b01 0b02 0001 'a' 00", 0x82,
	 "2.2.2.2"},
	{"Subscription Identifier of five bytes", MQTT_V5, 0x82, "0001 06 0b8080808001 0001 'a' 00",
	 0x81, "2.2.2.2"},
	{"Reason String in SUBSCRIBE", MQTT_V5, 0x82, "0001 03 1f0000 0001 'a' 00", 0x81,
	 "2.2.2.2"},
	{"UNSUBSCRIBE without filter", MQTT_V311, 0xa2, "0001", 0x82, "MQTT-3.10.3-2"},
	{"UNSUBSCRIBE with packet id 0", MQTT_V311, 0xa2, "0000 0001 'a'", 0x82, "MQTT-2.2.1-3"},
	{"UNSUBSCRIBE with filter cut off", MQTT_V311, 0xa2, "0001 0001 'a' 00", 0x81, "3.8.3"},
	{"UNSUBSCRIBE with a bad filter", MQTT_V5, 0xa2, "0001 00 0002 'a+'", 0x81, "MQTT-4.7.1-1"},
	{"UNSUBSCRIBE with an identifier", MQTT_V5, 0xa2, "0001 02 0b01 0001 'a'", 0x81, "2.2.2.2"},
};

static void bad_subscriptions_are_refused(void **state)
{
	(void)state;
	expect_bad(bad, COUNT_OF(bad), decode);
	expect_cut_off_is_bad(packet_of(0x82, "0001 02 0b01 0003 'a/b' 00"), MQTT_V5, SIZE_MAX,
			      decode);
	expect_cut_off_is_bad(packet_of(0xa2, "0001 00 0003 'a/b'"), MQTT_V5, SIZE_MAX, decode);
}

static void what_a_client_encodes_is_decoded_again(void **state)
{
	const struct subscribe_filter filters[] = {
		{.text = SLICE_LITERAL("a/+"), .qos = 1, .no_local = true, .retain_handling = 2},
		{.text = SLICE_LITERAL("$share/g/a"), .qos = 2, .retain_as_published = true},
	};
	struct subscribe_encoding encoding = {
		.version = MQTT_V5,
		.packet_id = 5,
		.subscription_identifier = 16384,
		.filters = filters,
		.filter_count = COUNT_OF(filters),
	};
	size_t size = subscribe_encoded_size(&encoding), offset = 0;
	uint8_t *out = exact_room(size);
	struct subscribe_packet packet;
	struct subscribe_filter filter;
	struct packet_frame frame;
	struct decode_error error;

	(void)state;
	assert_int_equal(subscribe_encode(out, &encoding), size);
	frame = frame_of(slice_of(out, size), MQTT_V5);
	assert_int_equal(subscribe_decode(&frame, MQTT_V5, &packet, &error), DECODE_DONE);
	assert_int_equal(packet.subscription_identifier, 16384);
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		assert_true(subscribe_next(&packet, &offset, &filter));
		assert_true(slice_equal(filter.text, filters[i].text));
		assert_int_equal(filter.qos, filters[i].qos);
		assert_int_equal(filter.no_local, filters[i].no_local);
		assert_int_equal(filter.retain_as_published, filters[i].retain_as_published);
		assert_int_equal(filter.retain_handling, filters[i].retain_handling);
	}
	encoding.version = MQTT_V311;
	out = exact_room(unsubscribe_encoded_size(&encoding));
	size = unsubscribe_encode(out, &encoding);
	assert_true(slice_equal(slice_of(out, size),
				bytes_of("a2 13 0005 0003 'a/+' 000a '$share/g/a'")));
}

static struct slice suback(enum mqtt_version version, enum packet_type type,
			   const struct suback_packet *packet)
{
	size_t size = suback_encoded_size(version, type, packet);
	uint8_t *out = exact_room(size);

	assert_int_equal(suback_encode(out, version, type, packet), size);
	return slice_of(out, size);
}

static void answers_carry_one_code_per_filter(void **state)
{
	static const uint8_t codes[] = {RC_GRANTED_QOS_2, RC_NOT_AUTHORIZED};
	static const uint8_t unsub_codes[] = {RC_SUCCESS, RC_NO_SUBSCRIPTION_EXISTED};
	struct suback_packet packet = {.packet_id = 10, .reason_codes = slice_of(codes, 2)};

	(void)state;
	assert_true(slice_equal(suback(MQTT_V5, PACKET_SUBACK, &packet),
				bytes_of("90 05 000a 00 0287")));
	assert_true(slice_equal(suback(MQTT_V311, PACKET_SUBACK, &packet),
				bytes_of("90 04 000a 0280")));
	packet.reason_codes = slice_of(unsub_codes, 2);
	packet.reason_string = SLICE_LITERAL("s");
	assert_true(slice_equal(suback(MQTT_V5, PACKET_UNSUBACK, &packet),
				bytes_of("b0 09 000a 04 1f 0001 's' 0011")));
	assert_true(
		slice_equal(suback(MQTT_V311, PACKET_UNSUBACK, &packet), bytes_of("b0 02 000a")));
}

static enum decode_status decode_suback(const struct packet_frame *frame, enum mqtt_version version,
					struct decode_error *error)
{
	struct suback_packet packet;

	return suback_decode(frame, version, &packet, error);
}

static void answers_are_decoded_and_checked(void **state)
{
	static const struct bad_row rows[] = {
		{"no codes", MQTT_V311, 0x90, "0001", 0x81, "MQTT-3.9.3-2"},
		{"a code of another packet", MQTT_V5, 0x90, "0001 00 11", 0x82, "MQTT-3.9.3-2"},
		{"a code of version 5", MQTT_V311, 0x90, "0001 87", 0x82, "MQTT-3.9.3-2"},
		{"packet id 0", MQTT_V311, 0x90, "0000 00", 0x82, "MQTT-2.2.1-6"},
		{"codes before version 5", MQTT_V311, 0xb0, "0001 00", 0x81, "MQTT-3.11.3-2"},
		{"no codes in 5", MQTT_V5, 0xb0, "0001 00", 0x81, "MQTT-3.11.3-2"},
		{"half a packet id", MQTT_V311, 0xb0, "00", 0x81, "2.2.1"},
	};
	struct packet_frame frame = frame_of(bytes_of("90 08 0007 03 1f 0000 0187"), MQTT_V5);
	struct suback_packet packet;
	struct decode_error error;

	(void)state;
	assert_int_equal(suback_decode(&frame, MQTT_V5, &packet, &error), DECODE_DONE);
	assert_int_equal(packet.packet_id, 7);
	assert_int_equal(packet.reason_codes.len, 2);
	assert_int_equal(packet.reason_codes.data[1], RC_NOT_AUTHORIZED);
	expect_bad(rows, COUNT_OF(rows), decode_suback);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(filters_come_out_in_order_with_their_qos),
		CASE(every_option_of_version_5_is_read),
		CASE(older_versions_may_share_a_subscription_too),
		CASE(unsubscribe_gives_its_filters),
		CASE(bad_subscriptions_are_refused),
		CASE(what_a_client_encodes_is_decoded_again),
		CASE(answers_carry_one_code_per_filter),
		CASE(answers_are_decoded_and_checked),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
