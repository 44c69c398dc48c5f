/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox.h - what one worker has gathered in this turn for another, and its credit there.
 *
 * Owner: the worker that sends; outbox t of a worker is for worker t. Its own outbox is never
 * posted: it is the list of its letters to itself. Used by letter.c, message.c and worker.c.
 */
#ifndef NIGHTJAR_RUNTIME_OUTBOX_H
#define NIGHTJAR_RUNTIME_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/mailbox.h"

struct worker;

/* How soon the receiver should see it: URGENT wakes it, LAZY only when enough has gathered. */
enum outbox_haste { OUTBOX_LAZY, OUTBOX_URGENT };

struct outbox {
	struct node_list letters, messages;
	unsigned credits;
	bool is_listed; /* in worker->posted_to */
	bool is_urgent;
	/* Lazy ones since we last woke the receiver or found it awake. */
	unsigned lazy_count;
	size_t lazy_bytes;
};

/* false: no memory. */
bool outboxes_create(struct worker *me);
void outboxes_destroy(struct worker *me);

void outbox_add_letter(struct worker *me, uint16_t target, struct letter *letter,
		       enum outbox_haste haste);
/* node is the home_node of a message of size bytes that nobody uses any more. */
void outbox_add_message(struct worker *me, uint16_t home, struct letter_node *node, size_t size);

/* The end of the turn: one batch per target, and a wake-up where one is due. */
void outboxes_post(struct worker *me);

static inline bool outbox_has_own_letters(const struct outbox *own)
{
	return own->letters.first != NULL;
}

#endif
