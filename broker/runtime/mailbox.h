/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox.h - where the batches of all other threads arrive for one worker.
 *
 * Two lanes (letters, and the blocks of messages on their way home), each a wait-free queue that
 * anybody posts to and the owner takes from. A mailbox also knows whether its owner sleeps, so that
 * a batch for a worker that is awake costs no system call.
 *
 * A wake-up is never lost: the poster posts first and then reads the owner's state; the owner
 * writes its state first and then looks at the lanes. One of the two sees the other.
 */
#ifndef NIGHTJAR_RUNTIME_MAILBOX_H
#define NIGHTJAR_RUNTIME_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/letter.h"

struct mailbox;

enum mailbox_lane { MAILBOX_LETTERS, MAILBOX_MESSAGES, MAILBOX_LANES };

/* A chain of nodes that one thread gathers. Empty: first is NULL. */
struct node_list {
	struct letter_node *first, *last;
};

static inline void node_list_add(struct node_list *list, struct letter_node *node)
{
	node->next = NULL;
	if (list->first)
		list->last->next = node;
	else
		list->first = node;
	list->last = node;
}

static inline struct letter_node *node_list_take(struct node_list *list)
{
	struct letter_node *node = list->first;

	if (node)
		list->first = node->next;
	return node;
}

/* NULL: no memory. A new mailbox counts as asleep: it wants to be woken. */
struct mailbox *mailbox_create(void);
/* The lanes must be empty. */
void mailbox_destroy(struct mailbox **mailbox);

/* Any thread. Moves the whole list, which must not be empty, and leaves it empty. */
void mailbox_post(struct mailbox *mailbox, enum mailbox_lane lane, struct node_list *list);
/* Any thread, after mailbox_post(). True: the caller must wake the owner, and nobody else will.
 * is_urgent: what was posted cannot wait until the owner wakes for another reason. */
bool mailbox_wake_is_due(struct mailbox *mailbox, bool is_urgent);
/* Any thread: counts a message that came home from no worker; true now and then, when so many have
 * gathered that the owner should see to them. */
bool mailbox_gathers_foreign(struct mailbox *mailbox);

/*
 * Owner. NULL: nothing to take now; then *out_is_busy tells of a poster that has begun and not
 * ended (for an instant, or longer if the system has suspended it): look again soon.
 */
struct letter_node *mailbox_take(struct mailbox *mailbox, enum mailbox_lane lane,
				 bool *out_is_busy);
bool mailbox_is_empty(struct mailbox *mailbox);
/* Owner, before it sleeps. False: something has arrived, do not. is_starving: from now on whatever
 * is posted is worth a wake-up. */
bool mailbox_sleep(struct mailbox *mailbox, bool is_starving);
/* Owner, when it has woken. */
void mailbox_awake(struct mailbox *mailbox);

#endif
