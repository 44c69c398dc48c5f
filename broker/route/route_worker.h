/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_worker.h - what a worker keeps for routing. Used by the files of route only.
 *
 * Owner: its worker.
 */
#ifndef NIGHTJAR_ROUTE_ROUTE_WORKER_H
#define NIGHTJAR_ROUTE_ROUTE_WORKER_H

#include "route/match_cache.h"

struct spread;
struct shared_worker;

struct route {
	struct topic_tree *tree;
	struct retained *retained;
};

struct route_worker {
	struct route *route;
	struct route_settings settings;
	struct match_cache *cache;
	struct handle_table endpoints;
	struct encoding_cache encodings;
	struct spread *spreads;	      /* fan-outs that go in slices */
	uint32_t letters_to_self;     /* publications that wait for their turn behind a spread */
	struct topic_match match;     /* scratch for the rare path of mixed No Local */
	struct shared_worker *shared; /* shared_group.c */
};

static inline struct route_worker *route_worker_of(struct worker *worker)
{
	return worker->slot[WORKER_SLOT_ROUTE];
}

/* Delivers targets [from, to) of a result. by_handle: time has passed since it was made. */
void route_deliver_range(struct worker *me, struct message *message,
			 const struct match_result *result, const struct delivery_origin *origin,
			 uint32_t from, uint32_t to, bool by_handle);

/* The letter that carries a publication to another worker. */
struct publish_letter {
	struct letter letter;
	struct message *message; /* a shared reference, dropped at home */
	handle_t publisher;
	uint64_t token;
	bool wants_receipt;
	struct delivery_origin origin;
	uint64_t store_number; /* what the receiver has posted to the store for it; 0: nothing */
	struct publish_letter *next; /* behind a spread */
};

/*
 * Fan-outs larger than a slice (spread.c). A spread stands for one publisher: what it publishes
 * meanwhile queues behind. The letter, or the publisher of this worker, is answered at the end.
 */
void spread_start(struct worker *me, struct match_result *result, struct message *message,
		  struct publish_letter *letter, const struct publication *publication);
bool spread_is_active(struct worker *me, uint64_t origin_handle);
/* Is this publisher being spread on this worker? Then the letter is queued behind. */
bool spread_queue_behind(struct worker *me, struct publish_letter *letter);
/* Matches and delivers a letter; false: it has become a spread, which returns it. */
bool route_letter_deliver(struct worker *me, struct publish_letter *letter,
			  struct match_result **out_large);

void spread_cancel_all(struct worker *me);

#endif
