/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h - how bytes get to a broker and back.
 *
 * A client talks to its transport only, so a further one (TLS, WebSocket) is one more row in
 * transport.c's table. All calls are non-blocking.
 */
#ifndef NIGHTJAR_BENCH_TRANSPORT_H
#define NIGHTJAR_BENCH_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct transport;

struct transport_ops {
	const char *scheme;
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
	const struct transport_ops *ops;
	struct sockaddr_storage address;
	socklen_t address_length;
	/* Of 127.0.0.0/8, so that local ports do not run out beyond 20,000 connections; or none. */
	uint32_t opened;
};

struct transport {
	const struct transport_ops *ops;
	struct endpoint *endpoint;
	int fd;
};

/*
 * Resolves "host", "host:port" or "scheme://host:port". A scheme that this program cannot speak,
 * a bad port and an unknown host end the process with a sentence that says so.
 */
void endpoint_parse(struct endpoint *endpoint, const char *url);

#endif
