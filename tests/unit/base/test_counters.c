/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/counters.h"

static void counts_of_all_threads_are_summed(void **unused)
{
	static struct counters a, b;
	uint64_t before = counter_total(COUNTER_PUBLISH_SENT);

	(void)unused;
	counters_attach(&a);
	counters_attach(&b);
	counter_add(&a, COUNTER_PUBLISH_SENT, 3);
	counter_add(&b, COUNTER_PUBLISH_SENT, 4);
	COUNT(PUBLISH_SENT);
	assert_int_equal(b.value[COUNTER_PUBLISH_SENT], 5);
	assert_int_equal(counter_total(COUNTER_PUBLISH_SENT) - before, 8);
	counters_detach(&b);
	assert_int_equal(counter_total(COUNTER_PUBLISH_SENT) - before, 8);
	counters_detach(&a);
	COUNT(PUBLISH_SENT);
	assert_int_equal(counter_total(COUNTER_PUBLISH_SENT) - before, 9);
}

static void gauge_raised_by_one_thread_and_lowered_by_another_is_right(void **unused)
{
	static struct counters a, b;

	(void)unused;
	counters_attach(&a);
	counters_attach(&b);
	counter_add(&a, COUNTER_RETAINED_MESSAGES, 10);
	counter_sub(&b, COUNTER_RETAINED_MESSAGES, 7);
	assert_int_equal(counter_total(COUNTER_RETAINED_MESSAGES), 3);
	counter_sub(&b, COUNTER_RETAINED_MESSAGES, 7);
	assert_int_equal(counter_total(COUNTER_RETAINED_MESSAGES), 0);
	counter_add(&b, COUNTER_RETAINED_MESSAGES, 4);
	counters_detach(&a);
	counters_detach(&b);
}

static void sys_topic_is_the_sum_of_its_rows(void **unused)
{
	uint64_t sum[COUNTER_COUNT] = {0};

	(void)unused;
	sum[COUNTER_PACKETS_RECEIVED_CONNECT] = 1;
	sum[COUNTER_PACKETS_RECEIVED_PINGREQ] = 20;
	sum[COUNTER_PACKETS_SENT_PINGRESP] = 300;
	assert_int_equal(counters_sys_value(sum, "messages/received"), 21);
	assert_int_equal(counters_sys_value(sum, "messages/sent"), 300);
	assert_int_equal(counters_sys_value(sum, "no/such/path"), 0);
}

static void table_is_complete_and_metrics_are_unique(void **unused)
{
	(void)unused;
	for (int i = 0; i < COUNTER_COUNT; i++) {
		const struct counter_info *info = &counter_info[i];

		assert_true(info->name && info->help[0]);
		assert_int_equal(strncmp(info->metric, "nightjar_", 9), 0);
		for (int other = 0; other < i; other++)
			assert_false(strcmp(info->metric, counter_info[other].metric) == 0 &&
				     strcmp(info->labels, counter_info[other].labels) == 0);
	}
}

static void *count_for_a_while(void *arg)
{
	counters_attach(arg);
	for (int i = 0; i < 100000; i++)
		COUNT(TURNS);
	counters_detach(arg);
	return NULL;
}

static void readers_may_sum_while_owners_count(void **unused)
{
	static struct counters of_thread[2];
	uint64_t before = counter_total(COUNTER_TURNS), seen = before;
	pthread_t threads[2];

	(void)unused;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_for_a_while,
						&of_thread[i]),
				 0);
	for (int i = 0; i < 100; i++) {
		uint64_t now = counter_total(COUNTER_TURNS);

		assert_true(now >= seen);
		seen = now;
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counter_total(COUNTER_TURNS) - before, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_of_all_threads_are_summed),
		cmocka_unit_test(gauge_raised_by_one_thread_and_lowered_by_another_is_right),
		cmocka_unit_test(sys_topic_is_the_sum_of_its_rows),
		cmocka_unit_test(table_is_complete_and_metrics_are_unique),
		cmocka_unit_test(readers_may_sum_while_owners_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
