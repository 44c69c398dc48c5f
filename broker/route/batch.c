/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - many messages for another worker in one letter.
 *
 *	home: post_to() --> the letter posted last is a batch with room? --> one pointer more
 *	there: match and deliver each, while the memory of those behind is on its way --> return
 *	home: all uses are dropped
 *
 * A message that crosses costs mostly waiting for cache lines that another processor has written. A
 * letter for each would be four of them, in a chain that can only be followed one after the other; a
 * batch is one for eight messages, and tells beforehand which come next.
 *
 * Only for what asks for no receipt (QoS 0). Order is kept, because a batch takes more only as long
 * as it is the last letter to its target. Each message takes a credit.
 *
 * A message that goes in slices, or has to wait behind one, becomes a letter of its own on the
 * receiver (a part). The batch goes home when the last of its parts is done.
 */
#include "base/bug.h"
#include "route/route_worker.h"

/* So that the letter is one block of 512 bytes. */
#define BATCH_MESSAGES 56u
/* How far ahead memory is fetched: a message, then its place in the match cache. */
#define FETCH_MESSAGE 6u
#define FETCH_MATCH 3u

struct publish_batch {
	struct letter letter;
	uint32_t count;
	uint32_t pending; /* receiver's: parts, and 1 while it goes through them */
	struct message *messages[BATCH_MESSAGES]; /* a use each, of this letter's home */
};

static void batch_release(struct worker *me, struct publish_batch *batch)
{
	if (--batch->pending == 0)
		letter_return(me, &batch->letter);
}

static void part_on_return(struct worker *me, struct letter *letter)
{
	struct publish_letter *part = (struct publish_letter *)letter;

	message_unref_shared(me, &part->message);
	batch_release(me, part->batch);
	letter_destroy(me, letter);
}

static const struct letter_type part_type = {
	.name = "part of a batch",
	.on_return = part_on_return,
};

static struct publish_letter *part_create(struct worker *me, struct publish_batch *batch,
					  struct message *message)
{
	struct publish_letter *part = letter_create(me, &part_type, sizeof *part);

	part->message = message;
	message_ref_shared(message);
	part->batch = batch;
	batch->pending++;
	letter_begin_here(me, &part->letter);
	return part;
}

static void deliver_one(struct worker *me, struct publish_batch *batch, struct message *message)
{
	struct route_worker *route = route_worker_of(me);
	struct match_result *result =
		match_cache_find(route->cache, message, route->settings.allow_duplicate_messages);
	bool is_large, must_wait;

	if (!result) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return;
	}
	is_large = result->target_count > route->settings.fanout_slice;
	must_wait = route->spreads && spread_is_active(me, message->origin_handle);
	if (is_large || must_wait) {
		struct publish_letter *part = part_create(me, batch, message);

		if (!must_wait || !spread_queue_behind(me, part))
			(void)spread_start(me, result, message, part, NULL);
	} else {
		route_deliver_range(me, message, result, &(struct delivery_origin){0}, 0,
				    result->target_count, false);
	}
	match_result_unref(&result);
}

static void batch_on_arrive(struct worker *me, struct letter *letter)
{
	struct publish_batch *batch = (struct publish_batch *)letter;
	struct route_worker *route = route_worker_of(me);

	batch->pending = 1;
	for (uint32_t i = 0; i < batch->count && i < FETCH_MESSAGE; i++)
		message_expect(batch->messages[i]);
	for (uint32_t i = 0; i < batch->count; i++) {
		if (i + FETCH_MESSAGE < batch->count)
			message_expect(batch->messages[i + FETCH_MESSAGE]);
		if (i + FETCH_MATCH < batch->count)
			match_cache_expect(route->cache,
					   batch->messages[i + FETCH_MATCH]->topic_hash);
		deliver_one(me, batch, batch->messages[i]);
	}
	batch_release(me, batch);
}

static void batch_on_return(struct worker *me, struct letter *letter)
{
	struct publish_batch *batch = (struct publish_batch *)letter;

	for (uint32_t i = 0; i < batch->count; i++) {
		if (i + FETCH_MESSAGE < batch->count)
			__builtin_prefetch(batch->messages[i + FETCH_MESSAGE], 1);
		message_drop(me, &batch->messages[i]);
	}
	letter_destroy(me, letter);
}

static const struct letter_type batch_type = {
	.name = "batch of publications",
	.on_arrive = batch_on_arrive,
	.on_return = batch_on_return,
	.takes_credit = true,
};

static struct publish_batch *batch_with_room(struct worker *me, uint16_t target)
{
	struct letter *last = letter_last_posted(me, target);
	struct publish_batch *batch = (struct publish_batch *)last;

	if (!last || last->type != &batch_type || last->returning || batch->count == BATCH_MESSAGES)
		return NULL;
	return batch;
}

void batch_post(struct worker *me, uint16_t target, struct message *message)
{
	struct publish_batch *batch = batch_with_room(me, target);

	message_use(me, message);
	if (batch) {
		letter_take_credit(me, &batch->letter);
	} else {
		batch = letter_create(me, &batch_type, sizeof *batch);
		letter_post(me, target, &batch->letter);
	}
	batch->messages[batch->count++] = message;
}
