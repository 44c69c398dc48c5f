/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "session/packet_id_set.h"

static void an_empty_set_owns_nothing_and_has_nothing(void **unused)
{
	struct packet_id_set set = {0};

	(void)unused;
	assert_false(packet_id_set_has(&set, 1));
	assert_false(packet_id_set_remove(&set, 65535));
	assert_null(set.table);
	packet_id_set_fini(&set);
}

static void an_identifier_is_in_the_set_from_add_to_remove(void **unused)
{
	struct packet_id_set set = {0};

	(void)unused;
	assert_int_equal(packet_id_set_add(&set, 7), ERR_NONE);
	assert_true(packet_id_set_has(&set, 7));
	assert_false(packet_id_set_has(&set, 8));
	assert_true(packet_id_set_remove(&set, 7));
	assert_false(packet_id_set_has(&set, 7));
	assert_false(packet_id_set_remove(&set, 7));
	assert_int_equal(packet_id_set_count(&set), 0);
	packet_id_set_fini(&set);
}

/* All that a client may have in flight at once, and none of them lost when the table grows. */
static void all_65535_identifiers_fit(void **unused)
{
	struct packet_id_set set = {0};

	(void)unused;
	for (uint32_t id = 1; id <= 65535; id++)
		assert_int_equal(packet_id_set_add(&set, (uint16_t)id), ERR_NONE);
	assert_int_equal(packet_id_set_count(&set), 65535);
	for (uint32_t id = 1; id <= 65535; id++)
		assert_true(packet_id_set_has(&set, (uint16_t)id));
	for (uint32_t id = 65535; id >= 1; id--)
		assert_true(packet_id_set_remove(&set, (uint16_t)id));
	assert_int_equal(packet_id_set_count(&set), 0);
	assert_null(set.table); /* a table that large does not stay */
	assert_int_equal(memory_used(MEMORY_QUEUE), 0);
}

/* Removal closes the gaps that searches would end at; a plain array says what is right. */
static void random_changes_agree_with_a_plain_array(void **unused)
{
	struct packet_id_set set = {0};
	static bool naive[65536];
	uint32_t count = 0;

	(void)unused;
	srand(4711);
	for (uint32_t range = 8; range <= 4096; range *= 8) {
		for (int step = 0; step < 60000; step++) {
			uint16_t id = (uint16_t)(1 + (unsigned)rand() % range);

			assert_int_equal(packet_id_set_has(&set, id), naive[id]);
			if (!naive[id]) {
				assert_int_equal(packet_id_set_add(&set, id), ERR_NONE);
				count++;
			} else {
				assert_true(packet_id_set_remove(&set, id));
				count--;
			}
			naive[id] = !naive[id];
			assert_int_equal(packet_id_set_count(&set), count);
		}
		for (uint32_t id = 1; id <= 65535; id++)
			assert_int_equal(packet_id_set_has(&set, (uint16_t)id), naive[id]);
	}
	packet_id_set_fini(&set);
	assert_int_equal(memory_used(MEMORY_QUEUE), 0);
}

static void a_slow_publisher_keeps_its_small_table(void **unused)
{
	struct packet_id_set set = {0};
	const void *table;

	(void)unused;
	assert_int_equal(packet_id_set_add(&set, 1), ERR_NONE);
	table = set.table;
	for (uint16_t id = 1; id < 1000; id++) {
		assert_true(packet_id_set_remove(&set, id));
		assert_int_equal(packet_id_set_add(&set, (uint16_t)(id + 1)), ERR_NONE);
		assert_ptr_equal(set.table, table);
	}
	packet_id_set_fini(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_set_owns_nothing_and_has_nothing),
		cmocka_unit_test(an_identifier_is_in_the_set_from_add_to_remove),
		cmocka_unit_test(all_65535_identifiers_fit),
		cmocka_unit_test(random_changes_agree_with_a_plain_array),
		cmocka_unit_test(a_slow_publisher_keeps_its_small_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
