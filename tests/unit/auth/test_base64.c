/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auth/base64.h"

struct vector {
	const char *bytes;
	const char *padded;
	const char *unpadded;
};

/* The test vectors of RFC 4648, section 10. */
static const struct vector vectors[] = {
	{"", "", ""},
	{"f", "Zg==", "Zg"},
	{"fo", "Zm8=", "Zm8"},
	{"foo", "Zm9v", "Zm9v"},
	{"foob", "Zm9vYg==", "Zm9vYg"},
	{"fooba", "Zm9vYmE=", "Zm9vYmE"},
	{"foobar", "Zm9vYmFy", "Zm9vYmFy"},
};

static void assert_decodes(const char *text, enum base64_padding padding, const char *bytes)
{
	uint8_t out[16];
	int length = base64_decode(slice_from_string(text), padding, out, sizeof out);

	assert_int_equal(length, strlen(bytes));
	assert_memory_equal(out, bytes, strlen(bytes));
}

static void vectors_of_the_rfc_go_both_ways(void **unused)
{
	char text[16];

	(void)unused;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		const struct vector *vector = &vectors[i];
		struct slice bytes = slice_from_string(vector->bytes);

		assert_int_equal(base64_encode(bytes, BASE64_PADDED, text), strlen(vector->padded));
		assert_string_equal(text, vector->padded);
		assert_int_equal(base64_encode(bytes, BASE64_UNPADDED, text),
				 strlen(vector->unpadded));
		assert_string_equal(text, vector->unpadded);
		assert_decodes(vector->padded, BASE64_PADDED, vector->bytes);
		assert_decodes(vector->unpadded, BASE64_UNPADDED, vector->bytes);
	}
}

static void all_byte_values_survive(void **unused)
{
	uint8_t bytes[256], back[256];
	char text[BASE64_ROOM(sizeof bytes)];

	(void)unused;
	for (int i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	base64_encode(slice_of(bytes, sizeof bytes), BASE64_PADDED, text);
	assert_int_equal(base64_decode(slice_from_string(text), BASE64_PADDED, back, sizeof back),
			 256);
	assert_memory_equal(bytes, back, sizeof bytes);
}

static void what_is_not_strict_base64_is_refused(void **unused)
{
	static const char *const padded[] = {"Zg",   "Zg=",   "Z===", "====", "=",    "Zm9v\n",
					     "Zm 9", "Zm9v=", "Zh==", "Zm9=", "Zm9-", "Zm=v"};
	static const char *const unpadded[] = {"Z", "Zg==", "Zm9vY", "Zh", "Zm9", "Zm_"};
	uint8_t out[16];

	(void)unused;
	for (size_t i = 0; i < sizeof padded / sizeof padded[0]; i++)
		assert_int_equal(base64_decode(slice_from_string(padded[i]), BASE64_PADDED, out,
					       sizeof out),
				 -1);
	for (size_t i = 0; i < sizeof unpadded / sizeof unpadded[0]; i++)
		assert_int_equal(base64_decode(slice_from_string(unpadded[i]), BASE64_UNPADDED, out,
					       sizeof out),
				 -1);
}

static void more_than_the_room_is_refused(void **unused)
{
	uint8_t out[4] = {0, 0, 0, 0xee};

	(void)unused;
	assert_int_equal(base64_decode(SLICE_LITERAL("Zm9v"), BASE64_PADDED, out, 3), 3);
	assert_int_equal(base64_decode(SLICE_LITERAL("Zm9vYg=="), BASE64_PADDED, out, 3), -1);
	assert_int_equal(out[3], 0xee);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_of_the_rfc_go_both_ways),
		cmocka_unit_test(all_byte_values_survive),
		cmocka_unit_test(what_is_not_strict_base64_is_refused),
		cmocka_unit_test(more_than_the_room_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
