/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow_scenarios.c - the scenarios that are one flow of messages: who publishes where, and who
 * listens.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fail.h"
#include "flow.h"
#include "scenario.h"

static void numbered_topic(const struct options *options, uint32_t number, char *out)
{
	int length = snprintf(out, FLOW_TOPIC_MAX, "%s/%u", options->prefix, number);

	for (uint32_t level = 2; level < options->levels; level++, length += 2)
		memcpy(out + length, "/x", 3);
}

static void shared_topic(const struct options *options, uint32_t number, char *out)
{
	(void)number;
	snprintf(out, FLOW_TOPIC_MAX, "%s/all", options->prefix);
}

static void everything_filter(const struct options *options, uint32_t number, char *out)
{
	(void)options;
	(void)number;
	snprintf(out, FLOW_TOPIC_MAX, "#");
}

static void deep_topic(const struct options *options, uint32_t number, char *out)
{
	snprintf(out, FLOW_TOPIC_MAX, "%s/site/%u/sensor/temperature", options->prefix, number);
}

static void wildcard_filter(const struct options *options, uint32_t number, char *out)
{
	snprintf(out, FLOW_TOPIC_MAX, "%s/+/%u/#", options->prefix, number);
}

static void device_topic(const struct options *options, uint32_t number, char *out)
{
	(void)number;
	snprintf(out, FLOW_TOPIC_MAX, "%s/device/00000000/cmd", options->prefix);
}

/* Of twenty, sixteen are exact, three have a '+' (in two places) and one has a '#'. */
static void device_filter(const struct options *options, uint32_t number, char *out)
{
	static const char *const shapes[20] = {
		[16] = "%s/device/%08u/+",
		[17] = "%s/+/%08u/cmd",
		[18] = "%s/+/%08u/cmd",
		[19] = "%s/device/%08u/#",
	};

	if (options->exact || number % 20 < 16)
		snprintf(out, FLOW_TOPIC_MAX, "%s/device/%08u/cmd", options->prefix, number);
	else
		/* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): one of the four above */
		snprintf(out, FLOW_TOPIC_MAX, shapes[number % 20], options->prefix, number);
}

void run_one_to_one(const struct options *options, struct report *report)
{
	struct flow_plan plan = {
		.publishers = options->publishers,
		.subscribers = options->publishers,
		.filters = options->publishers,
		.receivers = 1,
		.topic = numbered_topic,
		.filter = numbered_topic,
		.paired = true,
	};

	flow_run(options, report, &plan, "deliver");
}

void run_wildcard(const struct options *options, struct report *report)
{
	struct flow_plan plan = {
		.publishers = options->publishers,
		.subscribers = options->publishers,
		.filters = options->publishers,
		.receivers = 1,
		.topic = deep_topic,
		.filter = wildcard_filter,
		.paired = true,
	};

	flow_run(options, report, &plan, "deliver");
}

void run_fan_out(const struct options *options, struct report *report)
{
	struct flow_plan plan = {
		.publishers = options->publishers,
		.subscribers = options->subscribers,
		.filters = options->subscribers,
		.receivers = (uint16_t)options->subscribers,
		.topic = shared_topic,
		.filter = shared_topic,
	};

	flow_run(options, report, &plan, "deliver");
}

/* ------------------------------------------------------------------ storm */

enum { BYSTANDER_RATE = 200 };

/* A run of its own in a thread of its own; what it shares with the storm is the broker. */
struct bystander {
	struct options options;
	struct report report;
	char prefix[64];
};

static void *bystander_main(void *argument)
{
	struct bystander *bystander = argument;
	struct flow_plan plan = {
		.publishers = 1,
		.subscribers = 1,
		.filters = 1,
		.receivers = 1,
		.topic = numbered_topic,
		.filter = numbered_topic,
		.paired = true,
	};

	flow_run(&bystander->options, &bystander->report, &plan, "bystander");
	return NULL;
}

static void bystander_init(struct bystander *bystander, const struct options *options)
{
	*bystander = (struct bystander){.options = *options};
	snprintf(bystander->prefix, sizeof(bystander->prefix), "%s-by", options->prefix);
	bystander->options.prefix = bystander->prefix;
	bystander->options.rate = BYSTANDER_RATE;
	bystander->options.quiet = true;
	bystander->report.options = &bystander->options;
}

/*
 * The storm's thread gets little of a processor that both share, or the bystander would wait for
 * this program instead of for the broker.
 */
void run_storm(const struct options *options, struct report *report)
{
	struct flow_plan plan = {
		.publishers = options->publishers,
		.subscribers = options->subscribers,
		.filters = options->subscribers,
		.receivers = (uint16_t)options->subscribers,
		.topic = shared_topic,
		.filter = shared_topic,
	};
	struct bystander bystander;
	struct engine engine;
	struct flow flow;
	pthread_t thread;

	engine_init(&engine, options);
	flow_open(&flow, &plan, &engine, report);
	bystander_init(&bystander, options);
	if (pthread_create(&thread, NULL, bystander_main, &bystander) != 0)
		fail("cannot start a thread");
	setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
	flow_measure(&flow, "storm");
	pthread_join(thread, NULL);
	flow_close(&flow);
	engine_fini(&engine);
	bystander.report.phases[0]->cost_elsewhere = true;
	report_merge(report, &bystander.report);
}

void run_fan_in(const struct options *options, struct report *report)
{
	struct flow_plan plan = {
		.publishers = options->publishers,
		.subscribers = options->subscribers,
		.filters = options->subscribers,
		.receivers = (uint16_t)options->subscribers,
		.topic = numbered_topic,
		.filter = everything_filter,
	};

	flow_run(options, report, &plan, "deliver");
}

void run_match(const struct options *options, struct report *report)
{
	struct flow_plan plan = {
		.publishers = options->publishers,
		.subscribers = options->subscribers,
		.filters = options->count,
		.receivers = 1,
		.topic = device_topic,
		.filter = device_filter,
		.varied = true,
	};

	flow_run(options, report, &plan, "publish");
}
