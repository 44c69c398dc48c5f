/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd.h - many clients that only connect.
 */
#ifndef NIGHTJAR_BENCH_CROWD_H
#define NIGHTJAR_BENCH_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "report.h"

/*
 * Connects clients `from` to `to` - 1 with options->concurrency handshakes under way at once, and
 * returns when all have a CONNACK. Each client's on_packet is set by the caller; latency may be
 * NULL.
 */
void crowd_connect(struct client **clients, uint32_t from, uint32_t to, struct engine *engine,
		   struct report *report, bool clean_start, struct histogram *latency);

#endif
