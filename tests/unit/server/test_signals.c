/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as events: from any sender, pending ones too, and whichever threads there are. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/signals.h"

static uv_loop_t loop;
static struct signals signals;
static unsigned seen[64];
static unsigned total, wanted;

static void on_signal(void *context, int signum)
{
	assert_ptr_equal(context, &loop);
	seen[signum]++;
	if (++total >= wanted)
		uv_stop(&loop);
}

static int setup(void **state)
{
	(void)state;
	memset(seen, 0, sizeof seen);
	total = 0;
	assert_int_equal(uv_loop_init(&loop), 0);
	signals_open(&signals, &loop, on_signal, &loop);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	signals_close(&signals);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(signals.fd, -1);
	return uv_loop_close(&loop);
}

static void what_came_before_the_loop_runs_is_not_lost(void **state)
{
	(void)state;
	wanted = 3;
	kill(getpid(), SIGHUP);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGUSR2);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen[SIGHUP], 1);
	assert_int_equal(seen[SIGTERM], 1);
	assert_int_equal(seen[SIGUSR2], 1);
}

static void *sleep_until_told(void *arg)
{
	sem_t *done = arg;

	while (sem_wait(done) != 0)
		continue;
	return NULL;
}

static void a_sleeping_thread_keeps_none(void **state)
{
	pthread_t thread;
	sem_t done;

	(void)state;
	sem_init(&done, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, sleep_until_told, &done), 0);
	for (wanted = 1; wanted <= 1000; wanted++) {
		kill(getpid(), wanted % 2 ? SIGHUP : SIGTERM);
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	assert_int_equal(seen[SIGHUP], 500);
	assert_int_equal(seen[SIGTERM], 500);
	sem_post(&done);
	pthread_join(thread, NULL);
	sem_destroy(&done);
}

static void threads_inherit_that_they_are_blocked(void **state)
{
	sigset_t mask;

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_true(sigismember(&mask, SIGTERM));
	assert_true(sigismember(&mask, SIGHUP));
	assert_false(sigismember(&mask, SIGSEGV));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_came_before_the_loop_runs_is_not_lost, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_sleeping_thread_keeps_none, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_inherit_that_they_are_blocked, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
