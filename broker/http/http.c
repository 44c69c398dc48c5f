/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - which request gets which answer.
 */
#include "http/http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/http_parts.h"

enum err http_create(const struct http_settings *settings, struct http **out,
		     struct err_detail *detail)
{
	size_t count = settings->listener_count;
	struct http *http = calloc(1, sizeof *http);

	*out = NULL;
	if (!http)
		return err_set(detail, ERR_NOMEM, "No memory for HTTP.");
	http->settings = *settings;
	http->listeners = calloc(count + 1, sizeof *http->listeners);
	http->directories = calloc(count + 1, sizeof *http->directories);
	if (!http->listeners || !http->directories) {
		http->settings.listener_count = 0;
		http_destroy(&http);
		return err_set(detail, ERR_NOMEM, "No memory for HTTP.");
	}
	memcpy(http->listeners, settings->listeners, count * sizeof *http->listeners);
	for (size_t i = 0; i < count; i++)
		http->directories[i] = -1;
	for (size_t i = 0; i < count; i++) {
		const char *path = settings->listeners[i].directory;

		if (!path)
			continue;
		http->directories[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (http->directories[i] < 0) {
			int failed = errno;

			http_destroy(&http);
			return err_set(detail, ERR_IO,
				       "http_dir %s cannot be opened: %s. It must be a directory "
				       "that the broker's user may read.",
				       path, strerror(failed));
		}
	}
	*out = http;
	return ERR_NONE;
}

void http_worker_init(struct http *http, struct worker *worker)
{
	worker->slot[WORKER_SLOT_HTTP] = http;
}

void http_destroy(struct http **http_ref)
{
	struct http *http = *http_ref;

	if (!http)
		return;
	for (size_t i = 0; i < http->settings.listener_count; i++) {
		if (http->directories[i] >= 0)
			close(http->directories[i]);
	}
	free(http->listeners);
	free(http->directories);
	free(http);
	*http_ref = NULL;
}

void http_answer_text(struct worker *me, struct web_exchange *exchange, unsigned status,
		      const char *headers, const char *text)
{
	struct web_response response = {
		.status = status,
		.content_type = HTTP_TEXT_PLAIN,
		.headers = headers ? headers
				   : "Cache-Control: no-store\r\n"
				     "X-Content-Type-Options: nosniff\r\n",
		.body = slice_from_string(text),
	};

	web_answer(me, exchange, &response);
}

void http_answer_not_found(struct worker *me, struct web_exchange *exchange)
{
	http_answer_text(me, exchange, 404, NULL, "There is nothing here.\n");
}

bool http_etag_matches(struct slice if_none_match, const char *etag)
{
	size_t want = strlen(etag);

	if (if_none_match.len == 1 && if_none_match.data[0] == '*')
		return true;
	for (size_t i = 0; i + want <= if_none_match.len; i++) {
		if (memcmp(if_none_match.data + i, etag, want) == 0)
			return true;
	}
	return false;
}

static bool is_served(const struct http_endpoint *endpoint, const struct web_request *request)
{
	size_t len = endpoint->at.family == AF_INET6 ? 16 : 4;

	if (!endpoint->is_on || !endpoint->is_bound)
		return endpoint->is_on;
	return request->at.family == endpoint->at.family &&
	       memcmp(request->at.bytes, endpoint->at.bytes, len) == 0;
}

static void serve_health(struct worker *me, struct web_exchange *exchange)
{
	http_answer_text(me, exchange, 200, NULL, "ok\n");
}

static void serve_ready(struct http *http, struct worker *me, struct web_exchange *exchange)
{
	const char *why_not = http->settings.why_not_ready ? http->settings.why_not_ready() : NULL;

	if (why_not)
		http_answer_text(me, exchange, 503, NULL, why_not);
	else
		http_answer_text(me, exchange, 200, NULL, "ready\n");
}

static const struct http_listener *listener_of(struct http *http, uint16_t index, int *directory)
{
	for (size_t i = 0; http && i < http->settings.listener_count; i++) {
		if (http->listeners[i].listener != index)
			continue;
		*directory = http->directories[i];
		return &http->listeners[i];
	}
	return NULL;
}

static bool serve_endpoint(struct http *http, const struct http_listener *listener,
			   struct worker *me, struct web_exchange *exchange,
			   const struct web_request *request)
{
	bool has_health = is_served(&listener->health, request);

	if (has_health && slice_equal_string(request->path, "/healthz"))
		serve_health(me, exchange);
	else if (has_health && slice_equal_string(request->path, "/readyz"))
		serve_ready(http, me, exchange);
	else if (slice_equal_string(request->path, "/metrics") &&
		 is_served(&listener->metrics, request))
		http_metrics_serve(me, exchange, &http->settings);
	else
		return false;
	return true;
}

void http_on_request(struct worker *me, struct web_exchange *exchange,
		     const struct web_request *request)
{
	struct http *http = me->slot[WORKER_SLOT_HTTP];
	const struct http_listener *listener;
	int directory = -1;

	if (request->method != WEB_GET && request->method != WEB_HEAD) {
		http_answer_text(me, exchange, 405, "Allow: GET, HEAD\r\n",
				 "Only GET and HEAD are answered here.\n");
		return;
	}
	listener = listener_of(http, request->peer.listener, &directory);
	if (!listener) {
		http_answer_not_found(me, exchange);
		return;
	}
	if (serve_endpoint(http, listener, me, exchange, request))
		return;
	if (directory >= 0)
		http_files_serve(me, exchange, request, directory,
				 is_served(&listener->console, request));
	else if (!is_served(&listener->console, request) ||
		 !http_console_serve(me, exchange, request))
		http_answer_not_found(me, exchange);
}
