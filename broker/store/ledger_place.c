/* SPDX-License-Identifier: Apache-2.0 */
/* ledger_place.c - what one session or group waits for. */
#include <stdlib.h>

#include "store/ledger.h"

/* Entries that are done and stand between others are taken out when they are so many, and most. */
#define TOMBS_MAX 32

void *vector_room(void *at, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return at;
	*cap = *cap ? *cap * 2 : 16;
	at = realloc(at, *cap * size);
	BUG_ON(!at);
	return at;
}

static void *room32(void *at, uint32_t count, uint32_t *cap, size_t size)
{
	size_t wide = *cap;

	at = vector_room(at, count, &wide, size);
	*cap = (uint32_t)wide;
	return at;
}

struct place *ledger_place(const struct ledger *ledger, uint64_t id)
{
	uint64_t *found = number_map_find(&ledger->places, id);

	return found ? (struct place *)(uintptr_t)*found : NULL;
}

struct place *place_make(struct ledger *ledger, uint64_t id)
{
	struct place *place = calloc(1, sizeof *place);

	BUG_ON(!place);
	place->id = id;
	number_map_set(&ledger->places, id, (uint64_t)(uintptr_t)place);
	return place;
}

void place_destroy(struct ledger *ledger, struct place *place)
{
	number_map_remove(&ledger->places, place->id);
	ledger->last_place = NULL;
	free(place->entries);
	free(place->flights);
	free(place->received);
	free(place);
}

/* Before it grows, what is free at the front is used. */
static void make_entry_room(struct place *place)
{
	uint32_t used = place->end - place->head;

	if (place->end < place->cap)
		return;
	if (place->head > place->cap / 2) {
		memmove(place->entries, place->entries + place->head,
			used * sizeof *place->entries);
		place->head = 0;
		place->end = used;
		return;
	}
	place->entries = room32(place->entries, place->end, &place->cap, sizeof *place->entries);
}

void place_add(struct place *place, uint64_t number, uint64_t record)
{
	make_entry_room(place);
	place->entries[place->end++] = (struct entry){number, record};
	if (record & ENTRY_DONE)
		place->done++;
	if (number >= place->next_number)
		place->next_number = number + 1;
}

struct entry *place_entry(const struct place *place, uint64_t number)
{
	uint32_t low = place->head, high = place->end;

	if (low == high || number < place->entries[low].number)
		return NULL;
	if (place->entries[low].number == number)
		return &place->entries[low];
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (place->entries[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == place->end || place->entries[low].number != number)
		return NULL;
	return &place->entries[low];
}

/* record 0 marks what may be forgotten. */
static void sweep(struct place *place)
{
	uint32_t to = place->head;

	for (uint32_t i = place->head; i < place->end; i++)
		if (place->entries[i].record != ENTRY_DONE)
			place->entries[to++] = place->entries[i];
		else
			place->done--;
	place->end = to;
}

static void trim(struct place *place)
{
	while (place->head < place->end && (place->entries[place->head].record & ENTRY_DONE)) {
		place->head++;
		place->done--;
	}
	if (place->head == place->end)
		place->head = place->end = 0;
	if (place->cap > 64 && place->end == 0) {
		free(place->entries);
		place->entries = NULL;
		place->cap = 0;
	}
}

void place_done(struct place *place, struct entry *entry, bool record_lives)
{
	entry->record = record_lives ? entry->record | ENTRY_DONE : ENTRY_DONE;
	place->done++;
	trim(place);
	if (place->done > TOMBS_MAX && place->done > (place->end - place->head) / 2)
		sweep(place);
}

/* The first that is not below number. */
static uint32_t flight_at(const struct place *place, uint64_t number)
{
	const struct flight *flights = place_flights(place);
	uint32_t low = 0, high = place->flight_count;

	/* Answers come in order as a rule, and so do new ones. */
	if (high == 0 || flights[0].number >= number)
		return 0;
	if (flights[high - 1].number < number)
		return high;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (flights[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct flight *place_flight(const struct place *place, uint64_t number)
{
	uint32_t at = flight_at(place, number);

	if (at == place->flight_count || place_flights(place)[at].number != number)
		return NULL;
	return &place_flights(place)[at];
}

/* As for entries. */
static void make_flight_room(struct place *place)
{
	if (place->flight_head + place->flight_count < place->flight_cap)
		return;
	if (place->flight_head > place->flight_cap / 2) {
		memmove(place->flights, place_flights(place),
			place->flight_count * sizeof *place->flights);
		place->flight_head = 0;
		return;
	}
	place->flights = room32(place->flights, place->flight_head + place->flight_count,
				&place->flight_cap, sizeof *place->flights);
}

void place_flight_set(struct place *place, const struct flight *flight)
{
	uint32_t at = flight_at(place, flight->number);
	struct flight *known;

	if (at == place->flight_count || place_flights(place)[at].number != flight->number) {
		make_flight_room(place);
		known = &place_flights(place)[at];
		memmove(known + 1, known, (place->flight_count++ - at) * sizeof *known);
	}
	place_flights(place)[at] = *flight;
}

bool place_flight_remove(struct place *place, uint64_t number)
{
	struct flight *known = place_flight(place, number);
	size_t at;

	if (!known)
		return false;
	at = (size_t)(known - place_flights(place));
	place->flight_count--;
	if (at == 0)
		place->flight_head = place->flight_count ? place->flight_head + 1 : 0;
	else
		memmove(known, known + 1, (place->flight_count - at) * sizeof *known);
	return true;
}

static uint32_t received_at(const struct place *place, uint16_t packet_id)
{
	uint32_t at = 0;

	while (at < place->received_count && place->received[at] != packet_id)
		at++;
	return at;
}

bool place_received_add(struct place *place, uint16_t packet_id)
{
	if (received_at(place, packet_id) < place->received_count)
		return false;
	place->received = room32(place->received, place->received_count, &place->received_cap,
				 sizeof *place->received);
	place->received[place->received_count++] = packet_id;
	return true;
}

bool place_received_remove(struct place *place, uint16_t packet_id)
{
	uint32_t at = received_at(place, packet_id);

	if (at == place->received_count)
		return false;
	place->received[at] = place->received[--place->received_count];
	return true;
}

static bool is_to_remember(const struct ledger *ledger, const struct entry *entry)
{
	return (entry->record & ENTRY_DONE) && entry->record != ENTRY_DONE &&
	       ledger_is_written(ledger, entry->record & ~ENTRY_DONE);
}

/* The walk stops at the last that is done, so a long queue that nobody has touched costs nothing. */
static void collect_done(struct ledger *ledger, const struct place *place)
{
	uint32_t left = place->done;

	ledger->done_scratch.count = 0;
	for (uint32_t i = place->head; left > 0; i++) {
		const struct entry *entry = &place->entries[i];

		left -= (entry->record & ENTRY_DONE) != 0;
		if (is_to_remember(ledger, entry))
			*VECTOR_ADD(ledger->done_scratch) = entry->number;
	}
}

void place_pack_state(struct ledger *ledger, const struct place *place, struct pack *to)
{
	uint64_t below =
		place->head < place->end ? place->entries[place->head].number : place->next_number;

	collect_done(ledger, place);
	record_put_state(to, below, ledger->done_scratch.at, ledger->done_scratch.count,
			 place_flights(place), place->flight_count, place->received,
			 place->received_count);
}
