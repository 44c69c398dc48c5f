/* SPDX-License-Identifier: Apache-2.0 */
/*
 * letter.h - how one worker hands work to another.
 *
 * A letter is a struct that starts with struct letter. The sender makes it, posts it, and gets it
 * back: once the receiver is done it returns the letter, and on_return runs at home. So the way
 * back is the receipt, the returned credit, and the homecoming of the memory in one.
 *
 *	home: letter_post() --> outbox --(end of turn, one batch)--> mailbox: on_arrive
 *	home: on_return     <-- mailbox <--(end of turn)------------ letter_return()
 *
 * Credits. A letter of a type with takes_credit is new work: each pair of workers has
 * `mailbox_letters` credits, one is taken by letter_post() and comes back with the letter. The
 * poster asks letter_has_credit() first and, without one, parks what it was doing
 * (letter_wait_for_credit()). Letters without takes_credit answer work that was bounded already.
 *
 * Threads: all functions run on the worker `me`, except letter_post_foreign().
 */
#ifndef NIGHTJAR_RUNTIME_LETTER_H
#define NIGHTJAR_RUNTIME_LETTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;
struct letter;

/* Layout of liburcu's cds_wfcq_node: checked in letter.c, so that no header of liburcu is needed. */
struct letter_node {
	struct letter_node *next;
};

struct letter_type {
	const char *name;
	/* On the receiver. Must end in letter_return(), now or later. */
	void (*on_arrive)(struct worker *me, struct letter *letter);
	/* At home, once it has come back. Must end in letter_destroy() (or keep it for reuse). For
	 * foreign letters (no home) it runs on the receiver inside letter_return(). */
	void (*on_return)(struct worker *home, struct letter *letter);
	bool takes_credit;
	/* The sender waits for the answer: the return wakes it. Otherwise returns travel with other
	 * letters or when enough of them have gathered. */
	bool return_is_awaited;
};

struct letter {
	struct letter_node node;
	const struct letter_type *type;
	uint32_t size; /* of the whole block, for the cache */
	uint16_t home; /* WORKER_NONE: foreign */
	uint16_t target;
	uint16_t credits; /* that it has taken */
	bool returning;
	bool is_lent;
	bool wake_home; /* set by letter_create() from the type; a sender may change it */
};

/* size: of the struct that starts with struct letter. Zeroed behind the header. Never NULL: the
 * number of letters is bounded by credits, so no memory for one stops the process. */
void *letter_create(struct worker *me, const struct letter_type *type, size_t size);
void letter_destroy(struct worker *me, struct letter *letter);

bool letter_has_credit(struct worker *me, uint16_t target);
/* Puts the letter into the outbox of target (which may be me: it then arrives at the end of this
 * turn, or of the next one, which comes at once); leaves with the end of the turn. Takes a credit
 * if its type says so; without one: BUG. */
void letter_post(struct worker *me, uint16_t target, struct letter *letter);
void letter_return(struct worker *me, struct letter *letter);

/*
 * The letter that was posted last to this target in this turn, if it has not left yet: who adds to it
 * keeps the order of letters. NULL: there is none. More work in a letter takes a credit more.
 */
struct letter *letter_last_posted(struct worker *me, uint16_t target);
void letter_take_credit(struct worker *me, struct letter *letter);
/* A letter of one's own, as if it had been posted to oneself and were arriving now: it ends in
 * letter_return(). For types without takes_credit. */
void letter_begin_here(struct worker *me, struct letter *letter);

/* From any thread that is no worker: main thread, thread pool. Allocated with malloc through
 * letter_create(NULL, ...); takes no credit. */
void letter_post_foreign(struct worker *target, struct letter *letter);

/*
 * A foreign letter that others were given and will post some time (a plugin's answer): from here on
 * the runtime does not stop before it has arrived. Once it has been lent it is theirs, and only who
 * knows that they will not post it may take it back and destroy it.
 */
void letter_lend(struct worker *me, struct letter *letter);
void letter_take_back(struct worker *me, struct letter *letter);

/* Waiting for credit. An entry is queued at most once; on_credit runs on me, in a later turn, when
 * a letter came home from any target; it looks again with letter_has_credit(), and queues itself
 * again, behind the others, if it is still without. */
struct credit_waiter {
	struct credit_waiter *next, **pprev; /* pprev NULL: not waiting */
	struct worker *worker;		     /* set while waiting */
	void (*on_credit)(struct worker *me, struct credit_waiter *waiter);
};
void letter_wait_for_credit(struct worker *me, struct credit_waiter *waiter);
void letter_wait_cancel(struct credit_waiter *waiter);

#endif
