/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The histogram behind nightjar-bench's percentiles, against sorted arrays of the same durations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "nightjar-bench/histogram.h"

enum { VALUES = 100000 };

static const double percents[] = {0, 1, 50, 90, 99, 99.9, 99.99, 100};

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

/* The smallest value that `percent` of all do not exceed, counted by hand. */
static uint64_t exact_percentile(const uint64_t *sorted, uint64_t count, double percent)
{
	uint64_t needed = 0;

	while ((double)needed * 100.0 < percent * (double)count)
		needed++;
	return sorted[needed ? needed - 1 : 0];
}

static void expect_close(uint64_t got, uint64_t exact)
{
	assert_true(got >= exact);
	assert_true((double)(got - exact) <= 0.008 * (double)exact);
}

static void percentiles_are_at_most_0_8_percent_above_the_exact_ones(void **state)
{
	struct histogram *histogram = calloc(1, sizeof(*histogram));
	uint64_t *values = calloc(VALUES, sizeof(*values)), sum = 0, random = 88172645463325252u;

	(void)state;
	for (int i = 0; i < VALUES; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		/* From nanoseconds to minutes, as many in each power of two. */
		values[i] = (random >> 24) >> (random % 36);
		sum += values[i];
		histogram_record(histogram, values[i]);
	}
	qsort(values, VALUES, sizeof(*values), compare);
	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		expect_close(histogram_percentile(histogram, percents[i]),
			     exact_percentile(values, VALUES, percents[i]));
	assert_int_equal(histogram->count, VALUES);
	assert_int_equal(histogram->sum, sum);
	assert_int_equal(histogram->max, values[VALUES - 1]);
	free(values);
	free(histogram);
}

/* Each bucket begins where the one before ends, and a value comes back from its own bucket. */
static void every_boundary_is_in_its_bucket(void **state)
{
	struct histogram *histogram = calloc(1, sizeof(*histogram));

	(void)state;
	for (unsigned bit = 0; bit < HISTOGRAM_TOP_BIT; bit++) {
		for (int offset = -1; offset <= 1; offset++) {
			uint64_t value = ((uint64_t)1 << bit) + (uint64_t)(int64_t)offset;

			histogram_clear(histogram);
			histogram_record(histogram, value);
			assert_int_equal(histogram_percentile(histogram, 50), value);
			assert_true(histogram_bucket(value) <= histogram_bucket(value + 1));
			assert_true(histogram_bucket(value + 1) - histogram_bucket(value) <= 1);
		}
	}
	free(histogram);
}

static void nothing_recorded_is_0_and_too_long_is_the_longest(void **state)
{
	struct histogram *histogram = calloc(1, sizeof(*histogram));

	(void)state;
	assert_int_equal(histogram_percentile(histogram, 99), 0);
	histogram_record(histogram, UINT64_MAX);
	assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
	assert_true(histogram_percentile(histogram, 99) >= ((uint64_t)1 << HISTOGRAM_TOP_BIT) - 1);
	free(histogram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentiles_are_at_most_0_8_percent_above_the_exact_ones),
		cmocka_unit_test(every_boundary_is_in_its_bucket),
		cmocka_unit_test(nothing_recorded_is_0_and_too_long_is_the_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
