/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web_socket.c - a WebSocket as the transport of a connection.
 *
 *	frame --> libwebsockets unmasks it in its read buffer --> connection_push() --> packets
 *	packets of one turn --> one binary frame --> lws_write(), or, while it is choked, later
 *
 * A frame is written without waiting for LWS_CALLBACK_SERVER_WRITEABLE as long as libwebsockets has
 * sent all of the one before: that saves two epoll_ctl() and a turn per frame. What does not fit into the socket
 * libwebsockets keeps (at most one frame), and takes no other until it has gone.
 *
 * Two can end it: our side (websocket_close: a Close frame with the reason) and the other
 * (websocket_ends). Whoever comes second finds is_ended set or the other's pointer gone.
 */
#include <errno.h>

#include "net/web_parts.h"

static ssize_t websocket_write(struct connection *conn, const void *bytes, size_t len)
{
	struct web_socket *socket = conn->transport_state;

	if (!socket->wsi || socket->is_ended) {
		errno = EPIPE;
		return -1;
	}
	if (lws_partial_buffered(socket->wsi)) {
		errno = EAGAIN;
		return -1;
	}
	if (len > WEB_READ_BYTES)
		len = WEB_READ_BYTES;
	/* The frame's header goes into the headroom before the bytes, and bytes that were sent. */
	if (lws_write(socket->wsi, (unsigned char *)(uintptr_t)bytes, len, LWS_WRITE_BINARY) < 0) {
		errno = EPIPE;
		return -1;
	}
	return (ssize_t)len;
}

static void websocket_watch(struct connection *conn, uint16_t events)
{
	struct web_socket *socket = conn->transport_state;

	if (!socket->wsi || socket->is_ended)
		return;
	lws_rx_flow_control(socket->wsi, (events & UV_READABLE) ? 1 : 0);
	if (events & UV_WRITABLE)
		lws_callback_on_writable(socket->wsi);
}

static enum lws_close_status status_of(const struct connection *conn)
{
	switch ((enum connection_farewell)conn->farewell) {
	case FAREWELL_GOING_AWAY: return LWS_CLOSE_STATUS_GOINGAWAY;
	case FAREWELL_PROTOCOL: return LWS_CLOSE_STATUS_PROTOCOL_ERR;
	case FAREWELL_POLICY: return LWS_CLOSE_STATUS_POLICY_VIOLATION;
	case FAREWELL_TOO_LARGE: return LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE;
	case FAREWELL_BUSY: return 1013; /* Try Again Later; libwebsockets has no name for it */
	case FAREWELL_NORMAL: break;
	}
	return LWS_CLOSE_STATUS_NORMAL;
}

static void websocket_close(struct connection *conn)
{
	struct web_socket *socket = conn->transport_state;

	conn->transport_state = NULL;
	socket->conn = NULL;
	if (!socket->wsi) {
		free(socket);
		return;
	}
	if (socket->is_ended)
		return;
	socket->is_ended = true;
	lws_close_reason(socket->wsi, status_of(conn), NULL, 0);
	/* With a reason set this sends the Close frame and waits 5 s for the answer. */
	web_kill(socket);
}

static void websocket_rebind(struct connection *conn)
{
	((struct web_socket *)conn->transport_state)->conn = conn;
}

static struct ssl_st *websocket_tls(const struct connection *conn)
{
	const struct web_socket *socket = conn->transport_state;

	return socket && socket->wsi ? lws_get_ssl(socket->wsi) : NULL;
}

const struct transport transport_websocket = {
	.name = "websocket",
	.tls = websocket_tls,
	.headroom = LWS_PRE,
	.write = websocket_write,
	.close = websocket_close,
	.watch = websocket_watch,
	.rebind = websocket_rebind,
};

void websocket_bind(struct web_socket *socket, struct connection *conn)
{
	socket->conn = conn;
}

int websocket_established(struct web_socket *socket)
{
	const struct web_hooks *hooks = &socket->home->web->settings.hooks;
	struct web_peer peer;

	web_stop_talking(socket);
	web_peer_of(socket, &peer);
	if (hooks->on_websocket(socket->home->me, socket, &peer, socket->deadline_ms))
		return 0;
	socket->is_ended = true;
	lws_close_reason(socket->wsi, 1013, NULL, 0);
	return -1;
}

int websocket_received(struct web_socket *socket, void *bytes, size_t len)
{
	if (!socket->conn || socket->is_ended)
		return 0;
	if (!lws_frame_is_binary(socket->wsi)) {
		lws_close_reason(socket->wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, NULL, 0);
		websocket_ends(socket, EBADMSG);
		return -1;
	}
	if (len > 0)
		connection_push(socket->conn, slice_of(bytes, len));
	return 0;
}

void websocket_writable(struct web_socket *socket)
{
	struct connection *conn = socket->conn;

	if (!conn || socket->is_ended || !connection_is_choked(conn))
		return;
	connection_push_writable(conn);
	if (socket->conn && !socket->is_ended && connection_is_choked(socket->conn))
		lws_callback_on_writable(socket->wsi);
}

void websocket_ends(struct web_socket *socket, int error)
{
	if (socket->is_ended)
		return;
	socket->is_ended = true;
	if (socket->conn)
		connection_push_lost(socket->conn, error);
}
