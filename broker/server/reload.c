/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.c - SIGHUP: a new configuration is read and checked whole, beside the one in force, and only
 * then takes its place, worker by worker.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "net/web.h"
#include "server/broker.h"
#include "server/broker_tls.h"
#include "server/service_manager.h"
#include "server/sys_topics.h"

/* One reload on its way through the workers. */
struct reload {
	struct broker *broker;
	struct session_settings *settings; /* one reference */
	unsigned workers_left;		   /* atomic */
};

enum err broker_open_log(const struct config *config, struct err_detail *detail)
{
	struct log_settings settings;

	config_log_settings(config, &settings);
	if (config->log_to_topic)
		settings.to_topic = sys_topics_log;
	return log_open(&settings, detail);
}

static void on_looked_through(struct worker *me, void *context)
{
	struct reload *reload = context;

	(void)me;
	if (__atomic_sub_fetch(&reload->workers_left, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	__atomic_add_fetch(&reload->broker->reloads_done, 1, __ATOMIC_RELEASE);
	uv_async_send(&reload->broker->wake);
	session_settings_unref(&reload->settings);
	free(reload);
}

static void configure_worker(struct worker *me, void *context)
{
	struct reload *reload = context;

	if (me->id == 0)
		sys_topics_set_interval(me, snapshot_config(reload->settings)->sys_interval_s);
	web_set_connect_timeout(me, reload->settings->connect_timeout_ms);
	broker_configure_net(me, snapshot_config(reload->settings));
	sessions_configure(me, reload->settings, on_looked_through, reload);
}

static void log_list(enum log_type type, const char *before, const struct config_errors *list)
{
	for (size_t i = 0; i < list->count; i++)
		log_event(type, NULL, "%s%s", before, list->text[i]);
}

/* Why the last reload failed, for who asked for it: one line a reason. Main thread. */
static char failure[4096];

static void keep_failure(const char *why)
{
	size_t len = strlen(failure);

	snprintf(failure + len, sizeof failure - len, "%s%s", len ? "\n" : "", why);
}

static void reload_failed(const char *why)
{
	keep_failure(why);
	log_event(LOG_TYPE_ERROR, NULL, "Reload failed, everything stays as it was: %s", why);
}

/* The log is switched first: it can fail, and nothing else has changed then. */
static struct session_settings *prepare(struct broker *broker)
{
	static struct config_errors errors, report; /* too large for the stack */
	struct err_detail detail;
	struct session_settings *settings = NULL;
	struct config *fresh = NULL;

	report.count = 0;
	if (config_reload(broker_config(broker), &broker->line.overrides, &fresh, &errors,
			  &report) != ERR_NONE) {
		log_list(LOG_TYPE_ERROR, "Reload failed, everything stays as it was: ", &errors);
		for (size_t i = 0; i < errors.count; i++)
			keep_failure(errors.text[i]);
		return NULL;
	}
	if (snapshot_create(fresh, broker->listeners, broker->hooks, &settings, &detail) !=
	    ERR_NONE) {
		reload_failed(detail.text);
		config_destroy(fresh);
		return NULL;
	}
	if (broker_open_log(fresh, &detail) != ERR_NONE) {
		reload_failed(detail.text);
		session_settings_unref(&settings);
		return NULL;
	}
	log_list(LOG_TYPE_WARNING, "", &report);
	return settings;
}

/* Earlier reloads may still be on their way; the last one to end says so. */
static void tell_end(struct broker *broker)
{
	if (broker->reloads_begun == broker->reloads_logged && !broker->is_stopping)
		service_manager_ready();
}

const char *broker_reload(struct broker *broker)
{
	struct session_settings *settings;
	struct err_detail detail;
	struct reload *reload;

	service_manager_reloading();
	failure[0] = '\0';
	settings = prepare(broker);
	if (!settings) {
		/* Whoever moved the log files away asked for new ones all the same. */
		(void)!broker_open_log(broker_config(broker), &detail);
		tell_end(broker);
		return failure;
	}
	reload = calloc(1, sizeof *reload);
	if (!reload) {
		session_settings_unref(&settings);
		reload_failed("no memory.");
		tell_end(broker);
		return failure;
	}
	reload->broker = broker;
	reload->settings = settings;
	reload->workers_left = runtime_worker_count(broker->runtime);
	session_settings_ref(settings);
	session_settings_unref(&broker->settings);
	broker->settings = settings;
	broker_tls_reload(broker, broker_config(broker));
	memory_limit_set(broker_config(broker)->memory_limit);
	broker->reloads_begun++;
	runtime_on_every_worker(broker->runtime, configure_worker, NULL, reload);
	return NULL;
}

void broker_reload_report(struct broker *broker)
{
	unsigned done = __atomic_load_n(&broker->reloads_done, __ATOMIC_ACQUIRE);

	if (broker->reloads_logged == done)
		return;
	while (broker->reloads_logged != done) {
		broker->reloads_logged++;
		log_event(LOG_TYPE_NOTICE, NULL, "Configuration reloaded");
	}
	tell_end(broker);
}
