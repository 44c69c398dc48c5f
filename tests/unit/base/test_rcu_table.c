/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/rcu.h"
#include "base/rcu_table.h"

struct item {
	struct rcu_table_node node; /* first member */
	struct rcu_head rcu;
	uint64_t key;
};

static struct rcu_table table;

static struct item *item_find(uint64_t key)
{
	uint64_t hash = hash_bytes(&key, sizeof key);
	struct rcu_table_node *node = rcu_table_head(&table, hash);

	while ((node = rcu_table_find(node, rcu_table_order(hash))))
		if (((struct item *)(void *)node)->key == key)
			return (struct item *)(void *)node;
	return NULL;
}

static void item_insert(struct item *item, uint64_t key)
{
	item->key = key;
	item->node.order = rcu_table_order(hash_bytes(&key, sizeof key));
	rcu_table_prepare(&table);
	rcu_table_insert(&table, &item->node);
}

static int start(void **unused)
{
	(void)unused;
	return rcu_table_init(&table) != ERR_NONE;
}

static int finish(void **unused)
{
	(void)unused;
	rcu_table_audit(&table);
	rcu_table_fini(&table);
	return 0;
}

static void what_was_inserted_is_found_and_nothing_else(void **unused)
{
	enum { COUNT = 20000 };
	struct item *items = calloc(COUNT, sizeof *items);

	(void)unused;
	for (uint64_t i = 0; i < COUNT; i++)
		item_insert(&items[i], i * 3);
	rcu_table_audit(&table);
	assert_true(table.bucket_count >= COUNT);
	for (uint64_t i = 0; i < COUNT * 3; i++)
		assert_ptr_equal(item_find(i), i % 3 == 0 ? &items[i / 3] : NULL);
	for (uint64_t i = 0; i < COUNT; i += 2)
		rcu_table_remove(&table, &items[i].node);
	rcu_table_audit(&table);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_ptr_equal(item_find(i * 3), i % 2 ? &items[i] : NULL);
	assert_int_equal(table.node_count, COUNT / 2);
	free(items);
	table.node_count = 0;
	for (uint64_t i = 0; i < table.bucket_count; i++)
		rcu_table_bucket(&table, i)->next = NULL;
	rcu_table_fini(&table);
	assert_int_equal(rcu_table_init(&table), ERR_NONE);
}

static void equal_hashes_stand_side_by_side(void **unused)
{
	struct item items[5];
	struct rcu_table_node *node;
	unsigned found = 0;

	(void)unused;
	for (uint64_t i = 0; i < 5; i++) {
		items[i].key = i;
		items[i].node.order = rcu_table_order(77);
		rcu_table_insert(&table, &items[i].node);
	}
	node = rcu_table_head(&table, 77);
	while ((node = rcu_table_find(node, rcu_table_order(77))))
		found++;
	assert_int_equal(found, 5);
	rcu_table_remove(&table, &items[2].node);
	found = 0;
	node = rcu_table_head(&table, 77);
	while ((node = rcu_table_find(node, rcu_table_order(77)))) {
		assert_ptr_not_equal(node, &items[2].node);
		found++;
	}
	assert_int_equal(found, 4);
	for (int i = 0; i < 5; i++)
		if (i != 2)
			rcu_table_remove(&table, &items[i].node);
}

static void walking_by_order_sees_each_node_once(void **unused)
{
	enum { COUNT = 1000 };
	struct item *items = calloc(COUNT, sizeof *items);
	struct rcu_table_node *node;
	uint64_t sum = 0, order = 0;
	unsigned seen = 0;

	(void)unused;
	for (uint64_t i = 0; i < COUNT; i++)
		item_insert(&items[i], i);
	while ((node = rcu_table_after(&table, order))) {
		order = node->order;
		sum += ((struct item *)(void *)node)->key;
		seen++;
	}
	assert_int_equal(seen, COUNT);
	assert_int_equal(sum, COUNT * (COUNT - 1) / 2);
	for (int i = 0; i < COUNT; i++)
		rcu_table_remove(&table, &items[i].node);
	free(items);
}

static int stop;

static void item_free(struct rcu_head *head)
{
	free(RCU_OWNER(head, struct item, rcu));
}

/* Keys below 100 stay all the time, whatever happens to the others. */
static void *look_for_what_stays(void *unused)
{
	uintptr_t missed = 0;

	(void)unused;
	rcu_thread_register();
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		rcu_read_section_begin();
		for (uint64_t key = 0; key < 100; key++)
			missed += item_find(key) == NULL;
		rcu_read_section_end();
	}
	rcu_thread_unregister();
	return (void *)missed;
}

static void readers_find_everything_while_the_table_grows(void **unused)
{
	enum { ROUNDS = 20, COUNT = 500 };
	struct item *items[COUNT];
	pthread_t reader;
	void *missed;

	(void)unused;
	stop = 0;
	for (uint64_t key = 0; key < 100; key++)
		item_insert(items[key] = malloc(sizeof **items), key);
	assert_int_equal(pthread_create(&reader, NULL, look_for_what_stays, NULL), 0);
	for (int round = 0; round < ROUNDS; round++) {
		for (uint64_t key = 100; key < COUNT; key++)
			item_insert(items[key] = malloc(sizeof **items), key);
		for (int i = 100; i < COUNT; i++) {
			rcu_table_remove(&table, &items[i]->node);
			rcu_defer_free(&items[i]->rcu, item_free);
		}
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(reader, &missed);
	assert_null(missed);
	rcu_wait_deferred();
	for (int i = 0; i < 100; i++) {
		rcu_table_remove(&table, &items[i]->node);
		free(items[i]);
	}
}

#define TABLE_TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE_TEST(what_was_inserted_is_found_and_nothing_else),
		TABLE_TEST(equal_hashes_stand_side_by_side),
		TABLE_TEST(walking_by_order_sees_each_node_once),
		TABLE_TEST(readers_find_everything_while_the_table_grows),
	};
	int failed;

	rcu_thread_register();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rcu_thread_unregister();
	return failed;
}
