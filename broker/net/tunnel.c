/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tunnel.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "net/net_worker.h"

#define TUNNEL_OUTPUT_BYTES (256u * 1024u)
/* How long what one side sent last may take to reach the other. */
#define TUNNEL_LINGER_MS 10000u

struct tunnel;

struct tunnel_end {
	struct connection conn; /* first member */
	struct tunnel *tunnel;
	struct tunnel_end *other;
	bool is_open;
};

struct tunnel {
	struct tunnel_end outer, inner;
	struct worker *worker;
	struct timer linger;
	struct tunnel *next, **at; /* in the worker's list */
};

static struct tunnel_end *end_of(struct connection *conn)
{
	return (struct tunnel_end *)(void *)conn;
}

static size_t tunnel_on_bytes(struct connection *conn, struct slice bytes)
{
	struct tunnel_end *other = end_of(conn)->other;

	if (!other->is_open || connection_is_closing(&other->conn))
		return bytes.len;
	(void)connection_write(&other->conn, bytes);
	if (connection_is_choked(&other->conn))
		connection_pause(conn);
	return bytes.len;
}

static void tunnel_on_drained(struct connection *conn)
{
	struct tunnel_end *other = end_of(conn)->other;

	if (!other->is_open || connection_is_closing(&other->conn))
		connection_close(conn);
	else
		connection_resume(&other->conn);
}

/* One side has ended: the other gets what there is still to send, and ends too. */
static void tunnel_on_lost(struct connection *conn, int error)
{
	struct tunnel_end *end = end_of(conn), *other = end->other;
	struct tunnel *tunnel = end->tunnel;

	(void)error;
	conn->flags |= CONNECTION_EOF;
	connection_close(conn);
	if (!other->is_open || connection_is_closing(&other->conn))
		return;
	if (!connection_is_choked(&other->conn))
		connection_close(&other->conn);
	else
		timer_arm_in(&tunnel->worker->wheel, &tunnel->linger, TUNNEL_LINGER_MS);
}

static void tunnel_on_closed(struct connection *conn)
{
	struct tunnel_end *end = end_of(conn);
	struct tunnel *tunnel = end->tunnel;

	end->is_open = false;
	if (end->other->is_open)
		return;
	timer_disarm(&tunnel->worker->wheel, &tunnel->linger);
	*tunnel->at = tunnel->next;
	if (tunnel->next)
		tunnel->next->at = tunnel->at;
	memory_uncharge(MEMORY_INPUT, sizeof *tunnel);
	free(tunnel);
}

static const struct connection_ops tunnel_ops = {
	.on_bytes = tunnel_on_bytes,
	.on_drained = tunnel_on_drained,
	.on_lost = tunnel_on_lost,
	.on_closed = tunnel_on_closed,
};

static void tunnel_end_both(struct tunnel *tunnel)
{
	if (tunnel->outer.is_open)
		connection_close(&tunnel->outer.conn);
	if (tunnel->inner.is_open)
		connection_close(&tunnel->inner.conn);
}

static void on_linger(struct timer *timer)
{
	tunnel_end_both(TIMER_OWNER(timer, struct tunnel, linger));
}

static struct tunnel *tunnel_make(struct worker *me, const struct newcomer *newcomer)
{
	struct tunnel *tunnel = calloc(1, sizeof *tunnel);

	if (!tunnel)
		return NULL;
	tunnel->worker = me;
	tunnel->outer.tunnel = tunnel->inner.tunnel = tunnel;
	tunnel->outer.other = &tunnel->inner;
	tunnel->inner.other = &tunnel->outer;
	tunnel->outer.conn.address = tunnel->inner.conn.address = newcomer->address;
	tunnel->outer.conn.transport_state = newcomer->ssl;
	timer_init(&tunnel->linger, on_linger);
	return tunnel;
}

static void tunnel_enlist(struct net_worker *net, struct tunnel *tunnel)
{
	tunnel->next = net->tunnels;
	tunnel->at = &net->tunnels;
	if (tunnel->next)
		tunnel->next->at = &tunnel->next;
	net->tunnels = tunnel;
	memory_charge(MEMORY_INPUT, sizeof *tunnel);
}

/* inner_fd is ours from here on. */
static bool tunnel_connect(struct worker *me, struct tunnel *tunnel, int inner_fd,
			   const struct newcomer *newcomer)
{
	if (connection_init(&tunnel->inner.conn, me, inner_fd, &transport_tcp, &tunnel_ops,
			    TUNNEL_OUTPUT_BYTES) != ERR_NONE) {
		close(inner_fd);
		free(tunnel);
		return false;
	}
	/* What libwebsockets and the client say is counted there, and once is enough. */
	tunnel->inner.conn.flags |= CONNECTION_IS_RELAY;
	tunnel->inner.is_open = true;
	tunnel_enlist(net_worker_of(me), tunnel);
	if (connection_init(&tunnel->outer.conn, me, newcomer->fd, &transport_tls, &tunnel_ops,
			    TUNNEL_OUTPUT_BYTES) != ERR_NONE) {
		connection_close(&tunnel->inner.conn);
		return false;
	}
	tunnel->outer.conn.flags |= CONNECTION_IS_RELAY;
	tunnel->outer.is_open = true;
	return true;
}

bool tunnel_open(struct worker *me, struct listener *listener, const struct newcomer *newcomer)
{
	const struct listener_settings *place = listener_settings_of(listener);
	struct newcomer plain = *newcomer;
	struct tunnel *tunnel;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	tunnel = tunnel_make(me, newcomer);
	plain.fd = pair[1];
	/* The certificate can be asked for: the SSL object lives longer than what is served. */
	if (!tunnel || !place->on_http(me, &plain, false)) {
		free(tunnel);
		close(pair[0]);
		close(pair[1]);
		return false;
	}
	if (tunnel_connect(me, tunnel, pair[0], newcomer))
		return true;
	/* What serves the HTTP has the place and will give it back: the caller must not. */
	listener_take_place(listener);
	return false;
}

void tunnels_stop(struct worker *me)
{
	struct net_worker *net = net_worker_of(me);

	for (struct tunnel *tunnel = net->tunnels; tunnel; tunnel = tunnel->next)
		tunnel_end_both(tunnel);
}
