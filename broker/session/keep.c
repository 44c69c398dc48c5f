/* SPDX-License-Identifier: Apache-2.0 */
#include "session/keep.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "session/client.h"

static void post_session(struct worker *me, const struct session *session, uint64_t offline_ms)
{
	const struct store_session record = {
		.kind = STORE_SESSION,
		.name = session_client_id(session),
		.username = origin_username(session->origin),
		.listener =
			slice_from_string(listener_name(session_profile(me, session)->listener)),
		.connected_ms = session->kept->connected_wall_ms,
		.offline_ms = offline_ms,
		.expiry_s = session->expiry_s,
		.version = session->version,
		.has_username = session->origin->has_username,
	};

	store_session_put(me, session->kept->id, &record);
}

static void post_will(struct worker *me, const struct session *session, uint64_t due_ms)
{
	const struct will *will = session->will;

	store_will_put(me, session->kept->id,
		       &(struct store_will){
			       .message = will->message,
			       .due_ms = due_ms,
			       .delay_s = will->delay_s,
			       .expiry_s = will->expiry_s,
			       .has_expiry = will->has_expiry,
		       });
}

struct kept *keep_create(uint64_t id)
{
	struct kept *kept = calloc(1, sizeof *kept);

	if (!kept)
		return NULL;
	kept->id = id;
	memory_charge(MEMORY_SESSION, sizeof *kept);
	return kept;
}

void keep_free(struct worker *me, struct session *session)
{
	if (!session->kept)
		return;
	publishing_free_all(me, session);
	memory_uncharge(MEMORY_SESSION, sizeof *session->kept);
	free(session->kept);
	session->kept = NULL;
}

enum err keep_open(struct worker *me, struct session *session)
{
	if (!store_is_open(me))
		return ERR_NONE;
	/* Resumed for the last time: it ends with this connection. What of its queue is in the store
	 * alone has to be read back first. */
	if (session->expiry_s == 0 && !(session->queue && session->queue->spilled)) {
		keep_end(me, session);
		return ERR_NONE;
	}
	if (!session->kept)
		session->kept = keep_create(store_new_id_of(me));
	if (!session->kept)
		return ERR_NOMEM;
	session->kept->connected_wall_ms = clock_wall_ms();
	post_session(me, session, 0);
	if (session->will)
		post_will(me, session, 0);
	else
		store_will_remove(me, session->kept->id);
	return ERR_NONE;
}

void keep_offline(struct worker *me, struct session *session)
{
	uint64_t wall_ms;

	if (!session->kept)
		return;
	wall_ms = clock_wall_ms();
	post_session(me, session, wall_ms);
	if (session->will)
		post_will(me, session, wall_ms + (uint64_t)session->will->delay_s * 1000);
}

void keep_end(struct worker *me, struct session *session)
{
	if (!session->kept)
		return;
	store_session_remove(me, session->kept->id);
	keep_free(me, session);
}

void keep_forget(struct worker *me, struct session *session)
{
	keep_free(me, session);
}

void keep_will_gone(struct worker *me, struct session *session)
{
	if (session->kept)
		store_will_remove(me, session->kept->id);
}

uint64_t keep_departing_will(struct worker *me, const struct session *session,
			     const struct message *message)
{
	uint64_t id;

	if (!session->kept)
		return 0;
	id = store_new_id_of(me);
	store_session_put(me, id,
			  &(struct store_session){
				  .kind = STORE_WILL,
				  .name = session_client_id(session),
				  .username = origin_username(session->origin),
				  .has_username = session->origin->has_username,
			  });
	store_will_put(me, id, &(struct store_will){.message = message});
	return id;
}

/* The subscription's key in the store: "$share/GROUP/" where it is shared, and the filter with the
 * mount point in front. to: room for it. */
static struct slice subscription_text(const struct subscribe_request *request, uint8_t *to)
{
	static const char share[] = "$share/";
	size_t len = sizeof share - 1;

	if (!request->is_shared)
		return request->filter;
	memcpy(to, share, len);
	memcpy(to + len, request->group.data, request->group.len);
	len += request->group.len;
	to[len++] = '/';
	memcpy(to + len, request->filter.data, request->filter.len);
	return slice_of(to, len + request->filter.len);
}

#define SUBSCRIPTION_TEXT_BYTES (7 + 65535 + 1 + 65535)

void keep_subscription(struct worker *me, struct session *session,
		       const struct subscribe_request *request)
{
	uint8_t text[SUBSCRIPTION_TEXT_BYTES];

	if (!session->kept)
		return;
	store_subscription_put(me, session->kept->id,
			       &(struct store_subscription){
				       .text = subscription_text(request, text),
				       .subscription_id = request->subscription_id,
				       .qos = request->qos,
				       .retain_handling = request->retain_handling,
				       .no_local = request->no_local,
				       .retain_as_published = request->retain_as_published,
			       });
}

void keep_unsubscription(struct worker *me, struct session *session,
			 const struct subscribe_request *request)
{
	uint8_t text[SUBSCRIPTION_TEXT_BYTES];

	if (session->kept)
		store_subscription_remove(me, session->kept->id, subscription_text(request, text));
}

/* Messages. */

void keep_queue(struct worker *me, struct session *session, const struct delivery *delivery,
		struct outgoing *out)
{
	if (delivery->message->flags & MESSAGE_OF_BROKER)
		return; /* $SYS is said again */
	out->number = store_queue(me, session->kept->id, delivery->message,
				  &(struct store_delivery){
					  .subscription_ids = delivery->subscription_ids,
					  .subscription_id_count = delivery->subscription_id_count,
					  .qos = delivery->qos,
					  .retain = delivery->retain,
					  .origin_id = delivery->origin.id,
					  .origin_packet_id = delivery->origin.packet_id,
				  });
}

static void on_commit(struct worker *me, uint64_t handle, uint64_t token)
{
	struct endpoint *endpoint = route_find(me, handle);
	struct session *session = (struct session *)(void *)endpoint;

	(void)token;
	if (!endpoint || !session->kept)
		return;
	session->kept->waits_for_commit = false;
	session_pump(me, session);
}

void keep_wait(struct worker *me, struct session *session, const struct window_slot *slot)
{
	if (!session->kept || session->kept->waits_for_commit)
		return;
	session->kept->waits_for_commit = true;
	commit_wait_add(me, me->id, slot->waits_for, on_commit, session->endpoint.handle, 0);
}

static void wait_for_last_post(struct worker *me, struct session *session, struct window_slot *slot)
{
	slot->waits_for = store_posted(me);
	keep_wait(me, session, slot);
}

/* From a shared group, which has nothing more to do with it in the store. */
static void take_over(struct worker *me, struct session *session, struct outgoing *out)
{
	out->number = shared_ticket_take_over(me, out->ticket, session->kept->id,
					      &(struct store_delivery){
						      .subscription_ids = outgoing_ids(out),
						      .subscription_id_count = out->id_count,
						      .qos = out->qos,
						      .retain = (out->flags & OUTGOING_RETAIN) != 0,
					      });
}

void keep_packet_id(struct worker *me, struct session *session, struct window_slot *slot)
{
	if (slot->out.ticket && slot->out.qos == 2)
		take_over(me, session, &slot->out);
	if (!slot->out.number)
		return;
	store_inflight(me, session->kept->id, slot->out.number, slot->packet_id, STORE_SENT,
		       slot->out.qos);
	if (slot->out.qos == 2)
		wait_for_last_post(me, session, slot);
}

bool keep_release_post(struct worker *me, struct session *session, struct window_slot *slot)
{
	store_inflight(me, session->kept->id, slot->out.number, slot->packet_id, STORE_RELEASED, 2);
	wait_for_last_post(me, session, slot);
	return true;
}
