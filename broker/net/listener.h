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

struct listener_settings {
	const char *bind_address;   /* NULL: all */
	const char *bind_interface; /* NULL: any */
	const char *unix_path;	    /* not NULL: a Unix socket */
	uint16_t port;
	int family; /* AF_UNSPEC, AF_INET, AF_INET6 */
	bool tcp_nodelay;
	int64_t max_connections; /* -1: no limit */
	uint16_t index;		 /* handed to on_accept */
	bool is_optional; /* a machine without this address is no error: the listener stays shut */
	/*
	 * On a worker: a new connection, not blocking. Takes the descriptor. false: refused, and the
	 * descriptor is closed by the caller.
	 */
	bool (*on_accept)(struct worker *me, uint16_t index, int fd, const struct address *address);
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

/* Any thread: a connection accepted by this listener has ended. */
void listener_forget_connection(struct listener *listener);

/* Main thread, at start: RLIMIT_NOFILE to its hard limit, descriptors 0 to 2 made to exist, and the
 * spare that is used when there are none left. Returns how many descriptors there may be. */
uint64_t descriptors_prepare(void);

#endif
