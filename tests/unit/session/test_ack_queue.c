/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/memory.h"
#include "mqtt/packet.h"
#include "session/ack_queue.h"

static struct ack_queue queue;

static int finish(void **unused)
{
	(void)unused;
	ack_queue_fini(&queue);
	assert_int_equal(memory_used(MEMORY_INPUT), 0);
	queue = (struct ack_queue){0};
	return 0;
}

/* Returns the token. */
static uint64_t push(uint16_t packet_id, uint16_t waiting)
{
	struct pending_ack ack = {.packet_id = packet_id,
				  .waiting = waiting,
				  .type = PACKET_PUBACK};
	uint64_t token = ack_queue_next_token(&queue);

	assert_int_equal(ack_queue_push(&queue, &ack), ERR_NONE);
	return token;
}

/* The Packet Identifier of the head if it may leave; it then does. 0: none may. */
static uint16_t leave(void)
{
	struct pending_ack *ack = ack_queue_ready(&queue);
	uint16_t packet_id = ack ? ack->packet_id : 0;

	if (ack)
		ack_queue_pop(&queue);
	return packet_id;
}

static void an_empty_queue_lets_nothing_leave(void **unused)
{
	(void)unused;
	assert_int_equal(leave(), 0);
	assert_null(ack_queue_find(&queue, 0));
	assert_null(ack_queue_find(&queue, 1));
	assert_int_equal(ack_queue_next_token(&queue), 1);
}

static void a_queue_at_rest_takes_no_memory_and_goes_on_counting(void **unused)
{
	uint64_t first = push(1, 0);

	(void)unused;
	ack_queue_rest(&queue);
	assert_int_equal(leave(), 1);
	ack_queue_rest(&queue);
	assert_int_equal(memory_used(MEMORY_INPUT), 0);
	assert_int_equal(push(2, 0), first + 1);
	assert_int_equal(leave(), 2);
}

static void answers_leave_in_the_order_of_arrival(void **unused)
{
	uint64_t first = push(10, 1);
	uint64_t second = push(11, 0);
	uint64_t third = push(12, 2);

	(void)unused;
	assert_int_equal(leave(), 0); /* 11 is ready, but 10 was before */
	ack_queue_find(&queue, third)->waiting = 0;
	assert_int_equal(leave(), 0);
	ack_queue_find(&queue, first)->waiting = 0;
	assert_int_equal(leave(), 10);
	assert_null(ack_queue_find(&queue, first));
	assert_int_equal(ack_queue_find(&queue, second)->packet_id, 11);
	assert_int_equal(leave(), 11);
	assert_int_equal(leave(), 12);
	assert_int_equal(leave(), 0);
}

static void a_token_names_its_answer_wherever_the_ring_has_moved(void **unused)
{
	uint64_t tokens[300];

	(void)unused;
	/* The head moves, so that the ring wraps before it grows. */
	for (uint16_t i = 0; i < 11; i++) {
		push(1, 0);
		assert_int_equal(leave(), 1);
	}
	for (uint16_t i = 0; i < 300; i++) {
		tokens[i] = push((uint16_t)(1000 + i), 1);
		assert_int_equal(tokens[i], 12 + i);
	}
	for (uint16_t i = 0; i < 300; i++)
		assert_int_equal(ack_queue_find(&queue, tokens[i])->packet_id, 1000 + i);
	assert_null(ack_queue_find(&queue, tokens[299] + 1));
	assert_null(ack_queue_find(&queue, tokens[0] - 1));
	for (uint16_t i = 0; i < 300; i++) {
		ack_queue_find(&queue, tokens[i])->waiting = 0;
		assert_int_equal(leave(), 1000 + i);
		assert_null(ack_queue_find(&queue, tokens[i]));
	}
}

static void reason_codes_belong_to_the_queue(void **unused)
{
	struct pending_ack suback = {.type = PACKET_SUBACK, .code_count = 3, .waiting = 1};

	(void)unused;
	/* LeakSanitizer looks at these two: one leaves, one is still there at the end. */
	for (int i = 0; i < 2; i++) {
		suback.codes = calloc(3, 1);
		assert_int_equal(ack_queue_push(&queue, &suback), ERR_NONE);
	}
	ack_queue_pop(&queue);
	assert_int_equal(ack_queue_count(&queue), 1);
}

static uint16_t next_id(uint16_t id)
{
	return id == 65535 ? 1 : (uint16_t)(id + 1);
}

/* Receipts come in any order; what leaves has to come in the order of arrival. */
static void random_receipts_never_change_the_order(void **unused)
{
	uint16_t last_in = 0, last_out = 0;

	(void)unused;
	srand(99);
	for (int step = 0; step < 100000; step++) {
		if (ack_queue_count(&queue) < 500 && rand() % 2)
			push(last_in = next_id(last_in), (uint16_t)(rand() % 3));
		if (ack_queue_count(&queue)) {
			uint64_t token =
				queue.first_token + 1 + (unsigned)rand() % ack_queue_count(&queue);
			struct pending_ack *ack = ack_queue_find(&queue, token);

			assert_non_null(ack);
			if (ack->waiting)
				ack->waiting--;
		}
		while (ack_queue_ready(&queue)) {
			last_out = next_id(last_out);
			assert_int_equal(leave(), last_out);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(an_empty_queue_lets_nothing_leave, finish),
		cmocka_unit_test_teardown(a_queue_at_rest_takes_no_memory_and_goes_on_counting,
					  finish),
		cmocka_unit_test_teardown(answers_leave_in_the_order_of_arrival, finish),
		cmocka_unit_test_teardown(a_token_names_its_answer_wherever_the_ring_has_moved,
					  finish),
		cmocka_unit_test_teardown(reason_codes_belong_to_the_queue, finish),
		cmocka_unit_test_teardown(random_receipts_never_change_the_order, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
