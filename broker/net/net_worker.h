/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_worker.h - what a worker keeps for its connections. Used by the files of net only.
 *
 * Owner: its worker.
 */
#ifndef NIGHTJAR_NET_NET_WORKER_H
#define NIGHTJAR_NET_NET_WORKER_H

#include "net/connection.h"

/* One read takes at most this much; also where packets of usual size are put together. */
#define NET_READ_BYTES 65536u
/* A turn stops reading after so many bytes, or so many microseconds. */
#define NET_TURN_BYTES (256u * 1024u)
#define NET_TURN_US 1000u
/* What a read costs beside its bytes, as if it were so many: a thousand connections that say four
 * bytes each take as long as one that says much. */
#define NET_READ_COST 512u
/* The clock is looked at each time so much has been read. */
#define NET_CLOCK_BYTES (16u * 1024u)

#define NET_CHUNK_CLASSES 3

struct net_chunk {
	struct net_chunk *next;
};

struct poller;
struct first_bytes;
struct tunnel;

struct net_worker {
	struct poller *poller; /* of the connections that have a descriptor */
	/* First come, first written: who had one message is not behind a fan-out that came later. */
	struct connection *dirty, **dirty_end;
	struct connection *resume, *reap;
	struct task resume_task;
	uint64_t turn; /* the turn that the budget belongs to */
	uint32_t turn_bytes, clock_at_bytes;
	struct net_chunk *free_chunks[NET_CHUNK_CLASSES];
	uint32_t free_count[NET_CHUNK_CLASSES];
	struct first_bytes *first_bytes;
	struct tunnel *tunnels;
	struct web_worker *web; /* NULL: nothing speaks HTTP */
	uint32_t relays;	/* that stand here for connections of other workers */
	uint8_t read_buffer[2u * NET_READ_BYTES];
};

static inline struct net_worker *net_worker_of(struct worker *worker)
{
	return worker->slot[WORKER_SLOT_NET];
}

/* Output memory: 4, 16 and 64 KiB from the worker's free lists, larger from malloc. */
uint8_t *net_chunk_alloc(struct net_worker *net, uint32_t need, uint32_t *out_cap);
void net_chunk_free(struct net_worker *net, uint8_t *chunk, uint32_t cap);

#endif
