/* SPDX-License-Identifier: Apache-2.0 */
#include "session/broker_sessions.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/log.h"
#include "session/client.h"
#include "session/keep.h"

#define LOOK_THROUGH_SLICE 500u

enum err sessions_create(struct runtime *runtime, struct route *route, struct session_world **out)
{
	struct session_world *world = calloc(1, sizeof *world);

	*out = NULL;
	if (!world)
		return ERR_NOMEM;
	world->runtime = runtime;
	world->route = route;
	if (registry_create(&world->registry) != ERR_NONE) {
		free(world);
		return ERR_NOMEM;
	}
	*out = world;
	return ERR_NONE;
}

void sessions_destroy(struct session_world **world)
{
	if (!*world)
		return;
	for (unsigned i = 0; i < runtime_worker_count((*world)->runtime); i++) {
		struct worker *worker = runtime_worker((*world)->runtime, (uint16_t)i);
		struct session_worker *mine = session_worker_of(worker);

		if (!mine)
			continue;
		room_fini(mine);
		acl_view_destroy(&mine->source_view);
		session_settings_unref(&mine->settings);
		free(mine->scratch);
		free(mine);
		worker->slot[WORKER_SLOT_SESSION] = NULL;
	}
	registry_destroy(&(*world)->registry);
	free(*world);
	*world = NULL;
}

enum err sessions_worker_init(struct session_world *world, struct worker *worker,
			      struct session_settings *settings)
{
	struct session_worker *mine = calloc(1, sizeof *mine);

	if (!mine)
		return ERR_NOMEM;
	mine->world = world;
	mine->settings = settings;
	session_settings_ref(settings);
	worker->slot[WORKER_SLOT_SESSION] = mine;
	worker_add_reap_hook(worker, client_post_moving);
	room_init(mine);
	return ERR_NONE;
}

void sessions_serve(struct worker *me)
{
	struct endpoint *endpoint;
	uint32_t cursor = 0;

	session_worker_of(me)->is_serving = true;
	while ((endpoint = route_next_endpoint(me, &cursor)) != NULL)
		if (endpoint->ops == &client_endpoint_ops)
			client_on_serving(TIMER_OWNER(endpoint, struct client, endpoint));
}

struct slice session_mount(struct worker *me, const struct listener_profile *profile,
			   struct slice topic)
{
	struct session_worker *mine = session_worker_of(me);
	size_t len = profile->mount_point.len + topic.len;

	if (len > mine->scratch_cap) {
		uint8_t *scratch = realloc(mine->scratch, len);

		if (!scratch)
			return SLICE_NONE;
		mine->scratch = scratch;
		mine->scratch_cap = len;
	}
	memcpy(mine->scratch, profile->mount_point.data, profile->mount_point.len);
	memcpy(mine->scratch + profile->mount_point.len, topic.data, topic.len);
	return slice_of(mine->scratch, len);
}

/* Reload. */

/* A walk over this worker's sessions after a reload. Deliveries do not wait for it. */
struct look_through {
	struct task task;		   /* first member */
	struct session_settings *settings; /* those that the walk is for; one reference */
	uint32_t cursor;
	void (*done)(struct worker *me, void *context);
	void *context;
};

static bool look_through_run(struct worker *me, struct task *task)
{
	struct look_through *walk = (struct look_through *)(void *)task;

	for (unsigned i = 0; i < LOOK_THROUGH_SLICE; i++) {
		struct endpoint *endpoint = route_next_endpoint(me, &walk->cursor);
		struct session *session = (struct session *)(void *)endpoint;

		if (!endpoint) {
			if (walk->done)
				walk->done(me, walk->context);
			session_settings_unref(&walk->settings);
			free(walk);
			return false;
		}
		if (endpoint->ops != &session_endpoint_ops)
			continue;
		trace_set(me, session);
		(void)rights_refresh(me, session);
	}
	return true;
}

void sessions_configure(struct worker *me, struct session_settings *settings,
			void (*done)(struct worker *me, void *context), void *context)
{
	struct session_worker *mine = session_worker_of(me);
	struct look_through *walk = calloc(1, sizeof *walk);

	BUG_ON(!walk);
	session_settings_unref(&mine->settings);
	mine->settings = settings;
	session_settings_ref(settings);
	route_configure(me, &settings->route);
	shared_configure(me, &settings->shared);
	walk->task.run = look_through_run;
	walk->settings = settings;
	session_settings_ref(settings);
	walk->done = done;
	walk->context = context;
	worker_add_task(me, &walk->task);
}

/* It is seldom asked for, and then nothing else matters as much: in one go. */
void sessions_name_origins(struct worker *me)
{
	struct endpoint *endpoint;
	uint32_t cursor = 0;

	if (session_worker_of(me)->is_stopping || !store_asks_for_origins(me))
		return;
	while ((endpoint = route_next_endpoint(me, &cursor)) != NULL) {
		const struct session *session = (const struct session *)(const void *)endpoint;

		if (endpoint->ops == &session_endpoint_ops && session->kept)
			publishing_name(me, session);
	}
	wills_name(me);
	store_origins_named(me);
}

/* Stop. */

void sessions_stop(struct worker *me)
{
	struct endpoint *endpoint;
	uint32_t cursor = 0;

	session_worker_of(me)->is_stopping = true;
	shared_worker_stop(me);
	room_stop(me);
	while ((endpoint = route_next_endpoint(me, &cursor)) != NULL) {
		if (endpoint->ops == &client_endpoint_ops)
			client_close(TIMER_OWNER(endpoint, struct client, endpoint),
				     CLOSE_SHUTTING_DOWN, 0, NULL);
	}
}

bool sessions_are_gone(struct worker *me)
{
	return session_worker_of(me)->clients == 0;
}

void sessions_discard_all(struct worker *me)
{
	struct endpoint *endpoint;
	uint32_t cursor = 0;

	wills_forget(me);
	while ((endpoint = route_next_endpoint(me, &cursor)) != NULL) {
		struct session *session = (struct session *)(void *)endpoint;

		if (endpoint->ops != &session_endpoint_ops)
			continue;
		keep_forget(me, session);
		will_free(me, &session->will);
		session_end(me, &session);
	}
}
