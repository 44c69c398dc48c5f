/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recovery.c - what is stored comes back, each worker its part.
 *
 *	sessions --> each with its subscriptions, will, received, released --> messages, in the order
 *	in which they were queued, once each --> retained messages
 *
 * The ledger already knows who waits for what, and does not change until all workers have ended.
 */
#include "store/engine.h"

#include "base/clock.h"

enum stage { STAGE_SESSIONS, STAGE_MESSAGES, STAGE_RETAINED, STAGE_END };
enum belonging { BELONGING_SUBSCRIPTIONS, BELONGING_WILL, BELONGING_STATE, BELONGING_NONE };

struct store_recovery {
	struct store_worker *mine;
	struct store *store;
	struct kv_reader *reader;
	struct kv_reader *inner; /* beside the one that walks */
	store_part_fn part;
	enum stage stage;
	enum err err;
	enum kv_table table; /* where it failed */
	uint64_t wall_offset_ms;
	struct number_map is_mine; /* ids of this part */
	struct number_map bodies;  /* record -> message with a use, while others may want it */

	struct slice key, value; /* where the walk stands */
	bool has_begun;

	/* Of the session at which it stands. */
	enum belonging belonging;
	struct place *place;
	struct key inner_key;
	bool inner_above;
	uint32_t at;

	/* Of the message at which it stands. */
	struct unpack receivers;
	struct receiver_cursor cursor;
	uint64_t record, body_record;
	struct slice body;
	bool has_message;
	struct message *given; /* a use to drop with the next step */
	uint32_t *ids;
	size_t ids_cap;
};

enum err store_recovery_begin(struct worker *me, store_part_fn part, struct store_recovery **out)
{
	struct store_worker *mine = store_worker_of(me);
	struct store_recovery *recovery = calloc(1, sizeof *recovery);
	struct kv *kv = mine->store->kv;
	enum err err;

	*out = NULL;
	if (!recovery)
		return ERR_NOMEM;
	recovery->mine = mine;
	recovery->store = mine->store;
	recovery->part = part;
	recovery->belonging = BELONGING_NONE;
	recovery->wall_offset_ms = store_wall_offset_ms(mine->store);
	err = kv->ops->reader_open(kv, &recovery->reader);
	if (err == ERR_NONE)
		err = kv->ops->reader_open(kv, &recovery->inner);
	if (err != ERR_NONE) {
		kv->ops->reader_close(&recovery->reader);
		free(recovery);
		return err;
	}
	*out = recovery;
	return ERR_NONE;
}

static bool fail(struct store_recovery *recovery, enum kv_table table, enum err err)
{
	recovery->err = err;
	recovery->table = table;
	recovery->stage = STAGE_END;
	return false;
}

/* The next of a table; false: there is none, and the next stage begins. */
static bool walk(struct store_recovery *recovery, enum kv_table table)
{
	enum err err;

	if (!recovery->has_begun)
		recovery->key = SLICE_LITERAL("");
	err = recovery->store->kv->ops->read(recovery->reader, table, recovery->key,
					     recovery->has_begun, &recovery->key, &recovery->value);
	recovery->has_begun = err == ERR_NONE;
	if (err == ERR_NOT_FOUND)
		recovery->stage++;
	else if (err != ERR_NONE)
		return fail(recovery, table, err);
	return err == ERR_NONE;
}

static bool is_my_part(const struct store_recovery *recovery, int kind, struct slice name)
{
	return recovery->part(kind, name, recovery->store->settings.workers) ==
	       recovery->mine->worker->id;
}

/* Sessions. */

static bool next_session(struct store_recovery *recovery, struct store_record *out)
{
	uint64_t id;

	if (!walk(recovery, KV_SESSIONS))
		return false;
	id = key_number(recovery->key, 0);
	if (!record_get_session(recovery->value, &out->session))
		return fail(recovery, KV_SESSIONS, ERR_INVALID);
	if (!is_my_part(recovery, (int)out->session.kind, out->session.name))
		return false;
	number_map_set(&recovery->is_mine, id, 1);
	recovery->place = ledger_place(&recovery->store->ledger, id);
	recovery->belonging = recovery->place ? BELONGING_SUBSCRIPTIONS : BELONGING_NONE;
	recovery->inner_key = key_of(id);
	recovery->inner_above = false;
	recovery->at = 0;
	out->kind = STORE_RECORD_SESSION;
	out->id = id;
	return true;
}

static bool next_subscription(struct store_recovery *recovery, struct store_record *out)
{
	struct slice key, value;
	enum err err = recovery->store->kv->ops->read(recovery->inner, KV_SUBSCRIPTIONS,
						      key_slice(&recovery->inner_key),
						      recovery->inner_above, &key, &value);

	if (err != ERR_NONE && err != ERR_NOT_FOUND)
		return fail(recovery, KV_SUBSCRIPTIONS, err);
	if (err == ERR_NOT_FOUND || key_number(key, 0) != out->id ||
	    key.len > sizeof recovery->inner_key.bytes) {
		recovery->belonging++;
		return false;
	}
	memcpy(recovery->inner_key.bytes, key.data, key.len);
	recovery->inner_key.len = key.len;
	recovery->inner_above = true;
	if (!record_get_subscription(value, &out->subscription))
		return fail(recovery, KV_SUBSCRIPTIONS, ERR_INVALID);
	out->kind = STORE_RECORD_SUBSCRIPTION;
	return true;
}

static bool next_will(struct store_recovery *recovery, struct store_record *out)
{
	struct key id = key_of(out->id);
	struct slice key, value;
	struct stored_will will;
	enum err err = recovery->store->kv->ops->read(recovery->inner, KV_WILLS, key_slice(&id),
						      false, &key, &value);

	recovery->belonging++;
	if (err == ERR_NOT_FOUND || (err == ERR_NONE && key_number(key, 0) != out->id))
		return false;
	if (err != ERR_NONE)
		return fail(recovery, KV_WILLS, err);
	if (!record_get_will(value, &will))
		return fail(recovery, KV_WILLS, ERR_INVALID);
	recovery->given = stored_message_make(recovery->mine->worker, &will.message,
					      recovery->wall_offset_ms);
	if (!recovery->given)
		return fail(recovery, KV_WILLS, ERR_NOMEM);
	out->kind = STORE_RECORD_WILL;
	out->will = (struct store_will){
		.message = recovery->given,
		.due_ms = will.due_ms,
		.delay_s = will.delay_s,
		.expiry_s = will.expiry_s,
		.has_expiry = will.has_expiry,
	};
	return true;
}

/* Received first, then what was released: both stand in the ledger. */
static bool next_of_state(struct store_recovery *recovery, struct store_record *out)
{
	const struct place *place = recovery->place;

	if (recovery->at < place->received_count) {
		out->kind = STORE_RECORD_RECEIVED;
		out->packet_id = place->received[recovery->at++];
		return true;
	}
	while (recovery->at - place->received_count < place->flight_count) {
		const struct flight *flight =
			&place_flights(place)[recovery->at++ - place->received_count];

		if (flight->state != STORE_RELEASED)
			continue;
		out->kind = STORE_RECORD_RELEASED;
		out->item.id = place->id;
		out->item.number = flight->number;
		out->item.packet_id = flight->packet_id;
		out->item.flight = STORE_RELEASED;
		out->item.delivery.qos = flight->qos;
		return true;
	}
	recovery->belonging = BELONGING_NONE;
	return false;
}

static bool next_belonging(struct store_recovery *recovery, struct store_record *out)
{
	out->id = recovery->place->id;
	switch (recovery->belonging) {
	case BELONGING_SUBSCRIPTIONS: return next_subscription(recovery, out);
	case BELONGING_WILL: return next_will(recovery, out);
	case BELONGING_STATE: return next_of_state(recovery, out);
	case BELONGING_NONE: break;
	}
	return false;
}

/* Messages. */

static bool next_record(struct store_recovery *recovery)
{
	struct message_record record;

	if (!walk(recovery, KV_MESSAGES))
		return false;
	if (!record_get_message(recovery->value, &record))
		return fail(recovery, KV_MESSAGES, ERR_INVALID);
	recovery->record = key_number(recovery->key, 0);
	recovery->body_record = record.body_record;
	recovery->body = record.body;
	recovery->receivers = unpack_of(record.receivers);
	recovery->cursor = (struct receiver_cursor){0, record.number};
	recovery->has_message = true;
	return true;
}

static bool read_body(struct store_recovery *recovery)
{
	struct key id = key_of(recovery->body_record);
	struct message_record record;
	struct slice key, value;

	if (!recovery->body_record || recovery->body.data)
		return true;
	if (recovery->store->kv->ops->read(recovery->inner, KV_MESSAGES, key_slice(&id), false,
					   &key, &value) != ERR_NONE ||
	    !slice_equal(key, key_slice(&id)) || !record_get_message(value, &record))
		return false;
	recovery->body = record.body;
	return true;
}

static void set_ids(struct store_recovery *recovery, const struct receiver *receiver,
		    struct store_delivery *out)
{
	struct unpack from = unpack_of(receiver->subscription_ids);
	size_t count = receiver->subscription_ids.len / 4;

	while (recovery->ids_cap < count)
		recovery->ids = vector_room(recovery->ids, recovery->ids_cap, &recovery->ids_cap,
					    sizeof *recovery->ids);
	for (size_t i = 0; i < count; i++)
		recovery->ids[i] = unpack_u32(&from);
	out->subscription_ids = recovery->ids;
	out->subscription_id_count = (uint16_t)count;
}

/* Of the record at which the walk stands. */
static bool next_receiver(struct store_recovery *recovery, struct store_record *out)
{
	struct stored_message stored;
	const struct entry *entry;
	const struct flight *flight;
	struct receiver receiver;
	struct unpack from;
	struct place *place;

	if (recovery->receivers.at == recovery->receivers.end) {
		recovery->has_message = false;
		return false;
	}
	if (!unpack_receiver(&recovery->receivers, &recovery->cursor, &receiver))
		return fail(recovery, KV_MESSAGES, ERR_INVALID);
	if (!number_map_find(&recovery->is_mine, receiver.id))
		return false;
	place = ledger_place(&recovery->store->ledger, receiver.id);
	entry = place ? place_entry(place, receiver.number) : NULL;
	if (!entry || (entry->record & ENTRY_DONE))
		return false;
	if (!read_body(recovery))
		return fail(recovery, KV_MESSAGES, ERR_INVALID);
	from = unpack_of(recovery->body);
	if (!unpack_message(&from, &stored))
		return fail(recovery, KV_MESSAGES, ERR_INVALID);
	flight = place_flight(place, receiver.number);
	out->kind = STORE_RECORD_MESSAGE;
	out->id = receiver.id;
	out->message_bytes = stored_message_bytes(&stored);
	out->expires_ms = stored.expires_ms;
	out->item.id = receiver.id;
	out->item.number = receiver.number;
	out->item.delivery.qos = receiver.qos;
	out->item.delivery.retain = receiver.retain;
	set_ids(recovery, &receiver, &out->item.delivery);
	if (flight) {
		out->item.flight = flight->state;
		out->item.packet_id = flight->packet_id;
	}
	return true;
}

static bool next_message(struct store_recovery *recovery, struct store_record *out)
{
	if (!recovery->has_message)
		return next_record(recovery) && false;
	return next_receiver(recovery, out);
}

static bool next_retained(struct store_recovery *recovery, struct store_record *out)
{
	struct stored_message stored;

	if (!walk(recovery, KV_RETAINED))
		return false;
	if (!record_get_retained(recovery->value, &stored))
		return fail(recovery, KV_RETAINED, ERR_INVALID);
	if (!is_my_part(recovery, -1, stored.topic))
		return false;
	out->kind = STORE_RECORD_RETAINED;
	out->message_bytes = stored_message_bytes(&stored);
	out->expires_ms = stored.expires_ms;
	return true;
}

static bool step(struct store_recovery *recovery, struct store_record *out)
{
	if (recovery->belonging != BELONGING_NONE)
		return next_belonging(recovery, out);
	switch (recovery->stage) {
	case STAGE_SESSIONS: return next_session(recovery, out);
	case STAGE_MESSAGES: return next_message(recovery, out);
	case STAGE_RETAINED: return next_retained(recovery, out);
	case STAGE_END: break;
	}
	return true;
}

bool store_recovery_next(struct store_recovery *recovery, unsigned *budget,
			 struct store_record *out)
{
	if (recovery->given)
		message_drop(recovery->mine->worker, &recovery->given);
	for (;;) {
		memset(out, 0, sizeof *out);
		if (recovery->stage == STAGE_END && recovery->belonging == BELONGING_NONE)
			return true;
		if (*budget == 0)
			return false;
		(*budget)--;
		if (step(recovery, out))
			return true;
	}
}

/* Those with one receiver are not wanted again. */
static bool is_wanted_again(const struct store_recovery *recovery, uint64_t record)
{
	const uint64_t *counts = number_map_find(&recovery->store->ledger.records, record);

	return counts && *counts != 1;
}

static struct message *message_of(struct store_recovery *recovery)
{
	uint64_t record = recovery->body_record ? recovery->body_record : recovery->record;
	uint64_t *known = number_map_find(&recovery->bodies, record);
	struct unpack from = unpack_of(recovery->body);
	struct stored_message stored;
	struct message *made;

	if (known)
		return (struct message *)(uintptr_t)*known;
	if (!unpack_message(&from, &stored))
		return NULL;
	made = stored_message_make(recovery->mine->worker, &stored, recovery->wall_offset_ms);
	if (!made)
		return NULL;
	if (is_wanted_again(recovery, record))
		number_map_set(&recovery->bodies, record, (uint64_t)(uintptr_t)made);
	else
		recovery->given = made;
	return made;
}

struct message *store_recovery_message(struct store_recovery *recovery, struct store_record *record)
{
	struct stored_message stored;

	if (record->item.message)
		return record->item.message;
	if (record->kind == STORE_RECORD_MESSAGE) {
		record->item.message = message_of(recovery);
	} else if (record->kind == STORE_RECORD_RETAINED &&
		   record_get_retained(recovery->value, &stored)) {
		recovery->given = stored_message_make(recovery->mine->worker, &stored,
						      recovery->wall_offset_ms);
		record->item.message = recovery->given;
	}
	return record->item.message;
}

enum err store_recovery_end(struct store_recovery **recovery_ref, struct err_detail *detail)
{
	struct store_recovery *recovery = *recovery_ref;
	const struct kv_ops *ops = recovery->store->kv->ops;
	struct store *store = recovery->store;
	enum err err = recovery->err;
	struct number_slot *slot;
	uint64_t cursor = 0;

	if (err != ERR_NONE)
		err_set(detail, err, "The store could not be read to its end, table %s: %s",
			kv_table_name(recovery->table), err_text(err));
	while ((slot = number_map_next(&recovery->bodies, &cursor)) != NULL) {
		struct message *message = (struct message *)(uintptr_t)slot->value;

		message_drop(recovery->mine->worker, &message);
	}
	if (recovery->given)
		message_drop(recovery->mine->worker, &recovery->given);
	number_map_fini(&recovery->bodies);
	number_map_fini(&recovery->is_mine);
	ops->reader_close(&recovery->reader);
	ops->reader_close(&recovery->inner);
	free(recovery->ids);
	free(recovery);
	*recovery_ref = NULL;
	if (__atomic_sub_fetch(&store->recovering, 1, __ATOMIC_RELEASE) == 0)
		sem_post(&store->wake);
	return err;
}
