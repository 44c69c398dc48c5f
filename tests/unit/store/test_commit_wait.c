/* SPDX-License-Identifier: Apache-2.0 */
/* test_commit_wait.c - what may go on only when the store has it. */
#include "store_fixture.h"

#include "store/commit_wait.h"

#define MANY 20000u

/* Owner: worker 0, on which everything waits; the main thread looks between its turns. */
static struct {
	uint64_t tokens[MANY];
	unsigned count;
	uint64_t mark, number;
	bool adds_more;
} gone;

static void ready(struct worker *me, uint64_t handle, uint64_t token)
{
	CHECK(handle == 77 && me->id == 0);
	CHECK(gone.count < MANY);
	gone.tokens[gone.count++] = token;
	if (gone.adds_more && token < 1000)
		commit_wait_add(me, 0, store_posted(me), ready, 77, token + 1000);
}

static void init(struct worker *me, void *unused)
{
	(void)unused;
	CHECK(commit_wait_init(me) == ERR_NONE);
	store_set_hook(me, commit_wait_run);
}

static void fini(struct worker *me, void *unused)
{
	(void)unused;
	store_set_hook(me, NULL);
	commit_wait_fini(me);
}

static int setup(void **state)
{
	int failed = shop_setup(state);

	memset(&gone, 0, sizeof gone);
	if (failed)
		return failed;
	shop_open();
	for (uint16_t i = 0; i < shop.workers; i++)
		on_worker(i, init, NULL);
	store_image_hold(shop.image, true);
	return 0;
}

static int teardown(void **state)
{
	store_image_hold(shop.image, false);
	for (uint16_t i = 0; i < shop.workers; i++)
		on_worker(i, fini, NULL);
	assert_int_equal(memory_used(MEMORY_INPUT), 0);
	return shop_teardown(state);
}

static void post(struct worker *me, void *out_number)
{
	put_session(me, me->id + 1u, "alpha", STORE_SESSION);
	*(uint64_t *)out_number = store_posted(me);
}

static void wait_for_own(struct worker *me, void *token)
{
	uint64_t number;

	post(me, &number);
	commit_wait_add(me, 0, number, ready, 77, *(uint64_t *)token);
}

struct other {
	uint64_t number, token;
};

static void wait_for_other(struct worker *me, void *context)
{
	const struct other *other = context;

	commit_wait_add(me, 1, other->number, ready, 77, other->token);
}

static void count_waits(struct worker *me, void *out)
{
	*(uint64_t *)out = commit_wait_count(me);
}

static uint64_t waits(void)
{
	uint64_t count;

	on_worker(0, count_waits, &count);
	return count;
}

static bool nothing_waits(void)
{
	return waits() == 0;
}

static void who_waits_goes_on_in_order_when_it_is_committed(void **unused)
{
	(void)unused;
	for (uint64_t token = 0; token < 100; token++)
		on_worker(0, wait_for_own, &token);
	assert_int_equal(waits(), 100);
	assert_int_equal(gone.count, 0);
	store_image_hold(shop.image, false);
	assert_true(wait_for(nothing_waits));
	assert_int_equal(gone.count, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(gone.tokens[i], i);
}

static void what_another_worker_has_posted_is_waited_for_by_its_number(void **unused)
{
	struct other other = {.token = 5};
	uint64_t token = 6;

	(void)unused;
	on_worker(1, post, &other.number);
	on_worker(0, wait_for_other, &other);
	on_worker(0, wait_for_own, &token);
	assert_int_equal(waits(), 2);
	store_image_hold(shop.image, false);
	assert_true(wait_for(nothing_waits));
	assert_int_equal(gone.count, 2);
	assert_int_equal(gone.tokens[0] + gone.tokens[1], 11);
}

static void who_goes_on_may_wait_for_more(void **unused)
{
	(void)unused;
	gone.adds_more = true;
	for (uint64_t token = 0; token < 200; token++)
		on_worker(0, wait_for_own, &token);
	store_image_hold(shop.image, false);
	assert_true(wait_for(nothing_waits));
	assert_int_equal(gone.count, 400);
}

static void wait_for_many(struct worker *me, void *unused)
{
	(void)unused;
	for (uint64_t token = 0; token < MANY; token++)
		wait_for_own(me, &token);
}

static void a_long_row_gives_its_memory_back(void **unused)
{
	(void)unused;
	on_worker(0, wait_for_many, NULL);
	assert_int_equal(waits(), MANY);
	assert_true(memory_used(MEMORY_INPUT) >= MANY * 32);
	store_image_hold(shop.image, false);
	assert_true(wait_for(nothing_waits));
	assert_int_equal(gone.count, MANY);
	assert_int_equal(memory_used(MEMORY_INPUT), 0);
}

static void post_and_compare(struct worker *me, void *unused)
{
	uint64_t mark = commit_mark(me);

	(void)unused;
	gone.mark = commit_number_since(me, mark);
	put_session(me, 1, "alpha", STORE_SESSION);
	gone.number = commit_number_since(me, mark);
	CHECK(gone.number == store_posted(me));
	CHECK(commit_is_pending(me, 0, gone.number));
	CHECK(!commit_is_pending(me, 0, 0));
}

static void only_what_was_posted_has_to_be_waited_for(void **unused)
{
	(void)unused;
	on_worker(0, post_and_compare, NULL);
	assert_int_equal(gone.mark, 0);
	assert_true(gone.number > 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(who_waits_goes_on_in_order_when_it_is_committed),
		CASE(what_another_worker_has_posted_is_waited_for_by_its_number),
		CASE(who_goes_on_may_wait_for_more),
		CASE(a_long_row_gives_its_memory_back),
		CASE(only_what_was_posted_has_to_be_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
