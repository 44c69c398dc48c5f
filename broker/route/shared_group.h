/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_group.h - Shared Subscriptions (MQTT 5, 4.8.2; offered to older clients as well).
 *
 * A group ("$share/GROUP/FILTER") is an endpoint with one home worker, the hash of group and filter.
 * There it stands in the topic tree like any subscriber, chooses a member for each message, counts
 * what each member has not acknowledged, and keeps the queue while no member is online.
 *
 *	publisher --> home: group chooses --> member's worker: endpoint->deliver(.ticket)
 *	              home <-- outcome ------ shared_ticket_finish()
 *
 * All functions run on the worker `me` that owns the member.
 */
#ifndef NIGHTJAR_ROUTE_SHARED_GROUP_H
#define NIGHTJAR_ROUTE_SHARED_GROUP_H

#include "route/route.h"
#include "store/store.h"

enum shared_strategy {
	SHARED_LEAST_INFLIGHT, /* fewest unacknowledged; equals take turns */
	SHARED_ROUND_ROBIN,
	SHARED_RANDOM,
	SHARED_HASH_CLIENT, /* the publisher decides: one publisher, one member */
	SHARED_HASH_TOPIC,
};

struct shared_settings {
	enum shared_strategy strategy;
	/* Of a group whose members are all offline or full; 0: no limit. */
	uint32_t max_queued_messages;
	uint64_t max_queued_bytes;
	bool drop_oldest;
};

/* Main thread, before the workers start; on each worker later when a reload changed them. */
enum err shared_worker_init(struct worker *worker,
			    const struct shared_settings *settings) ERR_CHECKED;
void shared_configure(struct worker *me, const struct shared_settings *settings);
void shared_worker_fini(struct worker *worker);
/* On each worker, when the broker stops: groups that end from now on stay in the store. */
void shared_worker_stop(struct worker *me);

/* What became of a message that a group gave to a member. */
enum shared_outcome {
	SHARED_DONE, /* acknowledged */
	SHARED_BACK, /* not sent, or QoS 1 not acknowledged when the connection ended: to another */
	SHARED_DISCARDED, /* the member answered 0x80 or above [MQTT-4.8.2-6] */
	SHARED_DROPPED, /* QoS 2 in flight when the session ended [MQTT-4.8.2-5], or not deliverable */
};

struct shared_ticket;
struct shared_group;

/*
 * Answers a delivery whose ticket was not NULL (QoS 1 and 2), exactly once, when its fate is known;
 * also from within deliver(). BACK keeps the message's place in the group, and says that the member's
 * connection has ended: until shared_member_online() or shared_join() say otherwise it gets nothing.
 */
void shared_ticket_finish(struct worker *me, struct shared_ticket *ticket,
			  enum shared_outcome outcome);

/*
 * A message of a group that keeps its messages, QoS 2: the member's session takes it over when it
 * gives it a Packet Identifier, because from then on it may go to nobody else [MQTT-4.8.2-4]. Returns
 * its number there; 0: the group keeps nothing of it. With SHARED_BACK (it was never sent) the
 * group takes it back from there.
 */
uint64_t shared_ticket_take_over(struct worker *me, struct shared_ticket *ticket, uint64_t store_id,
				 const struct store_delivery *delivery);

/* How one member takes part. */
struct shared_options {
	uint8_t qos;
	bool retain_as_published;
	bool is_persistent; /* the group keeps messages for it while nobody is online */
	uint32_t subscription_id;
	uint16_t rights_generation;
	bool is_readable;
	uint32_t window; /* how many unacknowledged messages it is given at most; at least 1 */
};

/* One member's part in one group. Created by join, owned by the member until leave. */
struct shared_membership;

/*
 * Joins, or changes the options of a membership that exists (*membership not NULL). done runs when
 * it is live, perhaps before this returns; context is handed to it. The group sends to `member`
 * (its handle must stay registered) while it is online; online is the state to begin with.
 */
enum err shared_join(struct worker *me, struct slice group, struct slice filter,
		     struct endpoint *member, const struct shared_options *options, bool online,
		     void (*done)(struct worker *me, uint64_t context_handle,
				  uint64_t context_token),
		     uint64_t context_handle, uint64_t context_token,
		     struct shared_membership **membership) ERR_CHECKED;

/* Ends it; done as above, or NULL. What the member had not sent goes to others through the tickets
 * that the caller finishes. */
void shared_leave(struct worker *me, struct shared_membership **membership,
		  void (*done)(struct worker *me, uint64_t context_handle, uint64_t context_token),
		  uint64_t context_handle, uint64_t context_token);

/* The member's connection came or went; window may have changed with it. Not awaited. */
void shared_member_online(struct worker *me, struct shared_membership *membership, bool online,
			  uint32_t window);

/*
 * At a start, on the group's home, when all members have joined: what the store has of a group. NULL:
 * nobody is a member, and the store forgets it. Messages come in the order of their numbers.
 */
struct shared_group *shared_restore(struct worker *me, struct slice key, uint64_t store_id);
void shared_restore_message(struct worker *me, struct shared_group *group, struct message *message,
			    const struct store_item *item);

struct slice shared_membership_group(const struct shared_membership *membership);
struct slice shared_membership_filter(const struct shared_membership *membership);

#endif
