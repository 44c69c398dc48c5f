/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rcu.h - reading shared structures without a lock; the only place that knows liburcu.
 *
 * A reader stands in a read-side section while it holds pointers that rcu_load() gave it. A writer
 * (writers exclude each other by a lock of their own) takes an object out with rcu_publish() and
 * frees it with rcu_defer_free(), or after rcu_wait(): by then every reader that may have seen it
 * has left its section. A worker opens one section around the handling of each socket read; a
 * section must not wait for anything.
 *
 * ThreadSanitizer does not see into liburcu. rcu_load() and rcu_publish() are therefore atomics of
 * the compiler's own, which it follows pointer by pointer, and the grace period is told to it by
 * hand in rcu.c: leaving a section releases, the end of a grace period acquires.
 */
#ifndef NIGHTJAR_BASE_RCU_H
#define NIGHTJAR_BASE_RCU_H

#include <urcu/urcu-memb.h>

#if defined(__SANITIZE_THREAD__)
#define RCU_TELLS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_TELLS_TSAN 1
#endif
#endif

#ifdef RCU_TELLS_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TSAN_ACQUIRE(address) __tsan_acquire((void *)(address))
#define TSAN_RELEASE(address) __tsan_release((void *)(address))
#else
/* What a thread did before TSAN_RELEASE(x) happened before what follows a TSAN_ACQUIRE(x). */
#define TSAN_ACQUIRE(address) ((void)(address))
#define TSAN_RELEASE(address) ((void)(address))
#endif

/* Every thread that reads calls these, at its start and before its end. */
void rcu_thread_register(void);
void rcu_thread_unregister(void);

/* Sections may nest. */
void rcu_read_section_begin(void);
void rcu_read_section_end(void);
int rcu_is_reading(void); /* for asserts */

/* Reads the pointer variable p (not its address) inside a section, or under the writers' lock. */
#define rcu_load(p) __atomic_load_n(&(p), __ATOMIC_ACQUIRE)

/* *location = value, after all that was written to *value before. */
#define rcu_publish(location, value) __atomic_store_n((location), (value), __ATOMIC_RELEASE)

/* The same, and gives the old pointer: for writers that share no lock. */
#define rcu_exchange(location, value) __atomic_exchange_n((location), (value), __ATOMIC_ACQ_REL)

/*
 * Calls free_fn(head) on liburcu's own thread when all present readers have left. The head is part
 * of the object. Never waits; may be called inside a section and by any registered thread.
 */
void rcu_defer_free(struct rcu_head *head, void (*free_fn)(struct rcu_head *head));

/* Waits for all present readers: milliseconds. Never inside a section, never on a worker. */
void rcu_wait(void);

/* Waits until everything deferred so far has been freed: at the end of the process, and in tests. */
void rcu_wait_deferred(void);

#define RCU_OWNER(head, type, member) ((type *)(void *)((char *)(head)-offsetof(type, member)))

#endif
