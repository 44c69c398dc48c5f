/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/mailbox.h"

#include <stdlib.h>
#include <urcu/wfcqueue.h>

#include "base/bug.h"
#include "base/rcu.h"

_Static_assert(sizeof(struct letter_node) == sizeof(struct cds_wfcq_node) &&
		       offsetof(struct letter_node, next) == offsetof(struct cds_wfcq_node, next),
	       "a letter_node is liburcu's node under another name");

enum mailbox_state { MAILBOX_AWAKE, MAILBOX_ASLEEP, MAILBOX_STARVING };

#define FOREIGN_GATHERED_MAX 64

/* Heads belong to the owner, tails to everybody: on cache lines of their own. */
struct mailbox {
	struct __cds_wfcq_head head[MAILBOX_LANES];
	struct {
		struct cds_wfcq_tail tail;
	} __attribute__((aligned(64))) end[MAILBOX_LANES];
	int state __attribute__((aligned(64))); /* enum mailbox_state; any thread */
	unsigned foreign_gathered;		/* any thread */
};

struct mailbox *mailbox_create(void)
{
	struct mailbox *mailbox = aligned_alloc(64, sizeof *mailbox);

	if (!mailbox)
		return NULL;
	for (int lane = 0; lane < MAILBOX_LANES; lane++)
		__cds_wfcq_init(&mailbox->head[lane], &mailbox->end[lane].tail);
	mailbox->state = MAILBOX_ASLEEP;
	mailbox->foreign_gathered = 0;
	return mailbox;
}

void mailbox_destroy(struct mailbox **mailbox)
{
	if (!*mailbox)
		return;
	BUG_ON(!mailbox_is_empty(*mailbox));
	free(*mailbox);
	*mailbox = NULL;
}

/*
 * ThreadSanitizer does not see into liburcu: what the sender did to a letter is handed over at the
 * letter's own node. One object for the whole queue would also order letters that have nothing to
 * do with each other, and hide races.
 */
static void release_nodes(struct node_list *list)
{
#ifdef RCU_TELLS_TSAN
	struct letter_node *next;

	for (struct letter_node *node = list->first; node; node = next) {
		next = node->next;
		TSAN_RELEASE(node);
	}
#else
	(void)list;
#endif
}

void mailbox_post(struct mailbox *mailbox, enum mailbox_lane lane, struct node_list *list)
{
	struct __cds_wfcq_head head;
	struct cds_wfcq_tail tail;

	/* The list becomes a queue as it is, so that a batch of any length is one exchange. */
	head.node.next = (struct cds_wfcq_node *)list->first;
	tail.p = (struct cds_wfcq_node *)list->last;
	release_nodes(list);
	__cds_wfcq_splice_blocking(&mailbox->head[lane], &mailbox->end[lane].tail, &head, &tail);
	list->first = NULL;
}

bool mailbox_wake_is_due(struct mailbox *mailbox, bool is_urgent)
{
	int state;

	cmm_smp_mb(); /* posted before state is read; pairs with mailbox_sleep() */
	state = __atomic_load_n(&mailbox->state, __ATOMIC_RELAXED);
	if (state == MAILBOX_AWAKE || (state == MAILBOX_ASLEEP && !is_urgent))
		return false;
	return __atomic_exchange_n(&mailbox->state, MAILBOX_AWAKE, __ATOMIC_SEQ_CST) !=
	       MAILBOX_AWAKE;
}

bool mailbox_gathers_foreign(struct mailbox *mailbox)
{
	unsigned n = __atomic_add_fetch(&mailbox->foreign_gathered, 1, __ATOMIC_RELAXED);

	return n % FOREIGN_GATHERED_MAX == 0;
}

struct letter_node *mailbox_take(struct mailbox *mailbox, enum mailbox_lane lane, bool *out_is_busy)
{
	struct cds_wfcq_node *node;

	node = __cds_wfcq_dequeue_nonblocking(&mailbox->head[lane], &mailbox->end[lane].tail);
	*out_is_busy = node == CDS_WFCQ_WOULDBLOCK;
	if (!node || *out_is_busy)
		return NULL;
	TSAN_ACQUIRE(node);
	return (struct letter_node *)node;
}

bool mailbox_is_empty(struct mailbox *mailbox)
{
	for (int lane = 0; lane < MAILBOX_LANES; lane++)
		if (!cds_wfcq_empty(&mailbox->head[lane], &mailbox->end[lane].tail))
			return false;
	return true;
}

bool mailbox_sleep(struct mailbox *mailbox, bool is_starving)
{
	int state = is_starving ? MAILBOX_STARVING : MAILBOX_ASLEEP;

	__atomic_store_n(&mailbox->state, state, __ATOMIC_SEQ_CST);
	cmm_smp_mb(); /* state is written before the lanes are read */
	if (mailbox_is_empty(mailbox))
		return true;
	mailbox_awake(mailbox);
	return false;
}

void mailbox_awake(struct mailbox *mailbox)
{
	if (__atomic_load_n(&mailbox->state, __ATOMIC_RELAXED) != MAILBOX_AWAKE)
		__atomic_store_n(&mailbox->state, MAILBOX_AWAKE, __ATOMIC_RELAXED);
}
