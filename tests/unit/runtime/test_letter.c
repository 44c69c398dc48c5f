/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_fixture.h"

#include "runtime/runtime.h"

/*
 * The flood: two workers with mailboxes of 4 post to each other as fast as they can, and every
 * letter that arrives makes new work, which needs a credit too.
 */
#define FLOOD_FIRST 5000
#define FLOOD_OFFSPRING 3

struct flood_letter {
	struct letter letter;
	int offspring;
};

struct flooder {
	struct credit_waiter waiter;
	const struct letter_type *type;
	struct latch *done;
	unsigned to_post[FLOOD_OFFSPRING + 1]; /* by offspring */
	unsigned received, returned;
	int worst_out;
	int out;
};

static struct flooder *flooder_of(struct worker *me)
{
	return me->slot[WORKER_SLOT_ROUTE];
}

static int flood_next(const struct flooder *flooder)
{
	for (int i = FLOOD_OFFSPRING; i >= 0; i--)
		if (flooder->to_post[i] > 0)
			return i;
	return -1;
}

static void flood_pump(struct worker *me)
{
	struct flooder *flooder = flooder_of(me);
	uint16_t other = (uint16_t)(1 - me->id);
	int next;

	while ((next = flood_next(flooder)) >= 0) {
		struct flood_letter *letter;

		if (!letter_has_credit(me, other)) {
			letter_wait_for_credit(me, &flooder->waiter);
			return;
		}
		flooder->to_post[next]--;
		letter = letter_create(me, flooder->type, sizeof *letter);
		letter->offspring = next;
		letter_post(me, other, &letter->letter);
		if (++flooder->out > flooder->worst_out)
			flooder->worst_out = flooder->out;
	}
}

static void flood_on_credit(struct worker *me, struct credit_waiter *waiter)
{
	CHECK(!waiter->pprev);
	flood_pump(me);
}

static void flood_on_arrive(struct worker *me, struct letter *letter)
{
	struct flooder *flooder = flooder_of(me);
	int offspring = ((struct flood_letter *)letter)->offspring;

	flooder->received++;
	if (offspring > 0)
		flooder->to_post[offspring - 1]++;
	flood_pump(me);
	letter_return(me, letter);
}

static void flood_on_return(struct worker *home, struct letter *letter)
{
	struct flooder *flooder = flooder_of(home);

	flooder->out--;
	flooder->returned++;
	letter_destroy(home, letter);
	if (flooder->returned == FLOOD_FIRST * (FLOOD_OFFSPRING + 1))
		latch_pass(flooder->done);
}

static void flood_begin(struct worker *me, void *unused)
{
	(void)unused;
	flood_pump(me);
}

static void flood(bool return_is_awaited, unsigned mailbox_letters)
{
	const struct letter_type type = {.name = "flood",
					 .on_arrive = flood_on_arrive,
					 .on_return = flood_on_return,
					 .takes_credit = true,
					 .return_is_awaited = return_is_awaited};
	struct runtime *runtime = runtime_make(2, mailbox_letters);
	struct flooder flooders[2];
	struct latch done = LATCH(2);
	struct err_detail detail;

	memset(flooders, 0, sizeof flooders);
	for (uint16_t i = 0; i < 2; i++) {
		flooders[i].type = &type;
		flooders[i].done = &done;
		flooders[i].waiter.on_credit = flood_on_credit;
		flooders[i].to_post[FLOOD_OFFSPRING] = FLOOD_FIRST;
		runtime_worker(runtime, i)->slot[WORKER_SLOT_ROUTE] = &flooders[i];
	}
	assert_int_equal(runtime_start(runtime, start_nothing, &detail), ERR_NONE);
	runtime_on_every_worker(runtime, flood_begin, NULL, NULL);
	assert_true(latch_wait(&done));
	runtime_end(runtime);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(flooders[i].received, FLOOD_FIRST * (FLOOD_OFFSPRING + 1));
		assert_int_equal(flooders[i].worst_out, mailbox_letters);
	}
}

static void two_workers_flood_each_other_with_mailboxes_of_4(void **unused)
{
	(void)unused;
	flood(true, 4);
}

static void they_do_so_too_when_nobody_awaits_the_returns(void **unused)
{
	(void)unused;
	flood(false, 4);
	flood(false, 64);
}

/*
 * Starving: worker 1 keeps all letters of worker 0 but one, which it returns by itself, in a turn
 * with nothing else to post. Nobody awaits the return, and one is far below what would wake for
 * its own sake: only that worker 0 waits for credit makes it a wake-up.
 */
#define STARVE_WINDOW 64
#define STARVE_ROUNDS 20000

struct starving {
	struct credit_waiter waiter;
	struct latch done;
	int rounds;
	int kept_count;
	struct letter *kept[STARVE_WINDOW];
};

static struct starving starving;

static void starve_on_arrive(struct worker *me, struct letter *letter)
{
	if (starving.kept_count < STARVE_WINDOW - 1)
		starving.kept[starving.kept_count++] = letter;
	else
		letter_return(me, letter);
}

static const struct letter_type starve_type = {.name = "starve",
					       .on_arrive = starve_on_arrive,
					       .on_return = letter_destroy,
					       .takes_credit = true};

static void starve_post(struct worker *me)
{
	while (letter_has_credit(me, 1) && starving.rounds > 0) {
		starving.rounds--;
		letter_post(me, 1, letter_create(me, &starve_type, sizeof(struct letter)));
	}
	if (starving.rounds > 0)
		letter_wait_for_credit(me, &starving.waiter);
	else
		latch_pass(&starving.done);
}

static void starve_on_credit(struct worker *me, struct credit_waiter *waiter)
{
	(void)waiter;
	starve_post(me);
}

static void starve_begin(struct worker *me, void *unused)
{
	(void)unused;
	starve_post(me);
}

static void starve_give_back(struct worker *me, void *unused)
{
	(void)unused;
	for (int i = 0; i < starving.kept_count; i++)
		letter_return(me, starving.kept[i]);
}

static void a_worker_that_waits_for_credit_is_woken_by_every_return(void **unused)
{
	struct runtime *runtime = runtime_begin(2, STARVE_WINDOW);

	(void)unused;
	starving = (struct starving){.waiter.on_credit = starve_on_credit,
				     .done = LATCH(1),
				     .rounds = STARVE_ROUNDS};
	run_on(runtime_worker(runtime, 0), starve_begin, NULL);
	assert_true(latch_wait(&starving.done));
	run_on(runtime_worker(runtime, 1), starve_give_back, NULL);
	runtime_end(runtime);
}

/*
 * Returns that nobody awaits. Worker 1 keeps the letters until worker 0 sleeps, so that only a
 * wake-up can bring them home.
 */
static struct {
	struct letter *kept[16];
	int count, wanted;
	bool gives_back_when_stopping;
	pid_t home_thread;
	int home_count; /* atomic */
	struct latch home;
} lazy;

static bool thread_sleeps(pid_t thread)
{
	char path[64], line[256] = "";
	const char *state;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
	file = fopen(path, "r");
	CHECK(file && fgets(line, sizeof line, file));
	fclose(file);
	state = strrchr(line, ')');
	return state && state[2] == 'S';
}

static void wait_until_thread_sleeps(pid_t thread)
{
	uint64_t deadline_us = clock_now_us() + DEADLINE_S * 1000000u;

	while (!thread_sleeps(thread)) {
		CHECK(clock_now_us() < deadline_us);
		sched_yield();
	}
}

static void lazy_give_back(struct worker *me)
{
	wait_until_thread_sleeps(lazy.home_thread);
	for (int i = 0; i < lazy.count; i++)
		letter_return(me, lazy.kept[i]);
	lazy.count = 0;
}

static void lazy_on_arrive(struct worker *me, struct letter *letter)
{
	lazy.kept[lazy.count++] = letter;
	if (lazy.count == lazy.wanted && !lazy.gives_back_when_stopping)
		lazy_give_back(me);
}

static void lazy_on_return(struct worker *home, struct letter *letter)
{
	letter_destroy(home, letter);
	if (__atomic_add_fetch(&lazy.home_count, 1, __ATOMIC_RELAXED) == lazy.wanted)
		latch_pass(&lazy.home);
}

static const struct letter_type lazy_type = {.name = "lazy",
					     .on_arrive = lazy_on_arrive,
					     .on_return = lazy_on_return};

static void lazy_post(struct worker *me, void *unused)
{
	(void)unused;
	lazy.home_thread = gettid();
	for (int i = 0; i < lazy.wanted; i++)
		letter_post(me, 1, letter_create(me, &lazy_type, sizeof(struct letter)));
}

static void returns_that_nobody_awaits_come_home_in_numbers(void **unused)
{
	(void)unused;
	for (int round = 0; round < 20; round++) {
		struct runtime *runtime = runtime_begin(2, 64);

		memset(&lazy, 0, sizeof lazy);
		lazy.wanted = 16; /* a quarter of the window */
		lazy.home = (struct latch)LATCH(1);
		run_on(runtime_worker(runtime, 0), lazy_post, NULL);
		assert_true(latch_wait(&lazy.home));
		runtime_end(runtime);
	}
}

static void lazy_reap(struct worker *me)
{
	if (me->id == 1 && me->stopping && lazy.count > 0)
		lazy_give_back(me);
}

static void a_stop_fetches_home_what_nobody_awaits(void **unused)
{
	(void)unused;
	for (int round = 0; round < 20; round++) {
		struct runtime *runtime = runtime_make(2, 64);
		struct err_detail detail;

		memset(&lazy, 0, sizeof lazy);
		lazy.wanted = 3;
		lazy.gives_back_when_stopping = true;
		worker_add_reap_hook(runtime_worker(runtime, 1), lazy_reap);
		assert_int_equal(runtime_start(runtime, start_nothing, &detail), ERR_NONE);
		run_on(runtime_worker(runtime, 0), lazy_post, NULL);
		runtime_end(runtime);
		assert_int_equal(lazy.home_count, 3);
	}
}

/* Letters to oneself: a chain of a thousand, one by one, with no other thread to wake the loop. */
static struct {
	int arrived, returned;
	struct latch done;
} own;

static const struct letter_type own_type;

static void own_on_arrive(struct worker *me, struct letter *letter)
{
	CHECK(worker_current == me);
	own.arrived++;
	letter_return(me, letter);
}

static void own_on_return(struct worker *home, struct letter *letter)
{
	/* A letter that has come home may be used again. */
	if (++own.returned < 1000) {
		letter_post(home, home->id, letter);
		return;
	}
	letter_destroy(home, letter);
	latch_pass(&own.done);
}

static const struct letter_type own_type = {.name = "own",
					    .on_arrive = own_on_arrive,
					    .on_return = own_on_return,
					    .takes_credit = true};

static void own_begin(struct worker *me, void *unused)
{
	(void)unused;
	letter_post(me, me->id, letter_create(me, &own_type, sizeof(struct letter)));
}

static void letters_to_oneself_arrive_and_come_back(void **unused)
{
	struct runtime *runtime = runtime_begin(1, 4);

	(void)unused;
	memset(&own, 0, sizeof own);
	own.done = (struct latch)LATCH(1);
	run_on(runtime_worker(runtime, 0), own_begin, NULL);
	assert_true(latch_wait(&own.done));
	runtime_end(runtime);
	assert_int_equal(own.arrived, 1000);
}

/* Waiters are asked in the order in which they came, and one that was cancelled is not asked. */
static struct {
	struct credit_waiter waiter[4];
	int order[4], asked;
	struct latch done;
} queue;

static void queue_on_credit(struct worker *me, struct credit_waiter *waiter)
{
	(void)me;
	queue.order[queue.asked++] = (int)(waiter - queue.waiter);
	if (queue.asked == 3)
		latch_pass(&queue.done);
}

static void queue_begin(struct worker *me, void *unused)
{
	(void)unused;
	while (letter_has_credit(me, 1))
		letter_post(me, 1, letter_create(me, &starve_type, sizeof(struct letter)));
	for (int i = 0; i < 4; i++) {
		queue.waiter[i].on_credit = queue_on_credit;
		letter_wait_for_credit(me, &queue.waiter[i]);
		letter_wait_for_credit(me, &queue.waiter[i]);
	}
	letter_wait_cancel(&queue.waiter[3]);
	letter_wait_cancel(&queue.waiter[1]);
	letter_wait_cancel(&queue.waiter[1]);
	letter_wait_for_credit(me, &queue.waiter[1]);
}

static void those_who_wait_for_credit_are_asked_in_order(void **unused)
{
	struct runtime *runtime = runtime_begin(2, 4);

	(void)unused;
	memset(&queue, 0, sizeof queue);
	queue.done = (struct latch)LATCH(1);
	starving.kept_count = STARVE_WINDOW; /* keep none */
	run_on(runtime_worker(runtime, 0), queue_begin, NULL);
	assert_true(latch_wait(&queue.done));
	assert_int_equal(queue.order[0], 0);
	assert_int_equal(queue.order[1], 2);
	assert_int_equal(queue.order[2], 1);
	runtime_end(runtime);
}

/* Many threads that are no workers post at once. */
#define FOREIGNERS 3
#define FOREIGN_LETTERS 5000

static struct runtime *foreign_runtime;
static struct latch foreign_done = LATCH(FOREIGNERS * FOREIGN_LETTERS);

static void *post_foreign(void *unused)
{
	for (int i = 0; i < FOREIGN_LETTERS; i++)
		run_on(runtime_worker(foreign_runtime, (uint16_t)(i % 2)), pass_latch,
		       &foreign_done);
	return unused;
}

static void letters_of_other_threads_all_arrive(void **unused)
{
	pthread_t threads[FOREIGNERS];

	(void)unused;
	foreign_runtime = runtime_begin(2, 4);
	for (int i = 0; i < FOREIGNERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_foreign, NULL), 0);
	assert_true(latch_wait(&foreign_done));
	for (int i = 0; i < FOREIGNERS; i++)
		pthread_join(threads[i], NULL);
	runtime_end(foreign_runtime);
}

/* As a plugin that is asked, and answers when the broker is stopping already. */
static struct {
	struct letter *letter;
	struct worker *worker;
	struct latch lent;
	int arrived; /* atomic */
} answer;

static void answer_on_arrive(struct worker *me, struct letter *letter)
{
	__atomic_add_fetch(&answer.arrived, 1, __ATOMIC_RELAXED);
	letter_return(me, letter);
}

static const struct letter_type answer_type = {.name = "answer",
					       .on_arrive = answer_on_arrive,
					       .on_return = letter_destroy};

static void ask(struct worker *me, void *unused)
{
	struct letter *unanswered = letter_create(NULL, &answer_type, sizeof *unanswered);

	(void)unused;
	answer.worker = me;
	answer.letter = letter_create(NULL, &answer_type, sizeof(struct letter));
	letter_lend(me, answer.letter);
	/* This one is known at once, so that no letter is needed. */
	letter_lend(me, unanswered);
	letter_take_back(me, unanswered);
	letter_destroy(NULL, unanswered);
	latch_pass(&answer.lent);
}

static void *answer_late(void *unused)
{
	while (!__atomic_load_n(&answer.worker->runtime->is_stopping, __ATOMIC_ACQUIRE))
		usleep(1000);
	letter_post_foreign(answer.worker, answer.letter);
	return unused;
}

static void the_runtime_stops_only_when_what_was_lent_has_arrived(void **unused)
{
	pthread_t thread;

	(void)unused;
	for (int i = 1; i <= 20; i++) {
		struct runtime *runtime = runtime_begin(2, 4);

		answer.lent = (struct latch)LATCH(1);
		run_on(runtime_worker(runtime, 1), ask, NULL);
		assert_true(latch_wait(&answer.lent));
		assert_int_equal(pthread_create(&thread, NULL, answer_late, NULL), 0);
		runtime_end(runtime);
		assert_int_equal(answer.arrived, i);
		pthread_join(thread, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_workers_flood_each_other_with_mailboxes_of_4),
		cmocka_unit_test(they_do_so_too_when_nobody_awaits_the_returns),
		cmocka_unit_test(a_worker_that_waits_for_credit_is_woken_by_every_return),
		cmocka_unit_test(returns_that_nobody_awaits_come_home_in_numbers),
		cmocka_unit_test(a_stop_fetches_home_what_nobody_awaits),
		cmocka_unit_test(letters_to_oneself_arrive_and_come_back),
		cmocka_unit_test(those_who_wait_for_credit_are_asked_in_order),
		cmocka_unit_test(letters_of_other_threads_all_arrive),
		cmocka_unit_test(the_runtime_stops_only_when_what_was_lent_has_arrived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
