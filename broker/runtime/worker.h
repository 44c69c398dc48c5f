/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - a thread with a libuv loop, a mailbox, a timer wheel and counters.
 *
 * A turn of the loop is: everything that is readable (poll), then timers, then the end of the turn,
 * which runs in libuv's prepare phase, just before the loop may sleep:
 *
 *	letters -> credit waiters -> tasks (one slice each) -> reap hooks -> flush hooks (sockets are
 *	written) -> outboxes are posted, one batch per target
 *
 * Time is read once per turn (now_ms) and again by who works long. libuv tells nobody that poll has
 * returned, so every callback that a folder gives to libuv begins with worker_turn_begin(me).
 *
 * Owner: the worker itself, except where a comment says otherwise.
 */
#ifndef NIGHTJAR_RUNTIME_WORKER_H
#define NIGHTJAR_RUNTIME_WORKER_H

#include <pthread.h>
#include <uv.h>

#include "base/counters.h"
#include "base/err.h"
#include "base/timer_wheel.h"
#include "runtime/letter.h"
#include "runtime/turn_clock.h"

#define WORKER_NONE 0xffffu
#define WORKERS_MAX 256

struct runtime;
struct mailbox;
struct outbox;
struct block_cache;

struct runtime_settings {
	unsigned workers;	  /* 1..WORKERS_MAX */
	unsigned mailbox_letters; /* credits per pair of workers; at least 4 */
	unsigned pool_threads;	  /* for blocking work */
};

/* Work that goes in slices: run() does one slice per turn and says whether there is more. While a
 * task is queued the loop does not sleep. A task is queued at most once. */
struct task {
	struct task *next, **pprev; /* pprev NULL: not queued */
	struct worker *worker;	    /* set while queued */
	/* May free the task when it returns false, and may cancel any task. */
	bool (*run)(struct worker *me, struct task *task);
};

#define WORKER_HOOKS_MAX 8
typedef void (*worker_hook)(struct worker *me);

/* Per-worker state of the folders above, so that each finds its own without a look-up. */
enum worker_slot {
	WORKER_SLOT_NET,
	WORKER_SLOT_ROUTE,
	WORKER_SLOT_SESSION,
	WORKER_SLOT_STORE,
	WORKER_SLOT_COMMIT_WAIT,
	WORKER_SLOT_HTTP,
	WORKER_SLOT_SERVER,
	WORKER_SLOTS
};

struct worker {
	uint16_t id;
	bool stopping;
	struct runtime *runtime;
	uv_loop_t loop;	 /* its data is this worker */
	uint64_t now_ms; /* clock_now_ms() at the beginning of this turn's events */
	uint64_t now_us; /* the same moment on clock_fine_us() */
	/* Arrival of the first message that was delivered in this turn; 0: none yet. Its latency is
	 * taken when the turn has ended: a look at this number is all that others cost. */
	uint64_t sampled_us;
	uint64_t turn;		  /* number of this turn */
	bool is_in_turn;	  /* now_ms is of this turn */
	struct timer_wheel wheel; /* arm timers with timer_arm_in(&me->wheel, ...) */
	struct counters *counters;
	void *slot[WORKER_SLOTS];
	struct block_cache *blocks; /* messages and letters */
	uint64_t next_message_number;

	worker_hook reap[WORKER_HOOKS_MAX], flush[WORKER_HOOKS_MAX];
	unsigned reaps, flushes;

	/* runtime's own */
	bool wants_no_sleep;   /* a hook asked for a turn at once */
	bool is_idle_active;   /* the idle handle runs, so the loop does not sleep */
	bool is_counted_quiet; /* runtime_stop(): has nothing left to do */
	struct task *tasks, **tasks_tail;
	unsigned task_count;
	struct outbox *outboxes; /* one per worker; the own one is the list of letters to oneself */
	uint16_t *posted_to;	 /* the outboxes that hold something */
	unsigned posted_to_count;
	struct credit_waiter *credit_waiters, **credit_waiters_tail;
	unsigned credit_waiter_count;
	unsigned credit_waiters_to_try; /* a letter came home: so many may look again */
	uint64_t letters_out;		/* own letters that have not come home */
	unsigned foreign_done;		/* foreign letters returned in this turn */
	unsigned pool_pending;
	uint64_t wheel_due_ms; /* when wheel_timer fires; UINT64_MAX: not started */
	struct turn_clock turn_clock;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	uv_timer_t wheel_timer;
	uv_poll_t wake; /* of wake_fd */
	pthread_t thread;

	/* Frozen after create, on a cache line of their own: what is needed to post to this worker. */
	struct mailbox *mailbox __attribute__((aligned(64)));
	int wake_fd;

	/* Any thread, atomic, on another: the eventfd was written and not yet read. */
	int is_woken __attribute__((aligned(64)));
};

extern __thread struct worker *worker_current; /* NULL outside of workers */

#ifdef NIGHTJAR_DEBUG
#define OWNED_BY_ME(obj) BUG_ON((obj)->worker != worker_current)
#else
#define OWNED_BY_ME(obj) ((void)0)
#endif

/* Main thread; one runtime at a time in a process. Creates the workers (loops initialised, threads
 * not started), so that the folders above can put their state into the slots before anything runs. */
enum err runtime_create(const struct runtime_settings *settings, struct runtime **out,
			struct err_detail *detail) ERR_CHECKED;
unsigned runtime_worker_count(const struct runtime *runtime);
struct worker *runtime_worker(struct runtime *runtime, uint16_t id);
const struct runtime_settings *runtime_settings_of(const struct runtime *runtime);
/* Starts all threads; each calls on_start(worker) on itself, then loops. */
enum err runtime_start(struct runtime *runtime, worker_hook on_start,
		       struct err_detail *detail) ERR_CHECKED;
/* Posts a function to every worker; returns at once. From a worker (behind what it has posted in
 * this turn) or from any other thread. done (may be NULL) runs on the last worker that finished,
 * after all. context is passed to both. */
void runtime_on_every_worker(struct runtime *runtime, void (*run)(struct worker *, void *context),
			     void (*done)(void *context), void *context);
/* Main thread: asks each worker to leave its loop once nobody has letters under way, tasks or work
 * in the pool any more, and joins. Until then all of them go on exchanging letters, so that none is
 * lost; the folders see me->stopping and must have stopped what makes new work for ever. */
void runtime_stop(struct runtime *runtime);
/* Frees everything; the folders' slots must have been emptied. */
void runtime_destroy(struct runtime **runtime);

/* First thing in every libuv callback: brings now_ms up to date if this is the turn's first. */
void worker_turn_start(struct worker *me);
static inline void worker_turn_begin(struct worker *me)
{
	if (!me->is_in_turn)
		worker_turn_start(me);
}

/* Any thread: the worker has a turn soon, in which it sees what was written before. */
void worker_wake(struct worker *worker);

void worker_add_reap_hook(struct worker *me, worker_hook hook);
void worker_add_flush_hook(struct worker *me, worker_hook hook);
/* Runs before those that are there already. */
void worker_add_first_flush_hook(struct worker *me, worker_hook hook);
void worker_add_task(struct worker *me, struct task *task);
void worker_cancel_task(struct task *task);
/* A hook of this turn's end left something to do at once: do not sleep before the next turn. */
void worker_do_not_sleep(struct worker *me);

/* Blocking work: run() on a thread of the pool, then done() on me. request is embedded in the
 * caller's block. */
struct pool_work {
	uv_work_t request;
	void (*run)(struct pool_work *work);
	void (*done)(struct worker *me, struct pool_work *work);
	struct worker *worker;
};
void pool_submit(struct worker *me, struct pool_work *work);

/* A block of size bytes from the worker's cache (size classes up to 2 KiB, then malloc); me may be
 * NULL. NULL when there is no memory. */
void *block_alloc(struct worker *me, size_t size);
void block_free(struct worker *me, void *block, size_t size);

#endif
