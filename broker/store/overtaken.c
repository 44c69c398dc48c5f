/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overtaken.c - an older value of a retained topic that comes after the removal of a newer one.
 *
 *	worker A: draws version 5 ................. ends its turn: "5: value"
 *	worker B:          draws version 6, ends its turn: "6: removed"
 *
 * The last to draw has won, and the removal may have been acknowledged; but it leaves nothing in the table
 * that would tell of its version. So the writer remembers it (ledger.c) until each worker has ended a turn
 * since. It asks for that by raising the round; a worker that has nothing to post posts an empty batch.
 *
 * The next process remembers nothing. What A has in its ring must not be replayed after a removal that
 * is in the tables. So before a commit that removes, the writer
 *
 *	1 makes `removals` odd			from now on A's values stay out of the ring
 *	2 waits for who is adding one just now	(some instructions)
 *	3 takes in what has come until then	it is in this commit, as B's removal is
 *	4 makes `removals` even			and what A has drawn before stays out of the ring, too
 *
 * and what is not in the ring the writer sees, who remembers.
 */
#include <sched.h>

#include "store/engine.h"

void overtaken_look(struct store_worker *mine)
{
	if (mine->ring)
		mine->removals_at = __atomic_load_n(&mine->store->removals, __ATOMIC_SEQ_CST);
}

bool overtaken_begin(struct store_worker *mine)
{
	uint64_t removals;

	/* Either the writer sees it, or it sees the writer. */
	__atomic_store_n(&mine->is_adding, true, __ATOMIC_SEQ_CST);
	removals = __atomic_load_n(&mine->store->removals, __ATOMIC_SEQ_CST);
	return removals == mine->removals_at && removals % 2 == 0;
}

void overtaken_end(struct store_worker *mine)
{
	if (!mine->has_retained)
		return;
	mine->has_retained = false;
	__atomic_store_n(&mine->is_adding, false, __ATOMIC_RELEASE);
}

/* What has been added to its ring is in the mailbox as well. */
static void gather_of(struct store *store, const struct store_worker *mine)
{
	while (__atomic_load_n(&mine->is_adding, __ATOMIC_SEQ_CST))
		sched_yield();
	while (store->ledger.taken[mine->worker->id] <
	       __atomic_load_n(&mine->retained_sequence, __ATOMIC_RELAXED))
		writer_take_batches(store);
}

void overtaken_gather(struct store *store)
{
	/* What comes with it may remove for the first time. */
	if (store->ledger.meta.rings == 0 || !store->ledger.removes_retained)
		return;
	__atomic_add_fetch(&store->removals, 1, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < store->settings.workers; i++)
		if (store->workers[i])
			gather_of(store, store->workers[i]);
	__atomic_add_fetch(&store->removals, 1, __ATOMIC_SEQ_CST);
}

void overtaken_tell_round(struct store *store)
{
	if (__atomic_load_n(&store->round, __ATOMIC_RELAXED) == store->ledger.round)
		return;
	__atomic_store_n(&store->round, store->ledger.round, __ATOMIC_RELEASE);
	store_changed(store);
}
