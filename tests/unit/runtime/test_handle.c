/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_fixture.h"

#include "runtime/handle.h"

static int objects[1000];

static void a_handle_finds_its_object_until_it_is_retired(void **unused)
{
	struct handle_table table;
	handle_t handle;

	(void)unused;
	handle_table_init(&table, 7);
	handle = handle_make(&table, &objects[0]);
	assert_true(handle != 0);
	assert_int_equal(handle_worker(handle), 7);
	assert_ptr_equal(handle_find(&table, handle), &objects[0]);
	handle_retire(&table, handle);
	assert_null(handle_find(&table, handle));
	handle_table_fini(&table);
	assert_null(handle_find(&table, handle));
}

static void the_next_object_in_the_same_slot_has_another_handle(void **unused)
{
	struct handle_table table;
	handle_t first, second;

	(void)unused;
	handle_table_init(&table, 0);
	first = handle_make(&table, &objects[0]);
	handle_retire(&table, first);
	second = handle_make(&table, &objects[1]);
	assert_int_equal((uint32_t)first, (uint32_t)second);
	assert_true(first != second);
	assert_null(handle_find(&table, first));
	assert_ptr_equal(handle_find(&table, second), &objects[1]);
	handle_table_fini(&table);
}

static void generations_wrap_and_no_handle_is_ever_zero(void **unused)
{
	struct handle_table table;
	handle_t first = 0, handle = 0;

	(void)unused;
	handle_table_init(&table, 0);
	for (int i = 0; i < 70000; i++) {
		handle = handle_make(&table, &objects[0]);
		first = first ? first : handle;
		assert_true(handle != 0);
		assert_true((uint16_t)(handle >> 32) != 0);
		handle_retire(&table, handle);
	}
	assert_int_equal(table.count, 1);
	handle_table_fini(&table);
}

static void many_handles_keep_apart_and_strange_ones_find_nothing(void **unused)
{
	struct handle_table table;
	handle_t handles[1000];

	(void)unused;
	handle_table_init(&table, 2);
	for (int i = 0; i < 1000; i++)
		handles[i] = handle_make(&table, &objects[i]);
	for (int i = 0; i < 1000; i += 2)
		handle_retire(&table, handles[i]);
	for (int i = 0; i < 1000; i++)
		assert_ptr_equal(handle_find(&table, handles[i]), i % 2 ? &objects[i] : NULL);
	assert_null(handle_find(&table, 0));
	assert_null(handle_find(&table, handles[1] ^ (uint64_t)1 << 48));
	assert_null(handle_find(&table, handles[1] | 0xffffffff));
	handle_table_fini(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handle_finds_its_object_until_it_is_retired),
		cmocka_unit_test(the_next_object_in_the_same_slot_has_another_handle),
		cmocka_unit_test(generations_wrap_and_no_handle_is_ever_zero),
		cmocka_unit_test(many_handles_keep_apart_and_strange_ones_find_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
