/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.h - addresses that clients connect to.
 *
 * The main thread opens all sockets before the workers start (as root, where ports below 1024 are
 * wanted): a TCP address once per worker with SO_REUSEPORT, so that each accepts for itself; a Unix
 * socket once, and its connections are dealt round. Before that the address is bound without the
 * flag, so that an address in use is an error and not a share of somebody else's clients.
 */
#ifndef NIGHTJAR_NET_LISTENER_H
#define NIGHTJAR_NET_LISTENER_H

#include "base/err.h"
#include "net/connection.h"

struct listener;
struct tls_server;
struct trusted_addresses;

enum listener_protocol {
	LISTENER_MQTT,	     /* bytes of MQTT, as they are */
	LISTENER_WEBSOCKETS, /* HTTP, and WebSockets begun by it */
	LISTENER_ANY,	     /* the first bytes tell; TLS, if there is a certificate, or not */
};

enum listener_proxy {
	LISTENER_PROXY_OFF,	 /* a PROXY header is an error */
	LISTENER_PROXY_ON,	 /* a trusted proxy may send one */
	LISTENER_PROXY_REQUIRED, /* nobody connects without */
};

/* A connection of which is known what it speaks, for whom to serve. */
struct newcomer {
	int fd;
	uint16_t listener; /* index */
	struct address address;
	struct ssl_st *ssl;   /* inside TLS, the handshake is over; NULL: plain */
	uint64_t deadline_ms; /* when connect_timeout ends */
};

struct listener_settings {
	const char *bind_address;   /* NULL: all */
	const char *bind_interface; /* NULL: any */
	const char *unix_path;	    /* not NULL: a Unix socket */
	uint16_t port;
	int family; /* AF_UNSPEC, AF_INET, AF_INET6 */
	bool tcp_nodelay;
	int64_t max_connections; /* -1: no limit */
	uint16_t index;		 /* handed to on_client and on_http */
	bool is_optional; /* a machine without this address is no error: the listener stays shut */
	enum listener_protocol protocol;
	enum listener_proxy proxy;
	const struct trusted_addresses *trusted; /* who may send a PROXY header; NULL: nobody */
	struct tls_server *tls;			 /* NULL: no TLS here. Both outlive the listener */
	/*
	 * On a worker: a connection that speaks MQTT. Takes descriptor and SSL object. false: refused,
	 * the caller closes them.
	 */
	bool (*on_client)(struct worker *me, const struct newcomer *newcomer);
	/* The same for one that speaks HTTP, from its first byte (is_tls: from the ClientHello). NULL:
	 * nobody serves HTTP. */
	bool (*on_http)(struct worker *me, const struct newcomer *newcomer, bool is_tls);
};

/* Main thread. Opens the sockets; nothing is accepted yet. detail says which address and why. */
enum err listener_open(const struct listener_settings *settings, unsigned workers,
		       struct listener **out, struct err_detail *detail) ERR_CHECKED;
/* For each worker, on it: begins to accept. */
enum err listener_start(struct listener *listener, struct worker *me) ERR_CHECKED;
/* On the worker: empties the accept queue, closes the socket. */
void listener_stop(struct listener *listener, struct worker *me);
/* Main thread, after all workers have stopped it. Removes a Unix socket's path. */
void listener_close(struct listener **listener);

/* "127.0.0.1:1883", "unix:/run/nightjar.sock", for log lines. */
const char *listener_name(const struct listener *listener);
/* false: is_optional, and this machine has no such address. */
bool listener_is_open(const struct listener *listener);
uint16_t listener_port(const struct listener *listener);
const struct listener_settings *listener_settings_of(const struct listener *listener);

/* Any thread: a connection accepted by this listener has ended. */
void listener_forget_connection(struct listener *listener);
/* Any thread: one more that counts towards max_connections, though it was not accepted. */
void listener_take_place(struct listener *listener);

/* Main thread, at start: RLIMIT_NOFILE to its hard limit, descriptors 0 to 2 made to exist, and the
 * spare that is used when there are none left. Returns how many descriptors there may be. */
uint64_t descriptors_prepare(void);

#endif
