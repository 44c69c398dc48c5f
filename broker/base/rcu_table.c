/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rcu_table.c - growing under the feet of readers without moving anything.
 *
 * All nodes stand in one list, sorted by their hash with the bits reversed. A bucket is an entry
 * into this list: its head stands, as an element of the list, before the nodes whose hash ends
 * in the bucket's number.
 *
 *	4 buckets:  [00]->a->b->[10]->c->[01]->d->[11]->e->f
 *	5 buckets:  [000]->a->[100]->b->[010]->c->[001]->d->[011]->e->f
 *
 * A new bucket splits one by a head that is put into the middle of its nodes: readers that came
 * by the old head still find everything behind it.
 *
 * Who looks for what is not there would wait for the memory of two nodes on average, to see that they
 * are others. So a head has a mark, one of 31, for each node that was put behind it. Marks stay when
 * nodes go, and when their bucket is split, because a reader may still come by the old head: a table
 * through which very many pass loses what they save, and no more.
 *
 * Invariants, checked by rcu_table_audit():
 *   H1  The list is sorted by order.
 *   H2  Each bucket below bucket_count has its head in the list.
 *   H3  node_count is the number of odd orders in the list.
 *   H4  The head of a node's bucket has the node's mark.
 */
#include "base/rcu_table.h"

#include <stdlib.h>

#include "base/bug.h"

static unsigned segment_of(uint64_t bucket)
{
	return bucket < RCU_TABLE_FIRST_SEGMENT ? 0 : 58u - (unsigned)__builtin_clzll(bucket);
}

static uint64_t segment_buckets(unsigned segment)
{
	return segment == 0 ? RCU_TABLE_FIRST_SEGMENT
			    : (uint64_t)RCU_TABLE_FIRST_SEGMENT << (segment - 1);
}

static void link_after(struct rcu_table_node *before, struct rcu_table_node *node)
{
	__atomic_store_n(&node->next, before->next, __ATOMIC_RELAXED);
	__atomic_store_n(&before->next, node, __ATOMIC_RELEASE);
}

/* The last node from `at` on whose order is lower. */
static struct rcu_table_node *last_before(struct rcu_table_node *at, uint64_t order)
{
	while (at->next && rcu_table_rank(at->next) < order)
		at = at->next;
	return at;
}

static void mark(struct rcu_table_node *head, uint64_t order)
{
	__atomic_store_n(&head->order, head->order | rcu_table_mark(order), __ATOMIC_RELAXED);
}

/* Is the head's bucket empty, and was it always? Then its nodes need not be looked at. */
static bool has_no_marks(const struct rcu_table_node *head)
{
	return (__atomic_load_n(&head->order, __ATOMIC_RELAXED) & UINT32_MAX) == 0;
}

/*
 * Heads that are split one after the other stand side by side, their nodes anywhere, and to wait for
 * those was most of what a bucket costs. So they are fetched ahead, each as soon as the one before it
 * must have come.
 */
static void fetch_ahead(const struct rcu_table *table, uint64_t parent)
{
	const struct rcu_table_node *first = rcu_table_bucket(table, parent + 6)->next;
	const struct rcu_table_node *near = rcu_table_bucket(table, parent + 3)->next;

	__builtin_prefetch(rcu_table_bucket(table, parent + 9)->next);
	if (first)
		__builtin_prefetch(first->next);
	if (near && near->next)
		__builtin_prefetch(near->next->next);
}

/* Adds the head of bucket number bucket_count; its memory is there. */
static void bucket_add(struct rcu_table *table)
{
	uint64_t bucket = table->bucket_count;
	uint64_t parent = bucket & ~(1ull << (63 - __builtin_clzll(bucket)));
	struct rcu_table_node *head = rcu_table_bucket(table, bucket);
	struct rcu_table_node *split = rcu_table_bucket(table, parent);

	fetch_ahead(table, parent);
	head->order = rcu_table_reverse(bucket);
	if (has_no_marks(split)) {
		link_after(split, head);
	} else {
		link_after(last_before(split, head->order), head);
		for (const struct rcu_table_node *n = head->next; n && n->order & 1; n = n->next)
			mark(head, n->order);
	}
	__atomic_store_n(&table->bucket_count, bucket + 1, __ATOMIC_RELEASE);
}

enum err rcu_table_init(struct rcu_table *table)
{
	*table = (struct rcu_table){0};
	table->segment[0] = calloc(RCU_TABLE_FIRST_SEGMENT, sizeof *table->segment[0]);
	if (!table->segment[0])
		return ERR_NOMEM;
	table->bucket_count = 1;
	while (table->bucket_count < RCU_TABLE_FIRST_SEGMENT)
		bucket_add(table);
	return ERR_NONE;
}

void rcu_table_fini(struct rcu_table *table)
{
	for (unsigned i = 0; i < RCU_TABLE_SEGMENTS; i++)
		free(table->segment[i]);
	*table = (struct rcu_table){0};
}

/* Half a segment ahead, so that many nodes can be inserted after one call. */
void rcu_table_prepare(struct rcu_table *table)
{
	uint64_t count = __atomic_load_n(&table->bucket_count, __ATOMIC_ACQUIRE);
	unsigned segment = segment_of(count + count / 2);
	struct rcu_table_node *memory, *expected = NULL;

	if (segment >= RCU_TABLE_SEGMENTS ||
	    __atomic_load_n(&table->segment[segment], __ATOMIC_RELAXED))
		return;
	memory = calloc(segment_buckets(segment), sizeof *memory);
	if (memory && !__atomic_compare_exchange_n(&table->segment[segment], &expected, memory,
						   false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		free(memory); /* another thread was quicker */
}

static void table_grow(struct rcu_table *table)
{
	unsigned segment = segment_of(table->bucket_count);

	if (segment < RCU_TABLE_SEGMENTS &&
	    __atomic_load_n(&table->segment[segment], __ATOMIC_ACQUIRE))
		bucket_add(table);
}

void rcu_table_expect_insert(const struct rcu_table_node *head, uint64_t order)
{
	const struct rcu_table_node *next;

	if (has_no_marks(head))
		return;
	next = rcu_table_next(head);
	if (next && rcu_table_rank(next) < order)
		__builtin_prefetch(rcu_table_next(next));
}

void rcu_table_insert(struct rcu_table *table, struct rcu_table_node *node)
{
	struct rcu_table_node *head = rcu_table_head(table, rcu_table_reverse(node->order));
	struct rcu_table_node *before;

	before = has_no_marks(head) ? head : last_before(head, node->order);
	mark(head, node->order);
	link_after(before, node);
	/* Two steps a node: a table that had to wait for memory catches up. */
	table->node_count++;
	for (int i = 0; i < 2 && table->node_count > table->bucket_count; i++)
		table_grow(table);
}

void rcu_table_remove(struct rcu_table *table, struct rcu_table_node *node)
{
	struct rcu_table_node *before = rcu_table_head(table, rcu_table_reverse(node->order));

	while (before->next != node) {
		before = before->next;
		BUG_ON(!before);
	}
	/* node->next stays, for readers that stand at the node. */
	__atomic_store_n(&before->next, node->next, __ATOMIC_RELEASE);
	table->node_count--;
}

struct rcu_table_node *rcu_table_after(const struct rcu_table *table, uint64_t order)
{
	struct rcu_table_node *node = rcu_table_head(table, rcu_table_reverse(order));

	do {
		node = rcu_table_next(node);
	} while (node && (rcu_table_rank(node) <= order || !(rcu_table_rank(node) & 1)));
	return node;
}

static bool bucket_is_in_list(const struct rcu_table *table, uint64_t bucket)
{
	struct rcu_table_node *head = rcu_table_bucket(table, bucket);
	const struct rcu_table_node *node = &table->segment[0][0];

	if (bucket != 0) {
		uint64_t parent = bucket & ~(1ull << (63 - __builtin_clzll(bucket)));

		node = rcu_table_bucket(table, parent);
	}
	while (node && node != head && rcu_table_rank(node) <= rcu_table_rank(head))
		node = node->next;
	return node == head && rcu_table_rank(head) == rcu_table_reverse(bucket);
}

void rcu_table_audit(const struct rcu_table *table)
{
	uint64_t nodes = 0;

	for (const struct rcu_table_node *n = &table->segment[0][0]; n; n = n->next) {
		BUG_ON(n->next && rcu_table_rank(n->next) < rcu_table_rank(n));
		BUG_ON(n->order & 1 &&
		       !rcu_table_may_have(rcu_table_head(table, rcu_table_reverse(n->order)),
					   n->order));
		nodes += n->order & 1;
	}
	BUG_ON(nodes != table->node_count);
	for (uint64_t bucket = 0; bucket < table->bucket_count; bucket++)
		BUG_ON(!bucket_is_in_list(table, bucket));
}
