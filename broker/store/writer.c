/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer.c - the thread that takes the batches and makes the commits.
 *
 *	take all batches --> is a commit due? --> one transaction --> workers are told --> sleep
 *
 * While a commit is under way the next batches gather, so the busier it is the more share one. In
 * `process` mode nobody waits for the commit of what is in a ring: it follows within a second.
 *
 * A failed commit leaves the picture as it is, and nothing more is taken in until one succeeds:
 *	no room (ERR_LIMIT)  removals that need nothing else are written alone, to make some; then all
 *	                     again, each second
 *	anything else        nothing is acknowledged before the file was closed, opened and checked
 */
#include "store/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

/* With the commit itself, a power cut takes less than a second. */
#define PROCESS_DELAY_MS 800
#define RETRY_MS 1000
#define FULL_PERCENT 95
#define ROOM_PERCENT 90 /* below this a full store takes messages again, so that it does not flap */
#define SPACE_EVERY_MS 100
#define COMMIT_OVERHEAD_BYTES 32768
#define FULL_LOOK_MS 1000
#define STRETCH_MAX_BYTES (UINT64_C(32) << 20)
#define STRETCH_MIN_BYTES (UINT64_C(1) << 20)

static uint64_t load64(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* Telling the workers. */

void store_changed(struct store *store)
{
	__atomic_add_fetch(&store->changes, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < store->settings.workers; i++)
		if (store->workers[i])
			worker_wake(store->workers[i]->worker);
}

void store_set_state(struct store *store, enum store_state state)
{
	int before = __atomic_exchange_n(&store->state, (int)state, __ATOMIC_RELAXED);

	if (before == (int)state)
		return;
	if (state == STORE_OK)
		log_event(LOG_TYPE_NOTICE, NULL, "The store takes messages again");
	else
		COUNT(STORE_REFUSING);
	store_changed(store);
}

static void free_batch(struct batch *batch)
{
	pack_fini(&batch->pack);
	free(batch);
}

/* What is in the ring was committed by its worker, and by now that may have committed more: so what
 * has no posts, but only asks for some back, says nothing about how far it is. */
static void batch_is_committed(struct store *store, struct batch *batch)
{
	struct store_worker *worker = store->workers[batch->worker];

	__atomic_sub_fetch(&store->waiting_bytes, batch->bytes.len, __ATOMIC_RELAXED);
	if (!worker)
		return;
	if (batch->in_ring)
		ring_release(worker->ring, batch->ring_end);
	else if (batch->bytes.len)
		__atomic_store_n(&worker->committed, batch->last_post, __ATOMIC_RELEASE);
}

static void resolve_fetches(struct store *store, struct batch *batch)
{
	struct fetch_request *request;

	while ((request = batch->fetches) != NULL) {
		batch->fetches = request->next;
		fetch_resolve(store, request);
	}
}

/* In the order of each worker; what is held stops those behind it. */
static void release_batches(struct store *store)
{
	bool any = false;

	store->first_waits_ms = 0;
	store->is_urgent = false;
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		struct batch *batch;

		while ((batch = store->batches[i]) != NULL && batch->held == 0) {
			store->batches[i] = batch->next;
			if (!batch->next)
				store->batches_tail[i] = &store->batches[i];
			batch_is_committed(store, batch);
			resolve_fetches(store, batch);
			free_batch(batch);
			any = true;
		}
	}
	if (any)
		store_changed(store);
}

static void reset_held(struct store *store)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		for (struct batch *batch = store->batches[i]; batch; batch = batch->next)
			batch->held = 0;
}

/* Room. */

static uint64_t stretch_bytes(const struct store *store)
{
	uint64_t part = store->settings.max_bytes / 20;

	return part < STRETCH_MAX_BYTES ? part : STRETCH_MAX_BYTES;
}

static uint64_t least_stretch(const struct store *store)
{
	/* Half of a stretch is always there, because disk_room() reserves anew at that. */
	uint64_t half = stretch_bytes(store) / 2;

	return half < STRETCH_MIN_BYTES ? half : STRETCH_MIN_BYTES;
}

/* What the file can grow by, for sure: all of a stretch, or what a small disk still gives. */
static uint64_t disk_room(struct store *store, uint64_t file_bytes)
{
	uint64_t most = stretch_bytes(store);

	if (store->reserved_bytes < file_bytes + most / 2)
		for (uint64_t more = most; more >= least_stretch(store); more /= 2)
			if (store->kv->ops->reserve(store->kv, file_bytes + more) == ERR_NONE) {
				store->reserved_bytes = file_bytes + more;
				break;
			}
	return store->reserved_bytes > file_bytes ? store->reserved_bytes - file_bytes : 0;
}

static bool is_full(const struct store *store)
{
	return __atomic_load_n(&store->state, __ATOMIC_RELAXED) == STORE_FULL;
}

static void say_full(const struct store *store, bool map_is_full)
{
	if (is_full(store))
		return;
	if (map_is_full)
		log_event(LOG_TYPE_ERROR, NULL,
			  "The store is full: %d %% of persistence_max_size (%" PRIu64
			  " bytes) are in use. What would have to be kept is refused until "
			  "messages are fetched or expire. Raise persistence_max_size and restart",
			  FULL_PERCENT, store->settings.max_bytes);
	else
		log_event(LOG_TYPE_ERROR, NULL,
			  "The disk under %s is full. What would have to be kept is refused until "
			  "there is room again",
			  store->settings.directory ? store->settings.directory : "the store");
}

/* On a full disk the file's own free pages are the room. */
static enum err measure(struct store *store, bool exact, struct kv_space *space, uint64_t *out_room)
{
	enum err err = store->kv->ops->space(store->kv, exact, space);

	if (err != ERR_NONE)
		return err;
	*out_room = disk_room(store, space->file_bytes);
	if (*out_room >= least_stretch(store))
		return ERR_NONE;
	err = store->kv->ops->space(store->kv, true, space);
	*out_room += space->file_bytes - space->used_bytes;
	return err;
}

void writer_space(struct store *store, bool exact)
{
	struct kv_space space;
	bool map_is_full;
	uint64_t room;

	store->space_ms = clock_now_ms();
	if (measure(store, exact, &space, &room) != ERR_NONE)
		return;
	__atomic_store_n(&store->file_bytes, space.file_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&store->used_bytes, space.used_bytes, __ATOMIC_RELAXED);
	/* What waits to be written fits: half of the room, because pages take more than records. */
	__atomic_store_n(&store->busy_bytes,
			 (room < stretch_bytes(store) ? room : stretch_bytes(store)) / 2,
			 __ATOMIC_RELAXED);
	map_is_full = space.used_bytes / (is_full(store) ? ROOM_PERCENT : FULL_PERCENT) * 100 >=
		      space.max_bytes;
	if (map_is_full || room < least_stretch(store)) {
		say_full(store, map_is_full);
		store_set_state(store, STORE_FULL);
	} else {
		store_set_state(store, STORE_OK);
	}
}

/* Counting free pages takes a while: only where it matters, and not each time. Between counts what
 * was written counts as more. */
static void look_at_space(struct store *store)
{
	uint64_t now = clock_now_ms();
	uint64_t most = load64(&store->used_bytes) + store->written_since;
	bool is_near = load64(&store->file_bytes) / 90 * 100 >= store->settings.max_bytes;

	store->written_since += store->ledger.written_bytes * 2 + COMMIT_OVERHEAD_BYTES;
	if (is_near && now - store->space_ms < SPACE_EVERY_MS &&
	    most / 90 * 100 < store->settings.max_bytes)
		return;
	store->written_since = 0;
	writer_space(store, is_near);
}

/* Failure. */

static void commit_failed(struct store *store, enum err err, const struct err_detail *detail)
{
	ledger_failed(&store->ledger);
	COUNT(STORE_FAILURES);
	store->retry_ms = clock_now_ms() + RETRY_MS;
	if (err == ERR_LIMIT) {
		say_full(store, load64(&store->file_bytes) / 80 * 100 >= store->settings.max_bytes);
		store_set_state(store, STORE_FULL);
		return;
	}
	store->is_broken = true;
	log_event(LOG_TYPE_ERROR, NULL,
		  "The store cannot be written: %s. Nothing is acknowledged that it would have to "
		  "keep, until it was opened again and checked; next try in %d ms",
		  detail->text, RETRY_MS);
	store_set_state(store, STORE_FAILED);
}

/* Which commit is the last in the file? */
static enum err read_commit_number(struct store *store, uint64_t *out)
{
	struct meta_record *meta = malloc(sizeof *meta);
	struct slice key, value;
	struct kv_reader *reader;
	enum err err;

	BUG_ON(!meta);
	*out = 0;
	err = store->kv->ops->reader_open(store->kv, &reader);
	if (err == ERR_NONE) {
		err = store->kv->ops->read(reader, KV_META, SLICE_LITERAL(""), false, &key, &value);
		if (err == ERR_NONE && !record_get_meta(value, meta))
			err = ERR_INVALID;
		if (err == ERR_NONE)
			*out = meta->commit;
		store->kv->ops->reader_close(&reader);
	}
	free(meta);
	return err == ERR_NOT_FOUND ? ERR_NONE : err;
}

static void commit_succeeded(struct store *store, enum ledger_part part)
{
	reset_held(store);
	ledger_written(&store->ledger, part);
	__atomic_store_n(&store->commits, load64(&store->commits) + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&store->last_commit_records, store->ledger.written_records,
			 __ATOMIC_RELAXED);
}

/* A commit that failed may be on disk all the same: its number tells. */
static enum err settle_doubt(struct store *store, struct err_detail *detail)
{
	uint64_t expected = store->ledger.meta.commit, number;
	enum err err = read_commit_number(store, &number);

	if (err != ERR_NONE)
		return err;
	if (number == expected) {
		if (store->is_in_doubt) {
			commit_succeeded(store, store->doubtful_part);
			/* Removals alone are nobody's batch. */
			if (store->doubtful_part == LEDGER_ALL)
				release_batches(store);
		}
	} else if (store->is_in_doubt && number + 1 == expected) {
		store->ledger.meta.commit = number;
	} else {
		return err_set(detail, ERR_INVALID,
			       "its last commit is %" PRIu64 ", and should be %" PRIu64, number,
			       expected);
	}
	store->is_in_doubt = false;
	return ERR_NONE;
}

static bool reopen(struct store *store)
{
	struct err_detail detail = {""};
	enum err err = store->kv->ops->reopen(store->kv, &detail);

	store->reserved_bytes = 0;
	if (err == ERR_NONE)
		err = settle_doubt(store, &detail);
	if (err != ERR_NONE) {
		store->retry_ms = clock_now_ms() + RETRY_MS;
		log_event(LOG_TYPE_ERROR, NULL, "The store cannot be opened again: %s",
			  detail.text[0] ? detail.text : err_text(err));
		return false;
	}
	store->is_broken = false;
	log_event(LOG_TYPE_NOTICE, NULL, "The store was opened again and checked");
	return true;
}

/* The commit. */

static enum err transact(struct store *store, enum ledger_part part, bool later,
			 struct err_detail *detail)
{
	struct ledger *ledger = &store->ledger;
	const struct kv_ops *ops = store->kv->ops;
	enum err err = ops->begin(store->kv);

	if (err != ERR_NONE)
		return err_set(detail, err, "no transaction: %s", err_text(err));
	ledger->meta.commit++;
	ledger->meta.wall_ms = store_wall_now_ms(store);
	err = ledger_write(ledger, store->kv, part, later);
	if (err != ERR_NONE) {
		ops->abort(store->kv);
		ledger->meta.commit--;
		return err_set(detail, err, "a transaction was refused: %s", err_text(err));
	}
	err = ops->commit(store->kv, detail);
	if (err == ERR_LIMIT)
		ledger->meta.commit--; /* there was no room for its pages: it is not on disk */
	store->is_in_doubt = err != ERR_NONE && err != ERR_LIMIT;
	store->doubtful_part = part;
	return err;
}

static bool commit_part(struct store *store, enum ledger_part part, bool later)
{
	struct err_detail detail = {""};
	uint64_t began_us = clock_now_us(), took_us;
	enum err err = transact(store, part, later, &detail);

	if (err != ERR_NONE) {
		commit_failed(store, err, &detail);
		return false;
	}
	took_us = clock_now_us() - began_us;
	__atomic_store_n(&store->last_commit_us, took_us, __ATOMIC_RELAXED);
	COUNT(STORE_COMMITS);
	COUNT_BY(STORE_COMMIT_US, took_us);
	COUNT_BY(STORE_RECORDS, store->ledger.written_records);
	COUNT_BY(STORE_RECORD_BYTES, store->ledger.written_bytes);
	commit_succeeded(store, part);
	return true;
}

static bool commit_all(struct store *store)
{
	struct ledger *ledger = &store->ledger;
	bool later = store->settings.durability == STORE_PROCESS ||
		     ledger_later_due_ms(ledger) <= clock_now_ms() ||
		     __atomic_load_n(&store->is_stopping, __ATOMIC_RELAXED);

	if (!ledger_has_work(ledger) && !(later && (ledger->later.count || ledger->dead.count))) {
		reset_held(store);
		ledger_settle(ledger);
		release_batches(store);
		return true;
	}
	overtaken_gather(store);
	if (!commit_part(store, LEDGER_ALL, later))
		return false;
	release_batches(store);
	look_at_space(store);
	return true;
}

static void try_again(struct store *store)
{
	if (store->is_broken && !reopen(store))
		return;
	if (ledger_has_removals(&store->ledger) && !commit_part(store, LEDGER_REMOVALS, false))
		return;
	if (commit_all(store)) {
		store->retry_ms = 0;
		writer_space(store, true);
	}
}

enum err writer_commit_now(struct store *store, struct err_detail *detail)
{
	enum err err = transact(store, LEDGER_ALL, true, detail);

	if (err != ERR_NONE)
		return err;
	commit_succeeded(store, LEDGER_ALL);
	release_batches(store);
	return ERR_NONE;
}

/* Taking in. */

static void take_batch(struct store *store, struct batch *batch)
{
	unsigned worker = batch->worker;

	if (!store->first_waits_ms)
		store->first_waits_ms = clock_now_ms();
	if ((batch->bytes.len && !batch->in_ring) || batch->fetches)
		store->is_urgent = true;
	if (store->workers[worker] && ring_is_filling(store->workers[worker]->ring))
		store->is_urgent = true;
	if (load64(&store->waiting_bytes) > load64(&store->busy_bytes) / 2)
		store->is_urgent = true;
	if (batch->in_ring)
		store->ledger.taken[worker] = batch->sequence;
	*store->batches_tail[worker] = batch;
	store->batches_tail[worker] = &batch->next;
	COUNT(STORE_BATCHES);
	/* A worker of this process made it. */
	BUG_ON(ledger_take(&store->ledger, batch, clock_now_ms()) != ERR_NONE);
}

/* Not all at once: a commit must not wait for ever on workers that go on posting. */
void writer_take_batches(struct store *store)
{
	struct letter_node *node;
	bool is_busy;

	for (unsigned n = 0; n < 4096; n++) {
		node = mailbox_take(store->mailbox, MAILBOX_LETTERS, &is_busy);
		if (!node && !is_busy)
			break;
		if (node)
			take_batch(store, (struct batch *)(void *)node);
	}
	overtaken_tell_round(store);
}

static uint64_t due_ms(const struct store *store)
{
	uint64_t later = ledger_later_due_ms(&store->ledger);
	uint64_t due = later;

	if (store->retry_ms)
		return store->retry_ms;
	if (store->first_waits_ms) {
		bool waits = store->settings.durability == STORE_PROCESS && !store->is_urgent;
		uint64_t first = waits ? store->first_waits_ms + PROCESS_DELAY_MS : 0;

		due = first < later ? first : later;
	}
	return due;
}

/* What was taken in and is not acknowledged is due, or waits for an origin. */
static void check_nothing_is_forgotten(const struct store *store)
{
#ifdef NIGHTJAR_DEBUG
	if (store->retry_ms || store->first_waits_ms)
		return;
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		BUG_ON(store->batches[i] &&
		       (store->batches[i]->held == 0 || store->ledger.held.count == 0));
#else
	(void)store;
#endif
}

static void sleep_until(struct store *store, uint64_t due)
{
	uint64_t now = clock_now_ms();
	struct timespec until;
	uint64_t wait_ms;

	if (due <= now)
		return;
	check_nothing_is_forgotten(store);
	/* Nothing is taken in before it was opened again: what comes meanwhile need not wake it. Else,
	 * while no batch waits here, the first to come sets the time, also one that nobody waits for. */
	if (!store->is_broken && !mailbox_sleep(store->mailbox, store->first_waits_ms == 0))
		return;
	if (due == UINT64_MAX) {
		sem_wait(&store->wake);
		mailbox_awake(store->mailbox);
		return;
	}
	wait_ms = due - now;
	/* Not by wall time: an hour that it is set back would be an hour more. */
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	until.tv_sec += (time_t)(wait_ms / 1000) + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (sem_clockwait(&store->wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
		;
	mailbox_awake(store->mailbox);
}

/*
 * Origins that do not come. A worker may be slow (a machine that swaps, a fan-out to millions), and
 * what it has on its way still comes; or an origin was lost, for want of memory, and would hold up the
 * acknowledgements of other workers for ever. So what is waited for too long is asked for, and only
 * what no worker has on its way is let go. While one does not answer it may have it.
 */

/* WORKERS_MAX: all have answered. */
static unsigned first_without_answer(const struct store *store)
{
	unsigned i = 0;

	while (i < store->settings.workers && store->ledger.named[i] == load64(&store->question))
		i++;
	return i < store->settings.workers ? i : WORKERS_MAX;
}

static void ask_for_origins(struct store *store, uint64_t now)
{
	__atomic_add_fetch(&store->question, 1, __ATOMIC_RELEASE);
	store->asked_ms = now;
	store->is_answer_late = false;
	store_changed(store);
}

static void release_lost(struct store *store)
{
	unsigned released = ledger_release_held(&store->ledger, store->asked_ms);

	store->asked_ms = 0;
	if (!released)
		return;
	store->first_waits_ms = clock_now_ms();
	store->is_urgent = true;
	log_event(LOG_TYPE_WARNING, NULL,
		  "%u publications at QoS 2, or wills, are kept without their publisher's state, "
		  "which was lost: after a crash they may come twice",
		  released);
}

static void say_answer_is_late(struct store *store, unsigned worker)
{
	store->is_answer_late = true;
	log_event(LOG_TYPE_WARNING, NULL,
		  "Worker %u is slow: publications at QoS 2, or wills (%" PRIu64 "), and "
		  "acknowledgements behind them, wait until it says whether they are its",
		  worker, store->ledger.held.count);
}

static void look_at_held(struct store *store)
{
	uint64_t now = clock_now_ms(), wait_ms = store->settings.origin_wait_ms;
	unsigned silent;

	if (store->asked_ms) {
		silent = first_without_answer(store);
		if (silent == WORKERS_MAX)
			release_lost(store);
		else if (!store->is_answer_late && now - store->asked_ms >= wait_ms / 10)
			say_answer_is_late(store, silent);
		return;
	}
	if (store->ledger.held.count == 0 || now - store->held_look_ms < wait_ms / 10)
		return;
	store->held_look_ms = now;
	if (ledger_held_since_ms(&store->ledger) + wait_ms <= now)
		ask_for_origins(store, now);
}

static uint64_t next_look_ms(const struct store *store)
{
	uint64_t due = due_ms(store);

	if (is_full(store) && !store->retry_ms && store->space_ms + FULL_LOOK_MS < due)
		due = store->space_ms + FULL_LOOK_MS;
	if (store->ledger.held.count && clock_now_ms() + store->settings.origin_wait_ms / 10 < due)
		due = clock_now_ms() + store->settings.origin_wait_ms / 10;
	return due;
}

static bool one_round(struct store *store)
{
	bool is_stopping = __atomic_load_n(&store->is_stopping, __ATOMIC_ACQUIRE);

	/* What is acknowledged makes room; but what is in doubt must not change. */
	if (!store->is_broken) {
		writer_take_batches(store);
		look_at_held(store);
	}
	if (due_ms(store) <= clock_now_ms() || is_stopping) {
		if (store->retry_ms)
			try_again(store);
		else
			commit_all(store);
	}
	if (is_stopping)
		return !store->retry_ms && !mailbox_is_empty(store->mailbox);
	/* Whoever is refused posts nothing, so nothing else would find that there is room again. */
	if (is_full(store) && !store->retry_ms && clock_now_ms() - store->space_ms >= FULL_LOOK_MS)
		writer_space(store, true);
	sleep_until(store, next_look_ms(store));
	return true;
}

/* Recovery reads what was stored at start, on all workers: only then may it change. */
static void wait_for_recovery(struct store *store)
{
	while (__atomic_load_n(&store->recovering, __ATOMIC_ACQUIRE) &&
	       !__atomic_load_n(&store->is_stopping, __ATOMIC_ACQUIRE))
		sem_wait(&store->wake);
}

void *writer_main(void *argument)
{
	struct store *store = argument;

	counters_attach(&store->counters_writer);
	wait_for_recovery(store);
	while (one_round(store))
		;
	counters_detach(&store->counters_writer);
	return NULL;
}
