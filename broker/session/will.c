/* SPDX-License-Identifier: Apache-2.0 */
/*
 * will.c - Will Messages (3.1.2.5).
 *
 * A will is published when its session is gone or its delay is over, at a moment that nobody chose:
 * from then on it is on its own (struct departing_will), and its session may end, or get another one.
 * It may have to wait for credit for another worker's mailbox. Of a kept session it stays in the store
 * until all workers with receivers have queued it, and then goes in one transaction with what they
 * have queued (store.h, "exactly once"):
 *
 *	session's will goes, departing will comes, | queued on A, B, C: held | all receipts are in:
 *	what it retains: one commit                                            one commit
 *
 * What it retains is stored as it sets out, under the version that it has in memory: so it stands
 * before what others retain from then on, and a start that publishes the will again only delivers it.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "session/keep.h"

/* A will that is being published. Owner: the worker. */
struct departing_will {
	struct endpoint endpoint; /* first member; registered when it is kept: receipts come here */
	struct credit_waiter credit;
	struct departing_will *next, **pprev;
	struct message *message; /* one use */
	uint64_t store_id;	 /* 0: not kept */
	unsigned receipts;	 /* still to come */
};

void will_free(struct worker *me, struct will **will)
{
	if (!*will)
		return;
	message_drop(me, &(*will)->message);
	memory_uncharge(MEMORY_SESSION, sizeof **will);
	free(*will);
	*will = NULL;
}

void will_withdraw(struct worker *me, struct session *session)
{
	if (!session->will)
		return;
	keep_will_gone(me, session);
	will_free(me, &session->will);
}

/* Expiry counts from publication, so the message gets it now: a copy, since messages that others may
 * see never change. extra: a flag that it gets as well. */
static struct message *with_expiry(struct worker *me, const struct message *from, uint32_t expiry_s,
				   uint8_t extra)
{
	return message_create(me, &(struct message_content){
					  .topic = message_topic(from),
					  .payload = message_payload(from),
					  .properties = message_properties(from),
					  .properties_len = from->properties_len,
					  .topic_hash = from->topic_hash,
					  .expires_ms = me->now_ms + (uint64_t)expiry_s * 1000,
					  .origin_handle = from->origin_handle,
					  .origin = from->origin,
					  .qos = from->qos,
					  .flags = from->flags | extra,
				  });
}

/* The message to publish, with a use for the caller; NULL: no memory. */
static struct message *will_message(struct worker *me, const struct will *will)
{
	uint32_t retain_s = session_worker_of(me)->settings->retain_expiry_s;

	if (will->has_expiry)
		return with_expiry(me, will->message, will->expiry_s, 0);
	if ((will->message->flags & MESSAGE_RETAIN) && retain_s)
		return with_expiry(me, will->message, retain_s, MESSAGE_RETAIN_EXPIRY);
	message_use(me, will->message);
	return will->message;
}

static bool may_publish(struct worker *me, struct session *session, const struct message *message)
{
	const struct permission_request request = {
		.act = PERMISSION_PUBLISH,
		.topic = message_topic(message),
		.qos = message->qos,
		.retain = (message->flags & MESSAGE_RETAIN) != 0,
		.payload = message_payload(message),
	};

	if (rights_check(me, session, &request, NULL, NULL) == PERMISSION_ALLOWED)
		return true;
	counter_add(me->counters, COUNTER_DROPPED_NOT_AUTHORIZED, 1);
	log_event(LOG_TYPE_NOTICE,
		  &(struct log_fields){.client_id = session_client_id(session),
				       .user = origin_username(session->origin),
				       .reason = "not authorised to publish there"},
		  "Will Message dropped");
	return false;
}

/* On their way. */

static void departure_end(struct worker *me, struct departing_will *will)
{
	*will->pprev = will->next;
	if (will->next)
		will->next->pprev = will->pprev;
	route_retire(me, &will->endpoint);
	letter_wait_cancel(&will->credit);
	message_drop(me, &will->message);
	memory_uncharge(MEMORY_SESSION, sizeof *will);
	free(will);
}

/* The last step of what went to other workers: till now a crash would have published it again. */
static void on_receipt(struct worker *me, struct endpoint *endpoint, uint64_t token)
{
	struct departing_will *will = (struct departing_will *)(void *)endpoint;

	(void)token;
	if (--will->receipts > 0)
		return;
	store_will_sent(me, will->store_id);
	departure_end(me, will);
}

static const struct endpoint_ops departure_ops = {
	.kind = "will",
	.on_receipt = on_receipt,
};

/* The message has its version now, and what it retains is posted in the same turn. */
static void departure_keep_version(struct worker *me, const struct departing_will *will)
{
	if (will->message->flags & MESSAGE_RETAIN)
		store_will_put(me, will->store_id, &(struct store_will){.message = will->message});
}

static void departure_go(struct worker *me, struct departing_will *will)
{
	struct publication publication = {
		.message = will->message,
		.publisher = will->endpoint.handle,
		.wants_receipt = will->store_id != 0,
		/* What it needs in the store was admitted with it; there is room for so much always. */
		.is_admitted = true,
		.is_retained = will->message->retained_version != 0,
		.origin.id = will->store_id,
	};
	enum route_status status = route_publish(me, &publication);

	if (status == ROUTE_NO_CREDIT) {
		letter_wait_for_credit(me, &will->credit);
		return;
	}
	will->receipts = status == ROUTE_DONE ? publication.waiting : 0;
	if (will->receipts) {
		if (!publication.is_retained)
			departure_keep_version(me, will);
		return;
	}
	if (will->store_id)
		store_session_remove(me, will->store_id);
	departure_end(me, will);
}

static void on_credit(struct worker *me, struct credit_waiter *waiter)
{
	departure_go(me, TIMER_OWNER(waiter, struct departing_will, credit));
}

/* Takes a use of the message. store_id: 0, or what the store has it as. */
static void departure_begin(struct worker *me, struct message *message, uint64_t store_id)
{
	struct session_worker *mine = session_worker_of(me);
	struct departing_will *will = calloc(1, sizeof *will);

	/* What is stored the next start publishes. */
	if (!will) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return;
	}
	memory_charge(MEMORY_SESSION, sizeof *will);
	will->endpoint.ops = &departure_ops;
	will->credit.on_credit = on_credit;
	will->message = message;
	message_use(me, message);
	will->next = mine->wills;
	will->pprev = &mine->wills;
	if (will->next)
		will->next->pprev = &will->next;
	mine->wills = will;
	if (store_id && route_register(me, &will->endpoint) == ERR_NONE)
		will->store_id = store_id;
	else if (store_id)
		store_session_remove(me, store_id); /* no memory: as if it were not kept */
	departure_go(me, will);
}

void will_send_again(struct worker *me, uint64_t store_id, struct message *message)
{
	counter_add(me->counters, COUNTER_WILLS_PUBLISHED, 1);
	departure_begin(me, message, store_id);
}

void wills_name(struct worker *me)
{
	for (const struct departing_will *at = session_worker_of(me)->wills; at; at = at->next)
		if (at->store_id)
			store_origin_comes(me, at->store_id, 0);
}

void wills_forget(struct worker *me)
{
	struct session_worker *mine = session_worker_of(me);

	while (mine->wills)
		departure_end(me, mine->wills);
}

void will_publish(struct worker *me, struct session *session)
{
	struct will *will = session->will;
	struct message *message = NULL;

	session->will = NULL;
	if (may_publish(me, session, will->message))
		message = will_message(me, will);
	keep_will_gone(me, session);
	if (message) {
		counter_add(me->counters, COUNTER_WILLS_PUBLISHED, 1);
		departure_begin(me, message, keep_departing_will(me, session, message));
		message_drop(me, &message);
	}
	will_free(me, &will);
}
