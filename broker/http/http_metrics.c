/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_metrics.c - /metrics.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "http/http_parts.h"
#include "http/metrics.h"

/* The page, until it has left. */
struct page {
	struct buffer buffer;
};

static void page_free(void *owner)
{
	struct page *page = owner;

	memory_uncharge(MEMORY_OUTPUT, page->buffer.cap);
	buffer_fini(&page->buffer);
	free(page);
}

void http_metrics_serve(struct worker *me, struct web_exchange *exchange,
			const struct http_settings *settings)
{
	struct metrics_source source = {
		.runtime = me->runtime,
		.started_ms = settings->started_ms,
		.is_ready = !settings->why_not_ready || !settings->why_not_ready(),
	};
	struct page *page = calloc(1, sizeof *page);
	struct web_response response = {
		.status = 200,
		.content_type = METRICS_CONTENT_TYPE,
		.headers = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
		.free_body = page_free,
		.owner = page,
	};

	if (!page || metrics_render(&source, &page->buffer) != ERR_NONE) {
		if (page)
			buffer_fini(&page->buffer);
		free(page);
		http_answer_text(me, exchange, 503, NULL, "No memory.\n");
		return;
	}
	memory_charge(MEMORY_OUTPUT, page->buffer.cap);
	response.body = buffer_slice(&page->buffer);
	web_answer(me, exchange, &response);
}
