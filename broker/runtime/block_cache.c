/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/block_cache.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/timer_wheel.h"
#include "runtime/worker.h"

#if defined(__SANITIZE_ADDRESS__)
#define BLOCKS_ARE_POISONED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BLOCKS_ARE_POISONED 1
#endif
#endif

/* A block in the cache is as good as freed: AddressSanitizer reports who still touches it. */
#ifdef BLOCKS_ARE_POISONED
#include <sanitizer/asan_interface.h>
#define BLOCK_POISON(block, size) ASAN_POISON_MEMORY_REGION((block), (size))
#define BLOCK_UNPOISON(block, size) ASAN_UNPOISON_MEMORY_REGION((block), (size))
#else
#define BLOCK_POISON(block, size) ((void)(size))
#define BLOCK_UNPOISON(block, size) ((void)(size))
#endif

#define STEP 64
#define CLASSES 10

static const uint16_t class_size[CLASSES] = {64,  128, 192,  256,  384,
					     512, 768, 1024, 1536, BLOCK_SIZE_MAX};

/* Class of a size, by its number of steps less one. */
static const uint8_t class_of_steps[BLOCK_SIZE_MAX / STEP] = {
	0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7,
	8, 8, 8, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9,
};

struct block {
	struct block *next;
};

struct block_list {
	struct block *first;
	unsigned count;
	unsigned unused; /* the fewest there were since the last trim: so many nobody needed */
};

struct block_cache {
	struct worker *owner;
	struct timer trim;
	struct block_list list[CLASSES];
};

static unsigned block_class(size_t size)
{
	return class_of_steps[(size - 1) / STEP];
}

/* Who takes one will take the next soon, which nobody has touched for a while, and write it. */
static void block_expect(const struct block *block)
{
	const char *at = (const char *)block;

	__builtin_prefetch(at, 1);
	__builtin_prefetch(at + 64, 1);
	__builtin_prefetch(at + 128, 1);
	__builtin_prefetch(at + 192, 1);
}

static void *block_list_take(struct block_list *list, size_t size)
{
	struct block *block = list->first;

	BLOCK_UNPOISON(block, size);
	list->first = block->next;
	block_expect(list->first);
	list->count--;
	if (list->count < list->unused)
		list->unused = list->count;
	return block;
}

static void block_list_trim(struct block_list *list, size_t size)
{
	for (unsigned n = list->unused; n > 0; n--)
		free(block_list_take(list, size));
	list->unused = list->count;
}

size_t block_cache_bytes(const struct block_cache *cache)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < CLASSES; i++)
		bytes += (size_t)cache->list[i].count * class_size[i];
	return bytes;
}

static void block_cache_on_trim(struct timer *timer)
{
	struct block_cache *cache = TIMER_OWNER(timer, struct block_cache, trim);

	for (unsigned i = 0; i < CLASSES; i++)
		block_list_trim(&cache->list[i], class_size[i]);
	/* An idle worker's cache is empty after the second time; then nothing wakes it. */
	if (block_cache_bytes(cache) > 0)
		timer_arm_in(&cache->owner->wheel, timer, BLOCK_TRIM_MS);
}

struct block_cache *block_cache_create(struct worker *owner)
{
	struct block_cache *cache = calloc(1, sizeof *cache);

	if (!cache)
		return NULL;
	cache->owner = owner;
	timer_init(&cache->trim, block_cache_on_trim);
	return cache;
}

void block_cache_destroy(struct block_cache **cache)
{
	struct block_cache *c = *cache;

	*cache = NULL;
	if (!c)
		return;
	timer_disarm(&c->owner->wheel, &c->trim);
	for (unsigned i = 0; i < CLASSES; i++) {
		c->list[i].unused = c->list[i].count;
		block_list_trim(&c->list[i], class_size[i]);
	}
	free(c);
}

void *block_alloc(struct worker *me, size_t size)
{
	unsigned class;

	if (size == 0 || size > BLOCK_SIZE_MAX)
		return malloc(size);
	class = block_class(size);
	if (me && me->blocks->list[class].first)
		return block_list_take(&me->blocks->list[class], class_size[class]);
	return malloc(class_size[class]);
}

void block_free(struct worker *me, void *pointer, size_t size)
{
	struct block *block = pointer;
	struct block_list *list;
	unsigned class;

	if (!me || size == 0 || size > BLOCK_SIZE_MAX) {
		free(block);
		return;
	}
	class = block_class(size);
	list = &me->blocks->list[class];
	if ((list->count + 1) * class_size[class] > BLOCK_CLASS_BYTES_MAX) {
		free(block);
		return;
	}
	block->next = list->first;
	list->first = block;
	list->count++;
	BLOCK_POISON(block, class_size[class]);
	if (!timer_is_armed(&me->blocks->trim))
		timer_arm_in(&me->wheel, &me->blocks->trim, BLOCK_TRIM_MS);
}
