/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime_fixture.h - a runtime for a test, and ways to wait for it with a deadline.
 *
 * cmocka's asserts jump, so they belong to the main thread; code on workers uses CHECK().
 */
#ifndef NIGHTJAR_TESTS_UNIT_RUNTIME_FIXTURE_H
#define NIGHTJAR_TESTS_UNIT_RUNTIME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/rcu.h"
#include "runtime/worker.h"

#define DEADLINE_S 120

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: not true on a worker: %s\n", __FILE__, __LINE__,   \
				#cond);                                                            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Opens when it has been passed `left` times. */
struct latch {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	long left;
};

#define LATCH(n)                                                                                   \
	{                                                                                          \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, (n)                           \
	}

static inline void latch_reset(struct latch *latch, long left)
{
	pthread_mutex_lock(&latch->lock);
	latch->left = left;
	pthread_mutex_unlock(&latch->lock);
}

static inline void latch_pass(struct latch *latch)
{
	pthread_mutex_lock(&latch->lock);
	latch->left--;
	pthread_cond_broadcast(&latch->changed);
	pthread_mutex_unlock(&latch->lock);
}

/* False: the deadline has come first. */
static inline int latch_wait(struct latch *latch)
{
	struct timespec deadline;
	int is_open, failed = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += DEADLINE_S;
	pthread_mutex_lock(&latch->lock);
	while (latch->left > 0 && failed != ETIMEDOUT)
		failed = pthread_cond_timedwait(&latch->changed, &latch->lock, &deadline);
	is_open = latch->left <= 0;
	pthread_mutex_unlock(&latch->lock);
	return is_open;
}

static inline void start_nothing(struct worker *me)
{
	CHECK(worker_current == me);
}

static inline struct runtime *runtime_make(unsigned workers, unsigned mailbox_letters)
{
	struct runtime_settings settings = {.workers = workers,
					    .mailbox_letters = mailbox_letters,
					    .pool_threads = 3};
	struct err_detail detail;
	struct runtime *runtime = NULL;

	assert_int_equal(runtime_create(&settings, &runtime, &detail), ERR_NONE);
	return runtime;
}

static inline struct runtime *runtime_begin(unsigned workers, unsigned mailbox_letters)
{
	struct runtime *runtime = runtime_make(workers, mailbox_letters);
	struct err_detail detail;

	assert_int_equal(runtime_start(runtime, start_nothing, &detail), ERR_NONE);
	return runtime;
}

static inline void runtime_end(struct runtime *runtime)
{
	runtime_stop(runtime);
	runtime_destroy(&runtime);
	assert_null(runtime);
}

/* One function on one worker, from the main thread. */
struct job {
	struct letter letter;
	void (*run)(struct worker *me, void *context);
	void *context;
};

static inline void job_on_arrive(struct worker *me, struct letter *letter)
{
	struct job *job = (struct job *)letter;

	job->run(me, job->context);
	letter_return(me, letter);
}

static const struct letter_type job_type = {.name = "job",
					    .on_arrive = job_on_arrive,
					    .on_return = letter_destroy};

static inline void run_on(struct worker *target, void (*run)(struct worker *, void *),
			  void *context)
{
	struct job *job = letter_create(NULL, &job_type, sizeof *job);

	job->run = run;
	job->context = context;
	letter_post_foreign(target, &job->letter);
}

/* The same, and returns when it has run. */
struct order {
	void (*run)(struct worker *me, void *context);
	void *context;
	struct latch done;
};

static inline void order_run(struct worker *me, void *context)
{
	struct order *order = context;

	order->run(me, order->context);
	latch_pass(&order->done);
}

static inline void run_on_and_wait(struct worker *target, void (*run)(struct worker *, void *),
				   void *context)
{
	struct order order = {run, context, LATCH(1)};

	run_on(target, order_run, &order);
	assert_true(latch_wait(&order.done));
}

static inline void pass_latch(struct worker *me, void *latch)
{
	(void)me;
	latch_pass(latch);
}

#endif
