/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.h - the signals of an operator, as events of a loop.
 *
 * They are blocked in every thread and read from a descriptor, so no thread ever runs a handler. With
 * a handler, the kernel gives a signal to any thread that does not block it, when the main one has
 * another signal pending; a thread of a library that sleeps in a raw futex call then keeps it for as
 * long as it sleeps, and the broker does not stop.
 *
 * Owner: the thread of the loop.
 */
#ifndef NIGHTJAR_SERVER_SIGNALS_H
#define NIGHTJAR_SERVER_SIGNALS_H

#include <uv.h>

struct signals {
	uv_poll_t poll;
	int fd; /* signalfd(2) */
	void (*on_signal)(void *context, int signum);
	void *context;
};

/* Main thread, before any other thread exists: all of them inherit what is blocked here. From now on
 * SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 wait for the loop; SIGPIPE is ignored. */
void signals_open(struct signals *signals, uv_loop_t *loop,
		  void (*on_signal)(void *context, int signum), void *context);
/* The loop has to run once more afterwards, to let go of the handle. */
void signals_close(struct signals *signals);

#endif
