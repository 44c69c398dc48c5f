/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer_wheel.h - very many timers of one worker, for the price of one.
 *
 * Owner: one worker; so are all timers in it. A timer is part of the object that it wakes (struct
 * timer inside), arming and disarming are O(1) and allocate nothing. Resolution is
 * TIMER_TICK_MS: a timer fires late by less than that, never early. All delays up to 136 years.
 *
 * The worker asks timer_wheel_next_ms() before it sleeps and calls timer_wheel_advance() when it
 * wakes. Timers that are due in the same tick cause one wake-up together; timers of which nothing
 * is due cause none.
 */
#ifndef NIGHTJAR_BASE_TIMER_WHEEL_H
#define NIGHTJAR_BASE_TIMER_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMER_TICK_MS 100
#define TIMER_WHEEL_SLOTS 64
#define TIMER_WHEEL_LEVELS 6

struct timer_link {
	struct timer_link *next, *prev; /* next is NULL: not armed */
};

struct timer {
	struct timer_link link; /* first member: timer_wheel.c converts between the two */
	uint64_t deadline_tick;
	/*
	 * Called once, with the timer disarmed before. It may arm and disarm any timer, this one
	 * too, and may free the object that the timer is part of.
	 */
	void (*on_expire)(struct timer *timer);
};

_Static_assert(sizeof(struct timer) <= 40, "a timer is part of every connection and session");

/* From a timer to the object that it is part of. */
#define TIMER_OWNER(timer, type, member) ((type *)(void *)((char *)(timer)-offsetof(type, member)))

struct timer_slot {
	struct timer_link list;
	uint64_t earliest_tick; /* no timer in the slot is due before it */
};

struct timer_wheel {
	uint64_t now_tick;
	uint64_t armed; /* how many */
	bool is_advancing;
	uint64_t occupied[TIMER_WHEEL_LEVELS]; /* bit i: slot i of that level is not empty */
	struct timer_slot slot[TIMER_WHEEL_LEVELS][TIMER_WHEEL_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

/* Every timer must be disarmed before (BUG_ON): a timer left would point into freed memory. */
void timer_wheel_fini(struct timer_wheel *wheel);

void timer_init(struct timer *timer, void (*on_expire)(struct timer *timer));

static inline bool timer_is_armed(const struct timer *timer)
{
	return timer->link.next != NULL;
}

/* Arms, or arms anew, for a moment of clock_now_ms(). A moment that has passed: the next tick. */
void timer_arm_at(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms);

/* The same, counted from clock_now_ms(). */
void timer_arm_in(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms);

/*
 * Arms for some moment from deadline_ms to deadline_ms + slack_ms, chosen so that timers meet in
 * the same tick: for keep alive and expiry, where a second does not matter and a wake-up does.
 */
void timer_arm_within(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms,
		      uint64_t slack_ms);

/* Does nothing when the timer is not armed. */
void timer_disarm(struct timer_wheel *wheel, struct timer *timer);

/* Calls on_expire of every timer that is due at now_ms, earliest tick first, then as armed. */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);

/* Milliseconds from now_ms until timer_wheel_advance() has something to do; UINT64_MAX: never. */
uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel, uint64_t now_ms);

/* Checks the invariants in timer_wheel.c; for tests. */
void timer_wheel_audit(const struct timer_wheel *wheel);

#endif
