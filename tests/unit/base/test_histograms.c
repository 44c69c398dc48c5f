/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/counters.h"

#define US 1000u
#define MS 1000000u

static const struct histogram_info *turn = &histogram_info[HISTOGRAM_TURN];

static struct histogram_values sum_of(enum histogram which)
{
	struct histogram_values sums[HISTOGRAM_COUNT];

	histograms_sum(sums);
	return sums[which];
}

static void rows_rise_and_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HISTOGRAM_COUNT; i++) {
		const struct histogram_info *info = &histogram_info[i];

		assert_in_range(info->bound_count, 1, HISTOGRAM_BOUNDS_MAX);
		assert_true(info->help[0] && info->metric[0]);
		for (unsigned b = 1; b < info->bound_count; b++)
			assert_true(info->bounds[b - 1] < info->bounds[b]);
		for (unsigned other = 0; other < i; other++) {
			if (strcmp(histogram_info[other].metric, info->metric) != 0)
				continue;
			assert_int_equal(histogram_info[other].bound_count, info->bound_count);
			assert_memory_equal(histogram_info[other].bounds, info->bounds,
					    sizeof info->bounds);
		}
	}
}

static void a_value_lands_in_the_first_bucket_that_holds_it(void **state)
{
	struct histogram_values values = {0};

	(void)state;
	histogram_values_record(&values, HISTOGRAM_TURN, 0);
	histogram_values_record(&values, HISTOGRAM_TURN, turn->bounds[0]);
	histogram_values_record(&values, HISTOGRAM_TURN, turn->bounds[0] + 1);
	histogram_values_record(&values, HISTOGRAM_TURN, turn->bounds[turn->bound_count - 1] + 1);
	assert_int_equal(values.bucket[0], 2);
	assert_int_equal(values.bucket[1], 1);
	assert_int_equal(values.bucket[turn->bound_count], 1);
	assert_int_equal(histogram_values_count(&values), 4);
	assert_int_equal(values.sum, 2 * turn->bounds[0] + 2 + turn->bounds[turn->bound_count - 1]);
}

static void a_quantile_is_the_bound_of_its_bucket(void **state)
{
	struct histogram_values values = {0};

	(void)state;
	assert_int_equal(histogram_values_quantile(&values, HISTOGRAM_TURN, 0.5), 0);
	for (int i = 0; i < 99; i++)
		histogram_values_record(&values, HISTOGRAM_TURN, 9 * US);
	histogram_values_record(&values, HISTOGRAM_TURN, 3 * MS);
	assert_int_equal(histogram_values_quantile(&values, HISTOGRAM_TURN, 0.5), 10 * US);
	assert_int_equal(histogram_values_quantile(&values, HISTOGRAM_TURN, 0.99), 10 * US);
	assert_int_equal(histogram_values_quantile(&values, HISTOGRAM_TURN, 0.999), 5 * MS);
	histogram_values_record(&values, HISTOGRAM_TURN, UINT32_MAX);
	assert_int_equal(histogram_values_quantile(&values, HISTOGRAM_TURN, 1.0), 500 * MS);
}

static void *record_in_a_thread(void *arg)
{
	struct counters *counters = aligned_alloc(64, sizeof *counters);

	(void)arg;
	counters_attach(counters);
	for (int i = 0; i < 1000; i++)
		RECORD(TURN, 20 * US);
	counters_detach(counters);
	free(counters);
	return NULL;
}

static void threads_are_summed_and_outlived(void **state)
{
	struct histogram_values before = sum_of(HISTOGRAM_TURN), after;
	pthread_t threads[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, record_in_a_thread, NULL), 0);
	for (int i = 0; i < 3; i++) {
		(void)sum_of(HISTOGRAM_TURN); /* while they write: relaxed loads, no race */
		pthread_join(threads[i], NULL);
	}
	after = sum_of(HISTOGRAM_TURN);
	assert_int_equal(after.bucket[1] - before.bucket[1], 3000);
	assert_int_equal(after.sum - before.sum, 3000u * 20 * US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_rise_and_agree),
		cmocka_unit_test(a_value_lands_in_the_first_bucket_that_holds_it),
		cmocka_unit_test(a_quantile_is_the_bound_of_its_bucket),
		cmocka_unit_test(threads_are_summed_and_outlived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
