/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h - how bytes get to a broker and back.
 *
 *	tcp://   tls://     a stream; unix:// is one like tcp://
 *	  ^        ^
 *	ws://    wss://     the same stream in frames (transport_ws.c)
 *
 * A client talks to its transport only. All calls are non-blocking. A transport may say one thing
 * and do another underneath (a handshake, the rest of a frame): so whoever polls asks wants_write,
 * writes again after each read, and reads again while there is something pending.
 */
#ifndef NIGHTJAR_BENCH_TRANSPORT_H
#define NIGHTJAR_BENCH_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "bytes.h"

struct options;
struct ssl_ctx_st;
struct ssl_st;
struct transport;

struct transport_ops {
	/* Begins to connect; the descriptor is ready for epoll. -1 with errno on failure. */
	int (*open)(struct transport *transport);
	/* As recv and send: -1 with EAGAIN when it would block, 0 at the end of the stream. */
	ssize_t (*read)(struct transport *transport, void *into, size_t room);
	ssize_t (*write)(struct transport *transport, const void *from, size_t count);
	/* Hard: reset instead of leaving a port in TIME_WAIT, for thousands of connections. */
	void (*close)(struct transport *transport);
};

/* Where all clients of a run connect to. */
struct endpoint {
	const struct transport_ops *ops;    /* what clients call */
	const struct transport_ops *stream; /* what WebSocket frames go over */
	const char *url;
	struct sockaddr_storage address;
	socklen_t address_length;
	/* Of 127.0.0.0/8, so that local ports do not run out beyond 20,000 connections; or none. */
	uint32_t opened;
	char *host;		/* as in the URL, with the port */
	const char *path;	/* of a WebSocket */
	struct ssl_ctx_st *tls; /* NULL: plain */
	char *server_name;	/* for SNI and the certificate */
};

/* Where in a WebSocket's stream the next byte is. */
enum frame_state { FRAME_UPGRADE, FRAME_HEADER, FRAME_PAYLOAD };

struct web_socket {
	struct bytes out; /* frames that the stream has not taken */
	size_t out_sent;
	struct bytes answer; /* the response to the upgrade, as far as it is here */
	uint64_t left;	     /* of the frame's payload */
	uint32_t mask;	     /* of the last frame sent */
	uint8_t header[14];
	uint8_t header_length;
	uint8_t opcode;
	uint8_t control_length;
	uint8_t control[125]; /* a ping's payload, which the pong repeats */
	enum frame_state state;
};

struct transport {
	const struct transport_ops *ops;
	struct endpoint *endpoint;
	int fd;
	bool wants_write;	/* goes on when the descriptor is writable */
	struct ssl_st *ssl;	/* tls, wss */
	struct web_socket *web; /* ws, wss */
};

extern const struct transport_ops transport_tls; /* transport_tls.c */
extern const struct transport_ops transport_ws;	 /* transport_ws.c */

/* Connects the descriptor and nothing more; for the other transports. */
int transport_tcp_open(struct transport *transport);
void transport_tcp_close(struct transport *transport);

/* Are there bytes that were read from the descriptor and not handed on? */
bool transport_has_pending(const struct transport *transport);

/* What TLS needs for all clients of a run; a file that cannot be read ends the process. */
void endpoint_init_tls(struct endpoint *endpoint, const struct options *options);

/*
 * Resolves "host", "host:port", "scheme://host:port[/path]" or "unix://path". A scheme that this program cannot
 * speak, a bad port and an unknown host end the process with a sentence that says so.
 */
void endpoint_init(struct endpoint *endpoint, const struct options *options, const char *url);
void endpoint_fini(struct endpoint *endpoint);

#endif
