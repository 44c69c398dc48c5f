/* SPDX-License-Identifier: Apache-2.0 */
#include "session/ack_queue.h"

#include <stdlib.h>

#include "base/memory.h"

#define ACKS_FIRST 4u

static size_t ring_bytes(uint32_t cap)
{
	return sizeof(struct ack_ring) + cap * sizeof(struct pending_ack);
}

static struct pending_ack *ring_at(struct ack_ring *ring, uint32_t index)
{
	return &ring->entries[(ring->head + index) & (ring->cap - 1)];
}

static void ring_free(struct ack_queue *queue)
{
	if (queue->ring)
		memory_uncharge(MEMORY_INPUT, ring_bytes(queue->ring->cap));
	free(queue->ring);
	queue->ring = NULL;
}

static enum err grow(struct ack_queue *queue)
{
	uint32_t cap = queue->ring ? queue->ring->cap * 2 : ACKS_FIRST;
	struct ack_ring *ring = malloc(ring_bytes(cap));

	if (!ring)
		return ERR_NOMEM;
	ring->head = 0;
	ring->count = ack_queue_count(queue);
	ring->cap = cap;
	for (uint32_t i = 0; i < ring->count; i++)
		ring->entries[i] = *ring_at(queue->ring, i);
	memory_charge(MEMORY_INPUT, ring_bytes(cap));
	ring_free(queue);
	queue->ring = ring;
	return ERR_NONE;
}

enum err ack_queue_push(struct ack_queue *queue, const struct pending_ack *entry)
{
	if (!queue->ring || queue->ring->count == queue->ring->cap) {
		enum err err = grow(queue);

		if (err != ERR_NONE)
			return err;
	}
	*ring_at(queue->ring, queue->ring->count++) = *entry;
	return ERR_NONE;
}

struct pending_ack *ack_queue_find(struct ack_queue *queue, uint64_t token)
{
	uint64_t index = token - queue->first_token - 1;

	if (token <= queue->first_token || index >= ack_queue_count(queue))
		return NULL;
	return ring_at(queue->ring, (uint32_t)index);
}

struct pending_ack *ack_queue_ready(struct ack_queue *queue)
{
	struct pending_ack *head;

	if (ack_queue_count(queue) == 0)
		return NULL;
	head = ring_at(queue->ring, 0);
	return head->waiting == 0 ? head : NULL;
}

void ack_queue_pop(struct ack_queue *queue)
{
	struct ack_ring *ring = queue->ring;

	free(ring_at(ring, 0)->codes);
	ring->head = (ring->head + 1) & (ring->cap - 1);
	ring->count--;
	queue->first_token++;
}

void ack_queue_rest(struct ack_queue *queue)
{
	if (ack_queue_count(queue) == 0)
		ring_free(queue);
}

void ack_queue_fini(struct ack_queue *queue)
{
	while (ack_queue_count(queue))
		ack_queue_pop(queue);
	ring_free(queue);
}
