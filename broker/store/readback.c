/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readback.c - messages that a queue has left to the store come back.
 *
 * The writer says which records are meant (it has each queue's list), the reader thread reads them
 * in one short transaction, the worker makes messages of the bytes.
 */
#include "store/engine.h"

#include "base/clock.h"

void fetch_free(struct fetch_request *request)
{
	free(request->wanted);
	free(request->items);
	pack_fini(&request->bodies);
	free(request);
}

static void hand_to_reader(struct store *store, struct fetch_request *request)
{
	request->next = NULL;
	pthread_mutex_lock(&store->reader_lock);
	*store->to_read_tail = request;
	store->to_read_tail = &request->next;
	pthread_cond_signal(&store->reader_wake);
	pthread_mutex_unlock(&store->reader_lock);
}

/* The first entry above after. */
static uint32_t first_above(const struct place *place, uint64_t after)
{
	uint32_t low = place->head, high = place->end;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (place->entries[middle].number <= after)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void fetch_resolve(struct store *store, struct fetch_request *request)
{
	const struct place *place = ledger_place(&store->ledger, request->fetch.id);
	unsigned max = request->fetch.max_messages ? request->fetch.max_messages : 1;
	uint32_t at;

	request->wanted = calloc(max, sizeof *request->wanted);
	BUG_ON(!request->wanted);
	at = place ? first_above(place, request->fetch.after) : 0;
	for (; place && at < place->end && request->wanted_count < max; at++) {
		const struct entry *entry = &place->entries[at];
		const struct flight *flight = place_flight(place, entry->number);
		struct wanted *wanted = &request->wanted[request->wanted_count];

		if (entry->record & ENTRY_DONE)
			continue;
		/* Not written yet (it is held): it and what follows can be read later. */
		if (!ledger_is_written(&store->ledger, entry->record))
			break;
		*wanted = (struct wanted){.number = entry->number, .record = entry->record};
		if (flight) {
			wanted->flight = flight->state;
			wanted->packet_id = flight->packet_id;
		}
		request->wanted_count++;
	}
	while (place && at < place->end && (place->entries[at].record & ENTRY_DONE))
		at++;
	request->has_more = place && at < place->end;
	hand_to_reader(store, request);
}

/* The reader. */

static enum err read_record(struct store *store, struct kv_reader *reader, uint64_t number,
			    struct message_record *out)
{
	struct key key = key_of(number);
	struct slice found, value;
	enum err err =
		store->kv->ops->read(reader, KV_MESSAGES, key_slice(&key), false, &found, &value);

	if (err != ERR_NONE)
		return err;
	if (!slice_equal(found, key_slice(&key)))
		return ERR_NOT_FOUND;
	return record_get_message(value, out) ? ERR_NONE : ERR_INVALID;
}

static bool find_receiver(const struct message_record *record, uint64_t id, uint64_t number,
			  struct receiver *out)
{
	struct unpack from = unpack_of(record->receivers);
	struct receiver_cursor cursor = {0, record->number};

	while (from.at < from.end && unpack_receiver(&from, &cursor, out))
		if (out->id == id && out->number == number)
			return true;
	return false;
}

static enum err read_item(struct store *store, struct kv_reader *reader,
			  struct fetch_request *request, const struct wanted *wanted)
{
	struct fetched_item *item = &request->items[request->count];
	struct message_record record;
	struct receiver receiver;
	enum err err = read_record(store, reader, wanted->record, &record);

	if (err != ERR_NONE)
		return err;
	if (!find_receiver(&record, request->fetch.id, wanted->number, &receiver))
		return ERR_NOT_FOUND;
	*item = (struct fetched_item){.wanted = *wanted};
	item->qos = receiver.qos;
	item->retain = receiver.retain;
	item->ids_at = request->bodies.len;
	item->id_count = (uint16_t)(receiver.subscription_ids.len / 4);
	pack_bytes(&request->bodies, receiver.subscription_ids);
	if (record.body_record)
		err = read_record(store, reader, record.body_record, &record);
	if (err != ERR_NONE)
		return err;
	item->body_at = request->bodies.len;
	item->body_len = record.body.len;
	pack_bytes(&request->bodies, record.body);
	request->count++;
	return ERR_NONE;
}

static void read_request(struct store *store, struct fetch_request *request)
{
	struct kv_reader *reader;
	enum err err;

	request->items = calloc(request->wanted_count + 1, sizeof *request->items);
	BUG_ON(!request->items);
	request->failed = store->kv->ops->reader_open(store->kv, &reader) != ERR_NONE;
	if (request->failed)
		return;
	for (unsigned i = 0; i < request->wanted_count; i++) {
		if (request->count && request->bodies.len >= request->fetch.max_bytes) {
			request->has_more = true;
			break;
		}
		err = read_item(store, reader, request, &request->wanted[i]);
		/* Gone: its session was finished with it meanwhile. */
		if (err != ERR_NONE && err != ERR_NOT_FOUND) {
			request->failed = true;
			break;
		}
	}
	store->kv->ops->reader_close(&reader);
	COUNT_BY(STORE_MESSAGES_READ, request->count);
}

static void hand_to_worker(struct store *store, struct fetch_request *request)
{
	struct store_worker *mine = store->workers[request->worker];

	request->next = NULL;
	pthread_mutex_lock(&mine->arrivals.lock);
	*mine->arrivals.tail = request;
	mine->arrivals.tail = &request->next;
	__atomic_store_n(&mine->arrivals.is_empty, false, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&mine->arrivals.lock);
	worker_wake(mine->worker);
}

static struct fetch_request *next_request(struct store *store)
{
	struct fetch_request *request;

	pthread_mutex_lock(&store->reader_lock);
	while (!store->to_read && !__atomic_load_n(&store->is_stopping, __ATOMIC_ACQUIRE))
		pthread_cond_wait(&store->reader_wake, &store->reader_lock);
	request = store->to_read;
	if (request) {
		store->to_read = request->next;
		if (!store->to_read)
			store->to_read_tail = &store->to_read;
	}
	pthread_mutex_unlock(&store->reader_lock);
	return request;
}

void *reader_main(void *argument)
{
	struct store *store = argument;
	struct fetch_request *request;

	counters_attach(&store->counters_reader);
	while ((request = next_request(store)) != NULL) {
		if (__atomic_load_n(&store->is_stopping, __ATOMIC_ACQUIRE)) {
			fetch_free(request);
			continue;
		}
		read_request(store, request);
		hand_to_worker(store, request);
	}
	counters_detach(&store->counters_reader);
	return NULL;
}

/* The worker. */

static void make_item(struct store_worker *mine, const struct fetch_request *request,
		      const struct fetched_item *from, struct store_item *out, uint32_t *ids)
{
	const uint8_t *bytes = request->bodies.data;
	struct unpack id_from =
		unpack_of(slice_of(bytes + from->ids_at, 4 * (size_t)from->id_count));
	struct unpack body = unpack_of(slice_of(bytes + from->body_at, from->body_len));
	struct stored_message stored;

	*out = (struct store_item){
		.id = request->fetch.id,
		.number = from->wanted.number,
		.packet_id = from->wanted.packet_id,
		.flight = from->wanted.flight,
		.delivery = {.qos = from->qos, .retain = from->retain},
	};
	for (unsigned i = 0; i < from->id_count; i++)
		ids[i] = unpack_u32(&id_from);
	out->delivery.subscription_ids = ids;
	out->delivery.subscription_id_count = from->id_count;
	if (unpack_message(&body, &stored))
		out->message = stored_message_make(mine->worker, &stored, mine->wall_offset_ms);
}

static void deliver_one(struct store_worker *mine, struct fetch_request *request)
{
	struct store_fetched fetched = {
		.handle = request->fetch.handle,
		.id = request->fetch.id,
		.after = request->fetch.after,
		.count = request->count,
		.has_more = request->has_more,
		.failed = request->failed,
	};
	size_t id_count = 0, at = 0;
	uint32_t *ids;

	for (unsigned i = 0; i < request->count; i++)
		id_count += request->items[i].id_count;
	ids = calloc(id_count + 1, sizeof *ids);
	fetched.items = calloc(request->count + 1, sizeof *fetched.items);
	BUG_ON(!ids || !fetched.items);
	for (unsigned i = 0; i < request->count; i++) {
		make_item(mine, request, &request->items[i], &fetched.items[i], ids + at);
		at += request->items[i].id_count;
	}
	request->fetch.done(mine->worker, &fetched);
	for (unsigned i = 0; i < request->count; i++)
		if (fetched.items[i].message)
			message_drop(mine->worker, &fetched.items[i].message);
	free(fetched.items);
	free(ids);
	fetch_free(request);
}

void fetch_deliver(struct store_worker *mine)
{
	struct fetch_request *list, *request;

	pthread_mutex_lock(&mine->arrivals.lock);
	list = mine->arrivals.first;
	mine->arrivals.first = NULL;
	mine->arrivals.tail = &mine->arrivals.first;
	__atomic_store_n(&mine->arrivals.is_empty, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&mine->arrivals.lock);
	mine->wall_offset_ms = store_wall_offset_ms(mine->store);
	while ((request = list) != NULL) {
		list = request->next;
		deliver_one(mine, request);
	}
}
