/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rcu_table.h - a hash table that is read without waiting and grows a bucket at a time.
 *
 * Threads: look-ups run inside an RCU read section on any registered thread. Inserting and
 * removing are serialised by a lock of the user's; they take no memory and O(1) time, so that
 * the lock is held for a moment. Memory for growth is got beforehand, without the lock, by
 * rcu_table_prepare(). A removed node must not be freed before the readers have left (rcu.h).
 *
 * The node is part of the user's object. Keys are the user's business: the table knows 64-bit
 * hashes, and the user compares.
 */
#ifndef NIGHTJAR_BASE_RCU_TABLE_H
#define NIGHTJAR_BASE_RCU_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rcu_table_node {
	struct rcu_table_node *next;
	uint64_t order; /* the hash, bits reversed; odd, where bucket heads have an even one */
};

/* Segment 0 has the first buckets, segment i as many as all before it together. */
#define RCU_TABLE_SEGMENTS 32
#define RCU_TABLE_FIRST_SEGMENT 64u

struct rcu_table {
	/* Read by all: */
	uint64_t bucket_count;
	struct rcu_table_node *segment[RCU_TABLE_SEGMENTS];
	/* Guarded by the user's lock: */
	uint64_t node_count;
};

enum err rcu_table_init(struct rcu_table *table) ERR_CHECKED;
/* No readers any more. The nodes are the user's to free. */
void rcu_table_fini(struct rcu_table *table);

/* Gets memory for the buckets that come next. Without it the table works, and gets slower. */
void rcu_table_prepare(struct rcu_table *table);

/* node->order must be set to rcu_table_order(hash). */
void rcu_table_insert(struct rcu_table *table, struct rcu_table_node *node);
void rcu_table_remove(struct rcu_table *table, struct rcu_table_node *node);

static inline uint64_t rcu_table_reverse(uint64_t v)
{
	v = __builtin_bswap64(v);
	v = (v >> 4 & 0x0f0f0f0f0f0f0f0full) | (v & 0x0f0f0f0f0f0f0f0full) << 4;
	v = (v >> 2 & 0x3333333333333333ull) | (v & 0x3333333333333333ull) << 2;
	return (v >> 1 & 0x5555555555555555ull) | (v & 0x5555555555555555ull) << 1;
}

static inline uint64_t rcu_table_order(uint64_t hash)
{
	return rcu_table_reverse(hash) | 1;
}

static inline struct rcu_table_node *rcu_table_bucket(const struct rcu_table *table,
						      uint64_t bucket)
{
	unsigned segment;

	if (bucket < RCU_TABLE_FIRST_SEGMENT)
		return &table->segment[0][bucket];
	segment = 63u - (unsigned)__builtin_clzll(bucket);
	return __atomic_load_n(&table->segment[segment - 5], __ATOMIC_RELAXED) +
	       (bucket - (1ull << segment));
}

/* The head of the bucket that hash belongs to at this moment. */
static inline struct rcu_table_node *rcu_table_head(const struct rcu_table *table, uint64_t hash)
{
	uint64_t count = __atomic_load_n(&table->bucket_count, __ATOMIC_ACQUIRE);
	uint64_t mask = ~0ull >> __builtin_clzll(count - 1);
	uint64_t bucket = hash & mask;

	/* The last doubling is still going on, and has not come to this bucket. */
	if (bucket >= count)
		bucket &= mask >> 1;
	return rcu_table_bucket(table, bucket);
}

static inline struct rcu_table_node *rcu_table_next(const struct rcu_table_node *node)
{
	return __atomic_load_n(&node->next, __ATOMIC_ACQUIRE);
}

/* The first node with this order behind `node`, or NULL. Start with rcu_table_head(). */
static inline struct rcu_table_node *rcu_table_find(const struct rcu_table_node *node,
						    uint64_t order)
{
	struct rcu_table_node *next = rcu_table_next(node);

	while (next && next->order < order)
		next = rcu_table_next(next);
	return next && next->order == order ? next : NULL;
}

/* The first node that comes after this order (0: the very first), or NULL: to go through all. */
struct rcu_table_node *rcu_table_after(const struct rcu_table *table, uint64_t order);

/* Checks the table with the lock held; stops on a fault. */
void rcu_table_audit(const struct rcu_table *table);

#endif
