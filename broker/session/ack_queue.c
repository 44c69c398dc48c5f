/* SPDX-License-Identifier: Apache-2.0 */
#include "session/ack_queue.h"

#include <stdlib.h>

#include "base/memory.h"

#define ACKS_FIRST 16u

static enum err grow(struct ack_queue *queue)
{
	uint32_t cap = queue->cap ? queue->cap * 2 : ACKS_FIRST;
	struct pending_ack *entries = malloc(cap * sizeof *entries);

	if (!entries)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < queue->count; i++)
		entries[i] = queue->entries[(queue->head + i) & (queue->cap - 1)];
	memory_charge(MEMORY_INPUT, (cap - queue->cap) * sizeof *entries);
	free(queue->entries);
	queue->entries = entries;
	queue->head = 0;
	queue->cap = cap;
	return ERR_NONE;
}

enum err ack_queue_push(struct ack_queue *queue, const struct pending_ack *entry)
{
	if (queue->count == queue->cap) {
		enum err err = grow(queue);

		if (err != ERR_NONE)
			return err;
	}
	queue->entries[(queue->head + queue->count++) & (queue->cap - 1)] = *entry;
	return ERR_NONE;
}

struct pending_ack *ack_queue_find(struct ack_queue *queue, uint64_t token)
{
	uint64_t index = token - queue->first_token - 1;

	if (token <= queue->first_token || index >= queue->count)
		return NULL;
	return &queue->entries[(queue->head + (uint32_t)index) & (queue->cap - 1)];
}

struct pending_ack *ack_queue_ready(struct ack_queue *queue)
{
	struct pending_ack *head;

	if (queue->count == 0)
		return NULL;
	head = &queue->entries[queue->head];
	return head->waiting == 0 ? head : NULL;
}

void ack_queue_pop(struct ack_queue *queue)
{
	free(queue->entries[queue->head].codes);
	queue->head = (queue->head + 1) & (queue->cap - 1);
	queue->count--;
	queue->first_token++;
}

void ack_queue_fini(struct ack_queue *queue)
{
	while (queue->count)
		ack_queue_pop(queue);
	memory_uncharge(MEMORY_INPUT, queue->cap * sizeof *queue->entries);
	free(queue->entries);
	queue->entries = NULL;
	queue->head = queue->cap = 0;
}
