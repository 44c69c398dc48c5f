/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection_push.c - input of connections whose bytes are handed in by somebody else: a library
 * that reads for itself (WebSocket), or another worker (relay).
 *
 * What is handed in is handed up where it lies. Only a packet that is cut by its end is put
 * together, in conn->in; the bytes behind that packet are again handed up where they lie.
 */
#include <errno.h>

#include "base/counters.h"
#include "net/connection_parts.h"
#include "net/net_worker.h"

/* Bytes are added to a packet's beginning in such steps until its length is known. */
#define PUSH_HEADER_BYTES 8u

void connection_init_pushed(struct connection *conn, struct worker *worker,
			    const struct transport *transport, void *transport_state,
			    const struct connection_ops *ops, uint32_t output_limit)
{
	connection_fill(conn, worker, transport, ops, output_limit);
	conn->transport_state = transport_state;
	conn->events = UV_READABLE;
	counter_add(worker->counters, COUNTER_CONNECTIONS_OPEN, 1);
}

static bool is_unread(const struct connection *conn)
{
	return (conn->flags & (CONNECTION_PAUSED | CONNECTION_STALLED)) != 0;
}

static bool input_append(struct connection *conn, struct slice bytes)
{
	uint64_t need = (uint64_t)conn->in_len + bytes.len;
	uint64_t cap = (uint64_t)conn->in_cap * 2;

	/* As it arrives: a declared length alone costs nothing. */
	if (cap > conn->in_wanted)
		cap = conn->in_wanted;
	if (cap < need)
		cap = need;
	if (need > UINT32_MAX / 4 ||
	    (need > conn->in_cap && !connection_input_grow(conn, (uint32_t)cap)))
		return false;
	memcpy(conn->in + conn->in_len, bytes.data, bytes.len);
	conn->in_len = (uint32_t)need;
	return true;
}

/* How much of what has arrived completes the packet that has begun in conn->in. */
static size_t push_missing(const struct connection *conn, size_t len)
{
	size_t missing = PUSH_HEADER_BYTES;

	if (is_unread(conn))
		return len;
	if (conn->in_wanted > conn->in_len)
		missing = conn->in_wanted - conn->in_len;
	return missing < len ? missing : len;
}

void connection_push(struct connection *conn, struct slice bytes)
{
	connection_account_read(conn, (ssize_t)bytes.len);
	while (bytes.len > 0 && conn->worker && !connection_is_closing(conn)) {
		size_t take;

		if (conn->in_len == 0 && !is_unread(conn)) {
			connection_hand_up(conn, bytes);
			return;
		}
		/* Only the packet that was cut is put together, the rest stays where it is. */
		take = push_missing(conn, bytes.len);
		if (!input_append(conn, slice_of(bytes.data, take))) {
			conn->ops->on_lost(conn, ENOMEM);
			return;
		}
		bytes = slice_of(bytes.data + take, bytes.len - take);
		if (conn->in_len >= conn->in_wanted && !is_unread(conn))
			connection_hand_up(conn, slice_of(conn->in, conn->in_len));
	}
}

void connection_push_writable(struct connection *conn)
{
	if (!connection_is_closing(conn))
		connection_flush(conn);
}

void connection_push_lost(struct connection *conn, int error)
{
	if (connection_is_closing(conn))
		return;
	conn->flags |= CONNECTION_EOF;
	conn->ops->on_lost(conn, error);
}
