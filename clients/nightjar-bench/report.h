/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what was measured, and how people and programs get to read it.
 *
 * A scenario measures one or more phases, one after the other: "store" and "deliver", or just
 * "deliver". Each phase is a row of the table and an object in the JSON.
 */
#ifndef NIGHTJAR_BENCH_REPORT_H
#define NIGHTJAR_BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "options.h"

enum { REPORT_PHASES_MAX = 8 };

/* What went wrong with messages, over the whole run, warm-up included. All 0, or the run fails. */
struct tally {
	uint64_t lost;
	uint64_t doubled;
	uint64_t out_of_order;
	uint64_t unexpected; /* foreign, damaged, refused, or acknowledged without a reason */
};

struct phase {
	const char *name;
	const char *unit; /* what is counted, in the singular */
	uint64_t count;
	uint64_t began_ns, wall_ns;
	uint64_t broker_cpu_ns, own_cpu_ns;	  /* starting values between begin and end */
	uint64_t broker_waited_ns, own_waited_ns; /* for a processor; likewise */
	uint64_t memory_before, memory_after;	  /* the broker's, bytes */
	uint64_t memory_items;			  /* what the growth is divided by; 0: no figure */
	bool open_loop;				  /* latencies count from when a message was due */
	bool cost_elsewhere;	  /* another phase at the same time has the CPU time */
	struct histogram latency; /* ns; empty when the phase has none */
};

struct report {
	const struct options *options;
	struct tally tally;
	struct phase *phases[REPORT_PHASES_MAX];
	unsigned phase_count;
	const char *error;    /* why the run was given up; NULL: it was not */
	uint64_t progress_ns; /* when the progress line was last written */
	bool progress_shown;
};

/* Adds a phase; its clocks begin with phase_begin. */
struct phase *report_add(struct report *report, const char *name, const char *unit);
void phase_begin(const struct report *report, struct phase *phase);
void phase_end(const struct report *report, struct phase *phase, uint64_t count);

/* A line on standard error that replaces the one before, at most four times a second. */
void report_progress(struct report *report, const char *what, uint64_t count, uint64_t now_ns);
void report_progress_end(struct report *report);

/* Takes over what another thread has measured with options of its own. */
void report_merge(struct report *report, const struct report *other);

void report_fini(struct report *report);

/* The run was given up: phases that have not ended, or another thread's, are left out of the JSON. */
void report_aborted(struct report *report, const char *error, bool has_phases);

/* True when it came to its end, and no message was lost, doubled, out of order or unexpected. */
bool report_passed(const struct report *report);
void report_print(const struct report *report);
void report_json(const struct report *report);

#endif
