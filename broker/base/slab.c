/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab.c - regions of chunks of blocks.
 *
 *	region	2 MiB of the system's, where its address begins anew: so a block leads to its region
 *	chunk	64 KiB of a region, for blocks of one size; the first of a region begins behind its header
 *	block	of a chunk: those never used come in order, those that came back stand in a list
 *
 * A chunk whose last block comes back is free for any size. Of free chunks some keep their pages, so
 * that a number of blocks that goes up and down costs no system calls; the pages of others, and
 * regions without a used chunk, go back to the system.
 *
 * Sanitizers have a say in who may touch what, and know malloc(): with them each block is its.
 *
 * Invariants, checked by slab_audit():
 *   S1  A chunk is in the list of its size if it is used and has a free block, and in that of the warm
 *       or of the cold ones if it is not used.
 *   S2  used_count, warm_count and region_count say how many there are.
 */
#include "base/slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bug.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLAB_IS_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLAB_IS_MALLOC 1
#endif
#endif
#ifndef SLAB_IS_MALLOC
#define SLAB_IS_MALLOC 0
#endif

#define REGION_BYTES (2u * 1024u * 1024u)
#define CHUNK_BYTES (64u * 1024u)
#define CHUNKS (REGION_BYTES / CHUNK_BYTES)
/* Of used chunks there may be one free and warm for every so many, and one more. */
#define USED_FOR_A_WARM 8u

struct slab_chunk {
	struct slab_chunk *next, **pprev; /* of a list; pprev NULL: in none */
	void *freed;			  /* the list goes through the blocks' first words */
	uint16_t block_bytes;		  /* 0: free */
	uint16_t used, fresh, room;	  /* blocks: in use; not handed out yet; in all */
	bool is_warm;			  /* in that list */
};

struct slab_region {
	struct slab_region *next, **pprev;
	uint32_t used; /* chunks that are not in the list of the warm or the cold */
	struct slab_chunk chunks[CHUNKS];
};

#define HEADER_BYTES ((sizeof(struct slab_region) + 63) / 64 * 64)

static struct slab_region *region_of(const void *inside)
{
	return (struct slab_region *)((uintptr_t)inside & ~(uintptr_t)(REGION_BYTES - 1));
}

static struct slab_chunk *chunk_of_block(const void *block)
{
	struct slab_region *region = region_of(block);

	return &region->chunks[((uintptr_t)block - (uintptr_t)region) / CHUNK_BYTES];
}

static size_t chunk_header_bytes(const struct slab_chunk *chunk)
{
	return chunk == region_of(chunk)->chunks ? HEADER_BYTES : 0;
}

/* Where its blocks begin. */
static char *chunk_base(const struct slab_chunk *chunk)
{
	struct slab_region *region = region_of(chunk);

	return (char *)region + (size_t)(chunk - region->chunks) * CHUNK_BYTES +
	       chunk_header_bytes(chunk);
}

static void list_push(struct slab_chunk **list, struct slab_chunk *chunk)
{
	chunk->next = *list;
	chunk->pprev = list;
	if (chunk->next)
		chunk->next->pprev = &chunk->next;
	*list = chunk;
}

static void list_remove(struct slab_chunk *chunk)
{
	*chunk->pprev = chunk->next;
	if (chunk->next)
		chunk->next->pprev = chunk->pprev;
	chunk->pprev = NULL;
}

void slab_init(struct slab *slab)
{
	*slab = (struct slab){0};
	pthread_mutex_init(&slab->lock, NULL);
}

void slab_fini(struct slab *slab)
{
	struct slab_region *region = slab->regions;

	while (region) {
		struct slab_region *next = region->next;

		munmap(region, REGION_BYTES);
		region = next;
	}
	pthread_mutex_destroy(&slab->lock);
}

/* The system gives pages of its own alignment: twice as much holds a region, and the rest goes back. */
static struct slab_region *region_map(void)
{
	char *all = mmap(NULL, 2 * REGION_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (all == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)all & (REGION_BYTES - 1);
	if (before)
		munmap(all, before);
	munmap(all + before + REGION_BYTES, REGION_BYTES - before);
	return (struct slab_region *)(void *)(all + before);
}

static void region_add_locked(struct slab *slab, struct slab_region *region)
{
	region->next = slab->regions;
	region->pprev = &slab->regions;
	if (region->next)
		region->next->pprev = &region->next;
	slab->regions = region;
	slab->region_count++;
	for (unsigned i = CHUNKS; i-- > 0;)
		list_push(&slab->cold, &region->chunks[i]);
}

/* Two threads may find at once that there is no free chunk: one region is enough for both. A second one
 * would stay for as long as nothing of it is ever used. */
static bool region_grow(struct slab *slab)
{
	struct slab_region *region = region_map();
	bool is_needed;

	if (!region)
		return false;
	/* The few blocks of a small broker must not become 2 MiB where the system likes huge pages. */
	if (__atomic_load_n(&slab->region_count, __ATOMIC_RELAXED) == 0)
		madvise(region, REGION_BYTES, MADV_NOHUGEPAGE);
	pthread_mutex_lock(&slab->lock);
	is_needed = !slab->warm && !slab->cold;
	if (is_needed)
		region_add_locked(slab, region);
	pthread_mutex_unlock(&slab->lock);
	if (!is_needed)
		munmap(region, REGION_BYTES);
	return true;
}

static unsigned class_of(size_t bytes)
{
	return bytes == 0 ? 0 : (unsigned)((bytes - 1) / SLAB_STEP);
}

/* A free chunk becomes one for blocks of this class; NULL: there is none. */
static struct slab_chunk *chunk_open_locked(struct slab *slab, unsigned class)
{
	struct slab_chunk *chunk = slab->warm ? slab->warm : slab->cold;

	if (!chunk)
		return NULL;
	list_remove(chunk);
	slab->warm_count -= chunk->is_warm;
	chunk->is_warm = false;
	slab->used_count++;
	region_of(chunk)->used++;
	chunk->freed = NULL;
	chunk->block_bytes = (uint16_t)((class + 1) * SLAB_STEP);
	chunk->room = (uint16_t)((CHUNK_BYTES - chunk_header_bytes(chunk)) / chunk->block_bytes);
	chunk->fresh = chunk->room;
	chunk->used = 0;
	list_push(&slab->partial[class], chunk);
	return chunk;
}

static void *alloc_locked(struct slab *slab, unsigned class)
{
	struct slab_chunk *chunk = slab->partial[class];
	void *block;

	if (!chunk)
		chunk = chunk_open_locked(slab, class);
	if (!chunk)
		return NULL;
	block = chunk->freed;
	if (block)
		chunk->freed = *(void **)block;
	else
		block = chunk_base(chunk) +
			(size_t)(chunk->room - chunk->fresh--) * chunk->block_bytes;
	if (++chunk->used == chunk->room)
		list_remove(chunk);
	return block;
}

void *slab_alloc(struct slab *slab, size_t bytes)
{
	void *block;

	if (SLAB_IS_MALLOC || bytes > SLAB_BLOCK_MAX)
		return malloc(bytes);
	do {
		pthread_mutex_lock(&slab->lock);
		block = alloc_locked(slab, class_of(bytes));
		pthread_mutex_unlock(&slab->lock);
	} while (!block && region_grow(slab));
	return block;
}

/* Chunks are all free, and in a list: nobody is giving back the pages of one. */
static void region_remove_locked(struct slab *slab, struct slab_region *region)
{
	for (unsigned i = 0; i < CHUNKS; i++) {
		slab->warm_count -= region->chunks[i].is_warm;
		list_remove(&region->chunks[i]);
	}
	*region->pprev = region->next;
	if (region->next)
		region->next->pprev = region->pprev;
	slab->region_count--;
}

/* One more chunk of the region is free and in a list. NULL, or the region, which has gone with it. */
static struct slab_region *region_release_locked(struct slab *slab, struct slab_region *region)
{
	if (--region->used > 0 || slab->region_count == 1)
		return NULL;
	region_remove_locked(slab, region);
	return region;
}

static void chunk_put_locked(struct slab *slab, struct slab_chunk *chunk, bool is_warm)
{
	chunk->is_warm = is_warm;
	slab->warm_count += is_warm;
	list_push(is_warm ? &slab->warm : &slab->cold, chunk);
}

/* False: there are enough warm ones. Until it is cold it counts as one that its region needs. */
static bool chunk_close_locked(struct slab *slab, struct slab_chunk *chunk)
{
	list_remove(chunk);
	chunk->block_bytes = 0;
	slab->used_count--;
	if (slab->warm_count > slab->used_count / USED_FOR_A_WARM)
		return false;
	chunk_put_locked(slab, chunk, true);
	return true;
}

/* The pages of a chunk that is in no list; the one with the region's header stays. */
static void chunk_cool(const struct slab_chunk *chunk)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t base = (uintptr_t)chunk_base(chunk);
	uintptr_t from = (base + page - 1) & ~(page - 1);
	uintptr_t to = base - chunk_header_bytes(chunk) + CHUNK_BYTES;

	if (from < to)
		madvise((void *)from, to - from, MADV_DONTNEED);
}

/* False: the chunk, which has become free, is warm and one too many, and in no list. */
static bool free_locked(struct slab *slab, void *block, struct slab_region **out_gone)
{
	struct slab_chunk *chunk = chunk_of_block(block);

	*(void **)block = chunk->freed;
	chunk->freed = block;
	if (chunk->used == chunk->room)
		list_push(&slab->partial[chunk->block_bytes / SLAB_STEP - 1], chunk);
	if (--chunk->used > 0)
		return true;
	if (!chunk_close_locked(slab, chunk))
		return false;
	*out_gone = region_release_locked(slab, region_of(chunk));
	return true;
}

void slab_free(struct slab *slab, void *block, size_t bytes)
{
	struct slab_region *gone = NULL;
	bool is_done;

	if (SLAB_IS_MALLOC || bytes > SLAB_BLOCK_MAX) {
		free(block);
		return;
	}
	pthread_mutex_lock(&slab->lock);
	is_done = free_locked(slab, block, &gone);
	pthread_mutex_unlock(&slab->lock);
	if (!is_done) {
		struct slab_chunk *chunk = chunk_of_block(block);

		chunk_cool(chunk);
		pthread_mutex_lock(&slab->lock);
		chunk_put_locked(slab, chunk, false);
		gone = region_release_locked(slab, region_of(chunk));
		pthread_mutex_unlock(&slab->lock);
	}
	if (gone)
		munmap(gone, REGION_BYTES);
}

static uint32_t list_audit(struct slab_chunk *const *list, bool is_warm, uint16_t block_bytes)
{
	uint32_t count = 0;

	for (struct slab_chunk *const *at = list; *at; at = &(*at)->next) {
		BUG_ON((*at)->pprev != at || (*at)->is_warm != is_warm);
		BUG_ON((*at)->block_bytes != block_bytes);
		BUG_ON(block_bytes && ((*at)->used == 0 || (*at)->used == (*at)->room)); /* S1 */
		count++;
	}
	return count;
}

void slab_audit(struct slab *slab)
{
	uint32_t used = 0, regions = 0, free, listed = 0, partial = 0;

	pthread_mutex_lock(&slab->lock);
	for (unsigned i = 0; i < SLAB_BLOCK_MAX / SLAB_STEP; i++)
		partial += list_audit(&slab->partial[i], false, (uint16_t)((i + 1) * SLAB_STEP));
	free = list_audit(&slab->warm, true, 0);
	BUG_ON(free != slab->warm_count); /* S2 */
	free += list_audit(&slab->cold, false, 0);
	for (const struct slab_region *region = slab->regions; region; region = region->next) {
		regions++;
		for (unsigned i = 0; i < CHUNKS; i++) {
			const struct slab_chunk *chunk = &region->chunks[i];

			used += chunk->block_bytes != 0;
			listed += chunk->block_bytes != 0 && chunk->used < chunk->room;
		}
	}
	BUG_ON(regions != slab->region_count || used != slab->used_count);
	BUG_ON(used + free != regions * CHUNKS || listed != partial);
	pthread_mutex_unlock(&slab->lock);
}
