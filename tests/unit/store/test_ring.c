/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ring.c - durability process: what the death of the process leaves in the rings, and what a power cut
 * makes of it.
 *
 * Nothing brings a ring's pages to the disk but the kernel, in any order: after a power cut each may be
 * new, of any earlier moment, or zeros. Whatever is there, the store opens, and has what was in the tables.
 */
#include "store_fixture.h"

#include <sys/syscall.h>

#define ROUNDS 100
#define SECTOR 512u
#define BASE_MESSAGES 40u
#define LATE_MESSAGES 30u

static uint64_t seed;
static unsigned wall_is_ahead_s; /* atomic */

/* Instead of libc's: whoever reads the wall clock and then waits meets it set back in between. */
int clock_gettime(clockid_t clock, struct timespec *out)
{
	int failed = (int)syscall(SYS_clock_gettime, clock, out);

	if (clock == CLOCK_REALTIME)
		out->tv_sec += __atomic_load_n(&wall_is_ahead_s, __ATOMIC_RELAXED);
	return failed;
}

static uint32_t chance(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static void post_sessions(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	put_session(me, 2, "beta", STORE_SESSION);
}

static void post_large(struct worker *me, void *number)
{
	char payload[3000];
	struct message *message;

	memset(payload, 'x', sizeof payload - 1);
	payload[sizeof payload - 1] = '\0';
	snprintf(payload, sizeof payload, "%u", *(unsigned *)number);
	payload[strlen(payload)] = ' ';
	message = say(me, "t", payload);
	queue_qos(me, me->id + 1u, message, 1);
	message_drop(me, &message);
}

/* Comes and goes: only the ring sees it. */
static void post_passing(struct worker *me, void *unused)
{
	char payload[3000];
	struct message *message;

	(void)unused;
	memset(payload, 'y', sizeof payload - 1);
	payload[sizeof payload - 1] = '\0';
	message = say(me, "t", payload);
	store_done(me, me->id + 1u, queue_qos(me, me->id + 1u, message, 1));
	message_drop(me, &message);
}

/* The rings have gone round more than once: what is free in them are batches of earlier rounds. */
static void work(void)
{
	on_worker(0, post_sessions, NULL);
	settle();
	for (unsigned i = 0; i < 500; i++)
		for (uint16_t worker = 0; worker < 2; worker++)
			on_worker(worker, post_passing, NULL);
	for (unsigned i = 0; i < BASE_MESSAGES; i++)
		for (uint16_t worker = 0; worker < 2; worker++)
			on_worker(worker, post_large, &i);
	CHECK(wait_for(tables_have_all));
	for (unsigned i = 0; i < LATE_MESSAGES; i++)
		for (uint16_t worker = 0; worker < 2; worker++)
			on_worker(worker, post_large, &i);
}

static void copy_over(struct slice to, size_t at, const uint8_t *from, size_t bytes)
{
	memcpy((uint8_t *)(uintptr_t)to.data + at, from, bytes < to.len - at ? bytes : to.len - at);
}

/* Somewhere in what is in use, mostly. */
static size_t some_sector(struct slice ring)
{
	uint64_t tail, capacity = ring.len - 4096;

	memcpy(&tail, ring.data + 24, sizeof tail);
	if (chance(3) == 0)
		return chance((uint32_t)(ring.len / SECTOR)) * SECTOR;
	return 4096 + (tail + chance(LATE_MESSAGES * 3100)) % capacity / SECTOR * SECTOR;
}

static void damage(struct slice ring)
{
	static const uint8_t zeros[4096];
	uint8_t noise[SECTOR];
	size_t at = some_sector(ring);

	for (unsigned i = 0; i < SECTOR; i++)
		noise[i] = (uint8_t)chance(256);
	switch (chance(6)) {
	case 0: copy_over(ring, at, zeros, sizeof zeros); break;
	case 1: copy_over(ring, at, zeros, SECTOR); break;
	case 2: copy_over(ring, at, noise, SECTOR); break;
	case 3: /* of another place, so of an earlier round */
		memcpy(noise, ring.data + some_sector(ring), SECTOR);
		copy_over(ring, at, noise, SECTOR);
		break;
	case 4:
		((uint8_t *)(uintptr_t)ring.data)[at + chance(SECTOR)] ^= (uint8_t)(1 << chance(8));
		break;
	default: /* a header's number: nonce, capacity, tail */
		copy_over(ring, 8 + 8 * chance(3), noise, 1 + chance(8));
		break;
	}
}

static uint32_t waiting_for(uint64_t id)
{
	const struct place *place = ledger_place(&shop.store->ledger, id);

	assert_non_null(place);
	return place->end - place->head - place->done;
}

static void open_and_count(uint32_t least, uint32_t most)
{
	if (shop_try() != ERR_NONE)
		fail_msg("seed %llu: %s", (unsigned long long)seed, shop.detail.text);
	ledger_audit(&shop.store->ledger);
	for (uint64_t id = 1; id <= 2; id++)
		assert_in_range(waiting_for(id), least, most);
	store_close(&shop.store);
}

static void restore(struct slice database, const struct slice rings[2])
{
	static const char *const names[] = {"ring-0", "ring-1"};

	shop_write_file("nightjar.db", database);
	for (int i = 0; i < 2; i++)
		shop_write_file(names[i], rings[i]);
}

static void whatever_a_power_cut_leaves_of_a_ring_the_tables_are_whole(void **unused)
{
	struct slice database, rings[2], bad[2];
	uint32_t all = BASE_MESSAGES + LATE_MESSAGES;

	(void)unused;
#ifdef RCU_TELLS_TSAN
	skip(); /* ThreadSanitizer has no threads after a fork */
#endif
	shop_fill_and_die(work);
	database = shop_read_file("nightjar.db");
	rings[0] = shop_read_file("ring-0");
	rings[1] = shop_read_file("ring-1");
	for (int i = 0; i < 2; i++)
		bad[i] = slice_of(malloc(rings[i].len), rings[i].len);
	open_and_count(all, all); /* the death of the process took nothing */
	for (seed = 1; seed <= ROUNDS; seed++) {
		uint64_t round = seed;

		for (int i = 0; i < 2; i++)
			copy_over(bad[i], 0, rings[i].data, rings[i].len);
		for (uint32_t n = 1 + chance(6); n > 0; n--)
			damage(bad[chance(2)]);
		restore(database, bad);
		open_and_count(BASE_MESSAGES, all);
		seed = round;
	}
	restore(database, (struct slice[]){SLICE_NONE, SLICE_NONE});
	open_and_count(BASE_MESSAGES, all);
	slice_free(&database);
	for (int i = 0; i < 2; i++) {
		slice_free(&rings[i]);
		slice_free(&bad[i]);
	}
}

/* Nobody waits for it, and nothing else happens: a power cut may take no more than the last second. */
static void what_is_in_a_ring_alone_reaches_the_tables_by_itself(void **unused)
{
	unsigned number = 1;

	(void)unused;
	shop_open();
	on_worker(0, post_sessions, NULL);
	for (int i = 0; i < 2; i++) {
		assert_true(wait_for(tables_have_all));
		on_worker(0, post_large, &number);
		wait_until_left(0);
	}
	assert_true(wait_for(tables_have_all));
}

static void a_ring_reaches_the_tables_though_the_wall_clock_is_set_back(void **state)
{
	__atomic_store_n(&wall_is_ahead_s, 3600, __ATOMIC_RELAXED);
	what_is_in_a_ring_alone_reaches_the_tables_by_itself(state);
	__atomic_store_n(&wall_is_ahead_s, 0, __ATOMIC_RELAXED);
}

static void a_broker_that_ends_in_order_leaves_no_ring(void **unused)
{
	char path[128];

	(void)unused;
	shop_open();
	on_worker(0, post_sessions, NULL);
	settle();
	snprintf(path, sizeof path, "%s/ring-0", shop.directory);
	assert_int_equal(access(path, F_OK), 0);
	shop_close();
	assert_int_equal(access(path, F_OK), -1);
	shop_open();
	expect_lines("session 1 alpha", 1);
}

#define CASE(test)                                                                                 \
	cmocka_unit_test_prestate_setup_teardown(test, shop_setup, shop_teardown, &process)

int main(void)
{
	static enum implementation process = LMDB_PROCESS;
	const struct CMUnitTest tests[] = {
		CASE(whatever_a_power_cut_leaves_of_a_ring_the_tables_are_whole),
		CASE(what_is_in_a_ring_alone_reaches_the_tables_by_itself),
		CASE(a_ring_reaches_the_tables_though_the_wall_clock_is_set_back),
		CASE(a_broker_that_ends_in_order_leaves_no_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
