/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web_memory.c - the memory of libwebsockets.
 *
 * Its allocator is one for the whole process. Two kinds of block are worth a place of their own,
 * because they are large and hardly ever touched, so that they cost address space and no memory:
 *
 *  - Each WebSocket has a receive buffer (rx_ubuf) as large as a read, in which only frames are put
 *    together that arrive byte by byte. From malloc, with a header in front and neighbours, each would
 *    cost a page; here each is a slot of whole pages. A worker takes slots from a part of its own.
 *  - Each context has two tables as long as there may be descriptors, which libwebsockets fills with
 *    zeros. web_memory_trim() gives the pages back that hold nothing else.
 *
 * Threads: contexts are made and destroyed by the main thread, while no worker runs; in between each
 * block belongs to the worker whose context asked for it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/web_parts.h"

#define PAGE_BYTES 4096u
#define SLOTS_MAX (1u << 18)
#define TABLE_MIN_BYTES (256u * 1024u)

/* Owner: its worker. */
struct slot_pool {
	uint32_t *spare; /* numbers of slots that were used and are free */
	uint32_t spares, spare_cap;
	uint32_t used; /* slots that have been taken once */
} __attribute__((aligned(64)));

/* Frozen while there are workers. */
static struct {
	uint8_t *base; /* NULL: no slots, malloc serves */
	size_t bytes, part_bytes, slot_bytes;
	uint32_t slots; /* in a part */
	unsigned workers;
	struct slot_pool *pools;
} area;

/* Main thread. */
static struct {
	uint8_t *bytes;
	size_t len;
} tables[2 * WORKERS_MAX];

static size_t round_up(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static void *pages_reserve(size_t bytes)
{
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (pages == MAP_FAILED)
		return NULL;
	/* One byte touched is one page, not two megabytes. */
	madvise(pages, bytes, MADV_NOHUGEPAGE);
	madvise(pages, bytes, MADV_DONTDUMP);
	return pages;
}

static void *slot_take(void)
{
	struct worker *me = worker_current;
	struct slot_pool *pool;
	uint32_t number;

	if (!area.base || !me || me->id >= area.workers)
		return NULL;
	pool = &area.pools[me->id];
	if (pool->spares > 0)
		number = pool->spare[--pool->spares];
	else if (pool->used < area.slots)
		number = pool->used++;
	else
		return NULL;
	return area.base + me->id * area.part_bytes + number * area.slot_bytes;
}

static void slot_give_back(uint8_t *slot)
{
	size_t part = (size_t)(slot - area.base) / area.part_bytes;
	size_t offset = (size_t)(slot - area.base) % area.part_bytes;
	struct slot_pool *pool = &area.pools[part];

	madvise(slot, area.slot_bytes, MADV_DONTNEED);
	if (pool->spares == pool->spare_cap) {
		uint32_t cap = pool->spare_cap ? pool->spare_cap * 2 : 256;
		uint32_t *grown = realloc(pool->spare, cap * sizeof *grown);

		if (!grown)
			return; /* the slot is lost, which costs address space only */
		pool->spare = grown;
		pool->spare_cap = cap;
	}
	pool->spare[pool->spares++] = (uint32_t)(offset / area.slot_bytes);
}

static void *table_make(size_t bytes)
{
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		if (tables[i].bytes)
			continue;
		tables[i].bytes = pages_reserve(round_up(bytes));
		tables[i].len = round_up(bytes);
		return tables[i].bytes;
	}
	return NULL;
}

static bool table_free(void *table)
{
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		if (tables[i].bytes != table)
			continue;
		munmap(tables[i].bytes, tables[i].len);
		tables[i].bytes = NULL;
		return true;
	}
	return false;
}

static void web_free(void *block)
{
	uint8_t *bytes = block;

	if (!block)
		return;
	if (area.base && bytes >= area.base && bytes < area.base + area.bytes)
		slot_give_back(bytes);
	else if ((uintptr_t)bytes % PAGE_BYTES != 0 || !table_free(bytes))
		free(bytes);
}

static void *web_realloc(void *block, size_t size, const char *why)
{
	void *made = NULL;

	if (size == 0) {
		web_free(block);
		return NULL;
	}
	if (block)
		return realloc(block, size);
	if (why && size <= area.slot_bytes && strcmp(why, "rx_ubuf") == 0)
		made = slot_take();
	else if (why && size >= TABLE_MIN_BYTES && !worker_current &&
		 (strcmp(why, "fds table") == 0 || strcmp(why, "lws_lookup") == 0))
		made = table_make(size);
	return made ? made : malloc(size);
}

static uint32_t slots_wanted(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > SLOTS_MAX)
		return SLOTS_MAX;
	return (uint32_t)limit.rlim_cur;
}

void web_memory_open(unsigned workers)
{
	area.slot_bytes = round_up(WEB_READ_BYTES + LWS_PRE + 64);
	area.slots = slots_wanted();
	area.workers = workers;
	area.part_bytes = area.slots * area.slot_bytes;
	area.bytes = workers * area.part_bytes;
	area.pools = aligned_alloc(64, workers * sizeof *area.pools);
	area.base = area.pools ? pages_reserve(area.bytes) : NULL;
	if (area.pools)
		memset(area.pools, 0, workers * sizeof *area.pools);
	lws_set_allocator(web_realloc);
}

void web_memory_close(void)
{
	for (unsigned i = 0; area.pools && i < area.workers; i++)
		free(area.pools[i].spare);
	free(area.pools);
	if (area.base)
		munmap(area.base, area.bytes);
	memset(&area, 0, sizeof area);
}

static bool page_is_zero(const uint8_t *page)
{
	const uint64_t *words = (const uint64_t *)(const void *)page;

	for (size_t i = 0; i < PAGE_BYTES / sizeof *words; i++) {
		if (words[i])
			return false;
	}
	return true;
}

void web_memory_trim(void)
{
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		for (size_t at = 0; tables[i].bytes && at < tables[i].len; at += PAGE_BYTES) {
			if (page_is_zero(tables[i].bytes + at))
				madvise(tables[i].bytes + at, PAGE_BYTES, MADV_DONTNEED);
		}
	}
}
