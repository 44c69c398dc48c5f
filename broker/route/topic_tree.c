/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic_tree.c - which subscriptions want this Topic Name?
 *
 *      plant/line1/temp              {A}
 *      plant --+-- (plus) --- temp   {B}
 *              +-- (hash)            {C}        "plant/line1/temp" -> A B C
 *
 * A filter without wildcards matches one topic, and is found by all of its name. For the others a
 * match goes down level by level with the set of nodes that match so far (the frontier): from
 * each node to the child of the level's name and to the child '+'; a child '#' takes everything.
 *
 * A node's subscribers stand in a list per worker, which only that worker walks and changes. Others
 * look whether the list's head is NULL. A list that begins or ends does so with the trie's lock
 * held, because that decides whether the node may go.
 *
 * Threads: readers are wait-free (RCU); writers hold the trie's lock, but for the links of a list
 * that neither begins nor ends.
 *
 * Invariants, checked by topic_tree_audit() besides those of topic_trie.c:
 *   T1  A node without subscribers has a child; removal prunes upwards.
 *   T2  A slot belongs to one worker until its node goes, so that nobody takes another's list for
 *       his own.
 *   T3  A list is linked both ways, and its links name the node.
 * And by design, not by the audit:
 *   T4  A first-level wildcard never matches a topic in '$' [MQTT-4.7.2-1].
 *   T5  The generation rises after a change can be seen: what is read under the new one has it.
 */
#include "route/topic_tree.h"

#include <stdlib.h>

#include "base/bug.h"
#include "mqtt/topic.h"
#include "route/topic_trie.h"

/* One worker's list at a node, beyond the first, which has its place in the node. */
struct list_slot {
	struct list_slot *next;
	struct topic_link *head; /* written by its worker, read by any thread */
	uint16_t worker;	 /* frozen */
};

struct topic_node {
	struct trie_node trie; /* first member */
	struct topic_link *head;
	struct list_slot *more; /* grows at the front, with the lock held */
	uint16_t owner; /* head's worker + 1; set before head is for the first time, then frozen */
	uint8_t name[];
};

struct topic_tree {
	struct topic_trie trie;
	uint64_t generation __attribute__((aligned(64)));
	uint64_t links;
};

static struct topic_node *topic_node_of(struct trie_node *node)
{
	return (struct topic_node *)(void *)node;
}

static struct topic_link *head_load(struct topic_link *const *head)
{
	return __atomic_load_n(head, __ATOMIC_ACQUIRE);
}

static bool node_has_subscribers(const struct trie_node *trie_node)
{
	const struct topic_node *node = (const struct topic_node *)(const void *)trie_node;

	if (head_load(&node->head))
		return true;
	for (const struct list_slot *slot = node->more; slot; slot = slot->next)
		if (head_load(&slot->head))
			return true;
	return false;
}

/* A list begins with the lock held, so that this stays true until it is let go. */
static bool node_retire_locked(struct topic_trie *trie, struct trie_node *node)
{
	(void)trie;
	return !node_has_subscribers(node);
}

static void node_fini(struct trie_node *trie_node)
{
	struct list_slot *slot = topic_node_of(trie_node)->more;

	while (slot) {
		struct list_slot *next = slot->next;

		memory_uncharge(MEMORY_SUBSCRIPTION, sizeof *slot);
		free(slot);
		slot = next;
	}
}

static const struct trie_type tree_type = {
	.name_offset = offsetof(struct topic_node, name),
	.node_bytes = offsetof(struct topic_node, name),
	.memory_class = MEMORY_SUBSCRIPTION,
	.lock_held = HISTOGRAM_TREE_LOCK_SUBSCRIPTIONS,
	.retire_locked = node_retire_locked,
	.fini = node_fini,
};

enum err topic_tree_create(struct topic_tree **out)
{
	struct topic_tree *tree = aligned_alloc(64, sizeof *tree);
	enum err err;

	*out = NULL;
	if (!tree)
		return ERR_NOMEM;
	memset(tree, 0, sizeof *tree);
	err = topic_trie_init(&tree->trie, &tree_type);
	if (err != ERR_NONE) {
		free(tree);
		return err;
	}
	*out = tree;
	return ERR_NONE;
}

void topic_tree_destroy(struct topic_tree **tree)
{
	if (!*tree)
		return;
	BUG_ON((*tree)->links != 0);
	topic_trie_fini(&(*tree)->trie);
	free(*tree);
	*tree = NULL;
}

uint64_t topic_tree_generation(const struct topic_tree *tree)
{
	return __atomic_load_n(&tree->generation, __ATOMIC_ACQUIRE);
}

void topic_tree_touch(struct topic_tree *tree)
{
	__atomic_add_fetch(&tree->generation, 1, __ATOMIC_ACQ_REL);
}

/* The head of worker's list, or NULL when it has no slot here. On that worker. */
static struct topic_link **node_list(struct topic_node *node, uint16_t worker)
{
	if (head_load(&node->head) && node->owner == worker + 1)
		return &node->head;
	for (struct list_slot *slot = rcu_load(node->more); slot; slot = rcu_load(slot->next))
		if (slot->worker == worker)
			return &slot->head;
	return NULL;
}

struct topic_link *topic_node_links(struct topic_node *node, uint16_t worker)
{
	struct topic_link **list = node_list(node, worker);

	return list ? *list : NULL;
}

static void list_push(struct topic_link **head, struct topic_link *link)
{
	link->next = *head;
	link->pprev = head;
	if (link->next)
		link->next->pprev = &link->next;
	__atomic_store_n(head, link, __ATOMIC_RELEASE);
}

static void list_remove(struct topic_link *link)
{
	/* pprev may be the head, at which others look. */
	__atomic_store_n(link->pprev, link->next, __ATOMIC_RELEASE);
	if (link->next)
		link->next->pprev = link->pprev;
	link->next = NULL;
	link->pprev = NULL;
}

/* An attachment on its way. The slot is got when it has turned out that the node needs one more,
 * which is seldom: then it is tried again. */
struct attach {
	struct topic_link *link;
	struct list_slot *slot; /* NULL: none yet, or used */
	uint16_t worker;
	bool is_done;
};

static void attach_locked(struct trie_node *trie_node, void *context)
{
	struct topic_node *node = topic_node_of(trie_node);
	struct attach *attach = context;
	struct topic_link **list;

	attach->link->node = node;
	if (node->owner == 0)
		node->owner = (uint16_t)(attach->worker + 1);
	list = node->owner == attach->worker + 1 ? &node->head : node_list(node, attach->worker);
	attach->is_done = list || attach->slot;
	if (list)
		list_push(list, attach->link);
	if (list || !attach->slot)
		return;
	memory_charge(MEMORY_SUBSCRIPTION, sizeof *attach->slot);
	attach->slot->worker = attach->worker;
	list_push(&attach->slot->head, attach->link);
	attach->slot->next = node->more;
	rcu_publish(&node->more, attach->slot);
	attach->slot = NULL;
}

/* The list exists and is not empty: nobody can take the node away, and nobody else writes here. */
static bool add_to_living_list(struct topic_node *node, uint16_t worker, struct topic_link *link)
{
	struct topic_link **list = node_list(node, worker);

	if (!list || !*list)
		return false;
	link->node = node;
	list_push(list, link);
	return true;
}

static enum err add_to_new_list(struct topic_tree *tree, uint16_t worker, struct trie_place *place,
				struct topic_link *link)
{
	struct attach attach = {.link = link, .worker = worker};
	enum err err = topic_trie_make(&tree->trie, place, attach_locked, &attach);

	if (err == ERR_NONE && !attach.is_done) {
		attach.slot = calloc(1, sizeof *attach.slot);
		topic_trie_look(&tree->trie, place->filter, place);
		err = attach.slot ? topic_trie_make(&tree->trie, place, attach_locked, &attach)
				  : ERR_NOMEM;
		free(attach.slot);
	}
	return err;
}

enum err topic_tree_add(struct topic_tree *tree, uint16_t worker, struct slice filter,
			struct topic_link *link)
{
	struct trie_place place;
	struct trie_node *node;
	enum err err = ERR_NONE;

	rcu_read_section_begin();
	node = topic_trie_look(&tree->trie, filter, &place);
	if (!node || !add_to_living_list(topic_node_of(node), worker, link))
		err = add_to_new_list(tree, worker, &place, link);
	rcu_read_section_end();
	if (err != ERR_NONE)
		return err;
	__atomic_add_fetch(&tree->links, 1, __ATOMIC_RELAXED);
	topic_tree_touch(tree); /* T5 */
	return ERR_NONE;
}

void topic_tree_remove(struct topic_tree *tree, uint16_t worker, struct topic_link *link)
{
	struct topic_node *node = link->node;
	struct topic_link **list = node_list(node, worker);

	BUG_ON(!list || !*list);
	link->node = NULL;
	if (*list == link && !link->next) {
		topic_trie_lock(&tree->trie);
		list_remove(link);
		topic_trie_prune_locked(&tree->trie, &node->trie);
		topic_trie_unlock(&tree->trie);
	} else {
		list_remove(link);
	}
	__atomic_sub_fetch(&tree->links, 1, __ATOMIC_RELAXED);
	topic_tree_touch(tree);
}

void topic_match_fini(struct topic_match *match)
{
	free(match->own);
	free(match->frontier);
	*match = (struct topic_match){0};
}

static enum err match_add_own(struct topic_match *match, struct topic_link *first)
{
	if (match->own_count == match->own_cap) {
		uint32_t cap = match->own_cap ? match->own_cap * 2 : 16;
		struct topic_link **own = realloc(match->own, cap * sizeof *own);

		if (!own)
			return ERR_NOMEM;
		match->own = own;
		match->own_cap = cap;
	}
	match->own[match->own_count++] = first;
	return ERR_NONE;
}

static enum err match_add_list(struct topic_match *match, uint16_t me, uint16_t worker,
			       struct topic_link *first)
{
	if (worker == me)
		return match_add_own(match, first);
	match->others[worker / 64] |= 1ull << worker % 64;
	match->has_others = true;
	return ERR_NONE;
}

/* The subscribers of one node that matches. */
static enum err match_add_node(struct topic_match *match, uint16_t me,
			       const struct topic_node *node)
{
	struct topic_link *first = head_load(&node->head);
	enum err err = ERR_NONE;

	if (first)
		err = match_add_list(match, me, (uint16_t)(node->owner - 1), first);
	for (struct list_slot *slot = rcu_load(node->more); slot && err == ERR_NONE;
	     slot = slot->next) {
		first = head_load(&slot->head);
		if (first)
			err = match_add_list(match, me, slot->worker, first);
	}
	return err;
}

/* What a child '#' of the node takes: the node itself and all below [MQTT-4.7.1-2]. */
static enum err match_add_hash(const struct topic_tree *tree, struct topic_match *match,
			       uint16_t me, const struct topic_node *node)
{
	struct trie_node *child = topic_trie_hash(&tree->trie, &node->trie);

	return child ? match_add_node(match, me, topic_node_of(child)) : ERR_NONE;
}

/* Each node of the frontier has at most two successors, which stand behind it for a while. */
static enum err frontier_reserve(struct topic_match *match, uint32_t count)
{
	uint64_t cap = match->frontier_cap ? match->frontier_cap : 32;
	struct topic_node **frontier;

	if (count * 3ull <= match->frontier_cap)
		return ERR_NONE;
	while (cap < count * 3ull)
		cap *= 2;
	if (cap > UINT32_MAX)
		return ERR_LIMIT;
	frontier = realloc(match->frontier, cap * sizeof *frontier);
	if (!frontier)
		return ERR_NOMEM;
	match->frontier = frontier;
	match->frontier_cap = (uint32_t)cap;
	return ERR_NONE;
}

/* Of several children that are looked for, all are fetched from memory at once. */
static void expect_children(const struct topic_tree *tree, struct topic_node *const *at,
			    uint32_t count, uint64_t level_hash)
{
	for (uint32_t i = 0; i < count; i++)
		topic_trie_expect(&tree->trie, &at[i]->trie, level_hash);
	for (uint32_t i = 0; i < count; i++)
		topic_trie_expect_more(topic_trie_expect(&tree->trie, &at[i]->trie, level_hash));
}

/* One level down. literal_only: at the root, for a topic in '$' (T4). */
static enum err match_descend(const struct topic_tree *tree, struct topic_match *match, uint16_t me,
			      struct slice level, bool literal_only, uint32_t *count)
{
	uint64_t level_hash = trie_level_hash(level);
	enum err err = frontier_reserve(match, *count);
	struct topic_node **at = match->frontier, **next = at + *count;

	if (*count > 1 && err == ERR_NONE)
		expect_children(tree, at, *count, level_hash);
	for (uint32_t i = 0; i < *count && err == ERR_NONE; i++) {
		const struct trie_node *node = &at[i]->trie;
		uint8_t flags = __atomic_load_n(&node->flags, __ATOMIC_ACQUIRE);
		struct trie_node *child;

		if (__atomic_load_n(&node->children, __ATOMIC_ACQUIRE) == 0)
			continue;
		if (flags & TRIE_HAS_HASH && !literal_only)
			err = match_add_hash(tree, match, me, at[i]);
		child = topic_trie_child(&tree->trie, node, TRIE_LITERAL, level, level_hash);
		if (child)
			*next++ = topic_node_of(child);
		child = flags & TRIE_HAS_PLUS && !literal_only ? topic_trie_plus(&tree->trie, node)
							       : NULL;
		if (child)
			*next++ = topic_node_of(child);
	}
	next = next - *count; /* how many: next - at, once they stand at the front */
	memmove(at, at + *count, (size_t)(next - at) * sizeof *at);
	*count = (uint32_t)(next - at);
	return err;
}

enum err topic_tree_match(const struct topic_tree *tree, uint16_t worker, struct slice topic,
			  uint64_t topic_hash, struct topic_match *match)
{
	struct topic_levels levels = topic_levels_of(topic);
	const struct rcu_table_node *expected =
		topic_trie_expect(&tree->trie, tree->trie.root, topic_hash);
	struct trie_node *whole;
	bool literal_only = topic.len > 0 && topic.data[0] == '$';
	/* With nothing but filters without wildcards there are no levels to go down. */
	uint32_t count = __atomic_load_n(&tree->trie.branches, __ATOMIC_ACQUIRE) > 0;
	struct slice level;
	enum err err;

	match->own_count = 0;
	match->has_others = false;
	memset(match->others, 0, sizeof match->others);
	err = frontier_reserve(match, 1);
	if (err != ERR_NONE)
		return err;
	match->frontier[0] = topic_node_of(tree->trie.root);
	while (count > 0 && err == ERR_NONE && topic_levels_next(&levels, &level)) {
		err = match_descend(tree, match, worker, level, literal_only, &count);
		literal_only = false;
		topic_trie_expect_more(expected);
	}
	whole = err == ERR_NONE ? topic_trie_whole(&tree->trie, topic, topic_hash) : NULL;
	if (whole)
		err = match_add_node(match, worker, topic_node_of(whole));
	for (uint32_t i = 0; i < count && err == ERR_NONE; i++) {
		const struct topic_node *node = match->frontier[i];

		err = match_add_node(match, worker, node);
		if (err == ERR_NONE &&
		    __atomic_load_n(&node->trie.flags, __ATOMIC_ACQUIRE) & TRIE_HAS_HASH)
			err = match_add_hash(tree, match, worker, node);
	}
	return err;
}

struct topic_node *topic_tree_find(const struct topic_tree *tree, struct slice filter)
{
	return topic_node_of(topic_trie_find(&tree->trie, filter));
}

size_t topic_node_path(const struct topic_node *node, uint8_t *out, size_t cap)
{
	return topic_trie_path(&tree_type, &node->trie, out, cap);
}

void topic_tree_stats(const struct topic_tree *tree, struct topic_tree_stats *out)
{
	struct topic_trie *trie = (struct topic_trie *)(uintptr_t)&tree->trie;

	topic_trie_lock(trie);
	out->nodes = tree->trie.table.node_count;
	topic_trie_unlock(trie);
	out->links = __atomic_load_n(&tree->links, __ATOMIC_RELAXED);
}

static uint32_t node_count_workers(const struct topic_node *node)
{
	uint32_t workers = head_load(&node->head) != NULL;

	for (const struct list_slot *slot = node->more; slot; slot = slot->next)
		workers += head_load(&slot->head) != NULL;
	return workers;
}

/* The lock is let go after every node, so that workers do not wait for whoever prints. */
void topic_tree_visit(struct topic_tree *tree,
		      void (*visit)(void *context, struct slice filter, uint32_t workers),
		      void *context)
{
	uint8_t *path = malloc(TOPIC_MAX_BYTES);
	struct trie_node *node;
	uint64_t order = 0;

	do {
		uint32_t workers = 0;
		size_t len = 0;

		topic_trie_lock(&tree->trie);
		node = path ? topic_trie_after(&tree->trie, order) : NULL;
		if (node) {
			order = node->table.order;
			workers = node_count_workers(topic_node_of(node));
			len = topic_trie_path(&tree_type, node, path, TOPIC_MAX_BYTES);
		}
		topic_trie_unlock(&tree->trie);
		if (workers)
			visit(context, slice_of(path, len), workers);
	} while (node);
	free(path);
}

static uint64_t list_audit(const struct topic_node *node, struct topic_link *const *head)
{
	uint64_t links = 0;

	for (struct topic_link *const *at = head; *at; at = &(*at)->next) {
		BUG_ON((*at)->node != node || (*at)->pprev != at);
		links++;
	}
	return links;
}

void topic_tree_audit(struct topic_tree *tree)
{
	struct trie_node *at = NULL;
	uint64_t links = 0;

	topic_trie_lock(&tree->trie);
	topic_trie_audit_locked(&tree->trie, node_has_subscribers);
	while ((at = topic_trie_after(&tree->trie, at ? at->table.order : 0))) {
		struct topic_node *node = topic_node_of(at);

		links += list_audit(node, &node->head);
		for (struct list_slot *slot = node->more; slot; slot = slot->next) {
			BUG_ON(slot->worker + 1 == node->owner); /* T2 */
			links += list_audit(node, &slot->head);
		}
	}
	BUG_ON(links != tree->links);
	topic_trie_unlock(&tree->trie);
}
