/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic_trail.c - from the last topic to the next.
 *
 *	last topic   plant/line1/temp		trail   "plant/line1/" -> the node of line1
 *	next topic   plant/line1/speed		begins with it: one level is looked up
 *
 * Nobody keeps the node for the trail. The trie counts each node that it has taken out, and only then
 * frees it, a grace period later. So when the count is still what it was before the node was looked
 * for, the node cannot be freed before this section ends. It may be going at this moment: then nothing
 * is below it, and who wants to add something there looks again with the lock held.
 *
 * A topic that came before the others of its levels has its node further up, as a tail ("line1/temp"
 * below plant, when line1 had no node yet). So the trail names the tails that it has passed, and does not
 * lead to them.
 *
 * A topic that is expected passes through three stages, one for each topic that comes before it, for
 * as many pieces of memory that lead to each other: its bucket's head, the first node behind that,
 * and the one behind that if the place is further on.
 */
#include "route/topic_trail.h"

static uint64_t removals_load(const struct topic_trie *trie)
{
	return __atomic_load_n(&trie->removals, __ATOMIC_ACQUIRE);
}

static bool ends_with(struct slice topic, struct slice name)
{
	return topic.len >= name.len &&
	       memcmp(topic.data + topic.len - name.len, name.data, name.len) == 0;
}

static bool is_passed_tail(const struct topic_trie *trie, const struct topic_trail *trail,
			   struct slice topic)
{
	for (unsigned i = 0; i < trail->tails; i++)
		if (ends_with(topic, trie_node_name(trie->type, trail->tail[i])))
			return true;
	return false;
}

static bool leads_to(const struct topic_trie *trie, const struct topic_trail *trail,
		     struct slice topic)
{
	return trail->node && topic.len > trail->len &&
	       memcmp(topic.data, trail->topic, trail->len) == 0 &&
	       trail->removals == removals_load(trie) && !is_passed_tail(trie, trail, topic);
}

/* false: there are too many. */
static bool tails_add(struct topic_trail *trail, const struct trie_place *place)
{
	if (trail->tails + place->tails > TRIE_TAILS)
		return false;
	for (unsigned i = 0; i < place->tails; i++)
		trail->tail[trail->tails++] = place->tail[i];
	return true;
}

/* Leads to the node above the place's last level. is_led: the place was looked for along the trail. */
static void trail_set(struct topic_trail *trail, const struct trie_place *place, uint64_t removals,
		      bool is_led)
{
	struct trie_node *node = place->node;
	size_t len;

	if (place->rest.at) {
		len = (size_t)(place->rest.at - place->filter.data);
	} else {
		len = place->filter.len - node->name_len;
		/* Of a node that is just going this is none, but then the count has risen before. */
		node = __atomic_load_n(&node->parent, __ATOMIC_ACQUIRE);
	}
	if (node == trail->node && removals == trail->removals)
		return;
	trail->node = NULL;
	if (!is_led)
		trail->tails = 0;
	if (len == 0 || len > sizeof trail->topic || !tails_add(trail, place))
		return;
	memcpy(trail->topic, place->filter.data, len);
	trail->len = (uint16_t)len;
	trail->removals = removals;
	trail->node = node;
}

struct trie_node *topic_trail_look(const struct topic_trie *trie, struct topic_trail *trail,
				   struct slice topic, struct trie_place *out_place)
{
	uint64_t removals = removals_load(trie);
	bool is_led = leads_to(trie, trail, topic);

	*out_place = (struct trie_place){
		.filter = topic,
		.node = is_led ? trail->node : trie->root,
		.rest = {topic.data + (is_led ? trail->len : 0), topic.data + topic.len},
		.changes = __atomic_load_n(&trie->changes, __ATOMIC_ACQUIRE),
	};
	topic_trie_go_down(trie, out_place);
	trail_set(trail, out_place, removals, is_led);
	return out_place->rest.at ? NULL : out_place->node;
}

void topic_trail_expect(const struct topic_trie *trie, struct topic_trail *trail,
			struct slice topic)
{
	struct topic_levels levels;
	struct slice level;
	uint64_t hash;

	if (trail->expected[0].head)
		rcu_table_expect_insert(trail->expected[0].head, trail->expected[0].order);
	if (trail->expected[1].head)
		__builtin_prefetch(rcu_table_next(trail->expected[1].head));
	trail->expected[0] = trail->expected[1];
	trail->expected[1].head = NULL;
	if (!leads_to(trie, trail, topic))
		return;
	levels = (struct topic_levels){topic.data + trail->len, topic.data + topic.len};
	if (!topic_levels_next(&levels, &level))
		return;
	hash = trie_child_hash(trail->node->table.order, trie_level_hash(level));
	trail->expected[1].head = rcu_table_head(&trie->table, hash);
	trail->expected[1].order = trie_order(hash, TRIE_LITERAL);
	__builtin_prefetch(trail->expected[1].head);
}
