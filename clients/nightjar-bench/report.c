/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "fail.h"
#include "probe.h"
#include "report.h"
#include "scenario.h"

static const struct {
	double percent;
	const char *name;
} percentiles[] = {
	{50, "p50"}, {90, "p90"}, {99, "p99"}, {99.9, "p99.9"}, {99.99, "p99.99"},
};

enum {
	PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]),
	PROGRESS_EVERY_NS = 250000000,
	NUMBER_MAX = 32,
};

/* ------------------------------------------------------------------ phases */

struct phase *report_add(struct report *report, const char *name, const char *unit)
{
	struct phase *phase = must_allocate(1, sizeof(*phase));

	if (report->phase_count == REPORT_PHASES_MAX)
		fail("a scenario has more than %d phases", REPORT_PHASES_MAX);
	phase->name = name;
	phase->unit = unit;
	report->phases[report->phase_count++] = phase;
	return phase;
}

static struct probe_times broker_times(const struct report *report)
{
	struct probe_times first = probe_times_of(report->options->broker_pid);
	struct probe_times second = probe_times_of(report->options->second_broker_pid);

	return (struct probe_times){first.cpu_ns + second.cpu_ns,
				    first.waited_ns + second.waited_ns};
}

static uint64_t broker_memory_bytes(const struct report *report)
{
	return probe_memory_bytes(report->options->broker_pid) +
	       probe_memory_bytes(report->options->second_broker_pid);
}

void phase_begin(const struct report *report, struct phase *phase)
{
	struct probe_times times;

	histogram_clear(&phase->latency);
	phase->memory_before = broker_memory_bytes(report);
	phase->own_waited_ns = probe_times_of(getpid()).waited_ns;
	phase->own_cpu_ns = probe_own_cpu_ns();
	phase->began_ns = probe_now_ns();
	times = broker_times(report);
	phase->broker_cpu_ns = times.cpu_ns;
	phase->broker_waited_ns = times.waited_ns;
}

void phase_end(const struct report *report, struct phase *phase, uint64_t count)
{
	struct probe_times times = broker_times(report);

	phase->broker_cpu_ns = times.cpu_ns - phase->broker_cpu_ns;
	phase->broker_waited_ns = times.waited_ns - phase->broker_waited_ns;
	phase->wall_ns = probe_now_ns() - phase->began_ns;
	phase->own_cpu_ns = probe_own_cpu_ns() - phase->own_cpu_ns;
	phase->own_waited_ns = probe_times_of(getpid()).waited_ns - phase->own_waited_ns;
	phase->memory_after = broker_memory_bytes(report);
	phase->count = count;
}

void report_merge(struct report *report, const struct report *other)
{
	for (unsigned i = 0; i < other->phase_count; i++) {
		if (report->phase_count == REPORT_PHASES_MAX)
			fail("a scenario has more than %d phases", REPORT_PHASES_MAX);
		report->phases[report->phase_count++] = other->phases[i];
	}
	report->tally.lost += other->tally.lost;
	report->tally.doubled += other->tally.doubled;
	report->tally.out_of_order += other->tally.out_of_order;
	report->tally.unexpected += other->tally.unexpected;
}

void report_aborted(struct report *report, const char *error, bool has_phases)
{
	unsigned ended = 0;

	report->error = error;
	for (unsigned i = 0; has_phases && i < report->phase_count; i++)
		if (report->phases[i]->wall_ns)
			report->phases[ended++] = report->phases[i];
	report->phase_count = ended;
}

void report_fini(struct report *report)
{
	for (unsigned i = 0; i < report->phase_count; i++)
		free(report->phases[i]);
}

static double phase_rate(const struct phase *phase)
{
	return phase->wall_ns ? (double)phase->count * 1e9 / (double)phase->wall_ns : 0;
}

/* Microseconds for each thing counted. */
static double phase_cost_us(const struct phase *phase, uint64_t cpu_ns)
{
	return phase->count ? (double)cpu_ns / 1000.0 / (double)phase->count : 0;
}

static double phase_memory_each(const struct phase *phase)
{
	return ((double)phase->memory_after - (double)phase->memory_before) /
	       (double)phase->memory_items;
}

/* ------------------------------------------------------------------ progress */

void report_progress(struct report *report, const char *what, uint64_t count, uint64_t now_ns)
{
	if (report->options->quiet || !isatty(STDERR_FILENO) ||
	    now_ns - report->progress_ns < PROGRESS_EVERY_NS)
		return;
	report->progress_ns = now_ns;
	report->progress_shown = true;
	fprintf(stderr, "\r%s: %" PRIu64 "\033[K", what, count);
	fflush(stderr);
}

void report_progress_end(struct report *report)
{
	if (report->progress_shown)
		fputs("\r\033[K", stderr);
	report->progress_shown = false;
}

/* ------------------------------------------------------------------ the table */

static const char *with_commas(uint64_t value, char text[NUMBER_MAX])
{
	char digits[NUMBER_MAX];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, value), at = 0;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			text[at++] = ',';
		text[at++] = digits[i];
	}
	text[at] = '\0';
	return text;
}

/* Three significant digits: "870 ns", "12.3 us", "1.20 ms". */
static const char *duration(uint64_t ns, char text[NUMBER_MAX])
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	double value = (double)ns;
	unsigned unit = 0;

	while (value >= 999.5 && unit < 3) {
		value /= 1000;
		unit++;
	}
	snprintf(text, NUMBER_MAX, "%.*f %s",
		 unit == 0 || value >= 99.95 ? 0
		 : value >= 9.995	     ? 1
					     : 2,
		 value, units[unit]);
	return text;
}

static const char *cost(const struct report *report, const struct phase *phase,
			char text[NUMBER_MAX])
{
	if (!report->options->broker_pid || phase->cost_elsewhere)
		return "-";
	snprintf(text, NUMBER_MAX, "%.4f us", phase_cost_us(phase, phase->broker_cpu_ns));
	return text;
}

static void print_phase(const struct report *report, const struct phase *phase)
{
	char count[NUMBER_MAX], rate[NUMBER_MAX], broker[NUMBER_MAX], own[NUMBER_MAX];
	char what[64];

	snprintf(what, sizeof(what), "%s, each %s", phase->name, phase->unit);
	if (phase->cost_elsewhere)
		snprintf(own, sizeof(own), "-");
	else
		snprintf(own, sizeof(own), "%.4f us", phase_cost_us(phase, phase->own_cpu_ns));
	printf("  %-24s %14s %12s/s %14s %14s %5.0f %%\n", what, with_commas(phase->count, count),
	       with_commas((uint64_t)phase_rate(phase), rate), cost(report, phase, broker), own,
	       phase->wall_ns ? 100.0 * (double)phase->own_cpu_ns / (double)phase->wall_ns : 0);
}

static void print_latency(const struct phase *phase)
{
	char text[NUMBER_MAX];

	if (phase->latency.count == 0)
		return;
	printf("  %-24s", phase->name);
	for (unsigned i = 0; i < PERCENTILES; i++)
		printf(" %10s",
		       duration(histogram_percentile(&phase->latency, percentiles[i].percent),
				text));
	printf(" %10s  %s\n", duration(phase->latency.max, text),
	       phase->open_loop ? "since it was due" : "since it was sent");
}

/* What makes latencies long without the broker's doing. */
static void print_waits(const struct report *report, const struct phase *phase)
{
	char broker[NUMBER_MAX], own[NUMBER_MAX];

	if (phase->latency.count == 0 || phase->cost_elsewhere)
		return;
	printf("  %-24s", phase->name);
	if (report->options->broker_pid)
		printf(" broker %s,", duration(phase->broker_waited_ns, broker));
	printf(" nightjar-bench %s\n", duration(phase->own_waited_ns, own));
}

static void print_memory(const struct phase *phase)
{
	printf("  %-24s %.2f MiB before, %.2f MiB after", phase->name,
	       (double)phase->memory_before / 1048576, (double)phase->memory_after / 1048576);
	if (phase->memory_items)
		printf(", %.0f bytes each", phase_memory_each(phase));
	printf("\n");
}

static void print_parameters(const struct options *options)
{
	printf("%s, MQTT %s", options->scenario->name, options->version == MQTT_5 ? "5" : "3.1.1");
	if (options->payload_bytes)
		printf(", QoS %d, %" PRIu32 " bytes", options->qos, options->payload_bytes);
	if (options->publishers)
		printf(", %" PRIu32 " publishers, %" PRIu32 " subscribers", options->publishers,
		       options->subscribers);
	if (options->count)
		printf(", %" PRIu32 " %s", options->count, options->scenario->counted);
	if (options->rate > 0)
		printf(", %.0f messages/s", options->rate);
	else if (options->window)
		printf(", window %" PRIu32, options->window);
	printf("\n");
}

void report_print(const struct report *report)
{
	const struct tally *tally = &report->tally;

	print_parameters(report->options);
	printf("\n  %-24s %14s %14s %14s %14s %7s\n", "", "count", "rate", "broker's CPU",
	       "own CPU", "of core");
	for (unsigned i = 0; i < report->phase_count; i++)
		print_phase(report, report->phases[i]);
	printf("\n  %-24s", "latency");
	for (unsigned i = 0; i < PERCENTILES; i++)
		printf(" %10s", percentiles[i].name);
	printf(" %10s\n", "max");
	for (unsigned i = 0; i < report->phase_count; i++)
		print_latency(report->phases[i]);
	printf("\n  could run, but had no processor\n");
	for (unsigned i = 0; i < report->phase_count; i++)
		print_waits(report, report->phases[i]);
	if (report->options->broker_pid) {
		printf("\n  broker's memory\n");
		for (unsigned i = 0; i < report->phase_count; i++)
			print_memory(report->phases[i]);
	}
	printf("\n%s: %" PRIu64 " lost, %" PRIu64 " doubled, %" PRIu64 " out of order, %" PRIu64
	       " unexpected\n",
	       report_passed(report) ? "passed" : "FAILED", tally->lost, tally->doubled,
	       tally->out_of_order, tally->unexpected);
}

bool report_passed(const struct report *report)
{
	const struct tally *tally = &report->tally;

	return !report->error &&
	       !(tally->lost | tally->doubled | tally->out_of_order | tally->unexpected);
}

/* ------------------------------------------------------------------ JSON */

static void json_latency(cJSON *object, const struct phase *phase)
{
	const struct histogram *latency = &phase->latency;
	cJSON *all;

	if (latency->count == 0)
		return;
	all = cJSON_AddObjectToObject(object, "latency_us");
	cJSON_AddStringToObject(all, "counted_from", phase->open_loop ? "due" : "sent");
	cJSON_AddNumberToObject(all, "count", (double)latency->count);
	cJSON_AddNumberToObject(all, "mean",
				(double)latency->sum / 1000.0 / (double)latency->count);
	for (unsigned i = 0; i < PERCENTILES; i++)
		cJSON_AddNumberToObject(all, percentiles[i].name,
					(double)histogram_percentile(latency,
								     percentiles[i].percent) /
						1000.0);
	cJSON_AddNumberToObject(all, "max", (double)latency->max / 1000.0);
}

static cJSON *json_phase(const struct report *report, const struct phase *phase)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "name", phase->name);
	cJSON_AddStringToObject(object, "unit", phase->unit);
	cJSON_AddNumberToObject(object, "count", (double)phase->count);
	cJSON_AddNumberToObject(object, "seconds", (double)phase->wall_ns / 1e9);
	cJSON_AddNumberToObject(object, "per_second", phase_rate(phase));
	json_latency(object, phase);
	if (phase->cost_elsewhere)
		return object;
	cJSON_AddNumberToObject(object, "own_cpu_us_each", phase_cost_us(phase, phase->own_cpu_ns));
	cJSON_AddNumberToObject(object, "own_cpu_share",
				phase->wall_ns ? (double)phase->own_cpu_ns / (double)phase->wall_ns
					       : 0);
	cJSON_AddNumberToObject(object, "own_waited_us", (double)phase->own_waited_ns / 1000.0);
	if (report->options->broker_pid) {
		cJSON_AddNumberToObject(object, "broker_waited_us",
					(double)phase->broker_waited_ns / 1000.0);
		cJSON_AddNumberToObject(object, "broker_cpu_us_each",
					phase_cost_us(phase, phase->broker_cpu_ns));
		cJSON_AddNumberToObject(object, "broker_memory_before",
					(double)phase->memory_before);
		cJSON_AddNumberToObject(object, "broker_memory_after", (double)phase->memory_after);
		if (phase->memory_items)
			cJSON_AddNumberToObject(object, "broker_memory_each",
						phase_memory_each(phase));
	}
	return object;
}

static void json_parameters(cJSON *root, const struct options *options)
{
	cJSON *all = cJSON_AddObjectToObject(root, "parameters");

	cJSON_AddStringToObject(all, "mqtt", options->version == MQTT_5 ? "5" : "3.1.1");
	cJSON_AddNumberToObject(all, "qos", options->qos);
	cJSON_AddNumberToObject(all, "publishers", options->publishers);
	cJSON_AddNumberToObject(all, "subscribers", options->subscribers);
	cJSON_AddNumberToObject(all, "count", options->count);
	cJSON_AddNumberToObject(all, "payload", options->payload_bytes);
	cJSON_AddNumberToObject(all, "window", options->window);
	cJSON_AddNumberToObject(all, "concurrency", options->concurrency);
	cJSON_AddNumberToObject(all, "rate", options->rate);
	cJSON_AddNumberToObject(all, "seconds", options->seconds);
}

void report_json(const struct report *report)
{
	const struct options *options = report->options;
	cJSON *root = cJSON_CreateObject(), *phases, *errors;
	FILE *out = options->json_path ? fopen(options->json_path, "we") : stdout;
	char *text;

	if (!out)
		fail("cannot write %s: %s", options->json_path, strerror(errno));
	cJSON_AddStringToObject(root, "program", "nightjar-bench " NIGHTJAR_VERSION);
	cJSON_AddStringToObject(root, "scenario", options->scenario->name);
	cJSON_AddBoolToObject(root, "passed", report_passed(report));
	if (report->error)
		cJSON_AddStringToObject(root, "error", report->error);
	json_parameters(root, options);
	errors = cJSON_AddObjectToObject(root, "errors");
	cJSON_AddNumberToObject(errors, "lost", (double)report->tally.lost);
	cJSON_AddNumberToObject(errors, "doubled", (double)report->tally.doubled);
	cJSON_AddNumberToObject(errors, "out_of_order", (double)report->tally.out_of_order);
	cJSON_AddNumberToObject(errors, "unexpected", (double)report->tally.unexpected);
	phases = cJSON_AddArrayToObject(root, "phases");
	for (unsigned i = 0; i < report->phase_count; i++)
		cJSON_AddItemToArray(phases, json_phase(report, report->phases[i]));
	text = cJSON_Print(root);
	if (!text || fprintf(out, "%s\n", text) < 0 || fflush(out) != 0)
		fail("cannot write the JSON: %s", strerror(errno));
	if (out != stdout)
		fclose(out);
	cJSON_free(text);
	cJSON_Delete(root);
}
