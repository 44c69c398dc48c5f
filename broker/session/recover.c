/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.c - from the store back to sessions, before any client is served.
 *
 *	each worker, in slices:  its sessions, their subscriptions, wills, queues, flights; its part of
 *	                         the retained messages; messages of shared groups are put aside
 *	then, all having ended:  messages of groups, because now their members are there
 *	then, all having ended:  time begins to run for all sessions, and wills are published, because now
 *	                         all subscriptions, and the queues of groups, are there
 *
 * A session goes to the worker that the hash of its Client Identifier says, whatever worker had it
 * before. What was connected when the broker ended counts as disconnected now.
 */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "session/recover.h"

#include "base/bug.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "session/keep.h"
#include "session/sending.h"

#define RECORDS_PER_SLICE 5000u

/* A message of a shared group, until the group is there. */
struct recovered_message {
	struct recovered_message *next;
	struct message *message; /* one use */
	struct store_item item;
};

/* What an id of the store stands for. */
struct recovered {
	UT_hash_handle hh;
	uint64_t id;
	uint64_t offline_ms;	 /* as stored; 0: it was connected */
	struct session *session; /* NULL: none, or one that could not be made */
	struct message *will;	 /* one use; of STORE_WILL */
	enum store_session_kind kind;
	struct recovered_message *first, **last;
	uint32_t key_len;
	uint8_t key[]; /* the group's */
};

struct recovery {
	struct task task; /* first member */
	struct store_recovery *from;
	struct recovered *table; /* by id */
	uint64_t started_ms;
	uint64_t sessions, messages, retained, lost;
	recovered_fn done;
	void *context;
	struct err_detail detail;
};

static struct recovery *recovery_of(struct worker *me)
{
	return session_worker_of(me)->recovery;
}

static uint16_t part_of(int kind, struct slice name, unsigned workers)
{
	(void)kind;
	return (uint16_t)((hash_slice(name) >> 32) % workers);
}

static struct recovered *remember(struct recovery *recovery, uint64_t id, struct slice key)
{
	struct recovered *fresh = calloc(1, sizeof *fresh + key.len);

	BUG_ON(!fresh); /* without memory for a start there is none for serving */
	fresh->id = id;
	fresh->last = &fresh->first;
	fresh->key_len = (uint32_t)key.len;
	if (key.len)
		memcpy(fresh->key, key.data, key.len);
	HASH_ADD(hh, recovery->table, id, sizeof fresh->id, fresh);
	BUG_ON(!fresh->hh.tbl);
	return fresh;
}

static struct recovered *find(struct recovery *recovery, uint64_t id)
{
	struct recovered *found;

	HASH_FIND(hh, recovery->table, &id, sizeof id, found);
	return found;
}

/* Sessions. */

/* The listener of that name, or the first one: a session may come back by any. */
static uint16_t listener_index(struct worker *me, struct slice name)
{
	const struct session_settings *settings = session_worker_of(me)->settings;

	for (uint16_t i = 0; i < settings->listener_count; i++) {
		if (slice_equal(slice_from_string(listener_name(settings->listeners[i].listener)),
				name))
			return i;
	}
	return 0;
}

static struct session *session_restore(struct worker *me, uint64_t id,
				       const struct store_session *record)
{
	struct session_worker *mine = session_worker_of(me);
	struct registration *registration;
	struct session *session;
	uint16_t owner;

	if (registry_claim(mine->world->registry, record->name, me->id, 0, &registration, &owner) !=
		    ERR_NONE ||
	    owner != me->id || registration->session)
		return NULL;
	session = session_make(me, registration);
	if (!session) {
		registry_release(mine->world->registry, &registration);
		return NULL;
	}
	session->listener = listener_index(me, record->listener);
	session->origin = origin_create(session->listener, record->name, record->has_username,
					record->username);
	session_set_expiry(me, session, record->expiry_s);
	session->version = record->version & 7u;
	if (!session->origin ||
	    rights_init(&session->rights, session_profile(me, session)->authority, session) !=
		    ERR_NONE) {
		session_end(me, &session);
		return NULL;
	}
	session->kept = keep_create(id);
	if (!session->kept) {
		session_end(me, &session);
		return NULL;
	}
	session->kept->connected_wall_ms = record->connected_ms;
	trace_set(me, session);
	return session;
}

static void take_session(struct worker *me, struct recovery *recovery,
			 const struct store_record *record)
{
	struct recovered *recovered;

	if (record->session.kind == STORE_GROUP) {
		remember(recovery, record->id, record->session.name)->kind = STORE_GROUP;
		return;
	}
	recovered = remember(recovery, record->id, SLICE_NONE);
	recovered->kind = record->session.kind;
	if (recovered->kind == STORE_WILL)
		return;
	recovered->offline_ms = record->session.offline_ms;
	recovered->session = session_restore(me, record->id, &record->session);
	if (recovered->session)
		recovery->sessions++;
	else
		recovery->lost++;
}

/* The other way round as keep.c makes it. */
static void subscription_request(const struct store_subscription *from,
				 struct subscribe_request *out)
{
	static const char share[] = "$share/";
	size_t len = sizeof share - 1;
	const uint8_t *end;

	*out = (struct subscribe_request){
		.text = from->text,
		.filter = from->text,
		.no_local = from->no_local,
		.retain_as_published = from->retain_as_published,
		.qos = from->qos,
		.retain_handling = RETAIN_DO_NOT_SEND,
		.subscription_id = from->subscription_id,
	};
	if (from->text.len <= len || memcmp(from->text.data, share, len) != 0)
		return;
	end = memchr(from->text.data + len, '/', from->text.len - len);
	if (!end)
		return;
	out->is_shared = true;
	out->group = slice_of(from->text.data + len, (size_t)(end - from->text.data) - len);
	out->filter = slice_of(end + 1, from->text.len - (size_t)(end + 1 - from->text.data));
}

static void take_subscription(struct worker *me, struct recovery *recovery, struct session *session,
			      const struct store_subscription *from)
{
	struct kept *kept = session->kept;
	struct subscribe_request request;
	bool is_waiting = false;

	subscription_request(from, &request);
	session->kept = NULL; /* it is stored already */
	if (reason_code_is_error(session_subscribe(me, session, &request, &is_waiting)))
		recovery->lost++;
	session->kept = kept;
}

static void take_will(struct worker *me, struct recovery *recovery, struct session *session,
		      const struct store_will *from)
{
	struct will *will = from->message ? calloc(1, sizeof *will) : NULL;

	if (!will) {
		recovery->lost++;
		return;
	}
	will->message = (struct message *)(uintptr_t)from->message;
	message_use(me, will->message);
	will->delay_s = from->delay_s;
	will->has_expiry = from->has_expiry;
	will->expiry_s = from->expiry_s;
	memory_charge(MEMORY_SESSION, sizeof *will);
	session->will = will;
}

static void take_departing_will(struct worker *me, struct recovered *recovered,
				const struct message *message)
{
	recovered->will = (struct message *)(uintptr_t)message;
	message_use(me, recovered->will);
}

/* Messages. */

static void put_aside(struct worker *me, struct recovery *recovery, struct recovered *group,
		      struct store_record *record)
{
	struct message *message = store_recovery_message(recovery->from, record);
	struct recovered_message *fresh = message ? calloc(1, sizeof *fresh) : NULL;

	if (!fresh) {
		recovery->lost++;
		return;
	}
	fresh->message = message;
	message_use(me, message);
	fresh->item = record->item;
	*group->last = fresh;
	group->last = &fresh->next;
}

/* Takes what out holds. */
static void to_window(struct worker *me, struct recovery *recovery, struct session *session,
		      struct outgoing *out, uint16_t packet_id, enum window_state state)
{
	if (window_restore_take(&session->window, out, packet_id, state)) {
		counter_add(me->counters, COUNTER_MESSAGES_INFLIGHT, 1);
		return;
	}
	recovery->lost++;
	outgoing_fini(me, out);
}

static void take_released(struct worker *me, struct recovery *recovery, struct session *session,
			  const struct store_record *record)
{
	struct outgoing out = {.number = record->item.number, .qos = 2};

	to_window(me, recovery, session, &out, record->item.packet_id, WINDOW_RELEASE_UNSENT);
}

static void take_message(struct worker *me, struct recovery *recovery, struct session *session,
			 struct store_record *record)
{
	struct delivery delivery = {
		.message = store_recovery_message(recovery->from, record),
		.subscription_ids = record->item.delivery.subscription_ids,
		.subscription_id_count = record->item.delivery.subscription_id_count,
		.qos = record->item.delivery.qos,
		.retain = record->item.delivery.retain,
	};
	struct outgoing out;

	if (!delivery.message || outgoing_init(me, &out, &delivery) != ERR_NONE) {
		recovery->lost++;
		return;
	}
	out.number = record->item.number;
	recovery->messages++;
	if (record->item.flight == STORE_SENT)
		to_window(me, recovery, session, &out, record->item.packet_id, WINDOW_UNSENT);
	else if (!session_requeue_take(me, session, &out))
		recovery->lost++;
}

static void take_retained(struct worker *me, struct recovery *recovery, struct store_record *record)
{
	struct message *message = store_recovery_message(recovery->from, record);

	if (!message || retained_restore(me, route_retained(me), message) != ERR_NONE)
		recovery->lost++;
	else
		recovery->retained++;
}

static void take_of_session(struct worker *me, struct recovery *recovery, struct session *session,
			    struct store_record *record)
{
	switch (record->kind) {
	case STORE_RECORD_SUBSCRIPTION:
		take_subscription(me, recovery, session, &record->subscription);
		break;
	case STORE_RECORD_WILL: take_will(me, recovery, session, &record->will); break;
	case STORE_RECORD_RECEIVED:
		if (packet_id_set_add(&session->received, record->packet_id) != ERR_NONE)
			recovery->lost++;
		break;
	case STORE_RECORD_RELEASED: take_released(me, recovery, session, record); break;
	case STORE_RECORD_MESSAGE:
		if (record->item.flight == STORE_QUEUED && session_queue_is_in_store(me, session))
			session_spill(me, session, record->item.number, record->message_bytes);
		else
			take_message(me, recovery, session, record);
		break;
	case STORE_RECORD_END:
	case STORE_RECORD_SESSION:
	case STORE_RECORD_RETAINED: break;
	}
}

static void take(struct worker *me, struct recovery *recovery, struct store_record *record)
{
	struct recovered *recovered;

	if (record->kind == STORE_RECORD_SESSION) {
		take_session(me, recovery, record);
		return;
	}
	if (record->kind == STORE_RECORD_RETAINED) {
		take_retained(me, recovery, record);
		return;
	}
	recovered = find(recovery, record->id);
	if (!recovered)
		recovery->lost++;
	else if (recovered->kind == STORE_GROUP && record->kind == STORE_RECORD_MESSAGE)
		put_aside(me, recovery, recovered, record);
	else if (recovered->kind == STORE_WILL && record->kind == STORE_RECORD_WILL)
		take_departing_will(me, recovered, record->will.message);
	else if (recovered->session)
		take_of_session(me, recovery, recovered->session, record);
}

/* The task. */

static void part_ended(struct worker *me, struct recovery *recovery)
{
	enum err err = store_recovery_end(&recovery->from, &recovery->detail);

	recovery->done(me, err, &recovery->detail, recovery->context);
}

static bool recovery_run(struct worker *me, struct task *task)
{
	struct recovery *recovery = (struct recovery *)(void *)task;
	unsigned budget = RECORDS_PER_SLICE;
	struct store_record record;

	while (store_recovery_next(recovery->from, &budget, &record)) {
		if (record.kind == STORE_RECORD_END) {
			part_ended(me, recovery);
			return false;
		}
		take(me, recovery, &record);
	}
	return true;
}

enum err sessions_recover(struct worker *me, recovered_fn done, void *context)
{
	struct recovery *recovery = calloc(1, sizeof *recovery);

	if (!recovery)
		return ERR_NOMEM;
	recovery->task.run = recovery_run;
	recovery->started_ms = me->now_ms;
	recovery->done = done;
	recovery->context = context;
	if (store_recovery_begin(me, part_of, &recovery->from) != ERR_NONE) {
		free(recovery);
		return ERR_NOMEM;
	}
	session_worker_of(me)->recovery = recovery;
	worker_add_task(me, &recovery->task);
	return ERR_NONE;
}

/* The end. */

static void group_restore(struct worker *me, struct recovery *recovery, struct recovered *recovered)
{
	struct shared_group *group =
		shared_restore(me, slice_of(recovered->key, recovered->key_len), recovered->id);

	while (recovered->first) {
		struct recovered_message *one = recovered->first;

		recovered->first = one->next;
		if (group)
			shared_restore_message(me, group, one->message, &one->item);
		recovery->messages += group != NULL;
		message_drop(me, &one->message);
		free(one);
	}
}

/* Since when it is offline counts on; what was connected is offline from now on, or, if it was to end
 * with its connection (keep_open()), ends. */
static void time_begins(struct worker *me, const struct recovered *recovered, uint64_t wall_ms)
{
	struct session *session = recovered->session;

	if (session->expiry_s == 0) {
		session_end(me, &session);
		return;
	}
	if (recovered->offline_ms == 0) {
		session_arm_offline(me, session, 0);
		keep_offline(me, session);
		return;
	}
	session_arm_offline(me, session,
			    wall_ms > recovered->offline_ms ? wall_ms - recovered->offline_ms : 0);
}

void sessions_recover_groups(struct worker *me)
{
	struct recovery *recovery = recovery_of(me);
	struct recovered *one, *next;

	if (!recovery)
		return;
	HASH_ITER(hh, recovery->table, one, next) {
		if (one->kind != STORE_GROUP)
			continue;
		HASH_DELETE(hh, recovery->table, one);
		group_restore(me, recovery, one);
		free(one);
	}
	__atomic_add_fetch(&session_worker_of(me)->world->with_groups, 1, __ATOMIC_ACQ_REL);
}

static void will_goes_on(struct worker *me, struct recovered *recovered)
{
	if (recovered->will)
		will_send_again(me, recovered->id, recovered->will);
	else
		store_session_remove(me, recovered->id);
	if (recovered->will)
		message_drop(me, &recovered->will);
}

void sessions_recover_finish(struct worker *me, uint64_t wall_ms)
{
	const struct session_world *world = session_worker_of(me)->world;
	struct recovery *recovery = recovery_of(me);
	struct recovered *one, *next;

	if (!recovery)
		return;
	/* A will that came to a group first would begin a new queue for it, and what waits were lost. */
	BUG_ON(__atomic_load_n(&world->with_groups, __ATOMIC_ACQUIRE) !=
	       runtime_worker_count(world->runtime));
	HASH_ITER(hh, recovery->table, one, next) {
		HASH_DELETE(hh, recovery->table, one);
		if (one->kind == STORE_WILL)
			will_goes_on(me, one);
		else if (one->session)
			time_begins(me, one, wall_ms);
		free(one);
	}
	log_event(LOG_TYPE_INFORMATION, NULL,
		  "Worker %u has read back %llu sessions, %llu messages for them, %llu retained "
		  "messages, in %llu ms",
		  me->id, (unsigned long long)recovery->sessions,
		  (unsigned long long)recovery->messages, (unsigned long long)recovery->retained,
		  (unsigned long long)(clock_now_ms() - recovery->started_ms));
	if (recovery->lost)
		log_event(LOG_TYPE_ERROR, NULL,
			  "Worker %u could not take over %llu records of the store: there is not "
			  "enough memory, or a limit of the configuration has been lowered",
			  me->id, (unsigned long long)recovery->lost);
	free(recovery);
	session_worker_of(me)->recovery = NULL;
}
