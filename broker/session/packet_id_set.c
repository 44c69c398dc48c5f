/* SPDX-License-Identifier: Apache-2.0 */
#include "session/packet_id_set.h"

#include <stdlib.h>

#include "base/memory.h"

#define SET_CAP_FIRST 16u

static uint32_t home_of(const struct packet_id_set *set, uint16_t id)
{
	return (id * 40503u) & (set->cap - 1);
}

static void place(struct packet_id_set *set, uint16_t id)
{
	uint32_t at = home_of(set, id);

	while (set->ids[at])
		at = (at + 1) & (set->cap - 1);
	set->ids[at] = id;
}

static enum err grow(struct packet_id_set *set)
{
	struct packet_id_set fresh = {.cap = set->cap ? set->cap * 2 : SET_CAP_FIRST,
				      .count = set->count};

	fresh.ids = calloc(fresh.cap, sizeof *fresh.ids);
	if (!fresh.ids)
		return ERR_NOMEM;
	memory_charge(MEMORY_QUEUE, fresh.cap * sizeof *fresh.ids);
	for (uint32_t i = 0; i < set->cap; i++) {
		if (set->ids[i])
			place(&fresh, set->ids[i]);
	}
	packet_id_set_fini(set);
	*set = fresh;
	return ERR_NONE;
}

enum err packet_id_set_add(struct packet_id_set *set, uint16_t id)
{
	if ((set->count + 1) * 2 > set->cap) {
		enum err err = grow(set);

		if (err != ERR_NONE)
			return err;
	}
	place(set, id);
	set->count++;
	return ERR_NONE;
}

static bool find(const struct packet_id_set *set, uint16_t id, uint32_t *out_at)
{
	if (set->count == 0)
		return false;
	for (uint32_t at = home_of(set, id); set->ids[at]; at = (at + 1) & (set->cap - 1)) {
		if (set->ids[at] == id) {
			*out_at = at;
			return true;
		}
	}
	return false;
}

bool packet_id_set_has(const struct packet_id_set *set, uint16_t id)
{
	uint32_t at;

	return find(set, id, &at);
}

/* Moves what stands behind the hole forward, so that no search ends at it. */
bool packet_id_set_remove(struct packet_id_set *set, uint16_t id)
{
	uint32_t mask = set->cap - 1;
	uint32_t hole, at;

	if (!find(set, id, &hole))
		return false;
	set->ids[hole] = 0;
	for (at = (hole + 1) & mask; set->ids[at]; at = (at + 1) & mask) {
		uint16_t moved = set->ids[at];

		set->ids[at] = 0;
		place(set, moved);
	}
	/* A small table stays, or each message of a slow publisher would make and free one. */
	if (--set->count == 0 && set->cap > SET_CAP_FIRST)
		packet_id_set_fini(set);
	return true;
}

void packet_id_set_fini(struct packet_id_set *set)
{
	memory_uncharge(MEMORY_QUEUE, set->cap * sizeof *set->ids);
	free(set->ids);
	*set = (struct packet_id_set){0};
}
