/* SPDX-License-Identifier: Apache-2.0 */
#include "server/persistence.h"

#include "base/bug.h"
#include "session/recover.h"
#include "store/commit_wait.h"

static const char *directory_of(const struct config *config)
{
	return config->persistence_location ? config->persistence_location : ".";
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

static void log_store(const struct broker *broker, const char *directory)
{
	struct store_figures figures;

	store_figures(broker->store, &figures);
	log_event(LOG_TYPE_INFORMATION, NULL,
		  "The store is in %s: durability %s, %llu MiB of at most %llu MiB used", directory,
		  store_durability_name(figures.durability),
		  (unsigned long long)(figures.used_bytes >> 20),
		  (unsigned long long)(figures.max_bytes >> 20));
}

bool persistence_is_on(const struct broker *broker)
{
	const struct config *config = broker_config(broker);

	return config->persistence && config->durability != STORE_NONE;
}

static enum err open_store(struct broker *broker, struct err_detail *detail)
{
	const struct config *config = broker_config(broker);
	const char *directory = directory_of(config);
	const struct store_settings settings = {
		.durability = config->durability,
		.directory = directory,
		.max_bytes = config->persistence_max_size,
		.workers = config->worker_threads,
	};
	enum err err = store_open(&settings, &broker->store, detail);

	if (err == ERR_NONE)
		log_store(broker, directory);
	return err;
}

static void on_store(struct worker *me)
{
	commit_wait_run(me);
	sessions_store_changed(me);
	sessions_name_origins(me);
}

/*
 * Start, while HTTP is answered already.
 *
 *	main: store opened --> all workers join it --> all read their parts --> a letter to each and
 *	back, behind which all that they have said to each other meanwhile has arrived --> groups
 *	--> wills, expiry --> serve
 */

static worker_hook serve_hook; /* frozen until all serve */

static void failed(struct broker *broker, enum err err, const struct err_detail *detail)
{
	if (!__atomic_exchange_n(&broker->recovery_failed, err, __ATOMIC_ACQ_REL))
		broker->recovery_detail = *detail;
}

static bool has_failed(struct broker *broker)
{
	return __atomic_load_n(&broker->recovery_failed, __ATOMIC_ACQUIRE) != ERR_NONE;
}

static void serve(struct worker *me, void *context)
{
	(void)context;
	serve_hook(me);
}

static void all_serve(void *context)
{
	struct broker *broker = context;

	uv_sem_post(&broker->recovered);
}

static void restore_groups(struct worker *me, void *context)
{
	(void)context;
	sessions_recover_groups(me);
}

static void finish(struct worker *me, void *context)
{
	struct broker *broker = context;

	sessions_recover_finish(me, store_wall_now_ms(broker->store));
}

/* Ready before the first is served: who looks at once sees it. */
static void all_finished(void *context)
{
	struct broker *broker = context;

	broker_web_set_phase(BROKER_SERVES);
	runtime_on_every_worker(broker->runtime, serve, all_serve, context);
}

static void nothing(struct worker *me, void *context)
{
	(void)me;
	(void)context;
}

/* A will may go to a group of another worker, which has to be there with all that it had. */
static void groups_are_there(void *context)
{
	struct broker *broker = context;

	runtime_on_every_worker(broker->runtime, finish, all_finished, context);
}

static void all_heard(void *context)
{
	struct broker *broker = context;

	runtime_on_every_worker(broker->runtime, restore_groups, groups_are_there, context);
}

static void part_recovered(struct worker *me, enum err err, const struct err_detail *detail,
			   void *context)
{
	struct broker *broker = context;
	unsigned workers = runtime_worker_count(broker->runtime);

	(void)me;
	if (err != ERR_NONE)
		failed(broker, err, detail);
	if (__atomic_add_fetch(&broker->parts_recovered, 1, __ATOMIC_ACQ_REL) < workers)
		return;
	if (has_failed(broker))
		uv_sem_post(&broker->recovered);
	else
		runtime_on_every_worker(broker->runtime, nothing, all_heard, broker);
}

static void recover(struct worker *me, void *context)
{
	struct err_detail detail = {.text = "No memory to read the store."};

	if (sessions_recover(me, part_recovered, context) != ERR_NONE)
		part_recovered(me, ERR_NOMEM, &detail, context);
}

static void join(struct worker *me, void *context)
{
	struct broker *broker = context;
	struct err_detail detail = {.text = "No memory, or no room on the disk, for the store."};
	enum err err = store_worker_init(broker->store, me);

	if (err == ERR_NONE)
		err = commit_wait_init(me);
	if (err != ERR_NONE) {
		failed(broker, err, &detail);
		return;
	}
	store_set_hook(me, on_store);
#ifdef NIGHTJAR_DEBUG
	worker_add_flush_hook(me, sessions_audit);
#endif
}

static void all_joined(void *context)
{
	struct broker *broker = context;

	if (has_failed(broker))
		uv_sem_post(&broker->recovered);
	else
		runtime_on_every_worker(broker->runtime, recover, NULL, broker);
}

enum err persistence_start(struct broker *broker, worker_hook hook, struct err_detail *detail)
{
	enum err err;

	if (!persistence_is_on(broker)) {
		log_memory_only(broker_config(broker));
		return ERR_NONE;
	}
	if (uv_sem_init(&broker->recovered, 0) != 0)
		return err_set(detail, ERR_NOMEM, "No memory to start the store.");
	err = open_store(broker, detail);
	if (err == ERR_NONE) {
		serve_hook = hook;
		retained_restore_begin(route_retained(runtime_worker(broker->runtime, 0)),
				       store_retained_version(broker->store));
		runtime_on_every_worker(broker->runtime, join, all_joined, broker);
		uv_sem_wait(&broker->recovered);
		*detail = broker->recovery_detail;
		err = broker->recovery_failed;
	}
	uv_sem_destroy(&broker->recovered);
	return err;
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
}
