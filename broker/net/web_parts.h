/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web_parts.h - what the files web*.c share. For these only.
 */
#ifndef NIGHTJAR_NET_WEB_PARTS_H
#define NIGHTJAR_NET_WEB_PARTS_H

#include <libwebsockets.h>
#include <openssl/ssl.h>

#include "base/timer_wheel.h"
#include "net/web.h"

/* What libwebsockets keeps for one connection, about; for the memory's account. */
#define WEB_SOCKET_BYTES 2048u
/* Each read, and each frame that we write, is at most this long. */
#define WEB_READ_BYTES 65536u
/* How often a client that does not take its answer is looked at. */
#define WEB_LOOK_MS 100u

/* Frozen after web_create(). */
struct web {
	struct web_settings settings;
	struct web_listener *listeners;
	/* For all vhosts, which are never clients: each would make its own, load the system's
	 * certificates into it, and not free it. */
	SSL_CTX *no_client;
};

/* Owner: its worker. */
struct web_worker {
	struct web *web;
	struct worker *me;
	struct lws_context *context;
	struct lws_vhost **plain, **tls; /* of web->listeners; NULL: not spoken here */
	struct web_socket *talking;	 /* those that speak HTTP (still) */
	unsigned sockets;		 /* that libwebsockets has not destroyed */
	uint64_t made;			 /* how many it has made */
	uint64_t stop_ms;
	uint32_t connect_timeout_ms;
	bool is_stopping;
};

/*
 * An adopted socket, from web_adopt() until libwebsockets has destroyed it and its connection has let
 * it go, whichever is later. Owner: its worker.
 */
struct web_socket {
	struct lws *wsi; /* NULL: destroyed */
	struct web_worker *home;
	struct connection *conn;	  /* a WebSocket that is open; NULL before and after */
	struct web_exchange *exchange;	  /* a request that is being answered */
	struct web_socket *next, **pprev; /* in home->talking; pprev NULL: not in it */
	struct timer timer;		  /* while it talks: connect_timeout, or no progress */
	uint64_t deadline_ms;
	const struct web_listener *listener;
	struct address address; /* of the socket, or what a trusted proxy said */
	bool is_tls;
	bool is_ended; /* the end of the WebSocket has begun: nothing more is sent */
};

/* web.c */
struct web_worker *web_worker_of(struct worker *worker);
void web_peer_of(struct web_socket *socket, struct web_peer *out);
void web_kill(struct web_socket *socket);
void web_watch_headers(struct web_socket *socket);
void web_forget_timeout(struct web_socket *socket);
void web_stop_talking(struct web_socket *socket);
int web_on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		 size_t len);

/* web_memory.c: the allocator that all of libwebsockets uses. */
void web_memory_open(unsigned workers);
void web_memory_close(void);
/* Main thread: gives the untouched part of tables back that were made since. */
void web_memory_trim(void);

/* web_handshake.c: LWS_CALLBACK_HTTP_CONFIRM_UPGRADE. What the callback returns. */
int web_check_upgrade(struct web_socket *socket);

/* web_headers.c: the length of a header's value; -1: too long for out, 0: none. Terminated. */
int web_header(struct lws *wsi, enum lws_token_indexes which, char *out, size_t cap);
/* Does the comma-separated list hold this token? Case does not matter. */
bool web_list_has(const char *list, const char *token);
/* Follows the headers of a proxy that is trusted. */
void web_follow_proxy(struct web_socket *socket);
/* An answer that needs nobody's work, with Connection: close. false: the connection is lost. */
bool web_refuse(struct web_socket *socket, unsigned status, const char *headers, const char *text);
const char *web_status_text(unsigned status);

/* web_socket.c: a WebSocket's events. */
int websocket_established(struct web_socket *socket);
int websocket_received(struct web_socket *socket, void *bytes, size_t len);
void websocket_writable(struct web_socket *socket);
/* The peer, libwebsockets or the network ends it; error: 0, or an errno. */
void websocket_ends(struct web_socket *socket, int error);

/* web_http.c: a request's events. */
int web_request_begin(struct web_socket *socket, const char *path, size_t len);
int web_request_writable(struct web_socket *socket);
/* The client has gone. */
void web_request_lost(struct web_socket *socket);
/* The timer while a request is being answered. false: it makes no progress, end it. */
bool web_request_tick(struct web_socket *socket);

#endif
