/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_act.c - commands of the control socket that the main thread answers by itself.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/version.h"
#include "server/config_parse.h"
#include "server/control_job.h"

static cJSON *record_begin(struct control_job *job, const char *type)
{
	cJSON *record = cJSON_CreateObject();

	job->records++;
	cJSON_AddStringToObject(record, "type", type);
	return record;
}

/* A peer that has gone while the answer was written has abandoned the job: nobody is there. */
static void record_send(struct control_job *job, cJSON *record)
{
	if (job->peer)
		control_peer_send_take(job->peer, record);
	else
		cJSON_Delete(record);
}

/* stats */

static void send_broker(struct control_job *job)
{
	const struct broker *broker = job->control->broker;
	cJSON *record = record_begin(job, "broker");

	cJSON_AddStringToObject(record, "version", NIGHTJAR_VERSION);
	control_json_number(record, "pid", (uint64_t)getpid());
	control_json_number(record, "uptime_s", (clock_now_ms() - broker->started_ms) / 1000);
	control_json_number(record, "workers", runtime_worker_count(broker->runtime));
	cJSON_AddBoolToObject(record, "stopping", broker->is_stopping);
	control_json_number(record, "memory_bytes", memory_used_total());
	control_json_number(record, "memory_peak_bytes", memory_used_peak());
	cJSON_AddBoolToObject(record, "memory_limit_reached", memory_is_over_limit());
	record_send(job, record);
}

static void send_memory(struct control_job *job)
{
	for (unsigned i = 0; i < MEMORY_CLASS_COUNT; i++) {
		cJSON *record = record_begin(job, "memory");

		cJSON_AddStringToObject(record, "class", memory_class_label((enum memory_class)i));
		control_json_number(record, "bytes", memory_used((enum memory_class)i));
		record_send(job, record);
	}
}

static void send_counters(struct control_job *job)
{
	uint64_t sum[COUNTER_COUNT];

	counters_sum(sum);
	for (size_t i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_info *info = &counter_info[i];
		cJSON *record = record_begin(job, "metric");

		cJSON_AddStringToObject(record, "name", info->metric);
		cJSON_AddStringToObject(record, "labels", info->labels);
		cJSON_AddStringToObject(record, "kind",
					info->kind == COUNTER_KIND_GAUGE ? "gauge" : "counter");
		control_json_number(record, "value", sum[i]);
		cJSON_AddStringToObject(record, "help", info->help);
		record_send(job, record);
	}
}

static double shown(enum histogram which, uint64_t value)
{
	return histogram_info[which].unit == HISTOGRAM_UNIT_NANOSECONDS ? (double)value / 1e9
									: (double)value;
}

/* Quantiles are the upper bounds of their buckets: "at most so much". */
static void send_histogram(struct control_job *job, enum histogram which, const char *labels,
			   const struct histogram_values *values)
{
	cJSON *record = record_begin(job, "histogram");
	const struct histogram_info *info = &histogram_info[which];

	cJSON_AddStringToObject(record, "name", info->metric);
	cJSON_AddStringToObject(record, "labels", labels);
	control_json_number(record, "count", histogram_values_count(values));
	cJSON_AddNumberToObject(record, "sum", shown(which, values->sum));
	cJSON_AddNumberToObject(record, "p50",
				shown(which, histogram_values_quantile(values, which, 0.5)));
	cJSON_AddNumberToObject(record, "p90",
				shown(which, histogram_values_quantile(values, which, 0.9)));
	cJSON_AddNumberToObject(record, "p99",
				shown(which, histogram_values_quantile(values, which, 0.99)));
	cJSON_AddStringToObject(record, "help", info->help);
	record_send(job, record);
}

static void send_histograms(struct control_job *job)
{
	struct histogram_values sums[HISTOGRAM_COUNT];

	histograms_sum(sums);
	for (unsigned i = 0; i < HISTOGRAM_COUNT; i++)
		send_histogram(job, (enum histogram)i, histogram_info[i].labels, &sums[i]);
}

static void send_workers(struct control_job *job)
{
	struct runtime *runtime = job->control->broker->runtime;

	for (unsigned i = 0; i < runtime_worker_count(runtime); i++) {
		const struct counters *counters = runtime_worker(runtime, (uint16_t)i)->counters;
		cJSON *record = record_begin(job, "worker");

		control_json_number(record, "worker", i);
		control_json_number(record, "clients",
				    counter_of(counters, COUNTER_CLIENTS_CONNECTED));
		control_json_number(record, "publish_received",
				    counter_of(counters, COUNTER_PUBLISH_RECEIVED));
		control_json_number(record, "publish_sent",
				    counter_of(counters, COUNTER_PUBLISH_SENT));
		control_json_number(record, "turns", counter_of(counters, COUNTER_TURNS));
		control_json_number(record, "slow_turns", counter_of(counters, COUNTER_SLOW_TURNS));
		record_send(job, record);
	}
}

void control_stats(struct control_job *job)
{
	send_broker(job);
	send_workers(job);
	send_memory(job);
	send_counters(job);
	send_histograms(job);
	control_job_end(job);
}

/* reload */

static void log_who(const struct control_job *job, const char *what)
{
	log_event(LOG_TYPE_NOTICE, NULL, "Control: %s, by %s", what, job->peer->who);
}

static void tell_error(struct control_job *job, const char *code, const char *message)
{
	job->is_told = true;
	control_job_error(job->peer, code, message);
}

void control_reload(struct control_job *job)
{
	struct control *control = job->control;
	const char *failure;

	if (control->is_stopping || control->reloading) {
		tell_error(job, "busy",
			   control->is_stopping ? "The broker is stopping."
						: "Another reload is still on its way.");
		control_job_end(job);
		return;
	}
	log_who(job, "reload");
	failure = broker_reload(control->broker);
	if (failure) {
		tell_error(job, "configuration", failure);
		control_job_end(job);
		return;
	}
	/* Answered when the last worker has looked through its sessions. */
	job->reload = control->broker->reloads_begun;
	control->reloading = job;
}

void control_reload_ended(struct control_job *job)
{
	cJSON *record = record_begin(job, "reloaded");

	job->control->reloading = NULL;
	job->reload = 0;
	record_send(job, record);
	control_job_end(job);
}

/* log-level */

/* A level is a type with all that are worse. */
static unsigned types_down_to(const char *level)
{
	static const char *const order[] = {"error", "warning", "notice", "information", "debug"};
	unsigned types = 0;

	if (strcmp(level, "all") == 0)
		return LOG_TYPES_ALL;
	for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
		types |= 1u << i;
		if (strcmp(level, order[i]) == 0)
			return types;
	}
	return 0;
}

static unsigned type_named(const char *name)
{
	for (const struct config_choice *choice = config_log_types; choice->name; choice++)
		if (strcmp(choice->name, name) == 0)
			return (unsigned)choice->value;
	return 0;
}

/* Words: a level, "none", "+type", "-type". false: one of them is none of these. */
static bool apply_words(char *words, unsigned *types)
{
	char *rest = words, *word;

	while ((word = strsep(&rest, " "))) {
		unsigned named =
			*word == '+' || *word == '-' ? type_named(word + 1) : types_down_to(word);

		if (*word == '\0')
			continue;
		if (!named && strcmp(word, "none") != 0)
			return false;
		if (*word == '+')
			*types |= named;
		else if (*word == '-')
			*types &= ~named;
		else
			*types = named;
	}
	return true;
}

static void send_types(struct control_job *job)
{
	cJSON *record = record_begin(job, "log-level");
	cJSON *list = cJSON_AddArrayToObject(record, "types");

	for (const struct config_choice *choice = config_log_types; choice->name; choice++)
		if (choice->value != LOG_TYPES_ALL && log_is_enabled((enum log_type)choice->value))
			cJSON_AddItemToArray(list, cJSON_CreateString(choice->name));
	record_send(job, record);
}

void control_log_level(struct control_job *job)
{
	unsigned types = __atomic_load_n(&log_types_enabled, __ATOMIC_RELAXED);
	char text[160];

	if (job->request.argument) {
		snprintf(text, sizeof text, "log-level %.128s", job->request.argument);
		if (!apply_words(job->request.argument, &types)) {
			tell_error(job, "bad_request",
				   "A log level is none, error, warning, notice, information, "
				   "debug or all; +TYPE and -TYPE add and take away one type of "
				   "log_type.");
			control_job_end(job);
			return;
		}
		/* Before and after: one of them is enabled, unless nothing is. */
		log_types_set(types | LOG_TYPE_NOTICE);
		log_who(job, text);
		log_types_set(types);
	}
	send_types(job);
	control_job_end(job);
}
