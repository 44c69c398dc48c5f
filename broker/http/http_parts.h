/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_parts.h - what the files of http share.
 */
#ifndef NIGHTJAR_HTTP_HTTP_PARTS_H
#define NIGHTJAR_HTTP_HTTP_PARTS_H

#include "http/http.h"

#define HTTP_TEXT_PLAIN "text/plain; charset=utf-8"

/* Frozen after create. */
struct http {
	struct http_settings settings;
	struct http_listener *listeners;
	int *directories; /* of each listener, opened with O_PATH; -1: none */
};

/* http.c: an answer of a few words. headers: further lines, or NULL. */
void http_answer_text(struct worker *me, struct web_exchange *exchange, unsigned status,
		      const char *headers, const char *text);
void http_answer_not_found(struct worker *me, struct web_exchange *exchange);

/* Is the entity tag one of those in If-None-Match? */
bool http_etag_matches(struct slice if_none_match, const char *etag);

/* http_metrics.c */
void http_metrics_serve(struct worker *me, struct web_exchange *exchange,
			const struct http_settings *settings);

/* http_console.c. false: the console has no such file. */
bool http_console_serve(struct worker *me, struct web_exchange *exchange,
			const struct web_request *request);

/* http_files.c: from the thread pool. Answers, with what is behind it when there is no such file. */
void http_files_serve(struct worker *me, struct web_exchange *exchange,
		      const struct web_request *request, int directory, bool has_console);
const char *http_content_type(const char *path);

#endif
