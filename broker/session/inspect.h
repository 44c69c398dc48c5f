/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect.h - what an administrator sees of sessions, and does to them.
 *
 * All functions run on the session's worker. What they show is borrowed and valid until the caller
 * returns to the loop. Walks go in slices of the caller's choosing; sessions and subscriptions may come
 * and go between them.
 */
#ifndef NIGHTJAR_SESSION_INSPECT_H
#define NIGHTJAR_SESSION_INSPECT_H

#include "base/slice.h"
#include "runtime/worker.h"

struct address;
struct session;
struct session_subscription;
struct session_world;

struct session_view {
	struct slice client_id, username;
	bool has_username, is_online, has_will;
	const struct address *address; /* NULL: offline */
	const char *transport;	       /* NULL: offline */
	const char *listener;	       /* the name of the one it was last connected through */
	uint8_t version;	       /* enum mqtt_version */
	uint16_t keep_alive_s;	       /* 0: none */
	uint64_t since_ms;	       /* online, or offline, since then; clock_now_ms() */
	uint32_t expiry_s;	       /* SESSION_EXPIRY_NEVER */
	uint64_t expires_ms;	       /* offline: when it ends; 0: never */
	uint32_t subscriptions, queued, inflight, received; /* received: QoS 2 not released */
	uint64_t queued_bytes, inflight_bytes, output_bytes;
	const char *last_cause; /* why its last connection ended; NULL: there was none */
	uint64_t last_end_ms;
};

/* Any thread: whose session is it? false: there is none. */
bool inspect_owner(struct session_world *world, struct slice client_id, uint16_t *out_worker);

/* NULL: not here; *out_is_elsewhere: another worker has it now. */
struct session *inspect_find(struct worker *me, struct slice client_id, bool *out_is_elsewhere);
void inspect_session(struct worker *me, const struct session *session, struct session_view *out);

/* The next session, after *cursor (begins at 0), looking at *budget endpoints at most. NULL: the
 * budget is used up (0), or there are no more. */
const struct session *inspect_next(struct worker *me, uint32_t *cursor, unsigned *budget);

/* Ends the connection (0x98 to version 5). false: it had none. */
bool inspect_disconnect(struct session *session);
/* Ends the session and all that it keeps, its connection first. It may be freed already. */
void inspect_forget(struct worker *me, struct session *session);

struct subscription_view {
	struct slice client_id;
	struct slice filter; /* with the mount point; without "$share/" */
	struct slice group;  /* empty: not shared */
	uint32_t id;
	uint8_t qos;
	bool no_local, retain_as_published;
};

/*
 * A place among the subscriptions of all sessions of a worker, or of one. It may stay between turns:
 * a subscription that goes moves it on. Owner: the worker, from begin to end.
 */
struct subscription_walk {
	struct subscription_walk *link; /* others of this worker */
	struct session_subscription *next;
	uint32_t cursor;
	bool is_of_one;
	uint8_t *text; /* of the filter that is shown */
};

/* session: only its own; NULL: all. ERR_NOMEM. */
enum err subscription_walk_begin(struct worker *me, struct subscription_walk *walk,
				 struct session *session) ERR_CHECKED;
/* As inspect_next(). */
bool subscription_walk_next(struct worker *me, struct subscription_walk *walk, unsigned *budget,
			    struct subscription_view *out);
void subscription_walk_end(struct worker *me, struct subscription_walk *walk);
/* For subscriptions.c: this one goes. */
void subscription_walks_pass(struct worker *me, const struct session_subscription *subscription);

#endif
