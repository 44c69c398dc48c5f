/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_fixture.h"

#include "runtime/mailbox.h"

struct item {
	struct letter_node node;
	int poster, number;
};

static void batches_come_out_in_order_and_lanes_keep_apart(void **unused)
{
	struct mailbox *mailbox = mailbox_create();
	struct node_list list = {NULL, NULL};
	struct item items[5];
	bool is_busy;

	(void)unused;
	for (int i = 0; i < 3; i++)
		node_list_add(&list, &items[i].node);
	mailbox_post(mailbox, MAILBOX_LETTERS, &list);
	assert_null(list.first);
	node_list_add(&list, &items[3].node);
	mailbox_post(mailbox, MAILBOX_MESSAGES, &list);
	node_list_add(&list, &items[4].node);
	mailbox_post(mailbox, MAILBOX_LETTERS, &list);
	assert_false(mailbox_is_empty(mailbox));
	for (int i = 0; i < 3; i++)
		assert_ptr_equal(mailbox_take(mailbox, MAILBOX_LETTERS, &is_busy), &items[i].node);
	assert_ptr_equal(mailbox_take(mailbox, MAILBOX_LETTERS, &is_busy), &items[4].node);
	assert_null(mailbox_take(mailbox, MAILBOX_LETTERS, &is_busy));
	assert_false(is_busy);
	assert_false(mailbox_is_empty(mailbox));
	assert_ptr_equal(mailbox_take(mailbox, MAILBOX_MESSAGES, &is_busy), &items[3].node);
	assert_true(mailbox_is_empty(mailbox));
	mailbox_destroy(&mailbox);
	assert_null(mailbox);
}

static void only_one_poster_wakes_a_sleeper_and_nobody_one_who_is_awake(void **unused)
{
	struct mailbox *mailbox = mailbox_create();

	(void)unused;
	assert_true(mailbox_wake_is_due(mailbox, true));
	assert_false(mailbox_wake_is_due(mailbox, true));
	assert_true(mailbox_sleep(mailbox, false));
	assert_false(mailbox_wake_is_due(mailbox, false));
	assert_true(mailbox_wake_is_due(mailbox, true));
	assert_true(mailbox_sleep(mailbox, true));
	assert_true(mailbox_wake_is_due(mailbox, false));
	assert_true(mailbox_sleep(mailbox, false));
	mailbox_awake(mailbox);
	assert_false(mailbox_wake_is_due(mailbox, true));
	mailbox_destroy(&mailbox);
}

static void nobody_sleeps_over_a_letter(void **unused)
{
	struct mailbox *mailbox = mailbox_create();
	struct node_list list = {NULL, NULL};
	struct item item;
	bool is_busy;

	(void)unused;
	for (enum mailbox_lane lane = 0; lane < MAILBOX_LANES; lane++) {
		node_list_add(&list, &item.node);
		mailbox_post(mailbox, lane, &list);
		assert_false(mailbox_sleep(mailbox, false));
		assert_ptr_equal(mailbox_take(mailbox, lane, &is_busy), &item.node);
		assert_true(mailbox_sleep(mailbox, false));
	}
	mailbox_destroy(&mailbox);
}

#define POSTERS 3
#define ITEMS 30000

static struct mailbox *shared_mailbox;
static struct item posted[POSTERS][ITEMS];

static void *post_all(void *arg)
{
	struct item *mine = arg;
	struct node_list list = {NULL, NULL};

	for (int i = 0; i < ITEMS; i++) {
		mine[i].number = i;
		mine[i].poster = (int)((mine - posted[0]) / ITEMS);
		node_list_add(&list, &mine[i].node);
		if (i % 7 == 0 || i == ITEMS - 1)
			mailbox_post(shared_mailbox, MAILBOX_LETTERS, &list);
	}
	return NULL;
}

static void what_many_post_arrives_once_and_in_each_ones_order(void **unused)
{
	int next[POSTERS] = {0};
	pthread_t threads[POSTERS];
	bool is_busy;

	(void)unused;
	shared_mailbox = mailbox_create();
	for (int i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_all, posted[i]), 0);
	for (int n = 0; n < POSTERS * ITEMS;) {
		struct item *item =
			(struct item *)mailbox_take(shared_mailbox, MAILBOX_LETTERS, &is_busy);

		if (!item)
			continue;
		assert_int_equal(item->number, next[item->poster]);
		next[item->poster]++;
		n++;
	}
	for (int i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(mailbox_is_empty(shared_mailbox));
	mailbox_destroy(&shared_mailbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batches_come_out_in_order_and_lanes_keep_apart),
		cmocka_unit_test(only_one_poster_wakes_a_sleeper_and_nobody_one_who_is_awake),
		cmocka_unit_test(nobody_sleeps_over_a_letter),
		cmocka_unit_test(what_many_post_arrives_once_and_in_each_ones_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
