/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - one turn after the other.
 *
 *	libuv:	timers | prepare                          | poll (sleeps)    | check
 *	here:	wheel  | letters, waiters, tasks, hooks,  | events of the    | awake
 *		       | outboxes; may we sleep?          | next turn        |
 *
 * A turn begins with what poll brings and ends in prepare, so that all output of a turn, that of
 * timers too, leaves before the loop can sleep.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/rcu.h"
#include "runtime/block_cache.h"
#include "runtime/outbox.h"
#include "runtime/runtime.h"

__thread struct worker *worker_current;

/*
 * An eventfd of our own instead of a uv_async_t: libuv's receiver spins until its sender has come back
 * from write(), and a sender that is suspended there, for example because the receiver runs in its
 * place now, costs it up to 1,000 rounds.
 */
void worker_wake(struct worker *worker)
{
	/* Posted before is_woken is looked at; pairs with on_wake(). */
	if (__atomic_exchange_n(&worker->is_woken, 1, __ATOMIC_ACQ_REL))
		return;
	/* It cannot fail: it counts to 2^64, and once for each time that it was read. */
	BUG_ON(eventfd_write(worker->wake_fd, 1) != 0);
}

void worker_do_not_sleep(struct worker *me)
{
	me->wants_no_sleep = true;
}

static void worker_add_hook(worker_hook *hooks, unsigned *count, worker_hook hook)
{
	BUG_ON(*count == WORKER_HOOKS_MAX);
	hooks[(*count)++] = hook;
}

void worker_add_reap_hook(struct worker *me, worker_hook hook)
{
	worker_add_hook(me->reap, &me->reaps, hook);
}

void worker_add_flush_hook(struct worker *me, worker_hook hook)
{
	worker_add_hook(me->flush, &me->flushes, hook);
}

void worker_add_first_flush_hook(struct worker *me, worker_hook hook)
{
	worker_add_hook(me->flush, &me->flushes, hook);
	memmove(me->flush + 1, me->flush, (me->flushes - 1) * sizeof *me->flush);
	me->flush[0] = hook;
}

void worker_add_task(struct worker *me, struct task *task)
{
	if (task->pprev)
		return;
	task->worker = me;
	task->next = NULL;
	task->pprev = me->tasks_tail;
	*task->pprev = task;
	me->tasks_tail = &task->next;
	me->task_count++;
}

void worker_cancel_task(struct task *task)
{
	struct worker *me = task->worker;

	if (!task->pprev)
		return;
	*task->pprev = task->next;
	if (task->next)
		task->next->pprev = task->pprev;
	else
		me->tasks_tail = task->pprev;
	task->pprev = NULL;
	me->task_count--;
}

/* One slice of each that was queued before; those that have more go behind the new ones. */
static void worker_run_tasks(struct worker *me)
{
	for (unsigned n = me->task_count; n > 0 && me->tasks; n--) {
		struct task *task = me->tasks;

		worker_cancel_task(task);
		if (task->run(me, task))
			worker_add_task(me, task);
	}
}

void worker_turn_start(struct worker *me)
{
	me->is_in_turn = true;
	me->turn++;
	me->now_us = clock_fine_us();
	me->now_ms = me->now_us / 1000;
	turn_clock_begin(&me->turn_clock, uv_now(&me->loop));
	counter_add(me->counters, COUNTER_TURNS, 1);
}

static void worker_run_hooks(struct worker *me, const worker_hook *hooks, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		hooks[i](me);
}

/* Has nothing to do, and nothing to wait for, that it does not owe to another's letter. */
static bool worker_is_quiet(const struct worker *me)
{
	return me->letters_out == 0 && me->pool_pending == 0 && me->task_count == 0;
}

/* Before the outboxes are posted: what others can see of this turn, they see while we count. */
static void worker_stop_before_post(struct worker *me)
{
	bool is_stopping = __atomic_load_n(&me->runtime->is_stopping, __ATOMIC_ACQUIRE) != 0;

	/* The hooks of this turn ran before it was known, and may have work for a stop. */
	if (is_stopping && !me->stopping)
		worker_do_not_sleep(me);
	me->stopping = is_stopping;
	if (me->is_counted_quiet && !worker_is_quiet(me)) {
		me->is_counted_quiet = false;
		runtime_busy_add(me->runtime, 1);
	}
}

static void worker_stop_after_post(struct worker *me)
{
	unsigned done = me->foreign_done;

	me->foreign_done = 0;
	if (me->stopping && !me->is_counted_quiet && worker_is_quiet(me)) {
		me->is_counted_quiet = true;
		done++;
	}
	if (done > 0)
		runtime_busy_drop(me->runtime, done);
	if (__atomic_load_n(&me->runtime->is_finished, __ATOMIC_ACQUIRE))
		uv_stop(&me->loop);
}

static void on_wheel(uv_timer_t *handle)
{
	struct worker *me = handle->data;

	worker_turn_begin(me);
	me->wheel_due_ms = UINT64_MAX;
	timer_wheel_advance(&me->wheel, me->now_ms);
}

/*
 * The wheel's next moment, as one libuv timer. It is moved when something is due earlier, not when
 * the earliest is taken away: then it fires once for nothing, which is cheaper than starting it
 * anew in every turn.
 */
static void worker_arm_wheel(struct worker *me)
{
	uint64_t in_ms = timer_wheel_next_ms(&me->wheel, me->now_ms);

	if (in_ms == UINT64_MAX || me->now_ms + in_ms >= me->wheel_due_ms)
		return;
	me->wheel_due_ms = me->now_ms + in_ms;
	/* libuv counts from its own idea of now, which is as old as this turn. */
	uv_update_time(&me->loop);
	uv_timer_start(&me->wheel_timer, on_wheel, in_ms, 0);
}

static void on_idle(uv_idle_t *handle)
{
	(void)handle; /* its being active is what counts: poll returns at once */
}

static void worker_settle(struct worker *me, bool has_more)
{
	has_more = has_more || me->wants_no_sleep || me->task_count > 0 ||
		   outbox_has_own_letters(&me->outboxes[me->id]);
	me->wants_no_sleep = false;
	/* While we stop, everything wakes: the last letters must not wait for company. */
	if (!has_more && !mailbox_sleep(me->mailbox, me->credit_waiters || me->stopping))
		has_more = true;
	if (has_more == me->is_idle_active)
		return;
	me->is_idle_active = has_more;
	if (has_more)
		uv_idle_start(&me->idle, on_idle);
	else
		uv_idle_stop(&me->idle);
}

/* One clock reading a turn is the whole price of both histograms. */
static void worker_record_turn(struct worker *me)
{
	uint64_t now_us = clock_fine_us();

	if (now_us > me->now_us)
		RECORD(TURN, (now_us - me->now_us) * 1000);
	if (me->sampled_us && now_us > me->sampled_us)
		RECORD(PUBLISH_LATENCY, (now_us - me->sampled_us) * 1000);
	me->sampled_us = 0;
}

static void on_turn_end(uv_prepare_t *handle)
{
	struct worker *me = handle->data;
	struct turn_clock *clock = &me->turn_clock;
	bool has_more;

	worker_turn_begin(me);
	turn_clock_mark(clock, TURN_TIMERS);
	has_more = letters_deliver(me);
	has_more = letters_try_waiters(me) || has_more;
	turn_clock_mark(clock, TURN_LETTERS);
	worker_run_tasks(me);
	turn_clock_mark(clock, TURN_TASKS);
	worker_run_hooks(me, me->reap, me->reaps);
	worker_run_hooks(me, me->flush, me->flushes);
	turn_clock_mark(clock, TURN_FLUSH);
	worker_stop_before_post(me);
	outboxes_post(me);
	worker_stop_after_post(me);
	turn_clock_mark(clock, TURN_POST);
	turn_clock_end(clock, me->id);
	worker_record_turn(me);
	worker_arm_wheel(me);
	me->is_in_turn = false;
	worker_settle(me, has_more);
}

static void on_poll_end(uv_check_t *handle)
{
	struct worker *me = handle->data;

	mailbox_awake(me->mailbox);
	worker_turn_begin(me);
	turn_clock_mark(&me->turn_clock, TURN_EVENTS);
}

/* The letters are taken at the end of the turn that this event begins. */
static void on_wake(uv_poll_t *handle, int status, int events)
{
	struct worker *me = handle->data;
	eventfd_t times;

	(void)status;
	(void)events;
	worker_turn_begin(me);
	(void)eventfd_read(me->wake_fd, &times);
	/* From here on whoever posts writes it again; what was posted before is seen in this turn. */
	__atomic_exchange_n(&me->is_woken, 0, __ATOMIC_ACQ_REL);
}

static enum err worker_init_loop(struct worker *me, struct err_detail *detail)
{
	int failed = uv_loop_init(&me->loop);

	if (failed)
		return err_set(detail, ERR_IO,
			       "Worker %u: cannot make an event loop: %s. Are there enough file "
			       "descriptors (ulimit -n)?",
			       me->id, uv_strerror(failed));
	me->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (me->wake_fd < 0) {
		uv_loop_close(&me->loop);
		return err_set(detail, ERR_IO,
			       "Worker %u: cannot make a wake-up descriptor: %s. Are there enough "
			       "file descriptors (ulimit -n)?",
			       me->id, strerror(errno));
	}
	BUG_ON(uv_poll_init(&me->loop, &me->wake, me->wake_fd) != 0);
	uv_prepare_init(&me->loop, &me->prepare);
	uv_check_init(&me->loop, &me->check);
	uv_idle_init(&me->loop, &me->idle);
	uv_timer_init(&me->loop, &me->wheel_timer);
	me->loop.data = me;
	me->prepare.data = me->check.data = me->wheel_timer.data = me->wake.data = me;
	uv_prepare_start(&me->prepare, on_turn_end);
	uv_check_start(&me->check, on_poll_end);
	uv_poll_start(&me->wake, UV_READABLE, on_wake);
	return ERR_NONE;
}

enum err worker_init(struct worker *me, struct runtime *runtime, uint16_t id,
		     struct err_detail *detail)
{
	enum err err;

	me->id = id;
	me->runtime = runtime;
	me->tasks_tail = &me->tasks;
	me->credit_waiters_tail = &me->credit_waiters;
	me->wheel_due_ms = UINT64_MAX;
	me->now_us = clock_fine_us();
	me->now_ms = me->now_us / 1000;
	err = worker_init_loop(me, detail);
	if (err)
		return err;
	timer_wheel_init(&me->wheel, me->now_ms);
	me->counters = aligned_alloc(_Alignof(struct counters), sizeof *me->counters);
	if (me->counters) /* may be read before the thread attaches them */
		memset(me->counters, 0, sizeof *me->counters);
	me->mailbox = mailbox_create();
	me->blocks = block_cache_create(me);
	if (outboxes_create(me) && me->counters && me->mailbox && me->blocks)
		return ERR_NONE;
	worker_fini(me);
	return err_set(detail, ERR_NOMEM, "Worker %u: out of memory", id);
}

static void worker_close_loop(struct worker *me)
{
	uv_close((uv_handle_t *)&me->prepare, NULL);
	uv_close((uv_handle_t *)&me->check, NULL);
	uv_close((uv_handle_t *)&me->idle, NULL);
	uv_close((uv_handle_t *)&me->wheel_timer, NULL);
	uv_close((uv_handle_t *)&me->wake, NULL);
	uv_run(&me->loop, UV_RUN_NOWAIT);
	/* Handles that a folder has not closed would be freed under libuv's feet. */
	BUG_ON(uv_loop_close(&me->loop) != 0);
	close(me->wake_fd);
}

void worker_fini(struct worker *me)
{
	worker_close_loop(me);
	block_cache_destroy(&me->blocks);
	timer_wheel_fini(&me->wheel);
	outboxes_destroy(me);
	mailbox_destroy(&me->mailbox);
	free(me->counters);
	me->counters = NULL;
}

void worker_run(struct worker *me)
{
	worker_current = me;
	rcu_thread_register();
	counters_attach(me->counters);
	uv_update_time(&me->loop); /* the loop was made long ago, maybe */
	worker_turn_start(me);
	me->runtime->on_start(me);
	uv_run(&me->loop, UV_RUN_DEFAULT);
	counters_detach(me->counters);
	rcu_thread_unregister();
	worker_current = NULL;
}
