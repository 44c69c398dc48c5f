/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web.h - HTTP and WebSocket, by libwebsockets, on each worker's own loop.
 *
 * Each worker has one libwebsockets context, and in it a vhost per listener that speaks HTTP (and a
 * second one for it inside TLS). Sockets are accepted by us and given to the context; they cannot
 * leave it again. A WebSocket that has finished its handshake becomes a *pushed* connection
 * (connection.h): bytes are handed in by libwebsockets, output leaves in one frame at the end of
 * the turn. A request that is no handshake goes to on_request(), which answers now or later.
 *
 *	web_adopt() --> headers in connect_timeout --> Upgrade: on_websocket() --> struct connection
 *	                                          \--> on_request() --> web_answer() --> next request
 *
 * net knows nothing of what is served: http/ fills in the requests, session/ the connections.
 * Owner: each worker its own context; struct web is frozen after web_create().
 */
#ifndef NIGHTJAR_NET_WEB_H
#define NIGHTJAR_NET_WEB_H

#include "base/err.h"
#include "net/connection.h"
#include "net/listener.h"

struct web;
struct web_socket;
struct web_exchange;
struct trusted_addresses;
struct tls_server;

/* Who has sent a request or opened a WebSocket. Borrowed, for the call. */
struct web_peer {
	const struct address *address; /* of the client: a trusted proxy's headers are followed */
	uint16_t listener;
	bool is_tls;
	void *tls; /* SSL *, with the peer's certificate; NULL: plain */
};

enum web_method { WEB_GET, WEB_HEAD, WEB_OPTIONS, WEB_POST, WEB_OTHER };

/* A request whose headers are complete. Borrowed, for the call. */
struct web_request {
	enum web_method method;
	struct slice path;  /* decoded, begins with '/', holds no "..", no zero byte */
	struct slice query; /* behind '?', as sent; empty: none */
	struct slice if_none_match, host;
	bool accepts_gzip;
	struct web_peer peer;
	struct address at; /* ours, at which it was asked; family 0: unknown */
};

/*
 * The answer. Its strings are copied; the body stays where it is until free_body(), which runs on
 * this worker when the last byte has gone or the client has (NULL: constant memory).
 */
struct web_response {
	unsigned status;
	const char *content_type; /* NULL: no body, no header */
	const char *headers;	  /* further lines, each with its "\r\n"; NULL: none */
	struct slice body;	  /* left away for HEAD, with its length announced */
	uint64_t total_len;	  /* of all parts; 0: body is all there is */
	void (*free_body)(void *owner);
	void *owner;
	/*
	 * When body is not all: the part before has been sent, make the next one (with web_continue(),
	 * now or later). Not called any more after free_body().
	 */
	void (*next_part)(struct worker *me, struct web_exchange *exchange, void *owner);
};

/* What a worker calls. Frozen. */
struct web_hooks {
	/*
	 * A handshake is complete and will be answered with 101. Makes the connection that the
	 * WebSocket carries: allocates its owner, calls connection_init_pushed() with
	 * transport_websocket and this socket, and websocket_bind(). deadline_ms: when the
	 * connect_timeout ends that began with the accept. false: refused, it closes with 1013.
	 */
	bool (*on_websocket)(struct worker *me, struct web_socket *socket,
			     const struct web_peer *peer, uint64_t deadline_ms);
	/* Must end in web_answer(), now or later, on this worker. */
	void (*on_request)(struct worker *me, struct web_exchange *exchange,
			   const struct web_request *request);
	/* May a connection be served now (stopping, memory)? Counts its own refusals. */
	bool (*may_accept)(struct worker *me);
};

struct web_listener {
	uint16_t listener;	    /* its index everywhere */
	struct listener *place;	    /* told when a connection has ended; NULL in tests */
	const char *const *origins; /* websockets_origin, lower case; NULL: any */
	size_t origin_count;
	const struct trusted_addresses *trusted_proxies; /* NULL: nobody */
	bool is_plain;					 /* HTTP without TLS is spoken here */
	struct tls_server *tls;				 /* what TLS is spoken with; NULL: none */
};

struct web_settings {
	unsigned workers;
	uint32_t headers_bytes; /* websockets_headers_size: all headers of one request */
	uint32_t connect_timeout_ms;
	const struct web_listener *listeners; /* those that speak HTTP; copied */
	size_t listener_count;
	unsigned log_level; /* libwebsockets' own, or-ed: 1 errors, 2 warnings, ... */
	struct web_hooks hooks;
};

/* Main thread, before the workers start. Nothing is made when no listener speaks HTTP. */
enum err web_create(const struct web_settings *settings, struct web **out,
		    struct err_detail *detail) ERR_CHECKED;
/* Main thread, for each worker, after net_worker_init(): the context and its vhosts. */
enum err web_worker_init(struct web *web, struct worker *worker,
			 struct err_detail *detail) ERR_CHECKED;
/* Main thread, when all have been made. */
void web_ready(void);
/* On the worker: a reload has changed it; holds for later connections. */
void web_set_connect_timeout(struct worker *me, uint32_t connect_timeout_ms);

/*
 * On the worker: gives a socket of which nothing has been read (MSG_PEEK at most) to libwebsockets.
 * is_tls: it begins with a ClientHello, else with HTTP. Takes the descriptor on success; false: the caller closes it and gives its place
 * back. From here on web gives the listener's place back itself.
 */
bool web_adopt(struct worker *me, const struct newcomer *newcomer, bool is_tls);

/* Answers; once. The exchange lives on when its client has gone, until it is answered. */
void web_answer(struct worker *me, struct web_exchange *exchange,
		const struct web_response *response);
/* The next part of a body, from next_part(); is_broken: there will be none, the connection ends. */
void web_continue(struct worker *me, struct web_exchange *exchange, struct slice part,
		  bool is_broken);

/*
 * On the worker, when the broker stops: nothing new, and who has asked nothing is sent away.
 * WebSockets end with the connections that they carry. web_is_gone(): nothing is left.
 */
void web_stop(struct worker *me);
bool web_is_gone(struct worker *me);

/* Main thread, after the workers ended; the first before net_worker_fini(). */
void web_worker_fini(struct worker *worker);
void web_destroy(struct web **web);

/* For on_websocket(): the connection that a socket carries from now on. */
void websocket_bind(struct web_socket *socket, struct connection *conn);

/* The transport of a WebSocket; its transport_state is the struct web_socket. */
extern const struct transport transport_websocket;

#endif
