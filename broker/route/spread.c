/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spread.c - a fan-out to very many sessions, a slice per turn.
 *
 *	publisher --> [ result: 15,000 targets ]  slice 0 | slice 1 | ... | answer
 *	              letters of the same publisher wait behind, others pass by
 *
 * Between slices endpoints may end, so all slices but the first look their handles up. A
 * publisher of this worker is parked by its session meanwhile (publication.is_spreading). Its will,
 * or what it publishes over a new connection, waits behind the spread in letters to oneself.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "route/route_worker.h"
#include "store/commit_wait.h"

/* Owner: worker. */
struct spread {
	struct task task;
	struct spread *next;
	uint64_t origin_handle;	     /* whose publications queue behind */
	struct match_result *result; /* one reference */
	struct message *message;     /* one use */
	uint32_t at;
	struct publish_letter *letter;	/* to return at the end; NULL: from this worker */
	struct publication publication; /* without a letter: whom to tell */
	uint64_t store_number;		/* what was posted to the store for its slices so far */
	struct publish_letter *behind, **behind_end;
};

static void spread_answer(struct worker *me, struct spread *spread)
{
	handle_t publisher_handle = spread->publication.publisher;
	struct endpoint *publisher;

	match_result_unref(&spread->result);
	message_drop(me, &spread->message);
	if (spread->letter) {
		spread->letter->store_number = spread->store_number;
		letter_return(me, &spread->letter->letter);
		spread->letter = NULL;
		return;
	}
	if (!publisher_handle)
		return;
	spread->publication.publisher = 0;
	if (spread->publication.wants_receipt)
		route_receipt(me, me->id, spread->publication.origin.id ? 0 : spread->store_number,
			      publisher_handle, spread->publication.token);
	publisher = route_find(me, publisher_handle);
	if (publisher && publisher->ops->on_spread)
		publisher->ops->on_spread(me, publisher);
}

/* Takes the next letter that waited behind. true: there is a new fan-out to go on with. */
static bool spread_next_letter(struct worker *me, struct spread *spread)
{
	struct publish_letter *letter = spread->behind;
	struct match_result *large;

	if (!letter)
		return false;
	spread->behind = letter->next;
	if (!spread->behind)
		spread->behind_end = &spread->behind;
	if (route_letter_deliver(me, letter, &large)) {
		letter_return(me, &letter->letter);
		return true;
	}
	spread->letter = letter;
	spread->result = large;
	spread->message = letter->message;
	message_use(me, spread->message);
	spread->at = 0;
	spread->store_number = 0;
	return true;
}

static void spread_destroy(struct worker *me, struct spread *spread)
{
	struct spread **at = &route_worker_of(me)->spreads;

	while (*at != spread)
		at = &(*at)->next;
	*at = spread->next;
	free(spread);
}

static bool spread_run(struct worker *me, struct task *task)
{
	struct spread *spread = (struct spread *)(void *)task;
	uint32_t slice = route_worker_of(me)->settings.fanout_slice;
	uint64_t mark = commit_mark(me), number;
	uint32_t to;

	if (spread->result) {
		to = spread->at + slice;
		if (to > spread->result->target_count)
			to = spread->result->target_count;
		route_deliver_range(me, spread->message, spread->result,
				    spread->letter ? &spread->letter->origin
						   : &spread->publication.origin,
				    spread->at, to, true);
		number = commit_number_since(me, mark);
		if (number)
			spread->store_number = number;
		spread->at = to;
		if (to < spread->result->target_count)
			return true;
		spread_answer(me, spread);
	}
	if (spread_next_letter(me, spread))
		return true;
	spread_destroy(me, spread);
	return false;
}

void spread_start(struct worker *me, struct match_result *result, struct message *message,
		  struct publish_letter *letter, const struct publication *publication)
{
	struct route_worker *route = route_worker_of(me);
	struct spread *spread = calloc(1, sizeof *spread);

	BUG_ON(!spread); /* some 150 bytes; a letter or a PUBACK could not be made either */
	spread->task.run = spread_run;
	spread->origin_handle = message->origin_handle;
	spread->result = result;
	spread->message = message;
	message_use(me, message);
	spread->letter = letter;
	if (publication)
		spread->publication = *publication;
	spread->behind_end = &spread->behind;
	spread->next = route->spreads;
	route->spreads = spread;
	worker_add_task(me, &spread->task);
}

/* One that has just been answered, with nothing behind, is in nobody's way. */
static struct spread *spread_find(struct worker *me, uint64_t origin_handle)
{
	struct spread *spread = route_worker_of(me)->spreads;

	while (spread &&
	       (spread->origin_handle != origin_handle || (!spread->result && !spread->behind)))
		spread = spread->next;
	return spread;
}

bool spread_is_active(struct worker *me, uint64_t origin_handle)
{
	return spread_find(me, origin_handle) != NULL;
}

bool spread_queue_behind(struct worker *me, struct publish_letter *letter)
{
	struct spread *spread = spread_find(me, letter->message->origin_handle);

	if (!spread)
		return false;
	letter->next = NULL;
	*spread->behind_end = letter;
	spread->behind_end = &letter->next;
	return true;
}

/* With an origin, the publisher's state would be stored as if all had the message. */
static void no_receipt(bool *wants_receipt, const struct delivery_origin *origin)
{
	if (origin->id)
		*wants_receipt = false;
}

static void return_undelivered(struct worker *me, struct publish_letter *letter)
{
	no_receipt(&letter->wants_receipt, &letter->origin);
	letter_return(me, &letter->letter);
}

/* At the end of the process: letters go home undelivered, so that nothing is left behind. */
void spread_cancel_all(struct worker *me)
{
	struct route_worker *route = route_worker_of(me);

	while (route->spreads) {
		struct spread *spread = route->spreads;

		worker_cancel_task(&spread->task);
		no_receipt(&spread->publication.wants_receipt, &spread->publication.origin);
		if (spread->letter)
			no_receipt(&spread->letter->wants_receipt, &spread->letter->origin);
		if (spread->result)
			spread_answer(me, spread);
		while (spread->behind) {
			struct publish_letter *letter = spread->behind;

			spread->behind = letter->next;
			return_undelivered(me, letter);
		}
		spread_destroy(me, spread);
	}
}
