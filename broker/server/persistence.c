/* SPDX-License-Identifier: Apache-2.0 */
#include "server/persistence.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bug.h"
#include "session/recover.h"
#include "store/commit_wait.h"

static const char *directory_of(const struct config *config)
{
	return config->persistence_location ? config->persistence_location : ".";
}

static bool has_file(const char *directory, const char *name)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

static void log_memory_only(const struct config *config)
{
	if (config->persistence)
		log_event(
			LOG_TYPE_NOTICE, NULL,
			"'durability none' keeps sessions and retained messages in memory: they end "
			"with the broker");
	else
		log_event(
			LOG_TYPE_NOTICE, NULL,
			"'persistence' is false: sessions and retained messages are kept in memory "
			"and end with the broker. Set 'persistence true' to keep them on disk.");
}

static void log_store(const struct broker *broker, const char *directory, bool was_empty)
{
	struct store_figures figures;

	store_figures(broker->store, &figures);
	log_event(LOG_TYPE_INFORMATION, NULL,
		  "The store is in %s: durability %s, %llu MiB of at most %llu MiB used", directory,
		  store_durability_name(figures.durability),
		  (unsigned long long)(figures.used_bytes >> 20),
		  (unsigned long long)(figures.max_bytes >> 20));
	if (was_empty && has_file(directory, "mosquitto.db"))
		log_event(
			LOG_TYPE_NOTICE, NULL,
			"There is a mosquitto.db in %s, and the store is empty. To take its sessions and "
			"retained messages over, stop the broker and run: nightjar-store import-mosquitto "
			"%s/mosquitto.db %s",
			directory, directory, directory);
}

enum err persistence_open(struct broker *broker, struct err_detail *detail)
{
	const struct config *config = broker_config(broker);
	const char *directory = directory_of(config);
	const struct store_settings settings = {
		.durability = config->durability,
		.directory = directory,
		.max_bytes = config->persistence_max_size,
		.workers = config->worker_threads,
	};
	bool was_empty = !has_file(directory, "data.mdb");
	enum err err;

	if (!config->persistence || config->durability == STORE_NONE) {
		log_memory_only(config);
		return ERR_NONE;
	}
	if (uv_sem_init(&broker->recovered, 0) != 0)
		return err_set(detail, ERR_NOMEM, "No memory to start the store.");
	err = store_open(&settings, &broker->store, detail);
	if (err != ERR_NONE)
		uv_sem_destroy(&broker->recovered);
	else
		log_store(broker, directory, was_empty);
	return err;
}

static void on_store(struct worker *me)
{
	commit_wait_run(me);
	sessions_store_changed(me);
}

enum err persistence_worker_init(struct broker *broker, struct worker *worker)
{
	enum err err;

	if (!broker->store)
		return ERR_NONE;
	err = store_worker_init(broker->store, worker);
	if (err == ERR_NONE)
		err = commit_wait_init(worker);
	if (err == ERR_NONE)
		store_set_hook(worker, on_store);
	return err;
}

/*
 * Recovery.
 *
 *	all workers read their parts --> a letter to each and back, behind which all that they have said
 *	to each other meanwhile has arrived --> groups, wills, expiry --> serve
 */

static struct broker *starting; /* frozen until all serve */
static worker_hook serve_hook;

static void serve(struct worker *me, void *context)
{
	(void)context;
	serve_hook(me);
}

static void all_serve(void *context)
{
	struct broker *broker = context;

	if (broker->store)
		uv_sem_post(&broker->recovered);
}

static void finish(struct worker *me, void *context)
{
	struct broker *broker = context;

	sessions_recover_finish(me, store_wall_now_ms(broker->store));
}

/* Ready before the first is served: who looks at once sees it. */
static void all_finished(void *context)
{
	broker_web_set_ready(true);
	runtime_on_every_worker(starting->runtime, serve, all_serve, context);
}

static void nothing(struct worker *me, void *context)
{
	(void)me;
	(void)context;
}

static void all_heard(void *context)
{
	runtime_on_every_worker(starting->runtime, finish, all_finished, context);
}

static void part_recovered(struct worker *me, enum err err, const struct err_detail *detail,
			   void *context)
{
	struct broker *broker = context;
	unsigned workers = runtime_worker_count(broker->runtime);

	(void)me;
	if (err != ERR_NONE &&
	    !__atomic_exchange_n(&broker->recovery_failed, err, __ATOMIC_ACQ_REL))
		broker->recovery_detail = *detail;
	if (__atomic_add_fetch(&broker->parts_recovered, 1, __ATOMIC_ACQ_REL) < workers)
		return;
	if (__atomic_load_n(&broker->recovery_failed, __ATOMIC_ACQUIRE) != ERR_NONE)
		uv_sem_post(&broker->recovered);
	else
		runtime_on_every_worker(broker->runtime, nothing, all_heard, broker);
}

void persistence_worker_start(struct worker *me, struct broker *broker, worker_hook hook)
{
	struct err_detail detail = {.text = "No memory to read the store."};

	if (!broker->store) {
		broker_web_set_ready(true);
		hook(me);
		return;
	}
	__atomic_store_n(&starting, broker, __ATOMIC_RELAXED);
	__atomic_store_n(&serve_hook, hook, __ATOMIC_RELAXED);
	if (sessions_recover(me, part_recovered, broker) != ERR_NONE)
		part_recovered(me, ERR_NOMEM, &detail, broker);
}

enum err persistence_wait(struct broker *broker, struct err_detail *detail)
{
	if (!broker->store) {
		return ERR_NONE;
	}
	uv_sem_wait(&broker->recovered);
	*detail = broker->recovery_detail;
	return broker->recovery_failed;
}

void persistence_worker_fini(struct worker *worker)
{
	commit_wait_fini(worker);
	store_worker_fini(worker);
}

void persistence_close(struct broker *broker)
{
	if (!broker->store)
		return;
	store_close(&broker->store);
	uv_sem_destroy(&broker->recovered);
}
