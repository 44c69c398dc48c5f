/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histograms.h"

#define BOUND_COUNT(...) (sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

const struct histogram_info histogram_info[HISTOGRAM_COUNT] = {
#define HISTOGRAM(name_, unit_, metric_, labels_, help_, ...)                                      \
	[HISTOGRAM_##name_] = {                                                                    \
		.name = #name_,                                                                    \
		.metric = metric_,                                                                 \
		.labels = labels_,                                                                 \
		.help = help_,                                                                     \
		.unit = HISTOGRAM_UNIT_##unit_,                                                    \
		.bound_count = BOUND_COUNT(__VA_ARGS__),                                           \
		.bounds = {__VA_ARGS__},                                                           \
	},
#include "base/histograms.def"
#undef HISTOGRAM
};

static void add_relaxed(uint64_t *to, uint64_t n)
{
	__atomic_store_n(to, __atomic_load_n(to, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void histogram_values_clear(struct histogram_values *values)
{
	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS_MAX; i++)
		__atomic_store_n(&values->bucket[i], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&values->sum, 0, __ATOMIC_RELAXED);
}

void histogram_values_record(struct histogram_values *values, enum histogram which, uint64_t value)
{
	const struct histogram_info *info = &histogram_info[which];
	unsigned i = 0;

	while (i < info->bound_count && value > info->bounds[i])
		i++;
	add_relaxed(&values->bucket[i], 1);
	add_relaxed(&values->sum, value);
}

void histogram_values_add(struct histogram_values *sum, const struct histogram_values *values)
{
	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS_MAX; i++)
		sum->bucket[i] += __atomic_load_n(&values->bucket[i], __ATOMIC_RELAXED);
	sum->sum += __atomic_load_n(&values->sum, __ATOMIC_RELAXED);
}

uint64_t histogram_values_count(const struct histogram_values *values)
{
	uint64_t count = 0;

	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS_MAX; i++)
		count += values->bucket[i];
	return count;
}

uint64_t histogram_values_quantile(const struct histogram_values *values, enum histogram which,
				   double part)
{
	const struct histogram_info *info = &histogram_info[which];
	uint64_t count = histogram_values_count(values);
	double wanted = part * (double)count;
	uint64_t below = 0;

	if (count == 0)
		return 0;
	for (unsigned i = 0; i < info->bound_count; i++) {
		below += values->bucket[i];
		if (below > 0 && (double)below >= wanted)
			return info->bounds[i];
	}
	return info->bounds[info->bound_count - 1];
}
