/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/runtime.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/rcu.h"
#include "runtime/message_home.h"
#include "runtime/outbox.h"

static struct runtime *the_runtime; /* atomic */

struct runtime *runtime_current(void)
{
	return __atomic_load_n(&the_runtime, __ATOMIC_ACQUIRE);
}

static enum err runtime_check(const struct runtime_settings *settings, struct err_detail *detail)
{
	if (settings->workers < 1 || settings->workers > WORKERS_MAX)
		return err_set(detail, ERR_INVALID, "worker_threads is %u; allowed are 1 to %d",
			       settings->workers, WORKERS_MAX);
	if (settings->mailbox_letters < 4)
		return err_set(detail, ERR_INVALID, "mailbox_letters is %u; at least 4 are needed",
			       settings->mailbox_letters);
	return ERR_NONE;
}

/* libuv reads it once, when the first work is queued. */
static void runtime_size_pool(unsigned threads)
{
	char text[16];

	if (threads == 0)
		return;
	snprintf(text, sizeof text, "%u", threads);
	setenv("UV_THREADPOOL_SIZE", text, 1);
}

static enum err runtime_create_workers(struct runtime *runtime, struct err_detail *detail)
{
	for (unsigned i = 0; i < runtime->settings.workers; i++) {
		struct worker *worker = aligned_alloc(64, (sizeof *worker + 63) / 64 * 64);
		enum err err;

		if (!worker)
			return err_set(detail, ERR_NOMEM, "Worker %u: out of memory", i);
		memset(worker, 0, sizeof *worker);
		err = worker_init(worker, runtime, (uint16_t)i, detail);
		if (err) {
			free(worker);
			return err;
		}
		runtime->workers[i] = worker;
	}
	return ERR_NONE;
}

enum err runtime_create(const struct runtime_settings *settings, struct runtime **out,
			struct err_detail *detail)
{
	enum err err = runtime_check(settings, detail);
	struct runtime *runtime;

	if (err)
		return err;
	BUG_ON(runtime_current());
	runtime = calloc(1, sizeof *runtime);
	if (!runtime)
		return err_set(detail, ERR_NOMEM, "Out of memory for the workers");
	runtime->settings = *settings;
	runtime->lazy_letters_max = settings->mailbox_letters / 4;
	runtime->busy = settings->workers;
	pthread_mutex_init(&runtime->gate_lock, NULL);
	pthread_cond_init(&runtime->gate_changed, NULL);
	runtime->workers = calloc(settings->workers, sizeof(struct worker *));
	runtime_size_pool(settings->pool_threads);
	__atomic_store_n(&the_runtime, runtime, __ATOMIC_RELEASE);
	err = runtime->workers ? runtime_create_workers(runtime, detail)
			       : err_set(detail, ERR_NOMEM, "Out of memory for the workers");
	if (err)
		runtime_destroy(&runtime);
	*out = runtime;
	return err;
}

unsigned runtime_worker_count(const struct runtime *runtime)
{
	return runtime->settings.workers;
}

struct worker *runtime_worker(struct runtime *runtime, uint16_t id)
{
	BUG_ON(id >= runtime->settings.workers);
	return runtime->workers[id];
}

const struct runtime_settings *runtime_settings_of(const struct runtime *runtime)
{
	return &runtime->settings;
}

/* True once all threads exist; false when one could not be made and nothing is to run. */
static bool gate_wait(struct runtime *runtime)
{
	bool is_open;

	pthread_mutex_lock(&runtime->gate_lock);
	while (runtime->gate == GATE_CLOSED)
		pthread_cond_wait(&runtime->gate_changed, &runtime->gate_lock);
	is_open = runtime->gate == GATE_OPEN;
	pthread_mutex_unlock(&runtime->gate_lock);
	return is_open;
}

static void gate_set(struct runtime *runtime, enum start_gate gate)
{
	pthread_mutex_lock(&runtime->gate_lock);
	runtime->gate = gate;
	pthread_cond_broadcast(&runtime->gate_changed);
	pthread_mutex_unlock(&runtime->gate_lock);
}

static void *worker_thread(void *arg)
{
	struct worker *me = arg;
	char name[16];

	/* For top, perf and debuggers. */
	snprintf(name, sizeof name, "worker %u", me->id);
	pthread_setname_np(pthread_self(), name);
	if (gate_wait(me->runtime))
		worker_run(me);
	return NULL;
}

static void runtime_join(struct runtime *runtime)
{
	for (unsigned i = 0; i < runtime->started; i++)
		pthread_join(runtime->workers[i]->thread, NULL);
	runtime->started = 0;
}

static int runtime_start_threads(struct runtime *runtime)
{
	sigset_t all, before;
	int failed = 0;

	/* Signals are the main thread's business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!failed && runtime->started < runtime->settings.workers) {
		struct worker *worker = runtime->workers[runtime->started];

		failed = pthread_create(&worker->thread, NULL, worker_thread, worker);
		if (!failed)
			runtime->started++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failed;
}

enum err runtime_start(struct runtime *runtime, worker_hook on_start, struct err_detail *detail)
{
	unsigned started;
	int failed;

	runtime->on_start = on_start;
	failed = runtime_start_threads(runtime);
	gate_set(runtime, failed ? GATE_CANCELLED : GATE_OPEN);
	if (!failed)
		return ERR_NONE;
	started = runtime->started;
	runtime_join(runtime);
	return err_set(
		detail, ERR_IO,
		"Only %u of %u worker threads could be started: %s. Lower worker_threads, or "
		"raise the limit of threads (ulimit -u)",
		started, runtime->settings.workers, strerror(failed));
}

void runtime_busy_add(struct runtime *runtime, unsigned n)
{
	__atomic_add_fetch(&runtime->busy, (long)n, __ATOMIC_ACQ_REL);
}

static void runtime_wake_all(struct runtime *runtime)
{
	for (unsigned i = 0; i < runtime->settings.workers; i++)
		worker_wake(runtime->workers[i]);
}

void runtime_busy_drop(struct runtime *runtime, unsigned n)
{
	if (__atomic_sub_fetch(&runtime->busy, (long)n, __ATOMIC_ACQ_REL) > 0)
		return;
	__atomic_store_n(&runtime->is_finished, 1, __ATOMIC_RELEASE);
	runtime_wake_all(runtime);
}

void runtime_stop(struct runtime *runtime)
{
	if (runtime->started == 0)
		return;
	__atomic_store_n(&runtime->is_stopping, 1, __ATOMIC_RELEASE);
	runtime_wake_all(runtime);
	runtime_join(runtime);
}

/*
 * Messages whose last reference was dropped after their home had stopped, and, when the threads
 * never ran, letters of the main thread.
 */
static void worker_drain(struct worker *worker)
{
	struct letter_node *node;
	bool is_busy;

	while ((node = mailbox_take(worker->mailbox, MAILBOX_MESSAGES, &is_busy)))
		message_come_home(worker, node);
	while ((node = mailbox_take(worker->mailbox, MAILBOX_LETTERS, &is_busy))) {
		struct letter *letter = (struct letter *)node;

		BUG_ON(letter->home != WORKER_NONE);
		letter->type->on_return(worker, letter);
	}
}

static void runtime_drain(struct runtime *runtime)
{
	for (unsigned i = 0; i < runtime->settings.workers; i++)
		if (runtime->workers[i])
			outboxes_post(runtime->workers[i]);
	for (unsigned i = 0; i < runtime->settings.workers; i++)
		if (runtime->workers[i])
			worker_drain(runtime->workers[i]);
}

void runtime_destroy(struct runtime **out)
{
	struct runtime *runtime = *out;

	*out = NULL;
	if (!runtime)
		return;
	BUG_ON(runtime->started != 0);
	while (__atomic_load_n(&runtime->foreign_posters, __ATOMIC_ACQUIRE))
		sched_yield();
	rcu_wait_deferred();
	if (runtime->workers)
		runtime_drain(runtime);
	__atomic_store_n(&the_runtime, NULL, __ATOMIC_RELEASE);
	for (unsigned i = 0; runtime->workers && i < runtime->settings.workers; i++) {
		if (!runtime->workers[i])
			continue;
		worker_fini(runtime->workers[i]);
		free(runtime->workers[i]);
	}
	pthread_mutex_destroy(&runtime->gate_lock);
	pthread_cond_destroy(&runtime->gate_changed);
	free(runtime->workers);
	free(runtime);
}
