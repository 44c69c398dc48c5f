/* SPDX-License-Identifier: Apache-2.0 */
/*
 * histograms.h - how long things take, counted in buckets without anybody waiting.
 *
 * As with counters.h: each thread writes its own plainly, any thread may sum them up with relaxed
 * loads. They live inside struct counters. The rows stand in histograms.def. To record costs a
 * search among at most HISTOGRAM_BOUNDS_MAX numbers and two additions.
 */
#ifndef NIGHTJAR_BASE_HISTOGRAMS_H
#define NIGHTJAR_BASE_HISTOGRAMS_H

#include <stdint.h>

#define HISTOGRAM_BOUNDS_MAX 16

enum histogram {
#define HISTOGRAM(name, unit, metric, labels, help, ...) HISTOGRAM_##name,
#include "base/histograms.def"
#undef HISTOGRAM
	HISTOGRAM_COUNT
};

enum histogram_unit { HISTOGRAM_UNIT_NANOSECONDS, HISTOGRAM_UNIT_COUNT };

struct histogram_info {
	const char *name; /* the enum value's, less HISTOGRAM_ */
	const char *metric;
	const char *labels;
	const char *help;
	enum histogram_unit unit;
	unsigned bound_count;
	uint64_t bounds[HISTOGRAM_BOUNDS_MAX];
};

extern const struct histogram_info histogram_info[HISTOGRAM_COUNT];

/* One thread's, or a sum. Bucket i holds what is at most bounds[i] and above the one before. */
struct histogram_values {
	uint64_t bucket[HISTOGRAM_BOUNDS_MAX + 1];
	uint64_t sum;
};

/* Owner of values only. */
void histogram_values_clear(struct histogram_values *values);
void histogram_values_record(struct histogram_values *values, enum histogram which, uint64_t value);

/* Adds with relaxed loads: from any thread's values into a sum of the caller's own. */
void histogram_values_add(struct histogram_values *sum, const struct histogram_values *values);

uint64_t histogram_values_count(const struct histogram_values *values);

/* About which value lies above this part (0..1) of all: the upper bound of its bucket, the last
 * bound when it is beyond it, 0 when there are none. */
uint64_t histogram_values_quantile(const struct histogram_values *values, enum histogram which,
				   double part);

#endif
