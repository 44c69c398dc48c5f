/* SPDX-License-Identifier: Apache-2.0 */
#include "net/poller.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bug.h"

/* Taken from the kernel at once; when more are ready, they come with the next turn. */
#define POLLER_EVENTS 1024

struct poller {
	uv_poll_t handle; /* of fd, in the worker's loop */
	int fd;
	/* Where the last turn ended early. The kernel names what is always ready in the same order, so
	 * those behind would never have their turn if each began with the first. */
	int first;
	bool (*on_ready)(struct connection *conn, int events);
	void (*on_error)(struct connection *conn);
	struct epoll_event events[POLLER_EVENTS];
};

static uint32_t to_epoll(uint16_t events)
{
	return (events & UV_READABLE ? EPOLLIN : 0u) | (events & UV_WRITABLE ? EPOLLOUT : 0u);
}

static enum err poller_control(struct poller *poller, struct connection *conn, uint16_t events)
{
	struct epoll_event event = {.events = to_epoll(events), .data.ptr = conn};
	int operation = !conn->polled_events ? EPOLL_CTL_ADD
			: events	     ? EPOLL_CTL_MOD
					     : EPOLL_CTL_DEL;

	if (epoll_ctl(poller->fd, operation, conn->fd, &event) != 0)
		return ERR_NOMEM;
	conn->polled_events = (uint8_t)events;
	return ERR_NONE;
}

enum err poller_watch(struct poller *poller, struct connection *conn)
{
	if (!(conn->events & ~conn->polled_events))
		return ERR_NONE;
	return poller_control(poller, conn, conn->events);
}

void poller_forget(struct poller *poller, struct connection *conn)
{
	if (conn->polled_events)
		BUG_ON(poller_control(poller, conn, 0) != ERR_NONE);
}

/* Only less is watched than before, which takes no memory. */
static void poller_narrow(struct poller *poller, struct connection *conn)
{
	if (conn->polled_events != conn->events)
		BUG_ON(poller_control(poller, conn, conn->events) != ERR_NONE);
}

static bool poller_dispatch(struct poller *poller, struct connection *conn, uint32_t found)
{
	int events = (found & EPOLLIN ? UV_READABLE : 0) | (found & EPOLLOUT ? UV_WRITABLE : 0);

	/* Both directions have ended: who reads or writes will be told how. */
	if (found & EPOLLHUP)
		events |= UV_READABLE | UV_WRITABLE;
	events &= conn->events;
	if (!conn->events) {
		poller_forget(poller, conn);
	} else if (found & EPOLLERR) {
		poller_forget(poller, conn);
		poller->on_error(conn);
	} else if (events) {
		return poller->on_ready(conn, events);
	} else {
		poller_narrow(poller, conn);
	}
	return true;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct poller *poller = handle->data;
	int count = epoll_wait(poller->fd, poller->events, POLLER_EVENTS, 0);
	int at = poller->first;

	(void)status;
	(void)events;
	worker_turn_begin(worker_current);
	poller->first = 0;
	for (int left = count; left > 0; left--, at++) {
		if (at >= count)
			at = 0;
		if (!poller_dispatch(poller, poller->events[at].data.ptr,
				     poller->events[at].events)) {
			poller->first = at;
			break;
		}
	}
}

enum err poller_create(struct worker *worker, bool (*on_ready)(struct connection *conn, int events),
		       void (*on_error)(struct connection *conn), struct poller **out)
{
	struct poller *poller = malloc(sizeof *poller);

	*out = NULL;
	if (!poller)
		return ERR_NOMEM;
	poller->on_ready = on_ready;
	poller->on_error = on_error;
	poller->first = 0;
	poller->fd = epoll_create1(EPOLL_CLOEXEC);
	if (poller->fd < 0) {
		free(poller);
		return ERR_IO;
	}
	if (uv_poll_init(&worker->loop, &poller->handle, poller->fd) != 0) {
		close(poller->fd);
		free(poller);
		return ERR_IO;
	}
	poller->handle.data = poller;
	BUG_ON(uv_poll_start(&poller->handle, UV_READABLE, on_poll) != 0);
	/* What keeps the loop going is not that somebody might connect. */
	uv_unref((uv_handle_t *)&poller->handle);
	*out = poller;
	return ERR_NONE;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void poller_destroy(struct poller **poller_ref)
{
	struct poller *poller = *poller_ref;

	if (!poller)
		return;
	uv_poll_stop(&poller->handle);
	close(poller->fd);
	uv_close((uv_handle_t *)&poller->handle, on_closed);
	*poller_ref = NULL;
}
