/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/turn_clock.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/counters.h"
#include "base/log.h"

#define LOG_EVERY_MS 1000

static const char *const stage_name[TURN_STAGES] = {
	[TURN_EVENTS] = "socket events", [TURN_TIMERS] = "timers", [TURN_LETTERS] = "letters",
	[TURN_TASKS] = "tasks",		 [TURN_FLUSH] = "output",  [TURN_POST] = "posting",
};

static uint64_t coarse_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void turn_clock_begin(struct turn_clock *clock, uint64_t poll_ms)
{
	memset(clock->stage_ms, 0, sizeof clock->stage_ms);
	clock->mark_ms = poll_ms;
}

void turn_clock_mark(struct turn_clock *clock, enum turn_stage stage)
{
	uint64_t now_ms = coarse_now_ms();

	/* The coarse clock may lag behind the moment that libuv read with a finer one. */
	if (now_ms <= clock->mark_ms)
		return;
	clock->stage_ms[stage] += (uint32_t)(now_ms - clock->mark_ms);
	clock->mark_ms = now_ms;
}

static void log_slow_turn(struct turn_clock *clock, unsigned worker_id, uint32_t total_ms,
			  enum turn_stage worst)
{
	if (clock->mark_ms - clock->logged_ms < LOG_EVERY_MS) {
		clock->not_logged++;
		return;
	}
	if (log_is_enabled(LOG_TYPE_DEBUG))
		log_event(LOG_TYPE_DEBUG, NULL,
			  "Worker %u was busy for %" PRIu32 " ms in one turn, %" PRIu32
			  " ms of them with %s (%" PRIu64 " more slow turns before)",
			  worker_id, total_ms, clock->stage_ms[worst], stage_name[worst],
			  clock->not_logged);
	clock->logged_ms = clock->mark_ms;
	clock->not_logged = 0;
}

void turn_clock_end(struct turn_clock *clock, unsigned worker_id)
{
	enum turn_stage worst = TURN_EVENTS;
	uint32_t total_ms = 0;

	for (enum turn_stage stage = 0; stage < TURN_STAGES; stage++) {
		total_ms += clock->stage_ms[stage];
		if (clock->stage_ms[stage] > clock->stage_ms[worst])
			worst = stage;
	}
	if (total_ms < TURN_SLOW_MS)
		return;
	COUNT(SLOW_TURNS);
	log_slow_turn(clock, worker_id, total_ms, worst);
}
