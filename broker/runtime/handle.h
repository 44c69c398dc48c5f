/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle.h - a name for an object of some worker that may be gone by the time it is used.
 *
 * 64 bits: worker, generation, index. The owner looks the handle up; one that names an object of
 * the past finds nothing. 0 is no handle.
 */
#ifndef NIGHTJAR_RUNTIME_HANDLE_H
#define NIGHTJAR_RUNTIME_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t handle_t; /* worker << 48 | generation (1..65535) << 32 | index */

static inline uint16_t handle_worker(handle_t handle)
{
	return (uint16_t)(handle >> 48);
}

/* Owner: one worker. Slots are reused last in, first out, with the next generation. */
struct handle_table {
	uintptr_t *places;     /* of each slot the object, or, odd, which one is free next */
	uint16_t *generations; /* of the object that is here or comes next; never 0 */
	uint32_t count, cap, first_free;
	uint16_t worker;
};

void handle_table_init(struct handle_table *table, uint16_t worker);
void handle_table_fini(struct handle_table *table);
/* 0 when there is no memory. */
handle_t handle_make(struct handle_table *table, void *object);
void *handle_find(const struct handle_table *table, handle_t handle);
/* Walks over all objects: *cursor begins at 0. NULL at the end. Objects may come and go meanwhile. */
void *handle_next(const struct handle_table *table, uint32_t *cursor);
void handle_retire(struct handle_table *table, handle_t handle);

#endif
