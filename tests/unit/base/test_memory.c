/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "base/memory.h"

static void charges_are_summed_by_class(void **unused)
{
	(void)unused;
	memory_charge(MEMORY_SESSION, 1000);
	memory_charge(MEMORY_MESSAGE, 50);
	memory_uncharge(MEMORY_SESSION, 400);
	assert_int_equal(memory_used(MEMORY_SESSION), 600);
	assert_int_equal(memory_used_total(), 650);
	memory_uncharge(MEMORY_SESSION, 600);
	memory_uncharge(MEMORY_MESSAGE, 50);
	assert_int_equal(memory_used_total(), 0);
}

static void limit_raises_the_flag_within_a_step_and_lowers_it_again(void **unused)
{
	(void)unused;
	memory_limit_set(1000000);
	memory_charge(MEMORY_QUEUE, 1000000 - 1000);
	assert_false(memory_is_over_limit());
	for (int i = 0; i <= MEMORY_STEP_BYTES / 100 + 10; i++)
		memory_charge(MEMORY_QUEUE, 100);
	assert_true(memory_is_over_limit());
	memory_uncharge(MEMORY_QUEUE, memory_used(MEMORY_QUEUE));
	assert_false(memory_is_over_limit());
	memory_limit_set(0);
}

static void flag_falls_as_soon_as_it_is_asked_for(void **unused)
{
	(void)unused;
	memory_limit_set(2 * MEMORY_STEP_BYTES);
	memory_charge(MEMORY_QUEUE, 2 * MEMORY_STEP_BYTES + 10);
	assert_true(memory_is_over_limit());
	memory_uncharge(MEMORY_QUEUE, 10);
	assert_false(memory_is_over_limit());
	memory_uncharge(MEMORY_QUEUE, 2 * MEMORY_STEP_BYTES);
	memory_limit_set(0);
}

/* Messages are made and freed all the time: the totals, which all threads share, hear nothing of it. */
static void what_comes_and_goes_is_not_carried_over(void **unused)
{
	int64_t carried;

	(void)unused;
	memory_charge(MEMORY_MESSAGE, MEMORY_STEP_BYTES);
	carried = memory_mine->carried[MEMORY_MESSAGE];
	for (int i = 0; i < 1000; i++) {
		memory_charge(MEMORY_MESSAGE, 1000);
		memory_charge(MEMORY_OUTPUT, 500);
		memory_uncharge(MEMORY_OUTPUT, 500);
		memory_uncharge(MEMORY_MESSAGE, 1000);
	}
	memory_charge(MEMORY_MESSAGE, 1000);
	assert_int_equal(memory_mine->carried[MEMORY_MESSAGE], carried);
	assert_int_equal(memory_used(MEMORY_MESSAGE), MEMORY_STEP_BYTES + 1000);
	memory_uncharge(MEMORY_MESSAGE, MEMORY_STEP_BYTES + 1000);
}

static void all_classes_together_are_carried_over(void **unused)
{
	(void)unused;
	for (int class = 0; class < MEMORY_CLASS_COUNT; class ++)
		memory_charge((enum memory_class) class, MEMORY_STEP_BYTES / MEMORY_CLASS_COUNT);
	for (int class = 0; class < MEMORY_CLASS_COUNT; class ++) {
		assert_int_equal(memory_mine->carried[class],
				 MEMORY_STEP_BYTES / MEMORY_CLASS_COUNT);
		memory_uncharge((enum memory_class) class, MEMORY_STEP_BYTES / MEMORY_CLASS_COUNT);
	}
}

static void count_fall(void *context)
{
	++*(unsigned *)context;
}

static void a_fall_to_less_than_half_is_told_once(void **unused)
{
	unsigned falls = 0;

	(void)unused;
	memory_on_fall(count_fall, &falls);
	memory_charge(MEMORY_OTHER, 4 * MEMORY_FALL_BYTES);
	memory_uncharge(MEMORY_OTHER, MEMORY_FALL_BYTES);
	assert_int_equal(falls, 0); /* three quarters are left */
	memory_uncharge(MEMORY_OTHER, 2 * MEMORY_FALL_BYTES);
	assert_int_equal(falls, 1);
	memory_uncharge(MEMORY_OTHER, MEMORY_FALL_BYTES - MEMORY_STEP_BYTES);
	assert_int_equal(falls, 1); /* less than is worth it */
	memory_charge(MEMORY_OTHER, 2 * MEMORY_FALL_BYTES);
	memory_uncharge(MEMORY_OTHER, 2 * MEMORY_FALL_BYTES);
	assert_int_equal(falls, 2);
	memory_on_fall(NULL, NULL);
	memory_uncharge(MEMORY_OTHER, MEMORY_STEP_BYTES);
}

static void limit_below_what_is_used_holds_at_once(void **unused)
{
	(void)unused;
	memory_charge(MEMORY_OTHER, 5000);
	memory_limit_set(4999);
	assert_true(memory_is_over_limit());
	memory_limit_set(5000);
	assert_false(memory_is_over_limit());
	memory_limit_set(0);
	memory_uncharge(MEMORY_OTHER, 5000);
}

static void *charge_here(void *unused)
{
	memory_charge(MEMORY_MESSAGE, 300000);
	return unused;
}

static void what_one_thread_charged_another_may_uncharge(void **unused)
{
	pthread_t thread;

	(void)unused;
	assert_int_equal(pthread_create(&thread, NULL, charge_here, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 300000);
	assert_true(memory_used_peak() >= 300000);
	memory_uncharge(MEMORY_MESSAGE, 300000);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
}

static void classes_have_labels(void **unused)
{
	(void)unused;
	assert_string_equal(memory_class_label(MEMORY_MESSAGE), "message");
	assert_string_equal(memory_class_label(MEMORY_OTHER), "other");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(charges_are_summed_by_class),
		cmocka_unit_test(limit_raises_the_flag_within_a_step_and_lowers_it_again),
		cmocka_unit_test(flag_falls_as_soon_as_it_is_asked_for),
		cmocka_unit_test(what_comes_and_goes_is_not_carried_over),
		cmocka_unit_test(all_classes_together_are_carried_over),
		cmocka_unit_test(a_fall_to_less_than_half_is_told_once),
		cmocka_unit_test(limit_below_what_is_used_holds_at_once),
		cmocka_unit_test(what_one_thread_charged_another_may_uncharge),
		cmocka_unit_test(classes_have_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
