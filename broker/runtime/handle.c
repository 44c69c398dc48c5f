/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/handle.h"

#include <stdlib.h>

#include "base/bug.h"

#define NO_SLOT UINT32_MAX

struct handle_entry {
	void *object; /* NULL: free */
	uint32_t next_free;
	uint16_t generation; /* of the object that is here or comes next; never 0 */
};

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
	free(table->entries);
	*table = (struct handle_table){.first_free = NO_SLOT, .worker = table->worker};
}

static bool handle_table_grow(struct handle_table *table)
{
	uint32_t cap = table->cap ? table->cap * 2 : 64;
	struct handle_entry *entries;

	if (cap <= table->cap)
		return false;
	entries = realloc(table->entries, cap * sizeof *entries);
	if (!entries)
		return false;
	table->entries = entries;
	table->cap = cap;
	return true;
}

static bool handle_table_add_slot(struct handle_table *table)
{
	if (table->count == table->cap && !handle_table_grow(table))
		return false;
	table->entries[table->count] =
		(struct handle_entry){.next_free = table->first_free, .generation = 1};
	table->first_free = table->count++;
	return true;
}

handle_t handle_make(struct handle_table *table, void *object)
{
	struct handle_entry *entry;
	uint32_t index;

	BUG_ON(!object);
	if (table->first_free == NO_SLOT && !handle_table_add_slot(table))
		return 0;
	index = table->first_free;
	entry = &table->entries[index];
	table->first_free = entry->next_free;
	entry->object = object;
	return (uint64_t)table->worker << 48 | (uint64_t)entry->generation << 32 | index;
}

static struct handle_entry *handle_entry_of(const struct handle_table *table, handle_t handle)
{
	struct handle_entry *entry;

	if (handle_worker(handle) != table->worker || handle_index(handle) >= table->count)
		return NULL;
	entry = &table->entries[handle_index(handle)];
	return entry->object && entry->generation == handle_generation(handle) ? entry : NULL;
}

void *handle_find(const struct handle_table *table, handle_t handle)
{
	struct handle_entry *entry = handle_entry_of(table, handle);

	return entry ? entry->object : NULL;
}

void handle_retire(struct handle_table *table, handle_t handle)
{
	struct handle_entry *entry = handle_entry_of(table, handle);

	BUG_ON(!entry);
	entry->object = NULL;
	entry->generation = entry->generation == UINT16_MAX ? 1 : (uint16_t)(entry->generation + 1);
	entry->next_free = table->first_free;
	table->first_free = handle_index(handle);
}

void *handle_next(const struct handle_table *table, uint32_t *cursor)
{
	while (*cursor < table->count) {
		void *object = table->entries[(*cursor)++].object;

		if (object)
			return object;
	}
	return NULL;
}
