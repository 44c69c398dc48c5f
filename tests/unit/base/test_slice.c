/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/slice.h"

static void slices_compare_by_their_bytes(void **unused)
{
	(void)unused;
	assert_true(slice_equal(SLICE_LITERAL("abc"), slice_from_string("abc")));
	assert_false(slice_equal(SLICE_LITERAL("abc"), slice_from_string("abd")));
	assert_false(slice_equal(SLICE_LITERAL("abc"), slice_from_string("ab")));
	assert_true(slice_equal(SLICE_NONE, slice_from_string("")));
	assert_true(slice_equal(SLICE_NONE, slice_from_string(NULL)));
	assert_true(slice_equal_string(slice_of("a\0b", 1), "a"));
	assert_int_equal(SLICE_LITERAL("a\0b").len, 3);
}

static void error_detail_is_cut_and_terminated(void **unused)
{
	struct err_detail detail;
	char words[ERR_DETAIL_BYTES * 2];

	(void)unused;
	memset(words, 'x', sizeof words - 1);
	words[sizeof words - 1] = '\0';
	assert_int_equal(err_set(&detail, ERR_IO, "%s", words), ERR_IO);
	assert_int_equal(strlen(detail.text), ERR_DETAIL_BYTES - 1);
	assert_int_equal(err_set(NULL, ERR_LIMIT, "nobody reads this"), ERR_LIMIT);
}

static void every_error_has_a_text_of_its_own(void **unused)
{
	(void)unused;
	for (int i = ERR_NONE; i <= ERR_UNSUPPORTED; i++) {
		assert_string_not_equal(err_text((enum err)i), "unknown error");
		for (int other = ERR_NONE; other < i; other++)
			assert_string_not_equal(err_text((enum err)i), err_text((enum err)other));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_compare_by_their_bytes),
		cmocka_unit_test(error_detail_is_cut_and_terminated),
		cmocka_unit_test(every_error_has_a_text_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
