/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.c - the retained messages that a new subscription gets, however many there are.
 *
 * A feed is a cursor over the retained tree. It runs as a task, a slice per turn, and only while the
 * session would send what it is given at once: so it fills no queue, and a client that reads slowly
 * is fed slowly. Offline it rests with the session. It ends with its subscription.
 */
#include <stdlib.h>

#include "session/client.h"

#define FEED_MESSAGES_PER_SLICE 200u
#define FEED_NODES_PER_SLICE 2000u

/* Owner: the session. */
struct feed {
	struct task task; /* first member */
	struct feed *next, **pprev;
	struct session *session;
	struct retained_cursor *cursor;
	const struct session_subscription *subscription;
};

static void feed_destroy(struct feed *feed)
{
	*feed->pprev = feed->next;
	if (feed->next)
		feed->next->pprev = feed->pprev;
	worker_cancel_task(&feed->task);
	retained_cursor_destroy(&feed->cursor);
	free(feed);
}

/* With No Local nothing comes back to the Client Identifier that published it [MQTT-3.8.3-3]. */
static bool is_own(const struct feed *feed, const struct message *message)
{
	return (feed->subscription->subscription.flags & SUBSCRIPTION_NO_LOCAL) &&
	       message->origin &&
	       slice_equal(origin_client_id(message->origin), session_client_id(feed->session));
}

static void feed_deliver_take(struct worker *me, struct feed *feed, struct message *message)
{
	const struct subscription *subscription = &feed->subscription->subscription;
	struct delivery delivery = {
		.message = message,
		.subscription_ids = &subscription->id,
		.subscription_id_count = subscription->id ? 1 : 0,
		.qos = subscription->qos,
		.retain = true, /* [MQTT-3.3.1-8] */
		.is_readable = (subscription->flags & SUBSCRIPTION_READABLE) != 0,
		.rights_generation = subscription->rights_generation,
	};

	if (message->qos < delivery.qos &&
	    !session_worker_of(me)->settings->route.upgrade_outgoing_qos)
		delivery.qos = message->qos;
	if (is_own(feed, message)) {
		message_drop(me, &message);
		return;
	}
	if (rights_source_may_publish(me, message))
		session_deliver(me, &feed->session->endpoint, &delivery);
	else
		counter_add(me->counters, COUNTER_DROPPED_NOT_AUTHORIZED, 1);
	message_drop(me, &message);
}

/*
 * true: more at once. false: waits for feeds_wake(), or is over. A message is only taken from the tree
 * when it will be sent at once: one that waited could be sent after a newer one of its topic.
 */
static bool feed_run(struct worker *me, struct task *task)
{
	struct feed *feed = (struct feed *)(void *)task;
	unsigned nodes = FEED_NODES_PER_SLICE;
	bool more = true;

	for (unsigned i = 0; i < FEED_MESSAGES_PER_SLICE; i++) {
		struct message *message;

		/* What comes in answer to a SUBSCRIBE comes behind its SUBACK. */
		if (feed->session->client && feed->session->client->subacks)
			return false;
		if (!session_is_ready(me, feed->session, feed->subscription->subscription.qos))
			return false;
		message = retained_cursor_next(me, feed->cursor, &nodes, &more);
		if (message) {
			feed_deliver_take(me, feed, message);
		} else if (more) {
			return true;
		} else {
			feed_destroy(feed);
			return false;
		}
	}
	return true;
}

enum err feed_start(struct worker *me, struct session *session, struct slice filter,
		    const struct session_subscription *subscription)
{
	struct feed *feed;

	if (!retained_may_match(route_retained(me), filter))
		return ERR_NONE;
	feed = calloc(1, sizeof *feed);
	if (!feed)
		return ERR_NOMEM;
	if (retained_cursor_create(route_retained(me), filter, &feed->cursor) != ERR_NONE) {
		free(feed);
		return ERR_NOMEM;
	}
	feed->task.run = feed_run;
	feed->session = session;
	feed->subscription = subscription;
	feed->next = session->feeds;
	feed->pprev = &session->feeds;
	if (feed->next)
		feed->next->pprev = &feed->next;
	session->feeds = feed;
	worker_add_task(me, &feed->task);
	return ERR_NONE;
}

void feeds_wake(struct worker *me, struct session *session)
{
	for (struct feed *feed = session->feeds; feed; feed = feed->next)
		worker_add_task(me, &feed->task);
}

void feeds_cancel(struct session *session, const struct session_subscription *subscription)
{
	struct feed *next;

	for (struct feed *feed = session->feeds; feed; feed = next) {
		next = feed->next;
		if (!subscription || feed->subscription == subscription)
			feed_destroy(feed);
	}
}
