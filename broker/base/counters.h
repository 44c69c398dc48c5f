/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counters.h - what happened, counted without anybody waiting.
 *
 * Each worker (and each other thread that counts) has a struct counters of its own and writes it
 * plainly; any thread may sum them up with relaxed loads. The rows stand in counters.def, from
 * which the metrics, the $SYS topics and the documentation are made.
 */
#ifndef NIGHTJAR_BASE_COUNTERS_H
#define NIGHTJAR_BASE_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include "base/histograms.h"

enum counter {
#define COUNTER(name, kind, metric, labels, help, sys_path) COUNTER_##name,
#include "base/counters.def"
#undef COUNTER
	COUNTER_COUNT
};

enum counter_kind { COUNTER_KIND_TOTAL, COUNTER_KIND_GAUGE };

struct counter_info {
	const char *name; /* the enum value's, less COUNTER_ */
	const char *metric;
	const char *labels;
	const char *help;
	const char *sys_path;
	enum counter_kind kind;
};

extern const struct counter_info counter_info[COUNTER_COUNT];

/* Written by: the thread that attached it. Read by: any, through counters_sum(). */
struct counters {
	uint64_t value[COUNTER_COUNT];
	struct histogram_values histogram[HISTOGRAM_COUNT];
	struct counters *next; /* guarded by the list's mutex in counters.c */
} __attribute__((aligned(64)));

/*
 * The calling thread's counters, for code that is not handed any. A thread that attached none
 * shares one struct with its like; updates may then get lost, but nothing breaks. Tests may use it.
 */
extern __thread struct counters *counters_mine;

/* Zeroes the counters, makes them the calling thread's, and includes them in counters_sum(). */
void counters_attach(struct counters *counters);

/* What was counted stays in the sums. From the thread that attached. */
void counters_detach(struct counters *counters);

static inline void counter_add(struct counters *counters, enum counter which, uint64_t n)
{
	uint64_t *value = &counters->value[which];

	__atomic_store_n(value, __atomic_load_n(value, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/* For gauges. */
static inline void counter_sub(struct counters *counters, enum counter which, uint64_t n)
{
	counter_add(counters, which, (uint64_t)0 - n);
}

#define COUNT(which) counter_add(counters_mine, COUNTER_##which, 1)
#define COUNT_BY(which, n) counter_add(counters_mine, COUNTER_##which, (n))
#define UNCOUNT_BY(which, n) counter_sub(counters_mine, COUNTER_##which, (n))

/* From the calling thread, as COUNT(). */
#define RECORD(which, value)                                                                       \
	histogram_values_record(&counters_mine->histogram[HISTOGRAM_##which], HISTOGRAM_##which,   \
				(value))

/* Sums of all threads, those that ended included. A gauge caught below zero is shown as 0. */
void counters_sum(uint64_t out_sum[COUNTER_COUNT]);
uint64_t counter_total(enum counter which);
void histograms_sum(struct histogram_values out_sum[HISTOGRAM_COUNT]);
/* Of one thread. Any thread, as long as it is attached. */
uint64_t counter_of(const struct counters *counters, enum counter which);

/* The sum of all rows with this $SYS path (below $SYS/broker/), from what counters_sum() gave. */
uint64_t counters_sys_value(const uint64_t sum[COUNTER_COUNT], const char *sys_path);

#endif
