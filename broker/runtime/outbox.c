/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/outbox.h"

#include <stdlib.h>

#include "base/bug.h"
#include "runtime/runtime.h"
#include "runtime/worker.h"

/* So much memory may lie in the mailbox of a worker that sleeps. */
#define LAZY_BYTES_MAX 65536

bool outboxes_create(struct worker *me)
{
	unsigned count = me->runtime->settings.workers;

	me->outboxes = calloc(count, sizeof *me->outboxes);
	me->posted_to = calloc(count, sizeof *me->posted_to);
	if (!me->outboxes || !me->posted_to)
		return false;
	for (unsigned i = 0; i < count; i++)
		me->outboxes[i].credits = me->runtime->settings.mailbox_letters;
	return true;
}

void outboxes_destroy(struct worker *me)
{
	/* A letter left here was made after the last turn, by what should have been stopped. */
	DEBUG_BUG_ON(me->outboxes && outbox_has_own_letters(&me->outboxes[me->id]));
	free(me->outboxes);
	free(me->posted_to);
	me->outboxes = NULL;
	me->posted_to = NULL;
}

static struct outbox *outbox_touch(struct worker *me, uint16_t target)
{
	struct outbox *outbox = &me->outboxes[target];

	if (!outbox->is_listed && target != me->id) {
		outbox->is_listed = true;
		me->posted_to[me->posted_to_count++] = target;
	}
	return outbox;
}

static void outbox_note_haste(struct outbox *outbox, enum outbox_haste haste, unsigned count,
			      size_t size)
{
	if (haste == OUTBOX_URGENT) {
		outbox->is_urgent = true;
		return;
	}
	outbox->lazy_count += count;
	outbox->lazy_bytes += size;
}

void outbox_add_letter(struct worker *me, uint16_t target, struct letter *letter,
		       enum outbox_haste haste)
{
	struct outbox *outbox = outbox_touch(me, target);

	node_list_add(&outbox->letters, &letter->node);
	outbox_note_haste(outbox, haste, letter->credits > 1 ? letter->credits : 1, letter->size);
	if (target != me->id)
		counter_add(me->counters, COUNTER_LETTERS_POSTED, 1);
}

void outbox_add_message(struct worker *me, uint16_t home, struct letter_node *node, size_t size)
{
	struct outbox *outbox = outbox_touch(me, home);

	BUG_ON(home == me->id);
	node_list_add(&outbox->messages, node);
	outbox_note_haste(outbox, OUTBOX_LAZY, 1, size);
}

static void outbox_post(struct worker *me, uint16_t target)
{
	struct worker *receiver = me->runtime->workers[target];
	struct outbox *outbox = &me->outboxes[target];
	bool is_urgent = outbox->is_urgent || outbox->lazy_bytes >= LAZY_BYTES_MAX ||
			 outbox->lazy_count >= me->runtime->lazy_letters_max;

	outbox->is_listed = false;
	outbox->is_urgent = false;
	/* Blocks first: whoever wakes for the letters finds memory to answer with. */
	if (outbox->messages.first)
		mailbox_post(receiver->mailbox, MAILBOX_MESSAGES, &outbox->messages);
	if (outbox->letters.first)
		mailbox_post(receiver->mailbox, MAILBOX_LETTERS, &outbox->letters);
	if (mailbox_wake_is_due(receiver->mailbox, is_urgent))
		worker_wake(receiver);
	if (is_urgent) {
		outbox->lazy_count = 0;
		outbox->lazy_bytes = 0;
	}
}

void outboxes_post(struct worker *me)
{
	for (unsigned i = 0; i < me->posted_to_count; i++)
		outbox_post(me, me->posted_to[i]);
	me->posted_to_count = 0;
}
