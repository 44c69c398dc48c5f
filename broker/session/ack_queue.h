/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ack_queue.h - acknowledgements that wait for others before they may leave, in order of arrival.
 *
 *	head [PUBACK 7, waits for 2][PUBACK 8, ready][SUBACK 9, waits for 1] tail
 *
 * An entry is named by its token, a number that rises; receipts carry it. Owner: the client.
 */
#ifndef NIGHTJAR_SESSION_ACK_QUEUE_H
#define NIGHTJAR_SESSION_ACK_QUEUE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct pending_ack {
	uint8_t *codes; /* SUBACK, UNSUBACK: owned; else NULL */
	uint32_t code_count;
	uint32_t waiting; /* receipts that have to come first */
	uint16_t packet_id;
	uint8_t type;	     /* enum packet_type */
	uint8_t reason_code; /* PUBACK, PUBREC */
};

struct ack_ring {
	uint32_t head, count, cap; /* cap: a power of two */
	struct pending_ack entries[];
};

/* Part of every client, most of which never have an answer that waits. */
struct ack_queue {
	struct ack_ring *ring; /* NULL: empty */
	uint64_t first_token;  /* of the head; tokens begin at 1 */
};

static inline uint32_t ack_queue_count(const struct ack_queue *queue)
{
	return queue->ring ? queue->ring->count : 0;
}

/* The token that the next ack_queue_push() gives. */
static inline uint64_t ack_queue_next_token(const struct ack_queue *queue)
{
	return queue->first_token + ack_queue_count(queue) + 1;
}

/* Takes entry->codes. */
enum err ack_queue_push(struct ack_queue *queue, const struct pending_ack *entry) ERR_CHECKED;
/* NULL: not in the queue any more. */
struct pending_ack *ack_queue_find(struct ack_queue *queue, uint64_t token);
/* The head if it may leave, else NULL. */
struct pending_ack *ack_queue_ready(struct ack_queue *queue);
void ack_queue_pop(struct ack_queue *queue);
/* Nothing will have to wait for a while: an empty queue gives its memory back. */
void ack_queue_rest(struct ack_queue *queue);
void ack_queue_fini(struct ack_queue *queue);

#endif
