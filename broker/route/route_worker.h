/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_worker.h - what a worker keeps for routing. Used by the files of route only.
 *
 * Owner: its worker.
 */
#ifndef NIGHTJAR_ROUTE_ROUTE_WORKER_H
#define NIGHTJAR_ROUTE_ROUTE_WORKER_H

#include "route/match_cache.h"
#include "route/topic_trail.h"

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
	struct topic_trail retained_trail;
	struct handle_table endpoints;
	struct encoding_cache encodings;
	struct spread *spreads, **spreads_end; /* fan-outs that go in slices, by turns */
	struct task spread_task;
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

/* The letter that carries a publication to another worker, if it asks for a receipt. */
struct publish_letter {
	struct letter letter;
	struct message *message; /* a use of the letter's home, dropped when it is back there */
	handle_t publisher;
	uint64_t token;
	bool wants_receipt;
	struct delivery_origin origin;
	uint64_t store_number; /* what the receiver has posted to the store for it; 0: nothing */
	struct publish_letter *next; /* behind a spread */
	struct publish_batch *batch; /* one message of it; NULL: it came alone */
};

/*
 * So many sessions of all fan-outs in slices are served in a turn. Each of them is a system call in
 * the turn's end, of some 5 us: who has no part in it waits for a millisecond at most.
 */
#define SPREAD_TURN_SESSIONS 128u
/* So many messages of a publisher go through the same slices together. */
#define SPREAD_ITEMS 16u

/*
 * Fan-outs larger than a slice (spread.c). A spread stands for one publisher: what it publishes
 * meanwhile queues behind. The letter, or the publisher of this worker, is answered at the end.
 * True: before it begins, the next message to the same receivers may go along.
 */
bool spread_start(struct worker *me, struct match_result *result, struct message *message,
		  struct publish_letter *letter, const struct publication *publication);
/* Would spread_start() let it go along with one of the same publisher? */
bool spread_takes(struct worker *me, uint64_t origin_handle, const struct match_result *result);
bool spread_is_active(struct worker *me, uint64_t origin_handle);
/* Is this publisher being spread on this worker? Then the letter is queued behind. */
bool spread_queue_behind(struct worker *me, struct publish_letter *letter);
/* Matches and delivers a letter; false: it has become a spread, which returns it. */
bool route_letter_deliver(struct worker *me, struct publish_letter *letter,
			  struct match_result **out_large);

/* A publication without a receipt, to another worker, which has a credit (batch.c). */
void batch_post(struct worker *me, uint16_t target, struct message *message);

void spread_init(struct route_worker *route);
void spread_cancel_all(struct worker *me);

#endif
