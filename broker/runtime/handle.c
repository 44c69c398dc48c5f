/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/handle.h"

#include <stdlib.h>

#include "base/bug.h"

#define NO_SLOT UINT32_MAX

/* An object's address is even. */
static bool is_free(uintptr_t place)
{
	return place & 1;
}

static uintptr_t free_place(uint32_t next_free)
{
	return (uintptr_t)next_free << 1 | 1;
}

static uint32_t handle_index(handle_t handle)
{
	return (uint32_t)handle;
}

static uint16_t handle_generation(handle_t handle)
{
	return (uint16_t)(handle >> 32);
}

void handle_table_init(struct handle_table *table, uint16_t worker)
{
	*table = (struct handle_table){.first_free = NO_SLOT, .worker = worker};
}

void handle_table_fini(struct handle_table *table)
{
	free(table->places);
	free(table->generations);
	*table = (struct handle_table){.first_free = NO_SLOT, .worker = table->worker};
}

static bool handle_table_grow(struct handle_table *table)
{
	uint32_t cap = table->cap ? table->cap * 2 : 64;
	uint16_t *generations;
	uintptr_t *places;

	if (cap <= table->cap)
		return false;
	places = realloc(table->places, cap * sizeof *places);
	if (!places)
		return false;
	table->places = places;
	generations = realloc(table->generations, cap * sizeof *generations);
	if (!generations)
		return false;
	table->generations = generations;
	table->cap = cap;
	return true;
}

static bool handle_table_add_slot(struct handle_table *table)
{
	if (table->count == table->cap && !handle_table_grow(table))
		return false;
	table->places[table->count] = free_place(table->first_free);
	table->generations[table->count] = 1;
	table->first_free = table->count++;
	return true;
}

handle_t handle_make(struct handle_table *table, void *object)
{
	uint32_t index;

	BUG_ON(!object || is_free((uintptr_t)object));
	if (table->first_free == NO_SLOT && !handle_table_add_slot(table))
		return 0;
	index = table->first_free;
	table->first_free = (uint32_t)(table->places[index] >> 1);
	table->places[index] = (uintptr_t)object;
	return (uint64_t)table->worker << 48 | (uint64_t)table->generations[index] << 32 | index;
}

static bool handle_is_live(const struct handle_table *table, handle_t handle)
{
	uint32_t index = handle_index(handle);

	return handle_worker(handle) == table->worker && index < table->count &&
	       !is_free(table->places[index]) &&
	       table->generations[index] == handle_generation(handle);
}

void *handle_find(const struct handle_table *table, handle_t handle)
{
	return handle_is_live(table, handle) ? (void *)table->places[handle_index(handle)] : NULL;
}

void handle_retire(struct handle_table *table, handle_t handle)
{
	uint32_t index = handle_index(handle);

	BUG_ON(!handle_is_live(table, handle));
	if (++table->generations[index] == 0)
		table->generations[index] = 1;
	table->places[index] = free_place(table->first_free);
	table->first_free = index;
}

void *handle_next(const struct handle_table *table, uint32_t *cursor)
{
	while (*cursor < table->count) {
		uintptr_t place = table->places[(*cursor)++];

		if (!is_free(place))
			return (void *)place;
	}
	return NULL;
}
