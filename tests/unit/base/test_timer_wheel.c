/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/clock.h"
#include "base/timer_wheel.h"

#define START_MS 1234567u

/* A timer that remembers when it fired, on a wheel that the test drives by hand. */
struct probe {
	struct timer timer;
	uint64_t deadline_ms;
	uint64_t fired_ms; /* 0: not yet */
	unsigned fired;
};

static struct timer_wheel wheel;
static uint64_t now_ms;

static void probe_on_expire(struct timer *timer)
{
	struct probe *probe = TIMER_OWNER(timer, struct probe, timer);

	assert_false(timer_is_armed(timer));
	probe->fired_ms = now_ms;
	probe->fired++;
}

static void probe_arm(struct probe *probe, uint64_t delay_ms)
{
	probe->deadline_ms = now_ms + delay_ms;
	timer_arm_at(&wheel, &probe->timer, probe->deadline_ms);
}

static int start(void **unused)
{
	(void)unused;
	now_ms = START_MS;
	timer_wheel_init(&wheel, now_ms);
	return 0;
}

static int finish(void **unused)
{
	(void)unused;
	timer_wheel_audit(&wheel);
	timer_wheel_fini(&wheel);
	return 0;
}

static void advance_to(uint64_t ms)
{
	now_ms = ms;
	timer_wheel_advance(&wheel, ms);
}

/* Sleeps exactly as a worker would; returns the number of wake-ups. */
static unsigned sleep_until_nothing_is_armed(void)
{
	unsigned wakeups = 0;
	uint64_t next;

	while ((next = timer_wheel_next_ms(&wheel, now_ms)) != UINT64_MAX) {
		assert_true(next > 0);
		advance_to(now_ms + next);
		timer_wheel_audit(&wheel);
		wakeups++;
	}
	return wakeups;
}

/* Spread over all magnitudes up to 2^bits ms, so that every level of the wheel is used. */
static uint64_t random_delay(unsigned bits)
{
	unsigned magnitude = (unsigned)rand() % bits;

	return (uint64_t)rand() % ((uint64_t)1 << magnitude);
}

static void fires_late_by_less_than_a_tick_and_never_early(void **unused)
{
	static const uint64_t delays[] = {0,
					  1,
					  99,
					  100,
					  101,
					  6399,
					  6400,
					  6401,
					  90000,
					  409600,
					  409601,
					  26214400,
					  86400000,
					  49ull * 86400000,
					  136ull * 365 * 86400000};

	(void)unused;
	for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
		struct probe probe = {0};

		timer_init(&probe.timer, probe_on_expire);
		probe_arm(&probe, delays[i]);
		assert_true(timer_is_armed(&probe.timer));
		assert_int_equal(sleep_until_nothing_is_armed(), 1);
		assert_int_equal(probe.fired, 1);
		assert_in_range(probe.fired_ms - probe.deadline_ms, 0, TIMER_TICK_MS);
	}
}

static void a_crowd_of_random_timers_all_fire_in_time(void **unused)
{
	enum { COUNT = 20000 };
	struct probe *probes = calloc(COUNT, sizeof *probes);

	(void)unused;
	srand(7);
	for (int i = 0; i < COUNT; i++) {
		timer_init(&probes[i].timer, probe_on_expire);
		probe_arm(&probes[i], random_delay(31));
	}
	timer_wheel_audit(&wheel);
	while (wheel.armed != 0)
		advance_to(now_ms + 1 + random_delay(28));
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(probes[i].fired, 1);
		assert_true(probes[i].fired_ms >= probes[i].deadline_ms);
	}
	free(probes);
}

static void a_crowd_watched_closely_fires_within_the_tick(void **unused)
{
	enum { COUNT = 500 };
	struct probe *probes = calloc(COUNT, sizeof *probes);

	(void)unused;
	srand(11);
	for (int i = 0; i < COUNT; i++) {
		timer_init(&probes[i].timer, probe_on_expire);
		probe_arm(&probes[i], random_delay(31));
	}
	assert_true(sleep_until_nothing_is_armed() <= COUNT);
	for (int i = 0; i < COUNT; i++)
		assert_in_range(probes[i].fired_ms - probes[i].deadline_ms, 0, TIMER_TICK_MS);
	free(probes);
}

static void disarmed_timer_does_not_fire_and_rearmed_fires_once(void **unused)
{
	struct probe gone = {0}, moved = {0};

	(void)unused;
	timer_init(&gone.timer, probe_on_expire);
	timer_init(&moved.timer, probe_on_expire);
	timer_disarm(&wheel, &gone.timer);
	probe_arm(&gone, 1000);
	probe_arm(&moved, 1000);
	probe_arm(&moved, 700000);
	timer_disarm(&wheel, &gone.timer);
	timer_wheel_audit(&wheel);
	sleep_until_nothing_is_armed();
	assert_int_equal(gone.fired, 0);
	assert_int_equal(moved.fired, 1);
	assert_true(moved.fired_ms >= START_MS + 700000);
}

static struct probe *victim;

static void disarm_and_free_the_victim(struct timer *timer)
{
	(void)timer;
	if (!victim)
		return;
	timer_disarm(&wheel, &victim->timer);
	free(victim);
	victim = NULL;
}

static void callback_may_disarm_and_free_one_due_in_the_same_tick(void **unused)
{
	struct timer killer;

	(void)unused;
	victim = calloc(1, sizeof *victim);
	timer_init(&killer, disarm_and_free_the_victim);
	timer_init(&victim->timer, probe_on_expire);
	timer_arm_at(&wheel, &killer, now_ms + 500);
	probe_arm(victim, 500);
	advance_to(now_ms + 1000);
	assert_null(victim);
}

static void free_myself(struct timer *timer)
{
	free(TIMER_OWNER(timer, struct probe, timer));
}

static void callback_may_free_its_own_object(void **unused)
{
	struct probe *probe = calloc(1, sizeof *probe);

	(void)unused;
	timer_init(&probe->timer, free_myself);
	probe_arm(probe, 100);
	advance_to(now_ms + 1000);
	assert_int_equal(wheel.armed, 0);
}

static void arm_again_in_a_second(struct timer *timer)
{
	struct probe *probe = TIMER_OWNER(timer, struct probe, timer);

	if (++probe->fired < 100)
		timer_arm_at(&wheel, timer, now_ms + 1000);
}

static void callback_may_arm_its_own_timer(void **unused)
{
	struct probe probe = {0};

	(void)unused;
	timer_init(&probe.timer, arm_again_in_a_second);
	probe_arm(&probe, 1000);
	assert_int_equal(sleep_until_nothing_is_armed(), 100);
	assert_int_equal(probe.fired, 100);
	assert_in_range(now_ms, START_MS + 100000, START_MS + 100000 + 100 * TIMER_TICK_MS);
}

static unsigned fired_order[3], fired_count;

static void note_order(struct timer *timer)
{
	fired_order[fired_count++] = TIMER_OWNER(timer, struct probe, timer)->fired;
}

static void timers_of_one_tick_fire_in_the_order_of_arming(void **unused)
{
	struct probe probes[3] = {{.fired = 0}, {.fired = 1}, {.fired = 2}};

	(void)unused;
	fired_count = 0;
	for (int i = 0; i < 3; i++) {
		timer_init(&probes[i].timer, note_order);
		probe_arm(&probes[i], 500000);
	}
	sleep_until_nothing_is_armed();
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fired_order[i], i);
}

static void idle_clients_cause_no_more_wakeups_than_their_keep_alives(void **unused)
{
	enum { CLIENTS = 1000 };
	struct probe *probes = calloc(CLIENTS, sizeof *probes);

	(void)unused;
	/* Keep alive of 60 s, all connected within one second: fifteen ticks hold them all. */
	for (int i = 0; i < CLIENTS; i++) {
		timer_init(&probes[i].timer, probe_on_expire);
		probe_arm(&probes[i], 90000 + (uint64_t)i);
	}
	assert_in_range(sleep_until_nothing_is_armed(), 1, 11);
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(probes[i].fired, 1);
	free(probes);
}

static void slack_lets_timers_meet(void **unused)
{
	enum { CLIENTS = 600 };
	struct probe *probes = calloc(CLIENTS, sizeof *probes);

	(void)unused;
	for (int i = 0; i < CLIENTS; i++) {
		timer_init(&probes[i].timer, probe_on_expire);
		probes[i].deadline_ms = now_ms + 90000 + (uint64_t)i * 100;
		timer_arm_within(&wheel, &probes[i].timer, probes[i].deadline_ms, 2000);
	}
	/* One minute of deadlines; with 2 s of slack at least 1.6 s lie between two wake-ups. */
	assert_in_range(sleep_until_nothing_is_armed(), 1, 60000 / 1600 + 2);
	for (int i = 0; i < CLIENTS; i++)
		assert_in_range(probes[i].fired_ms - probes[i].deadline_ms, 0, 2000);
	free(probes);
}

static void empty_wheel_never_wakes_and_jumps_for_free(void **unused)
{
	(void)unused;
	assert_true(timer_wheel_next_ms(&wheel, now_ms) == UINT64_MAX);
	advance_to(now_ms + 365ull * 86400000);
	assert_true(timer_wheel_next_ms(&wheel, now_ms) == UINT64_MAX);
}

static void endless_delay_does_not_wrap(void **unused)
{
	struct probe probe = {0};

	(void)unused;
	timer_init(&probe.timer, probe_on_expire);
	timer_arm_in(&wheel, &probe.timer, UINT64_MAX);
	advance_to(now_ms + 100ull * 365 * 86400000);
	assert_int_equal(probe.fired, 0);
	assert_true(timer_wheel_next_ms(&wheel, now_ms) > 86400000);
	timer_disarm(&wheel, &probe.timer);
}

static void relative_arming_follows_the_clock(void **unused)
{
	struct probe probe = {0};

	(void)unused;
	clock_test_freeze(START_MS);
	timer_init(&probe.timer, probe_on_expire);
	timer_arm_in(&wheel, &probe.timer, 1500);
	advance_to(START_MS + 1499);
	assert_int_equal(probe.fired, 0);
	advance_to(START_MS + 1500 + TIMER_TICK_MS);
	assert_int_equal(probe.fired, 1);
	clock_test_reset();
}

#define TIMER_TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TIMER_TEST(fires_late_by_less_than_a_tick_and_never_early),
		TIMER_TEST(a_crowd_of_random_timers_all_fire_in_time),
		TIMER_TEST(a_crowd_watched_closely_fires_within_the_tick),
		TIMER_TEST(disarmed_timer_does_not_fire_and_rearmed_fires_once),
		TIMER_TEST(callback_may_disarm_and_free_one_due_in_the_same_tick),
		TIMER_TEST(callback_may_free_its_own_object),
		TIMER_TEST(callback_may_arm_its_own_timer),
		TIMER_TEST(timers_of_one_tick_fire_in_the_order_of_arming),
		TIMER_TEST(idle_clients_cause_no_more_wakeups_than_their_keep_alives),
		TIMER_TEST(slack_lets_timers_meet),
		TIMER_TEST(empty_wheel_never_wakes_and_jumps_for_free),
		TIMER_TEST(endless_delay_does_not_wrap),
		TIMER_TEST(relative_arming_follows_the_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
