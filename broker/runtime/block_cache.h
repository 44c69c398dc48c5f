/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_cache.h - blocks of a worker that are free and stay at hand.
 *
 * Letters and messages come and go by the million; a list per size is faster than malloc and, since
 * blocks come home to the worker that made them, touches no other thread. Every block is one of
 * malloc, so any cache, or free(), takes it. Functions: block_alloc() and block_free() in worker.h.
 *
 * Owner: one worker. What was not needed for a few seconds goes back to malloc; an idle worker
 * wakes twice for that and then no more.
 */
#ifndef NIGHTJAR_RUNTIME_BLOCK_CACHE_H
#define NIGHTJAR_RUNTIME_BLOCK_CACHE_H

#include <stddef.h>

struct worker;
struct block_cache;

#define BLOCK_SIZE_MAX 2048		   /* larger ones are left to malloc */
#define BLOCK_CLASS_BYTES_MAX (256 * 1024) /* kept per size */
#define BLOCK_TRIM_MS 3000

/* NULL: no memory. */
struct block_cache *block_cache_create(struct worker *owner);
void block_cache_destroy(struct block_cache **cache);
size_t block_cache_bytes(const struct block_cache *cache);

#endif
