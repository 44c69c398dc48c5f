/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - what the broker answers to HTTP requests.
 *
 *	/healthz, /readyz   for those who watch over the process (probes of containers)
 *	/metrics            the counters, for Prometheus
 *	everything else     the files of http_dir, then those of the console
 *
 * Each listener says which of these it has. http calls net, and whatever renders what it answers;
 * who fills struct http_settings says what "ready" means.
 */
#ifndef NIGHTJAR_HTTP_HTTP_H
#define NIGHTJAR_HTTP_HTTP_H

#include "net/web.h"

struct http;

/* Off, on, or on for those who ask at one address of this machine. */
struct http_endpoint {
	bool is_on;
	bool is_bound;
	struct address at; /* when bound; the port does not count */
};

struct http_listener {
	uint16_t listener;
	struct http_endpoint health, metrics, console;
	const char *directory; /* http_dir; NULL: none. Borrowed for the life of struct http */
};

struct http_settings {
	const struct http_listener *listeners; /* copied */
	size_t listener_count;
	uint64_t started_ms; /* clock_now_ms() when the broker was started */
	/* Any worker. NULL: ready. Else why not, for the one who asks. */
	const char *(*why_not_ready)(void);
};

/* Main thread. Checks that the directories can be read. */
enum err http_create(const struct http_settings *settings, struct http **out,
		     struct err_detail *detail) ERR_CHECKED;
/* Main thread, before the workers start. */
void http_worker_init(struct http *http, struct worker *worker);
/* After the workers ended. */
void http_destroy(struct http **http);

/* struct web_hooks.on_request */
void http_on_request(struct worker *me, struct web_exchange *exchange,
		     const struct web_request *request);

#endif
