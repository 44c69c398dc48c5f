/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic_trie.h - levels below levels: what the tree of subscriptions and that of retained messages
 * have in common.
 *
 * A node is one level, or several where nothing branches, which is what keeps a broker with a million
 * of them small. It is part of a larger object whose shape a struct trie_type describes. The nodes
 * of a trie stand in one hash table (base/rcu_table.h), found by parent and level. A trie holds
 * one of two things:
 *
 *	filters  One without a wildcard matches nothing but itself: it is a node of its own below the
 *		 root, found by its whole name in one step. Only the others are taken apart.
 *	topics	 All of them are below each other, because they are looked for by filters. What no
 *		 other topic shares is one node, the tail:
 *
 *		 device --+-- "1/state"			device --+-- "1/state"
 *			  +-- "2/state"				 +-- "2/state"
 *								 +-- 2 -- "cmd"
 *			     a topic more: device/2/cmd
 *
 *		 A node never changes. So a tail stays what it is when another topic begins with its
 *		 first level: that one gets the node of this level. A look at one level therefore
 *		 finds two nodes at most that begin with it, the level's own and then a tail.
 *
 * Threads: functions without a suffix run on any registered thread; those that give out a node run
 * inside an RCU read section, which is how long the node is sure to exist. _locked: the caller
 * holds the trie's lock. While it is held nothing is allocated and nothing is waited for.
 */
#ifndef NIGHTJAR_ROUTE_TOPIC_TRIE_H
#define NIGHTJAR_ROUTE_TOPIC_TRIE_H

#include <pthread.h>

#include "base/counters.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/rcu.h"
#include "base/rcu_table.h"
#include "base/slab.h"
#include "base/slice.h"
#include "mqtt/topic.h"

enum trie_kind {
	TRIE_LITERAL, /* one level */
	TRIE_PLUS,
	TRIE_HASH,
	TRIE_WHOLE, /* a filter without wildcards, below the root; hashed by all of its name */
	TRIE_TAIL,  /* the last levels of a topic, two or more; hashed by the first of them */
	TRIE_ROOT
};

enum trie_flag {
	TRIE_HAS_PLUS = 1 << 0, /* one of the children is '+' */
	TRIE_HAS_HASH = 1 << 1, /* one of the children is '#' */
	TRIE_DEAD = 1 << 2,	/* taken out; the memory goes when its readers have left */
};

struct trie_node {
	struct rcu_table_node table; /* first member */
	struct trie_node *parent;    /* of a dead node: the next dead one */
	/* Written with the lock held, read by any thread. */
	uint32_t children;
	uint8_t flags;
	/* Frozen. */
	uint8_t kind;
	uint16_t name_len;
};

struct topic_trie;

struct trie_type {
	bool holds_topics;  /* else filters */
	size_t name_offset; /* of the name in the whole object */
	size_t node_bytes;  /* of the object without its name: at least name_offset */
	enum memory_class memory_class;
	enum histogram lock_held; /* where it is recorded how long */
	/*
	 * With the lock held: nothing is below the node. Does its user need it? If not, he must make
	 * sure at the same time that nobody can begin to, and the node goes.
	 */
	bool (*retire_locked)(struct topic_trie *trie, struct trie_node *node);
	/* With the lock held, just before a node can be found, and when it cannot any more; its
	 * parent is set. NULL: not wanted. */
	void (*on_link_locked)(struct topic_trie *trie, struct trie_node *node);
	void (*on_unlink_locked)(struct topic_trie *trie, struct trie_node *node);
	/* When the last reader has left, just before the memory goes; NULL: not wanted. */
	void (*fini)(struct trie_node *node);
};

struct topic_trie {
	struct rcu_table table;
	const struct trie_type *type;
	struct trie_node *root;	       /* never goes, is not in the table, has no name */
	uint64_t plus_hash, hash_hash; /* trie_level_hash() of the two wildcards */
	/* Written with the lock held, read by any thread: */
	uint64_t branches; /* the root's children but for TRIE_WHOLE */
	uint64_t removals; /* how many nodes have gone */

	pthread_mutex_t lock __attribute__((aligned(64)));
	uint64_t changes; /* how many nodes came or went; read by any thread */
	/* Dead nodes: those that wait for their grace period, and those that came meanwhile. */
	struct trie_node *dying, *dead;
	struct rcu_head grace;
	bool is_grace_running;
	uint32_t times_locked;
	uint64_t locked_ns; /* when the lock was taken that is held now; 0: it is not timed */

	struct slab slab __attribute__((aligned(64))); /* of nodes */
};

enum err topic_trie_init(struct topic_trie *trie, const struct trie_type *type) ERR_CHECKED;
/* No readers and no writers any more. Frees all nodes. Waits for what was deferred. */
void topic_trie_fini(struct topic_trie *trie);

void topic_trie_lock(struct topic_trie *trie);
void topic_trie_unlock(struct topic_trie *trie);

static inline uint64_t trie_level_hash(struct slice level)
{
	return hash_bytes(level.data, level.len);
}

/* Of the whole path down to the child: so it is known before the parent has been looked up. */
static inline uint64_t trie_child_hash(uint64_t parent_order, uint64_t level_hash)
{
	uint64_t x = (parent_order ^ level_hash) * 0x9e3779b97f4a7c15u;

	return x ^ x >> 32;
}

/*
 * A node of several levels comes right behind the one of the same hash, so that one walk finds both,
 * and no two of a trie have the same order.
 */
#define TRIE_ORDER_LONG 2u

static inline uint64_t trie_order(uint64_t child_hash, enum trie_kind kind)
{
	uint64_t order = rcu_table_order(child_hash) & ~(uint64_t)TRIE_ORDER_LONG;

	return kind == TRIE_WHOLE || kind == TRIE_TAIL ? order | TRIE_ORDER_LONG : order;
}

static inline struct slice trie_node_name(const struct trie_type *type,
					  const struct trie_node *node)
{
	return slice_of((const uint8_t *)node + type->name_offset, node->name_len);
}

/* The child of this kind and name, or NULL. */
struct trie_node *topic_trie_child(const struct topic_trie *trie, const struct trie_node *parent,
				   enum trie_kind kind, struct slice level, uint64_t level_hash);

/* The wildcard children. Look at parent's flags first. */
struct trie_node *topic_trie_plus(const struct topic_trie *trie, const struct trie_node *parent);
struct trie_node *topic_trie_hash(const struct topic_trie *trie, const struct trie_node *parent);

#define TRIE_TAILS 4u

/* Where a filter or topic is, or how far one comes on the way to it. */
struct trie_place {
	struct slice filter;
	struct trie_node *node;	  /* its own, or the last one that there is above it */
	struct topic_levels rest; /* what is missing below node; rest.at is NULL: nothing */
	uint64_t changes;	  /* the trie's, before it was looked at */
	/* On the way down: tails of other topics that begin like a level that has a node as well. There
	 * can be one for each level; beyond TRIE_TAILS they are only counted. */
	const struct trie_node *tail[TRIE_TAILS];
	unsigned tails;
	uint64_t level_hash; /* of the first that is missing; with is_whole of all of the rest */
	uint16_t level_len;  /* the same */
	bool is_whole;	     /* rest is one name */
	bool has_tail;	     /* below node a tail of another topic begins like rest */
};

/* The node of exactly this filter or topic, or NULL; look() says besides where it would be. */
struct trie_node *topic_trie_find(const struct topic_trie *trie, struct slice filter);
struct trie_node *topic_trie_look(const struct topic_trie *trie, struct slice filter,
				  struct trie_place *out_place);
/* The rest of looking: from where the place is, as far down as there are nodes. */
void topic_trie_go_down(const struct topic_trie *trie, struct trie_place *place);

/*
 * A child with this hash will be looked for soon: begins to fetch from memory what that reads first,
 * and what it gives, given to topic_trie_expect_more() a while later, what it reads then.
 */
static inline const struct rcu_table_node *topic_trie_expect(const struct topic_trie *trie,
							     const struct trie_node *parent,
							     uint64_t level_hash)
{
	const struct rcu_table_node *head =
		rcu_table_head(&trie->table, trie_child_hash(parent->table.order, level_hash));

	__builtin_prefetch(head);
	return head;
}

static inline void topic_trie_expect_more(const struct rcu_table_node *expected)
{
	__builtin_prefetch(rcu_table_next(expected));
}

/* The filter without wildcards that is this topic, or NULL. topic_hash: trie_level_hash(topic). */
struct trie_node *topic_trie_whole(const struct topic_trie *trie, struct slice topic,
				   uint64_t topic_hash);

/* Children that are this level or begin with it: the first one, and the next behind a child. */
struct trie_node *topic_trie_beginning(const struct topic_trie *trie,
				       const struct trie_node *parent, struct slice level);
struct trie_node *topic_trie_beginning_next(const struct topic_trie *trie,
					    const struct trie_node *parent,
					    const struct trie_node *child, struct slice level);

/*
 * The node of a place, made with all that is missing above it, and with the lock held
 * attach_locked(node, context), so that it is needed before anyone can find it useless. In the read
 * section in which topic_trie_look() gave the place, of a valid filter or topic.
 */
enum err topic_trie_make(struct topic_trie *trie, struct trie_place *place,
			 void (*attach_locked)(struct trie_node *node, void *context),
			 void *context) ERR_CHECKED;

/* Takes out the node and what is above it, as far as it is not needed any more. */
void topic_trie_prune_locked(struct topic_trie *trie, struct trie_node *node);

/* Writes the filter if it fits, and returns its length. The node must be alive (lock, or in use). */
size_t topic_trie_path(const struct trie_type *type, const struct trie_node *node, uint8_t *out,
		       size_t cap);

/* For walks over all nodes in no order: the first behind this order (0: all), or NULL. */
static inline struct trie_node *topic_trie_after(const struct topic_trie *trie, uint64_t order)
{
	return (struct trie_node *)(void *)rcu_table_after(&trie->table, order);
}

/* Checks the invariants of topic_trie.c; stops on a fault. is_needed: as the user sees the node. */
void topic_trie_audit_locked(const struct topic_trie *trie,
			     bool (*is_needed)(const struct trie_node *node));

#endif
