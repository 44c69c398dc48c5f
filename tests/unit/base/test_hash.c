/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/hash.h"

static void equal_bytes_have_equal_hashes_and_others_differ(void **unused)
{
	char copy[] = "sensors/kitchen/temperature";

	(void)unused;
	assert_true(hash_slice(slice_from_string(copy)) ==
		    hash_slice(SLICE_LITERAL("sensors/kitchen/temperature")));
	copy[3]++;
	assert_true(hash_slice(slice_from_string(copy)) !=
		    hash_slice(SLICE_LITERAL("sensors/kitchen/temperature")));
	assert_true(hash_bytes(NULL, 0) == hash_bytes("", 0));
}

static void low_bits_spread_evenly(void **unused)
{
	unsigned bucket[256] = {0};

	(void)unused;
	hash_seed_set(12345);
	for (uint32_t i = 0; i < 25600; i++)
		bucket[hash_bytes(&i, sizeof i) & 255]++;
	for (int i = 0; i < 256; i++)
		assert_in_range(bucket[i], 50, 160);
}

static void seed_decides_the_hash(void **unused)
{
	uint64_t under_one;

	(void)unused;
	hash_seed_set(1);
	under_one = hash_bytes("topic", 5);
	hash_seed_set(2);
	assert_true(hash_bytes("topic", 5) != under_one);
	hash_seed_set(1);
	assert_true(hash_bytes("topic", 5) == under_one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_bytes_have_equal_hashes_and_others_differ),
		cmocka_unit_test(low_bits_spread_evenly),
		cmocka_unit_test(seed_decides_the_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
