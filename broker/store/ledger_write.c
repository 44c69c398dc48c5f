/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger_write.c - one transaction of what is to be written.
 *
 * Nothing of the picture is forgotten before the commit has succeeded (ledger_written()), so that
 * the same can be written again after a failure, together with what has come since.
 */
#include <stdlib.h>

#include "store/ledger.h"

static enum err put(struct ledger *ledger, struct kv *kv, enum kv_table table,
		    const struct key *key, struct slice value, bool append)
{
	ledger->written_records++;
	ledger->written_bytes += key->len + value.len;
	return kv->ops->put(kv, table, key_slice(key), value, append);
}

/* Tables whose keys are hashes: key, hash, n, where n tells apart what has the same hash. */

typedef bool (*text_of_fn)(struct slice value, struct slice *out_text);

static bool subscription_text(struct slice value, struct slice *out_text)
{
	struct store_subscription subscription;

	if (!record_get_subscription(value, &subscription))
		return false;
	*out_text = subscription.text;
	return true;
}

/* The key under which text stands, with its value; ERR_NOT_FOUND: the key where it can be put. */
static enum err find_hashed(struct kv *kv, enum kv_table table, struct key *key, struct slice text,
			    text_of_fn text_of, struct slice *out_value)
{
	size_t prefix = key->len;
	struct slice found, its_text;
	enum err err;

	for (unsigned n = 0; n < 256; n++) {
		key->bytes[prefix] = (uint8_t)n;
		key->len = prefix + 1;
		err = kv_get(kv, table, key_slice(key), out_value);
		if (err != ERR_NONE)
			return err;
		found = *out_value;
		if (!text_of(found, &its_text))
			return ERR_INVALID;
		if (slice_equal(its_text, text))
			return ERR_NONE;
	}
	return ERR_LIMIT;
}

/* The last of those with the same hash takes the place of the one that goes, so there is no gap. */
static enum err remove_hashed(struct ledger *ledger, struct kv *kv, enum kv_table table,
			      const struct key *key)
{
	struct key last = *key, next = *key;
	struct slice value;
	enum err err;

	for (;;) {
		next.bytes[next.len - 1]++;
		err = kv_get(kv, table, key_slice(&next), &value);
		if (err != ERR_NONE)
			break;
		last = next;
	}
	if (err != ERR_NOT_FOUND)
		return err;
	ledger->written_records++;
	if (last.bytes[last.len - 1] != key->bytes[key->len - 1]) {
		struct pack copy = {NULL, 0, 0};

		err = kv_get(kv, table, key_slice(&last), &value);
		if (err == ERR_NONE) {
			pack_bytes(&copy, value);
			err = put(ledger, kv, table, key, pack_slice(&copy), false);
			pack_fini(&copy);
		}
		if (err != ERR_NONE)
			return err;
	}
	return kv->ops->remove(kv, table, key_slice(&last));
}

static enum err write_subscription(struct ledger *ledger, struct kv *kv,
				   const struct change *change)
{
	struct key key = key_of(change->id);
	struct slice value;
	enum err err;

	key_add(&key, change->hash);
	err = find_hashed(kv, KV_SUBSCRIPTIONS, &key, change->text, subscription_text, &value);
	if (err != ERR_NONE && err != ERR_NOT_FOUND)
		return err;
	if (change->kind == CHANGE_PUT)
		return put(ledger, kv, KV_SUBSCRIPTIONS, &key, change->value, false);
	return err == ERR_NONE ? remove_hashed(ledger, kv, KV_SUBSCRIPTIONS, &key) : ERR_NONE;
}

static enum err remove_session(struct ledger *ledger, struct kv *kv, uint64_t id)
{
	struct key key = key_of(id);
	struct slice found, value;
	enum err err;

	ledger->written_records++;
	for (;;) {
		err = kv->ops->find(kv, KV_SUBSCRIPTIONS, key_slice(&key), &found, &value);
		if (err != ERR_NONE || key_number(found, 0) != id)
			break;
		err = kv->ops->remove(kv, KV_SUBSCRIPTIONS, found);
		if (err != ERR_NONE)
			return err;
	}
	if (err != ERR_NONE && err != ERR_NOT_FOUND)
		return err;
	err = kv->ops->remove(kv, KV_WILLS, key_slice(&key));
	if (err == ERR_NONE)
		err = kv->ops->remove(kv, KV_STATES, key_slice(&key));
	if (err == ERR_NONE)
		err = kv->ops->remove(kv, KV_SESSIONS, key_slice(&key));
	return err;
}

static enum err write_change(struct ledger *ledger, struct kv *kv, const struct change *change)
{
	struct key key = key_of(change->id);

	if (change->kind == CHANGE_REMOVE_SESSION)
		return remove_session(ledger, kv, change->id);
	if (change->table == KV_SUBSCRIPTIONS)
		return write_subscription(ledger, kv, change);
	if (change->kind == CHANGE_PUT)
		return put(ledger, kv, change->table, &key, change->value, false);
	return kv->ops->remove(kv, change->table, key_slice(&key));
}

/* Retained messages. */

static bool retained_topic(struct slice value, struct slice *out_text)
{
	struct stored_message message;

	if (!record_get_retained(value, &message))
		return false;
	*out_text = message.topic;
	return true;
}

static enum err write_retained(struct ledger *ledger, struct kv *kv,
			       const struct retained_change *change)
{
	struct key key = key_of(change->hash);
	struct stored_message stored;
	struct slice value;
	enum err err = find_hashed(kv, KV_RETAINED, &key, change->topic, retained_topic, &value);

	if (err == ERR_NOT_FOUND)
		return change->value.len ? put(ledger, kv, KV_RETAINED, &key, change->value, false)
					 : ERR_NONE;
	if (err != ERR_NONE)
		return err;
	if (record_get_retained(value, &stored) && stored.retained_version > change->version)
		return ERR_NONE;
	if (change->value.len)
		return put(ledger, kv, KV_RETAINED, &key, change->value, false);
	return remove_hashed(ledger, kv, KV_RETAINED, &key);
}

/* Messages. */

static bool is_wanted(const struct ledger *ledger, const struct pending_receiver *receiver)
{
	const struct place *place = ledger_place(ledger, receiver->id);
	const struct entry *entry = place ? place_entry(place, receiver->number) : NULL;

	return entry && !(entry->record & ENTRY_DONE);
}

static void pack_receivers(struct ledger *ledger, const struct pending *pending,
			   struct message_record *record)
{
	const struct pending_receiver *receivers = ledger->receivers.at + pending->first_receiver;
	struct receiver_cursor cursor = {0, 0};

	ledger->receivers_scratch.len = 0;
	for (uint32_t i = 0; i < pending->receivers; i++) {
		struct receiver receiver = {receivers[i].id, receivers[i].number,
					    receivers[i].subscription_ids, receivers[i].qos,
					    receivers[i].retain};

		if (!is_wanted(ledger, &receivers[i]))
			continue;
		if (cursor.number == 0)
			record->number = cursor.number = receiver.number;
		pack_receiver(&ledger->receivers_scratch, &cursor, &receiver);
	}
	record->receivers = pack_slice(&ledger->receivers_scratch);
}

static enum err write_message(struct ledger *ledger, struct kv *kv, const struct pending *pending,
			      uint64_t number)
{
	struct key key = key_of(number);
	struct message_record record = {.body_record = pending->body_record, .body = pending->body};

	pack_receivers(ledger, pending, &record);
	ledger->scratch.len = 0;
	record_put_message(&ledger->scratch, &record);
	if (number > ledger->highest_written)
		return put(ledger, kv, KV_MESSAGES, &key, pack_slice(&ledger->scratch), true);
	return put(ledger, kv, KV_MESSAGES, &key, pack_slice(&ledger->scratch), false);
}

static bool is_held(const struct ledger *ledger, const struct pending *pending)
{
	return pending->held_by && number_map_find(&ledger->held, pending->held_by) != NULL;
}

/*
 * From the last to the first: a record that is not wanted lets go of the one that has its body,
 * which may then not be wanted either. What is held keeps its body's record waiting too.
 */
static void settle_messages(struct ledger *ledger)
{
	for (size_t i = ledger->pending.count; i-- > 0;) {
		struct pending *pending = &ledger->pending.at[i];

		if (pending->state != PENDING_WAITS || pending->remaining || pending->refs)
			continue;
		pending->state = PENDING_CANCELLED;
		if (pending->body_record)
			ledger_body_drop(ledger, pending->body_record);
	}
}

static enum err write_messages(struct ledger *ledger, struct kv *kv)
{
	enum err err;

	settle_messages(ledger);
	for (size_t i = 0; i < ledger->pending.count; i++) {
		struct pending *pending = &ledger->pending.at[i];

		if (pending->state != PENDING_WAITS || is_held(ledger, pending))
			continue;
		/* Its body is in one that is held: it must not come before that one. */
		if (pending->body_record) {
			const struct pending *body = ledger_pending(ledger, pending->body_record);

			if (body && is_held(ledger, body)) {
				pending->held_by = body->held_by;
				continue;
			}
		}
		err = write_message(ledger, kv, pending, ledger->first_pending + i);
		if (err != ERR_NONE)
			return err;
	}
	return ERR_NONE;
}

/* States. */

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t sum_of(struct slice bytes)
{
	uint64_t sum = record_hash(bytes, 0);

	return sum ? sum : 1;
}

static bool is_worth_writing(const struct ledger *ledger, const struct place *place)
{
	if (place->dirt == PLACE_NOW || place->need_record == RECORD_MANY)
		return true;
	return place->need_record && ledger_is_written(ledger, place->need_record);
}

static enum err write_state(struct ledger *ledger, struct kv *kv, struct place *place)
{
	struct key key = key_of(place->id);
	uint64_t sum;

	if (!is_worth_writing(ledger, place))
		return ERR_NONE;
	ledger->scratch.len = 0;
	place_pack_state(ledger, place, &ledger->scratch);
	sum = sum_of(pack_slice(&ledger->scratch));
	if (sum == place->state_sum)
		return ERR_NONE;
	place->state_sum = sum;
	return put(ledger, kv, KV_STATES, &key, pack_slice(&ledger->scratch), false);
}

/* In order of ids, so that each page is changed once. */
static enum err write_states(struct ledger *ledger, struct kv *kv, uint64_t *ids, size_t count)
{
	struct place *place;
	enum err err;

	if (count > 1)
		qsort(ids, count, sizeof *ids, compare_numbers);
	for (size_t i = 0; i < count; i++) {
		place = ledger_place(ledger, ids[i]);
		err = place && place->dirt ? write_state(ledger, kv, place) : ERR_NONE;
		if (err != ERR_NONE)
			return err;
	}
	return ERR_NONE;
}

/* Removals. */

static int compare_dead(const void *a, const void *b)
{
	uint64_t x = ((const struct dead_record *)a)->record;
	uint64_t y = ((const struct dead_record *)b)->record;

	return (x > y) - (x < y);
}

static enum err remove_dead(struct ledger *ledger, struct kv *kv, size_t at)
{
	struct key key = key_of(ledger->dead.at[at].record);
	struct message_record record;
	struct slice value;
	enum err err = kv_get(kv, KV_MESSAGES, key_slice(&key), &value);

	if (err == ERR_NOT_FOUND)
		return ERR_NONE;
	if (err != ERR_NONE)
		return err;
	if (!record_get_message(value, &record))
		return ERR_INVALID;
	ledger->written_records++;
	if (record.body_record && !ledger->dead.at[at].is_resolved) {
		ledger->dead.at[at].is_resolved = true;
		ledger_body_drop(ledger, record.body_record); /* may add to the dead */
	}
	return kv->ops->remove(kv, KV_MESSAGES, key_slice(&key));
}

/* With the rest, or alone: then what has an heir stays, because a crash may come before that is written. */
static enum err write_removals(struct ledger *ledger, struct kv *kv, enum ledger_part part)
{
	enum err err = ERR_NONE;

	if (ledger->dead.count > 1)
		qsort(ledger->dead.at, ledger->dead.count, sizeof *ledger->dead.at, compare_dead);
	for (size_t i = 0; i < ledger->dead.count && err == ERR_NONE; i++)
		if (part == LEDGER_ALL || !ledger->dead.at[i].has_heir)
			err = remove_dead(ledger, kv, i);
	return err;
}

/* Removals alone are nobody's batch: in the rings all is still to be applied. */
static enum err write_meta(struct ledger *ledger, struct kv *kv, enum ledger_part part)
{
	struct key key = key_of(0);

	memcpy(ledger->meta.applied, part == LEDGER_ALL ? ledger->taken : ledger->applied,
	       sizeof ledger->applied);
	ledger->meta.next_record = ledger->next_record;
	ledger->scratch.len = 0;
	record_put_meta(&ledger->scratch, &ledger->meta);
	return kv->ops->put(kv, KV_META, key_slice(&key), pack_slice(&ledger->scratch), false);
}

static enum err write_all(struct ledger *ledger, struct kv *kv, bool later)
{
	enum err err = ERR_NONE;

	for (size_t i = 0; i < ledger->changes.count && err == ERR_NONE; i++)
		err = write_change(ledger, kv, &ledger->changes.at[i]);
	for (size_t i = 0; i < ledger->retained.count && err == ERR_NONE; i++)
		err = write_retained(ledger, kv, &ledger->retained.at[i]);
	if (err == ERR_NONE)
		err = write_messages(ledger, kv);
	if (err == ERR_NONE)
		err = write_states(ledger, kv, ledger->now.at, ledger->now.count);
	if (err == ERR_NONE && later)
		err = write_states(ledger, kv, ledger->later.at, ledger->later.count);
	return err;
}

bool ledger_has_removals(const struct ledger *ledger)
{
	for (size_t i = 0; i < ledger->dead.count; i++)
		if (!ledger->dead.at[i].has_heir)
			return true;
	return false;
}

bool ledger_has_work(const struct ledger *ledger)
{
	if (ledger->changes.count || ledger->retained.count || ledger->now.count)
		return true;
	for (size_t i = 0; i < ledger->pending.count; i++) {
		const struct pending *pending = &ledger->pending.at[i];

		if (pending->state == PENDING_WAITS && pending->remaining &&
		    !is_held(ledger, pending))
			return true;
	}
	return false;
}

uint64_t ledger_later_due_ms(const struct ledger *ledger)
{
	if (ledger->later.count >= LEDGER_LATER_MAX || ledger->dead.count >= LEDGER_LATER_MAX)
		return 0;
	if (!ledger->later_since_ms)
		return UINT64_MAX;
	return ledger->later_since_ms + LEDGER_LATER_MS;
}

enum err ledger_write(struct ledger *ledger, struct kv *kv, enum ledger_part part, bool later)
{
	enum err err = ERR_NONE;

	ledger->written_records = ledger->written_bytes = 0;
	ledger->has_written_later = later;
	if (part == LEDGER_ALL)
		err = write_all(ledger, kv, later);
	if (err == ERR_NONE)
		err = write_removals(ledger, kv, part);
	if (err == ERR_NONE)
		err = write_meta(ledger, kv, part);
	return err;
}

/* After the commit. */

static void place_clean(struct place *place)
{
	place->dirt = PLACE_CLEAN;
	place->need_record = 0;
}

static void states_written(struct ledger *ledger, const uint64_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct place *place = ledger_place(ledger, ids[i]);

		if (place)
			place_clean(place);
	}
}

static void pending_written(struct ledger *ledger, struct pending *pending, uint64_t record)
{
	uint64_t counts = pending->remaining | (uint64_t)pending->refs << 32;

	pending->state = PENDING_WRITTEN;
	number_map_set(&ledger->records, record, counts);
	if (record > ledger->highest_written)
		ledger->highest_written = record;
}

/* What is held moves to the front, with its receivers. */
static void pending_compact(struct ledger *ledger)
{
	size_t first = 0, receivers = 0, kept;

	while (first < ledger->pending.count && ledger->pending.at[first].state != PENDING_WAITS)
		first++;
	kept = ledger->pending.count - first;
	for (size_t i = 0; i < kept; i++) {
		struct pending *pending = &ledger->pending.at[i];

		*pending = ledger->pending.at[first + i];
		if (pending->state != PENDING_WAITS)
			continue;
		memmove(ledger->receivers.at + receivers,
			ledger->receivers.at + pending->first_receiver,
			pending->receivers * sizeof *ledger->receivers.at);
		pending->first_receiver = receivers;
		receivers += pending->receivers;
	}
	ledger->first_pending += first;
	ledger->pending.count = kept;
	ledger->receivers.count = receivers;
}

static void messages_written(struct ledger *ledger)
{
	for (size_t i = 0; i < ledger->pending.count; i++) {
		struct pending *pending = &ledger->pending.at[i];

		if (pending->state != PENDING_WAITS)
			continue;
		if (is_held(ledger, pending))
			pending->batch->held++;
		else
			pending_written(ledger, pending, ledger->first_pending + i);
	}
	pending_compact(ledger);
}

void ledger_settle(struct ledger *ledger)
{
	settle_messages(ledger);
	for (size_t i = 0; i < ledger->pending.count; i++) {
		struct pending *pending = &ledger->pending.at[i];

		if (pending->state == PENDING_WAITS)
			pending->batch->held++;
	}
	pending_compact(ledger);
}

/* What removals alone have left. */
static void keep_dead_with_heir(struct ledger *ledger)
{
	size_t kept = 0;

	for (size_t i = 0; i < ledger->dead.count; i++)
		if (ledger->dead.at[i].has_heir)
			ledger->dead.at[kept++] = ledger->dead.at[i];
	ledger->dead.count = kept;
}

static void heirs_written(struct ledger *ledger)
{
	for (size_t i = 0; i < ledger->with_heir.count; i++) {
		uint64_t *counts = number_map_find(&ledger->records, ledger->with_heir.at[i]);

		if (counts)
			*counts &= ~RECORD_HAS_HEIR;
	}
	ledger->with_heir.count = 0;
}

void ledger_written(struct ledger *ledger, enum ledger_part part)
{
	if (part == LEDGER_REMOVALS)
		keep_dead_with_heir(ledger);
	else
		ledger->dead.count = 0;
	if (ledger->later.count == 0)
		ledger->later_since_ms = 0;
	if (part == LEDGER_REMOVALS)
		return;
	memcpy(ledger->applied, ledger->taken, sizeof ledger->applied);
	heirs_written(ledger);
	ledger->changes.count = ledger->retained.count = 0;
	ledger->removes_retained = false;
	number_map_clear(&ledger->retained_at);
	messages_written(ledger);
	states_written(ledger, ledger->now.at, ledger->now.count);
	ledger->now.count = 0;
	if (!ledger->has_written_later)
		return;
	states_written(ledger, ledger->later.at, ledger->later.count);
	ledger->later.count = 0;
	ledger->later_since_ms = 0;
}

static void states_failed(struct ledger *ledger, const uint64_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct place *place = ledger_place(ledger, ids[i]);

		if (place)
			place->state_sum = 0;
	}
}

void ledger_failed(struct ledger *ledger)
{
	states_failed(ledger, ledger->now.at, ledger->now.count);
	states_failed(ledger, ledger->later.at, ledger->later.count);
}
