/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retained_tree.h - what retained.c and retained_cursor.c share; nobody else includes it.
 *
 * A node is kept in the trie by its message, by what is below it, or by pins. Pins are taken and
 * given back without the lock; retained_pin() and retained_unpin() say how.
 */
#ifndef NIGHTJAR_ROUTE_RETAINED_TREE_H
#define NIGHTJAR_ROUTE_RETAINED_TREE_H

#include "route/retained.h"
#include "route/topic_trie.h"

struct retained_node {
	struct trie_node trie; /* first member */
	/* Read by any thread under RCU, written with the lock held. A node that goes keeps its
	 * sibling, for readers that stand at it. */
	struct retained_node *first_child, *sibling;
	struct retained_node **psibling; /* guarded by the lock */
	/* NULL: never set. With an empty payload: removed. RETAINED_DEAD: the node goes. */
	struct message *message;
	uint64_t version; /* the last that was given out here; atomic */
	uint32_t pins;	  /* atomic */
	uint8_t name[];
};

struct retained {
	struct topic_trie trie;		     /* first member */
	struct retained_settings settings;   /* single fields, atomic */
	uint64_t count, bytes, expiring;     /* atomic */
	uint64_t of_broker, bytes_of_broker; /* atomic; the part of the broker itself */
	uint64_t version_floor; /* written with the lock held: no node that went gave out more */
	uint64_t expire_order;	/* worker 0: how far the round of retained_expire_slice() is */
};

#define RETAINED_DEAD ((struct message *)8)

static inline struct retained_node *retained_node_of(struct trie_node *node)
{
	return (struct retained_node *)(void *)node;
}

/* There is something to deliver in it. Not for RETAINED_DEAD. */
static inline bool retained_is_set(const struct message *message)
{
	return message && message->payload_len > 0;
}

/* The node's message for a reader inside a section: set and not expired; otherwise NULL. */
struct message *retained_node_message(const struct retained_node *node);

/*
 * Inside a section: keeps the node, and all above it, in the trie from now on. False: it is going,
 * and there is nothing in it or below.
 */
bool retained_pin(struct retained *retained, struct retained_node *node);
void retained_unpin(struct retained *retained, struct retained_node *node);

/* Inside a section: takes out the node's message if it has expired. */
void retained_node_expire(struct worker *me, struct retained *retained, struct retained_node *node);

#endif
