/* SPDX-License-Identifier: Apache-2.0 */
#include "store/number_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"

#define FIRST_CAP 64

/* Numbers that follow each other must not stand in one run: Fibonacci hashing, from the top. */
static uint64_t home_of(const struct number_map *map, uint64_t key)
{
	return (key * 0x9e3779b97f4a7c15u >> 20) & (map->cap - 1);
}

static uint64_t slot_of(const struct number_map *map, uint64_t key)
{
	uint64_t at = home_of(map, key);

	while (map->slots[at].key && map->slots[at].key != key)
		at = (at + 1) & (map->cap - 1);
	return at;
}

uint64_t *number_map_find(const struct number_map *map, uint64_t key)
{
	struct number_slot *slot;

	if (map->count == 0 || key == 0)
		return NULL;
	slot = &map->slots[slot_of(map, key)];
	return slot->key ? &slot->value : NULL;
}

static void grow(struct number_map *map)
{
	struct number_map bigger = {.cap = map->cap ? map->cap * 2 : FIRST_CAP,
				    .count = map->count};

	bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
	BUG_ON(!bigger.slots);
	for (uint64_t i = 0; i < map->cap; i++)
		if (map->slots[i].key)
			bigger.slots[slot_of(&bigger, map->slots[i].key)] = map->slots[i];
	free(map->slots);
	*map = bigger;
}

void number_map_set(struct number_map *map, uint64_t key, uint64_t value)
{
	struct number_slot *slot;

	BUG_ON(key == 0);
	if ((map->count + 1) * 4 > map->cap * 3)
		grow(map);
	slot = &map->slots[slot_of(map, key)];
	if (!slot->key) {
		slot->key = key;
		map->count++;
	}
	slot->value = value;
}

/* Moves back what was pushed on past the hole, so that every run stays without holes. */
static void close_hole(struct number_map *map, uint64_t hole)
{
	uint64_t at = hole;

	for (;;) {
		at = (at + 1) & (map->cap - 1);
		if (!map->slots[at].key)
			break;
		if (((at - home_of(map, map->slots[at].key)) & (map->cap - 1)) >=
		    ((at - hole) & (map->cap - 1))) {
			map->slots[hole] = map->slots[at];
			hole = at;
		}
	}
	map->slots[hole].key = 0;
}

bool number_map_remove(struct number_map *map, uint64_t key)
{
	uint64_t at;

	if (map->count == 0 || key == 0)
		return false;
	at = slot_of(map, key);
	if (!map->slots[at].key)
		return false;
	map->count--;
	close_hole(map, at);
	return true;
}

void number_map_clear(struct number_map *map)
{
	if (map->count)
		memset(map->slots, 0, map->cap * sizeof *map->slots);
	map->count = 0;
}

void number_map_fini(struct number_map *map)
{
	free(map->slots);
	*map = (struct number_map){NULL, 0, 0};
}

struct number_slot *number_map_next(const struct number_map *map, uint64_t *cursor)
{
	while (*cursor < map->cap) {
		struct number_slot *slot = &map->slots[(*cursor)++];

		if (slot->key)
			return slot;
	}
	return NULL;
}
