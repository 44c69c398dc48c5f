/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - the middle of the road of a message.
 *
 *	route_publish: match (cache) -> credits of the other workers -> retain -> deliver here
 *	               -> a letter to each other worker that has subscribers
 *	letter arrives: match again (that worker's cache) -> deliver there -> the letter goes home,
 *	               which is the receipt
 */
#include "route/route.h"

#include <stdlib.h>

#include "base/bug.h"
#include "route/room.h"
#include "route/route_worker.h"
#include "store/commit_wait.h"

enum err route_create(const struct route_settings *settings, struct route **out)
{
	struct route *route = calloc(1, sizeof *route);
	enum err err = ERR_NOMEM;

	*out = NULL;
	if (!route)
		return ERR_NOMEM;
	err = topic_tree_create(&route->tree);
	if (err == ERR_NONE)
		err = retained_create(&settings->retained, &route->retained);
	if (err != ERR_NONE)
		route_destroy(&route);
	*out = route;
	return err;
}

void route_destroy(struct route **route_ref)
{
	struct route *route = *route_ref;

	if (!route)
		return;
	if (route->retained)
		retained_destroy(&route->retained);
	if (route->tree)
		topic_tree_destroy(&route->tree);
	free(route);
	*route_ref = NULL;
}

void route_configure(struct worker *me, const struct route_settings *settings)
{
	struct route_worker *route = route_worker_of(me);

	/* Results that were merged under the other rule must not be used any more. */
	if (route->settings.allow_duplicate_messages != settings->allow_duplicate_messages) {
		struct match_cache *fresh;

		if (match_cache_create(route->route->tree, me->id, &fresh) == ERR_NONE) {
			match_cache_destroy(&route->cache);
			route->cache = fresh;
		}
	}
	route->settings = *settings;
	retained_configure(route->route->retained, &settings->retained);
}

enum err route_worker_init(struct route *route, struct worker *worker)
{
	struct route_worker *mine = calloc(1, sizeof *mine);

	if (!mine)
		return ERR_NOMEM;
	mine->route = route;
	mine->settings.fanout_slice = 500;
	handle_table_init(&mine->endpoints, worker->id);
	spread_init(mine);
	if (match_cache_create(route->tree, worker->id, &mine->cache) != ERR_NONE) {
		free(mine);
		return ERR_NOMEM;
	}
	worker->slot[WORKER_SLOT_ROUTE] = mine;
	return ERR_NONE;
}

void route_worker_stop(struct worker *me)
{
	spread_cancel_all(me);
}

void route_worker_fini(struct worker *worker)
{
	struct route_worker *mine = route_worker_of(worker);

	if (!mine)
		return;
	match_cache_destroy(&mine->cache);
	topic_match_fini(&mine->match);
	handle_table_fini(&mine->endpoints);
	for (int i = 0; i < ENCODINGS; i++)
		free(mine->encodings.slot[i].bytes);
	free(mine);
	worker->slot[WORKER_SLOT_ROUTE] = NULL;
}

struct topic_tree *route_tree(struct worker *me)
{
	return route_worker_of(me)->route->tree;
}

struct retained *route_retained(struct worker *me)
{
	return route_worker_of(me)->route->retained;
}

enum err route_register(struct worker *me, struct endpoint *endpoint)
{
	endpoint->handle = handle_make(&route_worker_of(me)->endpoints, endpoint);
	return endpoint->handle ? ERR_NONE : ERR_NOMEM;
}

void route_retire(struct worker *me, struct endpoint *endpoint)
{
	if (endpoint->handle)
		handle_retire(&route_worker_of(me)->endpoints, endpoint->handle);
	endpoint->handle = 0;
}

struct endpoint *route_find(struct worker *me, handle_t handle)
{
	return handle_find(&route_worker_of(me)->endpoints, handle);
}

struct endpoint *route_next_endpoint(struct worker *me, uint32_t *cursor)
{
	return handle_next(&route_worker_of(me)->endpoints, cursor);
}

enum err route_subscribe(struct worker *me, struct subscription *subscription, struct slice filter)
{
	return topic_tree_add(route_tree(me), me->id, filter, &subscription->link);
}

void route_unsubscribe(struct worker *me, struct subscription *subscription)
{
	if (subscription->link.node)
		topic_tree_remove(route_tree(me), me->id, &subscription->link);
}

void route_subscription_changed(struct worker *me)
{
	topic_tree_touch(route_tree(me));
}

static void encodings_reset(struct encoding_cache *encodings)
{
	for (int i = 0; i < ENCODINGS; i++)
		encodings->slot[i].is_valid = false;
}

static void delivery_set(struct delivery *delivery, const struct route_settings *settings,
			 const struct match_result *result, const struct route_target *target)
{
	const struct message *message = delivery->message;

	delivery->subscription_ids = result->ids + target->first_id;
	delivery->subscription_id_count = target->id_count;
	delivery->qos = target->qos;
	if (message->qos < target->qos && !settings->upgrade_outgoing_qos)
		delivery->qos = message->qos;
	delivery->retain =
		(target->flags & TARGET_RETAIN_AS_PUBLISHED) && (message->flags & MESSAGE_RETAIN);
	delivery->is_readable = (target->flags & TARGET_READABLE) != 0;
	delivery->rights_generation = target->rights_generation;
}

static void delivery_add(struct delivery *delivery, uint32_t *ids,
			 const struct subscription *subscription)
{
	if (subscription->qos > delivery->qos)
		delivery->qos = subscription->qos;
	if (subscription->flags & SUBSCRIPTION_RETAIN_AS_PUBLISHED)
		delivery->retain = (delivery->message->flags & MESSAGE_RETAIN) != 0;
	if (subscription->id)
		ids[delivery->subscription_id_count++] = subscription->id;
}

/* How many of the endpoint's subscriptions in the match are without No Local; with ids (room for as
 * many) they are also added to the delivery. */
static uint32_t without_no_local(const struct topic_match *match, const struct endpoint *endpoint,
				 struct delivery *delivery, uint32_t *ids)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < match->own_count; i++) {
		for (struct topic_link *link = match->own[i]; link; link = link->next) {
			struct subscription *one = (struct subscription *)(void *)link;

			if (one->endpoint != endpoint || (one->flags & SUBSCRIPTION_NO_LOCAL))
				continue;
			count++;
			if (ids)
				delivery_add(delivery, ids, one);
		}
	}
	return count;
}

/*
 * The publisher has several subscriptions that match, some with No Local: only the others count.
 * Rare, so it matches anew rather than keeping both mergers in every result.
 */
static void deliver_mixed_no_local(struct worker *me, struct endpoint *endpoint,
				   struct delivery *delivery)
{
	struct route_worker *route = route_worker_of(me);
	struct topic_match *match = &route->match;
	uint32_t *ids = NULL;
	uint32_t count;

	if (topic_tree_match(route->route->tree, me->id, message_topic(delivery->message),
			     delivery->message->topic_hash, match) == ERR_NONE) {
		count = without_no_local(match, endpoint, delivery, NULL);
		if (count == 0)
			return;
		ids = malloc(count * sizeof *ids);
	}
	if (!ids) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return;
	}
	delivery->subscription_ids = ids;
	delivery->subscription_id_count = 0;
	delivery->qos = 0;
	delivery->retain = false;
	without_no_local(match, endpoint, delivery, ids);
	if (delivery->qos > delivery->message->qos && !route->settings.upgrade_outgoing_qos)
		delivery->qos = delivery->message->qos;
	endpoint->ops->deliver(me, endpoint, delivery);
	free(ids);
}

static void deliver_to_target(struct worker *me, struct endpoint *endpoint,
			      const struct route_target *target, struct delivery *delivery)
{
	const struct message *message = delivery->message;

	if (target->policy && !target->policy->wants(target->policy, message))
		return;
	if ((target->flags & (TARGET_NO_LOCAL | TARGET_MIXED_NO_LOCAL)) &&
	    message->origin_handle == target->handle) {
		if (target->flags & TARGET_MIXED_NO_LOCAL) {
			rcu_read_section_begin();
			deliver_mixed_no_local(me, endpoint, delivery);
			rcu_read_section_end();
		}
		return;
	}
	endpoint->ops->deliver(me, endpoint, delivery);
}

__attribute__((always_inline)) static inline void deliver_range(
	struct worker *me, struct message *message, const struct match_result *result,
	const struct delivery_origin *origin, uint32_t from, uint32_t to, bool by_handle)
{
	struct route_worker *route = route_worker_of(me);
	struct delivery delivery = {.message = message, .origin = *origin};

	if (result->target_count > 1) {
		delivery.encodings = &route->encodings;
		encodings_reset(&route->encodings);
	}
	for (uint32_t i = from; i < to; i++) {
		const struct route_target *target = &result->targets[i];
		struct endpoint *endpoint = target->endpoint;

		if (by_handle)
			endpoint = route_find(me, target->handle);
		else if (i + 2 < to)
			__builtin_prefetch(result->targets[i + 2].endpoint);
		if (!endpoint)
			continue;
		delivery_set(&delivery, &route->settings, result, target);
		deliver_to_target(me, endpoint, target, &delivery);
	}
}

void route_deliver_range(struct worker *me, struct message *message,
			 const struct match_result *result, const struct delivery_origin *origin,
			 uint32_t from, uint32_t to, bool by_handle)
{
	deliver_range(me, message, result, origin, from, to, by_handle);
}

bool route_letter_deliver(struct worker *me, struct publish_letter *letter,
			  struct match_result **out_large)
{
	struct route_worker *route = route_worker_of(me);
	struct match_result *result = match_cache_find(route->cache, letter->message,
						       route->settings.allow_duplicate_messages);
	uint64_t mark;

	*out_large = NULL;
	if (!result) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return true;
	}
	if (result->target_count > route->settings.fanout_slice) {
		*out_large = result;
		return false;
	}
	mark = commit_mark(me);
	route_deliver_range(me, letter->message, result, &letter->origin, 0, result->target_count,
			    false);
	letter->store_number = commit_number_since(me, mark);
	match_result_unref(&result);
	return true;
}

static void publish_on_arrive(struct worker *me, struct letter *letter)
{
	struct publish_letter *publish = (struct publish_letter *)letter;
	struct match_result *large;

	if (letter->home == me->id)
		route_worker_of(me)->letters_to_self--;
	if (route_worker_of(me)->spreads && spread_queue_behind(me, publish))
		return;
	if (route_letter_deliver(me, publish, &large)) {
		letter_return(me, letter);
		return;
	}
	(void)spread_start(me, large, publish->message, publish, NULL);
	match_result_unref(&large);
}

static void receipt_ready(struct worker *me, uint64_t publisher_handle, uint64_t token)
{
	struct endpoint *publisher = route_find(me, publisher_handle);

	if (publisher)
		publisher->ops->on_receipt(me, publisher, token);
}

void route_receipt(struct worker *me, uint16_t worker, uint64_t store_number,
		   handle_t publisher_handle, uint64_t token)
{
	if (commit_is_pending(me, worker, store_number))
		commit_wait_add(me, worker, store_number, receipt_ready, publisher_handle, token);
	else
		receipt_ready(me, publisher_handle, token);
}

static void publish_on_return(struct worker *me, struct letter *letter)
{
	struct publish_letter *publish = (struct publish_letter *)letter;

	message_drop(me, &publish->message);
	/* With an origin the publisher posts once more when all receipts are in, and waits for that. */
	if (publish->origin.id)
		publish->store_number = 0;
	if (publish->wants_receipt)
		route_receipt(me, letter->target, publish->store_number, publish->publisher,
			      publish->token);
	letter_destroy(me, letter);
}

static const struct letter_type publish_letter_type = {
	.name = "publish",
	.on_arrive = publish_on_arrive,
	.on_return = publish_on_return,
	.takes_credit = true,
};

static void post_to(struct worker *me, uint16_t target, const struct publication *publication)
{
	struct publish_letter *letter;

	if (!publication->wants_receipt && !publication->origin.id && target != me->id) {
		batch_post(me, target, publication->message);
		return;
	}
	letter = letter_create(me, &publish_letter_type, sizeof *letter);
	letter->message = publication->message;
	message_use(me, letter->message);
	letter->publisher = publication->publisher;
	letter->token = publication->token;
	letter->wants_receipt = publication->wants_receipt;
	letter->origin = publication->origin;
	letter->letter.wake_home = publication->wants_receipt;
	letter_post(me, target, &letter->letter);
}

static void post_to_self(struct worker *me, struct publication *publication)
{
	route_worker_of(me)->letters_to_self++;
	post_to(me, me->id, publication);
	if (publication->wants_receipt)
		publication->waiting++;
}

static bool others_have_credit(struct worker *me, const struct match_result *result)
{
	for (unsigned i = 0; i < result->other_count; i++) {
		if (!letter_has_credit(me, result->others[i]))
			return false;
	}
	return true;
}

/*
 * Is an earlier publication of the same publisher still being spread here? Or did one have to wait
 * for that, and has not arrived yet: letters to oneself keep their order, so this one joins them.
 */
static bool must_wait_here(struct worker *me, const struct message *message,
			   const struct match_result *result)
{
	struct route_worker *route = route_worker_of(me);

	if (route->letters_to_self > 0)
		return true;
	return route->spreads && spread_is_active(me, message->origin_handle) &&
	       !spread_takes(me, message->origin_handle, result);
}

/* Large fan-outs do, and what goes along with one of them: a reload may have made that a small one. */
static bool goes_in_slices(struct worker *me, const struct message *message,
			   const struct match_result *result)
{
	struct route_worker *route = route_worker_of(me);

	return result->target_count > route->settings.fanout_slice ||
	       (route->spreads && spread_takes(me, message->origin_handle, result));
}

static void deliver_here(struct worker *me, struct match_result *result,
			 struct publication *publication)
{
	if (!goes_in_slices(me, publication->message, result)) {
		deliver_range(me, publication->message, result, &publication->origin, 0,
			      result->target_count, false);
		return;
	}
	publication->is_spreading = true;
	if (publication->wants_receipt)
		publication->waiting++;
	publication->may_follow = spread_start(me, result, publication->message, NULL, publication);
}

static enum route_status publish_matched(struct worker *me, struct match_result *result,
					 struct publication *publication)
{
	struct message *message = publication->message;
	bool waits_here = result->target_count && must_wait_here(me, message, result);
	uint64_t mark = commit_mark(me);
	bool retains;

	if (result->other_count && !others_have_credit(me, result))
		return ROUTE_NO_CREDIT;
	if (waits_here && !letter_has_credit(me, me->id))
		return ROUTE_NO_CREDIT;
	if (store_is_open(me) && !publication->is_admitted && !store_has_room(me)) {
		enum route_status room = room_decide(me, result, message);

		if (room != ROUTE_DONE)
			return room;
	}
	retains = (message->flags & MESSAGE_RETAIN) && !publication->is_retained;
	if (retains && retained_set(route_retained(me), &route_worker_of(me)->retained_trail,
				    message) != ERR_NONE) {
		counter_add(me->counters, COUNTER_DROPPED_RETAIN_LIMIT, 1);
		return ROUTE_REFUSED;
	}
	/* All receivers here and now: they share a commit with what the publisher posts. */
	publication->is_split =
		result->other_count || waits_here || goes_in_slices(me, message, result);
	if (!publication->is_split)
		publication->origin = (struct delivery_origin){0};
	if (retains && !(message->flags & MESSAGE_OF_BROKER) && store_is_open(me))
		store_retained_put(me, message);
	publication->is_matched = result->target_count || result->other_count;
	if (!publication->is_matched)
		counter_add(me->counters, COUNTER_PUBLISH_UNMATCHED, 1);
	for (unsigned i = 0; i < result->other_count; i++)
		post_to(me, result->others[i], publication);
	if (publication->wants_receipt)
		publication->waiting += result->other_count;
	if (waits_here)
		post_to_self(me, publication);
	else if (result->target_count)
		deliver_here(me, result, publication);
	publication->store_number = commit_number_since(me, mark);
	return ROUTE_DONE;
}

void route_expect(struct worker *me, uint64_t topic_hash)
{
	match_cache_expect(route_worker_of(me)->cache, topic_hash);
}

void route_expect_retained(struct worker *me, struct slice topic)
{
	struct route_worker *route = route_worker_of(me);

	retained_expect(route->route->retained, &route->retained_trail, topic);
}

enum route_status route_publish(struct worker *me, struct publication *publication)
{
	struct route_worker *route = route_worker_of(me);
	struct match_result *result = match_cache_find(route->cache, publication->message,
						       route->settings.allow_duplicate_messages);
	enum route_status status;

	publication->waiting = 0;
	publication->store_number = 0;
	publication->is_matched = publication->is_spreading = publication->may_follow = false;
	if (!result) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return ROUTE_REFUSED;
	}
	status = publish_matched(me, result, publication);
	match_result_unref(&result);
	return status;
}
