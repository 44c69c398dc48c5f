/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "auth/acl_cache.h"
#include "base/memory.h"

static void empty_cache_knows_nothing(void **unused)
{
	(void)unused;
	assert_int_equal(acl_cache_get(NULL, ACL_READ, 1, 1), ACL_CACHED_MISS);
}

static void decision_is_kept_for_its_access_and_generation_only(void **unused)
{
	uint64_t hash = acl_topic_hash(SLICE_LITERAL("a/b"));
	struct acl_cache *cache = NULL;

	(void)unused;
	acl_cache_put(&cache, ACL_READ, hash, 7, true);
	assert_int_equal(acl_cache_get(cache, ACL_READ, hash, 7), ACL_CACHED_ALLOWED);
	assert_int_equal(acl_cache_get(cache, ACL_WRITE, hash, 7), ACL_CACHED_MISS);
	assert_int_equal(acl_cache_get(cache, ACL_READ, hash, 8), ACL_CACHED_MISS);
	assert_int_equal(acl_cache_get(cache, ACL_READ, hash ^ 1, 7), ACL_CACHED_MISS);
	acl_cache_put(&cache, ACL_WRITE, hash, 7, false);
	assert_int_equal(acl_cache_get(cache, ACL_WRITE, hash, 7), ACL_CACHED_DENIED);
	assert_int_equal(acl_cache_get(cache, ACL_READ, hash, 7), ACL_CACHED_ALLOWED);
	acl_cache_put(&cache, ACL_READ, hash, 8, false);
	assert_int_equal(acl_cache_get(cache, ACL_READ, hash, 8), ACL_CACHED_DENIED);
	assert_int_equal(acl_cache_get(cache, ACL_READ, hash, 7), ACL_CACHED_MISS);
	acl_cache_destroy(&cache);
	assert_null(cache);
	acl_cache_destroy(&cache);
}

static void fresh_slots_answer_no_key(void **unused)
{
	struct acl_cache *cache = NULL;

	(void)unused;
	acl_cache_put(&cache, ACL_READ, 0, 1, true);
	for (uint64_t hash = 1; hash < 64; hash++)
		assert_int_equal(acl_cache_get(cache, ACL_READ, hash << 40, 1), ACL_CACHED_MISS);
	assert_int_equal(acl_cache_get(cache, ACL_READ, 0, 1), ACL_CACHED_ALLOWED);
	acl_cache_destroy(&cache);
}

static void many_topics_share_a_bounded_cache(void **unused)
{
	struct acl_cache *cache = NULL;
	uint64_t before = memory_used(MEMORY_SESSION), used;
	char topic[16];

	(void)unused;
	acl_cache_put(&cache, ACL_READ, 1, 1, true);
	used = memory_used(MEMORY_SESSION);
	assert_true(used > before && used - before < 1024);
	for (int i = 0; i < 1000; i++) {
		uint64_t hash;

		snprintf(topic, sizeof topic, "t/%d", i);
		hash = acl_topic_hash(slice_from_string(topic));
		acl_cache_put(&cache, ACL_WRITE, hash, 3, i % 2);
		assert_int_equal(acl_cache_get(cache, ACL_WRITE, hash, 3),
				 i % 2 ? ACL_CACHED_ALLOWED : ACL_CACHED_DENIED);
	}
	assert_int_equal(memory_used(MEMORY_SESSION), used);
	acl_cache_destroy(&cache);
	assert_int_equal(memory_used(MEMORY_SESSION), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_cache_knows_nothing),
		cmocka_unit_test(decision_is_kept_for_its_access_and_generation_only),
		cmocka_unit_test(fresh_slots_answer_no_key),
		cmocka_unit_test(many_topics_share_a_bounded_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
