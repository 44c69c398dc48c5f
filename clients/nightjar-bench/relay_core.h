/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_core.h - who gets a packet: the part of the relay that knows no sockets.
 */
#ifndef NIGHTJAR_BENCH_RELAY_CORE_H
#define NIGHTJAR_BENCH_RELAY_CORE_H

#include <stdbool.h>

#include "packet.h"

enum {
	RELAY_BUCKETS = 1 << 18,
	RELAY_PACKET_MAX = (1 << 20) + 4096,
};

struct relay_route;

/* Part of what serves a peer. */
struct relay_peer {
	int id;
	uint8_t version;
	struct relay_route **routes; /* where this peer is among the listeners */
	uint32_t route_count;
};

struct relay_core {
	/* Appends to the output of the peer with this id. */
	void (*put)(int id, const void *bytes, size_t count);
	struct relay_route *buckets[RELAY_BUCKETS];
	struct relay_route **wild;
	uint32_t wild_count;
};

/*
 * Handles all whole packets; returns how many bytes they are, or RELAY_CLOSE when the peer has said
 * goodbye or nonsense.
 */
#define RELAY_CLOSE SIZE_MAX
size_t relay_core_input(struct relay_core *core, struct relay_peer *peer, const uint8_t *data,
			size_t length);
/* The peer is gone. */
void relay_core_forget(struct relay_core *core, struct relay_peer *peer);

#endif
