/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turn_clock.h - did this turn take too long, and which stage of it did?
 *
 * Reads the kernel's coarse clock (a few nanoseconds, exact to some milliseconds) at each stage's
 * end. That is enough to name the stage that ate a turn of 10 ms or more, and costs nothing to
 * speak of when nothing is wrong. Owner: one worker.
 */
#ifndef NIGHTJAR_RUNTIME_TURN_CLOCK_H
#define NIGHTJAR_RUNTIME_TURN_CLOCK_H

#include <stdint.h>

#define TURN_SLOW_MS 10

enum turn_stage {
	TURN_EVENTS, /* callbacks of sockets and of the pool */
	TURN_TIMERS,
	TURN_LETTERS, /* letters, and those who waited for credit */
	TURN_TASKS,
	TURN_FLUSH, /* reap and flush hooks */
	TURN_POST,
	TURN_STAGES
};

struct turn_clock {
	uint64_t mark_ms; /* end of the last stage; 0: between turns */
	uint64_t logged_ms;
	uint64_t not_logged; /* slow turns since then */
	uint32_t stage_ms[TURN_STAGES];
};

/* poll_ms: when poll returned, on CLOCK_MONOTONIC (libuv knows). */
void turn_clock_begin(struct turn_clock *clock, uint64_t poll_ms);
/* Stage has ended now. */
void turn_clock_mark(struct turn_clock *clock, enum turn_stage stage);
/* Counts a slow turn, and logs it at most once a second. */
void turn_clock_end(struct turn_clock *clock, unsigned worker_id);

#endif
