/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - opens the parts, and closes them.
 *
 *	directory/nightjar.db       the tables (LMDB), with nightjar.db-lock of LMDB's own
 *	directory/nightjar.db.lock  held while a broker uses the directory
 *	directory/ring-N            durability process: worker N's batches on their way
 */
#include "store/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/replay.h"
#include "store/upgrade.h"

#define PATH_BYTES 4096
#define RING_MAX_BYTES (UINT64_C(16) << 20)
#define ORIGIN_WAIT_MS 10000
#define RING_MIN_BYTES (UINT64_C(1) << 20)

static uint64_t between(uint64_t low, uint64_t value, uint64_t high)
{
	return value < low ? low : value > high ? high : value;
}

uint64_t store_wall_now_ms(const struct store *store)
{
	uint64_t now = clock_wall_ms();

	return now > store->started_wall_ms ? now : store->started_wall_ms;
}

uint64_t store_wall_offset_ms(const struct store *store)
{
	return store_wall_now_ms(store) - clock_now_ms();
}

uint64_t store_retained_version(const struct store *store)
{
	return store->first_retained_version;
}

/* The directory. */

static enum err check_directory(const char *directory, struct err_detail *detail)
{
	struct stat status;

	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
		return err_set(detail, ERR_DENIED,
			       "Cannot make persistence_location %s: %s. Make it, for the user "
			       "that the broker runs as",
			       directory, strerror(errno));
	if (stat(directory, &status) != 0)
		return err_set(detail, ERR_DENIED, "Cannot look at persistence_location %s: %s",
			       directory, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		return err_set(detail, ERR_DENIED, "persistence_location %s is no directory",
			       directory);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(detail, ERR_DENIED,
			       "Others than its owner may write in persistence_location %s (mode "
			       "%03o). Run: chmod go-w %s",
			       directory, status.st_mode & 0777u, directory);
	if (status.st_uid != geteuid() && geteuid() != 0)
		return err_set(detail, ERR_DENIED,
			       "persistence_location %s belongs to user %u, and the broker runs as "
			       "%u. Run: chown %u %s",
			       directory, status.st_uid, geteuid(), geteuid(), directory);
	if (access(directory, R_OK | W_OK | X_OK) != 0)
		return err_set(detail, ERR_DENIED, "Cannot write in persistence_location %s: %s",
			       directory, strerror(errno));
	return ERR_NONE;
}

static enum err lock_directory(const char *directory, int *out_fd, struct err_detail *detail)
{
	char path[PATH_BYTES], text[32] = "";
	ssize_t length;
	int fd;

	snprintf(path, sizeof path, "%s/nightjar.db.lock", directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(detail, ERR_DENIED, "Cannot open %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		length = read(fd, text, sizeof text - 1);
		close(fd);
		text[length > 0 ? length : 0] = '\0';
		return err_set(detail, ERR_DENIED,
			       "Another broker (process %s) uses persistence_location %s. Stop it, "
			       "or give this one a directory of its own",
			       text[0] ? text : "unknown", directory);
	}
	length = snprintf(text, sizeof text, "%d", (int)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length)
		log_event(LOG_TYPE_WARNING, NULL, "Cannot write the process number into %s", path);
	*out_fd = fd;
	return ERR_NONE;
}

static void warn_of_mosquitto(const char *directory)
{
	char path[PATH_BYTES];
	struct stat status;

	snprintf(path, sizeof path, "%s/nightjar.db", directory);
	if (stat(path, &status) == 0)
		return;
	snprintf(path, sizeof path, "%s/mosquitto.db", directory);
	if (stat(path, &status) == 0)
		log_event(LOG_TYPE_NOTICE, NULL,
			  "There is a %s. To take over its sessions and retained messages, stop "
			  "this broker, and run: nightjar-store -d %s import-mosquitto %s",
			  path, directory, path);
}

static enum err open_tables(struct store *store, struct err_detail *detail)
{
	const struct store_settings *settings = &store->settings;
	char path[PATH_BYTES];
	struct kv_lmdb_settings lmdb = {.path = path, .max_bytes = settings->max_bytes};
	enum err err;

	if (!settings->directory)
		return kv_memory_open(settings->image, settings->max_bytes, &store->kv);
	err = check_directory(settings->directory, detail);
	if (err == ERR_NONE)
		err = lock_directory(settings->directory, &store->lock_fd, detail);
	if (err != ERR_NONE)
		return err;
	err = ring_check_versions(settings->directory, detail);
	if (err != ERR_NONE)
		return err;
	warn_of_mosquitto(settings->directory);
	snprintf(path, sizeof path, "%s/nightjar.db", settings->directory);
	return kv_lmdb_open(&lmdb, &store->kv, detail);
}

/* What an earlier `process` broker has left; then all that is in the ledger is written. */
static enum err replay(struct store *store, struct err_detail *detail)
{
	struct meta_record *meta = &store->ledger.meta;
	struct batch *batches = NULL;
	unsigned count = 0;
	enum err err = ERR_NONE;

	if (store->settings.directory)
		err = replay_rings(&store->ledger, store->settings.directory, &batches, &count,
				   detail);
	if (err == ERR_NONE) {
		memset(meta->applied, 0, sizeof meta->applied);
		meta->rings =
			store->settings.durability == STORE_PROCESS && store->settings.directory
				? store->settings.workers
				: 0;
		BUG_ON(getrandom(&meta->rings_nonce, sizeof meta->rings_nonce, 0) !=
		       sizeof meta->rings_nonce);
		err = writer_commit_now(store, detail);
	}
	replay_free(&batches);
	if (err == ERR_NONE && store->settings.directory)
		ring_remove_all(store->settings.directory, meta->rings);
	if (count)
		log_event(LOG_TYPE_NOTICE, NULL,
			  "%u batches that the last broker had not committed were taken over",
			  count);
	return err;
}

static enum err make_mailbox(struct store *store)
{
	store->mailbox = mailbox_create();
	if (!store->mailbox)
		return ERR_NOMEM;
	sem_init(&store->wake, 0, 0);
	pthread_mutex_init(&store->reader_lock, NULL);
	pthread_cond_init(&store->reader_wake, NULL);
	return ERR_NONE;
}

/* Signals are the main thread's. */
static enum err start_threads(struct store *store, struct err_detail *detail)
{
	sigset_t all, before;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&store->writer, NULL, writer_main, store);
	store->has_writer = !failed;
	if (!failed)
		failed = pthread_create(&store->reader, NULL, reader_main, store);
	store->has_reader = !failed;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return failed ? err_set(detail, ERR_IO, "Cannot start the store's threads: %s",
				strerror(failed))
		      : ERR_NONE;
}

static void freeze(struct store *store)
{
	const struct meta_record *meta = &store->ledger.meta;

	store->seed = meta->seed;
	store->next_id = meta->next_id;
	store->first_number = meta->next_number;
	store->first_retained_version = meta->retained_version;
	store->started_wall_ms = meta->wall_ms;
	store->recovering = store->settings.workers;
}

enum err store_open(const struct store_settings *settings, struct store **out,
		    struct err_detail *detail)
{
	struct store *store = aligned_alloc(64, (sizeof *store + 63) / 64 * 64);
	enum err err;

	*out = NULL;
	if (!store)
		return ERR_NOMEM;
	memset(store, 0, sizeof *store);
	store->settings = *settings;
	if (store->settings.max_bytes == 0)
		store->settings.max_bytes = UINT64_C(1) << 30;
	if (store->settings.origin_wait_ms == 0)
		store->settings.origin_wait_ms = ORIGIN_WAIT_MS;
	store->lock_fd = -1;
	store->state = STORE_OK;
	store->to_read_tail = &store->to_read;
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		store->batches_tail[i] = &store->batches[i];
	ledger_init(&store->ledger);
	store->ledger.workers = settings->workers;
	err = make_mailbox(store);
	if (err == ERR_NONE)
		err = open_tables(store, detail);
	if (err == ERR_NONE)
		err = upgrade_run(store->kv,
				  settings->upgrade_road ? settings->upgrade_road : &upgrade_road,
				  detail);
	if (err == ERR_NONE)
		err = ledger_load(&store->ledger, store->kv, detail);
	if (err == ERR_NONE) {
		store->started_wall_ms = store->ledger.meta.wall_ms;
		err = replay(store, detail);
	}
	if (err == ERR_NONE) {
		freeze(store);
		writer_space(store, true);
		err = start_threads(store, detail);
	}
	*out = store;
	if (err != ERR_NONE)
		store_close(out);
	return err;
}

static void free_fetches(struct batch *batch)
{
	struct fetch_request *request;

	while ((request = batch->fetches) != NULL) {
		batch->fetches = request->next;
		fetch_free(request);
	}
}

static void free_waiting(struct store *store)
{
	struct fetch_request *request;
	struct letter_node *node;
	bool is_busy;

	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		for (struct batch *batch = store->batches[i]; batch; batch = batch->next)
			free_fetches(batch);
		replay_free(&store->batches[i]);
	}
	while ((node = mailbox_take(store->mailbox, MAILBOX_LETTERS, &is_busy)) != NULL ||
	       is_busy) {
		struct batch *batch = (struct batch *)(void *)node;

		if (!batch)
			continue;
		free_fetches(batch);
		batch->next = NULL;
		replay_free(&batch);
	}
	while ((request = store->to_read) != NULL) {
		store->to_read = request->next;
		fetch_free(request);
	}
}

/* The threads have ended. */
static bool all_is_on_disk(const struct store *store)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		if (store->batches[i])
			return false;
	return store->has_writer && !store->retry_ms && mailbox_is_empty(store->mailbox);
}

void store_close(struct store **store_ref)
{
	struct store *store = *store_ref;
	bool rings_are_done;

	if (!store)
		return;
	__atomic_store_n(&store->is_stopping, true, __ATOMIC_RELEASE);
	sem_post(&store->wake);
	if (store->has_writer)
		pthread_join(store->writer, NULL);
	pthread_mutex_lock(&store->reader_lock);
	pthread_cond_broadcast(&store->reader_wake);
	pthread_mutex_unlock(&store->reader_lock);
	if (store->has_reader)
		pthread_join(store->reader, NULL);
	rings_are_done = store->ledger.meta.rings > 0 && all_is_on_disk(store);
	free_waiting(store);
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		if (store->workers[i])
			store_worker_fini(store->workers[i]->worker);
	if (rings_are_done)
		ring_remove_all(store->settings.directory, 0);
	ledger_fini(&store->ledger);
	if (store->kv)
		store->kv->ops->close(&store->kv);
	mailbox_destroy(&store->mailbox);
	sem_destroy(&store->wake);
	pthread_mutex_destroy(&store->reader_lock);
	pthread_cond_destroy(&store->reader_wake);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	free(store);
	*store_ref = NULL;
}

enum err store_worker_init(struct store *store, struct worker *worker)
{
	struct store_worker *mine = aligned_alloc(64, (sizeof *mine + 63) / 64 * 64);
	struct err_detail detail = {"out of memory"};

	if (!mine)
		return ERR_NOMEM;
	memset(mine, 0, sizeof *mine);
	mine->store = store;
	mine->worker = worker;
	mine->fetches_tail = &mine->fetches;
	mine->next_number = store->first_number;
	mine->wall_offset_ms = store_wall_offset_ms(store);
	pthread_mutex_init(&mine->arrivals.lock, NULL);
	mine->arrivals.tail = &mine->arrivals.first;
	mine->arrivals.is_empty = true;
	if (worker->id < store->ledger.meta.rings &&
	    ring_create(store->settings.directory, worker->id,
			between(RING_MIN_BYTES, store->settings.max_bytes / 64, RING_MAX_BYTES),
			store->ledger.meta.rings_nonce, &mine->ring, &detail) != ERR_NONE) {
		log_event(LOG_TYPE_ERROR, NULL, "%s", detail.text);
		free(mine);
		return ERR_IO;
	}
	store->workers[worker->id] = mine;
	/* Metrics may be asked for on another worker. */
	__atomic_store_n(&worker->slot[WORKER_SLOT_STORE], mine, __ATOMIC_RELEASE);
	/* What a turn has posted is with the writer before anybody can see what else it did. */
	worker_add_first_flush_hook(worker, posting_flush);
	return ERR_NONE;
}

void store_worker_fini(struct worker *worker)
{
	struct store_worker *mine = store_worker_of(worker);
	struct fetch_request *request;

	if (!mine)
		return;
	mine->store->workers[worker->id] = NULL;
	while ((request = mine->arrivals.first) != NULL) {
		mine->arrivals.first = request->next;
		fetch_free(request);
	}
	while ((request = mine->fetches) != NULL) {
		mine->fetches = request->next;
		fetch_free(request);
	}
	pthread_mutex_destroy(&mine->arrivals.lock);
	ring_close(&mine->ring);
	pack_fini(&mine->posts);
	free(mine);
	worker->slot[WORKER_SLOT_STORE] = NULL;
}

void store_set_hook(struct worker *worker, worker_hook hook)
{
	struct store_worker *mine = store_worker_of(worker);

	if (mine)
		mine->hook = hook;
}

void store_figures(const struct store *store, struct store_figures *out)
{
	*out = (struct store_figures){
		.state = (enum store_state)__atomic_load_n(&store->state, __ATOMIC_RELAXED),
		.durability = store->settings.durability,
		.file_bytes = __atomic_load_n(&store->file_bytes, __ATOMIC_RELAXED),
		.used_bytes = __atomic_load_n(&store->used_bytes, __ATOMIC_RELAXED),
		.max_bytes = store->settings.max_bytes,
		.waiting_bytes = __atomic_load_n(&store->waiting_bytes, __ATOMIC_RELAXED),
		.commits = __atomic_load_n(&store->commits, __ATOMIC_RELAXED),
		.last_commit_us = __atomic_load_n(&store->last_commit_us, __ATOMIC_RELAXED),
		.last_commit_records =
			__atomic_load_n(&store->last_commit_records, __ATOMIC_RELAXED),
	};
	if (out->state == STORE_OK &&
	    out->waiting_bytes > __atomic_load_n(&store->busy_bytes, __ATOMIC_RELAXED))
		out->state = STORE_BUSY;
}

const char *store_durability_name(enum store_durability durability)
{
	static const char *const names[] = {"disk", "process", "none"};

	return names[durability];
}

const char *store_state_name(enum store_state state)
{
	static const char *const names[] = {"off", "ok", "busy", "full", "failed"};

	return names[state];
}
