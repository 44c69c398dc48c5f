/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.c - checks that a session's messages cannot be forgotten: whatever stands waits for something
 * that comes. For debug builds, where it looks at some sessions in each turn, when all else is done.
 *
 *   A1  The counts of a window are those of its slots.
 *   A2  waits_for_commit: it has an entry among what waits for this worker's commits.
 * And while its client is online and takes output:
 *   A3  A PUBLISH or PUBREL that is not sent waits for a commit, or its receiver has a full window.
 *   A4  What is queued stands behind something in flight. What is in the store alone stands behind
 *       that, or is being read back.
 */
#include "base/bug.h"
#include "session/broker_sessions.h"
#include "session/keep.h"
#include "session/sending.h"

#define AUDIT_SESSIONS 16u

static void audit_window(struct window *window)
{
	uint32_t count = 0, unsent = 0, on_wire = 0, held = 0, held_publish = 0;

	for (struct window_slot *slot = window_first(window); slot;
	     slot = window_next(window, slot)) {
		count++;
		unsent += slot->state == WINDOW_UNSENT || slot->state == WINDOW_RELEASE_UNSENT;
		on_wire += slot->is_on_wire;
		held += slot->hold != WINDOW_HOLDS_NOTHING;
		held_publish += slot->hold == WINDOW_HOLDS_PUBLISH;
	}
	BUG_ON(count != window->count || unsent != window->unsent || on_wire != window->on_wire);
	BUG_ON(held != window->held || held_publish != window->held_publish || held > unsent);
}

static void audit_progress(struct worker *me, const struct session *session)
{
	const struct window *window = session->window;
	const struct queue *queue = session->queue;
	bool waits = session->kept && session->kept->waits_for_commit;
	bool is_idle = !window || window->count == 0;

	BUG_ON(window && window->unsent && !waits &&
	       window->on_wire < session_window_limit(me, session));	   /* A3 */
	BUG_ON(queue && queue->count && is_idle);			   /* A4 */
	BUG_ON(queue && queue->spilled && !queue->is_fetching && is_idle); /* A4 */
}

static void audit_session(struct worker *me, const struct session *session)
{
	if (session->window)
		audit_window(session->window); /* A1 */
	BUG_ON(session->kept && session->kept->waits_for_commit &&
	       !commit_wait_has(me, me->id, session->endpoint.handle)); /* A2 */
	/* What is choked goes on when the peer has taken all. */
	if (session_online_client(session) && !connection_is_choked(&session->client->conn))
		audit_progress(me, session);
}

void sessions_audit(struct worker *me)
{
	struct session_worker *mine = session_worker_of(me);
	struct endpoint *endpoint;

	for (unsigned i = 0; i < AUDIT_SESSIONS && !mine->is_stopping; i++) {
		endpoint = route_next_endpoint(me, &mine->audit_cursor);
		if (!endpoint) {
			mine->audit_cursor = 0;
			return;
		}
		if (endpoint->ops == &session_endpoint_ops)
			audit_session(me, (const struct session *)(const void *)endpoint);
	}
}
