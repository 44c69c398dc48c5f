/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - all workers together; for the files of this folder. Others use worker.h.
 */
#ifndef NIGHTJAR_RUNTIME_RUNTIME_H
#define NIGHTJAR_RUNTIME_RUNTIME_H

#include <pthread.h>
#include <stdbool.h>

#include "runtime/worker.h"

enum start_gate { GATE_CLOSED, GATE_OPEN, GATE_CANCELLED };

struct runtime {
	/* Frozen after create. */
	struct runtime_settings settings;
	struct worker **workers;
	unsigned lazy_letters_max; /* a quarter of the credit window */

	/* Main thread. */
	unsigned started;

	/* Guarded by gate_lock: threads wait here until all of them exist. */
	pthread_mutex_t gate_lock;
	pthread_cond_t gate_changed;
	enum start_gate gate;
	worker_hook on_start; /* frozen when the gate opens */

	/*
	 * Any thread, atomic. busy counts the workers that have something to do, and the foreign
	 * letters that are not done. It stays above 0 until runtime_stop(), because a worker counts
	 * itself out only then; a worker counts itself in again before anybody can see what it has
	 * done. So 0 means that nothing is under way anywhere, and nothing can begin.
	 */
	int is_stopping;
	int is_finished;
	long busy;
	/* Foreign threads inside letter_post_foreign(): the letter may be dealt with, and be the last
	 * one, before its poster has got out. */
	unsigned foreign_posters;
};

/* The one runtime of this process, or NULL: for threads that are no workers. */
struct runtime *runtime_current(void);

/* Takes n from busy, and sends all workers home when nothing is left. */
void runtime_busy_drop(struct runtime *runtime, unsigned n);
void runtime_busy_add(struct runtime *runtime, unsigned n);

/* worker.c */
enum err worker_init(struct worker *me, struct runtime *runtime, uint16_t id,
		     struct err_detail *detail) ERR_CHECKED;
void worker_fini(struct worker *me);
/* The thread's body: loops until the runtime has finished. */
void worker_run(struct worker *me);

/* letter.c: the end of the turn. Both say whether there is more for a turn that follows at once. */
bool letters_deliver(struct worker *me);
bool letters_try_waiters(struct worker *me);

#endif
