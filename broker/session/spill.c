/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.c - the part of a long queue that is in the store alone.
 *
 *	in memory: [ head ... queue_memory_messages ] in the store: [ spill_after + 1 ... ] <-- new ones
 *	                 <-- read back, when half of the part in memory has been sent
 *
 * A message of QoS 1 or 2 for a kept session is in the store anyway. Once the part in memory is full,
 * what comes is only counted here, until all of it has been read back: so the order stays.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "session/keep.h"
#include "session/sending.h"

#define FETCH_BYTES_MAX (4u * 1024u * 1024u)
#define FETCH_AGAIN_MS 1000u

static uint32_t memory_limit(struct worker *me)
{
	return session_worker_of(me)->settings->queue_memory_messages;
}

bool session_queue_is_in_store(struct worker *me, const struct session *session)
{
	const struct queue *queue = session->queue;

	return session->kept && queue &&
	       (queue->spilled || (memory_limit(me) && queue->count >= memory_limit(me)));
}

void session_spill(struct worker *me, struct session *session, uint64_t number, uint32_t bytes)
{
	struct queue *queue = session->queue;

	if (queue->spilled == 0)
		queue->spill_after = number - 1;
	queue->spilled++;
	queue->spilled_bytes += bytes;
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED, 1);
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED_BYTES, bytes);
}

static void count_back(struct worker *me, struct queue *queue, uint32_t messages, uint64_t bytes)
{
	if (bytes > queue->spilled_bytes || messages == queue->spilled)
		bytes = queue->spilled_bytes;
	queue->spilled -= messages;
	queue->spilled_bytes -= bytes;
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED, messages);
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED_BYTES, bytes);
}

bool session_requeue_take(struct worker *me, struct session *session, struct outgoing *out)
{
	if (!session->queue)
		session->queue = calloc(1, sizeof *session->queue);
	if (session->queue && queue_push_take(session->queue, out) == ERR_NONE) {
		session_count_queued(me, out);
		return true;
	}
	outgoing_fini(me, out);
	return false;
}

void session_spill_drop(struct worker *me, struct session *session)
{
	struct queue *queue = session->queue;

	if (!queue || !queue->spilled)
		return;
	counter_add(me->counters, COUNTER_DROPPED_SESSION_ENDED, queue->spilled);
	count_back(me, queue, queue->spilled, queue->spilled_bytes);
}

/* Trying again after the disk could not be read. */
struct fetch_again {
	struct timer timer; /* first member */
	handle_t session;
};

static struct session *session_of(struct worker *me, handle_t handle)
{
	struct endpoint *endpoint = route_find(me, handle);

	if (!endpoint || endpoint->ops != &session_endpoint_ops)
		return NULL;
	return (struct session *)(void *)endpoint;
}

static void on_again(struct timer *timer)
{
	struct fetch_again *again = (struct fetch_again *)(void *)timer;
	struct worker *me = worker_current;
	struct session *session = session_of(me, again->session);

	free(again);
	if (!session || !session->queue)
		return;
	session->queue->is_fetching = false;
	session_pump(me, session);
}

static void fetch_later(struct worker *me, struct session *session)
{
	struct fetch_again *again = calloc(1, sizeof *again);

	if (!again) {
		session->queue->is_fetching = false; /* with the next answer of the client */
		return;
	}
	again->session = session->endpoint.handle;
	timer_init(&again->timer, on_again);
	timer_arm_at(&me->wheel, &again->timer, me->now_ms + FETCH_AGAIN_MS);
}

/* false: no memory. */
static bool take_item(struct worker *me, struct session *session, const struct store_item *item)
{
	struct queue *queue = session->queue;
	const struct delivery delivery = {
		.message = item->message,
		.subscription_ids = item->delivery.subscription_ids,
		.subscription_id_count = item->delivery.subscription_id_count,
		.qos = item->delivery.qos,
		.retain = item->delivery.retain,
	};
	struct outgoing out;

	if (!item->message || outgoing_init(me, &out, &delivery) != ERR_NONE)
		return false;
	out.number = item->number;
	if (!session_requeue_take(me, session, &out))
		return false;
	count_back(me, queue, queue->spilled ? 1 : 0, outgoing_bytes(item->message));
	queue->spill_after = item->number;
	return true;
}

static void on_fetched(struct worker *me, const struct store_fetched *fetched)
{
	struct session *session = session_of(me, fetched->handle);
	struct queue *queue = session ? session->queue : NULL;
	uint32_t spilled_since;
	bool failed = fetched->failed;

	if (!queue || !queue->is_fetching)
		return;
	spilled_since = queue->spilled - queue->spilled_at_fetch;
	for (unsigned i = 0; i < fetched->count && !failed; i++)
		failed = !take_item(me, session, &fetched->items[i]);
	if (failed) {
		fetch_later(me, session);
	} else {
		queue->is_fetching = false;
		/* All that there was has been given: what was counted beyond it has gone otherwise. */
		if (!fetched->has_more && queue->spilled > spilled_since)
			count_back(me, queue, queue->spilled - spilled_since, 0);
		/* Nothing came: what is meant is not committed yet. */
		if (fetched->count)
			session_queue_trim(me, session);
	}
	session_pump(me, session);
}

void session_unspill(struct worker *me, struct session *session)
{
	struct queue *queue = session->queue;
	uint32_t limit = memory_limit(me);

	if (queue->is_fetching || queue->count > limit / 2)
		return;
	queue->is_fetching = true;
	queue->spilled_at_fetch = queue->spilled;
	store_fetch(me, &(struct store_fetch){
				.id = session->kept->id,
				.after = queue->spill_after,
				.max_messages = limit - queue->count,
				.max_bytes = FETCH_BYTES_MAX,
				.handle = session->endpoint.handle,
				.done = on_fetched,
			});
}
