/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - how much memory the peers have caused, by class, against a limit.
 *
 * Any thread charges what it allocates and uncharges what it frees (another thread may free). The
 * price is two additions to numbers of this thread's own. When a class, or all together, are
 * MEMORY_STEP_BYTES away from what the shared total knows of this thread, that is carried over
 * to it and the limit is looked at. The limit is therefore exact to MEMORY_STEP_BYTES per thread, and
 * what comes and goes, as messages do, touches nothing that is shared.
 *
 * Nothing is refused here: who is about to accept more asks memory_is_over_limit(), and drops, parks
 * or refuses, counted.
 */
#ifndef NIGHTJAR_BASE_MEMORY_H
#define NIGHTJAR_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memory_class {
#define MEMORY_CLASS(name, label, what) MEMORY_##name,
#include "base/memory_class.def"
#undef MEMORY_CLASS
	MEMORY_CLASS_COUNT
};

#define MEMORY_STEP_BYTES 65536

/* Owner: its thread; other threads read value[] with relaxed loads. */
struct memory_thread {
	int64_t value[MEMORY_CLASS_COUNT];
	int64_t carried[MEMORY_CLASS_COUNT]; /* the part of value that is in the shared totals */
	int64_t drift_bytes;		     /* of all classes, less what was carried over */
	int64_t grown_bytes;		     /* since the heap was last stretched; not below 0 */
	struct memory_thread *next;	     /* guarded by the list's mutex in memory.c */
} __attribute__((aligned(64)));

extern __thread struct memory_thread *memory_mine;

struct memory_thread *memory_thread_attach(void);
void memory_carry_over(struct memory_thread *mine);

static inline bool memory_is_step(int64_t drift)
{
	return drift >= MEMORY_STEP_BYTES || drift <= -MEMORY_STEP_BYTES;
}

static inline void memory_change(enum memory_class class, int64_t bytes)
{
	struct memory_thread *mine = memory_mine ? memory_mine : memory_thread_attach();
	int64_t value = mine->value[class] + bytes;

	__atomic_store_n(&mine->value[class], value, __ATOMIC_RELAXED);
	mine->drift_bytes += bytes;
	if (__builtin_expect(memory_is_step(value - mine->carried[class]) ||
				     memory_is_step(mine->drift_bytes),
			     0))
		memory_carry_over(mine);
}

static inline void memory_charge(enum memory_class class, size_t bytes)
{
	memory_change(class, (int64_t)bytes);
}

static inline void memory_uncharge(enum memory_class class, size_t bytes)
{
	memory_change(class, -(int64_t)bytes);
}

/* 0 bytes: no limit. Holds from the next look on, at once if it is met already. */
void memory_limit_set(uint64_t bytes);

/* Any thread. On a cache line of its own, because all threads read it all the time. */
extern struct memory_flag {
	bool is_over_limit;
} __attribute__((aligned(64))) memory_flag;

/* Carries over what this thread knows, so that the flag does not stand longer than it is true. */
void memory_look_again(void);

/* All classes together against memory_limit_set(). One relaxed load, as long as they are below. */
static inline bool memory_is_over_limit(void)
{
	if (__builtin_expect(!__atomic_load_n(&memory_flag.is_over_limit, __ATOMIC_RELAXED), 1))
		return false;
	memory_look_again();
	return __atomic_load_n(&memory_flag.is_over_limit, __ATOMIC_RELAXED);
}

/*
 * Calls fell(context), on any thread that frees, when less than half is left of the most that was in
 * use since the last call, and at least MEMORY_FALL_BYTES went. NULL: nobody is told any more.
 */
#define MEMORY_FALL_BYTES (8 * 1024 * 1024)
void memory_on_fall(void (*fell)(void *context), void *context);

/* Exact sums of all threads; for $SYS, metrics and tests. */
uint64_t memory_used(enum memory_class class);
uint64_t memory_used_total(void);
uint64_t memory_used_peak(void); /* highest total that was seen at a carry-over or a sum */
const char *memory_class_label(enum memory_class class);

#endif
