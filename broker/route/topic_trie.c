/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic_trie.c - how nodes come and go while others read.
 *
 * A node that is missing is allocated before the lock is taken; with the lock held the place is
 * looked at again, because others may have made the same nodes or taken the deepest one out. In
 * that case it goes round.
 *
 * A node that goes is unlinked with the lock held and put on a list of the dead. One grace period
 * at a time runs for all that are on it, so that a million nodes cost as many callbacks as there
 * are grace periods meanwhile.
 *
 * Invariants, checked by topic_trie_audit_locked():
 *   N1  A node that its user does not need has a child.
 *   N2  children is the number of nodes with this parent.
 *   N3  TRIE_HAS_PLUS and TRIE_HAS_HASH say whether there is such a child.
 *   N4  The parent of a node in the table is in the table or the root.
 *   N5  Nothing is below a node of several levels.
 *   N6  branches is the number of the root's children that are not TRIE_WHOLE.
 */
#include "route/topic_trie.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/clock.h"
#include "mqtt/topic.h"

struct level {
	struct slice name;
	uint64_t hash;
	enum trie_kind kind;
};

static enum trie_kind kind_of_level(struct slice name)
{
	bool is_wildcard = name.len == 1 && (name.data[0] == '+' || name.data[0] == '#');

	return !is_wildcard ? TRIE_LITERAL : name.data[0] == '+' ? TRIE_PLUS : TRIE_HASH;
}

static uint8_t flag_of_kind(uint8_t kind)
{
	return kind == TRIE_PLUS ? TRIE_HAS_PLUS : kind == TRIE_HASH ? TRIE_HAS_HASH : 0;
}

static struct trie_node *node_of(struct rcu_table_node *node)
{
	return (struct trie_node *)(void *)node;
}

static size_t node_bytes(const struct topic_trie *trie, size_t name_len)
{
	size_t with_name = trie->type->name_offset + name_len;

	return with_name > trie->type->node_bytes ? with_name : trie->type->node_bytes;
}

static struct trie_node *node_create(struct topic_trie *trie, const struct level *level)
{
	size_t bytes = node_bytes(trie, level->name.len);
	struct trie_node *node = slab_alloc(&trie->slab, bytes);

	if (!node)
		return NULL;
	memory_charge(trie->type->memory_class, bytes);
	memset(node, 0, trie->type->node_bytes);
	node->kind = (uint8_t)level->kind;
	node->name_len = (uint16_t)level->name.len;
	if (level->name.len)
		memcpy((uint8_t *)node + trie->type->name_offset, level->name.data,
		       level->name.len);
	return node;
}

static void node_destroy(struct topic_trie *trie, struct trie_node *node)
{
	size_t bytes = node_bytes(trie, node->name_len);

	memory_uncharge(trie->type->memory_class, bytes);
	if (trie->type->fini)
		trie->type->fini(node);
	slab_free(&trie->slab, node, bytes);
}

/* Lists of nodes that are not in the trie go by parent. */
static void list_destroy(struct topic_trie *trie, struct trie_node *list)
{
	while (list) {
		struct trie_node *next = list->parent;

		node_destroy(trie, list);
		list = next;
	}
}

enum err topic_trie_init(struct topic_trie *trie, const struct trie_type *type)
{
	const struct level root = {.kind = TRIE_ROOT};
	enum err err;

	memset(trie, 0, sizeof *trie);
	trie->type = type;
	trie->plus_hash = trie_level_hash(SLICE_LITERAL("+"));
	trie->hash_hash = trie_level_hash(SLICE_LITERAL("#"));
	err = rcu_table_init(&trie->table);
	if (err != ERR_NONE)
		return err;
	slab_init(&trie->slab);
	trie->root = node_create(trie, &root);
	if (!trie->root) {
		slab_fini(&trie->slab);
		rcu_table_fini(&trie->table);
		return ERR_NOMEM;
	}
	pthread_mutex_init(&trie->lock, NULL);
	return ERR_NONE;
}

static bool grace_is_running(struct topic_trie *trie)
{
	bool is_running;

	pthread_mutex_lock(&trie->lock);
	is_running = trie->is_grace_running;
	pthread_mutex_unlock(&trie->lock);
	return is_running;
}

void topic_trie_fini(struct topic_trie *trie)
{
	struct trie_node *node = topic_trie_after(trie, 0);

	while (grace_is_running(trie))
		rcu_wait_deferred();
	while (node) {
		struct rcu_table_node *next = node->table.next;

		/* Heads of buckets stand between the nodes; they are the table's. */
		while (next && !(next->order & 1))
			next = next->next;
		node_destroy(trie, node);
		node = node_of(next);
	}
	node_destroy(trie, trie->root);
	rcu_table_fini(&trie->table);
	slab_fini(&trie->slab);
	pthread_mutex_destroy(&trie->lock);
}

/* Of so many times that the lock is held one is timed: two looks at the clock take as long as what is
 * done under it. */
#define TIMED_OF_LOCKS 16u

void topic_trie_lock(struct topic_trie *trie)
{
	pthread_mutex_lock(&trie->lock);
	trie->locked_ns = trie->times_locked++ % TIMED_OF_LOCKS == 0 ? clock_now_ns() : 0;
}

static void record_held(const struct topic_trie *trie, uint64_t locked_ns)
{
	enum histogram lock_held = trie->type->lock_held;

	histogram_values_record(&counters_mine->histogram[lock_held], lock_held,
				clock_now_ns() - locked_ns);
}

/* On liburcu's thread: the dying have no readers any more, and the next ones' turn comes. */
static void grace_ended(struct rcu_head *head)
{
	struct topic_trie *trie = RCU_OWNER(head, struct topic_trie, grace);
	struct trie_node *list;
	bool again;

	pthread_mutex_lock(&trie->lock);
	list = trie->dying;
	trie->dying = trie->dead;
	trie->dead = NULL;
	again = trie->dying != NULL;
	if (!list)
		trie->is_grace_running = again;
	pthread_mutex_unlock(&trie->lock);

	list_destroy(trie, list);
	/* With nothing left it comes round once more: only then may the trie itself go. */
	if (again || list)
		rcu_defer_free(&trie->grace, grace_ended);
}

void topic_trie_unlock(struct topic_trie *trie)
{
	bool start = trie->dead && !trie->is_grace_running;
	uint64_t locked_ns = trie->locked_ns;

	if (start) {
		trie->is_grace_running = true;
		trie->dying = trie->dead;
		trie->dead = NULL;
	}
	if (locked_ns)
		record_held(trie, locked_ns);
	pthread_mutex_unlock(&trie->lock);
	if (start)
		rcu_defer_free(&trie->grace, grace_ended);
}

static bool node_is(const struct topic_trie *trie, const struct trie_node *node,
		    const struct trie_node *parent, enum trie_kind kind, struct slice name)
{
	return __atomic_load_n(&node->parent, __ATOMIC_RELAXED) == parent && node->kind == kind &&
	       slice_equal(trie_node_name(trie->type, node), name);
}

struct trie_node *topic_trie_child(const struct topic_trie *trie, const struct trie_node *parent,
				   enum trie_kind kind, struct slice level, uint64_t level_hash)
{
	uint64_t hash = trie_child_hash(parent->table.order, level_hash);
	uint64_t order = trie_order(hash, kind);
	struct rcu_table_node *node = rcu_table_first(&trie->table, hash, order);

	for (; node; node = rcu_table_find(node, order))
		if (node_is(trie, node_of(node), parent, kind, level))
			return node_of(node);
	return NULL;
}

struct trie_node *topic_trie_plus(const struct topic_trie *trie, const struct trie_node *parent)
{
	return topic_trie_child(trie, parent, TRIE_PLUS, SLICE_LITERAL("+"), trie->plus_hash);
}

struct trie_node *topic_trie_hash(const struct topic_trie *trie, const struct trie_node *parent)
{
	return topic_trie_child(trie, parent, TRIE_HASH, SLICE_LITERAL("#"), trie->hash_hash);
}

struct trie_node *topic_trie_whole(const struct topic_trie *trie, struct slice topic,
				   uint64_t topic_hash)
{
	return topic_trie_child(trie, trie->root, TRIE_WHOLE, topic, topic_hash);
}

static bool name_begins(struct slice name, struct slice level)
{
	return name.len >= level.len && memcmp(name.data, level.data, level.len) == 0 &&
	       (name.len == level.len || name.data[level.len] == '/');
}

/* Behind `at`; order: that of the level's own node. */
static struct trie_node *beginning_from(const struct topic_trie *trie,
					const struct rcu_table_node *at, uint64_t order,
					const struct trie_node *parent, struct slice level)
{
	struct rcu_table_node *next = rcu_table_next(at);

	for (; next && rcu_table_rank(next) <= (order | TRIE_ORDER_LONG);
	     next = rcu_table_next(next))
		if (rcu_table_rank(next) >= order &&
		    __atomic_load_n(&node_of(next)->parent, __ATOMIC_RELAXED) == parent &&
		    name_begins(trie_node_name(trie->type, node_of(next)), level))
			return node_of(next);
	return NULL;
}

static struct trie_node *beginning_of(const struct topic_trie *trie, const struct trie_node *parent,
				      struct slice level, uint64_t level_hash)
{
	uint64_t hash = trie_child_hash(parent->table.order, level_hash);
	const struct rcu_table_node *head = rcu_table_head(&trie->table, hash);
	uint64_t order = trie_order(hash, TRIE_LITERAL);

	return rcu_table_may_have(head, order) ? beginning_from(trie, head, order, parent, level)
					       : NULL;
}

struct trie_node *topic_trie_beginning(const struct topic_trie *trie,
				       const struct trie_node *parent, struct slice level)
{
	return beginning_of(trie, parent, level, trie_level_hash(level));
}

struct trie_node *topic_trie_beginning_next(const struct topic_trie *trie,
					    const struct trie_node *parent,
					    const struct trie_node *child, struct slice level)
{
	return beginning_from(trie, &child->table, child->table.order & ~(uint64_t)TRIE_ORDER_LONG,
			      parent, level);
}

static struct slice place_rest(const struct trie_place *place)
{
	return slice_of(place->rest.at, (size_t)(place->rest.end - place->rest.at));
}

/* One level of a topic: down to its node, or to the tail that is all of the rest. */
static bool place_step_to_topic(const struct topic_trie *trie, struct trie_place *place,
				struct slice level, struct topic_levels behind)
{
	const struct trie_node *parent = place->node;
	uint64_t hash = trie_level_hash(level);
	struct trie_node *child = beginning_of(trie, parent, level, hash);
	struct trie_node *literal = NULL, *tail = NULL;
	struct slice rest = place_rest(place);

	place->level_len = (uint16_t)level.len;
	place->level_hash = hash;
	for (; child; child = topic_trie_beginning_next(trie, parent, child, level)) {
		if (child->kind == TRIE_LITERAL) {
			literal = child;
		} else if (slice_equal(trie_node_name(trie->type, child), rest)) {
			place->node = child;
			place->rest.at = NULL;
			return true;
		} else {
			tail = child;
		}
	}
	place->has_tail = tail != NULL;
	if (!literal)
		return false;
	if (tail && place->tails++ < TRIE_TAILS)
		place->tail[place->tails - 1] = tail;
	place->node = literal;
	place->rest = behind;
	return true;
}

static bool place_step_to_filter(const struct topic_trie *trie, struct trie_place *place,
				 struct slice name, struct topic_levels behind)
{
	uint64_t hash = trie_level_hash(name);
	struct trie_node *child =
		topic_trie_child(trie, place->node, kind_of_level(name), name, hash);

	place->level_len = (uint16_t)name.len;
	place->level_hash = hash;
	if (!child)
		return false;
	place->node = child;
	place->rest = behind;
	return true;
}

void topic_trie_go_down(const struct topic_trie *trie, struct trie_place *place)
{
	struct topic_levels behind = place->rest;
	struct slice level;

	if (place->is_whole) {
		struct slice rest = place_rest(place);
		uint64_t hash = trie_level_hash(rest);
		struct trie_node *node = topic_trie_whole(trie, rest, hash);

		place->level_len = (uint16_t)rest.len;
		place->level_hash = hash;
		if (node) {
			place->node = node;
			place->rest.at = NULL;
		}
		return;
	}
	while (topic_levels_next(&behind, &level)) {
		if (!(trie->type->holds_topics ? place_step_to_topic(trie, place, level, behind)
					       : place_step_to_filter(trie, place, level, behind)))
			return;
		behind = place->rest;
	}
}

struct trie_node *topic_trie_look(const struct topic_trie *trie, struct slice filter,
				  struct trie_place *out_place)
{
	*out_place = (struct trie_place){
		.filter = filter,
		.node = trie->root,
		.rest = topic_levels_of(filter),
		.changes = __atomic_load_n(&trie->changes, __ATOMIC_ACQUIRE),
		.is_whole = !trie->type->holds_topics && !topic_filter_has_wildcard(filter),
	};
	topic_trie_go_down(trie, out_place);
	return out_place->rest.at ? NULL : out_place->node;
}

struct trie_node *topic_trie_find(const struct topic_trie *trie, struct slice filter)
{
	struct trie_place place;

	return topic_trie_look(trie, filter, &place);
}

/* A node that is not in the trie yet, behind those of the chain; its parent is not known, but its
 * order is, because that is of the whole path. */
static bool chain_add(struct topic_trie *trie, struct trie_node ***end, struct level level,
		      uint64_t *order)
{
	struct trie_node *node = node_create(trie, &level);

	if (!node)
		return false;
	*order = trie_order(trie_child_hash(*order, level.hash), level.kind);
	node->table.order = *order;
	**end = node;
	*end = &node->parent;
	return true;
}

/* The next node of what is missing: one level, or all that is left where nothing branches. */
static struct level place_next_level(const struct topic_trie *trie, const struct trie_place *place)
{
	struct slice rest = place_rest(place);
	struct level level = {slice_of(rest.data, place->level_len), place->level_hash, TRIE_WHOLE};

	if (place->is_whole)
		return level;
	level.kind = kind_of_level(level.name);
	if (trie->type->holds_topics && rest.len > place->level_len && !place->has_tail) {
		level.kind = TRIE_TAIL;
		level.name = rest;
	}
	return level;
}

/* Behind a level whose node is new: nothing is below that. */
static void place_go_on(struct trie_place *place, struct slice level)
{
	const uint8_t *after = level.data + level.len;
	struct topic_levels rest;

	place->rest.at = after < place->rest.end ? after + 1 : NULL;
	place->has_tail = false;
	rest = place->rest;
	if (topic_levels_next(&rest, &level)) {
		place->level_len = (uint16_t)level.len;
		place->level_hash = trie_level_hash(level);
	}
}

/* Nodes for what is missing, in their order. */
static enum err chain_create(struct topic_trie *trie, struct trie_place place,
			     struct trie_node **out_chain)
{
	uint64_t order = place.node->table.order;
	struct trie_node **end = out_chain;

	*out_chain = NULL;
	while (place.rest.at) {
		struct level level = place_next_level(trie, &place);

		if (!chain_add(trie, &end, level, &order)) {
			list_destroy(trie, *out_chain);
			*out_chain = NULL;
			return ERR_NOMEM;
		}
		place_go_on(&place, level.name);
	}
	return ERR_NONE;
}

static void node_link_locked(struct topic_trie *trie, struct trie_node *parent,
			     struct trie_node *node)
{
	node->parent = parent;
	if (trie->type->on_link_locked)
		trie->type->on_link_locked(trie, node);
	rcu_table_insert(&trie->table, &node->table);
	__atomic_store_n(&parent->children, parent->children + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&parent->flags, parent->flags | flag_of_kind(node->kind),
			 __ATOMIC_RELEASE);
	if (parent == trie->root && node->kind != TRIE_WHOLE)
		__atomic_store_n(&trie->branches, trie->branches + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&trie->changes, trie->changes + 1, __ATOMIC_RELEASE);
}

/* Hangs up the chain below node, and gives its last. */
static struct trie_node *chain_link_locked(struct topic_trie *trie, struct trie_node *node,
					   struct trie_node **chain)
{
	while (*chain) {
		struct trie_node *child = *chain;

		*chain = child->parent;
		node_link_locked(trie, node, child);
		node = child;
	}
	return node;
}

/* Nobody has made or taken out anything there since place was looked at. */
static bool place_is_as_it_was_locked(const struct topic_trie *trie, const struct trie_place *place)
{
	struct trie_place now = *place;

	if (place->node->flags & TRIE_DEAD)
		return false;
	if (!place->rest.at || place->changes == trie->changes)
		return true;
	topic_trie_go_down(trie, &now);
	return now.node == place->node && now.has_tail == place->has_tail;
}

static enum err trie_make_once(struct topic_trie *trie, const struct trie_place *place,
			       void (*attach_locked)(struct trie_node *node, void *context),
			       void *context, bool *out_done)
{
	struct trie_node *chain;
	enum err err;

	err = chain_create(trie, *place, &chain);
	if (err != ERR_NONE)
		return err;
	rcu_table_prepare(&trie->table);
	topic_trie_lock(trie);
	*out_done = place_is_as_it_was_locked(trie, place);
	if (*out_done)
		attach_locked(chain_link_locked(trie, place->node, &chain), context);
	topic_trie_unlock(trie);
	list_destroy(trie, chain);
	return ERR_NONE;
}

enum err topic_trie_make(struct topic_trie *trie, struct trie_place *place,
			 void (*attach_locked)(struct trie_node *node, void *context),
			 void *context)
{
	bool done;
	enum err err = trie_make_once(trie, place, attach_locked, context, &done);

	while (err == ERR_NONE && !done) {
		topic_trie_look(trie, place->filter, place);
		err = trie_make_once(trie, place, attach_locked, context, &done);
	}
	return err;
}

static void node_unlink_locked(struct topic_trie *trie, struct trie_node *node)
{
	struct trie_node *parent = node->parent;

	rcu_table_remove(&trie->table, &node->table);
	/* When nobody can find the node any more, and before its memory is used for anything else. */
	__atomic_store_n(&trie->removals, trie->removals + 1, __ATOMIC_RELEASE);
	/* Sequentially consistent, for users that keep a node by a count: see retained.c. */
	__atomic_store_n(&parent->children, parent->children - 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&parent->flags, parent->flags & (uint8_t)~flag_of_kind(node->kind),
			 __ATOMIC_RELAXED);
	if (parent == trie->root && node->kind != TRIE_WHOLE)
		__atomic_store_n(&trie->branches, trie->branches - 1, __ATOMIC_RELAXED);
	if (trie->type->on_unlink_locked)
		trie->type->on_unlink_locked(trie, node);
	__atomic_store_n(&node->flags, node->flags | TRIE_DEAD, __ATOMIC_RELAXED);
	/* Whoever reads this for a parent finds that a node has gone: see topic_trail.c. */
	__atomic_store_n(&node->parent, trie->dead, __ATOMIC_RELEASE);
	trie->dead = node;
	__atomic_store_n(&trie->changes, trie->changes + 1, __ATOMIC_RELEASE);
}

void topic_trie_prune_locked(struct topic_trie *trie, struct trie_node *node)
{
	while (node != trie->root && node->children == 0 && !(node->flags & TRIE_DEAD) &&
	       trie->type->retire_locked(trie, node)) {
		struct trie_node *parent = node->parent;

		node_unlink_locked(trie, node);
		node = parent;
	}
}

size_t topic_trie_path(const struct trie_type *type, const struct trie_node *node, uint8_t *out,
		       size_t cap)
{
	size_t len = 0, end;

	for (const struct trie_node *n = node; n->kind != TRIE_ROOT; n = n->parent)
		len += n->name_len + (n->parent->kind != TRIE_ROOT ? 1u : 0u);
	if (len > cap)
		return len;
	end = len;
	for (const struct trie_node *n = node; n->kind != TRIE_ROOT; n = n->parent) {
		struct slice name = trie_node_name(type, n);

		end -= name.len;
		if (name.len)
			memcpy(out + end, name.data, name.len);
		if (n->parent->kind != TRIE_ROOT)
			out[--end] = '/';
	}
	return len;
}

static bool node_is_in_table(const struct topic_trie *trie, const struct trie_node *node)
{
	const struct rcu_table_node *n =
		rcu_table_head(&trie->table, rcu_table_reverse(node->table.order));

	while ((n = rcu_table_find(n, node->table.order)))
		if (n == &node->table)
			return true;
	return node == trie->root;
}

void topic_trie_audit_locked(const struct topic_trie *trie,
			     bool (*is_needed)(const struct trie_node *node))
{
	uint64_t count = 0, children = trie->root->children;
	int64_t flags = __builtin_popcount(trie->root->flags), wildcards = 0, branches = 0;

	rcu_table_audit(&trie->table);
	for (struct rcu_table_node *n = &trie->table.segment[0][0]; n; n = n->next) {
		const struct trie_node *node = node_of(n);

		if (!(n->order & 1))
			continue;
		BUG_ON(node->children == 0 && !is_needed(node));		/* N1 */
		BUG_ON(node->flags & TRIE_DEAD || node->parent->children == 0); /* N2, N4 */
		BUG_ON(flag_of_kind(node->kind) & ~node->parent->flags);	/* N3 */
		BUG_ON(!node_is_in_table(trie, node->parent));			/* N4 */
		BUG_ON(node->kind >= TRIE_WHOLE && node->children != 0);	/* N5 */
		count++;
		children += node->children;
		flags += __builtin_popcount(node->flags);
		wildcards += flag_of_kind(node->kind) != 0;
		branches += node->parent == trie->root && node->kind != TRIE_WHOLE;
	}
	BUG_ON(branches != (int64_t)trie->branches); /* N6 */
	BUG_ON(count != trie->table.node_count || count != children || flags != wildcards);
}
