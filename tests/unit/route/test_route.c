/* SPDX-License-Identifier: Apache-2.0 */
#include "route_fixture.h"

/* Receipts. */

static void each_other_worker_with_subscribers_gives_one_receipt(void **unused)
{
	struct subscriber *subscribers[6];
	struct publisher *publisher;

	(void)unused;
	world_begin(4, 16, &plain);
	publisher = publisher_make(0, 0);
	publish(publisher, 3);
	assert_int_equal(publisher->receipts_due, 0);
	/* Two on the publisher's own worker, two each on 1 and 3, none on 2. */
	for (uint16_t i = 0; i < 6; i++)
		subscribers[i] = subscriber_make((uint16_t[]){0, 0, 1, 1, 3, 3}[i], "t");
	publish(publisher, 10);
	assert_int_equal(publisher->receipts_due, 20);
	assert_int_equal(publisher->receipts, 20);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(subscribers[i]->count, 10);
		assert_false(subscribers[i]->is_out_of_order);
		subscriber_free(subscribers[i]);
	}
	publisher_free(publisher);
	world_end();
}

/* Without receipts nothing tells when a publication has arrived: one that wants them comes behind. */
static void who_wants_no_receipt_gets_none(void **unused)
{
	struct subscriber *subscriber;
	struct publisher *publisher;

	(void)unused;
	world_begin(2, 16, &plain);
	publisher = publisher_make(0, 0);
	subscriber = subscriber_make(1, "t");
	publisher->wants_receipt = false;
	publish(publisher, 50);
	assert_int_equal(publisher->receipts_due, 0);
	publisher->wants_receipt = true;
	publish(publisher, 1);
	assert_int_equal(publisher->receipts, 1);
	assert_int_equal(subscriber->count, 51);
	assert_false(subscriber->is_out_of_order);
	subscriber_free(subscriber);
	publisher_free(publisher);
	world_end();
}

static void receipts_for_a_publisher_that_has_gone_find_nobody(void **unused)
{
	struct subscriber *subscriber;

	(void)unused;
	world_begin(2, 512, &plain);
	subscriber = subscriber_make(1, "t");
	for (unsigned i = 0; i < 50; i++) {
		struct publisher *publisher = publisher_make(0, 0);

		publisher_start(publisher, 5);
		publisher_free(publisher);
	}
	publish_last(0, "t", 5);
	assert_int_equal(subscriber->count, 251);
	subscriber_free(subscriber);
	world_end();
}

/* What a subscriber gets. */

static void the_lower_of_both_qos_is_delivered_unless_upgrading(void **unused)
{
	static const struct route_settings upgrading = {.fanout_slice = 10,
							.upgrade_outgoing_qos = true};

	(void)unused;
	for (unsigned upgrade = 0; upgrade < 2; upgrade++) {
		struct subscriber *subscriber;
		struct publisher *publisher;

		world_begin(1, 16, upgrade ? &upgrading : &plain);
		subscriber = subscriber_make(0, NULL);
		publisher = publisher_make(0, 0);
		for (uint8_t asked = 0; asked < 3; asked++) {
			subscriber->subscriptions[asked].qos = asked;
			/* Only the last of them matches. */
			subscribe(subscriber, asked, (const char *[]){"q0", "q1", "q2"}[asked]);
			publisher->topics[0] = publisher->topics[1] =
				(const char *[]){"q0", "q1", "q2"}[asked];
			for (publisher->qos = 0; publisher->qos < 3; publisher->qos++) {
				uint8_t lower = publisher->qos < asked ? publisher->qos : asked;

				publish(publisher, 1);
				assert_int_equal(subscriber->last.qos, upgrade ? asked : lower);
			}
		}
		subscriber_free(subscriber);
		publisher_free(publisher);
		world_end();
	}
}

static void overlapping_subscriptions_get_one_copy_or_one_each(void **unused)
{
	static const struct route_settings duplicates = {.fanout_slice = 10,
							 .allow_duplicate_messages = true};

	(void)unused;
	for (unsigned twice = 0; twice < 2; twice++) {
		struct publisher *publisher;
		struct subscriber *subscriber;

		world_begin(2, 16, twice ? &duplicates : &plain);
		publisher = publisher_make(0, 0);
		publisher->topics[0] = publisher->topics[1] = "a/b";
		subscriber = subscriber_make(1, NULL);
		for (unsigned i = 0; i < 3; i++) {
			subscriber->subscriptions[i].id = 5 + i;
			subscribe(subscriber, i, (const char *[]){"a/b", "a/+", "#"}[i]);
		}
		publish(publisher, 7);
		assert_int_equal(subscriber->count, twice ? 21 : 7);
		assert_int_equal(subscriber->last.id_count, twice ? 1 : 3);
		subscriber_free(subscriber);
		publisher_free(publisher);
		world_end();
	}
}

static void of_overlapping_subscriptions_those_with_no_local_do_not_count_for_oneself(void **unused)
{
	struct publisher *own, *other;
	struct subscriber *subscriber;

	(void)unused;
	world_begin(2, 16, &plain);
	subscriber = subscriber_make(0, NULL);
	subscriber->subscriptions[0].flags = SUBSCRIPTION_NO_LOCAL;
	subscriber->subscriptions[0].qos = 2;
	subscriber->subscriptions[0].id = 1;
	subscriber->subscriptions[1].qos = 1;
	subscriber->subscriptions[1].id = 2;
	subscribe(subscriber, 0, "t");
	own = publisher_make(0, 0);
	own->origin_handle = subscriber->endpoint.handle;
	own->qos = 2;
	other = publisher_make(1, 1);
	other->qos = 2;
	/* All of them have No Local. */
	publish(own, 1);
	assert_int_equal(subscriber->count, 0);
	publish(other, 1);
	assert_int_equal(subscriber->count, 1);
	/* One of two has. */
	subscribe(subscriber, 1, "+");
	publish(own, 1);
	assert_int_equal(subscriber->count, 2);
	assert_int_equal(subscriber->last.qos, 1);
	assert_int_equal(subscriber->last.id_count, 1);
	assert_int_equal(subscriber->last.ids[0], 2);
	publish(other, 1);
	assert_int_equal(subscriber->count, 3);
	assert_int_equal(subscriber->last.qos, 2);
	assert_int_equal(subscriber->last.id_count, 2);
	subscriber_free(subscriber);
	publisher_free(own);
	publisher_free(other);
	world_end();
}

static bool wants_even(const struct subscription_policy *policy, const struct message *message)
{
	uint32_t row[2];

	(void)policy;
	memcpy(row, message_payload(message).data, sizeof row);
	return row[1] % 2 == 0;
}

static void a_predicate_decides_what_its_subscription_gets(void **unused)
{
	static const struct subscription_policy even = {wants_even};
	struct publisher *publisher;
	struct subscriber *subscriber;

	(void)unused;
	world_begin(2, 16, &plain);
	publisher = publisher_make(0, 0);
	subscriber = subscriber_make(1, NULL);
	subscriber->subscriptions[0].policy = &even;
	subscribe(subscriber, 0, "t");
	publish(publisher, 10);
	assert_int_equal(subscriber->count, 5);
	subscriber_free(subscriber);
	publisher_free(publisher);
	world_end();
}

/* Order and credits. */

static void check_all_in_order(struct subscriber **subscribers, unsigned count,
			       const uint32_t *from_each)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t all = 0;

		for (unsigned p = 0; p < PUBLISHERS; p++) {
			assert_int_equal(subscribers[i]->next[p], from_each[p]);
			all += from_each[p];
		}
		assert_int_equal(subscribers[i]->count, all);
		assert_false(subscribers[i]->is_out_of_order);
	}
}

/* Both post all the time, and each can only go on when the other gives letters back. */
static void two_workers_that_flood_each_other_with_four_credits_lose_nothing(void **unused)
{
	const uint32_t count = RECEIPTS_MAX;
	struct subscriber *subscribers[4];
	struct publisher *publishers[4];

	(void)unused;
	world_begin(2, 4, &plain);
	for (uint16_t i = 0; i < 4; i++) {
		subscribers[i] = subscriber_make(i % 2, "t");
		publishers[i] = publisher_make(i % 2, i);
		publishers[i]->wants_receipt = i < 2;
	}
	for (unsigned round = 1; round <= 4; round++) {
		for (unsigned i = 0; i < 4; i++)
			publisher_start(publishers[i], count);
		for (unsigned i = 0; i < 4; i++)
			assert_true(latch_wait(&publishers[i]->done));
	}
	assert_true(publishers[0]->parked > 0 && publishers[1]->parked > 0);
	/* Their last publications have to arrive as well: one behind them that is answered. */
	for (unsigned i = 2; i < 4; i++) {
		publishers[i]->wants_receipt = true;
		publish(publishers[i], 1);
	}
	check_all_in_order(subscribers, 4,
			   (uint32_t[]){4 * count, 4 * count, 4 * count + 1, 4 * count + 1});
	assert_int_equal(publishers[0]->receipts, 4 * count);
	for (unsigned i = 0; i < 4; i++) {
		subscriber_free(subscribers[i]);
		publisher_free(publishers[i]);
	}
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_other_worker_with_subscribers_gives_one_receipt),
		cmocka_unit_test(who_wants_no_receipt_gets_none),
		cmocka_unit_test(receipts_for_a_publisher_that_has_gone_find_nobody),
		cmocka_unit_test(the_lower_of_both_qos_is_delivered_unless_upgrading),
		cmocka_unit_test(overlapping_subscriptions_get_one_copy_or_one_each),
		cmocka_unit_test(
			of_overlapping_subscriptions_those_with_no_local_do_not_count_for_oneself),
		cmocka_unit_test(a_predicate_decides_what_its_subscription_gets),
		cmocka_unit_test(two_workers_that_flood_each_other_with_four_credits_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
