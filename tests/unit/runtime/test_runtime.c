/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_fixture.h"

#include "../planted_race.h"

/*
 * Stop in the midst of everything: letters that hop from worker to worker, work in the pool that
 * makes new letters when it is done, and letters of the main thread. All of it comes to its end
 * before runtime_stop() returns, and nothing is left.
 */
#define HOPPERS 4

struct hop_letter {
	struct letter letter;
	int hops;
};

static struct {
	uint64_t made, destroyed; /* atomic */
	int pool_done;		  /* atomic */
	struct latch begun;
} hop;

static const struct letter_type hop_type;

static void hop_post(struct worker *me, int hops)
{
	struct hop_letter *letter = letter_create(me, &hop_type, sizeof *letter);

	letter->hops = hops;
	__atomic_add_fetch(&hop.made, 1, __ATOMIC_RELAXED);
	letter_post(me, (uint16_t)((me->id + (unsigned)hops) % HOPPERS), &letter->letter);
}

static void hop_on_arrive(struct worker *me, struct letter *letter)
{
	int hops = ((struct hop_letter *)letter)->hops;

	if (hops > 0)
		hop_post(me, hops - 1);
	letter_return(me, letter);
}

static void hop_on_return(struct worker *home, struct letter *letter)
{
	__atomic_add_fetch(&hop.destroyed, 1, __ATOMIC_RELAXED);
	letter_destroy(home, letter);
}

static const struct letter_type hop_type = {.name = "hop",
					    .on_arrive = hop_on_arrive,
					    .on_return = hop_on_return};

static void hop_pool_run(struct pool_work *work)
{
	struct timespec pause = {0, 20000000};

	(void)work;
	nanosleep(&pause, NULL); /* the work that blocks */
}

static void hop_pool_done(struct worker *me, struct pool_work *work)
{
	__atomic_add_fetch(&hop.pool_done, 1, __ATOMIC_RELAXED);
	hop_post(me, 50);
	free(work);
}

static void hop_begin(struct worker *me, void *unused)
{
	struct pool_work *work = calloc(1, sizeof *work);

	(void)unused;
	work->run = hop_pool_run;
	work->done = hop_pool_done;
	pool_submit(me, work);
	for (int i = 0; i < 50; i++)
		hop_post(me, 200 + i);
	latch_pass(&hop.begun);
}

static void a_stop_lets_everything_come_to_its_end(void **unused)
{
	(void)unused;
	for (int round = 0; round < 5; round++) {
		struct runtime *runtime = runtime_begin(HOPPERS, 8);
		struct latch late = LATCH(HOPPERS);

		memset(&hop, 0, sizeof hop);
		hop.begun = (struct latch)LATCH(HOPPERS);
		runtime_on_every_worker(runtime, hop_begin, NULL, NULL);
		assert_true(latch_wait(&hop.begun));
		runtime_on_every_worker(runtime, pass_latch, NULL, &late);
		runtime_stop(runtime);
		assert_true(late.left == 0);
		assert_int_equal(hop.pool_done, HOPPERS);
		assert_true(hop.made > HOPPERS * 50 * 200);
		assert_int_equal(hop.made, hop.destroyed);
		runtime_destroy(&runtime);
	}
}

static void a_stop_of_idle_workers_returns(void **unused)
{
	(void)unused;
	for (int round = 0; round < 50; round++)
		runtime_end(runtime_begin(3, 4));
}

static void a_runtime_that_was_never_started_can_be_destroyed(void **unused)
{
	struct runtime *runtime = runtime_make(3, 4);
	struct latch never = LATCH(1);

	(void)unused;
	run_on(runtime_worker(runtime, 1), pass_latch, &never);
	runtime_stop(runtime);
	runtime_destroy(&runtime);
	assert_int_equal(never.left, 1);
}

/*
 * The planted race: two workers that both read under RCU and get letters, but none from each other,
 * write one variable. Run by the test below as a process of its own.
 */
#define RACERS 2

static unsigned raced;
static pthread_barrier_t both_run;
static struct latch race_done = LATCH(RACERS);

static void race(struct worker *me, void *unused)
{
	(void)unused;
	(void)me;
	/* Together, so that the main thread's letters do not put one behind the other. */
	pthread_barrier_wait(&both_run);
	for (int i = 0; i < 1000; i++) {
		rcu_read_section_begin();
		raced++;
		rcu_read_section_end();
	}
	latch_pass(&race_done);
}

static int run_planted_race(void)
{
	struct runtime_settings settings = {.workers = RACERS, .mailbox_letters = 4};
	struct runtime *runtime;
	struct err_detail detail;

	pthread_barrier_init(&both_run, NULL, RACERS);
	if (runtime_create(&settings, &runtime, &detail) ||
	    runtime_start(runtime, start_nothing, &detail))
		return 2;
	runtime_on_every_worker(runtime, race, NULL, NULL);
	if (!latch_wait(&race_done))
		return 2;
	runtime_end(runtime);
	return 0;
}

static void thread_sanitizer_finds_a_race_between_workers(void **unused)
{
	(void)unused;
#ifdef RCU_TELLS_TSAN
	expect_planted_race("test_runtime");
#else
	skip();
#endif
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stop_lets_everything_come_to_its_end),
		cmocka_unit_test(a_stop_of_idle_workers_returns),
		cmocka_unit_test(a_runtime_that_was_never_started_can_be_destroyed),
		cmocka_unit_test(thread_sanitizer_finds_a_race_between_workers),
	};

	if (argc > 1 && strcmp(argv[1], "planted-race") == 0)
		return run_planted_race();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
