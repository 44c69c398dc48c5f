/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_look.c - what a worker does for the control socket: one slice, some hundred records, then
 * other work goes on. It copies; the main thread makes JSON of it.
 */
#include <stdlib.h>

#include "mqtt/topic.h"
#include "mqtt/version.h"
#include "net/address.h"
#include "route/retained.h"
#include "route/route.h"
#include "server/control_job.h"
#include "session/session.h"

/* Endpoints, subscriptions or nodes that are looked at in one slice; a client is two. */
#define SLICE_BUDGET 1024u
/* How much of a payload is shown: of one topic, and of each in a list. */
#define PAYLOAD_BYTES_MAX (64u * 1024u)
#define PAYLOAD_BYTES_LISTED 1024u

static const char *version_text(uint8_t version)
{
	switch (version) {
	case MQTT_V31: return "3.1";
	case MQTT_V311: return "3.1.1";
	case MQTT_V5: return "5";
	default: return "none";
	}
}

static void put_connection(struct control_page *page, const struct session_view *view)
{
	char text[ADDRESS_TEXT_BYTES];

	if (!view->address)
		return;
	control_page_string(page, "address", address_text(view->address, text));
	control_page_string(page, "transport",
			    view->address->family == AF_UNIX ? "unix" : view->transport);
	control_page_number(page, "keep_alive_s", view->keep_alive_s);
	control_page_number(page, "output_bytes", view->output_bytes);
}

static void put_session(struct control_page *page, const struct session_view *view)
{
	control_page_begin(page, "client");
	control_page_text(page, "id", view->client_id);
	control_page_flag(page, "online", view->is_online);
	control_page_moment(page, "since", view->since_ms);
	if (view->has_username)
		control_page_text(page, "user", view->username);
	control_page_string(page, "listener", view->listener);
	control_page_string(page, "protocol", version_text(view->version));
	put_connection(page, view);
	if (view->expiry_s != SESSION_EXPIRY_NEVER)
		control_page_number(page, "session_expiry_s", view->expiry_s);
	if (view->expires_ms)
		control_page_moment(page, "expires", view->expires_ms);
	control_page_flag(page, "will", view->has_will);
	control_page_number(page, "subscriptions", view->subscriptions);
	control_page_number(page, "queued", view->queued);
	control_page_number(page, "queued_bytes", view->queued_bytes);
	control_page_number(page, "inflight", view->inflight);
	control_page_number(page, "inflight_bytes", view->inflight_bytes);
	control_page_number(page, "received_unreleased", view->received);
	if (view->last_cause) {
		control_page_string(page, "last_disconnect_reason", view->last_cause);
		control_page_moment(page, "last_disconnect", view->last_end_ms);
	}
}

static enum control_result look_at_clients(struct worker *me, struct control_slice *slice)
{
	unsigned budget = SLICE_BUDGET;
	const struct session *session;
	struct session_view view;

	while (!control_page_is_full(&slice->page)) {
		session = inspect_next(me, &slice->cursor, &budget);
		if (!session)
			return budget ? CONTROL_DONE : CONTROL_MORE;
		inspect_session(me, session, &view);
		put_session(&slice->page, &view);
	}
	return CONTROL_MORE;
}

/* Subscriptions. */

static void put_subscription(struct control_page *page, const struct subscription_view *view)
{
	control_page_begin(page, "subscription");
	control_page_text(page, "id", view->client_id);
	control_page_text(page, "filter", view->filter);
	if (view->group.len)
		control_page_text(page, "group", view->group);
	control_page_number(page, "qos", view->qos);
	control_page_flag(page, "no_local", view->no_local);
	control_page_flag(page, "retain_as_published", view->retain_as_published);
	if (view->id)
		control_page_number(page, "subscription_id", view->id);
}

static enum control_result walk_subscriptions(struct worker *me, struct control_slice *slice,
					      struct slice wanted)
{
	unsigned budget = SLICE_BUDGET;
	struct subscription_view view;

	while (!control_page_is_full(&slice->page)) {
		if (!subscription_walk_next(me, &slice->walk, &budget, &view)) {
			if (budget == 0)
				return CONTROL_MORE;
			subscription_walk_end(me, &slice->walk);
			return CONTROL_DONE;
		}
		if (!wanted.len || topic_filter_covers(wanted, view.filter))
			put_subscription(&slice->page, &view);
	}
	return CONTROL_MORE;
}

static enum control_result look_at_subscriptions(struct worker *me, struct control_slice *slice)
{
	const char *wanted = slice->job->request.argument;

	if (!slice->has_begun && subscription_walk_begin(me, &slice->walk, NULL) != ERR_NONE)
		return CONTROL_NO_MEMORY;
	slice->has_begun = true;
	return walk_subscriptions(me, slice, slice_from_string(wanted));
}

/* One session. */

static enum control_result look_at_client(struct worker *me, struct control_slice *slice,
					  struct session *session)
{
	struct session_view view;

	if (subscription_walk_begin(me, &slice->walk, session) != ERR_NONE)
		return CONTROL_NO_MEMORY;
	slice->has_begun = true;
	inspect_session(me, session, &view);
	put_session(&slice->page, &view);
	return walk_subscriptions(me, slice, SLICE_NONE);
}

static enum control_result disconnect(struct worker *me, struct control_slice *slice,
				      struct session *session)
{
	struct session_view view;

	inspect_session(me, session, &view);
	put_session(&slice->page, &view);
	if (inspect_disconnect(session))
		return CONTROL_DONE;
	control_page_clear(&slice->page);
	return CONTROL_NOT_CONNECTED;
}

static enum control_result forget(struct worker *me, struct control_slice *slice,
				  struct session *session)
{
	struct session_view view;

	inspect_session(me, session, &view);
	put_session(&slice->page, &view);
	inspect_forget(me, session);
	return CONTROL_DONE;
}

static enum control_result with_session(struct worker *me, struct control_slice *slice)
{
	const struct control_request *request = &slice->job->request;
	bool is_elsewhere;
	struct session *session;

	if (slice->has_begun) /* CONTROL_CLIENT, and it had many subscriptions */
		return walk_subscriptions(me, slice, SLICE_NONE);
	session = inspect_find(me, slice_from_string(request->argument), &is_elsewhere);
	if (!session)
		return is_elsewhere ? CONTROL_ELSEWHERE : CONTROL_NOT_FOUND;
	switch (request->command) {
	case CONTROL_DISCONNECT: return disconnect(me, slice, session);
	case CONTROL_FORGET: return forget(me, slice, session);
	default: return look_at_client(me, slice, session);
	}
}

/* Retained messages. */

static void put_retained(struct control_page *page, const struct message *message, size_t shown)
{
	struct slice payload = message_payload(message);

	control_page_begin(page, "retained");
	control_page_text(page, "topic", message_topic(message));
	control_page_number(page, "qos", message->qos);
	control_page_moment(page, "arrived", message_arrived_ms(message));
	if (message->expires_ms)
		control_page_moment(page, "expires", message->expires_ms);
	if (message->origin) {
		control_page_text(page, "publisher", origin_client_id(message->origin));
		if (message->origin->has_username)
			control_page_text(page, "user", origin_username(message->origin));
	}
	control_page_number(page, "payload_bytes", payload.len);
	if (payload.len > shown) {
		payload.len = shown;
		control_page_flag(page, "payload_is_cut", true);
	}
	control_page_bytes(page, "payload", payload);
}

static enum control_result look_at_topic(struct worker *me, struct control_slice *slice,
					 struct slice topic)
{
	struct message *message = retained_get(me, route_retained(me), topic);

	if (!message)
		return CONTROL_NOT_FOUND;
	put_retained(&slice->page, message, PAYLOAD_BYTES_MAX);
	message_drop(me, &message);
	return CONTROL_DONE;
}

static enum control_result look_at_retained(struct worker *me, struct control_slice *slice)
{
	struct slice wanted = slice_from_string(slice->job->request.argument);
	unsigned budget = SLICE_BUDGET;
	struct message *message;
	bool is_more;

	if (!topic_filter_has_wildcard(wanted))
		return look_at_topic(me, slice, wanted);
	if (!slice->has_begun &&
	    retained_cursor_create(route_retained(me), wanted, &slice->retained) != ERR_NONE)
		return CONTROL_NO_MEMORY;
	slice->has_begun = true;
	while (!control_page_is_full(&slice->page)) {
		message = retained_cursor_next(me, slice->retained, &budget, &is_more);
		if (!message && is_more)
			return CONTROL_MORE;
		if (!message) {
			retained_cursor_destroy(&slice->retained);
			return CONTROL_DONE;
		}
		put_retained(&slice->page, message, PAYLOAD_BYTES_LISTED);
		message_drop(me, &message);
	}
	return CONTROL_MORE;
}

/* Nobody waits for the rest. */
static void give_back(struct worker *me, struct control_slice *slice)
{
	if (slice->walk.text)
		subscription_walk_end(me, &slice->walk);
	if (slice->retained)
		retained_cursor_destroy(&slice->retained);
}

static enum control_result look(struct worker *me, struct control_slice *slice)
{
	switch (slice->job->request.command) {
	case CONTROL_CLIENTS: return look_at_clients(me, slice);
	case CONTROL_SUBSCRIPTIONS: return look_at_subscriptions(me, slice);
	case CONTROL_RETAINED: return look_at_retained(me, slice);
	default: return with_session(me, slice);
	}
}

void control_look(struct worker *me, struct control_slice *slice)
{
	if (slice->is_cancelled) {
		give_back(me, slice);
		slice->result = CONTROL_DONE;
		return;
	}
	slice->result = look(me, slice);
}
