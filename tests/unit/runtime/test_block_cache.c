/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_fixture.h"

#include "runtime/block_cache.h"

/* The runtime is made but not started: the main thread stands in for the worker. */
static struct runtime *runtime;
static struct worker *me;

static int begin(void **unused)
{
	(void)unused;
	runtime = runtime_make(1, 4);
	me = runtime_worker(runtime, 0);
	return 0;
}

static int end(void **unused)
{
	(void)unused;
	runtime_destroy(&runtime);
	clock_test_reset();
	return 0;
}

static void pass_time(void)
{
	clock_test_advance_ms(BLOCK_TRIM_MS + 200);
	timer_wheel_advance(&me->wheel, clock_now_ms());
}

static void every_size_can_be_written_to_its_end_and_comes_again(void **unused)
{
	(void)unused;
	for (size_t size = 1; size <= BLOCK_SIZE_MAX + 100; size += 7) {
		uint8_t *block = block_alloc(me, size), *again;

		memset(block, 0xaa, size);
		block_free(me, block, size);
		again = block_alloc(me, size);
		memset(again, 0xbb, size);
		if (size <= BLOCK_SIZE_MAX)
			assert_ptr_equal(again, block);
		block_free(me, again, size);
	}
}

static void a_block_may_be_freed_by_another_cache_or_by_none(void **unused)
{
	(void)unused;
	block_free(me, block_alloc(NULL, 100), 100);
	assert_int_equal(block_cache_bytes(me->blocks), 128);
	block_free(NULL, block_alloc(me, 100), 100);
	assert_int_equal(block_cache_bytes(me->blocks), 0);
}

static void a_size_keeps_no_more_than_its_share(void **unused)
{
	static void *blocks[400];

	(void)unused;
	for (int i = 0; i < 400; i++)
		blocks[i] = block_alloc(me, 1024);
	for (int i = 0; i < 400; i++)
		block_free(me, blocks[i], 1024);
	assert_int_equal(block_cache_bytes(me->blocks), BLOCK_CLASS_BYTES_MAX);
}

static void what_was_not_needed_for_a_while_goes_back(void **unused)
{
	void *blocks[10];

	(void)unused;
	for (int i = 0; i < 10; i++)
		blocks[i] = block_alloc(me, 64);
	for (int i = 0; i < 10; i++)
		block_free(me, blocks[i], 64);
	pass_time(); /* none was in the cache for the whole time */
	assert_int_equal(block_cache_bytes(me->blocks), 10 * 64);
	blocks[0] = block_alloc(me, 64);
	blocks[1] = block_alloc(me, 64);
	block_free(me, blocks[0], 64);
	block_free(me, blocks[1], 64);
	pass_time(); /* eight were */
	assert_int_equal(block_cache_bytes(me->blocks), 2 * 64);
	assert_true(timer_wheel_next_ms(&me->wheel, clock_now_ms()) < UINT64_MAX);
	pass_time();
	assert_int_equal(block_cache_bytes(me->blocks), 0);
	/* Nothing is left to trim: an idle worker is not woken for it any more. */
	assert_int_equal(me->wheel.armed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			every_size_can_be_written_to_its_end_and_comes_again, begin, end),
		cmocka_unit_test_setup_teardown(a_block_may_be_freed_by_another_cache_or_by_none,
						begin, end),
		cmocka_unit_test_setup_teardown(a_size_keeps_no_more_than_its_share, begin, end),
		cmocka_unit_test_setup_teardown(what_was_not_needed_for_a_while_goes_back, begin,
						end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
