/* SPDX-License-Identifier: Apache-2.0 */
#include "store/commit_wait.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/memory.h"
#include "runtime/runtime.h"
#include "store/store.h"

#define RING_FIRST 64u
/* A ring that was once longer gives its memory back when it is empty. */
#define RING_KEPT 4096u

struct commit_wait {
	uint64_t number;
	uint64_t handle;
	uint64_t token;
	commit_ready_fn ready;
};

/* Of one worker's numbers; a ring of cap, a power of two. */
struct commit_ring {
	struct commit_wait *entries;
	uint32_t head, count, cap;
};

struct commit_waits {
	uint64_t count;
	unsigned ring_count;
	struct commit_ring rings[];
};

static struct commit_waits *waits_of(const struct worker *worker)
{
	return worker->slot[WORKER_SLOT_COMMIT_WAIT];
}

enum err commit_wait_init(struct worker *worker)
{
	unsigned workers = runtime_worker_count(worker->runtime);
	struct commit_waits *waits = calloc(1, sizeof *waits + workers * sizeof *waits->rings);

	if (!waits)
		return ERR_NOMEM;
	waits->ring_count = workers;
	worker->slot[WORKER_SLOT_COMMIT_WAIT] = waits;
	return ERR_NONE;
}

static void ring_free(struct commit_ring *ring)
{
	memory_uncharge(MEMORY_INPUT, ring->cap * sizeof *ring->entries);
	free(ring->entries);
	*ring = (struct commit_ring){0};
}

void commit_wait_fini(struct worker *worker)
{
	struct commit_waits *waits = waits_of(worker);

	if (!waits)
		return;
	for (unsigned i = 0; i < waits->ring_count; i++)
		ring_free(&waits->rings[i]);
	free(waits);
	worker->slot[WORKER_SLOT_COMMIT_WAIT] = NULL;
}

static void ring_grow(struct commit_ring *ring)
{
	uint32_t cap = ring->cap ? ring->cap * 2 : RING_FIRST;
	struct commit_wait *entries = malloc(cap * sizeof *entries);

	BUG_ON(!entries);
	for (uint32_t i = 0; i < ring->count; i++)
		entries[i] = ring->entries[(ring->head + i) & (ring->cap - 1)];
	memory_charge(MEMORY_INPUT, (cap - ring->cap) * sizeof *entries);
	free(ring->entries);
	ring->entries = entries;
	ring->head = 0;
	ring->cap = cap;
}

void commit_wait_add(struct worker *me, uint16_t worker, uint64_t number, commit_ready_fn ready,
		     uint64_t handle, uint64_t token)
{
	struct commit_waits *waits = waits_of(me);
	struct commit_ring *ring = &waits->rings[worker];

	if (ring->count == ring->cap)
		ring_grow(ring);
	ring->entries[(ring->head + ring->count++) & (ring->cap - 1)] =
		(struct commit_wait){number, handle, token, ready};
	waits->count++;
}

/* An entry is taken out before it goes on: that may add others, and so move the ring. */
static void ring_run(struct worker *me, struct commit_waits *waits, struct commit_ring *ring,
		     uint64_t committed)
{
	while (ring->count && ring->entries[ring->head].number <= committed) {
		struct commit_wait wait = ring->entries[ring->head];

		ring->head = (ring->head + 1) & (ring->cap - 1);
		ring->count--;
		waits->count--;
		wait.ready(me, wait.handle, wait.token);
	}
	if (ring->count == 0 && ring->cap > RING_KEPT)
		ring_free(ring);
}

void commit_wait_run(struct worker *me)
{
	struct commit_waits *waits = waits_of(me);

	for (unsigned i = 0; i < waits->ring_count && waits->count; i++) {
		if (waits->rings[i].count)
			ring_run(me, waits, &waits->rings[i], store_committed(me, (uint16_t)i));
	}
}

bool commit_wait_has(const struct worker *me, uint16_t worker, uint64_t handle)
{
	const struct commit_waits *waits = waits_of(me);
	const struct commit_ring *ring = waits ? &waits->rings[worker] : NULL;

	for (uint32_t i = 0; ring && i < ring->count; i++)
		if (ring->entries[(ring->head + i) & (ring->cap - 1)].handle == handle)
			return true;
	return false;
}

uint64_t commit_wait_count(const struct worker *me)
{
	const struct commit_waits *waits = waits_of(me);

	return waits ? waits->count : 0;
}
