/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - from a publication to the endpoints that want it, on all workers.
 *
 * route promises: a publication reaches every endpoint that had a live subscription when it was
 * routed, once each (all matching subscriptions merged); publications of one publisher keep their
 * order at every endpoint; a large fan-out goes in slices. route calls runtime and base, and its
 * endpoints through struct endpoint_ops.
 *
 * All functions run on the worker `me` unless they say otherwise.
 */
#ifndef NIGHTJAR_ROUTE_ROUTE_H
#define NIGHTJAR_ROUTE_ROUTE_H

#include "base/err.h"
#include "route/endpoint.h"
#include "route/retained.h"
#include "route/topic_tree.h"

struct route;

struct route_settings {
	bool allow_duplicate_messages; /* one copy per matching subscription */
	bool upgrade_outgoing_qos;     /* the subscription's QoS, even above the message's */
	unsigned fanout_slice;	       /* sessions served in one go */
	struct retained_settings retained;
};

/* Main thread, before the workers start and after they ended. */
enum err route_create(const struct route_settings *settings, struct route **out) ERR_CHECKED;
void route_destroy(struct route **route);
enum err route_worker_init(struct route *route, struct worker *worker) ERR_CHECKED;
void route_worker_fini(struct worker *worker);
/* On a worker that stops: what goes in slices goes no further. */
void route_worker_stop(struct worker *me);
/* On a worker: settings that a reload may change. The last worker to run it decides for retained. */
void route_configure(struct worker *me, const struct route_settings *settings);

struct topic_tree *route_tree(struct worker *me);
struct retained *route_retained(struct worker *me);

/* Gives the endpoint a handle. ERR_NOMEM. */
enum err route_register(struct worker *me, struct endpoint *endpoint) ERR_CHECKED;
void route_retire(struct worker *me, struct endpoint *endpoint);
/* NULL: it is gone. The handle must be one of this worker's. */
struct endpoint *route_find(struct worker *me, handle_t handle);

/* Walks over all endpoints of this worker: *cursor begins at 0. NULL: the end. */
struct endpoint *route_next_endpoint(struct worker *me, uint32_t *cursor);

enum subscription_flag {
	SUBSCRIPTION_NO_LOCAL = 1 << 0,
	SUBSCRIPTION_RETAIN_AS_PUBLISHED = 1 << 1,
	/* What the filter can match may be read, proven under rights_generation. */
	SUBSCRIPTION_READABLE = 1 << 2,
};

/* What a subscription may add to the rule of its filter: a predicate over the message. */
struct subscription_policy {
	bool (*wants)(const struct subscription_policy *policy, const struct message *message);
};

/* Owner: the endpoint's worker. Embedded in what the endpoint keeps. */
struct subscription {
	struct topic_link link;
	struct endpoint *endpoint;
	const struct subscription_policy *policy; /* NULL: everything that matches */
	uint32_t id;				  /* Subscription Identifier, 0: none */
	/* Its low bits: what was proven is proven anew after each reload, long before they return. */
	uint16_t rights_generation;
	uint8_t qos;
	uint8_t flags; /* enum subscription_flag */
};

/* When this has returned the subscription is live: whoever publishes later, anywhere, reaches it. */
enum err route_subscribe(struct worker *me, struct subscription *subscription,
			 struct slice filter) ERR_CHECKED;
void route_unsubscribe(struct worker *me, struct subscription *subscription);
/* After qos, id or flags of a live subscription were changed in place. */
void route_subscription_changed(struct worker *me);

enum route_status {
	ROUTE_DONE,
	ROUTE_NO_CREDIT, /* nothing was done; letter_wait_for_credit(), then again */
	ROUTE_REFUSED,	 /* nothing was done: the limits of retained messages */
	ROUTE_NO_ROOM, /* nothing was done: it would have to be kept, and the store takes nothing now */
	ROUTE_ASK, /* nothing was done: the same, but others have to be asked (route_ask_keepers) */
};

struct publication {
	struct message *message; /* borrowed */
	handle_t publisher;	 /* whose on_receipt and on_spread are called; 0: nobody's */
	uint64_t token;		 /* handed to on_receipt() */
	bool wants_receipt;
	bool is_admitted; /* whether the store has room was decided before */
	bool is_retained; /* it was set before, and is only delivered now: what came since stays */
	/* QoS 2 of a session that is kept (store.h, "exactly once"). Receipts come as soon as the others
	 * have posted; the publisher then posts store_received_add() and waits for that. */
	struct delivery_origin origin;

	/* Filled by route_publish(). */
	unsigned waiting;  /* how often on_receipt() will be called */
	bool is_matched;   /* there was a subscriber somewhere */
	bool is_split;	   /* not everything happens on this worker in this turn */
	bool is_spreading; /* it goes in slices: on_spread() will tell when they begin and end... */
	bool may_follow;   /* ...and until they begin, the next one may be published already */
	/* What this worker has posted to the store for it (store_posted()); 0: nothing. Receipts
	 * come when it is committed where they come from; for this worker's part the publisher waits
	 * itself. */
	uint64_t store_number;
};

/* on_receipt() of the publisher on this worker, at once or when that worker's post is committed. */
void route_receipt(struct worker *me, uint16_t worker, uint64_t store_number,
		   handle_t publisher_handle, uint64_t token);

/*
 * While the store takes nothing: would a subscriber of another worker have to be kept this message
 * for? The publisher's on_keepers() tells, in a later turn.
 */
void route_ask_keepers(struct worker *me, struct message *message, handle_t publisher);

/* A publication to the topic with this hash comes soon. Costs nothing, and saves waiting for memory. */
void route_expect(struct worker *me, uint64_t topic_hash);
/* Inside a section, before a publication that is to be retained: the topic of the next but one behind
 * it, if that is to be retained too, or an empty slice. */
void route_expect_retained(struct worker *me, struct slice topic);

/* Retains (when the message says so), delivers to endpoints of this worker, posts to the others. */
enum route_status route_publish(struct worker *me, struct publication *publication) ERR_CHECKED;

#endif
