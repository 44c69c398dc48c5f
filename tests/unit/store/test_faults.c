/* SPDX-License-Identifier: Apache-2.0 */
/* test_faults.c - what a store promises when the disk does not do as it should, or the process dies. */
#include "store_fixture.h"

static uint64_t numbers[64];

static void post_alpha(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	put_session(me, 2, "beta", STORE_SESSION);
}

/* Each worker to a session of its own, because one only queues for a session. */
static void post_one(struct worker *me, void *payload)
{
	struct message *message = say(me, "t", payload);

	numbers[0] = queue_qos(me, me->id + 1u, message, 1);
	message_drop(me, &message);
}

static void one_is_done(struct worker *me, void *unused)
{
	(void)unused;
	store_done(me, 1, numbers[0]);
}

static uint64_t commits(void)
{
	struct store_figures figures;

	store_figures(shop.store, &figures);
	return figures.commits;
}

static bool state_is(enum store_state state)
{
	struct store_figures figures;

	store_figures(shop.store, &figures);
	return figures.state == state;
}

static bool is_full(void)
{
	return state_is(STORE_FULL);
}

static bool has_failed(void)
{
	return state_is(STORE_FAILED);
}

static bool is_well(void)
{
	return state_is(STORE_OK);
}

static void nothing_counts_as_committed_while_the_disk_hangs(void **unused)
{
	(void)unused;
	shop_open();
	store_image_hold(shop.image, true);
	on_worker(0, post_alpha, NULL);
	wait_until_left(0);
	usleep(20000); /* if it were wrong, this would be time enough to show it now and then */
	assert_false(is_committed(0));
	store_image_hold(shop.image, false);
	settle();
}

/* While a commit hangs, what comes and is acknowledged meanwhile is never written. */
static void what_all_have_acknowledged_before_its_commit_is_never_written(void **unused)
{
	uint64_t before;

	(void)unused;
	shop_open();
	on_worker(0, post_alpha, NULL);
	settle();
	store_image_hold(shop.image, true);
	on_worker(1, post_alpha, NULL); /* this commit hangs */
	wait_until_left(1);
	while (!mailbox_is_empty(shop.store->mailbox))
		usleep(1000);
	for (int i = 0; i < 20; i++) {
		on_worker(0, post_one, "brief");
		on_worker(0, one_is_done, NULL);
	}
	wait_until_left(0);
	before = commits();
	store_image_hold(shop.image, false);
	settle();
	assert_in_range(commits() - before, 0, 1);
	shop_reopen();
	expect_lines("message", 0);
	assert_int_equal(shop.store->ledger.highest_written, 0);
}

static void a_full_store_refuses_and_recovers(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_alpha, NULL);
	settle();
	store_image_fail(shop.image, ERR_LIMIT);
	on_worker(0, post_one, "must wait");
	assert_true(wait_for(is_full));
	assert_false(is_committed(0));
	store_image_fail(shop.image, ERR_NONE);
	assert_true(wait_for(is_well));
	settle();
	shop_reopen();
	expect_lines("message 1 t=must wait", 1);
}

static bool failed_once_more(void)
{
	static uint64_t before;
	uint64_t failures = counter_total(COUNTER_STORE_FAILURES);
	bool is_more = failures > before;

	before = failures;
	return is_more;
}

static uint64_t writer_cpu_ms(void)
{
	struct timespec used;
	clockid_t clock;

	assert_int_equal(pthread_getcpuclockid(shop.store->writer, &clock), 0);
	assert_int_equal(clock_gettime(clock, &used), 0);
	return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

static void a_full_disk_is_tried_each_second_and_not_all_the_time(void **unused)
{
	uint64_t before;

	(void)unused;
	shop_open();
	on_worker(0, post_alpha, NULL);
	settle();
	store_image_fail(shop.image, ERR_LIMIT);
	on_worker(0, post_one, "must wait");
	assert_true(wait_for(is_full));
	(void)failed_once_more();
	before = writer_cpu_ms();
	for (int i = 0; i < 3; i++)
		assert_true(wait_for(failed_once_more));
	assert_in_range(writer_cpu_ms() - before, 0, 100);
}

static void a_full_store_takes_acknowledgements(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_alpha, NULL);
	settle();
	store_image_fail(shop.image, ERR_LIMIT);
	on_worker(0, post_one, "acknowledged");
	assert_true(wait_for(is_full));
	on_worker(0, one_is_done, NULL);
	/* Nothing is left to write, so nothing has to wait. */
	settle();
	store_image_fail(shop.image, ERR_NONE);
	shop_reopen();
	expect_lines("message", 0);
}

static void after_a_failed_commit_nothing_is_acknowledged_until_one_succeeds(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_alpha, NULL);
	settle();
	store_image_fail(shop.image, ERR_IO);
	on_worker(0, post_one, "doubtful");
	assert_true(wait_for(has_failed));
	on_worker(1, post_one, "later");
	wait_until_left(1);
	usleep(20000);
	assert_false(is_committed(0));
	assert_false(is_committed(1));
	store_image_fail(shop.image, ERR_NONE);
	settle();
	assert_true(wait_for(is_well));
	shop_reopen();
	expect_lines("message 1 t=doubtful", 1);
	expect_lines("message 2 t=later", 1);
}

static uint64_t failures_before;

static uint64_t failures(void)
{
	return counter_total(COUNTER_STORE_FAILURES) - failures_before;
}

static bool has_failed_twice(void)
{
	return failures() == 2;
}

static bool has_failed_three_times(void)
{
	return failures() == 3;
}

static void one_is_done_and_another_comes(struct worker *me, void *payload)
{
	one_is_done(me, NULL);
	post_one(me, payload);
}

/* Removals are written alone first; when that commit turns out to be on disk, nothing else is. */
static void removals_that_were_in_doubt_acknowledge_nothing(void **unused)
{
	(void)unused;
	shop_open();
	failures_before = counter_total(COUNTER_STORE_FAILURES);
	on_worker(0, post_alpha, NULL);
	on_worker(0, post_one, "done");
	settle();
	store_image_fail(shop.image, ERR_IO);
	on_worker(0, one_is_done_and_another_comes, "must wait");
	assert_true(wait_for(has_failed));
	store_image_doubt(shop.image);
	store_image_fail(shop.image, ERR_NONE);
	assert_true(wait_for(has_failed_twice)); /* the removals */
	store_image_fail(shop.image, ERR_LIMIT);
	assert_true(wait_for(has_failed_three_times)); /* all the rest */
	assert_false(is_committed(0));
	store_image_fail(shop.image, ERR_NONE);
	settle();
	shop_reopen();
	expect_lines("message", 1);
	expect_lines("message 1 t=must wait", 1);
}

static uint64_t cpu_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* What comes between two tries waits without keeping a processor busy. */
static void a_store_that_has_failed_sleeps_until_it_tries_again(void **unused)
{
	uint64_t began_ms, began_cpu_ms;

	(void)unused;
	shop_open();
	failures_before = counter_total(COUNTER_STORE_FAILURES);
	on_worker(0, post_alpha, NULL);
	settle();
	store_image_fail(shop.image, ERR_NOMEM); /* opening it again succeeds */
	on_worker(0, post_one, "first");
	assert_true(wait_for(has_failed));
	on_worker(0, post_one, "second");
	wait_until_left(0);
	began_ms = clock_now_ms();
	began_cpu_ms = cpu_ms();
	assert_true(wait_for(has_failed_three_times));
	assert_in_range(cpu_ms() - began_cpu_ms, 0, (clock_now_ms() - began_ms) / 2);
	store_image_fail(shop.image, ERR_NONE);
	settle();
}

static void what_a_power_cut_takes_was_not_there(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_alpha, NULL);
	settle();
	store_image_cut(shop.image);
	on_worker(0, post_one, "lost");
	settle();
	shop_reopen();
	expect_lines("session 1 alpha", 1);
	expect_lines("message", 0);
}

/* The directory. */

static void a_second_broker_is_refused(void **unused)
{
	struct store_settings settings = {.directory = shop.directory, .workers = 1};
	struct err_detail detail;
	struct store *second;

	(void)unused;
	shop_open();
	assert_int_equal(store_open(&settings, &second, &detail), ERR_DENIED);
	assert_null(second);
	assert_non_null(strstr(detail.text, "Another broker"));
	assert_non_null(strstr(detail.text, shop.directory));
}

static void a_directory_that_others_may_write_in_is_refused(void **unused)
{
	(void)unused;
	assert_int_equal(chmod(shop.directory, 0777), 0);
	assert_int_equal(shop_try(), ERR_DENIED);
	assert_non_null(strstr(shop.detail.text, "chmod go-w"));
	assert_int_equal(chmod(shop.directory, 0700), 0);
	assert_int_equal(shop_try(), ERR_NONE);
	store_close(&shop.store);
}

static void fill(struct worker *me, void *unused)
{
	char payload[200];

	(void)unused;
	memset(payload, 'x', sizeof payload - 1);
	payload[sizeof payload - 1] = 0;
	put_session(me, 1, "alpha", STORE_SESSION);
	for (int i = 0; i < 500; i++)
		post_one(me, payload);
}

/* A byte here and there is turned: either it is found, or it changed nothing that is in use. The
 * broker never writes to a file that it found damaged. */
static void a_damaged_file_is_refused_and_left_alone(void **unused)
{
	unsigned refused = 0;
	struct slice good, bad, after;

	(void)unused;
	shop_open();
	on_worker(0, fill, NULL);
	settle();
	shop_close();
	good = shop_read_file("nightjar.db");
	bad = slice_of(malloc(good.len), good.len);
	for (size_t at = 8192; at < good.len; at += 1021) {
		memcpy((uint8_t *)(uintptr_t)bad.data, good.data, good.len);
		((uint8_t *)(uintptr_t)bad.data)[at] ^= 0xff;
		shop_write_file("nightjar.db", bad);
		if (shop_try() == ERR_NONE) {
			store_close(&shop.store);
			continue;
		}
		refused++;
		assert_non_null(strstr(shop.detail.text, "damaged"));
		after = shop_read_file("nightjar.db");
		assert_true(slice_equal(after, bad));
		slice_free(&after);
	}
	slice_free(&good);
	slice_free(&bad);
	assert_true(refused > 20);
}

static void a_file_that_is_cut_short_is_refused(void **unused)
{
	char path[128];
	struct stat status;

	(void)unused;
	shop_open();
	on_worker(0, fill, NULL);
	settle();
	shop_close();
	snprintf(path, sizeof path, "%s/nightjar.db", shop.directory);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(truncate(path, status.st_size / 2), 0);
	assert_int_equal(shop_try(), ERR_INVALID);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(shop_try(), ERR_INVALID);
}

/* The process dies. */

static void fill_and_acknowledge(void)
{
	on_worker(0, post_alpha, NULL);
	settle();
	on_worker(0, post_one, "first");
	on_worker(1, post_one, "second");
	on_worker(0, post_one, "third");
	on_worker(0, one_is_done, NULL);
}

static void what_is_committed_survives_the_death_of_the_process(void **unused)
{
	(void)unused;
#ifdef RCU_TELLS_TSAN
	skip(); /* ThreadSanitizer has no threads after a fork */
#endif
	shop_fill_and_die(fill_and_acknowledge);
	shop_open();
	expect_lines("session 1 alpha", 1);
	expect_lines("message 1 t=first", 1);
	expect_lines("message 2 t=second", 1);
	ledger_audit(&shop.store->ledger);
	on_worker(0, post_one, "after");
	settle();
	shop_reopen();
	expect_lines("message 1 t=first", 1);
	expect_lines("message 1 t=after", 1);
}

/* Room is used again. */

static void many_come_and_go(struct worker *me, void *unused)
{
	char payload[1000];

	(void)unused;
	memset(payload, 'y', sizeof payload - 1);
	payload[sizeof payload - 1] = 0;
	for (int i = 63; i >= 0; i--) {
		post_one(me, payload);
		numbers[i] = numbers[0];
	}
}

static void many_are_done(struct worker *me, void *unused)
{
	(void)unused;
	for (int i = 1; i < 64; i++)
		store_done(me, 1, numbers[i]);
}

static void steady_load_does_not_let_the_file_grow(void **unused)
{
	struct store_figures early, late;

	(void)unused;
	shop_open();
	on_worker(0, post_alpha, NULL);
	for (int round = 0; round < 400; round++) {
		on_worker(0, many_come_and_go, NULL);
		if (round == 100)
			store_figures(shop.store, &early);
		settle();
		on_worker(0, many_are_done, NULL);
		on_worker(0, one_is_done, NULL);
		settle();
	}
	store_figures(shop.store, &late);
	assert_true(late.file_bytes <= early.file_bytes + early.file_bytes / 2);
}

static void post_much(struct worker *me, void *unused)
{
	static char payload[65536];

	(void)unused;
	memset(payload, 'z', sizeof payload - 1);
	for (int i = 0; i < 8 && store_has_room(me); i++)
		post_one(me, payload);
}

static void take_all_away(struct worker *me, void *unused)
{
	(void)unused;
	store_session_remove(me, 1);
}

static void at_95_percent_it_refuses_and_all_that_was_admitted_fits(void **unused)
{
	uint64_t failures = counter_total(COUNTER_STORE_FAILURES);
	struct store_figures figures;

	(void)unused;
	shop.max_bytes = 16 << 20;
	shop_open();
	on_worker(0, post_alpha, NULL);
	settle();
	for (int i = 0; i < 100 && !is_full(); i++) {
		on_worker(0, post_much, NULL);
		settle();
	}
	assert_true(is_full());
	store_figures(shop.store, &figures);
	assert_in_range(figures.used_bytes, 14 << 20, 16 << 20);
	assert_int_equal(counter_total(COUNTER_STORE_FAILURES), failures);
	on_worker(0, take_all_away, NULL);
	settle();
	on_worker(0, post_alpha, NULL);
	settle();
	assert_true(wait_for(is_well));
	on_worker(0, post_one, "fits again");
	settle();
	shop_reopen();
	expect_lines("message 1 t=fits again", 1);
}

/* A value of a percent of the store each, so many of them. */
static void retain_percent(struct worker *me, void *percent)
{
	static uint64_t version;
	static uint8_t payload[40000]; /* with topic, key and the rest some 1 % of 4 MB */
	char topic[16];

	for (unsigned i = 0; i < 100; i++) {
		bool is_there = i < *(unsigned *)percent;
		struct message_content content = {
			.payload = slice_of(payload, is_there ? sizeof payload : 0),
		};
		struct message *message;

		snprintf(topic, sizeof topic, "part/%u", i);
		content.topic = slice_from_string(topic);
		message = message_create(me, &content);
		CHECK(message);
		message->retained_version = ++version;
		store_retained_put(me, message);
		message_drop(me, &message);
	}
}

static unsigned percent_used(void)
{
	struct store_figures figures;

	store_figures(shop.store, &figures);
	return (unsigned)(figures.used_bytes * 100 / figures.max_bytes);
}

/* Twice: when the second is committed, the writer has looked at the room behind the first. */
static void fill_to(unsigned percent)
{
	for (int i = 0; i < 2; i++) {
		on_worker(0, retain_percent, &percent);
		settle();
	}
	assert_int_equal(percent_used(), percent);
}

static void a_full_store_takes_again_only_below_90_percent(void **unused)
{
	uint64_t refusing = counter_total(COUNTER_STORE_REFUSING);

	(void)unused;
	shop.max_bytes = 4000000;
	shop_open();
	fill_to(94);
	assert_true(is_well());
	fill_to(96);
	assert_true(is_full());
	fill_to(91);
	assert_true(is_full());
	fill_to(89);
	assert_true(is_well());
	fill_to(94);
	assert_true(is_well());
	assert_int_equal(counter_total(COUNTER_STORE_REFUSING) - refusing, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(nothing_counts_as_committed_while_the_disk_hangs, MEMORY),
		WITH(what_all_have_acknowledged_before_its_commit_is_never_written, MEMORY),
		WITH(a_full_store_refuses_and_recovers, MEMORY),
		WITH(a_full_disk_is_tried_each_second_and_not_all_the_time, MEMORY),
		WITH(a_full_store_takes_acknowledgements, MEMORY),
		WITH(after_a_failed_commit_nothing_is_acknowledged_until_one_succeeds, MEMORY),
		WITH(removals_that_were_in_doubt_acknowledge_nothing, MEMORY),
		WITH(a_store_that_has_failed_sleeps_until_it_tries_again, MEMORY),
		WITH(what_a_power_cut_takes_was_not_there, MEMORY),
		WITH(a_full_store_takes_again_only_below_90_percent, MEMORY),
		WITH(a_second_broker_is_refused, LMDB_DISK),
		WITH(a_directory_that_others_may_write_in_is_refused, LMDB_DISK),
		WITH(a_damaged_file_is_refused_and_left_alone, LMDB_DISK),
		WITH(a_file_that_is_cut_short_is_refused, LMDB_DISK),
		WITH(what_is_committed_survives_the_death_of_the_process, LMDB_DISK),
		WITH(what_is_committed_survives_the_death_of_the_process, LMDB_PROCESS),
		WITH(steady_load_does_not_let_the_file_grow, LMDB_DISK),
		WITH(at_95_percent_it_refuses_and_all_that_was_admitted_fits, LMDB_DISK),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
