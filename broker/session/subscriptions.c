/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscriptions.c - the Topic Filters of one session (3.8.4).
 */
#include <stdlib.h>

#include "base/memory.h"
#include "base/rcu.h"
#include "session/client.h"
#include "session/inspect.h"
#include "session/keep.h"

static void list_add(struct session *session, struct session_subscription *subscription)
{
	subscription->next = session->subscriptions;
	subscription->pprev = &session->subscriptions;
	if (subscription->next)
		subscription->next->pprev = &subscription->next;
	session->subscriptions = subscription;
	session->subscription_count++;
}

static void list_remove(struct session *session, struct session_subscription *subscription)
{
	*subscription->pprev = subscription->next;
	if (subscription->next)
		subscription->next->pprev = subscription->pprev;
	session->subscription_count--;
}

/*
 * The session's subscription at a node. It stands in two lists, the session's and this worker's at
 * the node; either may be very long, so both are walked at once until one of them tells.
 */
static struct session_subscription *find_at(struct worker *me, struct session *session,
					    struct topic_node *node)
{
	struct topic_link *link = topic_node_links(node, me->id);
	struct session_subscription *own = session->subscriptions;

	while (link && own) {
		struct session_subscription *here = (struct session_subscription *)(void *)link;

		if (here->subscription.endpoint == &session->endpoint)
			return here;
		if (own->subscription.link.node == node)
			return own;
		link = link->next;
		own = own->next;
	}
	return NULL;
}

static struct session_subscription *find_plain(struct worker *me, struct session *session,
					       struct slice filter)
{
	struct session_subscription *found = NULL;
	struct topic_node *node;

	rcu_read_section_begin();
	node = topic_tree_find(route_tree(me), filter);
	if (node)
		found = find_at(me, session, node);
	rcu_read_section_end();
	return found;
}

static struct session_subscription *find_shared(struct session *session, struct slice group,
						struct slice filter)
{
	struct session_subscription *own = session->subscriptions;

	for (; own; own = own->next) {
		if (own->membership &&
		    slice_equal(shared_membership_group(own->membership), group) &&
		    slice_equal(shared_membership_filter(own->membership), filter))
			return own;
	}
	return NULL;
}

static struct session_subscription *find(struct worker *me, struct session *session,
					 const struct subscribe_request *request)
{
	return request->is_shared ? find_shared(session, request->group, request->filter)
				  : find_plain(me, session, request->filter);
}

/* Proven once here, so that deliveries need not look; under the present rights. */
static void prove_readable(struct session *session, struct subscription *subscription,
			   struct slice filter)
{
	const struct rights *rights = &session->rights;

	subscription->flags &= (uint8_t)~SUBSCRIPTION_READABLE;
	subscription->rights_generation = (uint16_t)authority_generation(rights->authority);
	if (!authority_hooks(rights->authority)->check_permission &&
	    acl_view_read_scope(rights->view, filter) == ACL_SCOPE_ALL)
		subscription->flags |= SUBSCRIPTION_READABLE;
}

static void set_options(struct session *session, struct subscription *subscription,
			const struct subscribe_request *request)
{
	subscription->qos = request->qos;
	subscription->id = request->subscription_id;
	subscription->flags = 0;
	if (request->no_local)
		subscription->flags |= SUBSCRIPTION_NO_LOCAL;
	if (request->retain_as_published)
		subscription->flags |= SUBSCRIPTION_RETAIN_AS_PUBLISHED;
	prove_readable(session, subscription, request->filter);
}

static uint32_t member_window(struct worker *me, const struct session *session)
{
	uint32_t limit = session_window_limit(me, session);

	return limit ? limit : 1;
}

static enum err join(struct worker *me, struct session *session,
		     struct session_subscription *subscription,
		     const struct subscribe_request *request)
{
	struct shared_options options = {
		.qos = request->qos,
		.retain_as_published = request->retain_as_published,
		.is_persistent = session->expiry_s != 0,
		.subscription_id = request->subscription_id,
		.rights_generation = subscription->subscription.rights_generation,
		.is_readable = (subscription->subscription.flags & SUBSCRIPTION_READABLE) != 0,
		.window = member_window(me, session),
	};

	return shared_join(me, request->group, request->filter, &session->endpoint, &options,
			   session->client != NULL, request->done, request->done_handle,
			   request->done_token, &subscription->membership);
}

static void subscription_free(struct session *session, struct session_subscription *subscription)
{
	feeds_cancel(session, subscription);
	memory_uncharge(MEMORY_SUBSCRIPTION, sizeof *subscription);
	free(subscription);
}

static uint8_t subscribe_new(struct worker *me, struct session *session,
			     const struct subscribe_request *request,
			     struct session_subscription **out)
{
	uint32_t limit = session_worker_of(me)->settings->max_subscriptions_per_client;
	struct session_subscription *fresh;
	enum err err;

	if (limit && session->subscription_count >= limit)
		return RC_QUOTA_EXCEEDED;
	if (memory_is_over_limit())
		return RC_QUOTA_EXCEEDED;
	if (session->kept && store_refuses(me)) {
		counter_add(me->counters, COUNTER_STORE_REFUSED_SUBSCRIPTIONS, 1);
		return RC_QUOTA_EXCEEDED;
	}
	fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return RC_IMPLEMENTATION_SPECIFIC_ERROR;
	memory_charge(MEMORY_SUBSCRIPTION, sizeof *fresh);
	fresh->subscription.endpoint = &session->endpoint;
	set_options(session, &fresh->subscription, request);
	err = request->is_shared ? join(me, session, fresh, request)
				 : route_subscribe(me, &fresh->subscription, request->filter);
	if (err != ERR_NONE) {
		subscription_free(session, fresh);
		return RC_IMPLEMENTATION_SPECIFIC_ERROR;
	}
	list_add(session, fresh);
	counter_add(me->counters, COUNTER_SUBSCRIPTIONS, 1);
	if (request->is_shared)
		counter_add(me->counters, COUNTER_SUBSCRIPTIONS_SHARED, 1);
	*out = fresh;
	return request->qos;
}

static uint8_t subscribe_again(struct worker *me, struct session *session,
			       const struct subscribe_request *request,
			       struct session_subscription *subscription)
{
	set_options(session, &subscription->subscription, request);
	if (!request->is_shared)
		route_subscription_changed(me);
	else if (join(me, session, subscription, request) != ERR_NONE)
		return RC_IMPLEMENTATION_SPECIFIC_ERROR;
	return request->qos;
}

uint8_t session_subscribe(struct worker *me, struct session *session,
			  const struct subscribe_request *request, bool *out_is_waiting)
{
	struct session_subscription *subscription = find(me, session, request);
	bool is_new = subscription == NULL;
	uint8_t code = is_new ? subscribe_new(me, session, request, &subscription)
			      : subscribe_again(me, session, request, subscription);

	if (reason_code_is_error(code))
		return code;
	keep_subscription(me, session, request);
	*out_is_waiting = request->is_shared;
	/* Shared Subscriptions get no retained messages (4.8.2). */
	if (request->is_shared || request->retain_handling == RETAIN_DO_NOT_SEND ||
	    (request->retain_handling == RETAIN_SEND_IF_NEW && !is_new))
		return code;
	if (!is_new)
		feeds_cancel(session, subscription);
	if (feed_start(me, session, request->filter, subscription) != ERR_NONE)
		return RC_IMPLEMENTATION_SPECIFIC_ERROR;
	return code;
}

static void remove_one(struct worker *me, struct session *session,
		       struct session_subscription *subscription,
		       const struct subscribe_request *request)
{
	if (subscription->membership) {
		shared_leave(me, &subscription->membership, request ? request->done : NULL,
			     request ? request->done_handle : 0, request ? request->done_token : 0);
		counter_sub(me->counters, COUNTER_SUBSCRIPTIONS_SHARED, 1);
	} else {
		route_unsubscribe(me, &subscription->subscription);
	}
	counter_sub(me->counters, COUNTER_SUBSCRIPTIONS, 1);
	subscription_walks_pass(me, subscription);
	list_remove(session, subscription);
	subscription_free(session, subscription);
}

uint8_t session_unsubscribe(struct worker *me, struct session *session,
			    const struct subscribe_request *request, bool *out_is_waiting)
{
	struct session_subscription *subscription = find(me, session, request);

	if (!subscription)
		return RC_NO_SUBSCRIPTION_EXISTED;
	*out_is_waiting = subscription->membership != NULL;
	keep_unsubscription(me, session, request);
	remove_one(me, session, subscription, request);
	return RC_SUCCESS;
}

void session_unsubscribe_all(struct worker *me, struct session *session)
{
	while (session->subscriptions)
		remove_one(me, session, session->subscriptions, NULL);
}

void session_members_online(struct worker *me, struct session *session, bool online)
{
	struct session_subscription *own = session->subscriptions;

	for (; own; own = own->next) {
		if (own->membership)
			shared_member_online(me, own->membership, online,
					     member_window(me, session));
	}
}
