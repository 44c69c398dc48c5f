/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../planted_race.h"
#include "base/clock.h"
#include "base/rcu.h"

#define POISON 0xdeadu

struct thing {
	struct rcu_head rcu;
	unsigned a, b; /* always equal while the thing can be found */
};

static struct thing *shared;
static int stop;
static unsigned freed;

static void thing_free(struct rcu_head *head)
{
	struct thing *thing = RCU_OWNER(head, struct thing, rcu);

	thing->a = POISON;
	__atomic_add_fetch(&freed, 1, __ATOMIC_RELAXED);
	free(thing);
}

static struct thing *thing_new(unsigned value)
{
	struct thing *thing = malloc(sizeof *thing);

	thing->a = thing->b = value;
	return thing;
}

static void *read_until_stopped(void *unused)
{
	uintptr_t bad = 0;

	(void)unused;
	rcu_thread_register();
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		struct thing *thing;

		rcu_read_section_begin();
		thing = rcu_load(shared);
		bad += thing->a != thing->b || thing->a == POISON;
		rcu_read_section_end();
	}
	rcu_thread_unregister();
	return (void *)bad;
}

static void replace(unsigned value, int wait)
{
	struct thing *old = shared;

	rcu_publish(&shared, thing_new(value));
	if (wait) {
		rcu_wait();
		thing_free(&old->rcu);
	} else {
		rcu_defer_free(&old->rcu, thing_free);
	}
}

static void readers_never_see_what_was_freed_or_half_made(void **unused)
{
	pthread_t readers[2];
	void *bad;

	(void)unused;
	freed = 0;
	stop = 0;
	shared = thing_new(1);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_until_stopped, NULL), 0);
	for (unsigned i = 2; i < 2000; i++)
		replace(i, i % 500 == 0);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		pthread_join(readers[i], &bad);
		assert_null(bad);
	}
	rcu_wait_deferred();
	assert_int_equal(__atomic_load_n(&freed, __ATOMIC_RELAXED), 1998);
	free(shared);
}

static int inside, leave;

static void *stay_inside(void *unused)
{
	struct thing *thing;
	unsigned value;

	rcu_thread_register();
	rcu_read_section_begin();
	thing = rcu_load(shared);
	__atomic_store_n(&inside, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&leave, __ATOMIC_ACQUIRE))
		poll(NULL, 0, 1);
	value = thing->a;
	rcu_read_section_end();
	rcu_thread_unregister();
	(void)unused;
	return (void *)(uintptr_t)value;
}

static void nothing_is_freed_while_a_reader_is_inside(void **unused)
{
	pthread_t reader;
	void *value;

	(void)unused;
	freed = 0;
	shared = thing_new(77);
	assert_int_equal(pthread_create(&reader, NULL, stay_inside, NULL), 0);
	while (!__atomic_load_n(&inside, __ATOMIC_ACQUIRE))
		poll(NULL, 0, 1);
	replace(78, 0);
	/* There is no event for "not freed": liburcu would have had 50 ms to do the wrong thing. */
	for (uint64_t end = clock_now_ms() + 50; clock_now_ms() < end; poll(NULL, 0, 5))
		assert_int_equal(__atomic_load_n(&freed, __ATOMIC_RELAXED), 0);
	__atomic_store_n(&leave, 1, __ATOMIC_RELEASE);
	pthread_join(reader, &value);
	assert_int_equal((uintptr_t)value, 77);
	rcu_wait_deferred();
	assert_int_equal(__atomic_load_n(&freed, __ATOMIC_RELAXED), 1);
	free(shared);
}

static void sections_nest(void **unused)
{
	(void)unused;
	assert_false(rcu_is_reading());
	rcu_read_section_begin();
	rcu_read_section_begin();
	rcu_read_section_end();
	assert_true(rcu_is_reading());
	rcu_read_section_end();
	assert_false(rcu_is_reading());
}

/*
 * The planted race: two threads that both use RCU, and exchange nothing else, write the same
 * variable without any order. Run by the test below as a process of its own.
 */
static unsigned raced;
static pthread_barrier_t both_registered;

static void *race(void *unused)
{
	rcu_thread_register();
	/* liburcu's registry has a mutex, which would give an order to threads that come one by one. */
	pthread_barrier_wait(&both_registered);
	for (int i = 0; i < 1000; i++) {
		struct thing *thing;

		rcu_read_section_begin();
		thing = rcu_load(shared);
		raced += thing->a;
		rcu_read_section_end();
	}
	rcu_thread_unregister();
	return unused;
}

static int run_planted_race(void)
{
	pthread_t threads[2];

	shared = thing_new(1);
	pthread_barrier_init(&both_registered, NULL, 2);
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, race, NULL) != 0)
			return 2;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	free(shared);
	return 0;
}

static void thread_sanitizer_finds_the_planted_race(void **unused)
{
	(void)unused;
#ifdef RCU_TELLS_TSAN
	expect_planted_race("test_rcu");
#else
	skip();
#endif
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_never_see_what_was_freed_or_half_made),
		cmocka_unit_test(nothing_is_freed_while_a_reader_is_inside),
		cmocka_unit_test(sections_nest),
		cmocka_unit_test(thread_sanitizer_finds_the_planted_race),
	};
	int failed;

	if (argc > 1 && strcmp(argv[1], "planted-race") == 0)
		return run_planted_race();
	rcu_thread_register();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return failed;
}
