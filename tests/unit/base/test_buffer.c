/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buffer.h"

static void appended_bytes_come_out_in_order(void **unused)
{
	struct buffer buffer = BUFFER_NONE;

	(void)unused;
	for (int i = 0; i < 1000; i++) {
		uint8_t byte = (uint8_t)i;

		assert_int_equal(buffer_append(&buffer, slice_of(&byte, 1), 4096), ERR_NONE);
	}
	assert_int_equal(buffer.len, 1000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buffer.data[i], (uint8_t)i);
	buffer_fini(&buffer);
	assert_null(buffer.data);
}

static void limit_is_met_exactly_and_leaves_the_buffer_alone(void **unused)
{
	struct buffer buffer = BUFFER_NONE;

	(void)unused;
	assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("12345678"), 10), ERR_NONE);
	assert_true(buffer.cap <= 10);
	assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("abc"), 10), ERR_LIMIT);
	assert_true(slice_equal_string(buffer_slice(&buffer), "12345678"));
	assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("ab"), 10), ERR_NONE);
	assert_true(slice_equal_string(buffer_slice(&buffer), "12345678ab"));
	assert_int_equal(buffer_reserve(&buffer, SIZE_MAX, UINT32_MAX), ERR_LIMIT);
	assert_int_equal(buffer_reserve(&buffer, 0, 5), ERR_LIMIT);
	buffer_fini(&buffer);
}

static void consuming_moves_the_rest_to_the_front(void **unused)
{
	struct buffer buffer = BUFFER_NONE;

	(void)unused;
	assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("hello world"), 100), ERR_NONE);
	buffer_consume(&buffer, 6);
	assert_true(slice_equal_string(buffer_slice(&buffer), "world"));
	buffer_consume(&buffer, 0);
	buffer_consume(&buffer, 5);
	assert_int_equal(buffer.len, 0);
	buffer_fini(&buffer);
}

static void capacity_doubles(void **unused)
{
	struct buffer buffer = BUFFER_NONE;
	unsigned growths = 0;

	(void)unused;
	for (int i = 0; i < 100000; i++) {
		uint32_t cap = buffer.cap;

		assert_int_equal(buffer_append(&buffer, SLICE_LITERAL("x"), 1u << 20), ERR_NONE);
		growths += buffer.cap != cap;
	}
	assert_in_range(growths, 1, 12);
	buffer_clear(&buffer);
	assert_int_equal(buffer.len, 0);
	buffer_fini(&buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appended_bytes_come_out_in_order),
		cmocka_unit_test(limit_is_met_exactly_and_leaves_the_buffer_alone),
		cmocka_unit_test(consuming_moves_the_rest_to_the_front),
		cmocka_unit_test(capacity_doubles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
