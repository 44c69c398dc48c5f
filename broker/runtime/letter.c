/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/letter.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/rcu.h"
#include "runtime/message_home.h"
#include "runtime/outbox.h"
#include "runtime/runtime.h"

/* One turn's share, so that a flood of letters does not keep sockets waiting. */
#define TURN_LETTERS_MAX 4096
#define TURN_MESSAGES_MAX 16384
#define TURN_LETTERS_US 1000
#define TURN_CLOCK_EVERY 16 /* some hold more than fifty messages */
#define TURN_WAITERS_MAX 256

void *letter_create(struct worker *me, const struct letter_type *type, size_t size)
{
	struct letter *letter;

	BUG_ON(size < sizeof *letter || size > UINT32_MAX);
	letter = block_alloc(me, size);
	BUG_ON(!letter);
	memset(letter, 0, size);
	letter->type = type;
	letter->size = (uint32_t)size;
	letter->home = me ? me->id : (uint16_t)WORKER_NONE;
	letter->target = WORKER_NONE;
	letter->wake_home = type->return_is_awaited;
	return letter;
}

void letter_destroy(struct worker *me, struct letter *letter)
{
	block_free(me, letter, letter->size);
}

bool letter_has_credit(struct worker *me, uint16_t target)
{
	return me->outboxes[target].credits > 0;
}

void letter_take_credit(struct worker *me, struct letter *letter)
{
	BUG_ON(me->outboxes[letter->target].credits == 0);
	me->outboxes[letter->target].credits--;
	letter->credits++;
}

struct letter *letter_last_posted(struct worker *me, uint16_t target)
{
	const struct node_list *letters = &me->outboxes[target].letters;

	return letters->first ? (struct letter *)letters->last : NULL;
}

void letter_begin_here(struct worker *me, struct letter *letter)
{
	BUG_ON(letter->home != me->id || letter->type->takes_credit);
	letter->target = me->id;
	letter->returning = false;
	me->letters_out++;
}

void letter_post(struct worker *me, uint16_t target, struct letter *letter)
{
	BUG_ON(letter->home != me->id || target >= me->runtime->settings.workers);
	if (letter->type->takes_credit) {
		letter->target = target;
		letter_take_credit(me, letter);
	}
	letter->target = target;
	letter->returning = false;
	me->letters_out++;
	outbox_add_letter(me, target, letter, OUTBOX_URGENT);
}

void letter_return(struct worker *me, struct letter *letter)
{
	DEBUG_BUG_ON(letter->returning || letter->target != me->id);
	if (letter->home == WORKER_NONE) {
		me->foreign_done++;
		letter->type->on_return(me, letter);
		return;
	}
	letter->returning = true;
	outbox_add_letter(me, letter->home, letter,
			  letter->wake_home ? OUTBOX_URGENT : OUTBOX_LAZY);
}

void letter_post_foreign(struct worker *target, struct letter *letter)
{
	struct runtime *runtime = target->runtime;
	struct node_list list = {NULL, NULL};

	BUG_ON(letter->home != WORKER_NONE || letter->type->takes_credit);
	__atomic_add_fetch(&runtime->foreign_posters, 1, __ATOMIC_ACQ_REL);
	letter->target = target->id;
	letter->returning = false;
	if (!letter->is_lent)
		runtime_busy_add(runtime, 1);
	node_list_add(&list, &letter->node);
	mailbox_post(target->mailbox, MAILBOX_LETTERS, &list);
	if (mailbox_wake_is_due(target->mailbox, true))
		worker_wake(target);
	__atomic_sub_fetch(&runtime->foreign_posters, 1, __ATOMIC_ACQ_REL);
}

void letter_lend(struct worker *me, struct letter *letter)
{
	BUG_ON(letter->home != WORKER_NONE || letter->is_lent);
	letter->is_lent = true;
	runtime_busy_add(me->runtime, 1);
}

void letter_take_back(struct worker *me, struct letter *letter)
{
	BUG_ON(!letter->is_lent);
	letter->is_lent = false;
	runtime_busy_drop(me->runtime, 1);
}

static void letter_come_home(struct worker *me, struct letter *letter)
{
	me->letters_out--;
	if (letter->type->takes_credit) {
		me->outboxes[letter->target].credits += letter->credits;
		letter->credits = 0;
		me->credit_waiters_to_try = me->credit_waiter_count;
	}
	letter->type->on_return(me, letter);
}

static void letter_deliver(struct worker *me, struct letter *letter)
{
	if (letter->returning)
		letter_come_home(me, letter);
	else
		letter->type->on_arrive(me, letter);
}

/* One from outside and one of our own by turns, so that neither can starve the other. */
static bool letters_deliver_two(struct worker *me, bool *out_is_busy)
{
	struct letter_node *theirs = mailbox_take(me->mailbox, MAILBOX_LETTERS, out_is_busy);
	struct letter_node *ours = node_list_take(&me->outboxes[me->id].letters);

	if (theirs)
		letter_deliver(me, (struct letter *)theirs);
	if (ours)
		letter_deliver(me, (struct letter *)ours);
	return theirs || ours;
}

/* True: there is more. */
static bool messages_take_home(struct worker *me)
{
	bool is_busy;

	for (unsigned n = 0; n < TURN_MESSAGES_MAX; n++) {
		struct letter_node *node = mailbox_take(me->mailbox, MAILBOX_MESSAGES, &is_busy);

		if (!node)
			return is_busy;
		message_come_home(me, node);
	}
	return true;
}

bool letters_deliver(struct worker *me)
{
	uint64_t begin_us = 0;
	bool is_busy = false, more;
	unsigned n = 0;

	if (messages_take_home(me))
		is_busy = true;
	rcu_read_section_begin();
	for (more = true; more && n < TURN_LETTERS_MAX; n++) {
		if (n % TURN_CLOCK_EVERY == TURN_CLOCK_EVERY - 1) {
			uint64_t now_us = clock_now_us();

			begin_us = begin_us ? begin_us : now_us;
			if (now_us - begin_us >= TURN_LETTERS_US)
				break;
		}
		more = letters_deliver_two(me, &is_busy);
	}
	rcu_read_section_end();
	/* A poster was suspended in the midst of posting: let it end rather than spin. */
	if (is_busy && !more)
		sched_yield();
	return more || is_busy;
}

void letter_wait_for_credit(struct worker *me, struct credit_waiter *waiter)
{
	if (waiter->pprev)
		return;
	waiter->worker = me;
	waiter->next = NULL;
	waiter->pprev = me->credit_waiters_tail;
	*waiter->pprev = waiter;
	me->credit_waiters_tail = &waiter->next;
	me->credit_waiter_count++;
	/* Nothing of ours is out that could come home and wake it. */
	if (me->letters_out == 0)
		me->credit_waiters_to_try = me->credit_waiter_count;
}

void letter_wait_cancel(struct credit_waiter *waiter)
{
	struct worker *me = waiter->worker;

	if (!waiter->pprev)
		return;
	*waiter->pprev = waiter->next;
	if (waiter->next)
		waiter->next->pprev = waiter->pprev;
	else
		me->credit_waiters_tail = waiter->pprev;
	waiter->pprev = NULL;
	me->credit_waiter_count--;
}

bool letters_try_waiters(struct worker *me)
{
	unsigned n = me->credit_waiters_to_try;

	if (n > TURN_WAITERS_MAX)
		n = TURN_WAITERS_MAX;
	me->credit_waiters_to_try -= n;
	for (; n > 0 && me->credit_waiters; n--) {
		struct credit_waiter *waiter = me->credit_waiters;

		letter_wait_cancel(waiter);
		waiter->on_credit(me, waiter);
	}
	if (!me->credit_waiters)
		me->credit_waiters_to_try = 0;
	return me->credit_waiters_to_try > 0;
}
