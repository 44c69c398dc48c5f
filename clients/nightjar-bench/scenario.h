/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario.h - the situations that can be measured, one row each in scenario.c.
 */
#ifndef NIGHTJAR_BENCH_SCENARIO_H
#define NIGHTJAR_BENCH_SCENARIO_H

#include "options.h"
#include "report.h"

struct scenario {
	const char *name;
	const char *help;
	void (*run)(const struct options *options, struct report *report);
	struct options defaults; /* what is 0 here has no meaning for the scenario, or is 0 */
	const char *counted;	 /* what --count counts, in the plural */
	bool paired;		 /* as many subscribers as publishers */
	bool can_persist;	 /* knows --persistent */
	bool silent;		 /* nobody publishes */
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/* NULL when there is none of that name. */
const struct scenario *scenario_find(const char *name);

void run_one_to_one(const struct options *options, struct report *report);
void run_fan_out(const struct options *options, struct report *report);
void run_fan_in(const struct options *options, struct report *report);
void run_wildcard(const struct options *options, struct report *report);
void run_storm(const struct options *options, struct report *report);
void run_match(const struct options *options, struct report *report);
void run_connect(const struct options *options, struct report *report);
void run_idle(const struct options *options, struct report *report);
void run_churn(const struct options *options, struct report *report);
void run_retained(const struct options *options, struct report *report);
void run_offline(const struct options *options, struct report *report);

#endif
