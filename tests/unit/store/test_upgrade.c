/* SPDX-License-Identifier: Apache-2.0 */
/* test_upgrade.c - stores that an older or a newer version has written. */
#include "store_fixture.h"

#include "store/upgrade.h"

static void post_sessions(struct worker *me, void *unused)
{
	struct message *message = say(me, "t", "kept");

	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	put_session(me, 2, "beta", STORE_SESSION);
	queue_qos(me, 1, message, 1);
	message_drop(me, &message);
}

static void fill(void)
{
	shop_open();
	on_worker(0, post_sessions, NULL);
	settle();
	shop_close();
}

/* Changes values of the closed store by hand. */
static void by_hand(enum kv_table table, upgrade_rewrite_fn rewrite)
{
	char path[128];
	struct kv_lmdb_settings settings = {.path = path, .max_bytes = shop.max_bytes};
	struct kv *kv;

	snprintf(path, sizeof path, "%s/nightjar.db", shop.directory);
	assert_int_equal(kv_lmdb_open(&settings, &kv, &shop.detail), ERR_NONE);
	assert_int_equal(kv->ops->begin(kv), ERR_NONE);
	assert_int_equal(upgrade_rewrite(kv, table, rewrite, &shop.detail), ERR_NONE);
	assert_int_equal(kv->ops->commit(kv, &shop.detail), ERR_NONE);
	kv->ops->close(&kv);
}

/*
 * A history that never was: in format 1 sessions had version 0 and no checksum, format 2 brought both, and
 * format 3 called all users bob.
 */
static bool as_in_format_1(struct slice key, struct slice value, struct pack *to)
{
	(void)key;
	pack_u8(to, 0);
	pack_bytes(to, slice_of(value.data + 1, value.len - 5));
	return true;
}

static bool to_format_2(struct slice key, struct slice value, struct pack *to)
{
	size_t at = record_begin(to);

	(void)key;
	if (value.len < 1 || value.data[0] != 0)
		return false;
	pack_bytes(to, slice_of(value.data + 1, value.len - 1));
	record_end(to, at);
	return true;
}

static bool to_format_3(struct slice key, struct slice value, struct pack *to)
{
	struct store_session session;

	(void)key;
	if (!record_get_session(value, &session))
		return false;
	session.username = SLICE_LITERAL("bob");
	record_put_session(to, &session);
	return true;
}

static unsigned steps_run;
static enum err third_step_says;

static enum err step_1(struct kv *kv, struct err_detail *detail)
{
	steps_run++;
	return upgrade_rewrite(kv, KV_SESSIONS, to_format_2, detail);
}

static enum err step_2(struct kv *kv, struct err_detail *detail)
{
	enum err err = upgrade_rewrite(kv, KV_SESSIONS, to_format_3, detail);

	steps_run++;
	return err == ERR_NONE ? third_step_says : err;
}

static const upgrade_step steps_to_3[] = {NULL, step_1, step_2};
static const struct upgrade_road road_to_3 = {3, steps_to_3};

static int setup(void **state)
{
	steps_run = 0;
	third_step_says = ERR_NONE;
	return shop_setup(state);
}

static void an_older_store_is_upgraded_step_by_step(void **unused)
{
	(void)unused;
	fill();
	by_hand(KV_SESSIONS, as_in_format_1);
	assert_int_equal(shop_try(), ERR_INVALID); /* as it is, nobody can read it */
	shop.road = &road_to_3;
	shop_open();
	assert_int_equal(steps_run, 2);
	assert_int_equal(shop.store->ledger.meta.format, 3);
	expect_lines("session 1 alpha user bob", 1);
	expect_lines("session 2 beta user bob", 1);
	expect_lines("message 1 t=kept", 1);
	shop_reopen();
	assert_int_equal(steps_run, 2); /* once */
	expect_lines("session 1 alpha user bob", 1);
}

static void an_upgrade_that_fails_changes_nothing(void **unused)
{
	struct slice before, after;

	(void)unused;
	fill();
	by_hand(KV_SESSIONS, as_in_format_1);
	before = shop_read_file("nightjar.db");
	shop.road = &road_to_3;
	third_step_says = ERR_IO;
	assert_int_equal(shop_try(), ERR_IO);
	assert_non_null(strstr(shop.detail.text, "could not be upgraded from format 1 to 3"));
	assert_non_null(strstr(shop.detail.text, "Nothing was changed"));
	after = shop_read_file("nightjar.db");
	assert_true(slice_equal(before, after));
	slice_free(&before);
	slice_free(&after);
	third_step_says = ERR_NONE;
	shop_open();
	expect_lines("session 1 alpha user bob", 1);
}

static void a_value_that_a_step_cannot_read_is_named(void **unused)
{
	(void)unused;
	fill(); /* in the layout of format 2, but called 1 */
	shop.road = &road_to_3;
	assert_int_equal(shop_try(), ERR_INVALID);
	assert_non_null(strstr(shop.detail.text, "table sessions, key 1 does not read"));
}

static void a_newer_store_is_refused_and_left_alone(void **unused)
{
	struct slice before, after;

	(void)unused;
	fill();
	by_hand(KV_SESSIONS, as_in_format_1);
	shop.road = &road_to_3;
	shop_open();
	shop_close();
	before = shop_read_file("nightjar.db");
	shop.road = NULL;
	assert_int_equal(shop_try(), ERR_UNSUPPORTED);
	assert_non_null(
		strstr(shop.detail.text, "format 3, and this version knows formats up to 1"));
	assert_non_null(strstr(shop.detail.text, "newer version"));
	after = shop_read_file("nightjar.db");
	assert_true(slice_equal(before, after));
	slice_free(&before);
	slice_free(&after);
}

static void an_old_store_from_which_no_step_leads_on_is_refused(void **unused)
{
	static const upgrade_step steps[] = {NULL, NULL, step_2};
	static const struct upgrade_road road = {3, steps};

	(void)unused;
	fill();
	shop.road = &road;
	assert_int_equal(shop_try(), ERR_UNSUPPORTED);
	assert_non_null(strstr(shop.detail.text, "cannot upgrade to 3"));
	assert_int_equal(steps_run, 0);
}

static void the_brokers_own_road_leads_from_the_first_format_to_the_present_one(void **unused)
{
	(void)unused;
	assert_int_equal(upgrade_road.format, STORE_FORMAT);
	for (uint32_t format = 1; format < STORE_FORMAT; format++)
		assert_non_null(upgrade_road.steps[format]);
}

static void what_a_killed_broker_of_another_version_left_in_a_ring_stops_the_upgrade(void **unused)
{
	struct slice ring;

	(void)unused;
	shop.implementation = LMDB_PROCESS;
	shop_open();
	on_worker(0, post_sessions, NULL);
	settle();
	ring = shop_read_file("ring-0");
	shop_close();
	((uint8_t *)(uintptr_t)ring.data)[7] = '9';
	shop_write_file("ring-0", ring);
	slice_free(&ring);
	by_hand(KV_SESSIONS, as_in_format_1);
	shop.road = &road_to_3;
	assert_int_equal(shop_try(), ERR_UNSUPPORTED);
	assert_non_null(strstr(shop.detail.text, "ring-0 was left by another version"));
	assert_int_equal(steps_run, 0);
}

#define CASE(test) cmocka_unit_test_prestate_setup_teardown(test, setup, shop_teardown, &lmdb)

int main(void)
{
	static enum implementation lmdb = LMDB_DISK;
	const struct CMUnitTest tests[] = {
		CASE(an_older_store_is_upgraded_step_by_step),
		CASE(an_upgrade_that_fails_changes_nothing),
		CASE(a_value_that_a_step_cannot_read_is_named),
		CASE(a_newer_store_is_refused_and_left_alone),
		CASE(an_old_store_from_which_no_step_leads_on_is_refused),
		CASE(the_brokers_own_road_leads_from_the_first_format_to_the_present_one),
		CASE(what_a_killed_broker_of_another_version_left_in_a_ring_stops_the_upgrade),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
