/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spread.c - a fan-out to very many sessions, a slice per turn.
 *
 *	publisher --> [ result: 15,000 targets ]  slice 0 | slice 1 | ... | answer
 *	              letters of the same publisher wait behind, others pass by
 *
 * One slice a turn, of one spread: with several they take turns, so that the time of a turn does not
 * depend on how many there are.
 *
 * A spread that has not begun takes more messages of its publisher to the same receivers: each of them
 * then gets all of them with one system call, which costs more than all else. A publisher that is
 * faster than its fan-outs thus makes each of them cheaper.
 *
 * Between slices endpoints may end, so all slices but the first look their handles up. A
 * publisher of this worker is parked by its session meanwhile (publication.is_spreading). Its will,
 * or what it publishes over a new connection, waits behind the spread in letters to oneself.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "route/route_worker.h"
#include "store/commit_wait.h"

/* One message of a spread. */
struct spread_item {
	struct spread_item *next;
	struct message *message;	/* one use */
	struct publish_letter *letter;	/* to return at the end; NULL: from this worker */
	struct publication publication; /* without a letter: whom to tell */
	uint64_t store_number;		/* what was posted to the store for its slices so far */
};

/* Owner: worker. */
struct spread {
	struct spread *next;
	uint64_t origin_handle;	     /* whose publications queue behind */
	struct match_result *result; /* one reference; NULL: everything is answered */
	uint32_t at;		     /* 0: it has not begun */
	uint32_t item_count;
	struct spread_item *items, **items_end;
	struct publish_letter *behind, **behind_end;
};

static void spread_add(struct worker *me, struct spread *spread, struct message *message,
		       struct publish_letter *letter, const struct publication *publication)
{
	struct spread_item *item = block_alloc(me, sizeof *item);

	BUG_ON(!item); /* some 150 bytes; a letter or a PUBACK could not be made either */
	*item = (struct spread_item){.message = message, .letter = letter};
	message_use(me, message);
	if (publication)
		item->publication = *publication;
	*spread->items_end = item;
	spread->items_end = &item->next;
	spread->item_count++;
}

static void item_answer(struct worker *me, struct spread_item *item)
{
	const struct publication *publication = &item->publication;

	if (item->letter) {
		item->letter->store_number = item->store_number;
		letter_return(me, &item->letter->letter);
	} else if (publication->publisher && publication->wants_receipt) {
		route_receipt(me, me->id, publication->origin.id ? 0 : item->store_number,
			      publication->publisher, publication->token);
	}
}

static void publisher_tell(struct worker *me, handle_t handle, bool is_done)
{
	struct endpoint *publisher = handle ? route_find(me, handle) : NULL;

	if (publisher && publisher->ops->on_spread)
		publisher->ops->on_spread(me, publisher, is_done);
}

/* The publishers of this worker: a connection, or its session for QoS 2. */
static void spread_tell(struct worker *me, const struct spread_item *items, bool is_done)
{
	handle_t told = 0;

	for (; items; items = items->next) {
		if (items->publication.publisher != told)
			publisher_tell(me, items->publication.publisher, is_done);
		told = items->publication.publisher;
	}
}

static void spread_answer(struct worker *me, struct spread *spread)
{
	struct spread_item *items = spread->items, *next;

	match_result_unref(&spread->result);
	spread->items = NULL;
	spread->items_end = &spread->items;
	spread->item_count = 0;
	spread->at = 0;
	for (struct spread_item *item = items; item; item = item->next) {
		message_drop(me, &item->message);
		item_answer(me, item);
	}
	spread_tell(me, items, true);
	for (; items; items = next) {
		next = items->next;
		block_free(me, items, sizeof *items);
	}
}

static struct publish_letter *spread_take_behind(struct spread *spread)
{
	struct publish_letter *letter = spread->behind;

	if (!letter)
		return NULL;
	spread->behind = letter->next;
	if (!spread->behind)
		spread->behind_end = &spread->behind;
	return letter;
}

/* Letters behind that go to the same receivers go along. */
static void spread_join_behind(struct worker *me, struct spread *spread)
{
	struct route_worker *route = route_worker_of(me);

	while (spread->behind && spread->item_count < SPREAD_ITEMS) {
		struct message *message = spread->behind->message;
		struct match_result *result =
			match_cache_find(route->cache, message,
					 route->settings.allow_duplicate_messages);
		bool is_same = result && match_result_is_same(result, spread->result);

		match_result_unref(&result);
		if (!is_same)
			return;
		spread_add(me, spread, message, spread_take_behind(spread), NULL);
	}
}

/* Takes the next letter that waited behind. true: there is a new fan-out to go on with. */
static bool spread_next_letter(struct worker *me, struct spread *spread)
{
	struct publish_letter *letter = spread_take_behind(spread);
	struct match_result *large;

	if (!letter)
		return false;
	if (route_letter_deliver(me, letter, &large)) {
		letter_return(me, &letter->letter);
		return true;
	}
	spread->result = large;
	spread_add(me, spread, letter->message, letter, NULL);
	spread_join_behind(me, spread);
	return true;
}

static void spread_append(struct route_worker *route, struct spread *spread)
{
	spread->next = NULL;
	*route->spreads_end = spread;
	route->spreads_end = &spread->next;
}

static struct spread *spread_take_first(struct route_worker *route)
{
	struct spread *spread = route->spreads;

	route->spreads = spread->next;
	if (!route->spreads)
		route->spreads_end = &route->spreads;
	return spread;
}

static uint32_t slice_end(struct worker *me, const struct spread *spread)
{
	uint32_t slice = route_worker_of(me)->settings.fanout_slice;
	uint32_t left = spread->result->target_count - spread->at;

	if (slice > SPREAD_TURN_SESSIONS)
		slice = SPREAD_TURN_SESSIONS;
	return spread->at + (slice < left ? slice : left);
}

static void deliver_slice(struct worker *me, struct spread *spread, struct spread_item *item,
			  uint32_t to)
{
	uint64_t mark = commit_mark(me), number;

	route_deliver_range(me, item->message, spread->result,
			    item->letter ? &item->letter->origin : &item->publication.origin,
			    spread->at, to, true);
	number = commit_number_since(me, mark);
	if (number)
		item->store_number = number;
}

/* One slice. false: everything is done, and what came behind it too. */
static bool spread_step(struct worker *me, struct spread *spread)
{
	uint32_t to;

	if (spread->result) {
		if (spread->at == 0)
			spread_tell(me, spread->items, false);
		to = slice_end(me, spread);
		for (struct spread_item *item = spread->items; item; item = item->next)
			deliver_slice(me, spread, item, to);
		spread->at = to;
		if (to < spread->result->target_count)
			return true;
		spread_answer(me, spread);
	}
	return spread_next_letter(me, spread);
}

/*
 * The first one does its slice where it stands, so that what is published meanwhile finds it, and
 * goes behind the others.
 */
static bool spread_run(struct worker *me, struct task *task)
{
	struct route_worker *route = route_worker_of(me);
	bool has_more;

	(void)task;
	if (!route->spreads)
		return false;
	has_more = spread_step(me, route->spreads);
	if (has_more)
		spread_append(route, spread_take_first(route));
	else
		free(spread_take_first(route));
	return route->spreads != NULL;
}

void spread_init(struct route_worker *route)
{
	route->spreads_end = &route->spreads;
	route->spread_task.run = spread_run;
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

static struct spread *spread_that_takes(struct worker *me, uint64_t origin_handle,
					const struct match_result *result)
{
	struct spread *spread = spread_find(me, origin_handle);

	if (!spread || !spread->result || spread->at > 0 || spread->behind ||
	    spread->item_count == SPREAD_ITEMS || !match_result_is_same(spread->result, result))
		return NULL;
	return spread;
}

bool spread_takes(struct worker *me, uint64_t origin_handle, const struct match_result *result)
{
	return spread_that_takes(me, origin_handle, result) != NULL;
}

static struct spread *spread_create(struct worker *me, struct match_result *result,
				    uint64_t origin_handle)
{
	struct route_worker *route = route_worker_of(me);
	struct spread *spread = calloc(1, sizeof *spread);

	BUG_ON(!spread);
	spread->origin_handle = origin_handle;
	spread->result = result;
	result->refs++;
	spread->items_end = &spread->items;
	spread->behind_end = &spread->behind;
	spread_append(route, spread);
	worker_add_task(me, &route->spread_task);
	return spread;
}

bool spread_start(struct worker *me, struct match_result *result, struct message *message,
		  struct publish_letter *letter, const struct publication *publication)
{
	struct spread *spread = spread_that_takes(me, message->origin_handle, result);

	if (!spread)
		spread = spread_create(me, result, message->origin_handle);
	spread_add(me, spread, message, letter, publication);
	return spread->item_count < SPREAD_ITEMS;
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
	if (spread->result && spread->at == 0)
		spread_join_behind(me, spread);
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

		for (struct spread_item *item = spread->items; item; item = item->next) {
			no_receipt(&item->publication.wants_receipt, &item->publication.origin);
			if (item->letter)
				no_receipt(&item->letter->wants_receipt, &item->letter->origin);
		}
		if (spread->result)
			spread_answer(me, spread);
		while (spread->behind) {
			struct publish_letter *letter = spread->behind;

			spread->behind = letter->next;
			return_undelivered(me, letter);
		}
		free(spread_take_first(route));
	}
	worker_cancel_task(&route->spread_task);
}
