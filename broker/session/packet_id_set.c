/* SPDX-License-Identifier: Apache-2.0 */
#include "session/packet_id_set.h"

#include <stdlib.h>

#include "base/memory.h"

#define SET_CAP_FIRST 16u

struct packet_id_table {
	uint32_t cap; /* a power of two */
	uint32_t count;
	uint16_t ids[]; /* 0: free */
};

static size_t table_bytes(uint32_t cap)
{
	return sizeof(struct packet_id_table) + cap * sizeof(uint16_t);
}

static uint32_t home_of(const struct packet_id_table *table, uint16_t id)
{
	return (id * 40503u) & (table->cap - 1);
}

static void place(struct packet_id_table *table, uint16_t id)
{
	uint32_t at = home_of(table, id);

	while (table->ids[at])
		at = (at + 1) & (table->cap - 1);
	table->ids[at] = id;
}

uint32_t packet_id_set_count(const struct packet_id_set *set)
{
	return set->table ? set->table->count : 0;
}

static enum err grow(struct packet_id_set *set)
{
	const struct packet_id_table *old = set->table;
	uint32_t cap = old ? old->cap * 2 : SET_CAP_FIRST;
	struct packet_id_table *fresh = calloc(1, table_bytes(cap));

	if (!fresh)
		return ERR_NOMEM;
	memory_charge(MEMORY_QUEUE, table_bytes(cap));
	fresh->cap = cap;
	fresh->count = packet_id_set_count(set);
	for (uint32_t i = 0; old && i < old->cap; i++) {
		if (old->ids[i])
			place(fresh, old->ids[i]);
	}
	packet_id_set_fini(set);
	set->table = fresh;
	return ERR_NONE;
}

enum err packet_id_set_add(struct packet_id_set *set, uint16_t id)
{
	if (!set->table || (set->table->count + 1) * 2 > set->table->cap) {
		enum err err = grow(set);

		if (err != ERR_NONE)
			return err;
	}
	place(set->table, id);
	set->table->count++;
	return ERR_NONE;
}

static bool find(const struct packet_id_table *table, uint16_t id, uint32_t *out_at)
{
	if (!table || table->count == 0)
		return false;
	for (uint32_t at = home_of(table, id); table->ids[at]; at = (at + 1) & (table->cap - 1)) {
		if (table->ids[at] == id) {
			*out_at = at;
			return true;
		}
	}
	return false;
}

bool packet_id_set_has(const struct packet_id_set *set, uint16_t id)
{
	uint32_t at;

	return find(set->table, id, &at);
}

/* Moves what stands behind the hole forward, so that no search ends at it. */
bool packet_id_set_remove(struct packet_id_set *set, uint16_t id)
{
	struct packet_id_table *table = set->table;
	uint32_t hole, at;

	if (!find(table, id, &hole))
		return false;
	table->ids[hole] = 0;
	for (at = (hole + 1) & (table->cap - 1); table->ids[at]; at = (at + 1) & (table->cap - 1)) {
		uint16_t moved = table->ids[at];

		table->ids[at] = 0;
		place(table, moved);
	}
	/* A small table stays, or each message of a slow publisher would make and free one. */
	if (--table->count == 0 && table->cap > SET_CAP_FIRST)
		packet_id_set_fini(set);
	return true;
}

void packet_id_set_fini(struct packet_id_set *set)
{
	if (set->table)
		memory_uncharge(MEMORY_QUEUE, table_bytes(set->table->cap));
	free(set->table);
	set->table = NULL;
}
