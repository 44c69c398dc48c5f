/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer_wheel.c - which timers are due, and how long may the worker sleep?
 *
 * Time is counted in ticks of TIMER_TICK_MS. A tick's number is read as six digits to base 64, one
 * for each level of the wheel. A timer hangs at the level of the highest digit in which its
 * deadline differs from now, in the slot that this digit names:
 *
 *	now       = ... 0 0 0 0 5 62
 *	deadline  = ... 0 0 0 0 5 63     level 0, slot 63: differs in the last digit
 *	deadline  = ... 0 0 0 0 6  1     level 1, slot 6
 *	deadline  = ... 0 0 2 0 0  0     level 3, slot 2
 *
 * When now reaches a slot's first tick, a slot of level 0 is expired and any other is cascaded:
 * its timers hang themselves up again, and find themselves further down. Slots without timers are
 * skipped by their bit in occupied[], so that sleeping for days costs nothing.
 *
 * Invariants, checked by timer_wheel_audit():
 *   W1  Each armed timer hangs where timer_slot_of() says, counted from now_tick.
 *   W2  Outside of timer_wheel_advance() each deadline is later than now_tick.
 *   W3  A bit in occupied[] is set if, and only if, the slot's list is not empty.
 *   W4  earliest_tick is no later than any deadline in its slot. (It may be earlier when the
 *       timer that set it was disarmed: at worst one wake-up too many, never one too late.)
 * It follows that all timers of a lower level are due before those of a higher one.
 */
#include "base/timer_wheel.h"

#include "base/bug.h"
#include "base/clock.h"

#define DIGIT_BITS 6
#define DIGIT_MASK (TIMER_WHEEL_SLOTS - 1)
/* Later deadlines are brought forward to this one: 217 years after the boot. */
#define LAST_TICK ((1ull << (DIGIT_BITS * TIMER_WHEEL_LEVELS)) - 1)

struct slot_place {
	unsigned level, index;
};

static struct slot_place timer_slot_of(uint64_t now_tick, uint64_t deadline_tick)
{
	uint64_t differ = now_tick ^ deadline_tick;
	unsigned level = differ ? (63u - (unsigned)__builtin_clzll(differ)) / DIGIT_BITS : 0;

	return (struct slot_place){
		.level = level,
		.index = (unsigned)(deadline_tick >> (level * DIGIT_BITS)) & DIGIT_MASK,
	};
}

static void slot_init(struct timer_slot *slot)
{
	slot->list.next = slot->list.prev = &slot->list;
	slot->earliest_tick = UINT64_MAX;
}

static bool slot_is_empty(const struct timer_slot *slot)
{
	return slot->list.next == &slot->list;
}

static void link_append(struct timer_link *list, struct timer_link *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

static void link_remove(struct timer_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->next = link->prev = NULL;
}

static struct timer *timer_of_link(struct timer_link *link)
{
	return TIMER_OWNER(link, struct timer, link);
}

static void wheel_insert(struct timer_wheel *wheel, struct timer *timer)
{
	struct slot_place place = timer_slot_of(wheel->now_tick, timer->deadline_tick);
	struct timer_slot *slot = &wheel->slot[place.level][place.index];

	link_append(&slot->list, &timer->link);
	if (timer->deadline_tick < slot->earliest_tick)
		slot->earliest_tick = timer->deadline_tick;
	wheel->occupied[place.level] |= 1ull << place.index;
}

static void wheel_remove(struct timer_wheel *wheel, struct timer *timer)
{
	struct slot_place place = timer_slot_of(wheel->now_tick, timer->deadline_tick);
	struct timer_slot *slot = &wheel->slot[place.level][place.index];

	link_remove(&timer->link);
	if (slot_is_empty(slot)) {
		slot->earliest_tick = UINT64_MAX;
		wheel->occupied[place.level] &= ~(1ull << place.index);
	}
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
	wheel->now_tick = now_ms / TIMER_TICK_MS;
	wheel->armed = 0;
	wheel->is_advancing = false;
	for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++) {
		wheel->occupied[level] = 0;
		for (unsigned i = 0; i < TIMER_WHEEL_SLOTS; i++)
			slot_init(&wheel->slot[level][i]);
	}
}

void timer_wheel_fini(struct timer_wheel *wheel)
{
	BUG_ON(wheel->armed != 0);
}

void timer_init(struct timer *timer, void (*on_expire)(struct timer *timer))
{
	*timer = (struct timer){.on_expire = on_expire};
}

static void timer_arm_tick(struct timer_wheel *wheel, struct timer *timer, uint64_t tick)
{
	timer_disarm(wheel, timer);
	if (tick <= wheel->now_tick)
		tick = wheel->now_tick + 1;
	timer->deadline_tick = tick < LAST_TICK ? tick : LAST_TICK;
	wheel_insert(wheel, timer);
	wheel->armed++;
}

/* Rounded up: a tick's timers fire when the whole tick has been reached, never before. */
static uint64_t tick_from_ms(uint64_t ms)
{
	return ms / TIMER_TICK_MS + (ms % TIMER_TICK_MS != 0);
}

void timer_arm_at(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms)
{
	timer_arm_tick(wheel, timer, tick_from_ms(deadline_ms));
}

static uint64_t add_without_wrap(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void timer_arm_in(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms)
{
	timer_arm_at(wheel, timer, add_without_wrap(clock_now_ms(), delay_ms));
}

/*
 * The roundest tick in the range, that is the one with the most zero bits at its end: timers with
 * ranges that overlap choose it independently of each other.
 */
static uint64_t roundest_tick(uint64_t first, uint64_t last)
{
	uint64_t tick = last;

	while (tick != 0 && (tick & (tick - 1)) >= first)
		tick &= tick - 1;
	return tick;
}

void timer_arm_within(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms,
		      uint64_t slack_ms)
{
	uint64_t first = tick_from_ms(deadline_ms);
	uint64_t last = add_without_wrap(deadline_ms, slack_ms) / TIMER_TICK_MS;

	timer_arm_tick(wheel, timer, last > first ? roundest_tick(first, last) : first);
}

void timer_disarm(struct timer_wheel *wheel, struct timer *timer)
{
	if (!timer_is_armed(timer))
		return;
	wheel_remove(wheel, timer);
	wheel->armed--;
}

/*
 * The slot that is due first, and its first tick. The bits before now's own digit are never set
 * (W1, W2), so that the lowest set bit of the lowest level with any is the earliest.
 */
static bool wheel_first_slot(const struct timer_wheel *wheel, struct slot_place *out_place,
			     uint64_t *out_first_tick)
{
	for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++) {
		unsigned shift = level * DIGIT_BITS;

		if (!wheel->occupied[level])
			continue;
		out_place->level = level;
		out_place->index = (unsigned)__builtin_ctzll(wheel->occupied[level]);
		*out_first_tick =
			(wheel->now_tick >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS)) |
			(uint64_t)out_place->index << shift;
		return true;
	}
	return false;
}

/* Every timer of the slot goes down at least one level, because now has reached its digit. */
static void wheel_cascade(struct timer_wheel *wheel, struct slot_place place)
{
	struct timer_slot *slot = &wheel->slot[place.level][place.index];
	struct timer_link *link = slot->list.next;

	wheel->occupied[place.level] &= ~(1ull << place.index);
	while (link != &slot->list) {
		struct timer_link *next = link->next;

		wheel_insert(wheel, timer_of_link(link));
		link = next;
	}
	slot_init(slot);
}

/*
 * One at a time from the front, because on_expire may disarm or free any timer that still hangs
 * here. It ends: what is armed meanwhile is later than now_tick and hangs elsewhere.
 */
static void wheel_expire(struct timer_wheel *wheel, struct slot_place place)
{
	struct timer_slot *slot = &wheel->slot[place.level][place.index];

	while (!slot_is_empty(slot)) {
		struct timer *timer = timer_of_link(slot->list.next);

		timer_disarm(wheel, timer);
		timer->on_expire(timer);
	}
}

void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
	uint64_t target = now_ms / TIMER_TICK_MS;
	struct slot_place place;
	uint64_t first_tick;

	BUG_ON(wheel->is_advancing);
	wheel->is_advancing = true;
	while (wheel_first_slot(wheel, &place, &first_tick) && first_tick <= target) {
		wheel->now_tick = first_tick;
		if (place.level == 0)
			wheel_expire(wheel, place);
		else
			wheel_cascade(wheel, place);
	}
	if (target > wheel->now_tick)
		wheel->now_tick = target;
	wheel->is_advancing = false;
}

/*
 * By earliest_tick and not by the slot's first tick: waking up only to cascade would be for
 * nothing, since timer_wheel_advance() cascades and expires in one go when it comes late.
 */
uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel, uint64_t now_ms)
{
	struct slot_place place;
	uint64_t first_tick, due_ms;

	if (!wheel_first_slot(wheel, &place, &first_tick))
		return UINT64_MAX;
	due_ms = wheel->slot[place.level][place.index].earliest_tick * TIMER_TICK_MS;
	return due_ms > now_ms ? due_ms - now_ms : 0;
}

static uint64_t slot_audit(const struct timer_wheel *wheel, unsigned level, unsigned index)
{
	const struct timer_slot *slot = &wheel->slot[level][index];
	uint64_t count = 0;

	BUG_ON(slot_is_empty(slot) != !(wheel->occupied[level] >> index & 1));
	for (struct timer_link *link = slot->list.next; link != &slot->list; link = link->next) {
		uint64_t deadline = timer_of_link(link)->deadline_tick;
		struct slot_place place = timer_slot_of(wheel->now_tick, deadline);

		BUG_ON(place.level != level || place.index != index);
		BUG_ON(link->next->prev != link);
		BUG_ON(!wheel->is_advancing && deadline <= wheel->now_tick);
		BUG_ON(slot->earliest_tick > deadline);
		count++;
	}
	return count;
}

void timer_wheel_audit(const struct timer_wheel *wheel)
{
	uint64_t count = 0;

	for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++)
		for (unsigned index = 0; index < TIMER_WHEEL_SLOTS; index++)
			count += slot_audit(wheel, level, index);
	BUG_ON(count != wheel->armed);
}
