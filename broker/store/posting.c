/* SPDX-License-Identifier: Apache-2.0 */
/*
 * posting.c - the workers' side: posts are appended to the batch of this turn, and the end of the
 * turn hands it on.
 */
#include "base/clock.h"
#include "store/engine.h"

static struct pack *post_begin(struct store_worker *mine, enum post_kind kind, size_t room)
{
	struct pack *to = &mine->posts;

	mine->posted++;
	pack_room(to, room + 32);
	pack_u8(to, (uint8_t)kind);
	return to;
}

uint64_t store_posted(const struct worker *me)
{
	const struct store_worker *mine = store_worker_of(me);

	return mine ? mine->posted : 0;
}

uint64_t store_committed(const struct worker *me, uint16_t worker)
{
	const struct store_worker *mine = store_worker_of(me);

	if (!mine)
		return UINT64_MAX;
	return __atomic_load_n(&mine->store->workers[worker]->committed, __ATOMIC_ACQUIRE);
}

enum store_state store_state(const struct worker *me)
{
	const struct store_worker *mine = store_worker_of(me);
	int state;

	if (!mine)
		return STORE_OFF;
	state = __atomic_load_n(&mine->store->state, __ATOMIC_RELAXED);
	if (state == STORE_OK &&
	    __atomic_load_n(&mine->store->waiting_bytes, __ATOMIC_RELAXED) + mine->posts.len >
		    __atomic_load_n(&mine->store->busy_bytes, __ATOMIC_RELAXED))
		return STORE_BUSY;
	return (enum store_state)state;
}

uint64_t store_new_id(struct store *store)
{
	return __atomic_fetch_add(&store->next_id, 1, __ATOMIC_RELAXED);
}

uint64_t store_new_id_of(const struct worker *me)
{
	struct store_worker *mine = store_worker_of(me);

	return mine ? store_new_id(mine->store) : 0;
}

void store_figures_of(const struct worker *worker, struct store_figures *out)
{
	const struct store_worker *mine =
		__atomic_load_n(&worker->slot[WORKER_SLOT_STORE], __ATOMIC_ACQUIRE);

	if (mine)
		store_figures(mine->store, out);
	else
		*out = (struct store_figures){.state = STORE_OFF, .durability = STORE_NONE};
}

/* A record as the value of a post: its length goes in front, so it is packed apart. */
static void pack_value(struct pack *to, const struct pack *value)
{
	pack_text(to, pack_slice(value));
}

void store_session_put(struct worker *me, uint64_t id, const struct store_session *session)
{
	struct store_worker *mine = store_worker_of(me);
	struct pack value = {NULL, 0, 0};
	struct pack *to;

	if (!mine)
		return;
	record_put_session(&value, session);
	to = post_begin(mine, POST_SESSION_PUT, value.len);
	pack_u64(to, id);
	pack_value(to, &value);
	pack_fini(&value);
}

static void post_id(struct worker *me, enum post_kind kind, uint64_t id)
{
	struct store_worker *mine = store_worker_of(me);

	if (mine)
		pack_u64(post_begin(mine, kind, 0), id);
}

void store_session_remove(struct worker *me, uint64_t id)
{
	post_id(me, POST_SESSION_REMOVE, id);
}

void store_will_remove(struct worker *me, uint64_t id)
{
	post_id(me, POST_WILL_REMOVE, id);
}

void store_subscription_put(struct worker *me, uint64_t id,
			    const struct store_subscription *subscription)
{
	struct store_worker *mine = store_worker_of(me);
	struct pack value = {NULL, 0, 0};
	struct pack *to;

	if (!mine)
		return;
	record_put_subscription(&value, subscription);
	to = post_begin(mine, POST_SUBSCRIPTION_PUT, value.len + subscription->text.len);
	pack_u64(to, id);
	pack_u64(to, record_hash(subscription->text, mine->store->seed));
	pack_value(to, &value);
	pack_text(to, subscription->text);
	pack_fini(&value);
}

void store_subscription_remove(struct worker *me, uint64_t id, struct slice text)
{
	struct store_worker *mine = store_worker_of(me);
	struct pack *to;

	if (!mine)
		return;
	to = post_begin(mine, POST_SUBSCRIPTION_REMOVE, text.len);
	pack_u64(to, id);
	pack_u64(to, record_hash(text, mine->store->seed));
	pack_text(to, text);
}

void store_will_put(struct worker *me, uint64_t id, const struct store_will *will)
{
	struct store_worker *mine = store_worker_of(me);
	struct stored_will stored = {
		.due_ms = will->due_ms,
		.delay_s = will->delay_s,
		.expiry_s = will->expiry_s,
		.has_expiry = will->has_expiry,
	};
	struct pack value = {NULL, 0, 0};
	struct pack *to;

	if (!mine)
		return;
	stored_message_of(will->message, mine->wall_offset_ms, &stored.message);
	record_put_will(&value, &stored);
	to = post_begin(mine, POST_WILL_PUT, value.len);
	pack_u64(to, id);
	pack_value(to, &value);
	pack_fini(&value);
}

static void post_received(struct worker *me, enum post_kind kind, uint64_t id, uint16_t packet_id)
{
	struct store_worker *mine = store_worker_of(me);
	struct pack *to;

	if (!mine)
		return;
	to = post_begin(mine, kind, 0);
	pack_u64(to, id);
	pack_u16(to, packet_id);
}

/*
 * A batch is in the ring, and so committed, or not at all: what has to be committed together with
 * another batch cannot be there. So deliveries and their origin must stand in the same one.
 */
static void origin_opens(struct store_worker *mine, uint64_t key)
{
	if (mine->origin_count && mine->origins[mine->origin_count - 1] == key)
		return;
	if (mine->origin_count == sizeof mine->origins / sizeof *mine->origins)
		mine->is_outside = true;
	else
		mine->origins[mine->origin_count++] = key;
}

static void origin_closes(struct store_worker *mine, uint64_t key)
{
	for (unsigned i = 0; i < mine->origin_count; i++)
		if (mine->origins[i] == key) {
			mine->origins[i] = mine->origins[--mine->origin_count];
			return;
		}
	mine->is_outside = true;
}

void store_received_add(struct worker *me, uint64_t id, uint16_t packet_id)
{
	struct store_worker *mine = store_worker_of(me);

	if (mine && mine->ring)
		origin_closes(mine, id << 16 | packet_id);
	post_received(me, POST_RECEIVED_ADD, id, packet_id);
}

void store_will_sent(struct worker *me, uint64_t id)
{
	struct store_worker *mine = store_worker_of(me);

	if (mine && mine->ring)
		origin_closes(mine, id << 16);
	store_session_remove(me, id);
}

void store_received_add_alone(struct worker *me, uint64_t id, uint16_t packet_id)
{
	post_received(me, POST_RECEIVED_ADD, id, packet_id);
}

void store_received_remove(struct worker *me, uint64_t id, uint16_t packet_id)
{
	post_received(me, POST_RECEIVED_REMOVE, id, packet_id);
}

bool store_asks_for_origins(const struct worker *me)
{
	const struct store_worker *mine = store_worker_of(me);

	return mine && __atomic_load_n(&mine->store->question, __ATOMIC_ACQUIRE) != mine->question;
}

/* Not for another process: the next one asks anew. */
void store_origin_comes(struct worker *me, uint64_t id, uint16_t packet_id)
{
	post_received(me, POST_ORIGIN_COMES, id, packet_id);
	store_worker_of(me)->is_outside = true;
}

void store_origins_named(struct worker *me)
{
	struct store_worker *mine = store_worker_of(me);

	mine->question = __atomic_load_n(&mine->store->question, __ATOMIC_ACQUIRE);
	pack_u64(post_begin(mine, POST_ORIGINS_NAMED, 0), mine->question);
	mine->is_outside = true;
}

static void post_message(struct store_worker *mine, const struct message *message)
{
	struct pack *to = &mine->posts;
	struct stored_message stored;
	uint8_t *at = pack_room(to, 32);
	size_t length_at;

	mine->last_message = message->number;
	mine->next_after_last = mine->next_number;
	*at++ = POST_MESSAGE;
	at = put_u64(at, mine->next_number);
	at = put_u64(at, message->number);
	pack_until(to, at);
	length_at = to->len;
	pack_u32(to, 0);
	stored_message_of(message, mine->wall_offset_ms, &stored);
	pack_message(to, &stored);
	put_u32(to->data + length_at, (uint32_t)(to->len - length_at - 4));
}

uint64_t store_queue(struct worker *me, uint64_t id, const struct message *message,
		     const struct store_delivery *delivery)
{
	struct store_worker *mine = store_worker_of(me);

	if (!mine)
		return 0;
	if (mine->last_message != message->number || mine->next_after_last != mine->next_number)
		post_message(mine, message);
	mine->posted++;
	mine->next_after_last++;
	/* What it takes from another queue may wait for an origin, and is not committed before that. */
	if (delivery->from_id)
		mine->is_outside = true;
	if (delivery->origin_id && mine->ring)
		origin_opens(mine, delivery->origin_id << 16 | delivery->origin_packet_id);
	mine->receiver_at = mine->posts.len;
	pack_receiver_post(&mine->posts, id, delivery);
	mine->receiver_end = mine->posts.len;
	return mine->next_number++;
}

void store_done(struct worker *me, uint64_t id, uint64_t number)
{
	struct store_worker *mine = store_worker_of(me);
	struct pack *to;

	if (!mine)
		return;
	to = post_begin(mine, POST_DONE, 0);
	pack_until(to, put_u64(put_u64(to->data + to->len, id), number));
}

/* The receiver that was posted last, and nothing since? */
static bool is_last_receiver(const struct store_worker *mine, uint64_t number)
{
	return number + 1 == mine->next_number && mine->posts.len == mine->receiver_end &&
	       mine->receiver_at < mine->receiver_end;
}

void store_inflight(struct worker *me, uint64_t id, uint64_t number, uint16_t packet_id,
		    enum store_flight state, uint8_t qos)
{
	struct store_worker *mine = store_worker_of(me);
	struct pack *to;
	uint8_t *at;

	if (!mine)
		return;
	if (qos == 1 && is_last_receiver(mine, number)) {
		mine->posted++;
		pack_receiver_is_sent(&mine->posts, mine->receiver_at, packet_id);
		return;
	}
	to = post_begin(mine, POST_INFLIGHT, 0);
	at = put_u64(put_u64(to->data + to->len, id), number);
	at = put_u16(at, packet_id);
	*at++ = (uint8_t)state;
	*at++ = qos;
	pack_until(to, at);
}

void store_retained_put(struct worker *me, const struct message *message)
{
	struct store_worker *mine = store_worker_of(me);
	struct slice topic = message_topic(message);
	struct stored_message stored;
	struct pack value = {NULL, 0, 0};
	struct pack *to;

	if (!mine)
		return;
	if (message->payload_len == 0) {
		store_retained_remove(me, topic, message->retained_version);
		return;
	}
	mine->has_retained = true;
	stored_message_of(message, mine->wall_offset_ms, &stored);
	record_put_retained(&value, &stored);
	to = post_begin(mine, POST_RETAINED_PUT, value.len + topic.len);
	pack_u64(to, message->retained_version);
	pack_u64(to, record_hash(topic, mine->store->seed));
	pack_value(to, &value);
	pack_text(to, topic);
	pack_fini(&value);
}

void store_retained_remove(struct worker *me, struct slice topic, uint64_t version)
{
	struct store_worker *mine = store_worker_of(me);
	struct pack *to;

	if (!mine)
		return;
	to = post_begin(mine, POST_RETAINED_REMOVE, topic.len);
	pack_u64(to, version);
	pack_u64(to, record_hash(topic, mine->store->seed));
	pack_text(to, topic);
}

void store_fetch(struct worker *me, const struct store_fetch *fetch)
{
	struct store_worker *mine = store_worker_of(me);
	struct fetch_request *request;

	BUG_ON(!mine);
	request = calloc(1, sizeof *request);
	BUG_ON(!request);
	request->fetch = *fetch;
	request->worker = me->id;
	*mine->fetches_tail = request;
	mine->fetches_tail = &request->next;
}

/* The end of the turn. */

static bool add_to_ring(struct store_worker *mine, struct batch *batch)
{
	struct ring_entry entry = {
		.highest_number = batch->highest_number,
		.bytes = pack_slice(&mine->posts),
	};

	/* None overtakes one that is not in the ring. */
	if (!mine->ring || mine->is_outside || mine->origin_count ||
	    __atomic_load_n(&mine->committed, __ATOMIC_ACQUIRE) < mine->outside ||
	    !ring_add(mine->ring, &entry)) {
		mine->outside = mine->posted;
		return false;
	}
	batch->in_ring = true;
	batch->bytes = entry.bytes;
	batch->ring_end = entry.end;
	batch->sequence = entry.sequence;
	if (mine->has_retained)
		__atomic_store_n(&mine->retained_sequence, entry.sequence, __ATOMIC_RELAXED);
	mine->posts.len = 0;
	return true;
}

static void post_batch(struct store_worker *mine)
{
	struct batch *batch = calloc(1, sizeof *batch);
	struct node_list list = {NULL, NULL};
	struct store *store = mine->store;
	uint64_t waiting;
	bool is_urgent;

	BUG_ON(!batch);
	if (mine->ring && mine->has_retained && !overtaken_begin(mine))
		mine->is_outside = true;
	batch->worker = mine->worker->id;
	batch->last_post = mine->posted;
	batch->highest_number = mine->next_number - 1;
	batch->round = mine->round = __atomic_load_n(&store->round, __ATOMIC_ACQUIRE);
	batch->fetches = mine->fetches;
	mine->fetches = NULL;
	mine->fetches_tail = &mine->fetches;
	if (mine->posts.len && !add_to_ring(mine, batch)) {
		batch->pack = mine->posts;
		batch->bytes = pack_slice(&batch->pack);
		mine->posts = (struct pack){NULL, 0, 0};
	}
	waiting = __atomic_add_fetch(&store->waiting_bytes, batch->bytes.len, __ATOMIC_RELAXED);
	is_urgent = (batch->bytes.len && !batch->in_ring) || batch->fetches ||
		    ring_is_filling(mine->ring) ||
		    waiting > __atomic_load_n(&store->busy_bytes, __ATOMIC_RELAXED) / 2;
	if (batch->in_ring)
		__atomic_store_n(&mine->committed, mine->posted, __ATOMIC_RELEASE);
	mine->posted_before = mine->posted;
	mine->last_message = 0;
	mine->receiver_at = mine->receiver_end = 0;
	mine->origin_count = 0;
	mine->is_outside = false;
	node_list_add(&list, &batch->node);
	mailbox_post(store->mailbox, MAILBOX_LETTERS, &list);
	overtaken_end(mine);
	if (mailbox_wake_is_due(store->mailbox, is_urgent))
		sem_post(&store->wake);
}

static void call_hook(struct store_worker *mine)
{
	uint64_t changes = __atomic_load_n(&mine->store->changes, __ATOMIC_ACQUIRE);

	if (changes == mine->seen_change)
		return;
	mine->seen_change = changes;
	if (mine->hook)
		mine->hook(mine->worker);
}

static bool has_to_tell(const struct store_worker *mine)
{
	return mine->posted != mine->posted_before || mine->fetches ||
	       mine->round != __atomic_load_n(&mine->store->round, __ATOMIC_RELAXED);
}

static void flush(struct worker *me, struct store_worker *mine)
{
	if (!__atomic_load_n(&mine->arrivals.is_empty, __ATOMIC_ACQUIRE))
		fetch_deliver(mine);
	call_hook(mine);
	if (!has_to_tell(mine))
		return;
	post_batch(mine);
	if (mine->ring) {
		/* In the ring is committed: what waited for it leaves with this turn's output. */
		if (mine->hook)
			mine->hook(me);
		if (mine->posted != mine->posted_before || mine->fetches)
			worker_do_not_sleep(me);
	}
	mine->wall_offset_ms = store_wall_offset_ms(mine->store);
}

void posting_flush(struct worker *me)
{
	struct store_worker *mine = store_worker_of(me);

	if (!mine)
		return;
	flush(me, mine);
	overtaken_look(mine);
}
