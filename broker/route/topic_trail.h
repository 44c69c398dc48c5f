/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic_trail.h - topics that come one after the other, and mostly begin in the same way.
 *
 * Their first levels are one comparison then, instead of a look-up each; and what is looked up is
 * fetched from memory before its turn comes. For tries of topics.
 *
 * Owner: one thread, which uses a trail with one trie only. Functions run inside an RCU read section.
 */
#ifndef NIGHTJAR_ROUTE_TOPIC_TRAIL_H
#define NIGHTJAR_ROUTE_TOPIC_TRAIL_H

#include "route/topic_trie.h"

#define TOPIC_TRAIL_BYTES 96
#define TOPIC_TRAIL_EXPECTED 2

/* All 0 at first. The node is not kept: once any node of the trie has gone, the trail leads nowhere,
 * and begins anew. */
struct topic_trail {
	struct trie_node *node; /* NULL: none */
	uint64_t removals;	/* the trie's, from before node was found */
	uint16_t len;		/* of the levels down to node, and the '/' behind them */
	uint8_t topic[TOPIC_TRAIL_BYTES];
	/* Topics whose nodes are not below node, though they may begin as it does. */
	const struct trie_node *tail[TRIE_TAILS];
	unsigned tails;
	/* Places of topics that come: the next one first. */
	struct {
		const struct rcu_table_node *head; /* NULL: not known */
		uint64_t order;
	} expected[TOPIC_TRAIL_EXPECTED];
};

/* topic_trie_look(), from where the trail leads to. */
struct trie_node *topic_trail_look(const struct topic_trie *trie, struct topic_trail *trail,
				   struct slice topic, struct trie_place *out_place);

/*
 * Each time before a topic is looked for: the one that comes after TOPIC_TRAIL_EXPECTED others, or
 * an empty slice. Of that one, and those between, the memory is fetched that is read next.
 */
void topic_trail_expect(const struct topic_trie *trie, struct topic_trail *trail,
			struct slice topic);

#endif
