/* SPDX-License-Identifier: Apache-2.0 */
/*
 * will.c - Will Messages (3.1.2.5).
 *
 * A will is published when its session is gone or its delay is over, at a moment that nobody chose:
 * without credit for another worker's mailbox it waits on its own, and the session need not.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "session/keep.h"

struct will_waiter {
	struct credit_waiter credit; /* first member */
	struct message *message;
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

/* Nobody waits for the receipts: who published has no connection any more. */
static enum route_status route_will(struct worker *me, struct message *message)
{
	/* What it needs in the store was admitted with it; there is room for so much always. */
	struct publication publication = {.message = message, .is_admitted = true};

	return route_publish(me, &publication);
}

static void on_credit(struct worker *me, struct credit_waiter *waiter)
{
	struct will_waiter *waiting = (struct will_waiter *)(void *)waiter;

	if (route_will(me, waiting->message) == ROUTE_NO_CREDIT) {
		letter_wait_for_credit(me, waiter);
		return;
	}
	message_drop(me, &waiting->message);
	free(waiting);
}

static void wait_for_credit(struct worker *me, struct message *message)
{
	struct will_waiter *waiting = calloc(1, sizeof *waiting);

	if (!waiting) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return;
	}
	waiting->credit.on_credit = on_credit;
	waiting->message = message;
	message_use(me, message);
	letter_wait_for_credit(me, &waiting->credit);
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

void will_publish(struct worker *me, struct session *session)
{
	struct will *will = session->will;
	struct message *message;

	session->will = NULL;
	keep_will_gone(me, session);
	if (may_publish(me, session, will->message)) {
		message = will_message(me, will);
		if (message) {
			counter_add(me->counters, COUNTER_WILLS_PUBLISHED, 1);
			if (route_will(me, message) == ROUTE_NO_CREDIT)
				wait_for_credit(me, message);
			message_drop(me, &message);
		}
	}
	will_free(me, &will);
}
