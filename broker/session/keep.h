/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - what of a session outlives the process, as posts to the store.
 *
 * A session is kept when it was made with a Session Expiry Interval and there is a store: then it has
 * a struct kept, and what happens to it is posted here. For all others each function is one look at
 * a pointer. Owner of everything: the session's worker.
 *
 *	a message comes       keep_delivery   the queue's entry
 *	it gets an identifier keep_sending    QoS 2: the PUBLISH waits for the commit
 *	PUBREC has come       keep_release    the PUBREL waits for the commit
 *	it is over            keep_done       nobody waits
 */
#ifndef NIGHTJAR_SESSION_KEEP_H
#define NIGHTJAR_SESSION_KEEP_H

#include "session/session.h"
#include "store/commit_wait.h"

struct publishing;

/* Owner: the session. */
struct kept {
	uint64_t id; /* in the store */
	uint64_t connected_wall_ms;
	struct publishing *publishing_first, **publishing_last; /* publishing.c */
	uint64_t publishing_token;
	bool waits_for_commit; /* session_pump() will run with one */
};

/* A session that the store has as id. NULL: no memory. */
struct kept *keep_create(uint64_t id);
void keep_free(struct worker *me, struct session *session);

/* At CONNECT, after the session was made or resumed: its record and its will. */
enum err keep_open(struct worker *me, struct session *session) ERR_CHECKED;
/* Its connection is gone, but it goes on. */
void keep_offline(struct worker *me, struct session *session);
/* It is over: all that belongs to it goes. */
void keep_end(struct worker *me, struct session *session);
/* The broker stops: the session ends in memory only. */
void keep_forget(struct worker *me, struct session *session);
/* The will was withdrawn, or is on its way. */
void keep_will_gone(struct worker *me, struct session *session);
/* The message of the session's will on its way, by itself. Returns its id in the store; 0: not kept. */
uint64_t keep_departing_will(struct worker *me, const struct session *session,
			     const struct message *message);

/* filter: with the mount point in front; group: empty unless shared. */
void keep_subscription(struct worker *me, struct session *session,
		       const struct subscribe_request *request);
void keep_unsubscription(struct worker *me, struct session *session,
			 const struct subscribe_request *request);

void keep_queue(struct worker *me, struct session *session, const struct delivery *delivery,
		struct outgoing *out);
void keep_packet_id(struct worker *me, struct session *session, struct window_slot *slot);
bool keep_release_post(struct worker *me, struct session *session, struct window_slot *slot);
/* Lets session_pump() run when the slot's post is committed. */
void keep_wait(struct worker *me, struct session *session, const struct window_slot *slot);

/* out is in the queue, or is about to be sent, for this delivery. */
static inline void keep_delivery(struct worker *me, struct session *session,
				 const struct delivery *delivery, struct outgoing *out)
{
	if (session->kept && out->qos && !out->ticket)
		keep_queue(me, session, delivery, out);
}

/* The slot was just given its Packet Identifier. */
static inline void keep_sending(struct worker *me, struct session *session,
				struct window_slot *slot)
{
	if (session->kept)
		keep_packet_id(me, session, slot);
}

/* true: the PUBREL has to wait. */
static inline bool keep_release(struct worker *me, struct session *session,
				struct window_slot *slot)
{
	return session->kept && slot->out.number && keep_release_post(me, session, slot);
}

static inline void keep_done(struct worker *me, const struct session *session,
			     const struct outgoing *out)
{
	if (out->number && session->kept)
		store_done(me, session->kept->id, out->number);
}

static inline bool keep_is_pending(const struct worker *me, const struct window_slot *slot)
{
	return commit_is_pending(me, me->id, slot->waits_for);
}

/*
 * publishing.c: QoS 2 publications of a kept session that others have still to take over. Their
 * receipts come to the session, because they must be counted even when the connection is lost
 * meanwhile: only when all are in is the Packet Identifier kept, in one commit with what all workers
 * have queued, and only then PUBREC may leave.
 */
uint64_t publishing_next_token(struct session *session);
/* false: no memory. */
bool publishing_begin(struct worker *me, struct session *session, uint16_t packet_id,
		      unsigned receipts, handle_t client, uint64_t client_token);
void publishing_on_receipt(struct worker *me, struct endpoint *endpoint, uint64_t token);

enum publishing_again {
	PUBLISHING_UNKNOWN, /* no such publication is under way */
	PUBLISHING_WAIT,    /* its answer will come to this connection, as client_token */
	PUBLISHING_COMES,   /* this connection waits for it already */
};
/* The same PUBLISH has come once more. */
enum publishing_again publishing_repeat(struct session *session, uint16_t packet_id,
					handle_t client, uint64_t client_token);
/* PUBREL: the identifier is given up as soon as it was kept. false: not under way. */
bool publishing_release(struct session *session, uint16_t packet_id);
/* All of them, when the store asks for origins. */
void publishing_name(struct worker *me, const struct session *session);
void publishing_free_all(struct worker *me, struct session *session);

#endif
