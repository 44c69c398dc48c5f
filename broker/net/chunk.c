/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk.c - output memory, which lives for one turn in the usual case.
 *
 * A connection holds a chunk only while it has output, so a worker needs as many as it has
 * connections that were written to in one turn. Free ones are kept up to NET_KEEP_BYTES a class.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "net/net_worker.h"

#define NET_KEEP_BYTES (1024u * 1024u)

static const uint32_t chunk_bytes[NET_CHUNK_CLASSES] = {4096, 16384, 65536};

static int chunk_class(uint32_t bytes)
{
	for (int i = 0; i < NET_CHUNK_CLASSES; i++) {
		if (bytes <= chunk_bytes[i])
			return i;
	}
	return -1;
}

uint8_t *net_chunk_alloc(struct net_worker *net, uint32_t need, uint32_t *out_cap)
{
	int class = chunk_class(need);
	uint32_t bytes = class < 0 ? need : chunk_bytes[class];
	struct net_chunk *chunk;

	if (class >= 0 && net->free_chunks[class]) {
		chunk = net->free_chunks[class];
		net->free_chunks[class] = chunk->next;
		net->free_count[class]--;
	} else {
		chunk = malloc(bytes);
	}
	if (!chunk)
		return NULL;
	memory_charge(MEMORY_OUTPUT, bytes);
	*out_cap = bytes;
	return (uint8_t *)chunk;
}

void net_chunk_free(struct net_worker *net, uint8_t *bytes, uint32_t cap)
{
	struct net_chunk *chunk = (void *)bytes;
	int class = chunk_class(cap);

	if (!chunk)
		return;
	memory_uncharge(MEMORY_OUTPUT, cap);
	if (class < 0 || chunk_bytes[class] != cap ||
	    net->free_count[class] * chunk_bytes[class] >= NET_KEEP_BYTES) {
		free(chunk);
		return;
	}
	chunk->next = net->free_chunks[class];
	net->free_chunks[class] = chunk;
	net->free_count[class]++;
}
