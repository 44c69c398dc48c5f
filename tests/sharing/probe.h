/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - which cache lines do the threads of a broker share, and how often?
 *
 * The compiler's instrumentation for ThreadSanitizer calls a function for each access to memory. Here
 * these functions are ours (probe_tsan.c): they note in a table, for the time between "begin" and
 * "end" (probe_control.c), which thread has read and written which line of 64 bytes, from where, and
 * how often the line would have had to come from another processor's cache if each thread had one
 * of its own. These are counts, not times: they do not depend on how many processors the machine has,
 * so that 32 workers can be looked at on two.
 *
 * What is seen: our code, with liburcu's inline functions; and, by wrappers (probe_wraps.c), copies of
 * memory, reading and writing sockets, mutexes, wake-ups, malloc and free. What is not seen: the inside
 * of libuv, glibc and the kernel.
 *
 * Threads: any, unless a comment says otherwise. Nothing here may allocate with malloc, or be
 * instrumented itself.
 */
#ifndef NIGHTJAR_TESTS_SHARING_PROBE_H
#define NIGHTJAR_TESTS_SHARING_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum probe_kind { PROBE_READ, PROBE_WRITE, PROBE_RMW, PROBE_KINDS };

/* Counted in the window, for each thread and place in the code. */
enum probe_event {
	PROBE_LOCK = 1,	    /* a mutex, a read-write lock or a spin lock was asked for */
	PROBE_WAKE,	    /* a worker that sleeps, through its eventfd */
	PROBE_MALLOC,	    /* calloc() and others as well */
	PROBE_FREE,	    /* of what this thread has allocated */
	PROBE_FOREIGN_FREE, /* of what another has */
	PROBE_EVENTS
};

void probe_touch(const void *at, size_t bytes, enum probe_kind kind, const void *pc);
void probe_event(enum probe_event event, const void *pc);

#define PROBE_STACK 4

/* What lies in the heap, so that a line has a name. */
void probe_block_made(const void *at, size_t bytes, const void *const stack[PROBE_STACK]);
void probe_block_freed(const void *at, const void *pc);

/* From a place's own stack frame: the return addresses of its callers. */
#define PROBE_STACK_HERE(stack)                                                                    \
	const void *stack[PROBE_STACK];                                                            \
	probe_stack(__builtin_frame_address(0), stack)
void probe_stack(const void *frame, const void *stack[PROBE_STACK]);

/* Control thread. */
void probe_ignore_me(void);
void probe_begin(void);
void probe_end(void);

/* Control thread, after probe_end(). */
struct probe_site {
	uintptr_t line; /* number of the line, or a probe_event */
	const void *pc;
	uint8_t thread;
	uint8_t kind;
	uint64_t count;
	uint64_t transfers; /* so many of them had to fetch the line, or to take it from others */
};
struct probe_place {
	uintptr_t at;
	size_t bytes;
	uint64_t made; /* a number that rises with each block */
	bool is_freed;
	const void *stack[PROBE_STACK];
};
unsigned probe_line_bytes(void);
unsigned probe_thread_count(void);
/* Number of the worker, or -1. */
int probe_thread_worker(unsigned thread);
/* Threads, as bits, that have read and written it. False: nobody has. */
bool probe_line_users(uintptr_t line, uint64_t *out_readers, uint64_t *out_writers);
void probe_each_site(void (*each)(const struct probe_site *site, void *context), void *context);
void probe_each_place(void (*each)(const struct probe_place *place, void *context), void *context);
/* Accesses and blocks for which there was no room in the tables. */
uint64_t probe_lost(void);

#endif
