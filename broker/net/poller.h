/* SPDX-License-Identifier: Apache-2.0 */
/*
 * poller.h - which of a worker's connections can be read or written?
 *
 * An epoll of the connections' own, below that of libuv, which sees it as one descriptor. A uv_poll_t
 * for each connection would cost it 168 bytes of memory and, at its beginning, four system calls
 * instead of one; this costs one system call more in a turn in which a connection is ready.
 *
 * Level-triggered. What epoll watches may be more than what is wanted: taking away waits until an
 * event comes that nobody wants, so that a connection that is paused and goes on in the same turn
 * costs nothing.
 *
 * Owner: its worker.
 */
#ifndef NIGHTJAR_NET_POLLER_H
#define NIGHTJAR_NET_POLLER_H

#include "net/connection.h"

struct poller;

/*
 * on_ready: events are those of conn->events that are ready (UV_READABLE, UV_WRITABLE). false: the
 * turn's budget is used up; the next turn begins with this connection. on_error: the socket has an
 * error, and is not watched any more. Called during poll; no connection is freed or changes its
 * worker before the end of that turn.
 */
enum err poller_create(struct worker *worker, bool (*on_ready)(struct connection *conn, int events),
		       void (*on_error)(struct connection *conn), struct poller **out) ERR_CHECKED;
/* Before the worker's loop is closed. */
void poller_destroy(struct poller **poller);

/* Makes sure that conn->events are watched. ERR_NOMEM: the kernel has no memory to do so. */
enum err poller_watch(struct poller *poller, struct connection *conn) ERR_CHECKED;
/* Not watched any more. Closing the descriptor does that as well, without a system call. */
void poller_forget(struct poller *poller, struct connection *conn);

#endif
