/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab.h - small blocks that lie side by side.
 *
 * For the many small things of one kind that are looked up in any order: nodes of trees. malloc() puts
 * them between whatever else came at the time, so that they are spread over three times the pages, and
 * most of a look-up is waiting for a page's address and then for the memory. Here they share pages
 * with nothing else, and have no header.
 *
 * Threads: any; a mutex of its own is held for some tens of instructions, and never while the system
 * is asked for memory, or given some back.
 */
#ifndef NIGHTJAR_BASE_SLAB_H
#define NIGHTJAR_BASE_SLAB_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_STEP 16u
#define SLAB_BLOCK_MAX 512u /* larger ones are left to malloc */

struct slab_chunk;
struct slab_region;

struct slab {
	pthread_mutex_t lock;
	/* Guarded by it: */
	struct slab_chunk *partial[SLAB_BLOCK_MAX / SLAB_STEP]; /* with a free block, by size */
	struct slab_chunk *warm; /* empty, and their pages are there */
	struct slab_chunk *cold; /* empty, and they are not */
	struct slab_region *regions;
	uint32_t region_count, warm_count,
		used_count; /* used: chunks with a block that is in use */
};

void slab_init(struct slab *slab);
/* Blocks that are in use still are gone. */
void slab_fini(struct slab *slab);

/* Aligned to SLAB_STEP, not cleared. NULL: no memory. */
void *slab_alloc(struct slab *slab, size_t bytes);
/* bytes: as it was asked for. */
void slab_free(struct slab *slab, void *block, size_t bytes);

/* Checks the lists; stops on a fault. */
void slab_audit(struct slab *slab);

#endif
