/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - many clients on one epoll, in one thread.
 *
 * A turn waits for events, reads every readable client once, hands its packets over one after the
 * other in place, and then writes each client that has something to say once. So the number of
 * system calls depends on the number of busy clients, not on the number of messages.
 *
 *      engine_wait:  epoll -> read -> client->on_packet ... -> (clients are dirty)
 *      engine_flush: one write for each dirty client
 *
 * What a broker does that ends the run (closing a connection, nonsense) ends the process here.
 */
#ifndef NIGHTJAR_BENCH_ENGINE_H
#define NIGHTJAR_BENCH_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "options.h"
#include "packet.h"
#include "transport.h"

struct client;
struct engine;
struct histogram;

typedef void client_packet_fn(struct client *client, const struct packet *packet);

enum client_state {
	CLIENT_CLOSED,
	CLIENT_CONNECTING, /* CONNECT is sent or will be, CONNACK has not come */
	CLIENT_READY,
	CLIENT_LEAVING, /* DISCONNECT is sent; the broker has to close */
};

struct client {
	struct transport transport;
	struct engine *engine;
	client_packet_fn *on_packet; /* for all but CONNACK and PINGRESP */
	enum client_state state;
	bool dirty;   /* in engine->dirty */
	bool blocked; /* waits until the transport takes more */
	bool watches_write;
	bool session_present;
	uint32_t number;
	uint32_t awaited; /* answers that a scenario waits for, such as SUBACKs */
	struct bytes in;  /* the beginning of a packet, between two reads */
	struct bytes out; /* bytes before out_sent are gone already */
	size_t out_sent;
	uint64_t opened_ns;
};

struct engine {
	const struct options *options;
	struct endpoint endpoints[2];
	uint32_t endpoint_count;
	uint32_t opened; /* connections go to the endpoints by turns */
	int epoll_fd;
	uint64_t now_ns; /* when the current read returned */
	uint8_t *buffer; /* shared by all reads */
	struct client **dirty;
	uint32_t dirty_count, dirty_room;
	uint32_t ready_count;		   /* clients that got a CONNACK */
	uint32_t leaving_count;		   /* clients that wait for the broker to close */
	uint16_t receive_maximum;	   /* the least that a CONNACK of this run announced */
	struct histogram *connect_latency; /* from connect to CONNACK; may be NULL */
	void (*on_connected)(struct client *client); /* may be NULL */
};

void engine_init(struct engine *engine, const struct options *options);
/* All clients are closed before. */
void engine_fini(struct engine *engine);

/*
 * Waits at most timeout_ns for events and reads; returns the number of events. Call engine_flush
 * before, so that nothing that a broker should answer is left unsent.
 */
int engine_wait(struct engine *engine, uint64_t timeout_ns);
void engine_flush(struct engine *engine);

/*
 * Opens the connection and queues CONNECT as "<prefix>-<role><number>". The client's memory stays
 * the caller's and is valid until it is closed. client->number and on_packet are set before.
 */
void client_open(struct client *client, struct engine *engine, const char *role, bool clean_start);

/* Puts the client on the list of those that engine_flush writes. */
void client_mark_dirty_slowly(struct client *client);

static inline void client_mark_dirty(struct client *client)
{
	if (!client->dirty)
		client_mark_dirty_slowly(client);
}

/* Queues a PINGREQ. */
void client_ping(struct client *client);

/* Bytes that are queued and not yet taken by the kernel. */
static inline size_t client_unsent(const struct client *client)
{
	return client->out.length - client->out_sent;
}

/* Says DISCONNECT and waits for the broker to close (engine_wait until leaving_count is 0). */
void client_leave(struct client *client);
/* Says DISCONNECT if the kernel takes it, and closes at once. */
void client_close(struct client *client);

/*
 * Runs turns until *counter reaches wanted; fails with `what` when nothing changes for
 * ENGINE_PATIENCE_S.
 */
enum { ENGINE_PATIENCE_S = 20 };
void engine_run_until(struct engine *engine, const uint32_t *counter, uint32_t wanted,
		      const char *what);

#endif
