/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_home.h - a shared group as its home worker sees it. Used by the files of shared groups only.
 *
 *	struct shared_worker: groups by name, members by number
 *	      struct shared_group: queue (sorted by arrival), members, those ready for one more
 *	            struct shared_member --(handle, number)--> struct shared_membership, anywhere
 *	      struct shared_ticket: one message, in the queue or out at a member
 *
 * Owner: the group's home worker. A ticket that is out belongs to the member's worker, which touches
 * only its outcome.
 *
 * Invariants (see shared_audit()):
 *   G1  Both queues are sorted by the tickets' number of arrival, and their sums are right.
 *   G2  members[] holds all members; ready[] is a heap of exactly those that may take one more.
 *   G3  No ticket goes out to a member that has its window of them out already.
 *   G4  A group has a member, or it is dead and only waits for tickets that are out.
 */
#ifndef NIGHTJAR_ROUTE_SHARED_HOME_H
#define NIGHTJAR_ROUTE_SHARED_HOME_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "route/route_worker.h"
#include "route/shared_group.h"

struct shared_group;

/* References: one of the group until the member leaves, one for each ticket that is out. */
struct shared_member {
	UT_hash_handle hh;	    /* by number */
	struct shared_group *group; /* NULL: has left */
	uint64_t number;	    /* of its membership; unique in the process */
	uint64_t turn; /* when it was last given something: the lower, the longer ago */
	handle_t endpoint;
	struct shared_options options;
	uint32_t refs;
	uint32_t unacknowledged;
	uint32_t at;	   /* in members[] */
	uint32_t ready_at; /* in ready[]; SHARED_NOT_READY */
	bool is_online;
	bool has_bounced; /* gave a message back: its connection has ended, whoever says so first */
};

#define SHARED_NOT_READY UINT32_MAX

/*
 * One message of a group. It is a letter so that going to the member and coming home need no other
 * memory, and so cannot fail.
 */
struct shared_ticket {
	struct letter letter;
	struct shared_ticket *next, *previous; /* in the group's queue */
	struct shared_group *group;	       /* home only; a reference while it is out */
	struct shared_member *member;	       /* home only; a reference while it is out */
	struct message *message;	       /* a shared reference */
	uint64_t number;		       /* of arrival in the group */
	uint64_t store_id, store_number;       /* where the group keeps it; number 0: it does not */
	uint64_t taken_id,
		taken_number; /* where the member's session keeps it; id 0: it does not */
	handle_t endpoint;    /* the member's */
	uint32_t subscription_id;
	uint16_t rights_generation;
	uint8_t qos;	  /* the message's for this group */
	uint8_t sent_qos; /* to this member */
	uint8_t outcome;  /* enum shared_outcome, written by the member's worker */
	bool is_retained; /* the publisher's flag */
	bool shows_retain;
	bool is_readable;
};

/* Sorted by number of arrival. */
struct shared_queue {
	struct shared_ticket *first, *last;
	struct shared_ticket *recent; /* where the latest came back: its neighbours follow */
	uint32_t count;
	uint64_t bytes;
};

/* References: one while it has members, one for each ticket that is out. */
struct shared_group {
	struct endpoint endpoint;
	struct subscription subscription;
	UT_hash_handle hh; /* by key */
	struct task pump;
	struct credit_waiter credit_waiter;
	struct shared_queue queue; /* QoS 1 and 2: until a member can take one more */
	struct shared_queue qos0;  /* until a letter to the member's worker has come home */
	struct shared_member **members, **ready; /* both have room for cap */
	uint32_t member_count, ready_count, cap;
	uint32_t online_count, persistent_count;
	uint32_t refs;
	bool is_dead;
	uint64_t next_number, next_turn;
	struct shared_worker *home;
	uint64_t store_id; /* 0: nothing of it was kept so far */
	uint32_t key_len;
	uint8_t key[]; /* length of the group's name, 2 bytes; name; filter */
};

/* Owner: the member's worker. */
struct shared_membership {
	uint64_t number; /* by which the group's home knows it */
	uint16_t home;
	uint32_t key_len;
	uint8_t key[]; /* as in struct shared_group */
};

struct shared_worker {
	struct shared_settings settings;
	struct shared_group *groups;
	struct shared_member *members;
	uint64_t next_number; /* of the memberships of this worker's endpoints */
	uint64_t random;
	bool is_stopping; /* groups that end now end in memory only */
};

static inline struct shared_worker *shared_worker_of(struct worker *worker)
{
	return route_worker_of(worker)->shared;
}

/* A member joins, changes, comes, goes, leaves: what its worker asks of the group's home. */
enum shared_change { SHARED_JOIN, SHARED_LEAVE, SHARED_ONLINE };

struct shared_request {
	enum shared_change change;
	bool is_online;
	uint64_t number;
	handle_t endpoint;
	struct shared_options options; /* SHARED_ONLINE: only the window */
	struct slice key;	       /* SHARED_JOIN */
};

enum err shared_home_change(struct worker *me, const struct shared_request *request) ERR_CHECKED;
/* A ticket is at home again, with its outcome. */
void shared_home_take_back(struct worker *me, struct shared_ticket *ticket);
/* A QoS 0 message has reached its member's worker. */
void shared_home_free_ticket(struct worker *me, struct shared_ticket *ticket);
void shared_home_free_all(struct worker *worker);
/* After the settings changed. */
void shared_home_configure(struct worker *me);

/* shared_keep.c: what of a group is in the store. Each is one look at a number for all others. */
void shared_keep(struct worker *me, struct shared_group *group, struct shared_ticket *ticket,
		 const struct delivery *delivery);
/* It came back. */
void shared_keep_back(struct worker *me, const struct shared_group *group,
		      struct shared_ticket *ticket);
void shared_keep_done(struct worker *me, const struct shared_group *group,
		      const struct shared_ticket *ticket);
void shared_keep_end(struct worker *me, struct shared_group *group);

/* shared_group.c: the member's side of a delivery. Answers the ticket itself if nobody is there. */
void shared_hand_over(struct worker *me, struct shared_ticket *ticket);
extern const struct letter_type shared_deliver_type, shared_deliver_qos0_type;

/* shared_choose.c: who is next? NULL: nobody can take it now. */
struct shared_member *shared_choose(struct shared_group *group, const struct shared_ticket *ticket);
/* After anything that shared_choose() looks at was changed in the member. */
void shared_choose_update(struct shared_group *group, struct shared_member *member);
void shared_choose_rebuild(struct shared_group *group);
enum err shared_choose_reserve(struct shared_group *group, uint32_t count) ERR_CHECKED;

static inline bool shared_member_is_reachable(const struct shared_member *member)
{
	return member->is_online && !member->has_bounced;
}

static inline bool shared_member_is_ready(const struct shared_member *member)
{
	return shared_member_is_reachable(member) &&
	       member->unacknowledged < member->options.window;
}

/* shared_queue.c */
size_t shared_message_bytes(const struct message *message);
void shared_queue_add(struct shared_queue *queue, struct shared_ticket *ticket);
void shared_queue_remove(struct shared_queue *queue, struct shared_ticket *ticket);

/* Checks G1, G2, G4; stops the process on a fault. For tests. */
void shared_audit(struct worker *me);

#endif
