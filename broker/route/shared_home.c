/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_home.c - a shared group at its home: members come and go, messages are given out.
 *
 *	group_deliver --> ready member? --> ticket goes out --> comes home: acknowledged, or back
 *	      |                 ^                                             |
 *	      '--> queue -------+-- pump (a task, so never inside a delivery) <-'
 *
 * The pump is a task because a ticket may come home while the member is still inside its deliver(),
 * or while its session is half detached; at the end of the turn all that is settled.
 *
 * A member that gives a message back has lost its connection, and the news of that is on its way
 * behind. Until it is online again, or gone, it is given nothing: has_bounced.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "route/shared_home.h"

/* Given out in one turn by one group. */
#define PUMP_SLICE 256
/* With a hashing strategy the pump looks so far behind messages whose member is full. */
#define PUMP_LOOKS_PAST 128
/* QoS 0 that waits for credit: so often what all workers can post to this one. */
#define QOS0_ROOM 4

/* The life of groups, members and tickets. */

static void group_unref(struct shared_group *group)
{
	if (--group->refs > 0)
		return;
	memory_uncharge(MEMORY_SUBSCRIPTION, sizeof *group + group->key_len);
	free(group->members);
	free(group->ready);
	free(group);
}

static void member_unref(struct shared_member *member)
{
	if (--member->refs > 0)
		return;
	memory_uncharge(MEMORY_SUBSCRIPTION, sizeof *member);
	free(member);
}

static struct shared_ticket *ticket_create(struct worker *me, struct shared_group *group,
					   const struct delivery *delivery)
{
	struct shared_ticket *ticket = letter_create(me, &shared_deliver_type, sizeof *ticket);

	memory_charge(MEMORY_QUEUE, sizeof *ticket);
	ticket->message = delivery->message;
	message_ref_shared(ticket->message);
	ticket->number = group->next_number++;
	ticket->qos = delivery->qos;
	ticket->is_retained = delivery->retain;
	return ticket;
}

void shared_home_free_ticket(struct worker *me, struct shared_ticket *ticket)
{
	message_unref_shared(me, &ticket->message);
	memory_uncharge(MEMORY_QUEUE, sizeof *ticket);
	letter_destroy(me, &ticket->letter);
}

/* The queue. */

static void pump_schedule(struct worker *me, struct shared_group *group)
{
	if ((group->queue.count || group->qos0.count) && !group->is_dead)
		worker_add_task(me, &group->pump);
}

static struct shared_queue *queue_for(struct shared_group *group, uint8_t qos)
{
	return qos ? &group->queue : &group->qos0;
}

static void enqueue(struct worker *me, struct shared_group *group, struct shared_ticket *ticket)
{
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED, 1);
	counter_add(me->counters, COUNTER_MESSAGES_QUEUED_BYTES,
		    shared_message_bytes(ticket->message));
	shared_queue_add(queue_for(group, ticket->qos), ticket);
}

static void dequeue(struct worker *me, struct shared_group *group, struct shared_ticket *ticket)
{
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED, 1);
	counter_sub(me->counters, COUNTER_MESSAGES_QUEUED_BYTES,
		    shared_message_bytes(ticket->message));
	shared_queue_remove(queue_for(group, ticket->qos), ticket);
}

static void drop_queued(struct worker *me, struct shared_group *group, struct shared_ticket *ticket,
			enum counter cause)
{
	counter_add(me->counters, cause, 1);
	dequeue(me, group, ticket);
	shared_keep_done(me, group, ticket);
	shared_home_free_ticket(me, ticket);
}

/* QoS 0 that waited for a credit is not kept for a later connection. */
static void drop_waiting_qos0(struct worker *me, struct shared_group *group)
{
	while (group->qos0.first)
		drop_queued(me, group, group->qos0.first, COUNTER_DROPPED_QOS0_OFFLINE);
}

static bool has_expired(struct worker *me, const struct message *message)
{
	uint64_t expires_ms = message_expires_ms(message);

	return expires_ms && expires_ms <= me->now_ms;
}

static bool queue_is_full(const struct shared_group *group, size_t bytes)
{
	const struct shared_settings *settings = &group->home->settings;
	const struct shared_queue *queue = &group->queue;

	return (settings->max_queued_messages && queue->count >= settings->max_queued_messages) ||
	       (settings->max_queued_bytes && queue->bytes + bytes > settings->max_queued_bytes);
}

/* What has expired at the front goes first; then the oldest, if the policy says so. */
static bool queue_make_room(struct worker *me, struct shared_group *group, size_t bytes)
{
	struct shared_ticket *oldest;

	while (queue_is_full(group, bytes) && (oldest = group->queue.first) != NULL) {
		if (has_expired(me, oldest->message))
			drop_queued(me, group, oldest, COUNTER_DROPPED_EXPIRED);
		else if (group->home->settings.drop_oldest)
			drop_queued(me, group, oldest, COUNTER_DROPPED_QUEUE_FULL);
		else
			return false;
	}
	return !queue_is_full(group, bytes);
}

/*
 * QoS 0 is queued only until a letter to the member's worker has come home, which takes a turn or
 * two. What all workers can post here meanwhile has room several times over.
 */
static enum counter why_not_keep_qos0(struct worker *me, const struct shared_group *group)
{
	const struct runtime_settings *runtime = runtime_settings_of(me->runtime);
	uint64_t limit = (uint64_t)QOS0_ROOM * runtime->workers * runtime->mailbox_letters;

	if (group->online_count == 0)
		return COUNTER_DROPPED_QOS0_OFFLINE;
	if (memory_is_over_limit())
		return COUNTER_DROPPED_MEMORY;
	return group->qos0.count < limit ? COUNTER_COUNT : COUNTER_DROPPED_QOS0_NO_CREDIT;
}

/* COUNTER_COUNT: nothing is against it. */
static enum counter why_not_keep(struct worker *me, struct shared_group *group,
				 const struct delivery *delivery)
{
	if (delivery->qos == 0)
		return why_not_keep_qos0(me, group);
	if (group->online_count == 0 && group->persistent_count == 0)
		return COUNTER_DROPPED_SHARED_NO_MEMBER;
	if (memory_is_over_limit())
		return COUNTER_DROPPED_MEMORY;
	if (!queue_make_room(me, group, shared_message_bytes(delivery->message)))
		return COUNTER_DROPPED_QUEUE_FULL;
	return COUNTER_COUNT;
}

/* Keeps a new message for later, or counts why not. */
static void keep(struct worker *me, struct shared_group *group, const struct delivery *delivery)
{
	enum counter cause = why_not_keep(me, group, delivery);
	struct shared_ticket *ticket;

	if (cause != COUNTER_COUNT) {
		counter_add(me->counters, cause, 1);
		return;
	}
	ticket = ticket_create(me, group, delivery);
	shared_keep(me, group, ticket, delivery);
	enqueue(me, group, ticket);
	pump_schedule(me, group);
}

/* Giving out. */

static void ticket_address(struct shared_ticket *ticket, const struct shared_member *member)
{
	const struct shared_options *options = &member->options;

	ticket->endpoint = member->endpoint;
	ticket->sent_qos = ticket->qos < options->qos ? ticket->qos : options->qos;
	ticket->shows_retain = ticket->is_retained && options->retain_as_published;
	ticket->subscription_id = options->subscription_id;
	ticket->rights_generation = options->rights_generation;
	ticket->is_readable = options->is_readable;
	ticket->letter.type = ticket->sent_qos ? &shared_deliver_type : &shared_deliver_qos0_type;
	/* A full window must open at once; what QoS 0 brings home can wait for company. */
	ticket->letter.wake_home = ticket->letter.type->return_is_awaited;
}

static void hand_over(struct worker *me, struct shared_ticket *ticket)
{
	uint16_t target = handle_worker(ticket->endpoint);
	bool is_answered = ticket->sent_qos > 0;

	if (target != me->id) {
		letter_post(me, target, &ticket->letter);
		return;
	}
	shared_hand_over(me, ticket);
	if (!is_answered)
		shared_home_free_ticket(me, ticket);
}

/* Until it comes home the ticket counts as unacknowledged, and keeps group and member. */
static void ticket_bind(struct shared_group *group, struct shared_member *member,
			struct shared_ticket *ticket)
{
	ticket->group = group;
	ticket->member = member;
	group->refs++;
	member->refs++;
	member->unacknowledged++;
}

/* false: not now, the member's worker takes no more QoS 0. */
static bool give(struct worker *me, struct shared_group *group, struct shared_member *member,
		 struct shared_ticket *ticket)
{
	uint16_t target = handle_worker(member->endpoint);

	ticket_address(ticket, member);
	if (ticket->sent_qos == 0 && target != me->id && !letter_has_credit(me, target)) {
		letter_wait_for_credit(me, &group->credit_waiter);
		return false;
	}
	if (ticket->sent_qos)
		ticket_bind(group, member, ticket);
	member->turn = ++group->next_turn;
	shared_choose_update(group, member);
	hand_over(me, ticket);
	return true;
}

static void group_deliver(struct worker *me, struct endpoint *endpoint,
			  const struct delivery *delivery)
{
	struct shared_group *group = (struct shared_group *)(void *)endpoint;
	struct shared_member *member;
	struct shared_ticket *ticket;
	enum counter cause;

	/* QoS 0 passes what waits for a window, but not other QoS 0. */
	if (queue_for(group, delivery->qos)->count || group->online_count == 0) {
		keep(me, group, delivery);
		return;
	}
	ticket = ticket_create(me, group, delivery);
	shared_keep(me, group, ticket, delivery);
	member = shared_choose(group, ticket);
	if (member && give(me, group, member, ticket))
		return;
	cause = why_not_keep(me, group, delivery);
	if (cause == COUNTER_COUNT) {
		enqueue(me, group, ticket);
		pump_schedule(me, group);
		return;
	}
	counter_add(me->counters, cause, 1);
	shared_keep_done(me, group, ticket);
	shared_home_free_ticket(me, ticket);
}

/* Tries one of the queue. false: it stays. */
static bool pump_one(struct worker *me, struct shared_group *group, struct shared_ticket *ticket)
{
	struct shared_member *member;

	if (has_expired(me, ticket->message)) {
		drop_queued(me, group, ticket, COUNTER_DROPPED_EXPIRED);
		return true;
	}
	member = shared_choose(group, ticket);
	if (!member)
		return false;
	dequeue(me, group, ticket);
	if (give(me, group, member, ticket))
		return true;
	enqueue(me, group, ticket);
	return false;
}

/* With a hashing strategy each message waits for a member of its own. */
static unsigned may_look_past(const struct shared_group *group)
{
	switch (group->home->settings.strategy) {
	case SHARED_HASH_CLIENT:
	case SHARED_HASH_TOPIC: return PUMP_LOOKS_PAST;
	case SHARED_LEAST_INFLIGHT:
	case SHARED_ROUND_ROBIN:
	case SHARED_RANDOM: break;
	}
	return 0;
}

/* true: the slice is used up, and there is more. */
static bool pump_queue(struct worker *me, struct shared_group *group, struct shared_queue *queue,
		       unsigned looks)
{
	struct shared_ticket *next = queue->first;

	for (unsigned n = 0; n < PUMP_SLICE && next; n++) {
		struct shared_ticket *ticket = next;

		next = ticket->next;
		if (!pump_one(me, group, ticket) && looks-- == 0)
			return false;
	}
	return next != NULL;
}

static bool pump_run(struct worker *me, struct task *task)
{
	struct shared_group *group =
		(struct shared_group *)(void *)((char *)task - offsetof(struct shared_group, pump));
	bool has_more = pump_queue(me, group, &group->qos0, 0);

	return pump_queue(me, group, &group->queue, may_look_past(group)) || has_more;
}

static void on_credit(struct worker *me, struct credit_waiter *waiter)
{
	pump_schedule(me,
		      (struct shared_group *)(void *)((char *)waiter - offsetof(struct shared_group,
										credit_waiter)));
}

/* A message that came back, while the group lives. */
static void put_back(struct worker *me, struct shared_group *group, struct shared_member *member,
		     struct shared_ticket *ticket)
{
	if (member->group) {
		member->has_bounced = true;
		shared_choose_update(group, member);
	}
	enqueue(me, group, ticket);
}

void shared_home_take_back(struct worker *me, struct shared_ticket *ticket)
{
	struct shared_group *group = ticket->group;
	struct shared_member *member = ticket->member;

	ticket->group = NULL;
	ticket->member = NULL;
	member->unacknowledged--;
	if (member->group)
		shared_choose_update(group, member);
	if (ticket->outcome == SHARED_BACK)
		shared_keep_back(me, group, ticket);
	if (ticket->outcome == SHARED_BACK && !group->is_dead) {
		put_back(me, group, member, ticket);
	} else {
		if (ticket->outcome == SHARED_BACK)
			counter_add(me->counters, COUNTER_DROPPED_SHARED_NO_MEMBER, 1);
		shared_keep_done(me, group, ticket);
		shared_home_free_ticket(me, ticket);
	}
	pump_schedule(me, group);
	member_unref(member);
	group_unref(group);
}

/* Groups. */

static bool group_keeps(const struct endpoint *endpoint)
{
	return ((const struct shared_group *)(const void *)endpoint)->persistent_count > 0;
}

static const struct endpoint_ops group_endpoint_ops = {
	.kind = "shared group",
	.deliver = group_deliver,
	.keeps = group_keeps,
};

static struct shared_group *group_find(struct shared_worker *mine, struct slice key)
{
	struct shared_group *found;

	HASH_FIND_BYHASHVALUE(hh, mine->groups, key.data, key.len, (unsigned)hash_slice(key),
			      found);
	return found;
}

static struct shared_group *group_make(struct shared_worker *mine, struct slice key)
{
	struct shared_group *group = calloc(1, sizeof *group + key.len);

	if (!group)
		return NULL;
	memory_charge(MEMORY_SUBSCRIPTION, sizeof *group + key.len);
	group->refs = 1;
	group->home = mine;
	group->key_len = (uint32_t)key.len;
	memcpy(group->key, key.data, key.len);
	group->endpoint.ops = &group_endpoint_ops;
	group->pump.run = pump_run;
	group->credit_waiter.on_credit = on_credit;
	/* Each member's own options decide: so the group takes all, as it was published. */
	group->subscription.endpoint = &group->endpoint;
	group->subscription.qos = 2;
	group->subscription.flags = SUBSCRIPTION_RETAIN_AS_PUBLISHED;
	return group;
}

static struct slice group_filter(const struct shared_group *group)
{
	size_t name_end = 2 + ((size_t)group->key[0] << 8 | group->key[1]);

	return slice_of(group->key + name_end, group->key_len - name_end);
}

static void group_destroy(struct worker *me, struct shared_group *group)
{
	struct shared_worker *mine = group->home;

	group->is_dead = true;
	shared_keep_end(me, group);
	route_unsubscribe(me, &group->subscription);
	worker_cancel_task(&group->pump);
	letter_wait_cancel(&group->credit_waiter);
	drop_waiting_qos0(me, group);
	while (group->queue.first)
		drop_queued(me, group, group->queue.first, COUNTER_DROPPED_SHARED_NO_MEMBER);
	route_retire(me, &group->endpoint);
	if (group->hh.tbl)
		HASH_DELETE(hh, mine->groups, group);
	group_unref(group);
}

static enum err group_create(struct worker *me, struct slice key, struct shared_group **out)
{
	struct shared_worker *mine = shared_worker_of(me);
	struct shared_group *group = group_make(mine, key);
	enum err err;

	*out = NULL;
	if (!group)
		return ERR_NOMEM;
	HASH_ADD_KEYPTR_BYHASHVALUE(hh, mine->groups, group->key, group->key_len,
				    (unsigned)hash_slice(key), group);
	err = group->hh.tbl ? route_register(me, &group->endpoint) : ERR_NOMEM;
	if (err == ERR_NONE)
		err = route_subscribe(me, &group->subscription, group_filter(group));
	if (err != ERR_NONE) {
		group_destroy(me, group);
		return err;
	}
	*out = group;
	return ERR_NONE;
}

/* Members. */

static struct shared_member *member_find(struct shared_worker *mine, uint64_t number)
{
	struct shared_member *found;

	HASH_FIND(hh, mine->members, &number, sizeof number, found);
	return found;
}

static void member_set_online(struct shared_member *member, bool is_online)
{
	struct shared_group *group = member->group;

	group->online_count += (uint32_t)is_online - (uint32_t)member->is_online;
	member->is_online = is_online;
	member->has_bounced = false;
}

static void member_set_persistent(struct shared_member *member, bool is_persistent)
{
	struct shared_group *group = member->group;

	group->persistent_count +=
		(uint32_t)is_persistent - (uint32_t)member->options.is_persistent;
	member->options.is_persistent = is_persistent;
}

static void member_set_options(struct shared_member *member, const struct shared_options *options)
{
	bool was_persistent = member->options.is_persistent;

	member->options = *options;
	member->options.is_persistent = was_persistent;
	member_set_persistent(member, options->is_persistent);
	if (member->options.window == 0)
		member->options.window = 1;
}

static enum err member_create(struct shared_worker *mine, struct shared_group *group,
			      const struct shared_request *request, struct shared_member **out)
{
	struct shared_member *member;

	*out = NULL;
	if (shared_choose_reserve(group, group->member_count + 1) != ERR_NONE)
		return ERR_NOMEM;
	member = calloc(1, sizeof *member);
	if (!member)
		return ERR_NOMEM;
	member->number = request->number;
	HASH_ADD(hh, mine->members, number, sizeof member->number, member);
	if (!member->hh.tbl) {
		free(member);
		return ERR_NOMEM;
	}
	memory_charge(MEMORY_SUBSCRIPTION, sizeof *member);
	member->refs = 1;
	member->group = group;
	member->endpoint = request->endpoint;
	member->ready_at = SHARED_NOT_READY;
	member->at = group->member_count++;
	group->members[member->at] = member;
	*out = member;
	return ERR_NONE;
}

static void member_destroy(struct worker *me, struct shared_member *member)
{
	struct shared_worker *mine = shared_worker_of(me);
	struct shared_group *group = member->group;
	struct shared_member *last;

	BUG_ON(!group || !mine->members);
	last = group->members[--group->member_count];
	member_set_online(member, false);
	member_set_persistent(member, false);
	shared_choose_update(group, member);
	group->members[member->at] = last;
	last->at = member->at;
	member->group = NULL;
	HASH_DELETE(hh, mine->members, member);
	member_unref(member);
	if (group->member_count == 0)
		group_destroy(me, group);
	else if (group->online_count == 0)
		drop_waiting_qos0(me, group);
}

/* What members' workers ask for. */

static enum err member_join(struct worker *me, const struct shared_request *request)
{
	struct shared_worker *mine = shared_worker_of(me);
	struct shared_member *member = member_find(mine, request->number);
	struct shared_group *group = member ? member->group : group_find(mine, request->key);
	enum err err = ERR_NONE;

	if (!group)
		err = group_create(me, request->key, &group);
	if (err != ERR_NONE)
		return err;
	if (!member)
		err = member_create(mine, group, request, &member);
	if (err != ERR_NONE) {
		if (group->member_count == 0)
			group_destroy(me, group);
		return err;
	}
	BUG_ON(!member->group); /* a member that is known is in its group */
	member_set_options(member, &request->options);
	member_set_online(member, request->is_online);
	shared_choose_update(group, member);
	pump_schedule(me, group);
	return ERR_NONE;
}

/* Whose session goes on without a connection is persistent, whatever was said when it joined. */
static void member_online(struct worker *me, struct shared_member *member,
			  const struct shared_request *request)
{
	struct shared_group *group = member->group;

	member->options.window = request->options.window ? request->options.window : 1;
	member_set_online(member, request->is_online);
	if (!request->is_online)
		member_set_persistent(member, true);
	shared_choose_update(group, member);
	if (group->online_count == 0)
		drop_waiting_qos0(me, group);
	pump_schedule(me, group);
}

enum err shared_home_change(struct worker *me, const struct shared_request *request)
{
	struct shared_member *member;

	if (request->change == SHARED_JOIN)
		return member_join(me, request);
	/* Unknown: its join had failed for want of memory. */
	member = member_find(shared_worker_of(me), request->number);
	if (!member)
		return ERR_NONE;
	if (request->change == SHARED_LEAVE)
		member_destroy(me, member);
	else
		member_online(me, member, request);
	return ERR_NONE;
}

void shared_home_configure(struct worker *me)
{
	struct shared_group *group, *next;

	HASH_ITER(hh, shared_worker_of(me)->groups, group, next) {
		shared_choose_rebuild(group);
		pump_schedule(me, group);
	}
}

void shared_home_free_all(struct worker *worker)
{
	struct shared_worker *mine = shared_worker_of(worker);
	struct shared_member *member, *next;

	/* The last one of a group takes it along. */
	HASH_ITER(hh, mine->members, member, next)
		member_destroy(worker, member);
	BUG_ON(mine->groups);
}

/* After a restart. */

struct shared_group *shared_restore(struct worker *me, struct slice key, uint64_t store_id)
{
	struct shared_group *group = group_find(shared_worker_of(me), key);

	if (!group || group->store_id) {
		store_session_remove(me, store_id);
		return NULL;
	}
	group->store_id = store_id;
	return group;
}

void shared_restore_message(struct worker *me, struct shared_group *group, struct message *message,
			    const struct store_item *item)
{
	struct shared_ticket *ticket = ticket_create(me, group,
						     &(struct delivery){
							     .message = message,
							     .qos = item->delivery.qos,
							     .retain = item->delivery.retain,
						     });

	ticket->store_id = group->store_id;
	ticket->store_number = item->number;
	enqueue(me, group, ticket);
	pump_schedule(me, group);
}
