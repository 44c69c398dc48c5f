/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "session/outgoing.h"

#define LIMIT 65535u

static struct queue *queue;
static struct window *window;

/* Item number n: its message's payload is n. Holds a use of it. */
static struct outgoing item(uint32_t n, uint8_t qos)
{
	struct message *message =
		message_create(NULL, &(struct message_content){.topic = slice_from_string("a/b"),
							       .payload = slice_of(&n, sizeof n)});
	const struct delivery delivery = {.message = message, .qos = qos};
	struct outgoing out;

	assert_non_null(message);
	assert_int_equal(outgoing_init(NULL, &out, &delivery), ERR_NONE);
	message_drop(NULL, &message);
	return out;
}

static uint32_t number_of(const struct outgoing *out)
{
	uint32_t n;

	memcpy(&n, message_payload(out->message).data, sizeof n);
	return n;
}

/* The number of an item that is not needed any more. */
static uint32_t finish_item(struct outgoing out)
{
	uint32_t n = number_of(&out);

	outgoing_fini(NULL, &out);
	return n;
}

static int begin(void **unused)
{
	(void)unused;
	queue = calloc(1, sizeof *queue);
	return queue == NULL;
}

static int finish(void **unused)
{
	(void)unused;
	while (queue->count)
		finish_item(queue_pop(queue));
	assert_int_equal(queue->bytes, 0);
	assert_int_equal(queue->qos0_count, 0);
	queue_free(&queue);
	for (struct window_slot *slot; (slot = window_first(window)) != NULL;)
		finish_item(window_remove(window, slot));
	assert_true(!window || (window->bytes == 0 && window->on_wire == 0));
	window_free(&window);
	assert_int_equal(memory_used(MEMORY_QUEUE), 0);
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
	return 0;
}

static void push(uint32_t n, uint8_t qos)
{
	struct outgoing out = item(n, qos);

	assert_int_equal(queue_push_take(queue, &out), ERR_NONE);
}

/* What a delivery lends is copied. */

static void identifiers_are_copied(void **unused)
{
	struct message *message =
		message_create(NULL, &(struct message_content){.topic = slice_from_string("t")});
	uint32_t ids[3] = {7, 8, 9};
	struct delivery delivery = {.message = message,
				    .qos = 1,
				    .retain = true,
				    .subscription_ids = ids};
	struct outgoing out;

	(void)unused;
	for (uint16_t count = 0; count <= 3; count++) {
		ids[0] = 7;
		delivery.subscription_id_count = count;
		assert_int_equal(outgoing_init(NULL, &out, &delivery), ERR_NONE);
		ids[0] = 0;
		assert_int_equal(out.id_count, count);
		assert_int_equal(out.flags, OUTGOING_RETAIN);
		for (uint16_t i = 0; i < count; i++)
			assert_int_equal(outgoing_ids(&out)[i], 7 + i);
		outgoing_fini(NULL, &out);
		assert_null(out.message);
	}
	message_drop(NULL, &message);
}

/* Queue. */

static void an_empty_queue_has_no_head(void **unused)
{
	(void)unused;
	assert_null(queue_head(queue));
	assert_null(queue_head(NULL));
}

static void the_queue_gives_back_in_order_while_it_wraps_and_grows(void **unused)
{
	uint32_t in = 0, out = 0;

	(void)unused;
	/* Three in, two out: the head goes round while the ring grows. */
	for (int round = 0; round < 500; round++) {
		for (uint8_t qos = 0; qos < 3; qos++)
			push(in++, qos);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(number_of(queue_head(queue)), out);
			assert_int_equal(finish_item(queue_pop(queue)), out++);
		}
		assert_int_equal(queue->count, in - out);
		for (uint32_t i = 0; i < queue->count; i += 7)
			assert_int_equal(number_of(queue_at(queue, i)), out + i);
	}
	while (queue->count)
		assert_int_equal(finish_item(queue_pop(queue)), out++);
	assert_int_equal(out, in);
}

static void a_queue_that_was_long_and_is_empty_holds_no_memory(void **unused)
{
	(void)unused;
	for (uint32_t n = 0; n < 1000; n++)
		push(n, 1);
	for (uint32_t n = 0; n < 1000; n++)
		assert_int_equal(finish_item(queue_pop(queue)), n);
	assert_int_equal(memory_used(MEMORY_QUEUE), 0);
	push(1, 1);
	assert_int_equal(number_of(queue_head(queue)), 1);
}

static void the_queue_counts_bytes_and_qos_0(void **unused)
{
	(void)unused;
	push(1, 0);
	push(2, 1);
	push(3, 0);
	assert_int_equal(queue->qos0_count, 2);
	assert_int_equal(queue->bytes, 3 * (3 + sizeof(uint32_t)));
	finish_item(queue_pop(queue));
	assert_int_equal(queue->qos0_count, 1);
	assert_int_equal(queue->bytes, 2 * (3 + sizeof(uint32_t)));
}

static void removal_in_the_middle_keeps_the_order_of_the_others(void **unused)
{
	static const uint32_t left[] = {3, 5, 7, 8, 10};

	(void)unused;
	/* The ring wraps: five go before. */
	for (uint32_t n = 0; n < 5; n++) {
		push(100, 1);
		finish_item(queue_pop(queue));
	}
	for (uint32_t n = 2; n <= 10; n++)
		push(n, 1);
	assert_int_equal(finish_item(queue_remove(queue, 4)), 6);
	assert_int_equal(finish_item(queue_remove(queue, 0)), 2);
	assert_int_equal(finish_item(queue_remove(queue, 1)), 4);
	assert_int_equal(finish_item(queue_remove(queue, 4)), 9);
	assert_int_equal(queue->count, 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(finish_item(queue_pop(queue)), left[i]);
}

/* Window. */

static struct window_slot *add(uint32_t n)
{
	struct outgoing out = item(n, 1);
	struct window_slot *slot = window_add_take(&window, &out, LIMIT);

	assert_non_null(slot);
	assert_int_equal(slot->state, WINDOW_SENT);
	return slot;
}

static void check_order(const uint32_t *numbers, uint32_t count)
{
	struct window_slot *slot = window_first(window);
	uint32_t before = WINDOW_NONE;

	assert_int_equal(window ? window->count : 0, count);
	for (uint32_t i = 0; i < count; i++) {
		assert_non_null(slot);
		assert_int_equal(number_of(&slot->out), numbers[i]);
		assert_int_equal(slot->prev, before);
		assert_ptr_equal(window_find(window, slot->packet_id), slot);
		before = (uint32_t)(slot - window->slots);
		slot = window_next(window, slot);
	}
	assert_null(slot);
}

static void an_empty_window_finds_nothing(void **unused)
{
	(void)unused;
	assert_null(window_first(window));
	assert_null(window_find(window, 1));
	add(1);
	assert_null(window_find(window, 2));
	/* Another identifier with the same slot. */
	assert_null(window_find(window, (uint16_t)(window_first(window)->packet_id + window->cap)));
}

static void packet_identifiers_begin_at_1_and_rise(void **unused)
{
	(void)unused;
	for (uint16_t id = 1; id <= 100; id++) {
		struct window_slot *slot = add(id);

		assert_int_equal(slot->packet_id, id);
		finish_item(window_remove(window, slot));
	}
}

static void zero_is_never_an_identifier(void **unused)
{
	(void)unused;
	for (uint32_t n = 0; n < 140000; n++) {
		struct window_slot *slot = add(n);

		assert_int_not_equal(slot->packet_id, 0);
		finish_item(window_remove(window, slot));
	}
	assert_int_equal(window->cap, 8); /* it never held more than one */
}

static void an_identifier_in_use_is_not_given_again(void **unused)
{
	uint16_t kept[3];

	(void)unused;
	for (uint32_t i = 0; i < 3; i++)
		kept[i] = add(i)->packet_id;
	/* Once round all identifiers. */
	for (uint32_t n = 0; n < 70000; n++) {
		struct window_slot *slot = add(1000 + n);

		for (uint32_t i = 0; i < 3; i++)
			assert_int_not_equal(slot->packet_id, kept[i]);
		finish_item(window_remove(window, slot));
	}
	check_order((uint32_t[]){0, 1, 2}, 3);
}

static void the_window_keeps_the_order_of_sending_while_it_grows(void **unused)
{
	static uint32_t numbers[2000];

	(void)unused;
	for (uint32_t n = 0; n < 2000; n++) {
		numbers[n] = n;
		add(n);
	}
	check_order(numbers, 2000);
	assert_true(window->cap >= 4000);
}

static void removal_in_the_middle_of_the_window_keeps_the_order(void **unused)
{
	uint16_t ids[6];

	(void)unused;
	for (uint32_t n = 0; n < 6; n++)
		ids[n] = add(n)->packet_id;
	assert_int_equal(finish_item(window_remove(window, window_find(window, ids[2]))), 2);
	check_order((uint32_t[]){0, 1, 3, 4, 5}, 5);
	assert_int_equal(finish_item(window_remove(window, window_find(window, ids[0]))), 0);
	assert_int_equal(finish_item(window_remove(window, window_find(window, ids[5]))), 5);
	check_order((uint32_t[]){1, 3, 4}, 3);
	assert_null(window_find(window, ids[2]));
	add(6);
	check_order((uint32_t[]){1, 3, 4, 6}, 4);
}

static void all_65535_identifiers_can_be_in_flight(void **unused)
{
	struct window_slot *slot;

	(void)unused;
	for (uint32_t n = 0; n < LIMIT; n++)
		add(n);
	assert_int_equal(window->count, LIMIT);
	for (uint32_t id = 1; id <= LIMIT; id++)
		assert_int_equal(window_find(window, (uint16_t)id)->packet_id, id);
	/* One gets free: only that identifier can be the next. */
	finish_item(window_remove(window, window_find(window, 4711)));
	slot = add(LIMIT);
	assert_int_equal(slot->packet_id, 4711);
	assert_null(window_next(window, slot));
}

static void counts_of_what_is_on_the_wire_or_unsent_follow_removal(void **unused)
{
	struct window_slot *one = add(1), *two, *three;
	size_t bytes = window->bytes;

	(void)unused;
	one->is_on_wire = true;
	window->on_wire++;
	two = add(2);
	two->state = WINDOW_UNSENT;
	three = add(3);
	three->state = WINDOW_RELEASE_UNSENT;
	window->unsent = 2;
	assert_int_equal(window->bytes, 3 * bytes);
	finish_item(window_remove(window, three));
	assert_int_equal(window->unsent, 1);
	finish_item(window_remove(window, two));
	assert_int_equal(window->unsent, 0);
	assert_int_equal(window->on_wire, 1);
	finish_item(window_remove(window, one));
	assert_int_equal(window->on_wire, 0);
	assert_int_equal(window->bytes, 0);
}

/* The same against a plain array in the order of sending. */
static void random_acknowledgements_agree_with_a_plain_array(void **unused)
{
	static uint32_t numbers[512];
	static uint16_t ids[512];
	uint32_t count = 0, next = 0;

	(void)unused;
	srand(17);
	for (int step = 0; step < 100000; step++) {
		if (count < 512 && (count == 0 || rand() % 100 < (step / 20000 % 2 ? 70 : 40))) {
			numbers[count] = next;
			ids[count++] = add(next++)->packet_id;
		} else {
			uint32_t i = (uint32_t)rand() % count;

			assert_int_equal(finish_item(window_remove(window,
								   window_find(window, ids[i]))),
					 numbers[i]);
			memmove(numbers + i, numbers + i + 1, (--count - i) * sizeof *numbers);
			memmove(ids + i, ids + i + 1, (count - i) * sizeof *ids);
		}
		if (step % 1000 == 0)
			check_order(numbers, count);
	}
	check_order(numbers, count);
}

static void what_waits_for_the_store_is_counted_apart(void **unused)
{
	struct window_slot *slot = add(1);

	(void)unused;
	window_hold(window, slot, WINDOW_UNSENT, WINDOW_HOLDS_PUBLISH);
	assert_int_equal(window->unsent, 1);
	assert_int_equal(window->held, 1);
	assert_int_equal(window->held_publish, 1);
	window_hold(window, slot, WINDOW_RELEASE_UNSENT, WINDOW_HOLDS_PUBREL);
	assert_int_equal(window->unsent, 1);
	assert_int_equal(window->held, 1);
	assert_int_equal(window->held_publish, 0);
	window_unhold(window, slot);
	assert_int_equal(window->held, 0);
	assert_int_equal(window->unsent, 1);
	window_hold(window, slot, WINDOW_UNSENT, WINDOW_HOLDS_PUBLISH);
	assert_int_equal(finish_item(window_remove(window, slot)), 1);
	assert_int_equal(window->held + window->held_publish + window->unsent, 0);
}

static void identifiers_of_before_a_restart_stand_where_they_were(void **unused)
{
	static const uint16_t ids[] = {65535, 8, 16, 300};
	struct outgoing out = item(9, 2), again = item(10, 2);
	struct outgoing released = {.qos = 2};

	(void)unused;
	assert_non_null(window_restore_take(&window, &out, ids[0], WINDOW_UNSENT));
	for (unsigned i = 1; i < 4; i++)
		assert_non_null(
			window_restore_take(&window, &released, ids[i], WINDOW_RELEASE_UNSENT));
	assert_null(window_restore_take(&window, &again, 300, WINDOW_UNSENT));
	finish_item(again);
	assert_int_equal(window->unsent, 4);
	assert_int_equal(window_first(window)->packet_id, 65535);
	for (unsigned i = 1; i < 4; i++)
		window_remove(window, window_find(window, ids[i]));
	assert_int_equal(add(11)->packet_id, 301);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(identifiers_are_copied),
		CASE(an_empty_queue_has_no_head),
		CASE(the_queue_gives_back_in_order_while_it_wraps_and_grows),
		CASE(a_queue_that_was_long_and_is_empty_holds_no_memory),
		CASE(the_queue_counts_bytes_and_qos_0),
		CASE(removal_in_the_middle_keeps_the_order_of_the_others),
		CASE(an_empty_window_finds_nothing),
		CASE(packet_identifiers_begin_at_1_and_rise),
		CASE(zero_is_never_an_identifier),
		CASE(an_identifier_in_use_is_not_given_again),
		CASE(the_window_keeps_the_order_of_sending_while_it_grows),
		CASE(removal_in_the_middle_of_the_window_keeps_the_order),
		CASE(all_65535_identifiers_can_be_in_flight),
		CASE(counts_of_what_is_on_the_wire_or_unsent_follow_removal),
		CASE(what_waits_for_the_store_is_counted_apart),
		CASE(identifiers_of_before_a_restart_stand_where_they_were),
		CASE(random_acknowledgements_agree_with_a_plain_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
