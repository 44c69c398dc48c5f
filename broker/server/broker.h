/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.h - one running broker: what server.c starts, reloads and stops.
 *
 * Owner: the main thread.
 */
#ifndef NIGHTJAR_SERVER_BROKER_H
#define NIGHTJAR_SERVER_BROKER_H

#include <uv.h>

#include "server/command_line.h"
#include "server/control.h"
#include "server/memory_return.h"
#include "server/signals.h"
#include "server/snapshot.h"
#include "session/broker_sessions.h"

struct broker_tls;
struct trusted_addresses;

struct broker {
	struct command_line line;
	const struct authority_hooks *hooks;
	struct session_settings *settings; /* in force; one reference */
	struct runtime *runtime;
	struct route *route;
	struct session_world *world;
	struct listener **listeners;
	size_t listener_count;
	struct broker_web *web; /* NULL: no listener speaks HTTP */
	struct broker_tls *tls;
	struct trusted_addresses **trusted; /* of each listener; NULL: it trusts nobody */

	uv_loop_t loop;
	struct signals signals;
	uv_async_t wake;       /* something below has changed */
	uv_timer_t stop_timer; /* looks whether all have gone */
	struct memory_return memory;
	struct control *control; /* NULL: no control_socket */
	uint64_t started_ms;	 /* clock_now_ms() */
	bool has_pid_file;	 /* we wrote it */
	bool is_stopping;
	unsigned stop_ticks;
	/* Written by workers, atomic. */
	unsigned workers_busy; /* that still have clients while stopping */
	bool has_looked;       /* all workers have counted themselves in workers_busy */
	unsigned reloads_done;
	unsigned reloads_logged;
	unsigned reloads_begun; /* that passed the check */

	/* persistence.c */
	bool has_persistence;	  /* as it was at the start, because workers ask */
	struct store *store;	  /* NULL: all is in memory */
	uv_sem_t recovered;	  /* all workers serve, or the store could not be read */
	unsigned parts_recovered; /* atomic */
	enum err recovery_failed; /* atomic */
	struct err_detail recovery_detail;
};

static inline const struct config *broker_config(const struct broker *broker)
{
	return snapshot_config(broker->settings);
}

/* Opens the listeners, reads users and rights, drops the rights of root. Takes config over, also
 * when it fails. */
enum err broker_open_take(struct broker *broker, struct config *config,
			  struct err_detail *detail) ERR_CHECKED;
/* Starts the workers; from here on clients are served. */
enum err broker_start(struct broker *broker, struct err_detail *detail) ERR_CHECKED;
/* Before the workers start: from now on signals wait for broker_run(). */
void broker_watch_signals(struct broker *broker);
/* Handles signals until the broker has stopped. */
void broker_run(struct broker *broker);
/* Frees everything; after broker_run(), or whatever failed before. */
void broker_close(struct broker *broker);

/* broker_web.c: WebSocket and HTTP. The lists and texts of the first configuration stay in force. */
enum err broker_web_open(struct broker *broker, struct err_detail *detail) ERR_CHECKED;
enum err broker_web_init_worker(struct broker *broker, struct worker *worker,
				struct err_detail *detail) ERR_CHECKED;
void broker_web_fini_worker(struct broker *broker, struct worker *worker);
void broker_web_close(struct broker *broker);
/* struct listener_settings.on_http */
bool broker_web_accept(struct worker *me, const struct newcomer *newcomer, bool is_tls);
/* Any thread: what /readyz says. */
enum broker_phase { BROKER_STARTING, BROKER_READS_STORE, BROKER_SERVES, BROKER_STOPS };
void broker_web_set_phase(enum broker_phase phase);

/* What net has to know of the configuration, for one worker: before it starts, or on it. */
void broker_configure_net(struct worker *worker, const struct config *config);

/* reload.c: SIGHUP. What fails leaves everything as it was, and says so in the log. NULL: the
 * workers are taking it over; else what is wrong, valid until the next call. */
const char *broker_reload(struct broker *broker);
/* Says "reloaded" for those that all workers have finished. */
void broker_reload_report(struct broker *broker);
enum err broker_open_log(const struct config *config, struct err_detail *detail) ERR_CHECKED;

#endif
