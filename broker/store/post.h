/* SPDX-License-Identifier: Apache-2.0 */
/*
 * post.h - what a worker tells the writer, as a run of bytes.
 *
 *	SESSION_PUT id record | MESSAGE number body | RECEIVER id ... | RECEIVER id ... | DONE id number
 *
 * RECEIVERs belong to the MESSAGE before them, and their numbers follow on from its number. One that is
 * a SENT_RECEIVER has its Packet Identifier at QoS 1 already. The bytes are the same in memory and in the ring of a `process` store, from which another process may
 * read them: reading checks everything.
 */
#ifndef NIGHTJAR_STORE_POST_H
#define NIGHTJAR_STORE_POST_H

#include "runtime/mailbox.h"
#include "store/record.h"

enum post_kind {
	POST_END,
	POST_SESSION_PUT,
	POST_SESSION_REMOVE,
	POST_SUBSCRIPTION_PUT,
	POST_SUBSCRIPTION_REMOVE,
	POST_WILL_PUT,
	POST_WILL_REMOVE,
	POST_RECEIVED_ADD,
	POST_RECEIVED_REMOVE,
	POST_MESSAGE,
	POST_RECEIVER,
	POST_DONE,
	POST_INFLIGHT,
	POST_RETAINED_PUT,
	POST_RETAINED_REMOVE,
	POST_SENT_RECEIVER,
	POST_ORIGIN_COMES,  /* this and the next never stand in a ring */
	POST_ORIGINS_NAMED, /* number: which question it answers */
	POST_KINDS
};

/* One post, read: what its kind has is set, and no more. Slices point into the batch. */
struct post {
	enum post_kind kind;
	uint64_t id, number;
	struct slice value; /* a record, or a message's body */
	struct slice text;  /* a filter or topic */
	uint64_t hash;	    /* of text */
	uint64_t version;
	uint64_t message_number; /* struct message.number */
	struct slice subscription_ids;
	uint64_t from_id, from_number, origin_id;
	uint16_t packet_id;	 /* INFLIGHT, RECEIVED; of a receiver: its origin's */
	uint16_t sent_packet_id; /* SENT_RECEIVER */
	uint8_t qos, flight;
	bool retain;
};

/* Returns false at the end, and when the bytes make no sense (from->is_bad). */
bool post_next(struct unpack *from, struct post *out);

void pack_receiver_post(struct pack *to, uint64_t id, const struct store_delivery *delivery);
/* The RECEIVER at receiver_at, the last post in there, was given its Packet Identifier. */
void pack_receiver_is_sent(struct pack *to, size_t receiver_at, uint16_t packet_id);

/* A batch: one worker's posts of one turn, on their way to the writer. */
struct batch {
	struct letter_node node; /* first: in the writer's mailbox */
	struct batch *next;	 /* writer: of the same worker */
	struct pack pack;	 /* owned; empty when the bytes are in the ring */
	struct slice bytes;
	uint64_t last_post;	 /* the number of the last post in it */
	uint64_t highest_number; /* given to a receiver */
	uint64_t ring_end;	 /* in_ring: where its room ends */
	uint64_t sequence;	 /* of this worker's batches in the ring */
	uint64_t round;		 /* of the store, as the worker saw it when it ended this turn */
	struct fetch_request *fetches;
	uint32_t held; /* messages in it that wait for their origin */
	uint16_t worker;
	bool in_ring;
};

#endif
