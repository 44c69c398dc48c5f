/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic_tree.h - which subscriptions want this Topic Name?
 *
 * Promise: matching is wait-free and writes no shared memory; its cost grows with levels and
 * matches, never with the number of subscriptions. Adding or removing a subscriber is O(1) beyond
 * the path. Levels and nodes are topic_trie.h's, which retained messages use as well.
 *
 * Threads: topic_tree_match() and _find() run inside an RCU read section on any registered thread.
 * topic_tree_add()/_remove() run on the worker that owns the link; they take the tree's mutex
 * when the path or the worker's list at the node begins or ends, with no allocation inside.
 */
#ifndef NIGHTJAR_ROUTE_TOPIC_TREE_H
#define NIGHTJAR_ROUTE_TOPIC_TREE_H

#include "base/err.h"
#include "base/slice.h"
#include "runtime/worker.h"

struct topic_tree;
struct topic_node;

/* One subscriber at one node; embedded in struct subscription. Owner: its worker. */
struct topic_link {
	struct topic_link *next, **pprev;
	struct topic_node *node; /* NULL: not in the tree */
};

enum err topic_tree_create(struct topic_tree **out) ERR_CHECKED;
void topic_tree_destroy(struct topic_tree **tree); /* no readers, no links any more */

/* Subscribers of one match, for one worker. Reused from call to call: no allocation once warm. */
struct topic_match {
	struct topic_link **own; /* first link of each matching node's list of this worker */
	uint32_t own_count, own_cap;
	uint64_t others[WORKERS_MAX / 64]; /* bit set: that other worker has subscribers here */
	bool has_others;
	struct topic_node **frontier; /* topic_tree.c's own */
	uint32_t frontier_cap;
};

void topic_match_fini(struct topic_match *match);

/* A filter (already checked, without $share prefix). Links in on behalf of `worker`. */
enum err topic_tree_add(struct topic_tree *tree, uint16_t worker, struct slice filter,
			struct topic_link *link) ERR_CHECKED;
void topic_tree_remove(struct topic_tree *tree, uint16_t worker, struct topic_link *link);

/* The generation rises with every change that matching can see. Read it (acquire) before matching;
 * a result may be cached as long as it has not changed. */
uint64_t topic_tree_generation(const struct topic_tree *tree);
/* Raises the generation: a subscription was changed where it stands. */
void topic_tree_touch(struct topic_tree *tree);

/* topic_hash: hash_slice(topic). */
enum err topic_tree_match(const struct topic_tree *tree, uint16_t worker, struct slice topic,
			  uint64_t topic_hash, struct topic_match *match) ERR_CHECKED;

/* The node of exactly this filter, or NULL. */
struct topic_node *topic_tree_find(const struct topic_tree *tree, struct slice filter);
/* The first of the worker's own links at the node; on that worker. */
struct topic_link *topic_node_links(struct topic_node *node, uint16_t worker);
/* Writes the whole filter or topic of the node; returns its length (may be larger than cap). */
size_t topic_node_path(const struct topic_node *node, uint8_t *out, size_t cap);

struct topic_tree_stats {
	uint64_t nodes, links;
};
void topic_tree_stats(const struct topic_tree *tree, struct topic_tree_stats *out);
/* Calls visit for every node that has subscribers, in no order, from any registered thread (takes
 * its own read sections in slices). For the log (SIGUSR2). */
void topic_tree_visit(struct topic_tree *tree,
		      void (*visit)(void *context, struct slice filter, uint32_t workers),
		      void *context);
/* Checks the invariants T1.. of topic_tree.c with the mutex held and no writers; stops on a fault. */
void topic_tree_audit(struct topic_tree *tree);

#endif
