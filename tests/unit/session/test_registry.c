/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "session/registry.h"

static struct registry *registry;

static int begin(void **unused)
{
	(void)unused;
	return registry_create(&registry) != ERR_NONE;
}

static int finish(void **unused)
{
	(void)unused;
	assert_int_equal(registry_count(registry), 0);
	registry_destroy(&registry);
	assert_null(registry);
	assert_int_equal(memory_used(MEMORY_SESSION), 0);
	return 0;
}

static struct registration *claim(const char *id, uint16_t claimant, uint16_t *owner)
{
	struct registration *registration;

	assert_int_equal(registry_claim(registry, slice_from_string(id), claimant, 0, &registration,
					owner),
			 ERR_NONE);
	return registration;
}

static void who_claims_first_owns(void **unused)
{
	uint16_t owner;
	struct registration *mine = claim("dev", 3, &owner);

	(void)unused;
	assert_non_null(mine);
	assert_int_equal(owner, 3);
	assert_true(slice_equal_string(registration_client_id(mine), "dev"));
	assert_null(mine->session);
	assert_null(claim("dev", 1, &owner));
	assert_int_equal(owner, 3);
	assert_ptr_equal(claim("dev", 3, &owner), mine);
	assert_int_equal(registry_count(registry), 1);
	registry_release(registry, &mine);
	assert_null(mine);
}

static void after_release_another_can_own_it(void **unused)
{
	uint16_t owner;
	struct registration *one = claim("dev", 1, &owner), *two;

	(void)unused;
	registry_release(registry, &one);
	two = claim("dev", 2, &owner);
	assert_non_null(two);
	assert_int_equal(owner, 2);
	registry_release(registry, &two);
}

static void identifiers_are_compared_as_bytes(void **unused)
{
	static const char *const ids[] = {"a", "A", "aa", "a ", "", "\xc3\xa4"};
	struct registration *all[6];
	uint16_t owner;

	(void)unused;
	for (int i = 0; i < 6; i++) {
		all[i] = claim(ids[i], (uint16_t)i, &owner);
		assert_int_equal(owner, i);
	}
	assert_int_equal(registry_count(registry), 6);
	for (int i = 0; i < 6; i++)
		registry_release(registry, &all[i]);
}

static void the_limit_refuses_new_ones_only(void **unused)
{
	struct registration *one, *two, *again;
	uint16_t owner;

	(void)unused;
	assert_int_equal(registry_claim(registry, slice_from_string("1"), 0, 1, &one, &owner),
			 ERR_NONE);
	assert_int_equal(registry_claim(registry, slice_from_string("2"), 0, 1, &two, &owner),
			 ERR_LIMIT);
	assert_null(two);
	assert_int_equal(registry_claim(registry, slice_from_string("1"), 0, 1, &again, &owner),
			 ERR_NONE);
	assert_ptr_equal(one, again);
	registry_release(registry, &one);
}

#define THREADS 4
#define NAMES 50
#define ROUNDS 20000

static unsigned owners[NAMES]; /* atomic: how many believe that they own it */
static bool owned_twice;       /* atomic */

static void let_go(struct registration **mine, int i)
{
	__atomic_sub_fetch(&owners[i], 1, __ATOMIC_RELAXED);
	registry_release(registry, mine);
}

/* Claims names at random, keeps some of them for a while, as workers do with sessions. */
static void *claim_and_release(void *arg)
{
	uint16_t me = (uint16_t)(uintptr_t)arg;
	struct registration *mine[NAMES] = {NULL};
	unsigned seed = me;
	char id[16];

	for (int round = 0; round < ROUNDS; round++) {
		int i = rand_r(&seed) % NAMES;
		struct registration *got;
		uint16_t owner;

		snprintf(id, sizeof id, "client-%d", i);
		if (mine[i]) {
			let_go(&mine[i], i);
			continue;
		}
		if (registry_claim(registry, slice_from_string(id), me, 0, &got, &owner) !=
		    ERR_NONE)
			abort();
		if (got &&
		    (owner != me || __atomic_add_fetch(&owners[i], 1, __ATOMIC_RELAXED) != 1))
			__atomic_store_n(&owned_twice, true, __ATOMIC_RELAXED);
		if (!got && owner == me)
			__atomic_store_n(&owned_twice, true, __ATOMIC_RELAXED);
		mine[i] = got;
	}
	for (int i = 0; i < NAMES; i++) {
		if (mine[i])
			let_go(&mine[i], i);
	}
	return NULL;
}

static void a_name_never_has_two_owners_however_many_claim_it(void **unused)
{
	pthread_t threads[THREADS];

	(void)unused;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, claim_and_release, (void *)i),
				 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_false(owned_twice);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(who_claims_first_owns),
		CASE(after_release_another_can_own_it),
		CASE(identifiers_are_compared_as_bytes),
		CASE(the_limit_refuses_new_ones_only),
		CASE(a_name_never_has_two_owners_however_many_claim_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
