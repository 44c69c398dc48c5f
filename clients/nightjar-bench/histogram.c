/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.c - values below 128 have a bucket each; above, the eight highest bits of a value
 * choose its bucket:
 *
 *      value       1xxxxxxx yyyyyyyyyy      7 bits x: which of the power's 128 buckets
 *                  ^ top    shift = top - 7 bits y are given up
 *      bucket      shift * 128 + 1xxxxxxx   (the leading 1 makes the ranges adjoin)
 */
#include <string.h>

#include "histogram.h"

void histogram_clear(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
}

static uint64_t bucket_upper_end(unsigned bucket)
{
	unsigned shift;

	if (bucket < 2 * HISTOGRAM_FINE)
		return bucket;
	shift = (bucket >> HISTOGRAM_FINE_BITS) - 1;
	return ((uint64_t)(bucket - (shift << HISTOGRAM_FINE_BITS) + 1) << shift) - 1;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	double exact = (double)histogram->count * percent / 100.0;
	uint64_t wanted = (uint64_t)exact, seen = 0;

	if ((double)wanted < exact || wanted == 0)
		wanted++;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= wanted && seen > 0) {
			uint64_t end = bucket_upper_end(i);

			return end < histogram->max ? end : histogram->max;
		}
	}
	return histogram->max;
}
