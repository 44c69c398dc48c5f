/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_tls.c - the TLS of the listeners: read at start, again on SIGHUP, and (tls_watch) whenever a
 * file changes.
 *
 * Renewing a certificate is often a dozen steps: files are written, renamed, links are changed. So a
 * change is only taken up when two looks, WATCH_SETTLE_MS apart, have seen the same. Directories are watched, and
 * not files, because a file that is replaced by another under its name is not heard of again. Where
 * nothing can be heard (some network file systems) the files are looked at every WATCH_LOOK_MS.
 */
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/broker.h"
#include "server/broker_tls.h"

#define WATCH_SETTLE_MS 300
#define WATCH_LOOK_MS 30000
#define WATCH_DIRECTORIES_MAX 64

struct watched_directory {
	uv_fs_event_t event;
	char path[4096];
};

struct broker_tls {
	struct broker *broker;
	struct tls_server **servers; /* one per listener; NULL: none */
	uint64_t *signatures;	     /* what the files of each looked like when they were read */
	uint64_t *last_seen;	     /* and at the last look */
	size_t count;
	uv_timer_t timer;
	struct watched_directory *directories[WATCH_DIRECTORIES_MAX];
	size_t directory_count;
	bool is_watching;
	bool is_looking; /* something was heard: the timer looks soon */
};

/* Settings. */

static void fill_settings(const struct config_listener *from, const char *name,
			  struct tls_settings *out)
{
	_Static_assert(sizeof(struct tls_certificate) == sizeof(struct config_certificate),
		       "both are two paths");
	*out = (struct tls_settings){
		.listener = name,
		.certfile = from->tls.certfile,
		.keyfile = from->tls.keyfile,
		.sni = (const struct tls_certificate *)(const void *)from->tls.sni,
		.sni_count = from->tls.sni_count,
		.cafile = from->tls.cafile,
		.capath = from->tls.capath,
		.require_certificate = from->tls.require_certificate,
		.crlfile = from->tls.crlfile,
		.tls_version = from->tls.tls_version,
		.ciphers = from->tls.ciphers,
		.ciphers_tls13 = from->tls.ciphers_tls13,
		.dhparamfile = from->tls.dhparamfile,
		.psk_hint = from->tls.psk_hint,
		.psk_file = from->access.psk_file,
		.ocsp_file = from->tls.ocsp_file,
	};
}

static const char *name_of(const struct config_listener *listener, char *out, size_t cap)
{
	if (listener->unix_path)
		snprintf(out, cap, "%s", listener->unix_path);
	else
		snprintf(out, cap, "%u", listener->port);
	return out;
}

static void visit_files(const struct config_listener *listener,
			void (*visit)(const char *path, void *context), void *context)
{
	const struct config_tls *tls = &listener->tls;
	const char *paths[] = {tls->certfile,  tls->keyfile,
			       tls->cafile,    tls->capath,
			       tls->crlfile,   tls->dhparamfile,
			       tls->ocsp_file, tls->psk_hint ? listener->access.psk_file : NULL};

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		if (paths[i])
			visit(paths[i], context);
	}
	for (size_t i = 0; i < tls->sni_count; i++) {
		visit(tls->sni[i].certfile, context);
		visit(tls->sni[i].keyfile, context);
	}
}

static void add_to_signature(const char *path, void *context)
{
	uint64_t *signature = context;
	struct stat info = {0};

	(void)!stat(path, &info);
	*signature = *signature * 1000003u + (uint64_t)info.st_ino;
	*signature = *signature * 1000003u + (uint64_t)info.st_size;
	*signature = *signature * 1000003u + (uint64_t)info.st_mtim.tv_sec;
	*signature = *signature * 1000003u + (uint64_t)info.st_mtim.tv_nsec;
}

static uint64_t signature_of(const struct config_listener *listener)
{
	uint64_t signature = 1;

	visit_files(listener, add_to_signature, &signature);
	return signature;
}

/* Start. */

enum err broker_tls_open(struct broker *broker, const struct config *config,
			 struct err_detail *detail)
{
	struct broker_tls *all = calloc(1, sizeof *all);
	enum err err = ERR_NONE;
	char name[120];

	broker->tls = all;
	if (all) {
		all->broker = broker;
		all->servers = calloc(config->listener_count, sizeof(struct tls_server *));
		all->signatures = calloc(config->listener_count, sizeof *all->signatures);
		all->last_seen = calloc(config->listener_count, sizeof *all->last_seen);
	}
	if (!all || !all->servers || !all->signatures || !all->last_seen)
		return err_set(detail, ERR_NOMEM, "No memory for TLS.");
	all->count = config->listener_count;
	for (size_t i = 0; i < all->count && err == ERR_NONE; i++) {
		const struct config_listener *listener = &config->listeners[i];
		struct tls_settings settings;

		if (!config_tls_is_on(&listener->tls))
			continue;
		fill_settings(listener, name_of(listener, name, sizeof name), &settings);
		all->signatures[i] = signature_of(listener);
		err = tls_server_create(&settings, &all->servers[i], detail);
	}
	return err;
}

struct tls_server *broker_tls_server(const struct broker *broker, size_t listener)
{
	return broker->tls->servers[listener];
}

void broker_tls_close(struct broker *broker)
{
	struct broker_tls *all = broker->tls;

	if (!all)
		return;
	for (size_t i = 0; all->servers && i < all->count; i++)
		tls_server_destroy(&all->servers[i]);
	free(all->servers);
	free(all->signatures);
	free(all->last_seen);
	free(all);
	broker->tls = NULL;
}

void broker_tls_check(const struct config *config, struct config_errors *errors)
{
	struct tls_settings settings;
	struct err_detail detail;
	char name[120];

	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];

		if (!config_tls_is_on(&listener->tls))
			continue;
		fill_settings(listener, name_of(listener, name, sizeof name), &settings);
		if (tls_settings_check(&settings, &detail) != ERR_NONE)
			config_errors_add(errors, "%s", detail.text);
	}
}

/* Again. */

static void reload_one(struct broker_tls *all, size_t i, const struct config_listener *listener)
{
	struct tls_settings settings;
	struct err_detail detail;
	char name[120];

	fill_settings(listener, name_of(listener, name, sizeof name), &settings);
	all->signatures[i] = signature_of(listener);
	if (tls_server_reload(all->servers[i], &settings, &detail) != ERR_NONE)
		log_event(LOG_TYPE_ERROR, NULL,
			  "Listener %s keeps the certificates that it has, because the new ones "
			  "cannot be used: %s",
			  settings.listener, detail.text);
	else
		log_event(LOG_TYPE_INFORMATION, NULL,
			  "Listener %s has read its certificates again; open connections stay",
			  settings.listener);
}

static void stop_watching(struct broker_tls *all);
static void start_watching(struct broker_tls *all, const struct config *config);

void broker_tls_reload(struct broker *broker, const struct config *config)
{
	struct broker_tls *all = broker->tls;

	for (size_t i = 0; i < all->count && i < config->listener_count; i++) {
		if (all->servers[i])
			reload_one(all, i, &config->listeners[i]);
	}
	stop_watching(all);
	start_watching(all, config);
}

/* Watching. */

static void on_look(uv_timer_t *timer);

static void look_soon(struct broker_tls *all)
{
	/* Not put off by what comes meanwhile: the log may lie in the same directory. */
	if (all->is_looking)
		return;
	all->is_looking = true;
	uv_timer_start(&all->timer, on_look, WATCH_SETTLE_MS, 0);
}

static void on_look(uv_timer_t *timer)
{
	struct broker_tls *all = timer->data;
	const struct config *config = broker_config(all->broker);
	bool has_changed = false, is_changing = false;

	all->is_looking = false;
	for (size_t i = 0; i < all->count && i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];
		uint64_t seen = all->servers[i] ? signature_of(listener) : 0;

		if (!all->servers[i] || seen == all->signatures[i])
			continue;
		if (seen == all->last_seen[i]) {
			reload_one(all, i, listener);
			has_changed = true;
		} else {
			all->last_seen[i] = seen;
			is_changing = true;
		}
	}
	if (has_changed) {
		/* A link may lead to another directory now. */
		stop_watching(all);
		start_watching(all, config);
	} else {
		uv_timer_start(&all->timer, on_look, WATCH_LOOK_MS, 0);
	}
	if (is_changing)
		look_soon(all);
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
	struct broker_tls *all = event->data;

	(void)name;
	(void)events;
	(void)status;
	look_soon(all);
}

static void watch_directory(struct broker_tls *all, const char *path)
{
	struct watched_directory *directory;

	for (size_t i = 0; i < all->directory_count; i++) {
		if (strcmp(all->directories[i]->path, path) == 0)
			return;
	}
	if (all->directory_count == WATCH_DIRECTORIES_MAX)
		return;
	directory = calloc(1, sizeof *directory);
	if (!directory)
		return;
	snprintf(directory->path, sizeof directory->path, "%s", path);
	uv_fs_event_init(&all->broker->loop, &directory->event);
	uv_unref((uv_handle_t *)&directory->event);
	directory->event.data = all;
	all->directories[all->directory_count++] = directory;
	/* Without it there still is the look every WATCH_LOOK_MS. */
	if (uv_fs_event_start(&directory->event, on_event, path, 0) != 0)
		log_event(LOG_TYPE_WARNING, NULL,
			  "Cannot watch %s for changes: it is looked at every %d s instead.", path,
			  WATCH_LOOK_MS / 1000);
}

/* "live/x.crt", where live is a link: the directory that holds the link is watched as well. */
static void watch_links(struct broker_tls *all, char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct stat info;
		char *copy;

		*slash = '\0';
		copy = lstat(path, &info) == 0 && S_ISLNK(info.st_mode) ? strdup(path) : NULL;
		if (copy)
			watch_directory(all, dirname(copy));
		free(copy);
		*slash = '/';
	}
}

static void watch_file(const char *path, void *context)
{
	struct broker_tls *all = context;
	char *real = realpath(path, NULL);
	char *copy = *path ? strdup(path) : NULL;
	struct stat info;

	if (copy) {
		watch_links(all, copy);
		watch_directory(all, dirname(copy));
	}
	if (real && stat(real, &info) == 0)
		watch_directory(all, S_ISDIR(info.st_mode) ? real : dirname(real));
	free(copy);
	free(real);
}

static void start_watching(struct broker_tls *all, const struct config *config)
{
	if (!config->tls_watch || all->broker->is_stopping)
		return;
	if (!all->is_watching) {
		uv_timer_init(&all->broker->loop, &all->timer);
		uv_unref((uv_handle_t *)&all->timer);
		all->timer.data = all;
		all->is_watching = true;
	}
	for (size_t i = 0; i < all->count && i < config->listener_count; i++) {
		if (all->servers[i])
			visit_files(&config->listeners[i], watch_file, all);
	}
	uv_timer_start(&all->timer, on_look, WATCH_LOOK_MS, 0);
}

static void on_directory_closed(uv_handle_t *handle)
{
	free(handle); /* the first member */
}

static void stop_watching(struct broker_tls *all)
{
	for (size_t i = 0; i < all->directory_count; i++)
		uv_close((uv_handle_t *)&all->directories[i]->event, on_directory_closed);
	all->directory_count = 0;
	if (all->is_watching)
		uv_timer_stop(&all->timer);
	all->is_looking = false;
}

void broker_tls_start_watching(struct broker *broker)
{
	start_watching(broker->tls, broker_config(broker));
}

void broker_tls_stop_watching(struct broker *broker)
{
	struct broker_tls *all = broker->tls;

	stop_watching(all);
	if (all->is_watching)
		uv_close((uv_handle_t *)&all->timer, NULL);
	all->is_watching = false;
}
