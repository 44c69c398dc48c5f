/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.c - takes the workers' posts into the picture; nothing here touches the tables. */
#include "store/ledger.h"

#include <stdlib.h>

#define GONE_MAX 500000
#define GONE_MS 60000

void ledger_init(struct ledger *ledger)
{
	memset(ledger, 0, sizeof *ledger);
	ledger->next_record = ledger->first_pending = 1;
	ledger->bodies = calloc(BODY_PLACES, sizeof *ledger->bodies);
	BUG_ON(!ledger->bodies);
}

void ledger_forget_bodies(struct ledger *ledger)
{
	memset(ledger->bodies, 0, BODY_PLACES * sizeof *ledger->bodies);
}

void ledger_fini(struct ledger *ledger)
{
	uint64_t cursor = 0;
	struct number_slot *slot;

	while ((slot = number_map_next(&ledger->places, &cursor)) != NULL) {
		struct place *place = (struct place *)(uintptr_t)slot->value;

		free(place->entries);
		free(place->flights);
		free(place->received);
		free(place);
	}
	number_map_fini(&ledger->places);
	number_map_fini(&ledger->records);
	free(ledger->bodies);
	number_map_fini(&ledger->held);
	number_map_fini(&ledger->gone[0]);
	number_map_fini(&ledger->gone[1]);
	number_map_fini(&ledger->retained_at);
	free(ledger->pending.at);
	free(ledger->receivers.at);
	free(ledger->changes.at);
	free(ledger->retained.at);
	free(ledger->now.at);
	free(ledger->later.at);
	free(ledger->dead.at);
	free(ledger->with_heir.at);
	free(ledger->done_scratch.at);
	pack_fini(&ledger->scratch);
	pack_fini(&ledger->receivers_scratch);
}

void ledger_dirty(struct ledger *ledger, struct place *place, enum place_dirt dirt, uint64_t now_ms)
{
	if (place->dirt >= dirt)
		return;
	place->dirt = (uint8_t)dirt;
	if (dirt == PLACE_NOW) {
		*VECTOR_ADD(ledger->now) = place->id;
		return;
	}
	*VECTOR_ADD(ledger->later) = place->id;
	if (!ledger->later_since_ms)
		ledger->later_since_ms = now_ms;
}

/* Records: how many want them. */

struct pending *ledger_pending(const struct ledger *ledger, uint64_t record)
{
	struct pending *pending;

	if (record < ledger->first_pending ||
	    record - ledger->first_pending >= ledger->pending.count)
		return NULL;
	pending = &ledger->pending.at[record - ledger->first_pending];
	return pending->state == PENDING_WAITS ? pending : NULL;
}

bool ledger_is_written(const struct ledger *ledger, uint64_t record)
{
	return number_map_find(&ledger->records, record) != NULL;
}

static void record_dies(struct ledger *ledger, uint64_t record, bool has_heir)
{
	number_map_remove(&ledger->records, record);
	*VECTOR_ADD(ledger->dead) = (struct dead_record){record, false, has_heir};
	if (!ledger->later_since_ms)
		ledger->later_since_ms = ledger->now_ms;
}

/* what: 1 an entry, 1 << 32 a record that uses its body. true: it is written, and lives on. */
static bool record_subtract(struct ledger *ledger, uint64_t record, uint64_t what)
{
	struct pending *pending = ledger_pending(ledger, record);
	uint64_t *counts;

	if (pending) {
		if (what == 1)
			pending->remaining--;
		else
			pending->refs--;
		/* Its body's record is told once it is certain that it is not written: at the write. */
		return false;
	}
	counts = number_map_find(&ledger->records, record);
	if (!counts)
		return false;
	*counts -= what;
	if ((*counts & ~RECORD_HAS_HEIR) != 0)
		return true;
	record_dies(ledger, record, (*counts & RECORD_HAS_HEIR) != 0);
	return false;
}

/* For one of its receivers a state, or another record, says from now on what this one said. */
static void record_has_heir(struct ledger *ledger, uint64_t record)
{
	uint64_t *counts = number_map_find(&ledger->records, record);

	if (!counts || (*counts & RECORD_HAS_HEIR))
		return;
	*counts |= RECORD_HAS_HEIR;
	*VECTOR_ADD(ledger->with_heir) = record;
}

void ledger_body_drop(struct ledger *ledger, uint64_t record)
{
	(void)record_subtract(ledger, record, UINT64_C(1) << 32);
}

/* The last one again, as a rule: a worker's posts come session by session. */
static struct place *place_of(struct ledger *ledger, uint64_t id)
{
	struct place *place = ledger->last_place;

	if (place && place->id == id)
		return place;
	place = ledger_place(ledger, id);
	if (place)
		ledger->last_place = place;
	return place;
}

static void body_use(struct ledger *ledger, uint64_t record)
{
	struct pending *pending = ledger_pending(ledger, record);
	uint64_t *counts;

	if (pending) {
		pending->refs++;
		return;
	}
	counts = number_map_find(&ledger->records, record);
	BUG_ON(!counts);
	*counts += UINT64_C(1) << 32;
}

static struct body_place *body_place(const struct ledger *ledger)
{
	uint64_t message = ledger->current_message;

	/* Workers number theirs side by side: the worker, in the upper bits, sets them apart. */
	return &ledger->bodies[(message + (message >> 48) * 5003) % BODY_PLACES];
}

/* The record with the body of the current message, if there is one that lives; else 0. */
static uint64_t body_record(const struct ledger *ledger)
{
	const struct body_place *known = body_place(ledger);

	if (known->message != ledger->current_message ||
	    (!ledger_pending(ledger, known->record) &&
	     !number_map_find(&ledger->records, known->record)))
		return 0;
	return known->record;
}

/* Messages and their receivers. */

static struct pending *record_start(struct ledger *ledger)
{
	struct pending *pending = VECTOR_ADD(ledger->pending);

	*pending = (struct pending){
		.body = ledger->current_body,
		.batch = ledger->current_batch,
		.first_receiver = ledger->receivers.count,
	};
	ledger->current_record = ledger->next_record++;
	pending->body_record = body_record(ledger);
	if (pending->body_record) {
		body_use(ledger, pending->body_record);
		return pending;
	}
	*body_place(ledger) = (struct body_place){ledger->current_message, ledger->current_record};
	return pending;
}

static void take_message(struct ledger *ledger, const struct post *post)
{
	ledger->current_record = 0;
	ledger->current_message = post->message_number;
	ledger->current_body = post->value;
	ledger->current_number = post->number;
}

static uint64_t origin_key(uint64_t id, uint16_t packet_id)
{
	return (id << 16 | packet_id) + 1;
}

static void finish_entry(struct ledger *ledger, struct place *place, struct entry *entry,
			 uint64_t now_ms)
{
	uint64_t record = entry->record;
	bool lives;

	if (record & ENTRY_DONE)
		return;
	/* A record that is not written yet will name only who still waits for it. */
	lives = record_subtract(ledger, record, 1);
	place_done(place, entry, lives);
	if (!lives)
		return;
	if (place->need_record == 0)
		place->need_record = record;
	else if (place->need_record != record)
		place->need_record = RECORD_MANY;
	ledger_dirty(ledger, place, PLACE_LATER, now_ms);
}

/* What held the message back holds it back in its new place too. */
static uint64_t take_from(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	struct place *place = ledger_place(ledger, post->from_id);
	struct entry *entry = place ? place_entry(place, post->from_number) : NULL;
	struct pending *pending;
	uint64_t held_by = 0;

	if (!entry)
		return 0;
	pending = ledger_pending(ledger, entry->record & ~ENTRY_DONE);
	if (pending)
		held_by = pending->held_by;
	if (place_flight_remove(place, post->from_number))
		ledger_dirty(ledger, place, PLACE_NOW, now_ms);
	record_has_heir(ledger, entry->record & ~ENTRY_DONE);
	finish_entry(ledger, place, entry, now_ms);
	if (place->dirt == PLACE_LATER)
		ledger_dirty(ledger, place, PLACE_NOW, now_ms);
	return held_by;
}

static uint64_t held_by_origin(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	uint64_t key = origin_key(post->origin_id, post->packet_id);

	struct place *origin = ledger_place(ledger, post->origin_id);

	/* Whose session is unknown will never say that it has all receipts. */
	if (!origin)
		return 0;
	if (!number_map_find(&ledger->held, key)) {
		number_map_set(&ledger->held, key, now_ms);
		origin->holding++;
	}
	return key;
}

static void release(struct ledger *ledger, uint64_t key)
{
	struct place *origin;

	if (ledger->held.count == 0 || !number_map_find(&ledger->held, key))
		return;
	number_map_remove(&ledger->held, key);
	origin = ledger_place(ledger, (key - 1) >> 16);
	if (origin)
		origin->holding--;
}

static struct pending *current_pending(struct ledger *ledger, uint64_t held_by)
{
	struct pending *pending =
		ledger->current_record ? ledger_pending(ledger, ledger->current_record) : NULL;

	if (pending && pending->receiver_bytes < RECEIVERS_BYTES && pending->held_by == held_by)
		return pending;
	pending = record_start(ledger);
	pending->held_by = held_by;
	return pending;
}

/* At QoS 1 nobody waits for it. */
static void has_packet_id(struct ledger *ledger, struct place *place, const struct flight *flight,
			  uint64_t now_ms)
{
	place_flight_set(place, flight);
	place->need_record = RECORD_MANY;
	ledger_dirty(ledger, place, PLACE_LATER, now_ms);
}

static void take_receiver(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	struct place *place = place_of(ledger, post->id);
	uint64_t number = ledger->current_number++;
	uint64_t held_by = 0;
	struct pending *pending;

	if (post->from_id)
		held_by = take_from(ledger, post, now_ms);
	if (!place)
		return;
	if (post->origin_id)
		held_by = held_by_origin(ledger, post, now_ms);
	pending = current_pending(ledger, held_by);
	*VECTOR_ADD(ledger->receivers) = (struct pending_receiver){
		post->id, number, post->subscription_ids, post->qos, post->retain,
	};
	pending->receivers++;
	pending->remaining++;
	pending->receiver_bytes += 3 + (uint32_t)post->subscription_ids.len;
	place_add(place, number, ledger->current_record);
	if (post->sent_packet_id)
		has_packet_id(ledger, place,
			      &(struct flight){number, post->sent_packet_id, STORE_SENT, post->qos},
			      now_ms);
}

static void take_done(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	struct place *place = place_of(ledger, post->id);
	struct entry *entry;

	if (!place)
		return;
	if (place->flight_count && place_flight_remove(place, post->number)) {
		place->need_record = RECORD_MANY;
		ledger_dirty(ledger, place, PLACE_LATER, now_ms);
	}
	entry = place_entry(place, post->number);
	if (entry)
		finish_entry(ledger, place, entry, now_ms);
}

static void take_inflight(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	struct place *place = place_of(ledger, post->id);
	struct flight flight = {post->number, post->packet_id, post->flight, post->qos};
	struct entry *entry;

	if (!place)
		return;
	entry = place_entry(place, post->number);
	if (!entry && !place_flight(place, post->number))
		return;
	if (post->qos != 2) {
		has_packet_id(ledger, place, &flight, now_ms);
		return;
	}
	place_flight_set(place, &flight);
	if (post->flight == STORE_RELEASED && entry) {
		record_has_heir(ledger, entry->record & ~ENTRY_DONE);
		finish_entry(ledger, place, entry, now_ms);
	}
	ledger_dirty(ledger, place, PLACE_NOW, now_ms);
}

static void take_received(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	struct place *place = ledger_place(ledger, post->id);
	bool changed;

	if (!place)
		return;
	if (post->kind == POST_RECEIVED_ADD) {
		release(ledger, origin_key(post->id, post->packet_id));
		changed = place_received_add(place, post->packet_id);
	} else {
		changed = place_received_remove(place, post->packet_id);
	}
	if (changed)
		ledger_dirty(ledger, place, PLACE_NOW, now_ms);
}

static void take_origin_comes(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	uint64_t *since = number_map_find(&ledger->held, origin_key(post->id, post->packet_id));

	if (since)
		*since = now_ms;
}

/* Sessions and what belongs to them. */

static struct change *change_add(struct ledger *ledger, enum change_kind kind, enum kv_table table,
				 const struct post *post)
{
	struct change *change = VECTOR_ADD(ledger->changes);

	*change = (struct change){kind, table, post->id, post->hash, post->value, post->text};
	return change;
}

/* A will has all its receivers; or what a session's publications wait for will not come any more. */
static void release_all_of(struct ledger *ledger, const struct place *origin)
{
	uint64_t cursor = 0;
	struct number_slot *slot;

	release(ledger, origin_key(origin->id, 0));
	while (origin->holding && (slot = number_map_next(&ledger->held, &cursor)) != NULL)
		if ((slot->key - 1) >> 16 == origin->id) {
			release(ledger, slot->key);
			cursor = 0;
		}
}

static void take_session_remove(struct ledger *ledger, const struct post *post)
{
	struct place *place = ledger_place(ledger, post->id);

	if (!place)
		return;
	for (uint32_t i = place->head; i < place->end; i++)
		if (!(place->entries[i].record & ENTRY_DONE))
			(void)record_subtract(ledger, place->entries[i].record, 1);
	release_all_of(ledger, place);
	place_destroy(ledger, place);
	change_add(ledger, CHANGE_REMOVE_SESSION, KV_SESSIONS, post);
}

static void take_session_put(struct ledger *ledger, const struct post *post)
{
	struct place *place = ledger_place(ledger, post->id);
	struct store_session session;

	if (!place)
		place = place_make(ledger, post->id);
	if (record_get_session(post->value, &session))
		place->is_group = session.kind == STORE_GROUP;
	if (post->id >= ledger->meta.next_id)
		ledger->meta.next_id = post->id + 1;
	change_add(ledger, CHANGE_PUT, KV_SESSIONS, post);
}

static void take_change(struct ledger *ledger, const struct post *post)
{
	if (!ledger_place(ledger, post->id))
		return;
	switch (post->kind) {
	case POST_SUBSCRIPTION_PUT: change_add(ledger, CHANGE_PUT, KV_SUBSCRIPTIONS, post); break;
	case POST_SUBSCRIPTION_REMOVE:
		change_add(ledger, CHANGE_REMOVE, KV_SUBSCRIPTIONS, post);
		break;
	case POST_WILL_PUT: change_add(ledger, CHANGE_PUT, KV_WILLS, post); break;
	case POST_WILL_REMOVE: change_add(ledger, CHANGE_REMOVE, KV_WILLS, post); break;
	default: BUG_ON(true);
	}
}

/* Retained messages. */

static bool is_older_than_removal(const struct ledger *ledger, const struct post *post)
{
	for (int i = 0; i < 2; i++) {
		const uint64_t *version = number_map_find(&ledger->gone[i], post->hash);

		if (version && *version > post->version)
			return true;
	}
	return false;
}

static bool all_have_seen_the_round(const struct ledger *ledger)
{
	unsigned i = 0;

	while (i < ledger->workers && ledger->seen[i] >= ledger->round)
		i++;
	return i == ledger->workers;
}

/*
 * A removal leaves nothing in the table that would tell of its version: so it is remembered for as
 * long as an older one can be on its way. Versions are drawn in the turn that posts them. Once each
 * worker has ended a turn since a round began, all that were drawn before have come.
 */
static void remember_removal(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	bool is_due = now_ms - ledger->gone_since_ms > GONE_MS || ledger->gone[0].count > GONE_MAX;

	ledger->removes_retained = true;
	if (ledger->gone[0].count == 0)
		ledger->gone_since_ms = now_ms;
	else if (is_due && all_have_seen_the_round(ledger)) {
		ledger->round++;
		number_map_fini(&ledger->gone[1]);
		ledger->gone[1] = ledger->gone[0];
		ledger->gone[0] = (struct number_map){NULL, 0, 0};
		ledger->gone_since_ms = now_ms;
	}
	number_map_set(&ledger->gone[0], post->hash, post->version);
}

static void take_retained(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	uint64_t *at = number_map_find(&ledger->retained_at, post->hash);
	struct retained_change *change = at ? &ledger->retained.at[*at - 1] : NULL;

	if (post->hash == 0 || is_older_than_removal(ledger, post))
		return;
	if (post->version > ledger->meta.retained_version)
		ledger->meta.retained_version = post->version;
	/* Another topic with the same hash: both are written, in order. */
	if (change && !slice_equal(change->topic, post->text))
		change = NULL;
	if (change && change->version > post->version)
		return;
	if (!post->value.len)
		remember_removal(ledger, post, now_ms);
	if (!change) {
		change = VECTOR_ADD(ledger->retained);
		number_map_set(&ledger->retained_at, post->hash, ledger->retained.count);
	}
	*change = (struct retained_change){post->hash, post->version, post->text, post->value};
}

static void take_post(struct ledger *ledger, const struct post *post, uint64_t now_ms)
{
	switch (post->kind) {
	case POST_SESSION_PUT: take_session_put(ledger, post); break;
	case POST_SESSION_REMOVE: take_session_remove(ledger, post); break;
	case POST_SUBSCRIPTION_PUT:
	case POST_SUBSCRIPTION_REMOVE:
	case POST_WILL_PUT:
	case POST_WILL_REMOVE: take_change(ledger, post); break;
	case POST_RECEIVED_ADD:
	case POST_RECEIVED_REMOVE: take_received(ledger, post, now_ms); break;
	case POST_MESSAGE: take_message(ledger, post); break;
	case POST_RECEIVER:
	case POST_SENT_RECEIVER: take_receiver(ledger, post, now_ms); break;
	case POST_DONE: take_done(ledger, post, now_ms); break;
	case POST_INFLIGHT: take_inflight(ledger, post, now_ms); break;
	case POST_RETAINED_PUT:
	case POST_RETAINED_REMOVE: take_retained(ledger, post, now_ms); break;
	case POST_ORIGIN_COMES: take_origin_comes(ledger, post, now_ms); break;
	case POST_ORIGINS_NAMED: ledger->named[ledger->current_batch->worker] = post->number; break;
	case POST_END:
	case POST_KINDS: break;
	}
}

enum err ledger_take(struct ledger *ledger, struct batch *batch, uint64_t now_ms)
{
	struct unpack from = unpack_of(batch->bytes);
	struct post post;

	ledger->now_ms = now_ms;
	ledger->current_batch = batch;
	ledger->current_record = 0;
	while (post_next(&from, &post))
		take_post(ledger, &post, now_ms);
	ledger->current_batch = NULL;
	ledger->seen[batch->worker] = batch->round;
	if (batch->highest_number >= ledger->meta.next_number)
		ledger->meta.next_number = batch->highest_number + 1;
	return from.is_bad ? ERR_INVALID : ERR_NONE;
}

uint64_t ledger_held_since_ms(const struct ledger *ledger)
{
	uint64_t cursor = 0, oldest = UINT64_MAX;
	struct number_slot *slot;

	while ((slot = number_map_next(&ledger->held, &cursor)) != NULL)
		if (slot->value < oldest)
			oldest = slot->value;
	return oldest;
}

unsigned ledger_release_held(struct ledger *ledger, uint64_t before_ms)
{
	uint64_t cursor = 0;
	unsigned released = 0;
	struct number_slot *slot;

	while ((slot = number_map_next(&ledger->held, &cursor)) != NULL)
		if (slot->value < before_ms) {
			release(ledger, slot->key);
			released++;
			cursor = 0;
		}
	return released;
}
