/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number_map.h - from a 64-bit number to another, in one block of memory.
 *
 * Open addressing with linear probing, at most three quarters full; removal shifts back, so there are
 * no marks of what has gone. Owner: one thread. All zero is an empty map.
 */
#ifndef NIGHTJAR_STORE_NUMBER_MAP_H
#define NIGHTJAR_STORE_NUMBER_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct number_slot {
	uint64_t key; /* never 0 */
	uint64_t value;
};

struct number_map {
	struct number_slot *slots;
	uint64_t cap; /* a power of two, or 0 */
	uint64_t count;
};

/* NULL: not there. The pointer holds until the map is changed. */
uint64_t *number_map_find(const struct number_map *map, uint64_t key);
/* Sets; stops the process when there is no memory: the index is not what a peer's limits refuse. */
void number_map_set(struct number_map *map, uint64_t key, uint64_t value);
bool number_map_remove(struct number_map *map, uint64_t key);
void number_map_clear(struct number_map *map);
void number_map_fini(struct number_map *map);
/* Walks: *cursor begins at 0. NULL: the end. The map must not be changed meanwhile. */
struct number_slot *number_map_next(const struct number_map *map, uint64_t *cursor);

#endif
