/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger_load.c - the picture of what is stored, made at start.
 *
 * It reads everything once, and so checks everything: each checksum, and that what names another is
 * not alone. What it cannot explain is damage; then nothing is written, ever.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "store/ledger.h"

/* What a state record says is done, until the messages have been read. */
struct loading {
	uint64_t below;
	size_t count, next;
	uint64_t numbers[];
};

struct load {
	struct ledger *ledger;
	struct kv_reader *reader;
	const struct kv_ops *ops;
	struct err_detail *detail;
};

typedef enum err (*load_one_fn)(struct load *load, struct slice key, struct slice value);

static enum err damaged(struct load *load, enum kv_table table, uint64_t key, const char *what)
{
	return err_set(load->detail, ERR_INVALID,
		       "The store is damaged: table %s, key %" PRIu64
		       ": %s. Nothing was changed. 'nightjar-store check' tells more, "
		       "'nightjar-store export' saves what can be read",
		       kv_table_name(table), key, what);
}

static enum err load_table(struct load *load, enum kv_table table, load_one_fn one)
{
	struct slice key = SLICE_LITERAL(""), value;
	bool above = false;
	enum err err;

	for (;;) {
		err = load->ops->read(load->reader, table, key, above, &key, &value);
		if (err == ERR_NOT_FOUND)
			return ERR_NONE;
		if (err == ERR_NONE)
			err = one(load, key, value);
		if (err == ERR_IO || err == ERR_NOMEM)
			return err_set(load->detail, err, "Cannot read the store, table %s",
				       kv_table_name(table));
		if (err != ERR_NONE)
			return err;
		above = true;
	}
}

static enum err load_session(struct load *load, struct slice key, struct slice value)
{
	uint64_t id = key_number(key, 0);
	struct store_session session;

	if (key.len != 8 || id == 0 || !record_get_session(value, &session))
		return damaged(load, KV_SESSIONS, id, "it does not read as a session");
	place_make(load->ledger, id)->is_group = session.kind == STORE_GROUP;
	return ERR_NONE;
}

static enum err load_state(struct load *load, struct slice key, struct slice value)
{
	uint64_t id = key_number(key, 0);
	struct place *place = ledger_place(load->ledger, id);
	struct state_record state;
	struct loading *loading;

	if (key.len != 8 || !record_get_state(value, &state))
		return damaged(load, KV_STATES, id, "it does not read as a state");
	if (!place)
		return damaged(load, KV_STATES, id, "there is no such session");
	loading = malloc(sizeof *loading + state.done_count * sizeof *loading->numbers);
	if (!loading)
		return ERR_NOMEM;
	*loading = (struct loading){.below = state.done_below, .count = state.done_count};
	for (size_t i = 0; i < loading->count; i++)
		loading->numbers[i] = state_next_done(&state);
	place->loading = loading;
	place->next_number =
		loading->count ? loading->numbers[loading->count - 1] + 1 : state.done_below;
	place->state_sum = record_hash(value, 0);
	for (uint64_t i = 0; i < state.flight_count; i++) {
		struct flight flight = state_next_flight(&state);

		place_flight_set(place, &flight);
	}
	for (uint64_t i = 0; i < state.received_count; i++)
		place_received_add(place, state_next_received(&state));
	return state.rest.is_bad ? damaged(load, KV_STATES, id, "it ends too early") : ERR_NONE;
}

/* Numbers come in rising order for each place, as the list is. */
static bool is_done(struct place *place, uint64_t number)
{
	struct loading *loading = place->loading;
	const struct flight *flight = place_flight(place, number);

	if (flight && flight->state == STORE_RELEASED)
		return true;
	if (!loading)
		return false;
	if (number < loading->below)
		return true;
	while (loading->next < loading->count && loading->numbers[loading->next] < number)
		loading->next++;
	return loading->next < loading->count && loading->numbers[loading->next] == number;
}

static bool load_receiver(struct load *load, const struct receiver *receiver, uint64_t record)
{
	struct place *place = ledger_place(load->ledger, receiver->id);

	if (receiver->number >= load->ledger->meta.next_number)
		load->ledger->meta.next_number = receiver->number + 1;
	if (!place)
		return false;
	if (!is_done(place, receiver->number)) {
		place_add(place, receiver->number, record);
		return true;
	}
	/* Those at the front are done by what is behind them. */
	if (place->head < place->end)
		place_add(place, receiver->number, record | ENTRY_DONE);
	return false;
}

static enum err load_message(struct load *load, struct slice key, struct slice value)
{
	struct ledger *ledger = load->ledger;
	uint64_t number = key_number(key, 0), remaining = 0;
	struct receiver_cursor cursor = {0, 0};
	struct message_record record;
	struct receiver receiver;
	struct unpack from;
	uint64_t *body;

	if (key.len != 8 || number == 0 || !record_get_message(value, &record))
		return damaged(load, KV_MESSAGES, number, "it does not read as a message");
	if (record.body_record) {
		body = number_map_find(&ledger->records, record.body_record);
		if (!body)
			return damaged(load, KV_MESSAGES, number, "the body that it names is gone");
		*body += UINT64_C(1) << 32;
	}
	from = unpack_of(record.receivers);
	cursor.number = record.number;
	while (from.at < from.end) {
		if (!unpack_receiver(&from, &cursor, &receiver))
			return damaged(load, KV_MESSAGES, number, "its receivers do not read");
		remaining += load_receiver(load, &receiver, number);
	}
	number_map_set(&ledger->records, number, 0);
	*number_map_find(&ledger->records, number) += remaining;
	ledger->highest_written = number;
	return ERR_NONE;
}

static enum err check_subscription(struct load *load, struct slice key, struct slice value)
{
	struct store_subscription subscription;
	uint64_t id = key_number(key, 0);

	if (key.len != 17 || !record_get_subscription(value, &subscription))
		return damaged(load, KV_SUBSCRIPTIONS, id, "it does not read as a subscription");
	if (!ledger_place(load->ledger, id))
		return damaged(load, KV_SUBSCRIPTIONS, id, "there is no such session");
	return ERR_NONE;
}

static enum err check_will(struct load *load, struct slice key, struct slice value)
{
	struct stored_will will;
	uint64_t id = key_number(key, 0);

	if (key.len != 8 || !record_get_will(value, &will))
		return damaged(load, KV_WILLS, id, "it does not read as a will");
	if (!ledger_place(load->ledger, id))
		return damaged(load, KV_WILLS, id, "there is no such session");
	return ERR_NONE;
}

static enum err load_retained(struct load *load, struct slice key, struct slice value)
{
	struct stored_message message;

	if (key.len != 9 || !record_get_retained(value, &message))
		return damaged(load, KV_RETAINED, key_number(key, 0),
			       "it does not read as a retained message");
	if (message.retained_version > load->ledger->meta.retained_version)
		load->ledger->meta.retained_version = message.retained_version;
	return ERR_NONE;
}

static enum err load_meta(struct load *load)
{
	struct meta_record *meta = &load->ledger->meta;
	struct slice key, value;
	enum err err =
		load->ops->read(load->reader, KV_META, SLICE_LITERAL(""), false, &key, &value);

	if (err == ERR_NOT_FOUND) {
		/* The META table is written with every commit: without it the others must be empty. */
		for (enum kv_table table = 0; table < KV_META; table++)
			if (load->ops->count(load->reader, table))
				return damaged(load, KV_META, 0, "it is missing");
		*meta = (struct meta_record){.format = STORE_FORMAT,
					     .next_id = 1,
					     .next_number = 1};
		BUG_ON(getrandom(&meta->seed, sizeof meta->seed, 0) != sizeof meta->seed);
		return ERR_NONE;
	}
	if (err != ERR_NONE)
		return err;
	if (!record_get_meta(value, meta))
		return damaged(load, KV_META, 0, "it does not read");
	load->ledger->next_record = meta->next_record;
	return ERR_NONE;
}

/* Flights of messages that never were committed, and what only reading needed. */
static void finish_place(struct place *place)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < place->flight_count; i++) {
		const struct flight *flight = &place_flights(place)[i];
		const struct entry *entry = place_entry(place, flight->number);

		if (flight->state == STORE_RELEASED || (entry && !(entry->record & ENTRY_DONE)))
			place_flights(place)[kept++] = *flight;
	}
	place->flight_count = kept;
	free(place->loading);
	place->loading = NULL;
}

static void finish(struct ledger *ledger)
{
	struct number_slot *slot;
	uint64_t cursor = 0;

	while ((slot = number_map_next(&ledger->places, &cursor)) != NULL) {
		finish_place((struct place *)(uintptr_t)slot->value);
		if (slot->key >= ledger->meta.next_id)
			ledger->meta.next_id = slot->key + 1;
	}
	for (cursor = 0; (slot = number_map_next(&ledger->records, &cursor)) != NULL;)
		if (slot->value == 0)
			*VECTOR_ADD(ledger->dead) = (struct dead_record){.record = slot->key};
	for (size_t i = 0; i < ledger->dead.count; i++)
		number_map_remove(&ledger->records, ledger->dead.at[i].record);
	if (ledger->next_record <= ledger->highest_written)
		ledger->next_record = ledger->highest_written + 1;
	ledger->first_pending = ledger->next_record;
}

enum err ledger_load(struct ledger *ledger, struct kv *kv, struct err_detail *detail)
{
	struct load load = {.ledger = ledger, .ops = kv->ops, .detail = detail};
	enum err err = kv->ops->reader_open(kv, &load.reader);

	if (err != ERR_NONE)
		return err_set(detail, err, "Cannot read the store");
	err = load_meta(&load);
	if (err == ERR_NONE)
		err = load_table(&load, KV_SESSIONS, load_session);
	if (err == ERR_NONE)
		err = load_table(&load, KV_STATES, load_state);
	if (err == ERR_NONE)
		err = load_table(&load, KV_MESSAGES, load_message);
	if (err == ERR_NONE)
		err = load_table(&load, KV_SUBSCRIPTIONS, check_subscription);
	if (err == ERR_NONE)
		err = load_table(&load, KV_WILLS, check_will);
	if (err == ERR_NONE)
		err = load_table(&load, KV_RETAINED, load_retained);
	kv->ops->reader_close(&load.reader);
	finish(ledger);
	return err;
}

static void audit_place(const struct place *place, struct number_map *remaining)
{
	uint64_t last = 0;

	BUG_ON(place->head < place->end && (place->entries[place->head].record & ENTRY_DONE));
	for (uint32_t i = place->head; i < place->end; i++) {
		const struct entry *entry = &place->entries[i];
		const uint64_t *counted = number_map_find(remaining, entry->record);

		BUG_ON(entry->number <= last);
		last = entry->number;
		if (!(entry->record & ENTRY_DONE))
			number_map_set(remaining, entry->record, (counted ? *counted : 0) + 1);
	}
}

void ledger_audit(struct ledger *ledger)
{
	struct number_map remaining = {NULL, 0, 0};
	struct number_slot *slot;
	uint64_t cursor = 0;

	while ((slot = number_map_next(&ledger->places, &cursor)) != NULL)
		audit_place((struct place *)(uintptr_t)slot->value, &remaining);
	for (cursor = 0; (slot = number_map_next(&ledger->records, &cursor)) != NULL;) {
		const uint64_t *counted = number_map_find(&remaining, slot->key);

		BUG_ON((uint32_t)slot->value != (counted ? *counted : 0));
	}
	for (size_t i = 0; i < ledger->pending.count; i++) {
		const struct pending *pending = &ledger->pending.at[i];
		const uint64_t *counted = number_map_find(&remaining, ledger->first_pending + i);

		BUG_ON(pending->state == PENDING_WAITS &&
		       pending->remaining != (counted ? *counted : 0));
	}
	number_map_fini(&remaining);
}
