/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow.h - messages from publishers to subscribers, each one accounted for.
 *
 * Every payload begins with a stamp: who published it, the how-manieth it is, and when it was due.
 * A publisher has at most `window` messages under way, so no broker has a reason to drop one, and
 * brokers of any speed do the same work for each message. With a rate instead, messages are due
 * at fixed times whatever the broker does, and wait for the window if they must.
 */
#ifndef NIGHTJAR_BENCH_FLOW_H
#define NIGHTJAR_BENCH_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "report.h"

enum {
	FLOW_PAYLOAD_MIN = 16,
	FLOW_PAYLOAD_MAX = 1 << 20,
	FLOW_TOPIC_MAX = 256,
	FLOW_WINDOW_MAX = 32768, /* so that a slot's number is a Packet Identifier */
	FLOW_DIGITS = 8,	 /* of the number in a topic that changes with each message */
};

struct publisher;
struct subscriber;

/* The shape of a flow; constant while it runs. */
struct flow_plan {
	uint32_t publishers, subscribers;
	uint16_t receivers; /* of each message */
	uint32_t filters;   /* of all subscribers */
	/* The Topic Name of a publisher. With `varied`, its last eight digits are replaced. */
	void (*topic)(const struct options *options, uint32_t publisher, char *out);
	/* A Topic Filter; it belongs to subscriber number % subscribers. */
	void (*filter)(const struct options *options, uint32_t number, char *out);
	/* Subscriber i hears publisher i only; otherwise each hears all. */
	bool paired;
	/*
	 * Each message has another topic. options->match_percent of them go to one subscriber,
	 * that of filter number N, the others to nobody.
	 */
	bool varied;
};

struct flow {
	const struct flow_plan *plan;
	const struct options *options;
	struct engine *engine;
	struct report *report;
	struct publisher *publishers;
	struct subscriber *subscribers;
	struct publisher **ready; /* those that can publish */
	uint32_t ready_count;
	uint32_t window, mask; /* mask + 1 slots, a power of two */
	uint8_t first_byte;    /* of each PUBLISH that is delivered */
	uint64_t sent, delivered;
	uint64_t due_count; /* with a rate: messages that have been due so far */
	uint64_t rate_began_ns;
	double interval_ns;
	uint32_t answers;   /* SUBACKs, or PINGRESPs at the end */
	uint64_t pinged_ns; /* for the keep alive */
	uint64_t random;
	bool stopping;
	struct histogram *latency;
};

/* Connects all clients and subscribes. */
void flow_open(struct flow *flow, const struct flow_plan *plan, struct engine *engine,
	       struct report *report);
/* Warms up, measures for options->seconds, and waits for the last message. */
void flow_measure(struct flow *flow, const char *phase_name);
void flow_close(struct flow *flow);

/* The three of them, as a scenario. */
void flow_run(const struct options *options, struct report *report, const struct flow_plan *plan,
	      const char *phase_name);

#endif
