/* SPDX-License-Identifier: Apache-2.0 */
#include "crowd.h"
#include "fail.h"
#include "probe.h"

void crowd_connect(struct client **clients, uint32_t from, uint32_t to, struct engine *engine,
		   struct report *report, bool clean_start, struct histogram *latency)
{
	uint32_t opened = from, ready_at_first = engine->ready_count, last = 0, ready = 0;
	uint64_t moved_ns = probe_now_ns();

	engine->connect_latency = latency;
	while (ready < to - from) {
		while (opened < to && opened - from - ready < engine->options->concurrency) {
			clients[opened]->number = opened;
			client_open(clients[opened++], engine, "client", clean_start);
		}
		engine_flush(engine);
		engine_wait(engine, 100000000);
		ready = engine->ready_count - ready_at_first;
		report_progress(report, "connected", from + ready, engine->now_ns);
		if (ready != last) {
			last = ready;
			moved_ns = engine->now_ns;
		} else if (engine->now_ns - moved_ns > ENGINE_PATIENCE_S * 1000000000ull) {
			fail("%u of %u clients connected, then none for %d s", from + ready, to,
			     ENGINE_PATIENCE_S);
		}
	}
	engine->connect_latency = NULL;
	report_progress_end(report);
}
