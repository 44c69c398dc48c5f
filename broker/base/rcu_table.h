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
	/* The hash, bits reversed; odd. The head of a bucket has an even one, of which the upper half
	 * counts for the order; the lower half has a mark for each node that was ever put there. */
	uint64_t order;
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

/* A node of this order will be inserted soon; the head of its bucket and the node behind that are
 * there: begins to fetch what is read next. Inside a read section. */
void rcu_table_expect_insert(const struct rcu_table_node *head, uint64_t order);

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

/* One bit of 31, above the one that tells heads from nodes. */
static inline uint64_t rcu_table_mark(uint64_t order)
{
	return 2ull << (order >> 3 & 31) % 31;
}

/* By what elements are sorted. */
static inline uint64_t rcu_table_rank(const struct rcu_table_node *node)
{
	uint64_t order = __atomic_load_n(&node->order, __ATOMIC_RELAXED);

	return order & 1 ? order : order >> 32 << 32;
}

/* Is there perhaps a node of this order in the head's bucket? Most that are not there are known not
 * to be by this one look, without a step to where the bucket's nodes are. */
static inline bool rcu_table_may_have(const struct rcu_table_node *head, uint64_t order)
{
	return (__atomic_load_n(&head->order, __ATOMIC_RELAXED) & rcu_table_mark(order)) != 0;
}

/* The first node with this order behind `node`, or NULL. */
static inline struct rcu_table_node *rcu_table_find(const struct rcu_table_node *node,
						    uint64_t order)
{
	struct rcu_table_node *next = rcu_table_next(node);

	while (next && rcu_table_rank(next) < order)
		next = rcu_table_next(next);
	return next && rcu_table_rank(next) == order ? next : NULL;
}

/* The first node of all with this hash, whose order may differ from rcu_table_order(hash) in bit 1;
 * the next ones with rcu_table_find(). */
static inline struct rcu_table_node *rcu_table_first(const struct rcu_table *table, uint64_t hash,
						     uint64_t order)
{
	const struct rcu_table_node *head = rcu_table_head(table, hash);

	return rcu_table_may_have(head, order) ? rcu_table_find(head, order) : NULL;
}

/* The first node that comes after this order (0: the very first), or NULL: to go through all. */
struct rcu_table_node *rcu_table_after(const struct rcu_table *table, uint64_t order);

/* Checks the table with the lock held; stops on a fault. */
void rcu_table_audit(const struct rcu_table *table);

#endif
