/* SPDX-License-Identifier: Apache-2.0 */
/* test_store.c - the contract of store.h, the same for each implementation. */
#include "store_fixture.h"

static uint64_t numbers[16];

static void post_sessions(struct worker *me, void *unused)
{
	struct store_subscription subscription = {.text = SLICE_LITERAL("plant/+/temp"),
						  .subscription_id = 7,
						  .qos = 1};
	struct message *testament = say(me, "gone", "farewell");
	struct store_will will = {.message = testament, .delay_s = 30};

	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	put_session(me, 2, "beta", STORE_SESSION);
	put_session(me, 3, "group", STORE_GROUP);
	store_subscription_put(me, 1, &subscription);
	subscription.text = SLICE_LITERAL("#");
	subscription.qos = 2;
	store_subscription_put(me, 1, &subscription);
	store_will_put(me, 1, &will);
	store_received_add(me, 1, 11);
	store_received_add(me, 1, 12);
	store_received_remove(me, 1, 11);
	message_drop(me, &testament);
}

static void change_sessions(struct worker *me, void *unused)
{
	struct store_session session = {.kind = STORE_SESSION,
					.name = SLICE_LITERAL("alpha"),
					.offline_ms = 1700000001000,
					.expiry_s = 60};

	(void)unused;
	store_session_put(me, 1, &session);
	store_subscription_remove(me, 1, SLICE_LITERAL("#"));
	store_will_remove(me, 1);
	store_session_remove(me, 2);
}

static void sessions_and_what_belongs_to_them_are_there_again(void **unused)
{
	(void)unused;
	shop_open();
	assert_int_equal(shop.line_count, 0);
	on_worker(0, post_sessions, NULL);
	settle();
	shop_reopen();
	expect_lines("session 1 alpha user ada expiry 3600 offline no", 1);
	expect_lines("session 2 beta", 1);
	expect_lines("group 3 group", 1);
	expect_lines("subscription 1 plant/+/temp qos 1 id 7", 1);
	expect_lines("subscription 1 # qos 2 id 7", 1);
	expect_lines("will 1 farewell delay 30", 1);
	expect_lines("received 1 12", 1);
	assert_int_equal(shop.line_count, 7);
	on_worker(1, change_sessions, NULL);
	settle();
	shop_reopen();
	expect_lines("session 1 alpha user  expiry 60 offline yes", 1);
	expect_lines("subscription 1 plant/+/temp", 1);
	expect_lines("received 1 12", 1);
	expect_lines("group 3 group", 1);
	assert_int_equal(shop.line_count, 4);
	assert_true(store_new_id(shop.store) > 3);
}

static void post_messages(struct worker *me, void *unused)
{
	uint32_t ids[] = {5, 6, 70000};
	struct store_delivery delivery = {.qos = 2,
					  .retain = true,
					  .subscription_ids = ids,
					  .subscription_id_count = 3};
	struct message *first = say(me, "a/b", "first"), *second = say(me, "a/b", "second");

	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	put_session(me, 2, "beta", STORE_SESSION);
	numbers[0] = queue_qos(me, 1, first, 1);
	numbers[1] = store_queue(me, 2, first, &delivery);
	numbers[2] = queue_qos(me, 1, second, 1);
	numbers[3] = queue_qos(me, 2, second, 1);
	CHECK(numbers[0] && numbers[0] < numbers[2] && numbers[1] < numbers[3]);
	message_drop(me, &first);
	message_drop(me, &second);
}

static void first_is_done(struct worker *me, void *unused)
{
	(void)unused;
	store_done(me, 1, numbers[0]);
	store_done(me, 2, numbers[3]);
	store_done(me, 2, 4711);
	store_done(me, 4711, 1);
}

static void messages_wait_for_each_session_in_their_order(void **unused)
{
	unsigned first = 0, second = 0;

	(void)unused;
	shop_open();
	on_worker(0, post_messages, NULL);
	settle();
	shop_reopen();
	expect_lines("message 1 a/b=first qos 1 ids 0 flight 0 as 0", 1);
	expect_lines("message 2 a/b=first qos 2 retain ids 3", 1);
	expect_lines("message 1 a/b=second qos 1", 1);
	expect_lines("message 2 a/b=second qos 1", 1);
	for (unsigned i = 0; i < shop.line_count; i++) {
		if (strstr(shop.lines[i], "message 1 a/b=first"))
			first = i;
		if (strstr(shop.lines[i], "message 1 a/b=second"))
			second = i;
	}
	assert_true(first < second);
	on_worker(1, first_is_done, NULL);
	settle();
	shop_reopen();
	expect_lines("message 1 a/b=second", 1);
	expect_lines("message 2 a/b=first", 1);
	expect_lines("message", 2);
}

static void post_flights(struct worker *me, void *unused)
{
	struct message *one = say(me, "t", "one"), *two = say(me, "t", "two");
	struct message *three = say(me, "t", "three");

	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	numbers[0] = queue_qos(me, 1, one, 2);
	numbers[1] = queue_qos(me, 1, two, 2);
	numbers[2] = queue_qos(me, 1, three, 1);
	store_inflight(me, 1, numbers[0], 100, STORE_SENT, 2);
	store_inflight(me, 1, numbers[1], 101, STORE_SENT, 2);
	store_inflight(me, 1, numbers[2], 102, STORE_SENT, 1);
	store_inflight(me, 1, numbers[0], 100, STORE_RELEASED, 2);
	message_drop(me, &one);
	message_drop(me, &two);
	message_drop(me, &three);
}

static void flight_is_over(struct worker *me, void *unused)
{
	(void)unused;
	store_done(me, 1, numbers[0]);
	store_inflight(me, 1, numbers[1], 101, STORE_RELEASED, 2);
}

static void what_is_in_flight_keeps_its_packet_identifier(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_flights, NULL);
	settle();
	shop_reopen();
	expect_lines("released 1 as 100", 1);
	expect_lines("message 1 t=two qos 2 ids 0 flight 1 as 101", 1);
	expect_lines("message 1 t=three qos 1 ids 0 flight 1 as 102", 1);
	expect_lines("message", 2);
	on_worker(1, flight_is_over, NULL);
	settle();
	shop_reopen();
	expect_lines("released 1 as 101", 1);
	expect_lines("released", 1);
	expect_lines("message 1 t=three qos 1 ids 0 flight 1 as 102", 1);
	expect_lines("message", 1);
}

#define FLIGHTS 40

static uint64_t flight_numbers[FLIGHTS];

/* Every second one is sent at once, two in three of all later, the last first. */
static void post_many_flights(struct worker *me, void *unused)
{
	uint32_t ids[] = {5, 70000};
	struct store_delivery delivery = {.qos = 1,
					  .subscription_ids = ids,
					  .subscription_id_count = 2};
	char text[16];

	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	for (int i = 0; i < FLIGHTS; i++) {
		struct message *message;

		snprintf(text, sizeof text, "m%02d", i);
		message = say(me, "t", text);
		flight_numbers[i] = store_queue(me, 1, message, &delivery);
		if (i % 2 == 0)
			store_inflight(me, 1, flight_numbers[i], (uint16_t)(100 + i), STORE_SENT,
				       1);
		message_drop(me, &message);
	}
	for (int i = FLIGHTS - 1; i > 0; i -= 2)
		if (i % 3)
			store_inflight(me, 1, flight_numbers[i], (uint16_t)(100 + i), STORE_SENT,
				       1);
}

/* From the front, the middle and the end; what is over is given no identifier any more. */
static void some_flights_are_over(struct worker *me, void *unused)
{
	(void)unused;
	for (int i = 0; i < FLIGHTS; i++)
		if (i < 5 || i % 7 == 0 || i == FLIGHTS - 1) {
			store_done(me, 1, flight_numbers[i]);
			store_inflight(me, 1, flight_numbers[i], 999, STORE_SENT, 1);
		}
}

static void many_flights_begin_and_end_in_any_order(void **unused)
{
	char line[64];
	unsigned left = 0;

	(void)unused;
	shop_open();
	on_worker(0, post_many_flights, NULL);
	on_worker(0, some_flights_are_over, NULL);
	settle();
	shop_reopen();
	for (int i = 0; i < FLIGHTS; i++) {
		bool is_over = i < 5 || i % 7 == 0 || i == FLIGHTS - 1;
		bool is_sent = i % 2 == 0 || i % 3;

		snprintf(line, sizeof line, "message 1 t=m%02d qos 1 ids 2 flight %d as %d", i,
			 is_sent, is_sent ? 100 + i : 0);
		expect_lines(line, !is_over);
		left += !is_over;
	}
	expect_lines("message", left);
}

static void retain(struct worker *me, const char *topic, const char *payload, uint64_t version)
{
	struct message *message = say(me, topic, payload);

	message->retained_version = version;
	store_retained_put(me, message);
	message_drop(me, &message);
}

static void post_retained(struct worker *me, void *unused)
{
	(void)unused;
	retain(me, "x", "new", 9);
	retain(me, "x", "old", 8);
	retain(me, "y", "value", 3);
	retain(me, "gone", "value", 4);
	retain(me, "z", "value", 5);
}

static void remove_retained(struct worker *me, void *unused)
{
	(void)unused;
	retain(me, "gone", "", 6);
	store_retained_remove(me, SLICE_LITERAL("z"), 5);
	retain(me, "y", "older", 2);
}

static void retain_late(struct worker *me, void *unused)
{
	(void)unused;
	retain(me, "gone", "late", 5);
	retain(me, "z", "again", 6);
}

static void the_retained_message_with_the_highest_version_stays(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_retained, NULL);
	settle();
	on_worker(1, remove_retained, NULL);
	settle();
	on_worker(0, retain_late, NULL);
	settle();
	shop_reopen();
	expect_lines("retained x=new version 9", 1);
	expect_lines("retained y=value version 3", 1);
	expect_lines("retained z=again version 6", 1);
	expect_lines("retained", 3);
	assert_true(store_retained_version(shop.store) >= 9);
}

static void post_group(struct worker *me, void *unused)
{
	struct message *message = say(me, "work", "item");

	(void)unused;
	put_session(me, 1, "member", STORE_SESSION);
	put_session(me, 9, "group", STORE_GROUP);
	numbers[0] = queue_qos(me, 9, message, 2);
	message_drop(me, &message);
}

static void take_over(struct worker *me, void *unused)
{
	struct message *message = say(me, "work", "item");
	struct store_delivery delivery = {.qos = 2, .from_id = 9, .from_number = numbers[0]};

	(void)unused;
	numbers[1] = store_queue(me, 1, message, &delivery);
	store_inflight(me, 1, numbers[1], 77, STORE_SENT, 2);
	message_drop(me, &message);
}

static void a_message_moves_from_a_group_to_its_member(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_group, NULL);
	settle();
	on_worker(1, take_over, NULL);
	settle();
	shop_reopen();
	expect_lines("message 1 work=item qos 2 ids 0 flight 1 as 77", 1);
	expect_lines("message", 1);
}

static void post_held(struct worker *me, void *unused)
{
	struct message *message = say(me, "once", "only");
	struct store_delivery delivery = {.qos = 2, .origin_id = 1, .origin_packet_id = 5};

	(void)unused;
	numbers[0] = store_queue(me, 2, message, &delivery);
	message_drop(me, &message);
}

static void post_two_sessions(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 1, "publisher", STORE_SESSION);
	put_session(me, 2, "receiver", STORE_SESSION);
}

static void post_origin(struct worker *me, void *unused)
{
	(void)unused;
	store_received_add(me, 1, 5);
}

static void put_third(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 4, "third", STORE_SESSION);
}

static bool zero_is_committed(void)
{
	return is_committed(0);
}

static void a_publication_at_qos_2_waits_for_its_origin(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_two_sessions, NULL);
	settle();
	on_worker(1, post_held, NULL);
	wait_until_left(1);
	on_worker(0, put_third, NULL);
	assert_true(wait_for(zero_is_committed));
	assert_false(is_committed(1));
	shop_reopen();
	/* The broker stopped before: it was not answered, and is not there. */
	expect_lines("session 4 third", 1);
	expect_lines("message", 0);
	on_worker(1, post_held, NULL);
	wait_until_left(1);
	on_worker(0, post_origin, NULL);
	settle();
	shop_reopen();
	expect_lines("message 2 once=only", 1);
	expect_lines("received 1 5", 1);
}

/* Origins that are long in coming: each worker is asked which of them will. */

static bool origin_comes; /* atomic */

static void name_origins(struct worker *me)
{
	if (!store_asks_for_origins(me))
		return;
	if (me->id == 0 && __atomic_load_n(&origin_comes, __ATOMIC_ACQUIRE))
		store_origin_comes(me, 1, 5);
	store_origins_named(me);
}

static void begin_to_name(struct worker *me, void *unused)
{
	(void)unused;
	store_set_hook(me, name_origins);
}

static bool was_asked_often(void)
{
	return __atomic_load_n(&shop.store->question, __ATOMIC_ACQUIRE) >= 4;
}

static bool was_asked(void)
{
	return __atomic_load_n(&shop.store->question, __ATOMIC_ACQUIRE) > 0;
}

static void hold_what_is_long_in_coming(void)
{
	shop.origin_wait_ms = 20;
	shop_open();
	for (uint16_t i = 0; i < shop.workers; i++)
		on_worker(i, begin_to_name, NULL);
	on_worker(0, post_two_sessions, NULL);
	settle();
	on_worker(1, post_held, NULL);
	wait_until_left(1);
}

static void an_origin_that_will_come_is_waited_for_however_long(void **unused)
{
	(void)unused;
	__atomic_store_n(&origin_comes, true, __ATOMIC_RELEASE);
	hold_what_is_long_in_coming();
	assert_true(wait_for(was_asked_often));
	assert_false(is_committed(1));
	on_worker(0, post_origin, NULL);
	settle();
	shop_reopen();
	expect_lines("message 2 once=only", 1);
	expect_lines("received 1 5", 1);
}

static void an_origin_that_nobody_has_is_waited_for_no_longer(void **unused)
{
	(void)unused;
	__atomic_store_n(&origin_comes, false, __ATOMIC_RELEASE);
	hold_what_is_long_in_coming();
	settle();
	shop_reopen();
	expect_lines("message 2 once=only", 1);
	expect_lines("received", 0);
}

static void wait_for_latch(struct worker *me, void *latch)
{
	(void)me;
	CHECK(latch_wait(latch));
}

static void while_a_worker_does_not_answer_its_origins_may_come(void **unused)
{
	struct latch latch = LATCH(1);

	(void)unused;
	__atomic_store_n(&origin_comes, true, __ATOMIC_RELEASE);
	hold_what_is_long_in_coming();
	run_on(runtime_worker(shop.runtime, 0), wait_for_latch, &latch);
	assert_true(wait_for(was_asked));
	usleep(200000); /* many looks */
	assert_false(is_committed(1));
	__atomic_store_n(&origin_comes, false, __ATOMIC_RELEASE);
	latch_pass(&latch);
	settle();
}

static void post_held_group(struct worker *me, void *unused)
{
	struct message *message = say(me, "work", "once");
	struct store_delivery delivery = {.qos = 2, .origin_id = 1, .origin_packet_id = 5};

	(void)unused;
	numbers[0] = store_queue(me, 9, message, &delivery);
	message_drop(me, &message);
}

static void post_publisher_and_group(struct worker *me, void *unused)
{
	(void)unused;
	put_session(me, 1, "publisher", STORE_SESSION);
	put_session(me, 2, "member", STORE_SESSION);
	put_session(me, 9, "group", STORE_GROUP);
}

static void member_takes_over(struct worker *me, void *unused)
{
	struct message *message = say(me, "work", "once");
	struct store_delivery delivery = {.qos = 2, .from_id = 9, .from_number = numbers[0]};

	(void)unused;
	numbers[1] = store_queue(me, 2, message, &delivery);
	store_inflight(me, 2, numbers[1], 77, STORE_SENT, 2);
	message_drop(me, &message);
}

/* Were the member's part committed first, a crash would let the publisher send it once more. */
static void what_moves_waits_for_the_origin_too(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_publisher_and_group, NULL);
	settle();
	on_worker(0, post_held_group, NULL);
	wait_until_left(0);
	on_worker(1, member_takes_over, NULL);
	wait_until_left(1);
	usleep(20000);
	assert_false(is_committed(1));
	shop_reopen();
	expect_lines("message", 0);
	on_worker(0, post_held_group, NULL);
	wait_until_left(0);
	on_worker(1, member_takes_over, NULL);
	wait_until_left(1);
	on_worker(0, post_origin, NULL);
	settle();
	shop_reopen();
	expect_lines("message 2 work=once qos 2 ids 0 flight 1 as 77", 1);
	expect_lines("message", 1);
	expect_lines("received 1 5", 1);
}

/* Wills on their way: id 7, from session 1 of worker 0 to session 2 of worker 1. */

static void put_will(struct worker *me, void *id)
{
	struct message *testament = say(me, "gone", "farewell");

	store_will_put(me, *(uint64_t *)id, &(struct store_will){.message = testament});
	message_drop(me, &testament);
}

static uint64_t ids[] = {1, 7};

static void post_mortal(struct worker *me, void *unused)
{
	post_two_sessions(me, unused);
	put_will(me, &ids[0]);
}

static void will_departs(struct worker *me, void *unused)
{
	(void)unused;
	store_will_remove(me, 1);
	put_session(me, 7, "publisher", STORE_WILL);
	put_will(me, &ids[1]);
}

static void queue_will(struct worker *me, void *unused)
{
	struct message *message = say(me, "gone", "farewell");
	struct store_delivery delivery = {.qos = 1, .origin_id = 7};

	(void)unused;
	store_queue(me, 2, message, &delivery);
	message_drop(me, &message);
}

static void publisher_ends(struct worker *me, void *unused)
{
	(void)unused;
	store_session_remove(me, 1);
}

static void will_is_sent(struct worker *me, void *unused)
{
	struct store_worker *mine = store_worker_of(me);

	(void)unused;
	store_will_sent(me, 7);
	/* Not alone in a ring, where it would be committed before what waits for it. */
	CHECK(!mine->ring || mine->is_outside);
}

static void expect_departing(void)
{
	expect_lines("departing 7 publisher", 1);
	expect_lines("will 7 farewell", 1);
	expect_lines("will", 1);
	expect_lines("message", 0);
}

static void a_will_is_there_until_all_have_it_and_not_longer(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_mortal, NULL);
	settle();
	on_worker(0, will_departs, NULL);
	wait_until_left(0);
	on_worker(1, queue_will, NULL);
	wait_until_left(1);
	/* Its session may end; what was queued waits for the receipts all the same. */
	on_worker(0, publisher_ends, NULL);
	assert_true(wait_for(zero_is_committed));
	assert_false(is_committed(1));
	shop_reopen();
	expect_lines("session 1", 0);
	expect_departing();
	on_worker(0, queue_will, NULL);
	wait_until_left(0);
	on_worker(1, queue_will, NULL);
	wait_until_left(1);
	on_worker(0, put_third, NULL);
	usleep(20000);
	assert_false(is_committed(0) || is_committed(1));
	on_worker(0, will_is_sent, NULL);
	settle();
	assert_int_equal(shop.store->ledger.held.count, 0);
	shop_reopen();
	expect_lines("departing", 0);
	expect_lines("will", 0);
	expect_lines("message 2 gone=farewell qos 1", 2);
	expect_lines("session 4 third", 1);
}

static void will_is_sent_here(struct worker *me, void *unused)
{
	will_departs(me, unused);
	store_session_remove(me, 7);
}

static void a_will_that_all_had_at_once_leaves_nothing(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_mortal, NULL);
	settle();
	on_worker(0, will_is_sent_here, NULL);
	settle();
	shop_reopen();
	expect_lines("will", 0);
	expect_lines("departing", 0);
	expect_lines("session 1", 1);
}

static void post_thousands(struct worker *me, void *unused)
{
	struct message *message = say(me, "all", "hands");

	(void)unused;
	for (uint64_t id = 1; id <= 3000; id++) {
		char name[16];

		snprintf(name, sizeof name, "c%u", (unsigned)id);
		put_session(me, id, name, STORE_SESSION);
	}
	for (uint64_t id = 1; id <= 3000; id++)
		numbers[id % 2] = queue_qos(me, id, message, 1);
	message_drop(me, &message);
}

static void most_are_done(struct worker *me, void *unused)
{
	uint64_t first = numbers[0] - 2999; /* of id 1; id 3000 has the last */

	(void)unused;
	for (uint64_t id = 1; id <= 3000; id++)
		if (id % 100)
			store_done(me, id, first + id - 1);
}

static unsigned bodies(void)
{
	struct number_slot *slot;
	unsigned live = 0;
	uint64_t cursor = 0;

	while ((slot = number_map_next(&shop.store->ledger.records, &cursor)) != NULL)
		live++;
	return live;
}

static void a_message_for_thousands_is_kept_once(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_thousands, NULL);
	settle();
	shop_reopen();
	expect_lines("message", 3000);
	/* Few records, and one body. */
	assert_in_range(bodies(), 2, 20);
	on_worker(0, most_are_done, NULL);
	settle();
	shop_reopen();
	expect_lines("message", 30);
	expect_lines("message 100 all=hands", 1);
	ledger_audit(&shop.store->ledger);
}

/* Reading back. */

static struct {
	unsigned count, calls;
	uint64_t last;
	bool has_more, failed;
	struct latch done;
} fetched;

static void on_fetched(struct worker *me, const struct store_fetched *result)
{
	CHECK(worker_current == me && result->handle == 99 && result->id == 1);
	for (unsigned i = 0; i < result->count; i++) {
		const struct store_item *item = &result->items[i];

		CHECK(item->number > fetched.last && item->message && item->delivery.qos == 1);
		CHECK(item->message->origin && item->message->origin->listener == 3);
		fetched.last = item->number;
	}
	fetched.count += result->count;
	fetched.calls++;
	fetched.has_more = result->has_more;
	fetched.failed = result->failed;
	latch_pass(&fetched.done);
}

static void fetch(struct worker *me, void *unused)
{
	struct store_fetch request = {.id = 1,
				      .after = fetched.last,
				      .max_messages = 40,
				      .max_bytes = 100000,
				      .handle = 99,
				      .done = on_fetched};

	(void)unused;
	store_fetch(me, &request);
}

static void post_hundred(struct worker *me, void *unused)
{
	char payload[16];

	(void)unused;
	put_session(me, 1, "alpha", STORE_SESSION);
	for (int i = 0; i < 100; i++) {
		struct message *message;

		snprintf(payload, sizeof payload, "%d", i);
		message = say(me, "t", payload);
		numbers[0] = queue_qos(me, 1, message, 1);
		if (i == 50)
			store_done(me, 1, numbers[0]);
		message_drop(me, &message);
	}
	memset(&fetched, 0, sizeof fetched);
	fetched.done = (struct latch)LATCH(1);
	fetch(me, NULL);
}

static void a_queue_is_read_back_in_parts(void **unused)
{
	(void)unused;
	shop_open();
	on_worker(0, post_hundred, NULL);
	assert_true(latch_wait(&fetched.done));
	assert_int_equal(fetched.count, 40);
	assert_true(fetched.has_more);
	while (fetched.has_more) {
		latch_reset(&fetched.done, 1);
		on_worker(0, fetch, NULL);
		assert_true(latch_wait(&fetched.done));
		assert_false(fetched.failed);
	}
	assert_int_equal(fetched.count, 99);
	assert_int_equal(fetched.calls, 3);
	assert_int_equal(fetched.last, numbers[0]);
}

/* Two turns, so near to each other that the writer takes the first while the second is over. */
static void fetch_and_post(struct worker *me, void *message)
{
	fetch(me, NULL);
	posting_flush(me);
	numbers[0] = queue_qos(me, 1, message, 1);
	posting_flush(me);
}

static void make_message(struct worker *me, void *out)
{
	*(struct message **)out = say(me, "t", "x");
}

static void drop_message(struct worker *me, void *message)
{
	struct message *mine = message;

	message_drop(me, &mine);
}

/* What only asks is no post: it must not say that less is committed than was before. */
static void to_ask_for_messages_takes_nothing_back(void **unused)
{
	struct message *message;

	(void)unused;
	shop_open();
	on_worker(0, post_hundred, NULL);
	assert_true(latch_wait(&fetched.done));
	settle();
	on_worker(0, make_message, &message);
	for (int i = 0; i < 50; i++) {
		latch_reset(&fetched.done, 1);
		on_worker(0, fetch_and_post, message);
		assert_true(latch_wait(&fetched.done));
		assert_true(is_committed(0) || shop.implementation != LMDB_PROCESS);
	}
	settle();
	on_worker(0, drop_message, message);
}

static bool has_asked;

static void ask_when_told(struct worker *me)
{
	if (has_asked || store_posted(me) > store_committed(me, me->id))
		return;
	has_asked = true;
	fetch(me, NULL);
}

static void post_and_be_told(struct worker *me, void *out_wants_more)
{
	struct message *message = say(me, "t", "x");

	memset(&fetched, 0, sizeof fetched);
	fetched.done = (struct latch)LATCH(1);
	has_asked = false;
	store_set_hook(me, ask_when_told);
	put_session(me, 1, "alpha", STORE_SESSION);
	queue_qos(me, 1, message, 1);
	message_drop(me, &message);
	posting_flush(me);
	*(bool *)out_wants_more = me->wants_no_sleep;
}

/* In the same turn, when the posts have left already. */
static void who_asks_when_told_that_its_posts_are_safe_is_heard(void **unused)
{
	bool wants_more = false;

	(void)unused;
	shop_open();
	on_worker(0, post_and_be_told, &wants_more);
	assert_true(wants_more || shop.implementation != LMDB_PROCESS);
	assert_true(latch_wait(&fetched.done));
	assert_int_equal(fetched.count, 1);
}

/* Without a store. */

static void without_a_store_nothing_is_kept_and_all_counts_as_committed(void **unused)
{
	struct runtime *runtime = runtime_make(1, 8);
	struct worker *worker = runtime_worker(runtime, 0);

	(void)unused;
	assert_false(store_is_open(worker));
	assert_true(store_has_room(worker));
	assert_int_equal(store_posted(worker), 0);
	assert_true(store_is_committed(worker, 0, 12));
	store_session_remove(worker, 4);
	store_done(worker, 4, 5);
	assert_int_equal(store_new_id_of(worker), 0);
	runtime_destroy(&runtime);
}

#define EACH(test) WITH(test, MEMORY), WITH(test, LMDB_DISK), WITH(test, LMDB_PROCESS)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(sessions_and_what_belongs_to_them_are_there_again),
		EACH(messages_wait_for_each_session_in_their_order),
		EACH(what_is_in_flight_keeps_its_packet_identifier),
		EACH(many_flights_begin_and_end_in_any_order),
		EACH(the_retained_message_with_the_highest_version_stays),
		EACH(a_message_moves_from_a_group_to_its_member),
		EACH(a_publication_at_qos_2_waits_for_its_origin),
		EACH(an_origin_that_will_come_is_waited_for_however_long),
		EACH(an_origin_that_nobody_has_is_waited_for_no_longer),
		EACH(while_a_worker_does_not_answer_its_origins_may_come),
		EACH(what_moves_waits_for_the_origin_too),
		EACH(a_will_is_there_until_all_have_it_and_not_longer),
		EACH(a_will_that_all_had_at_once_leaves_nothing),
		EACH(a_message_for_thousands_is_kept_once),
		EACH(a_queue_is_read_back_in_parts),
		EACH(to_ask_for_messages_takes_nothing_back),
		EACH(who_asks_when_told_that_its_posts_are_safe_is_heard),
		cmocka_unit_test(without_a_store_nothing_is_kept_and_all_counts_as_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
