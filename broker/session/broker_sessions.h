/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_sessions.h - what server does with the sessions as a whole: start, reload, stop.
 */
#ifndef NIGHTJAR_SESSION_BROKER_SESSIONS_H
#define NIGHTJAR_SESSION_BROKER_SESSIONS_H

#include "session/settings.h"

struct session_world;

/* Main thread, before the workers start; after net_worker_init() and route_worker_init(). */
enum err sessions_create(struct runtime *runtime, struct route *route,
			 struct session_world **out) ERR_CHECKED;
enum err sessions_worker_init(struct session_world *world, struct worker *worker,
			      struct session_settings *settings) ERR_CHECKED;
/* After the workers ended. */
void sessions_destroy(struct session_world **world);

/* On a worker: from now on CONNECT is answered. What has come until then has waited. */
void sessions_serve(struct worker *me);

/*
 * On a worker: from now on these settings hold (a reference is taken). Sessions are looked through
 * in slices; done runs when that is over, on this worker.
 */
void sessions_configure(struct worker *me, struct session_settings *settings,
			void (*done)(struct worker *me, void *context), void *context);

/* On a worker: the store has got or lost room, or has committed something. */
void sessions_store_changed(struct worker *me);

/* On a worker: tells the store what of the sessions is on its way, if it asks for that. */
void sessions_name_origins(struct worker *me);

/* On a worker, in debug builds, at the end of a turn: nothing of some of its sessions is forgotten. */
void sessions_audit(struct worker *me);

/*
 * On a worker: refuses what is new, says goodbye to all clients (0x8B to those of version 5).
 * sessions_are_gone() is true once their connections are closed.
 */
void sessions_stop(struct worker *me);
bool sessions_are_gone(struct worker *me);
/* On the worker, after that: ends all sessions, so that the worker can be freed. */
void sessions_discard_all(struct worker *me);

#endif
