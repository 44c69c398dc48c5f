/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_group.c - a shared group as the workers of its members see it.
 *
 * What a member asks (join, leave, online) goes to the group's home in letters, which keep their
 * order; they need no credit, because each stands for a packet or a connection of which there are
 * few. Where home and member share the worker the same functions are called without a letter.
 */
#include "route/shared_group.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "route/shared_home.h"

typedef void (*shared_done)(struct worker *me, uint64_t context_handle, uint64_t context_token);

/* Whom to tell at the end. */
struct shared_answer {
	shared_done done; /* NULL: nobody */
	uint64_t context_handle, context_token;
};

struct request_letter {
	struct letter letter;
	struct shared_request request; /* its key points to the end of this block */
	struct shared_answer answer;
	uint8_t key[];
};

static void answer_give(struct worker *me, const struct shared_answer *answer)
{
	if (answer->done)
		answer->done(me, answer->context_handle, answer->context_token);
}

static void request_on_arrive(struct worker *me, struct letter *letter)
{
	struct request_letter *asked = (struct request_letter *)(void *)letter;

	if (shared_home_change(me, &asked->request) != ERR_NONE)
		log_event(LOG_TYPE_ERROR, NULL,
			  "No memory for a member of a shared group: it will get no messages");
	letter_return(me, letter);
}

static void request_on_return(struct worker *me, struct letter *letter)
{
	answer_give(me, &((struct request_letter *)(void *)letter)->answer);
	letter_destroy(me, letter);
}

static const struct letter_type request_type = {
	.name = "shared request",
	.on_arrive = request_on_arrive,
	.on_return = request_on_return,
	.return_is_awaited = true,
};

static void request_post(struct worker *me, uint16_t home, const struct shared_request *request,
			 const struct shared_answer *answer)
{
	struct request_letter *letter =
		letter_create(me, &request_type, sizeof *letter + request->key.len);

	letter->request = *request;
	letter->answer = *answer;
	letter->letter.wake_home = answer->done != NULL;
	if (request->key.len)
		memcpy(letter->key, request->key.data, request->key.len);
	letter->request.key.data = letter->key;
	letter_post(me, home, &letter->letter);
}

/* To the home, wherever that is. Only what is done here, a join, can fail. */
static enum err request_send(struct worker *me, uint16_t home, const struct shared_request *request,
			     const struct shared_answer *answer)
{
	enum err err = ERR_NONE;

	if (home != me->id) {
		request_post(me, home, request, answer);
		return ERR_NONE;
	}
	err = shared_home_change(me, request);
	if (err == ERR_NONE)
		answer_give(me, answer);
	return err;
}

/* Memberships. */

static struct shared_membership *membership_create(struct worker *me, struct slice group,
						   struct slice filter)
{
	size_t key_len = 2 + group.len + filter.len;
	struct shared_membership *membership = calloc(1, sizeof *membership + key_len);
	uint64_t hash;

	if (!membership)
		return NULL;
	BUG_ON(group.len > UINT16_MAX || filter.len > UINT16_MAX);
	memory_charge(MEMORY_SUBSCRIPTION, sizeof *membership + key_len);
	membership->key_len = (uint32_t)key_len;
	membership->key[0] = (uint8_t)(group.len >> 8);
	membership->key[1] = (uint8_t)group.len;
	memcpy(membership->key + 2, group.data, group.len);
	memcpy(membership->key + 2 + group.len, filter.data, filter.len);
	hash = hash_bytes(membership->key, key_len);
	membership->home = (uint16_t)((hash >> 32) % runtime_worker_count(me->runtime));
	membership->number = ++shared_worker_of(me)->next_number;
	return membership;
}

static void membership_destroy(struct shared_membership **membership)
{
	memory_uncharge(MEMORY_SUBSCRIPTION, sizeof **membership + (*membership)->key_len);
	free(*membership);
	*membership = NULL;
}

struct slice shared_membership_group(const struct shared_membership *membership)
{
	return slice_of(membership->key + 2, (size_t)membership->key[0] << 8 | membership->key[1]);
}

struct slice shared_membership_filter(const struct shared_membership *membership)
{
	size_t name_end = 2 + shared_membership_group(membership).len;

	return slice_of(membership->key + name_end, membership->key_len - name_end);
}

enum err shared_join(struct worker *me, struct slice group, struct slice filter,
		     struct endpoint *member, const struct shared_options *options, bool online,
		     shared_done done, uint64_t context_handle, uint64_t context_token,
		     struct shared_membership **membership)
{
	struct shared_membership *mine = *membership;
	struct shared_request request = {
		.change = SHARED_JOIN,
		.is_online = online,
		.endpoint = member->handle,
		.options = *options,
	};
	enum err err;

	BUG_ON(!member->handle);
	if (!mine)
		mine = membership_create(me, group, filter);
	if (!mine)
		return ERR_NOMEM;
	request.number = mine->number;
	request.key = slice_of(mine->key, mine->key_len);
	/* The caller knows its membership before it is told that it is live. */
	if (!*membership) {
		*membership = mine;
		err = request_send(me, mine->home, &request,
				   &(struct shared_answer){done, context_handle, context_token});
		if (err != ERR_NONE)
			membership_destroy(membership);
		return err;
	}
	return request_send(me, mine->home, &request,
			    &(struct shared_answer){done, context_handle, context_token});
}

void shared_leave(struct worker *me, struct shared_membership **membership, shared_done done,
		  uint64_t context_handle, uint64_t context_token)
{
	const struct shared_request request = {
		.change = SHARED_LEAVE,
		.number = (*membership)->number,
	};
	uint16_t home = (*membership)->home;
	enum err err;

	membership_destroy(membership);
	err = request_send(me, home, &request,
			   &(struct shared_answer){done, context_handle, context_token});
	BUG_ON(err != ERR_NONE);
}

void shared_member_online(struct worker *me, struct shared_membership *membership, bool online,
			  uint32_t window)
{
	const struct shared_request request = {
		.change = SHARED_ONLINE,
		.is_online = online,
		.number = membership->number,
		.options.window = window,
	};
	enum err err = request_send(me, membership->home, &request, &(struct shared_answer){0});

	BUG_ON(err != ERR_NONE);
}

/* Deliveries. */

void shared_hand_over(struct worker *me, struct shared_ticket *ticket)
{
	struct endpoint *endpoint = route_find(me, ticket->endpoint);
	const struct delivery delivery = {
		.message = ticket->message,
		.subscription_ids = &ticket->subscription_id,
		.subscription_id_count = ticket->subscription_id ? 1 : 0,
		.qos = ticket->sent_qos,
		.retain = ticket->shows_retain,
		.is_readable = ticket->is_readable,
		.rights_generation = ticket->rights_generation,
		.ticket = ticket->sent_qos ? ticket : NULL,
	};

	if (endpoint)
		endpoint->ops->deliver(me, endpoint, &delivery);
	else if (delivery.ticket)
		shared_ticket_finish(me, ticket, SHARED_BACK);
	else
		counter_add(me->counters, COUNTER_DROPPED_QOS0_OFFLINE, 1);
}

static void deliver_on_arrive(struct worker *me, struct letter *letter)
{
	shared_hand_over(me, (struct shared_ticket *)(void *)letter);
}

static void deliver_on_return(struct worker *me, struct letter *letter)
{
	shared_home_take_back(me, (struct shared_ticket *)(void *)letter);
}

static void deliver_qos0_on_arrive(struct worker *me, struct letter *letter)
{
	shared_hand_over(me, (struct shared_ticket *)(void *)letter);
	letter_return(me, letter);
}

static void deliver_qos0_on_return(struct worker *me, struct letter *letter)
{
	shared_home_free_ticket(me, (struct shared_ticket *)(void *)letter);
}

/* Bounded by the windows of the members, so it needs no credit. */
const struct letter_type shared_deliver_type = {
	.name = "shared delivery",
	.on_arrive = deliver_on_arrive,
	.on_return = deliver_on_return,
	.return_is_awaited = true,
};

const struct letter_type shared_deliver_qos0_type = {
	.name = "shared delivery, QoS 0",
	.on_arrive = deliver_qos0_on_arrive,
	.on_return = deliver_qos0_on_return,
	.takes_credit = true,
};

void shared_ticket_finish(struct worker *me, struct shared_ticket *ticket,
			  enum shared_outcome outcome)
{
	ticket->outcome = (uint8_t)outcome;
	if (ticket->letter.home == me->id)
		shared_home_take_back(me, ticket);
	else
		letter_return(me, &ticket->letter);
}

/* Workers. */

enum err shared_worker_init(struct worker *worker, const struct shared_settings *settings)
{
	struct shared_worker *mine = calloc(1, sizeof *mine);

	if (!mine)
		return ERR_NOMEM;
	mine->settings = *settings;
	mine->next_number = (uint64_t)worker->id << 48;
	mine->random = clock_now_us() ^ hash_bytes(&worker->id, sizeof worker->id);
	route_worker_of(worker)->shared = mine;
	return ERR_NONE;
}

void shared_configure(struct worker *me, const struct shared_settings *settings)
{
	shared_worker_of(me)->settings = *settings;
	shared_home_configure(me);
}

void shared_worker_stop(struct worker *me)
{
	shared_worker_of(me)->is_stopping = true;
}

void shared_worker_fini(struct worker *worker)
{
	if (!route_worker_of(worker) || !shared_worker_of(worker))
		return;
	shared_home_free_all(worker);
	free(shared_worker_of(worker));
	route_worker_of(worker)->shared = NULL;
}
