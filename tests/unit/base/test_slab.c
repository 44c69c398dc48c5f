/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/slab.h"

static struct slab slab;

static int start(void **unused)
{
	(void)unused;
	slab_init(&slab);
	return 0;
}

static int finish(void **unused)
{
	(void)unused;
	slab_audit(&slab);
	assert_int_equal(slab.used_count, 0);
	assert_true(slab.region_count <= 1);
	slab_fini(&slab);
	return 0;
}

/* Sizes up to some beyond the largest that is not malloc's. */
static size_t size_of(unsigned number)
{
	return number * 37 % (SLAB_BLOCK_MAX + 40);
}

static void *block_new(unsigned number)
{
	uint8_t *block = slab_alloc(&slab, size_of(number));

	assert_non_null(block);
	assert_int_equal((uintptr_t)block % SLAB_STEP, 0);
	memset(block, (int)number, size_of(number));
	return block;
}

static void block_end(void *block, unsigned number)
{
	const uint8_t *bytes = block;

	for (size_t i = 0; i < size_of(number); i++)
		assert_int_equal(bytes[i], (uint8_t)number);
	slab_free(&slab, block, size_of(number));
}

static void blocks_of_all_sizes_are_apart(void **unused)
{
	enum { BLOCKS = 60000 };
	void **blocks = calloc(BLOCKS, sizeof *blocks);

	(void)unused;
	for (unsigned i = 0; i < BLOCKS; i++)
		blocks[i] = block_new(i);
	slab_audit(&slab);
	for (unsigned i = 0; i < BLOCKS; i += 2)
		block_end(blocks[i], i);
	slab_audit(&slab);
	for (unsigned i = 0; i < BLOCKS; i += 2)
		blocks[i] = block_new(i);
	slab_audit(&slab);
	for (unsigned i = 0; i < BLOCKS; i++)
		block_end(blocks[i], i);
	free(blocks);
}

/* Up and down, at random: what is given back is taken again. */
static void chunks_serve_sizes_in_turn(void **unused)
{
	enum { BLOCKS = 20000, ROUNDS = 6 };
	void **blocks = calloc(BLOCKS, sizeof *blocks);

	(void)unused;
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < BLOCKS; i++)
			blocks[i] = block_new(round * 5 + i % 3);
		for (unsigned i = BLOCKS; i-- > 0;)
			block_end(blocks[i], round * 5 + i % 3);
		slab_audit(&slab);
		assert_true(slab.region_count <= 1);
	}
	free(blocks);
}

enum { THREADS = 4, EXCHANGED = 512, EXCHANGES = 100000 };

static void *places[EXCHANGED];

/* Puts a block where another thread takes it away. */
static void *exchange(void *seed_at)
{
	unsigned seed = *(unsigned *)seed_at;

	for (int i = 0; i < EXCHANGES; i++) {
		unsigned place = (unsigned)rand_r(&seed) % EXCHANGED;
		void *block = slab_alloc(&slab, 64);

		*(void **)block = block;
		block = __atomic_exchange_n(&places[place], block, __ATOMIC_ACQ_REL);
		if (block && *(void **)block != block)
			abort();
		if (block)
			slab_free(&slab, block, 64);
	}
	return NULL;
}

static void threads_free_what_others_have_made(void **unused)
{
	pthread_t threads[THREADS];
	unsigned seeds[THREADS];

	(void)unused;
	for (unsigned i = 0; i < THREADS; i++) {
		seeds[i] = i + 1;
		assert_int_equal(pthread_create(&threads[i], NULL, exchange, &seeds[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	slab_audit(&slab);
	for (unsigned i = 0; i < EXCHANGED; i++)
		if (places[i])
			slab_free(&slab, places[i], 64);
}

static pthread_barrier_t all_are_there;

static void *begin_with_others(void *block_at)
{
	pthread_barrier_wait(&all_are_there);
	*(void **)block_at = slab_alloc(&slab, 64);
	return NULL;
}

/* All find at once that there is no region yet. */
static void threads_that_begin_at_once_need_one_region(void **unused)
{
	enum { ROUNDS = 300 };
	pthread_t threads[THREADS];
	void *blocks[THREADS];

	(void)unused;
	pthread_barrier_init(&all_are_there, NULL, THREADS);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, begin_with_others,
							&blocks[i]),
					 0);
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		assert_true(slab.region_count <= 1);
		for (unsigned i = 0; i < THREADS; i++)
			slab_free(&slab, blocks[i], 64);
		slab_fini(&slab);
		slab_init(&slab);
	}
	pthread_barrier_destroy(&all_are_there);
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		cmocka_unit_test_setup_teardown(blocks_of_all_sizes_are_apart, start, finish),
		cmocka_unit_test_setup_teardown(chunks_serve_sizes_in_turn, start, finish),
		cmocka_unit_test_setup_teardown(threads_free_what_others_have_made, start, finish),
		cmocka_unit_test_setup_teardown(threads_that_begin_at_once_need_one_region, start,
						finish),
	};

	return cmocka_run_group_tests(cases, NULL, NULL);
}
