/* SPDX-License-Identifier: Apache-2.0 */
#include "session/outgoing.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/memory.h"

#define QUEUE_CAP_FIRST 8u
/* A queue that was once longer gives its memory back when it is empty. */
#define QUEUE_CAP_KEPT 64u
#define WINDOW_CAP_FIRST 8u
#define PACKET_IDS 65535u

enum err outgoing_copy_ids(struct outgoing *out, const struct delivery *delivery)
{
	size_t bytes = out->id_count * sizeof *out->ids;

	if (out->id_count == 1) {
		out->id = delivery->subscription_ids[0];
		return ERR_NONE;
	}
	out->ids = malloc(bytes);
	if (!out->ids)
		return ERR_NOMEM;
	memcpy(out->ids, delivery->subscription_ids, bytes);
	memory_charge(MEMORY_QUEUE, bytes);
	return ERR_NONE;
}

void outgoing_free_ids(struct outgoing *out)
{
	memory_uncharge(MEMORY_QUEUE, out->id_count * sizeof *out->ids);
	free(out->ids);
	out->id_count = 0;
}

enum err queue_grow(struct queue *queue)
{
	uint32_t cap = queue->cap ? queue->cap * 2 : QUEUE_CAP_FIRST;
	struct outgoing *items = malloc(cap * sizeof *items);

	if (!items)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < queue->count; i++)
		items[i] = queue->items[(queue->head + i) & (queue->cap - 1)];
	memory_charge(MEMORY_QUEUE, (cap - queue->cap) * sizeof *items);
	free(queue->items);
	queue->items = items;
	queue->head = 0;
	queue->cap = cap;
	return ERR_NONE;
}

struct outgoing *queue_last(struct queue *queue)
{
	return queue_at(queue, queue->count - 1);
}

static inline void queue_uncount(struct queue *queue, const struct outgoing *out)
{
	queue->count--;
	queue->bytes -= outgoing_bytes(out->message);
	if (out->qos == 0)
		queue->qos0_count--;
	if (queue->count == 0 && queue->cap > QUEUE_CAP_KEPT) {
		memory_uncharge(MEMORY_QUEUE, queue->cap * sizeof *queue->items);
		free(queue->items);
		queue->items = NULL;
		queue->head = queue->cap = 0;
	}
}

struct outgoing queue_pop(struct queue *queue)
{
	struct outgoing out = *queue_at(queue, 0);

	queue->head = (queue->head + 1) & (queue->cap - 1);
	queue_uncount(queue, &out);
	return out;
}

struct outgoing queue_remove(struct queue *queue, uint32_t index)
{
	struct outgoing out = *queue_at(queue, index);

	for (uint32_t i = index; i + 1 < queue->count; i++)
		*queue_at(queue, i) = *queue_at(queue, i + 1);
	queue_uncount(queue, &out);
	return out;
}

void queue_free(struct queue **queue)
{
	if (!*queue)
		return;
	BUG_ON((*queue)->count);
	memory_uncharge(MEMORY_QUEUE, (*queue)->cap * sizeof *(*queue)->items);
	free((*queue)->items);
	free(*queue);
	*queue = NULL;
}

static size_t window_bytes(uint32_t cap)
{
	return sizeof(struct window) + cap * sizeof(struct window_slot);
}

static struct window *window_make(uint32_t cap)
{
	struct window *window = calloc(1, window_bytes(cap));

	if (!window)
		return NULL;
	memory_charge(MEMORY_QUEUE, window_bytes(cap));
	window->cap = cap;
	window->first = window->last = WINDOW_NONE;
	return window;
}

static void window_append(struct window *window, uint32_t index)
{
	struct window_slot *slot = &window->slots[index];

	slot->next = WINDOW_NONE;
	slot->prev = window->last;
	if (window->last == WINDOW_NONE)
		window->first = index;
	else
		window->slots[window->last].next = index;
	window->last = index;
	window->count++;
}

/* Identifiers that differ modulo cap differ modulo 2 * cap: every slot has a place. */
static struct window *window_grow(struct window *old)
{
	struct window *fresh = window_make(old ? old->cap * 2 : WINDOW_CAP_FIRST);

	if (!fresh || !old)
		return fresh;
	fresh->last_packet_id = old->last_packet_id;
	fresh->on_wire = old->on_wire;
	fresh->unsent = old->unsent;
	fresh->held = old->held;
	fresh->held_publish = old->held_publish;
	fresh->bytes = old->bytes;
	for (struct window_slot *slot = window_first(old); slot; slot = window_next(old, slot)) {
		uint32_t index = slot->packet_id & (fresh->cap - 1);

		fresh->slots[index] = *slot;
		window_append(fresh, index);
	}
	memory_uncharge(MEMORY_QUEUE, window_bytes(old->cap));
	free(old);
	return fresh;
}

static uint16_t window_next_id(struct window *window)
{
	uint16_t id = window->last_packet_id;

	do {
		id++;
	} while (id == 0 || window->slots[id & (window->cap - 1)].state != WINDOW_FREE);
	window->last_packet_id = id;
	return id;
}

struct window_slot *window_add_take(struct window **window_ref, const struct outgoing *out,
				    uint32_t limit)
{
	struct window *window = *window_ref;
	struct window_slot *slot;
	uint16_t id;

	BUG_ON(limit > PACKET_IDS);
	if (!window || (window->count >= window->cap / 2 && window->cap <= PACKET_IDS)) {
		window = window_grow(window);
		if (!window)
			return NULL;
		*window_ref = window;
	}
	BUG_ON(window->count >= PACKET_IDS);
	id = window_next_id(window);
	slot = &window->slots[id & (window->cap - 1)];
	slot->out = *out;
	slot->packet_id = id;
	slot->state = WINDOW_SENT;
	slot->is_on_wire = false;
	slot->waits_for = 0;
	slot->hold = WINDOW_HOLDS_NOTHING;
	window_append(window, (uint32_t)(slot - window->slots));
	window->bytes += outgoing_bytes(out->message);
	return slot;
}

static bool is_unsent(uint8_t state)
{
	return state == WINDOW_UNSENT || state == WINDOW_RELEASE_UNSENT;
}

/* With all 65,536 slots each identifier has its own. */
struct window_slot *window_restore_take(struct window **window_ref, const struct outgoing *out,
					uint16_t packet_id, enum window_state state)
{
	struct window *window = *window_ref;
	struct window_slot *slot;

	while (!window || (window->count >= window->cap / 2 && window->cap <= PACKET_IDS) ||
	       window->slots[packet_id & (window->cap - 1)].state != WINDOW_FREE) {
		if (window && window->cap > PACKET_IDS)
			return NULL; /* it is taken */
		window = window_grow(window);
		if (!window)
			return NULL;
		*window_ref = window;
	}
	slot = &window->slots[packet_id & (window->cap - 1)];
	*slot = (struct window_slot){.out = *out, .packet_id = packet_id, .state = (uint8_t)state};
	window_append(window, (uint32_t)(slot - window->slots));
	if (out->message)
		window->bytes += outgoing_bytes(out->message);
	if (is_unsent(slot->state))
		window->unsent++;
	window->last_packet_id = packet_id;
	return slot;
}

void window_unhold(struct window *window, struct window_slot *slot)
{
	if (slot->hold == WINDOW_HOLDS_NOTHING)
		return;
	window->held--;
	if (slot->hold == WINDOW_HOLDS_PUBLISH)
		window->held_publish--;
	slot->hold = WINDOW_HOLDS_NOTHING;
}

void window_hold(struct window *window, struct window_slot *slot, enum window_state state,
		 enum window_hold hold)
{
	window_unhold(window, slot);
	if (!is_unsent(slot->state))
		window->unsent++;
	slot->state = (uint8_t)state;
	slot->hold = (uint8_t)hold;
	window->held++;
	if (hold == WINDOW_HOLDS_PUBLISH)
		window->held_publish++;
}

struct window_slot *window_find(struct window *window, uint16_t packet_id)
{
	struct window_slot *slot;

	if (!window)
		return NULL;
	slot = &window->slots[packet_id & (window->cap - 1)];
	return slot->state != WINDOW_FREE && slot->packet_id == packet_id ? slot : NULL;
}

struct outgoing window_remove(struct window *window, struct window_slot *slot)
{
	struct outgoing out = slot->out;

	if (slot->prev == WINDOW_NONE)
		window->first = slot->next;
	else
		window->slots[slot->prev].next = slot->next;
	if (slot->next == WINDOW_NONE)
		window->last = slot->prev;
	else
		window->slots[slot->next].prev = slot->prev;
	window->count--;
	if (out.message)
		window->bytes -= outgoing_bytes(out.message);
	if (slot->is_on_wire)
		window->on_wire--;
	window_unhold(window, slot);
	if (is_unsent(slot->state))
		window->unsent--;
	slot->state = WINDOW_FREE;
	return out;
}

struct window_slot *window_next(struct window *window, const struct window_slot *slot)
{
	return slot->next == WINDOW_NONE ? NULL : &window->slots[slot->next];
}

struct window_slot *window_first(struct window *window)
{
	return !window || window->first == WINDOW_NONE ? NULL : &window->slots[window->first];
}

void window_free(struct window **window)
{
	if (!*window)
		return;
	BUG_ON((*window)->count);
	memory_uncharge(MEMORY_QUEUE, window_bytes((*window)->cap));
	free(*window);
	*window = NULL;
}
