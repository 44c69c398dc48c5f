/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feeder.h - one publisher that fills many topics, with as many messages under way as its window.
 *
 * At QoS 0 nobody confirms a message; a PINGREQ after each half of a window shows how far the
 * broker has come, because it answers in order.
 */
#ifndef NIGHTJAR_BENCH_FEEDER_H
#define NIGHTJAR_BENCH_FEEDER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "report.h"

enum { FEEDER_TOPIC_MAX = 128 };

/* What a payload begins with. */
struct feeder_stamp {
	uint32_t topic;
	uint32_t number; /* the how-manieth message of its topic, from 0 */
	uint64_t sent_ns;
};

struct feeder {
	struct client client; /* first */
	struct report *report;
	bool retain;
	bool empty; /* payload, which deletes retained messages */
	uint32_t topics;
	uint64_t total; /* message n goes to topic n % topics */
	uint64_t sent, confirmed;
	uint64_t marks[2]; /* QoS 0: what was sent before the PINGREQs that are not answered */
	uint32_t mark_count;
	uint8_t *await; /* by Packet Identifier: the packet type that the broker owes */
};

/* "<prefix>/device/<eight digits>/state" */
void feeder_topic(const struct options *options, uint32_t number, char out[FEEDER_TOPIC_MAX]);

/* Connects. */
void feeder_open(struct feeder *feeder, struct engine *engine, struct report *report);
/* Publishes, and returns when everything is confirmed. */
void feeder_run(struct feeder *feeder, uint32_t topics, uint64_t total);
void feeder_close(struct feeder *feeder);

#endif
