/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_fixture.h"

#include <fcntl.h>

#include "base/counters.h"

/* Every worker runs it once, and the end is told once, after all. */
static struct {
	int ran[4];
	int order_is_wrong;
	struct latch done;
} errand;

static void errand_run(struct worker *me, void *context)
{
	CHECK(context == &errand && worker_current == me);
	__atomic_add_fetch(&errand.ran[me->id], 1, __ATOMIC_RELAXED);
}

static void errand_done(void *context)
{
	for (int i = 0; i < 4; i++)
		if (__atomic_load_n(&errand.ran[i], __ATOMIC_RELAXED) != 1)
			errand.order_is_wrong = 1;
	(void)context;
	latch_pass(&errand.done);
}

static void errand_from_worker(struct worker *me, void *unused)
{
	(void)unused;
	runtime_on_every_worker(me->runtime, errand_run, errand_done, &errand);
}

static void an_errand_runs_on_every_worker_and_then_is_done(void **unused)
{
	struct runtime *runtime = runtime_begin(4, 4);

	(void)unused;
	errand.done = (struct latch)LATCH(1);
	runtime_on_every_worker(runtime, errand_run, errand_done, &errand);
	assert_true(latch_wait(&errand.done));
	memset(errand.ran, 0, sizeof errand.ran);
	latch_reset(&errand.done, 1);
	run_on(runtime_worker(runtime, 2), errand_from_worker, NULL);
	assert_true(latch_wait(&errand.done));
	runtime_end(runtime);
	assert_false(errand.order_is_wrong);
}

static void an_errand_posted_before_the_start_waits_for_it(void **unused)
{
	struct runtime *runtime = runtime_make(4, 4);
	struct err_detail detail;

	(void)unused;
	memset(&errand, 0, sizeof errand);
	errand.done = (struct latch)LATCH(1);
	runtime_on_every_worker(runtime, errand_run, errand_done, &errand);
	assert_int_equal(runtime_start(runtime, start_nothing, &detail), ERR_NONE);
	assert_true(latch_wait(&errand.done));
	runtime_end(runtime);
}

static void settings_out_of_range_are_refused_with_a_sentence(void **unused)
{
	struct runtime_settings settings = {.workers = 257, .mailbox_letters = 64};
	struct runtime *runtime = NULL;
	struct err_detail detail;

	(void)unused;
	assert_int_equal(runtime_create(&settings, &runtime, &detail), ERR_INVALID);
	assert_non_null(strstr(detail.text, "257"));
	settings.workers = 0;
	assert_int_equal(runtime_create(&settings, &runtime, &detail), ERR_INVALID);
	settings.workers = 1;
	settings.mailbox_letters = 3;
	assert_int_equal(runtime_create(&settings, &runtime, &detail), ERR_INVALID);
	assert_non_null(strstr(detail.text, "at least 4"));
	assert_null(runtime);
}

/* Hooks run in every turn: reap before flush, and behind the events of that turn. */
static struct {
	int reaps, flushes, wanted;
	struct latch done;
} hooks;

static void count_reap(struct worker *me)
{
	(void)me;
	CHECK(hooks.reaps == hooks.flushes);
	hooks.reaps++;
}

static void count_flush(struct worker *me)
{
	hooks.flushes++;
	CHECK(hooks.reaps == hooks.flushes);
	if (hooks.flushes < hooks.wanted)
		worker_do_not_sleep(me);
	else if (hooks.flushes == hooks.wanted)
		latch_pass(&hooks.done);
}

static void a_hook_keeps_the_loop_awake_as_long_as_it_wants(void **unused)
{
	struct runtime *runtime = runtime_make(1, 4);
	struct worker *worker = runtime_worker(runtime, 0);
	struct err_detail detail;

	(void)unused;
	hooks.wanted = 500;
	hooks.done = (struct latch)LATCH(1);
	worker_add_reap_hook(worker, count_reap);
	worker_add_flush_hook(worker, count_flush);
	assert_int_equal(runtime_start(runtime, start_nothing, &detail), ERR_NONE);
	assert_true(latch_wait(&hooks.done));
	runtime_end(runtime);
}

/*
 * A long task goes in slices: letters that come meanwhile are handled between two slices, and tasks
 * take turns.
 */
#define SLICES 20000

struct counted_task {
	struct task task;
	int slices;
};

static struct {
	struct counted_task task[3];
	int pings, unfair;
	struct latch begun, pinged, done;
} slices;

static bool slice_run(struct worker *me, struct task *task)
{
	struct counted_task *counted = (struct counted_task *)task;
	int ahead = counted->slices - slices.task[0].slices;

	(void)me;
	CHECK(!task->pprev);
	if (counted == &slices.task[1] && (ahead < -1 || ahead > 1))
		slices.unfair++;
	if (counted == &slices.task[0] && counted->slices == 0)
		latch_pass(&slices.begun);
	/* Does not end before the ping has come: that is what is tested. */
	if (++counted->slices < SLICES || slices.pings == 0) {
		return true;
	}
	latch_pass(&slices.done);
	return false;
}

static void slices_begin(struct worker *me, void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++) {
		slices.task[i].task.run = slice_run;
		worker_add_task(me, &slices.task[i].task);
		worker_add_task(me, &slices.task[i].task);
	}
	worker_cancel_task(&slices.task[2].task);
	worker_cancel_task(&slices.task[2].task);
}

static void slices_ping(struct worker *me, void *unused)
{
	(void)unused;
	(void)me;
	slices.pings++;
	latch_pass(&slices.pinged);
}

static void tasks_go_in_slices_and_let_letters_through(void **unused)
{
	struct runtime *runtime = runtime_begin(1, 4);

	(void)unused;
	slices.begun = slices.pinged = (struct latch)LATCH(1);
	slices.done = (struct latch)LATCH(2);
	run_on(runtime_worker(runtime, 0), slices_begin, NULL);
	assert_true(latch_wait(&slices.begun));
	run_on(runtime_worker(runtime, 0), slices_ping, NULL);
	assert_true(latch_wait(&slices.pinged));
	assert_true(latch_wait(&slices.done));
	runtime_end(runtime);
	assert_int_equal(slices.unfair, 0);
	assert_int_equal(slices.task[2].slices, 0);
}

/* A worker's sockets are served while letters to itself never end. */
static struct {
	int fds[2];
	uv_poll_t poll;
	bool is_over;
	struct latch watching, closed;
} endless;

static void endless_on_return(struct worker *home, struct letter *letter)
{
	if (endless.is_over)
		letter_destroy(home, letter);
	else
		letter_post(home, home->id, letter);
}

static const struct letter_type endless_type = {.name = "endless",
						.on_arrive = letter_return,
						.on_return = endless_on_return};

static void endless_on_close(uv_handle_t *handle)
{
	(void)handle;
	latch_pass(&endless.closed);
}

static void endless_on_readable(uv_poll_t *handle, int status, int events)
{
	CHECK(status == 0 && (events & UV_READABLE));
	worker_turn_begin(worker_current);
	endless.is_over = true;
	uv_close((uv_handle_t *)handle, endless_on_close);
}

static void endless_begin(struct worker *me, void *unused)
{
	(void)unused;
	CHECK(uv_poll_init(&me->loop, &endless.poll, endless.fds[0]) == 0);
	uv_poll_start(&endless.poll, UV_READABLE, endless_on_readable);
	for (int i = 0; i < 10; i++)
		letter_post(me, 0, letter_create(me, &endless_type, sizeof(struct letter)));
	latch_pass(&endless.watching);
}

static void sockets_are_served_though_letters_never_end(void **unused)
{
	struct runtime *runtime = runtime_begin(1, 4);

	(void)unused;
	assert_int_equal(pipe2(endless.fds, O_NONBLOCK | O_CLOEXEC), 0);
	endless.watching = endless.closed = (struct latch)LATCH(1);
	run_on(runtime_worker(runtime, 0), endless_begin, NULL);
	assert_true(latch_wait(&endless.watching));
	assert_int_equal(write(endless.fds[1], "x", 1), 1);
	assert_true(latch_wait(&endless.closed));
	runtime_end(runtime);
	close(endless.fds[0]);
	close(endless.fds[1]);
}

/* Timers of the wheel fire, also when one is armed that is due before the one that was first. */
static struct {
	struct timer timer[3];
	int order[3], fired;
	struct latch done;
} timers;

static void timer_fired(struct timer *timer)
{
	struct worker *me = worker_current;
	uint64_t real_ms = clock_now_ms();

	CHECK(me->now_ms <= real_ms && real_ms - me->now_ms < 5000);
	timers.order[timers.fired++] = (int)(timer - timers.timer);
	latch_pass(&timers.done);
}

static void timers_begin(struct worker *me, void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++)
		timer_init(&timers.timer[i], timer_fired);
	timer_arm_in(&me->wheel, &timers.timer[0], 600);
	timer_arm_in(&me->wheel, &timers.timer[1], 3600000);
}

static void timers_earlier(struct worker *me, void *unused)
{
	(void)unused;
	timer_arm_in(&me->wheel, &timers.timer[2], 200);
	timer_disarm(&me->wheel, &timers.timer[1]);
}

static void the_wheel_wakes_the_worker_for_what_is_due_first(void **unused)
{
	struct runtime *runtime = runtime_begin(1, 4);

	(void)unused;
	timers.done = (struct latch)LATCH(2);
	run_on(runtime_worker(runtime, 0), timers_begin, NULL);
	run_on(runtime_worker(runtime, 0), timers_earlier, NULL);
	assert_true(latch_wait(&timers.done));
	runtime_end(runtime);
	assert_int_equal(timers.order[0], 2);
	assert_int_equal(timers.order[1], 0);
}

static uint64_t turns_in_a_second(void)
{
	uint64_t before = counter_total(COUNTER_TURNS);
	struct timespec second = {1, 0};

	nanosleep(&second, NULL); /* the measured span, not a wait for something */
	return counter_total(COUNTER_TURNS) - before;
}

/*
 * Idle workers do not turn. The blocks of the first letters go back to malloc in two wake-ups, which lie
 * in the first seconds when the machine is busy.
 */
static void idle_workers_do_not_wake(void **unused)
{
	struct runtime *runtime = runtime_begin(4, 64);
	struct latch all = LATCH(4);
	uint64_t turns = UINT64_MAX;

	(void)unused;
	runtime_on_every_worker(runtime, pass_latch, NULL, &all);
	assert_true(latch_wait(&all));
	/* The turns in which the errand ended may have been counted or not. */
	for (int i = 0; i < 10 && turns > 4; i++)
		turns = turns_in_a_second();
	runtime_end(runtime);
	assert_in_range(turns, 0, 4);
}

/* A worker that sleeps, registered as a reader, holds up nobody's grace period. */
static struct rcu_head deferred;
static struct latch deferred_freed = LATCH(1);

static void deferred_free(struct rcu_head *head)
{
	(void)head;
	latch_pass(&deferred_freed);
}

static void defer_on_worker(struct worker *me, void *unused)
{
	(void)unused;
	(void)me;
	rcu_defer_free(&deferred, deferred_free);
}

static void sleeping_workers_do_not_hold_up_those_who_free(void **unused)
{
	struct runtime *runtime = runtime_begin(3, 64);
	struct latch all = LATCH(3);

	(void)unused;
	runtime_on_every_worker(runtime, pass_latch, NULL, &all);
	assert_true(latch_wait(&all));
	run_on(runtime_worker(runtime, 1), defer_on_worker, NULL);
	assert_true(latch_wait(&deferred_freed));
	rcu_wait();
	runtime_end(runtime);
}

/* The pool runs as many at once as the settings say, off the workers, and ends on the worker. */
struct blocking {
	struct pool_work work;
	struct worker *submitter;
};

static struct {
	struct blocking blocking[3];
	pthread_barrier_t all_three;
	struct latch done;
} pool;

static void blocking_run(struct pool_work *work)
{
	(void)work;
	CHECK(!worker_current);
	pthread_barrier_wait(&pool.all_three); /* passes only with three threads */
}

static void blocking_done(struct worker *me, struct pool_work *work)
{
	CHECK(worker_current == me && ((struct blocking *)work)->submitter == me);
	latch_pass(&pool.done);
}

static void pool_begin(struct worker *me, void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++) {
		pool.blocking[i].work.run = blocking_run;
		pool.blocking[i].work.done = blocking_done;
		pool.blocking[i].submitter = me;
		pool_submit(me, &pool.blocking[i].work);
	}
}

static void blocking_work_runs_in_the_pool_and_ends_on_its_worker(void **unused)
{
	struct runtime *runtime = runtime_begin(2, 4);

	(void)unused;
	pthread_barrier_init(&pool.all_three, NULL, 3);
	pool.done = (struct latch)LATCH(3);
	run_on(runtime_worker(runtime, 1), pool_begin, NULL);
	assert_true(latch_wait(&pool.done));
	runtime_end(runtime);
	pthread_barrier_destroy(&pool.all_three);
}

static void be_slow(struct worker *me, void *latch)
{
	uint64_t end_us = clock_now_us() + 40000;

	(void)me;
	while (clock_now_us() < end_us)
		continue;
	latch_pass(latch);
}

static void a_slow_turn_is_counted(void **unused)
{
	uint64_t before = counter_total(COUNTER_SLOW_TURNS);
	struct runtime *runtime = runtime_begin(1, 4);
	struct latch done = LATCH(1);

	(void)unused;
	run_on(runtime_worker(runtime, 0), be_slow, &done);
	assert_true(latch_wait(&done));
	runtime_end(runtime);
	assert_true(counter_total(COUNTER_SLOW_TURNS) > before);
}

static void a_turn_clock_names_the_stage(void **unused)
{
	struct turn_clock clock = {0};
	struct timespec now;
	uint64_t now_ms;

	(void)unused;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	turn_clock_begin(&clock, now_ms - 100);
	turn_clock_mark(&clock, TURN_LETTERS);
	turn_clock_mark(&clock, TURN_TASKS);
	assert_in_range(clock.stage_ms[TURN_LETTERS], 80, 100 + DEADLINE_S * 1000);
	assert_int_equal(clock.stage_ms[TURN_EVENTS], 0);
	turn_clock_begin(&clock, now_ms + 1000000);
	turn_clock_mark(&clock, TURN_LETTERS);
	assert_int_equal(clock.stage_ms[TURN_LETTERS], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_errand_runs_on_every_worker_and_then_is_done),
		cmocka_unit_test(an_errand_posted_before_the_start_waits_for_it),
		cmocka_unit_test(settings_out_of_range_are_refused_with_a_sentence),
		cmocka_unit_test(a_hook_keeps_the_loop_awake_as_long_as_it_wants),
		cmocka_unit_test(tasks_go_in_slices_and_let_letters_through),
		cmocka_unit_test(sockets_are_served_though_letters_never_end),
		cmocka_unit_test(the_wheel_wakes_the_worker_for_what_is_due_first),
		cmocka_unit_test(idle_workers_do_not_wake),
		cmocka_unit_test(sleeping_workers_do_not_hold_up_those_who_free),
		cmocka_unit_test(blocking_work_runs_in_the_pool_and_ends_on_its_worker),
		cmocka_unit_test(a_slow_turn_is_counted),
		cmocka_unit_test(a_turn_clock_names_the_stage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
