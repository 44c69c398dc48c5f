/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retained_cursor.c - all retained messages that match a filter, in slices.
 *
 * The cursor goes through the tree depth first and keeps nothing but the node it stands at. The
 * depth says which level of the filter is concerned there, and that says how to go on:
 *
 *	filter      site / + / temp / #
 *	depth     0  1     2   3      4 and deeper
 *	          |  |     |   |      every child in turn
 *	          |  |     |   the one child of this name
 *	          |  |     every child in turn
 *	          |  the one child of this name
 *	          the root
 *
 * "The one child of this name" may be two nodes: the level's own, and a tail that begins with it. A
 * tail is at the depth of its first level, nothing is below it, and what it has of the filter's other
 * levels is compared at once.
 *
 * One pin keeps the node, and thereby its parents, where they are; it moves along. New topics are
 * put at the front of their list of siblings, so that nothing is seen twice.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "mqtt/topic.h"
#include "route/retained_tree.h"

#define NO_HASH SIZE_MAX

struct retained_cursor {
	struct retained *retained;
	struct retained_node *at; /* pinned; NULL: at the end */
	size_t depth;		  /* of at; the root's is 0 */
	size_t level_count;
	size_t hash_level; /* index of '#' in levels; NO_HASH */
	struct slice *levels;
	uint8_t filter[];
};

enum err retained_cursor_create(struct retained *retained, struct slice filter,
				struct retained_cursor **out)
{
	struct retained_cursor *cursor = malloc(sizeof *cursor + filter.len);
	struct topic_levels levels;
	size_t count = topic_levels_count(filter);

	*out = NULL;
	if (!cursor)
		return ERR_NOMEM;
	*cursor = (struct retained_cursor){
		.retained = retained,
		.level_count = count,
		.hash_level = NO_HASH,
		.levels = malloc(count * sizeof *cursor->levels),
	};
	if (!cursor->levels) {
		free(cursor);
		return ERR_NOMEM;
	}
	memcpy(cursor->filter, filter.data, filter.len);
	levels = topic_levels_of(slice_of(cursor->filter, filter.len));
	for (size_t i = 0; topic_levels_next(&levels, &cursor->levels[i]); i++)
		if (slice_equal_string(cursor->levels[i], "#"))
			cursor->hash_level = i;
	/* The root is never taken out; its pin only makes it like the others. */
	cursor->at = retained_node_of(retained->trie.root);
	__atomic_add_fetch(&cursor->at->pins, 1, __ATOMIC_SEQ_CST);
	*out = cursor;
	return ERR_NONE;
}

/* Inside a section. */
static void cursor_move(struct retained_cursor *cursor, struct retained_node *node, size_t depth)
{
	struct retained_node *left = cursor->at;

	cursor->at = node;
	cursor->depth = depth;
	if (left->trie.kind == TRIE_ROOT)
		__atomic_sub_fetch(&left->pins, 1, __ATOMIC_SEQ_CST);
	else
		retained_unpin(cursor->retained, left);
}

void retained_cursor_destroy(struct retained_cursor **cursor)
{
	if (!*cursor)
		return;
	rcu_read_section_begin();
	if ((*cursor)->at)
		cursor_move(*cursor, NULL, 0);
	rcu_read_section_end();
	free((*cursor)->levels);
	free(*cursor);
	*cursor = NULL;
}

/* Do nodes of this depth (1 or more) come one after the other, or is there the one of its name? */
static bool depth_is_listed(const struct retained_cursor *cursor, size_t depth)
{
	return depth > cursor->hash_level || slice_equal_string(cursor->levels[depth - 1], "#") ||
	       slice_equal_string(cursor->levels[depth - 1], "+");
}

/* The first of this and the siblings behind it that may be visited, pinned. */
static struct retained_node *pin_first(struct retained_cursor *cursor, struct retained_node *node,
				       size_t depth)
{
	for (; node; node = rcu_load(node->sibling)) {
		struct slice name = trie_node_name(cursor->retained->trie.type, &node->trie);

		/* A wildcard at the first level does not take '$' [MQTT-4.7.2-1]. */
		if (depth == 1 && name.len > 0 && name.data[0] == '$')
			continue;
		if (retained_pin(cursor->retained, node))
			return node;
	}
	return NULL;
}

/* The same for children that begin with the filter's level of this depth. */
static struct retained_node *pin_named(struct retained_cursor *cursor,
				       const struct retained_node *parent,
				       struct retained_node *node, size_t depth)
{
	struct topic_trie *trie = &cursor->retained->trie;

	while (node && !retained_pin(cursor->retained, node))
		node = retained_node_of(topic_trie_beginning_next(trie, &parent->trie, &node->trie,
								  cursor->levels[depth - 1]));
	return node;
}

static struct retained_node *pin_below(struct retained_cursor *cursor)
{
	struct topic_trie *trie = &cursor->retained->trie;
	size_t depth = cursor->depth + 1;

	if (cursor->at->trie.kind == TRIE_TAIL ||
	    (cursor->hash_level == NO_HASH && depth > cursor->level_count))
		return NULL;
	if (depth_is_listed(cursor, depth))
		return pin_first(cursor, rcu_load(cursor->at->first_child), depth);
	return pin_named(cursor, cursor->at,
			 retained_node_of(topic_trie_beginning(trie, &cursor->at->trie,
							       cursor->levels[depth - 1])),
			 depth);
}

static struct retained_node *pin_behind(struct retained_cursor *cursor,
					const struct retained_node *from, size_t depth)
{
	const struct retained_node *parent = retained_node_of(from->trie.parent);

	if (depth_is_listed(cursor, depth))
		return pin_first(cursor, rcu_load(from->sibling), depth);
	return pin_named(cursor, parent,
			 retained_node_of(topic_trie_beginning_next(&cursor->retained->trie,
								    &parent->trie, &from->trie,
								    cursor->levels[depth - 1])),
			 depth);
}

/* One step, depth first; to the end (at is NULL) when nothing is left. Inside a section. */
static void cursor_step(struct retained_cursor *cursor)
{
	struct retained_node *next = pin_below(cursor), *from = cursor->at;
	size_t depth = cursor->depth;

	if (next) {
		cursor_move(cursor, next, depth + 1);
		return;
	}
	/* Parents are sure, because at is pinned until the move. */
	for (; depth > 0; depth--, from = retained_node_of(from->trie.parent)) {
		next = pin_behind(cursor, from, depth);
		if (next)
			break;
	}
	cursor_move(cursor, next, depth);
}

/* depth: of the last level of a topic that is as the filter wants it so far. */
static bool depth_is_match(const struct retained_cursor *cursor, size_t depth)
{
	return cursor->hash_level == NO_HASH ? depth == cursor->level_count
					     : depth >= cursor->hash_level;
}

static bool tail_is_match(const struct retained_cursor *cursor)
{
	const struct trie_node *tail = &cursor->at->trie;
	struct topic_levels levels =
		topic_levels_of(trie_node_name(cursor->retained->trie.type, tail));
	size_t depth = cursor->depth - 1;
	struct slice level;

	while (topic_levels_next(&levels, &level)) {
		if (depth >= cursor->hash_level)
			return true;
		if (depth >= cursor->level_count)
			return false;
		if (!slice_equal_string(cursor->levels[depth], "+") &&
		    !slice_equal(cursor->levels[depth], level))
			return false;
		depth++;
	}
	return depth_is_match(cursor, depth);
}

static bool cursor_is_at_match(const struct retained_cursor *cursor)
{
	if (!cursor->at || cursor->depth == 0)
		return false;
	return cursor->at->trie.kind == TRIE_TAIL ? tail_is_match(cursor)
						  : depth_is_match(cursor, cursor->depth);
}

struct message *retained_cursor_next(struct worker *me, struct retained_cursor *cursor,
				     unsigned *budget, bool *out_more)
{
	struct message *message = NULL;

	rcu_read_section_begin();
	while (!message && cursor->at && *budget > 0) {
		--*budget;
		cursor_step(cursor);
		if (!cursor_is_at_match(cursor))
			continue;
		message = retained_node_message(cursor->at);
		if (message)
			message_use(me, message);
		else
			retained_node_expire(me, cursor->retained, cursor->at);
	}
	rcu_read_section_end();
	*out_more = cursor->at != NULL;
	return message;
}

/* A tail below the level's parent is all that begins so, or the level's own node leads on. */
static struct trie_node *look_at_level(const struct retained *retained,
				       const struct trie_node *parent, struct slice level,
				       struct slice rest, bool *out_found)
{
	const struct topic_trie *trie = &retained->trie;
	struct trie_node *child = topic_trie_beginning(trie, parent, level);
	struct trie_node *own = NULL;

	for (; child; child = topic_trie_beginning_next(trie, parent, child, level)) {
		if (child->kind == TRIE_LITERAL)
			own = child;
		else if (topic_matches_filter(trie_node_name(trie->type, child), rest))
			*out_found = true;
	}
	return own;
}

bool retained_may_match(const struct retained *retained, struct slice filter)
{
	struct topic_levels levels = topic_levels_of(filter);
	struct trie_node *node = retained->trie.root;
	bool is_found = false;
	struct slice level;

	rcu_read_section_begin();
	while (node && !is_found && levels.at) {
		struct slice rest = slice_of(levels.at, (size_t)(levels.end - levels.at));

		topic_levels_next(&levels, &level);
		if (slice_equal_string(level, "+") || slice_equal_string(level, "#"))
			is_found = true;
		else
			node = look_at_level(retained, node, level, rest, &is_found);
	}
	if (node && !is_found)
		is_found = retained_node_message(retained_node_of(node)) != NULL;
	rcu_read_section_end();
	return is_found;
}
