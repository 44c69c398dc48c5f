/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - the tables.
 *
 *	lines     one for all threads: who holds the line, who has read and written it
 *	sites     one for each thread, so that noting disturbs nobody: line and place -> counts
 *	places    one for all threads: blocks of the heap
 *
 * Each thread counts as a processor with a cache that forgets nothing: a read takes a copy, a write
 * takes the line from all others. What a thread fetches for the first time in the window counts only
 * if another has touched it before.
 */
#include "sharing/probe.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/worker.h"

#define THREADS_MAX 62
#define LINES (1u << 22)
#define PLACES (1u << 21)
#define SITES_FIRST (1u << 14)
#define IS_MODIFIED (UINT64_C(1) << 63) /* by its only holder */

struct line {
	uintptr_t number;	   /* atomic; 0: free */
	uint64_t holders;	   /* atomic: bits of threads, and IS_MODIFIED */
	uint64_t readers, writers; /* atomic: in the whole window */
};

struct site {
	uintptr_t line; /* 0: free */
	uintptr_t pc_and_kind;
	uint64_t count, transfers;
};

struct place {
	uintptr_t at; /* atomic; 0: free */
	size_t bytes;
	uint64_t made;
	const void *stack[PROBE_STACK];
	uint32_t thread;
	uint32_t is_freed;
};

/* Owner: its thread; the control thread while nothing is recorded. */
struct thread {
	struct site *sites;
	size_t cap, used;
	int is_busy; /* atomic */
	int worker;  /* -1: none */
	uint8_t number;
};

static struct line *lines;
static struct place *places;
static struct thread threads[THREADS_MAX];
static unsigned thread_count; /* atomic */
static int is_recording;      /* atomic */
static uint64_t lost;	      /* atomic */
static uint64_t blocks_made;  /* atomic */
static unsigned line_shift = 6;

static __thread struct thread *mine __attribute__((tls_model("initial-exec")));
static __thread bool is_ignored __attribute__((tls_model("initial-exec")));

static void *map_zeroed(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		abort();
	return at;
}

/* malloc() may be called before any constructor. */
static void *map_once(void **table, size_t bytes)
{
	void *there = __atomic_load_n(table, __ATOMIC_ACQUIRE);
	void *fresh;

	if (there)
		return there;
	fresh = map_zeroed(bytes);
	if (__atomic_compare_exchange_n(table, &there, fresh, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return fresh;
	munmap(fresh, bytes);
	return there;
}

static size_t spread(uintptr_t key)
{
	uint64_t mixed = key * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(mixed ^ (mixed >> 29));
}

static void lose_one(void)
{
	__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
}

/* --- threads -------------------------------------------------------------------------------------- */

static void thread_attach(void)
{
	unsigned number = __atomic_fetch_add(&thread_count, 1, __ATOMIC_ACQ_REL);

	if (number >= THREADS_MAX) {
		__atomic_sub_fetch(&thread_count, 1, __ATOMIC_ACQ_REL);
		lose_one();
		return;
	}
	threads[number].number = (uint8_t)number;
	threads[number].worker = worker_current ? worker_current->id : -1;
	threads[number].cap = SITES_FIRST;
	threads[number].sites = map_zeroed(SITES_FIRST * sizeof(struct site));
	mine = &threads[number];
}

void probe_ignore_me(void)
{
	is_ignored = true;
}

/* NULL: nothing is to be noted. Otherwise thread_leave() follows. */
static struct thread *thread_enter(void)
{
	if (!__atomic_load_n(&is_recording, __ATOMIC_RELAXED) || is_ignored)
		return NULL;
	if (!mine)
		thread_attach();
	if (!mine || mine->is_busy)
		return NULL;
	__atomic_store_n(&mine->is_busy, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&is_recording, __ATOMIC_SEQ_CST))
		return mine;
	__atomic_store_n(&mine->is_busy, 0, __ATOMIC_RELEASE);
	return NULL;
}

static void thread_leave(struct thread *me)
{
	__atomic_store_n(&me->is_busy, 0, __ATOMIC_RELEASE);
}

/* --- lines ---------------------------------------------------------------------------------------- */

/* NULL: the table is full. */
static struct line *line_find(uintptr_t number)
{
	struct line *table = map_once((void **)&lines, LINES * sizeof *lines);
	size_t at = spread(number);

	for (unsigned tries = 0; tries < 256; tries++, at++) {
		struct line *line = &table[at % LINES];
		uintptr_t there = __atomic_load_n(&line->number, __ATOMIC_ACQUIRE);

		if (there == 0 && __atomic_compare_exchange_n(&line->number, &there, number, false,
							      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return line;
		if (there == number)
			return line;
	}
	lose_one();
	return NULL;
}

static void set_bit(uint64_t *bits, uint64_t bit)
{
	if (!(__atomic_load_n(bits, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(bits, bit, __ATOMIC_RELAXED);
}

/* True: the line had to be fetched because another thread has written it. */
static bool line_read(struct line *line, uint64_t me)
{
	uint64_t holders = __atomic_load_n(&line->holders, __ATOMIC_RELAXED);

	set_bit(&line->readers, me);
	do {
		if (holders & me)
			return false;
	} while (!__atomic_compare_exchange_n(&line->holders, &holders,
					      (holders | me) & ~IS_MODIFIED, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return (__atomic_load_n(&line->writers, __ATOMIC_RELAXED) & ~me) != 0;
}

/* True: it had to be taken from others. */
static bool line_write(struct line *line, uint64_t me)
{
	uint64_t holders = __atomic_load_n(&line->holders, __ATOMIC_RELAXED);

	set_bit(&line->writers, me);
	do {
		if (holders == (me | IS_MODIFIED))
			return false;
	} while (!__atomic_compare_exchange_n(&line->holders, &holders, me | IS_MODIFIED, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return (holders & ~(me | IS_MODIFIED)) != 0;
}

/* --- sites ---------------------------------------------------------------------------------------- */

static struct site *site_slot(struct site *sites, size_t cap, uintptr_t line, uintptr_t pc_and_kind)
{
	size_t at = spread(line ^ (pc_and_kind << 20));

	while (sites[at & (cap - 1)].line && (sites[at & (cap - 1)].line != line ||
					      sites[at & (cap - 1)].pc_and_kind != pc_and_kind))
		at++;
	return &sites[at & (cap - 1)];
}

static void sites_grow(struct thread *me)
{
	size_t cap = me->cap * 2;
	struct site *fresh = map_zeroed(cap * sizeof *fresh);

	for (size_t i = 0; i < me->cap; i++)
		if (me->sites[i].line)
			*site_slot(fresh, cap, me->sites[i].line, me->sites[i].pc_and_kind) =
				me->sites[i];
	munmap(me->sites, me->cap * sizeof *me->sites);
	me->sites = fresh;
	me->cap = cap;
}

static void site_note(struct thread *me, uintptr_t line, const void *pc, enum probe_kind kind,
		      bool is_transfer)
{
	uintptr_t pc_and_kind = (uintptr_t)pc << 2 | kind;
	struct site *site;

	if (me->used * 2 >= me->cap)
		sites_grow(me);
	site = site_slot(me->sites, me->cap, line, pc_and_kind);
	if (!site->line) {
		site->line = line;
		site->pc_and_kind = pc_and_kind;
		me->used++;
	}
	site->count++;
	site->transfers += is_transfer;
}

void probe_touch(const void *at, size_t bytes, enum probe_kind kind, const void *pc)
{
	struct thread *me = bytes ? thread_enter() : NULL;
	uintptr_t last;

	if (!me)
		return;
	last = ((uintptr_t)at + bytes - 1) >> line_shift;
	for (uintptr_t number = (uintptr_t)at >> line_shift; number <= last; number++) {
		struct line *line = line_find(number);
		uint64_t bit = UINT64_C(1) << me->number;

		if (line)
			site_note(me, number, pc, kind,
				  kind == PROBE_READ ? line_read(line, bit)
						     : line_write(line, bit));
	}
	thread_leave(me);
}

void probe_event(enum probe_event event, const void *pc)
{
	struct thread *me = thread_enter();

	if (!me)
		return;
	site_note(me, event, pc, PROBE_WRITE, false);
	thread_leave(me);
}

/* --- the heap ------------------------------------------------------------------------------------- */

void probe_stack(const void *frame, const void *stack[PROBE_STACK])
{
	const void *const *at = frame;

	/* Libraries keep no frame pointers: what cannot be the caller's frame ends the walk. */
	for (unsigned n = 0; n < PROBE_STACK; n++) {
		const void *const *next;

		stack[n] = at ? at[1] : NULL;
		next = at ? at[0] : NULL;
		at = (uintptr_t)next > (uintptr_t)at && (uintptr_t)next - (uintptr_t)at < 16384 &&
				     (uintptr_t)next % sizeof(void *) == 0
			     ? next
			     : NULL;
	}
}

static struct place *place_find(uintptr_t key, bool is_new)
{
	struct place *table = map_once((void **)&places, PLACES * sizeof *places);
	size_t at = spread(key >> 4);

	for (unsigned tries = 0; tries < 256; tries++, at++) {
		struct place *place = &table[at % PLACES];
		uintptr_t there = __atomic_load_n(&place->at, __ATOMIC_ACQUIRE);

		if (there == 0 && !is_new)
			return NULL;
		if (there == 0 && __atomic_compare_exchange_n(&place->at, &there, key, false,
							      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return place;
		if (there == key)
			return place;
	}
	if (is_new)
		lose_one();
	return NULL;
}

static uint32_t thread_id(void)
{
	if (worker_current)
		return worker_current->id;
	return WORKER_NONE;
}

void probe_block_made(const void *at, size_t bytes, const void *const stack[PROBE_STACK])
{
	struct place *place = at ? place_find((uintptr_t)at, true) : NULL;

	if (!place)
		return;
	place->bytes = bytes;
	place->made = __atomic_add_fetch(&blocks_made, 1, __ATOMIC_RELAXED);
	place->is_freed = 0;
	place->thread = thread_id();
	for (unsigned n = 0; n < PROBE_STACK; n++)
		place->stack[n] = stack[n];
}

void probe_block_freed(const void *at, const void *pc)
{
	struct place *place = at ? place_find((uintptr_t)at, false) : NULL;

	if (!at)
		return;
	probe_event(place && place->thread != thread_id() ? PROBE_FOREIGN_FREE : PROBE_FREE, pc);
	if (place)
		place->is_freed = 1;
}

/* --- the window ----------------------------------------------------------------------------------- */

static void wait_until_nobody_notes(void)
{
	for (unsigned i = 0; i < probe_thread_count(); i++)
		while (__atomic_load_n(&threads[i].is_busy, __ATOMIC_SEQ_CST))
			continue;
}

void probe_begin(void)
{
	const char *bytes = getenv("NIGHTJAR_SHARING_LINE");

	probe_end();
	line_shift = bytes && strcmp(bytes, "128") == 0 ? 7 : 6;
	/* Pages that are given back come again as zeroes. */
	madvise(map_once((void **)&lines, LINES * sizeof *lines), LINES * sizeof *lines,
		MADV_DONTNEED);
	for (unsigned i = 0; i < probe_thread_count(); i++) {
		if (!threads[i].sites)
			continue;
		madvise(threads[i].sites, threads[i].cap * sizeof(struct site), MADV_DONTNEED);
		threads[i].used = 0;
	}
	__atomic_store_n(&is_recording, 1, __ATOMIC_SEQ_CST);
}

void probe_end(void)
{
	__atomic_store_n(&is_recording, 0, __ATOMIC_SEQ_CST);
	wait_until_nobody_notes();
}

/* --- what was seen -------------------------------------------------------------------------------- */

unsigned probe_line_bytes(void)
{
	return 1u << line_shift;
}

unsigned probe_thread_count(void)
{
	return __atomic_load_n(&thread_count, __ATOMIC_ACQUIRE);
}

int probe_thread_worker(unsigned thread)
{
	return threads[thread].worker;
}

uint64_t probe_lost(void)
{
	return __atomic_load_n(&lost, __ATOMIC_RELAXED);
}

bool probe_line_users(uintptr_t number, uint64_t *out_readers, uint64_t *out_writers)
{
	struct line *line = number >= PROBE_EVENTS ? line_find(number) : NULL;

	if (!line)
		return false;
	*out_readers = line->readers;
	*out_writers = line->writers;
	return (line->readers | line->writers) != 0;
}

void probe_each_site(void (*each)(const struct probe_site *site, void *context), void *context)
{
	for (unsigned i = 0; i < probe_thread_count(); i++) {
		for (size_t at = 0; at < threads[i].cap; at++) {
			const struct site *site = &threads[i].sites[at];
			struct probe_site shown = {
				.line = site->line,
				.pc = (const void *)(site->pc_and_kind >> 2),
				.thread = (uint8_t)i,
				.kind = site->pc_and_kind & 3,
				.count = site->count,
				.transfers = site->transfers,
			};

			if (site->line)
				each(&shown, context);
		}
	}
}

void probe_each_place(void (*each)(const struct probe_place *place, void *context), void *context)
{
	for (size_t i = 0; places && i < PLACES; i++) {
		struct probe_place shown = {
			.at = places[i].at,
			.bytes = places[i].bytes,
			.made = places[i].made,
			.is_freed = places[i].is_freed,
		};

		for (unsigned n = 0; n < PROBE_STACK; n++)
			shown.stack[n] = places[i].stack[n];
		if (shown.at)
			each(&shown, context);
	}
}
