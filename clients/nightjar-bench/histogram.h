/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histogram.h - durations counted in buckets whose width grows with their value.
 *
 * Each power of two is cut into 128 buckets, so a value that is read back is at most 0.8 % above
 * the one that was recorded, from 1 ns to an hour, in 37 KiB. Longer durations count as an hour.
 */
#ifndef NIGHTJAR_BENCH_HISTOGRAM_H
#define NIGHTJAR_BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
	HISTOGRAM_FINE_BITS = 7,
	HISTOGRAM_FINE = 1 << HISTOGRAM_FINE_BITS,
	HISTOGRAM_TOP_BIT = 42, /* 2^42 ns is 73 minutes */
	HISTOGRAM_BUCKETS = (HISTOGRAM_TOP_BIT - HISTOGRAM_FINE_BITS + 1) * HISTOGRAM_FINE,
};

struct histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
	unsigned top, shift;

	if (value < HISTOGRAM_FINE)
		return (unsigned)value;
	top = 63u - (unsigned)__builtin_clzll(value);
	if (top >= HISTOGRAM_TOP_BIT)
		return HISTOGRAM_BUCKETS - 1;
	shift = top - HISTOGRAM_FINE_BITS;
	return (shift << HISTOGRAM_FINE_BITS) + (unsigned)(value >> shift);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value_ns)
{
	histogram->count++;
	histogram->sum += value_ns;
	if (value_ns > histogram->max)
		histogram->max = value_ns;
	histogram->buckets[histogram_bucket(value_ns)]++;
}

void histogram_clear(struct histogram *histogram);

/*
 * The duration that `percent` of all recorded ones do not exceed: the upper end of its bucket, and
 * never more than the largest recorded. 0 when nothing was recorded.
 */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

#endif
