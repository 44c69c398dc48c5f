/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "net/proxy_header.h"
#include "net/trusted_addresses.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(text)                                                                                \
	{                                                                                          \
		(const uint8_t *)(text), sizeof(text) - 1                                          \
	}

static const struct {
	struct slice bytes;
	const char *address; /* NULL: the proxy speaks for itself */
} good[] = {
	{BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 56324 443\r\n"), "1.2.3.4:56324"},
	{BYTES("PROXY TCP4 255.0.10.100 5.6.7.8 65535 443\r\n"), "255.0.10.100:65535"},
	{BYTES("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), "[2001:db8::1]:1"},
	{BYTES("PROXY UNKNOWN\r\n"), NULL},
	{BYTES("PROXY UNKNOWN ffff:f...f:ffff whatever 1 2\r\n"), NULL},
	{BYTES(V2 "\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\xdc\x04\x01\xbb"),
	 "1.2.3.4:56324"},
	{BYTES(V2 "\x21\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\xdc\x04\x01\xbb\x04\0\0"),
	 "1.2.3.4:56324"},
	{BYTES(V2 "\x21\x21\0\x24"
		  "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
		  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
		  "\0\x07\0\x08"),
	 "[2001:db8::1]:7"},
	{BYTES(V2 "\x20\0\0\0"), NULL},
	{BYTES(V2 "\x21\0\0\x03xyz"), NULL},
};

static void headers_of_both_versions_are_read(void **unused)
{
	char text[ADDRESS_TEXT_BYTES];
	struct proxy_header out;

	(void)unused;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(proxy_header_parse(good[i].bytes, &out), PROXY_HEADER_DONE);
		assert_int_equal(out.len, good[i].bytes.len);
		assert_int_equal(out.has_address, good[i].address != NULL);
		if (good[i].address)
			assert_string_equal(address_text(&out.address, text), good[i].address);
	}
}

static void one_byte_at_a_time_needs_more_until_it_is_whole(void **unused)
{
	struct proxy_header out;

	(void)unused;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		for (size_t len = 0; len < good[i].bytes.len; len++) {
			struct slice part = slice_of(good[i].bytes.data, len);

			assert_int_equal(proxy_header_parse(part, &out), PROXY_HEADER_NEED_MORE);
			assert_in_range(out.wanted, len + 1, good[i].bytes.len);
		}
	}
}

static void only_the_header_is_counted(void **unused)
{
	struct slice both = BYTES("PROXY UNKNOWN\r\n\x10\x0c\0\x04MQTT");
	struct proxy_header out;

	(void)unused;
	assert_int_equal(proxy_header_parse(both, &out), PROXY_HEADER_DONE);
	assert_int_equal(out.len, 15);
}

static void other_beginnings_are_no_header(void **unused)
{
	static const struct slice others[] = {BYTES("\x10\x0c\0\x04MQTT"),
					      BYTES("GET / HTTP/1.1\r\n"),
					      BYTES("PUT "),
					      BYTES("PROPFIND / HTTP/1.1\r\n"),
					      BYTES("\x16\x03\x01"),
					      BYTES("\r\n\r\nx")};
	struct proxy_header out;

	(void)unused;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		assert_int_equal(proxy_header_parse(others[i], &out), PROXY_HEADER_NONE);
}

static void broken_headers_say_what_is_wrong(void **unused)
{
	static const struct slice broken[] = {
		BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 56324\r\n"),
		BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"),
		BYTES("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n"),
		BYTES("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n"),
		BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n"),
		BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n"),
		BYTES("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n"),
		BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"),
		BYTES("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"),
		BYTES("PROXY 45678901234567890123456789012345678901234567890123456789012345678901234567"
		      "8901234567890123456789012345678901234567890"),
		BYTES(V2 "\x11\x11\0\x0c"),
		BYTES(V2 "\x22\x11\0\x0c"),
		BYTES(V2 "\x21\x11\xff\xff"),
		BYTES(V2 "\x21\x11\0\x04"
			 "abcd"),
	};
	struct proxy_header out;

	(void)unused;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		assert_int_equal(proxy_header_parse(broken[i], &out), PROXY_HEADER_BAD);
		assert_non_null(out.fault);
	}
}

static bool is_trusted(const struct trusted_addresses *list, const char *header)
{
	struct proxy_header out;
	char line[128];

	snprintf(line, sizeof line,
		 strchr(header, ':') ? "PROXY TCP6 %s ::1 1 2\r\n"
				     : "PROXY TCP4 %s 1.1.1.1 1 2\r\n",
		 header);
	assert_int_equal(proxy_header_parse(slice_from_string(line), &out), PROXY_HEADER_DONE);
	return trusted_addresses_has(list, &out.address);
}

static void addresses_are_trusted_one_by_one_and_in_ranges(void **unused)
{
	static const char *const texts[] = {"10.1.0.0/15", "192.0.2.7", "fd00::/9", "unix"};
	static const char *const bad[] = {"10.0.0.0/33", "example",   "10.0.0",	  "::/129",
					  "1.2.3.4/",	 "1.2.3.4/x", "fd00::/-1"};
	struct address local = {.family = AF_UNIX};
	struct trusted_addresses *list, *none;
	struct err_detail detail;

	(void)unused;
	assert_int_equal(trusted_addresses_create(texts, 4, &list, &detail), ERR_NONE);
	assert_true(is_trusted(list, "10.1.255.255"));
	assert_true(is_trusted(list, "10.0.0.1"));
	assert_false(is_trusted(list, "10.2.0.0"));
	assert_true(is_trusted(list, "192.0.2.7"));
	assert_false(is_trusted(list, "192.0.2.8"));
	assert_true(is_trusted(list, "::ffff:192.0.2.7"));
	assert_true(is_trusted(list, "fd7f::1"));
	assert_false(is_trusted(list, "fd80::1"));
	assert_true(trusted_addresses_has(list, &local));
	assert_false(trusted_addresses_has(NULL, &local));
	trusted_addresses_destroy(&list);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(trusted_addresses_create(&bad[i], 1, &none, &detail), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_of_both_versions_are_read),
		cmocka_unit_test(one_byte_at_a_time_needs_more_until_it_is_whole),
		cmocka_unit_test(only_the_header_is_counted),
		cmocka_unit_test(other_beginnings_are_no_header),
		cmocka_unit_test(broken_headers_say_what_is_wrong),
		cmocka_unit_test(addresses_are_trusted_one_by_one_and_in_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
