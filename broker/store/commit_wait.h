/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_wait.h - what may go on only when the store has it.
 *
 * Each worker numbers its posts to the store. What depends on a post (an answer to a client, a
 * packet whose Packet Identifier must survive) waits here, on the worker that will go on, behind
 * the number of the worker that posted:
 *
 *	worker 0's posts:  [812: PUBACK 7 of client A][812: client B][840: client A] --> as commits come
 *	worker 1's posts:  [77: client A]
 *
 * Numbers come in rising order, or nearly: one that stands behind a higher one goes with that one.
 * Owner: the worker that waits.
 */
#ifndef NIGHTJAR_STORE_COMMIT_WAIT_H
#define NIGHTJAR_STORE_COMMIT_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/* handle and token are the caller's: it looks up whether what waited is still there. */
typedef void (*commit_ready_fn)(struct worker *me, uint64_t handle, uint64_t token);

/* Main thread, before the workers start and after they ended. */
enum err commit_wait_init(struct worker *worker) ERR_CHECKED;
void commit_wait_fini(struct worker *worker);

/* The posts of me so far, to be compared later; without a store it costs one look. */
static inline uint64_t commit_mark(const struct worker *me)
{
	return store_is_open(me) ? store_posted(me) : 0;
}

/* The number to wait for when something was posted since the mark; else 0. */
static inline uint64_t commit_number_since(const struct worker *me, uint64_t mark)
{
	uint64_t now = commit_mark(me);

	return now == mark ? 0 : now;
}

/* Does this post of that worker still have to be committed? number 0: nothing was posted. */
static inline bool commit_is_pending(const struct worker *me, uint16_t worker, uint64_t number)
{
	return number && number > store_committed(me, worker);
}

/* ready runs on me, in a later turn, when the post is committed. Never fails: no memory for 32 bytes
 * stops the process, like a letter that cannot be made. */
void commit_wait_add(struct worker *me, uint16_t worker, uint64_t number, commit_ready_fn ready,
		     uint64_t handle, uint64_t token);

/* On the worker, when commits have advanced: lets go what no longer waits. */
void commit_wait_run(struct worker *me);

/* Does something of this handle wait for that worker's commits? O(what waits): for checks. */
bool commit_wait_has(const struct worker *me, uint16_t worker, uint64_t handle);

/* How many wait here. */
uint64_t commit_wait_count(const struct worker *me);

#endif
