/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "mqtt/property_set.h"

struct row {
	uint8_t id;
	const char *name;
	const char *packets; /* letters, see below */
};

/*
 * Table 2-4 of the specification, written down a second time and by hand: W Will, C CONNECT,
 * c CONNACK, P PUBLISH, A the four acknowledgements, S SUBSCRIBE, s SUBACK, U UNSUBSCRIBE,
 * u UNSUBACK, D DISCONNECT, H AUTH.
 */
static const struct row table[] = {
	{1, "Payload Format Indicator", "PW"},
	{2, "Message Expiry Interval", "PW"},
	{3, "Content Type", "PW"},
	{8, "Response Topic", "PW"},
	{9, "Correlation Data", "PW"},
	{11, "Subscription Identifier", "PS"},
	{17, "Session Expiry Interval", "CcD"},
	{18, "Assigned Client Identifier", "c"},
	{19, "Server Keep Alive", "c"},
	{21, "Authentication Method", "CcH"},
	{22, "Authentication Data", "CcH"},
	{23, "Request Problem Information", "C"},
	{24, "Will Delay Interval", "W"},
	{25, "Request Response Information", "C"},
	{26, "Response Information", "c"},
	{28, "Server Reference", "cD"},
	{31, "Reason String", "cAsuDH"},
	{33, "Receive Maximum", "Cc"},
	{34, "Topic Alias Maximum", "Cc"},
	{35, "Topic Alias", "P"},
	{36, "Maximum QoS", "c"},
	{37, "Retain Available", "c"},
	{38, "User Property", "CcPWASsUuDH"},
	{39, "Maximum Packet Size", "Cc"},
	{40, "Wildcard Subscription Available", "c"},
	{41, "Subscription Identifier Available", "c"},
	{42, "Shared Subscription Available", "c"},
};

static const char letters[16] = {'W', 'C', 'c', 'P', 'A', 'A', 'A', 'A',
				 'S', 's', 'U', 'u', '-', '-', 'D', 'H'};

static const struct row *row_of(unsigned id)
{
	for (size_t i = 0; i < COUNT_OF(table); i++)
		if (table[i].id == id)
			return &table[i];
	return NULL;
}

static void each_property_belongs_to_the_packets_of_table_2_4(void **state)
{
	(void)state;
	for (unsigned id = 0; id < 256; id++) {
		const struct row *row = row_of(id);

		assert_string_equal(property_name((uint8_t)id),
				    row ? row->name : "unknown property");
		for (unsigned type = 0; type < 16; type++)
			assert_int_equal(property_is_allowed((uint8_t)id, (enum packet_type)type),
					 row && strchr(row->packets, letters[type]) != NULL);
	}
}

static void a_block_is_walked_property_by_property(void **state)
{
	struct slice block = bytes_of("01 01 02 00000005 23 0007 0b 8001 03 0002 'ct' 26 0001 'k' "
				      "0001 'v'");
	struct property property;
	static const uint32_t numbers[] = {1, 5, 7, 128};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		assert_true(property_next(&block, &property));
		assert_int_equal(property.number, numbers[i]);
	}
	assert_true(property_next(&block, &property));
	assert_slice(property.text, "ct");
	assert_int_equal(property.encoded.len, 5);
	assert_true(property_next(&block, &property));
	assert_slice(property.text, "k");
	assert_slice(property.value, "v");
	assert_false(property_next(&block, &property));
	assert_int_equal(block.len, 0);
}

static void a_walk_stops_at_what_is_no_property(void **state)
{
	static const char *const bad[] = {"00",		 "7f 00",	"ff",
					  "02 0000",	 "03 0002 'x'", "26 0001 'k' 0001",
					  "0b ffffffff", "0b 8000"};
	struct property property;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct slice block = bytes_of(bad[i]);

		ROW_ASSERT(bad[i], !property_next(&block, &property));
	}
}

static void a_set_knows_what_was_there(void **state)
{
	struct slice bytes = bytes_of("05 21 0014 17 00 'rest'");
	struct reader reader = reader_of(bytes);
	struct property_set set;
	struct decode_error error;

	(void)state;
	assert_int_equal(property_set_decode(&reader, PACKET_CONNECT, PROPERTY_FROM_CLIENT, &set,
					     &error),
			 DECODE_DONE);
	assert_true(property_set_has(&set, PROPERTY_RECEIVE_MAXIMUM));
	assert_false(property_set_has(&set, PROPERTY_TOPIC_ALIAS_MAXIMUM));
	assert_int_equal(property_set_number(&set, PROPERTY_RECEIVE_MAXIMUM, 1), 20);
	assert_int_equal(property_set_number(&set, PROPERTY_REQUEST_PROBLEM_INFORMATION, 1), 0);
	assert_int_equal(property_set_number(&set, PROPERTY_TOPIC_ALIAS_MAXIMUM, 99), 99);
	assert_slice(reader_rest(&reader), "rest");
}

static void variable_byte_integers_are_the_shortest_in_both_directions(void **state)
{
	static const struct {
		uint32_t value;
		const char *bytes;
	} rows[] = {
		{0, "00"},
		{127, "7f"},
		{128, "8001"},
		{16383, "ff7f"},
		{16384, "808001"},
		{2097151, "ffff7f"},
		{2097152, "80808001"},
		{268435455, "ffffff7f"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct slice expected = bytes_of(rows[i].bytes);
		struct reader reader = reader_of(expected);
		uint8_t out[4];
		uint32_t value = 0;

		assert_true(read_varint(&reader, &value));
		assert_int_equal(value, rows[i].value);
		assert_int_equal(wire_put_varint(out, value) - out, expected.len);
		assert_memory_equal(out, expected.data, expected.len);
		assert_int_equal(varint_size(value), expected.len);
	}
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(each_property_belongs_to_the_packets_of_table_2_4),
		CASE(a_block_is_walked_property_by_property),
		CASE(a_walk_stops_at_what_is_no_property),
		CASE(a_set_knows_what_was_there),
		CASE(variable_byte_integers_are_the_shortest_in_both_directions),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
