/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail.h - how this program gives up: one sentence on standard error and exit code 1.
 *
 * A load generator has nothing to save but its report, so what cannot go on ends the process at once;
 * the operating system closes the sockets.
 */
#ifndef NIGHTJAR_BENCH_FAIL_H
#define NIGHTJAR_BENCH_FAIL_H

#include <stddef.h>

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1, /* a message was lost or doubled, or the broker cannot be measured */
	EXIT_USAGE = 2,
};

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What is still to be done with the sentence; on the thread that fails, once. One that fails in here
 * ends the process. */
typedef void fail_fn(void *context, const char *sentence);
void fail_also(fail_fn *also, void *context);

/* malloc, zeroed, and realloc that never return NULL. */
void *must_allocate(size_t count, size_t size);
void *must_resize(void *old, size_t size);

#endif
