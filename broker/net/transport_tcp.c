/* SPDX-License-Identifier: Apache-2.0 */
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
