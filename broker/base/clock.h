/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - what time is it, for the whole broker and for tests that move it.
 *
 * In memory all time is monotonic (clock_now_ms): keep alive, expiry, delays. Wall time is for
 * people and for what is stored on disk. Any thread may call any function here. A call costs one
 * vDSO read and two relaxed loads; code that handles many packets reads the clock once a turn.
 */
#ifndef NIGHTJAR_BASE_CLOCK_H
#define NIGHTJAR_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since some moment before the start of this process; never goes back, never 0. */
uint64_t clock_now_ms(void);

/* The same in microseconds: clock_now_ms() is this / 1000. */
uint64_t clock_fine_us(void);

/* In microseconds, to measure turns. It does not follow a clock that tests move. */
uint64_t clock_now_us(void);
/* In nanoseconds, to measure what is shorter. */
uint64_t clock_now_ns(void);

/* Milliseconds since 1970-01-01 UTC. May jump when the administrator sets the clock. */
uint64_t clock_wall_ms(void);

/* Moves both clocks forward. A frozen clock moves by exactly this much. */
void clock_test_advance_ms(uint64_t delta_ms);

/* From now on clock_now_ms() is now_ms (not 0) until it is advanced or freed. Wall time runs on. */
void clock_test_freeze(uint64_t now_ms);

/* Real time again; what was advanced is forgotten. */
void clock_test_reset(void);

#endif
