/* SPDX-License-Identifier: Apache-2.0 */
#include "base/counters.h"

#include <pthread.h>
#include <string.h>

#include "base/bug.h"

const struct counter_info counter_info[COUNTER_COUNT] = {
#define COUNTER(name_, kind_, metric_, labels_, help_, sys_path_)                                  \
	[COUNTER_##name_] = {                                                                      \
		.name = #name_,                                                                    \
		.metric = metric_,                                                                 \
		.labels = labels_,                                                                 \
		.help = help_,                                                                     \
		.sys_path = sys_path_,                                                             \
		.kind = COUNTER_KIND_##kind_,                                                      \
	},
#include "base/counters.def"
#undef COUNTER
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct counters unattached;	    /* of all threads that attached none */
static struct counters *list = &unattached; /* guarded by list_lock */
static uint64_t ended_sum[COUNTER_COUNT];   /* guarded by list_lock: of threads that detached */
static struct histogram_values ended_histogram[HISTOGRAM_COUNT]; /* the same */

__thread struct counters *counters_mine = &unattached;

/* With stores that others may see: who knows the thread may be reading its counters already. */
static void clear(struct counters *counters)
{
	for (size_t i = 0; i < COUNTER_COUNT; i++)
		__atomic_store_n(&counters->value[i], 0, __ATOMIC_RELAXED);
	for (size_t i = 0; i < HISTOGRAM_COUNT; i++)
		histogram_values_clear(&counters->histogram[i]);
}

void counters_attach(struct counters *counters)
{
	clear(counters);
	pthread_mutex_lock(&list_lock);
	counters->next = list;
	list = counters;
	pthread_mutex_unlock(&list_lock);
	counters_mine = counters;
}

void counters_detach(struct counters *counters)
{
	struct counters **link = &list;

	pthread_mutex_lock(&list_lock);
	while (*link && *link != counters)
		link = &(*link)->next;
	BUG_ON(!*link);
	*link = counters->next;
	for (size_t i = 0; i < COUNTER_COUNT; i++)
		ended_sum[i] += counters->value[i];
	for (size_t i = 0; i < HISTOGRAM_COUNT; i++)
		histogram_values_add(&ended_histogram[i], &counters->histogram[i]);
	pthread_mutex_unlock(&list_lock);
	if (counters_mine == counters)
		counters_mine = &unattached;
}

/* A gauge's parts are read one after the other, so that their sum may be off by what moves. */
static uint64_t counter_shown(enum counter which, uint64_t sum)
{
	return counter_info[which].kind == COUNTER_KIND_GAUGE && (int64_t)sum < 0 ? 0 : sum;
}

static uint64_t counter_total_locked(enum counter which)
{
	uint64_t sum = ended_sum[which];

	for (const struct counters *c = list; c; c = c->next)
		sum += __atomic_load_n(&c->value[which], __ATOMIC_RELAXED);
	return counter_shown(which, sum);
}

void counters_sum(uint64_t out_sum[COUNTER_COUNT])
{
	pthread_mutex_lock(&list_lock);
	for (size_t i = 0; i < COUNTER_COUNT; i++)
		out_sum[i] = counter_total_locked((enum counter)i);
	pthread_mutex_unlock(&list_lock);
}

uint64_t counter_total(enum counter which)
{
	uint64_t sum;

	pthread_mutex_lock(&list_lock);
	sum = counter_total_locked(which);
	pthread_mutex_unlock(&list_lock);
	return sum;
}

uint64_t counter_of(const struct counters *counters, enum counter which)
{
	return counter_shown(which, __atomic_load_n(&counters->value[which], __ATOMIC_RELAXED));
}

void histograms_sum(struct histogram_values out_sum[HISTOGRAM_COUNT])
{
	pthread_mutex_lock(&list_lock);
	memcpy(out_sum, ended_histogram, sizeof ended_histogram);
	for (const struct counters *c = list; c; c = c->next)
		for (size_t i = 0; i < HISTOGRAM_COUNT; i++)
			histogram_values_add(&out_sum[i], &c->histogram[i]);
	pthread_mutex_unlock(&list_lock);
}

uint64_t counters_sys_value(const uint64_t sum[COUNTER_COUNT], const char *sys_path)
{
	uint64_t value = 0;

	for (size_t i = 0; i < COUNTER_COUNT; i++)
		if (strcmp(counter_info[i].sys_path, sys_path) == 0)
			value += sum[i];
	return value;
}
