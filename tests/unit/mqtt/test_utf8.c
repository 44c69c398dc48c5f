/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "mqtt/utf8.h"

struct row {
	const char *sentence;
	const char *bytes;
	bool is_valid;
};

static const struct row rows[] = {
	{"an empty string is valid", "", true},
	{"ascii is valid", "'plant/line1/temperature'", true},
	{"two bytes are valid", "c3a9", true},
	{"three bytes are valid", "e282ac", true},
	{"four bytes are valid", "f09f9880", true},
	{"the last code point is valid", "f48fbfbf", true},
	{"the byte order mark is a character", "efbbbf", true},
	{"a control character is accepted", "01 7f", true},
	{"a non-character is accepted", "efbfbf", true},
	{"the last before the surrogates is valid", "ed9fbf", true},
	{"the first after the surrogates is valid", "ee8080", true},
	{"the null character is refused", "'ab' 00", false},
	{"the null character is refused within eight bytes", "'abcd' 00 'efghijk'", false},
	{"the null character is refused as the last of nine", "'abcdefgh' 00", false},
	{"a surrogate is refused", "eda080", false},
	{"the last surrogate is refused", "edbfbf", false},
	{"an overlong slash of two bytes is refused", "c0af", false},
	{"an overlong form with c1 is refused", "c1bf", false},
	{"an overlong form of three bytes is refused", "e09fbf", false},
	{"an overlong form of four bytes is refused", "f08fbfbf", false},
	{"above U+10FFFF is refused", "f4908080", false},
	{"a byte f5 is refused", "f5808080", false},
	{"a byte ff is refused", "ff", false},
	{"a lone continuation byte is refused", "80", false},
	{"a character cut off after one byte is refused", "'abcdefg' c3", false},
	{"a character cut off after two bytes is refused", "e282", false},
	{"a character cut off after three bytes is refused", "f09f98", false},
	{"a continuation that is ascii is refused", "e28241", false},
	{"a bad byte among nine is refused", "'abcdefgh' fe", false},
	{"the tail is looked at after a long character", "'abcdefghij' c3a9 'klm' 00", false},
};

static void strings_follow_the_rules_of_section_1_5_4(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		ROW_ASSERT(rows[i].sentence,
			   utf8_is_valid(bytes_of(rows[i].bytes)) == rows[i].is_valid);
}

/* The words of eight bytes must not hide a byte, wherever it stands. */
static void a_forbidden_character_is_found_at_every_position(void **state)
{
	static const uint8_t bad[] = {0, '+', '#', 0x80, 0xff, 0xc3};
	uint8_t text[40];

	(void)state;
	for (size_t len = 1; len <= sizeof text; len++) {
		memset(text, '*', len);
		assert_true(utf8_is_valid_without(slice_of(exact_copy(text, len), len), '+', '#'));
		for (size_t at = 0; at < len; at++) {
			for (size_t i = 0; i < COUNT_OF(bad); i++) {
				text[at] = bad[i];
				assert_false(
					utf8_is_valid_without(slice_of(exact_copy(text, len), len),
							      '+', '#'));
			}
			text[at] = '*';
		}
	}
}

/* Neighbours of the forbidden ones, which arithmetic over whole words could confuse. */
static void every_other_ascii_character_is_accepted_at_every_position(void **state)
{
	uint8_t text[24];

	(void)state;
	for (int byte = 1; byte < 0x80; byte++) {
		if (byte == '+' || byte == '#')
			continue;
		for (size_t len = 1; len <= sizeof text; len++) {
			for (size_t at = 0; at < len; at++) {
				memset(text, 'a', len);
				text[at] = (uint8_t)byte;
				assert_true(utf8_is_valid_without(slice_of(text, len), '+', '#'));
			}
		}
	}
}

static void a_payload_may_hold_the_null_character(void **state)
{
	(void)state;
	assert_true(utf8_payload_is_valid(bytes_of("00 'abcdefgh' 00 c3a9")));
	assert_true(utf8_payload_is_valid(SLICE_NONE));
	assert_false(utf8_payload_is_valid(bytes_of("'abcdefgh' c3")));
	assert_false(utf8_payload_is_valid(bytes_of("'abcdef' eda080 'gh'")));
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(strings_follow_the_rules_of_section_1_5_4),
		CASE(a_forbidden_character_is_found_at_every_position),
		CASE(every_other_ascii_character_is_accepted_at_every_position),
		CASE(a_payload_may_hold_the_null_character),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
