/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retained.h - the last retained message of each topic.
 *
 * Setting swaps the message at its node without the mutex; only a node that is new or goes takes
 * it. The swap gives the topic a rising version; a lower one never replaces a higher one.
 * Threads: retained_set() on any worker; cursors belong to one worker.
 */
#ifndef NIGHTJAR_ROUTE_RETAINED_H
#define NIGHTJAR_ROUTE_RETAINED_H

#include "base/err.h"
#include "base/slice.h"
#include "runtime/message.h"
#include "runtime/worker.h"

struct retained;
struct retained_cursor;

/* Where a worker's last topic was; all 0 at first. */
struct topic_trail;

struct retained_settings {
	uint64_t max_messages; /* 0: no limit */
	uint64_t max_bytes;    /* 0: no limit */
};

enum err retained_create(const struct retained_settings *settings,
			 struct retained **out) ERR_CHECKED;
void retained_destroy(struct retained **retained);
void retained_configure(struct retained *retained, const struct retained_settings *settings);

/*
 * An empty payload removes [MQTT-3.3.1-6]. Sets message->retained_version (the message is still the
 * caller's alone) and takes a reference of its own. trail: the caller's, or NULL. ERR_LIMIT: a limit
 * was met, nothing changed.
 */
enum err retained_set(struct retained *retained, struct topic_trail *trail,
		      struct message *message) ERR_CHECKED;
/* Inside a section, before each message is set: the topic of the next but one, or an empty slice. */
void retained_expect(struct retained *retained, struct topic_trail *trail, struct slice topic);

/* At a start, before anything is published: what the store has. Versions given out from now on are
 * above floor. */
void retained_restore_begin(struct retained *retained, uint64_t floor);
/* Sets the message, whose retained_version is the one that was stored. ERR_NOMEM. */
enum err retained_restore(struct worker *me, struct retained *retained,
			  struct message *message) ERR_CHECKED;

/* The message of exactly this topic, expired ones left out, with a use for the caller; or NULL. */
struct message *retained_get(struct worker *me, struct retained *retained, struct slice topic);

/*
 * A walk over all retained messages that match a filter, in slices. The cursor pins the node that
 * it stands at, so that it can go on after any pause. Topics that come or go during the walk may or
 * may not be seen; each other one is seen exactly once, with its value of that moment. Expired
 * messages are passed over (and removed).
 */
enum err retained_cursor_create(struct retained *retained, struct slice filter,
				struct retained_cursor **out) ERR_CHECKED;
void retained_cursor_destroy(struct retained_cursor **cursor);
/*
 * The next message, with a use that the caller drops; NULL: at the end, or (more set) the budget of
 * nodes to look at in one call is used up: call again in a later turn. Takes its own RCU section.
 */
struct message *retained_cursor_next(struct worker *me, struct retained_cursor *cursor,
				     unsigned *budget, bool *out_more);

/* false: nothing matches the filter, so that a cursor is not worth while. It costs a look-up for each
 * level before the first wildcard; without wildcards the answer is exact. */
bool retained_may_match(const struct retained *retained, struct slice filter);

uint64_t retained_count(const struct retained *retained);
uint64_t retained_bytes(const struct retained *retained);
/* Removes expired messages, looking at no more than budget nodes a call, going round; from worker 0's
 * timer, only while there are messages with an expiry. Returns false at the end of a round. */
bool retained_expire_slice(struct worker *me, struct retained *retained, unsigned budget);
uint64_t retained_expiring_count(const struct retained *retained);
void retained_audit(struct retained *retained);

#endif
