/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - every counter and histogram as a page for Prometheus (text format 0.0.4).
 *
 * Only renders: no sockets, no requests. Any thread that is not in a hurry may call it; it reads
 * what the workers write with relaxed loads and stops none of them. The page's size follows from the
 * rows and the number of workers, not from clients: some 40 KiB and 2 KiB for each worker, rendered
 * in well below a millisecond.
 */
#ifndef NIGHTJAR_HTTP_METRICS_H
#define NIGHTJAR_HTTP_METRICS_H

#include "base/buffer.h"
#include "runtime/worker.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_BYTES_MAX (1024u * 1024u)

struct metrics_source {
	struct runtime *runtime; /* its workers are running */
	uint64_t started_ms;	 /* clock_now_ms() when the broker was started */
	bool is_ready;
};

/* Appends the page to out, which grows to METRICS_BYTES_MAX at most. ERR_NOMEM, ERR_LIMIT. */
enum err metrics_render(const struct metrics_source *source, struct buffer *out) ERR_CHECKED;

#endif
