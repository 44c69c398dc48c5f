/* SPDX-License-Identifier: Apache-2.0 */
#include "http/metrics.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/version.h"
#include "store/store.h"

#define PAGE_BYTES_USUAL (64u * 1024u)
#define LINE_BYTES 1024u

/* The page while it is written: the first failure is kept, and what follows does nothing. */
struct page {
	struct buffer *out;
	enum err err;
};

static void put(struct page *page, const char *text, size_t len)
{
	if (page->err == ERR_NONE)
		page->err = buffer_append(page->out, slice_of(text, len), METRICS_BYTES_MAX);
}

static void put_text(struct page *page, const char *text)
{
	put(page, text, strlen(text));
}

static void put_format(struct page *page, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void put_format(struct page *page, const char *format, ...)
{
	char line[LINE_BYTES];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof line)
		page->err = ERR_LIMIT;
	else
		put(page, line, (size_t)len);
}

/* The text format escapes the backslash and the line break, in label values the quote as well. */
static void put_escaped(struct page *page, const char *text, bool is_label)
{
	for (; *text; text++) {
		if (*text == '\n')
			put_text(page, "\\n");
		else if (*text == '\\' || (is_label && *text == '"'))
			put_format(page, "\\%c", *text);
		else
			put(page, text, 1);
	}
}

static void put_head(struct page *page, const char *metric, const char *type, const char *help)
{
	put_text(page, "# HELP ");
	put_text(page, metric);
	put_text(page, " ");
	put_escaped(page, help, false);
	put_format(page, ".\n# TYPE %s %s\n", metric, type);
}

static void put_value(struct page *page, const char *metric, const char *labels, uint64_t value)
{
	put_text(page, metric);
	if (labels[0]) {
		put_text(page, "{");
		put_text(page, labels);
		put_text(page, "}");
	}
	put_format(page, " %" PRIu64 "\n", value);
}

static const char *kind_name(enum counter_kind kind)
{
	return kind == COUNTER_KIND_GAUGE ? "gauge" : "counter";
}

/* The rows of one metric stand together. */
static void put_counters(struct page *page)
{
	uint64_t sum[COUNTER_COUNT];
	const char *before = "";

	counters_sum(sum);
	for (size_t i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_info *info = &counter_info[i];

		if (strcmp(info->metric, before) != 0)
			put_head(page, info->metric, kind_name(info->kind), info->help);
		before = info->metric;
		put_value(page, info->metric, info->labels, sum[i]);
	}
}

static void put_worker_metric(struct page *page, struct runtime *runtime, enum counter which,
			      const char *metric, const char *help)
{
	put_head(page, metric, kind_name(counter_info[which].kind), help);
	for (unsigned i = 0; i < runtime_worker_count(runtime); i++) {
		const struct worker *worker = runtime_worker(runtime, (uint16_t)i);

		put_format(page, "%s{worker=\"%u\"} %" PRIu64 "\n", metric, i,
			   counter_of(worker->counters, which));
	}
}

static void put_worker_metrics(struct page *page, struct runtime *runtime)
{
#define WORKER_METRIC(counter, metric, help)                                                       \
	put_worker_metric(page, runtime, COUNTER_##counter, metric, help);
#include "http/metrics.def"
}

/* Histograms. */

static double shown(const struct histogram_info *info, uint64_t value)
{
	return info->unit == HISTOGRAM_UNIT_NANOSECONDS ? (double)value / 1e9 : (double)value;
}

static void put_histogram(struct page *page, const struct histogram_info *info, const char *labels,
			  const struct histogram_values *values)
{
	const char *comma = labels[0] ? "," : "";
	uint64_t below = 0;

	for (unsigned i = 0; i < info->bound_count; i++) {
		below += values->bucket[i];
		put_format(page, "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n", info->metric, labels,
			   comma, shown(info, info->bounds[i]), below);
	}
	/* One number for both: a bucket may have grown since the others were read. */
	below += values->bucket[info->bound_count];
	put_format(page, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", info->metric, labels, comma,
		   below);
	put_format(page, labels[0] ? "%s_sum{%s} %.9g\n" : "%s_sum%s %.9g\n", info->metric, labels,
		   shown(info, values->sum));
	put_format(page, labels[0] ? "%s_count{%s} %" PRIu64 "\n" : "%s_count%s %" PRIu64 "\n",
		   info->metric, labels, below);
}

static void put_turns(struct page *page, struct runtime *runtime)
{
	for (unsigned i = 0; i < runtime_worker_count(runtime); i++) {
		const struct worker *worker = runtime_worker(runtime, (uint16_t)i);
		struct histogram_values values = {0};
		char labels[32];

		histogram_values_add(&values, &worker->counters->histogram[HISTOGRAM_TURN]);
		snprintf(labels, sizeof labels, "worker=\"%u\"", i);
		put_histogram(page, &histogram_info[HISTOGRAM_TURN], labels, &values);
	}
}

static void put_histograms(struct page *page, struct runtime *runtime)
{
	struct histogram_values sums[HISTOGRAM_COUNT];
	const char *before = "";

	histograms_sum(sums);
	for (unsigned i = 0; i < HISTOGRAM_COUNT; i++) {
		const struct histogram_info *info = &histogram_info[i];

		if (strcmp(info->metric, before) != 0)
			put_head(page, info->metric, "histogram", info->help);
		before = info->metric;
		if (i == HISTOGRAM_TURN)
			put_turns(page, runtime);
		else
			put_histogram(page, info, info->labels, &sums[i]);
	}
}

/* What is worked out when it is asked for. */

static void put_build(struct page *page, const char *metric)
{
	put_text(page, metric);
	put_text(page, "{version=\"");
	put_escaped(page, NIGHTJAR_VERSION, true);
	put_text(page, "\"} 1\n");
}

static void put_memory(struct page *page, const char *metric)
{
	for (unsigned i = 0; i < MEMORY_CLASS_COUNT; i++)
		put_format(page, "%s{class=\"%s\"} %" PRIu64 "\n", metric,
			   memory_class_label((enum memory_class)i),
			   memory_used((enum memory_class)i));
}

/* The second number of /proc/self/statm, in pages; 0: unknown. */
static uint64_t resident_bytes(void)
{
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char text[128];
	unsigned long pages = 0;
	ssize_t got;

	if (fd < 0)
		return 0;
	got = read(fd, text, sizeof text - 1);
	close(fd);
	if (got <= 0)
		return 0;
	text[got] = '\0';
	if (sscanf(text, "%*s %lu", &pages) != 1)
		return 0;
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return 0;
	return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
	       ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) / 1e6;
}

static uint64_t max_fds(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (uint64_t)limit.rlim_cur : 0;
}

enum single {
#define SINGLE_METRIC(name, type, metric, help) SINGLE_##name,
#include "http/metrics.def"
};

static void put_store(struct page *page, const char *metric, const struct store_figures *figures)
{
	put_format(page, "%s{durability=\"%s\",state=\"%s\"} 1\n", metric,
		   store_durability_name(figures->durability), store_state_name(figures->state));
}

static void put_store_single(struct page *page, const struct metrics_source *source,
			     enum single which, const char *metric)
{
	struct store_figures figures;

	store_figures_of(runtime_worker(source->runtime, 0), &figures);
	switch (which) {
	case SINGLE_STORE: put_store(page, metric, &figures); return;
	case SINGLE_STORE_FILE: put_value(page, metric, "", figures.file_bytes); return;
	case SINGLE_STORE_USED: put_value(page, metric, "", figures.used_bytes); return;
	case SINGLE_STORE_MAX: put_value(page, metric, "", figures.max_bytes); return;
	case SINGLE_STORE_WAITING: put_value(page, metric, "", figures.waiting_bytes); return;
	case SINGLE_STORE_LAST_COMMIT:
		put_format(page, "%s %.6f\n", metric, (double)figures.last_commit_us / 1e6);
		return;
	case SINGLE_STORE_LAST_RECORDS:
		put_value(page, metric, "", figures.last_commit_records);
		return;
	default: return;
	}
}

static void put_single(struct page *page, const struct metrics_source *source, enum single which,
		       const char *metric)
{
	double uptime_s = (double)(clock_now_ms() - source->started_ms) / 1e3;

	switch (which) {
	case SINGLE_BUILD: put_build(page, metric); return;
	case SINGLE_MEMORY: put_memory(page, metric); return;
	case SINGLE_READY: put_value(page, metric, "", source->is_ready); return;
	case SINGLE_UPTIME: put_format(page, "%s %.3f\n", metric, uptime_s); return;
	case SINGLE_WORKERS:
		put_value(page, metric, "", runtime_worker_count(source->runtime));
		return;
	case SINGLE_MEMORY_PEAK: put_value(page, metric, "", memory_used_peak()); return;
	case SINGLE_MEMORY_OVER: put_value(page, metric, "", memory_is_over_limit()); return;
	case SINGLE_CPU: put_format(page, "%s %.3f\n", metric, cpu_seconds()); return;
	case SINGLE_RESIDENT: put_value(page, metric, "", resident_bytes()); return;
	case SINGLE_START_TIME:
		put_format(page, "%s %.3f\n", metric, (double)clock_wall_ms() / 1e3 - uptime_s);
		return;
	case SINGLE_MAX_FDS: put_value(page, metric, "", max_fds()); return;
	case SINGLE_STORE:
	case SINGLE_STORE_FILE:
	case SINGLE_STORE_USED:
	case SINGLE_STORE_MAX:
	case SINGLE_STORE_WAITING:
	case SINGLE_STORE_LAST_COMMIT:
	case SINGLE_STORE_LAST_RECORDS: put_store_single(page, source, which, metric); return;
	}
}

static void put_singles(struct page *page, const struct metrics_source *source)
{
#define SINGLE_METRIC(name, type, metric, help)                                                    \
	put_head(page, metric, #type, help);                                                       \
	put_single(page, source, SINGLE_##name, metric);
#include "http/metrics.def"
}

enum err metrics_render(const struct metrics_source *source, struct buffer *out)
{
	struct page page = {.out = out};

	/* Once, instead of growing step by step. */
	page.err = buffer_reserve(out, PAGE_BYTES_USUAL, METRICS_BYTES_MAX);
	put_singles(&page, source);
	put_counters(&page);
	put_histograms(&page, source->runtime);
	put_worker_metrics(&page, source->runtime);
	return page.err;
}
