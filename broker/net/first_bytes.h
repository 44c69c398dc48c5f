/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first_bytes.h - from accept to knowing what a connection is.
 *
 *	accept --> [PROXY header] --> looks at the first bytes (MSG_PEEK)
 *	              |-- MQTT ------------------------------------------> on_client()
 *	              |-- HTTP ------------------------------------------> on_http(plain)
 *	              `-- TLS --+-- ALPN http/1.1, nothing of it read ---> on_http(TLS)
 *	                        `-- handshake --> first bytes inside
 *	                               |-- MQTT -------------------------> on_client()
 *	                               `-- HTTP: a socketpair carries it -> on_http(plain)
 *
 * A connection that is here holds a descriptor and some 400 bytes, and an SSL object while it shakes
 * hands; only so many do that at once, and a turn spends only so long on it. Everything here ends
 * within connect_timeout of the accept, and who takes a connection over is told until when it counts.
 *
 * Owner: the worker that accepted the connection.
 */
#ifndef NIGHTJAR_NET_FIRST_BYTES_H
#define NIGHTJAR_NET_FIRST_BYTES_H

#include "net/listener.h"

/* Of a worker; a reload may change them. */
struct first_bytes_settings {
	uint32_t connect_timeout_ms;
	uint32_t max_handshakes; /* TLS handshakes under way at once */
	bool connection_messages;
};

enum err first_bytes_worker_init(struct worker *worker) ERR_CHECKED;
void first_bytes_worker_fini(struct worker *worker);
void first_bytes_configure(struct worker *me, const struct first_bytes_settings *settings);

/* listener.c: a descriptor that was just accepted. Takes it, and the listener's place with it. */
void first_bytes_accept(struct worker *me, struct listener *listener, int fd,
			const struct address *address);

/* On the worker, when it stops accepting: closes what is here. */
void first_bytes_stop(struct worker *me);

#endif
