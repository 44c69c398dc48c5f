/* SPDX-License-Identifier: Apache-2.0 */
#include "server/memory_return.h"

#include <inttypes.h>
#include <malloc.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define SETTLE_MS 1000
/* What was freed in the meantime is less than what tells of a fall; it goes back then. */
#define REST_MS 5000

/*
 * Left alone, glibc gives back what a freed message of 1 MiB leaves at the end of a heap, and takes it
 * again, a page fault for each 4 KiB, with the next one: two thirds of what such a message cost. What a
 * heap may keep is little beside what a peak leaves, and for that there is on_settled().
 */
#define HEAP_KEEPS_BYTES (32 * 1024 * 1024)
/* From here on a block has a mapping of its own. Set as well, because glibc no longer adapts it. */
#define OWN_MAPPING_BYTES (4 * 1024 * 1024)

/*
 * malloc_trim() holds one arena's lock after the other, which a worker meets when its own cache of
 * freed blocks is empty: 80 ms for 150 MiB on a busy machine, once after a crowd has left.
 */
static void on_settled(uv_timer_t *timer)
{
	struct memory_return *memory = timer->data;
	uint64_t began_us = clock_now_us();

	malloc_trim(0);
	if (!memory->is_rest)
		uv_timer_start(timer, on_settled, REST_MS, 0);
	memory->is_rest = true;
	if (log_is_enabled(LOG_TYPE_DEBUG))
		log_event(LOG_TYPE_DEBUG, NULL,
			  "Memory of a peak was given back to the system, in %" PRIu64 " us",
			  clock_now_us() - began_us);
}

static void on_fell(uv_async_t *async)
{
	struct memory_return *memory = async->data;

	memory->is_rest = false;
	uv_timer_start(&memory->settle, on_settled, SETTLE_MS, 0);
}

static void tell(void *context)
{
	struct memory_return *memory = context;

	uv_async_send(&memory->fell);
}

void memory_return_open(struct memory_return *memory, uv_loop_t *loop)
{
	mallopt(M_TRIM_THRESHOLD, HEAP_KEEPS_BYTES);
	mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
	BUG_ON(uv_async_init(loop, &memory->fell, on_fell) != 0);
	uv_timer_init(loop, &memory->settle);
	memory->fell.data = memory->settle.data = memory;
	memory->is_rest = true;
	memory_on_fall(tell, memory);
}

void memory_return_close(struct memory_return *memory)
{
	memory_on_fall(NULL, NULL);
	uv_close((uv_handle_t *)&memory->fell, NULL);
	uv_close((uv_handle_t *)&memory->settle, NULL);
}
