/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

static void monotonic_clock_does_not_go_back(void **unused)
{
	uint64_t before = clock_now_ms();

	(void)unused;
	for (int i = 0; i < 1000; i++) {
		uint64_t now = clock_now_ms();

		assert_true(now >= before);
		before = now;
	}
	assert_true(before > 0);
}

static void both_clocks_follow_an_advance(void **unused)
{
	uint64_t now = clock_now_ms(), wall = clock_wall_ms();

	(void)unused;
	clock_test_advance_ms(3600000);
	assert_in_range(clock_now_ms() - now, 3600000, 3660000);
	assert_in_range(clock_wall_ms() - wall, 3600000, 3660000);
	clock_test_reset();
	assert_true(clock_now_ms() - now < 60000);
}

static void frozen_clock_moves_by_exactly_what_is_asked(void **unused)
{
	(void)unused;
	clock_test_freeze(5000);
	assert_int_equal(clock_now_ms(), 5000);
	clock_test_advance_ms(1);
	assert_int_equal(clock_now_ms(), 5001);
	clock_test_reset();
	assert_int_not_equal(clock_now_ms(), 5001);
}

static void wall_clock_is_in_this_century(void **unused)
{
	(void)unused;
	assert_in_range(clock_wall_ms(), 1577836800000u, 4102444800000u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(monotonic_clock_does_not_go_back),
		cmocka_unit_test(both_clocks_follow_an_advance),
		cmocka_unit_test(frozen_clock_moves_by_exactly_what_is_asked),
		cmocka_unit_test(wall_clock_is_in_this_century),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
