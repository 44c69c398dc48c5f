/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory_return.h - after a peak the system gets its memory back.
 *
 * What a crowd has left behind lies between what others still hold, and the allocator keeps it. When
 * most of what was in use has been freed, it is told to give whole pages back. Nothing runs while
 * memory only grows, or falls a little.
 *
 * Owner: the main thread.
 */
#ifndef NIGHTJAR_SERVER_MEMORY_RETURN_H
#define NIGHTJAR_SERVER_MEMORY_RETURN_H

#include <stdbool.h>
#include <uv.h>

struct memory_return {
	uv_async_t fell;   /* sent by any thread */
	uv_timer_t settle; /* more will be freed in the next moments */
	bool is_rest;	   /* the next time is the last one until there is another fall */
};

/* Also says to the allocator how much it may keep. */
void memory_return_open(struct memory_return *memory, uv_loop_t *loop);
/* The handles are closed by the loop's next run. */
void memory_return_close(struct memory_return *memory);

#endif
