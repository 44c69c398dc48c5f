/* SPDX-License-Identifier: Apache-2.0 */
#include "session/inspect.h"

#include <stdlib.h>

#include "mqtt/topic.h"
#include "session/client.h"

bool inspect_owner(struct session_world *world, struct slice client_id, uint16_t *out_worker)
{
	return registry_find(world->registry, client_id, out_worker) != NULL;
}

struct session *inspect_find(struct worker *me, struct slice client_id, bool *out_is_elsewhere)
{
	uint16_t owner;
	const struct registration *registration =
		registry_find(session_worker_of(me)->world->registry, client_id, &owner);

	*out_is_elsewhere = registration && owner != me->id;
	return registration && owner == me->id ? registration->session : NULL;
}

static void view_connection(const struct session *session, struct session_view *out)
{
	const struct client *client = session->client;

	out->is_online = true;
	out->address = &client->conn.address;
	out->transport = client->conn.transport->name;
	out->keep_alive_s = client->keep_alive_s;
	out->output_bytes = client->conn.out_len - client->conn.out_start;
}

void inspect_session(struct worker *me, const struct session *session, struct session_view *out)
{
	*out = (struct session_view){
		.client_id = session_client_id(session),
		.listener = listener_name(session_profile(me, session)->listener),
		.version = session->version,
		.since_ms = session->since_ms,
		.expiry_s = session->expiry_s,
		.expires_ms = session->expiry_due_ms,
		.has_will = session->will != NULL,
		.subscriptions = session->subscription_count,
		.received = packet_id_set_count(&session->received),
	};
	if (session->origin) {
		out->has_username = session->origin->has_username;
		out->username = origin_username(session->origin);
	}
	if (session->client)
		view_connection(session, out);
	if (session->queue) {
		/* Also what is in the store alone. */
		out->queued = session->queue->count + session->queue->spilled;
		out->queued_bytes = session->queue->bytes + session->queue->spilled_bytes;
	}
	if (session->window) {
		out->inflight = session->window->count;
		out->inflight_bytes = session->window->bytes;
	}
	if (session->last_cause) {
		out->last_cause = close_cause_text(session->last_cause - 1);
		out->last_end_ms = (uint64_t)session->last_end_s * 1000;
	}
}

const struct session *inspect_next(struct worker *me, uint32_t *cursor, unsigned *budget)
{
	while (*budget > 0) {
		const struct endpoint *endpoint = route_next_endpoint(me, cursor);

		if (!endpoint)
			return NULL;
		(*budget)--;
		if (endpoint->ops == &session_endpoint_ops)
			return (const struct session *)(const void *)endpoint;
	}
	return NULL;
}

bool inspect_disconnect(struct session *session)
{
	struct client *client = session->client;

	if (!client || client->state == CLIENT_ENDING)
		return false;
	client_close(client, CLOSE_ADMINISTRATIVE, 0, NULL);
	return true;
}

void inspect_forget(struct worker *me, struct session *session)
{
	/* With its connection, which may be ending already, the session then ends too. */
	session_set_expiry(me, session, 0);
	if (session->client)
		inspect_disconnect(session);
	else
		session_end(me, &session);
}

/* Subscriptions. */

enum err subscription_walk_begin(struct worker *me, struct subscription_walk *walk,
				 struct session *session)
{
	struct session_worker *mine = session_worker_of(me);

	*walk = (struct subscription_walk){.is_of_one = session != NULL};
	walk->text = malloc(TOPIC_MAX_BYTES);
	if (!walk->text)
		return ERR_NOMEM;
	walk->next = session ? session->subscriptions : NULL;
	walk->link = mine->walks;
	mine->walks = walk;
	return ERR_NONE;
}

void subscription_walk_end(struct worker *me, struct subscription_walk *walk)
{
	struct subscription_walk **at = &session_worker_of(me)->walks;

	while (*at && *at != walk)
		at = &(*at)->link;
	if (*at)
		*at = walk->link;
	free(walk->text);
	walk->text = NULL;
}

void subscription_walks_pass(struct worker *me, const struct session_subscription *subscription)
{
	struct subscription_walk *walk = session_worker_of(me)->walks;

	for (; walk; walk = walk->link)
		if (walk->next == subscription)
			walk->next = subscription->next;
}

static void view_subscription(struct subscription_walk *walk,
			      const struct session_subscription *own, struct subscription_view *out)
{
	const struct subscription *subscription = &own->subscription;
	const struct session *session = (const struct session *)(void *)subscription->endpoint;
	size_t len;

	*out = (struct subscription_view){
		.client_id = session_client_id(session),
		.id = subscription->id,
		.qos = subscription->qos,
		.no_local = (subscription->flags & SUBSCRIPTION_NO_LOCAL) != 0,
		.retain_as_published =
			(subscription->flags & SUBSCRIPTION_RETAIN_AS_PUBLISHED) != 0,
	};
	if (own->membership) {
		out->filter = shared_membership_filter(own->membership);
		out->group = shared_membership_group(own->membership);
		return;
	}
	len = topic_node_path(subscription->link.node, walk->text, TOPIC_MAX_BYTES);
	out->filter = slice_of(walk->text, len <= TOPIC_MAX_BYTES ? len : 0);
}

bool subscription_walk_next(struct worker *me, struct subscription_walk *walk, unsigned *budget,
			    struct subscription_view *out)
{
	while (!walk->next && !walk->is_of_one) {
		const struct session *session = inspect_next(me, &walk->cursor, budget);

		if (!session)
			return false;
		walk->next = session->subscriptions;
	}
	if (!walk->next || *budget == 0)
		return false;
	(*budget)--;
	view_subscription(walk, walk->next, out);
	walk->next = walk->next->next;
	return true;
}
