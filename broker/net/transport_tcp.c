/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "net/connection.h"

static ssize_t tcp_read(struct connection *conn, void *out, size_t cap)
{
	return recv(conn->fd, out, cap, 0);
}

static ssize_t tcp_write(struct connection *conn, const void *bytes, size_t len)
{
	return send(conn->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tcp_close(struct connection *conn)
{
	(void)conn;
}

const struct transport transport_tcp = {
	.name = "tcp",
	.read = tcp_read,
	.write = tcp_write,
	.close = tcp_close,
};

/*
 * Linux delays the acknowledgements of a connection on which it has seen an answer leave within 40 ms
 * of a question. Without one it acknowledges each read with a segment of its own, for as long as the
 * connection only brings: with a password to be computed first, a PUBLISH at QoS 0 cost a seventh more.
 */
void connection_answers_late(struct connection *conn)
{
	int off = 0;

	if (conn->fd >= 0) /* of no effect on a Unix socket, which refuses it */
		(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
}
