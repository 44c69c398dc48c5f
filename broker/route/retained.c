/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retained.c - the last message of each topic, under many writers without a lock.
 *
 * A writer draws a version from the topic's node and swaps its message in unless one with a higher
 * version is there. So the last to draw wins, in memory as well as in the store, which orders by
 * the same versions. Removing is setting a message with an empty payload: it has a version too,
 * and a slow writer of before cannot undo it. It stays at its node until the node goes.
 *
 * A node goes when nothing is below it, nobody has pinned it, and it has no message to deliver. The
 * one who takes it out holds the lock and first swaps in RETAINED_DEAD: a writer who finds that
 * begins again with a new node, so that no message is lost in a node that nobody finds.
 *
 * Pins against going is a game of two who each write first and then look (all sequentially
 * consistent, so that at least one of them sees the other):
 *
 *	pin:    pins++, then look at message: DEAD? then pins-- and leave it
 *	retire: message = DEAD, then look at pins: not 0? then put the message back
 *	unpin:  pins--, then look at message and children: nothing? then try to prune
 *	remove: message = empty / children--, then prune, which looks at pins
 *
 * Invariants, checked by retained_audit() besides those of topic_trie.c:
 *   R1  count, bytes and expiring are those of the messages that are set.
 *   R2  The list of a node's children has each of them once.
 *   R3  The version of a node is not lower than that of its message, and a topic's versions rise
 *       even when its node goes and comes again (version_floor).
 *   R4  Whoever looks for the topic of a message that is set finds its node.
 */
#include "route/retained.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/counters.h"
#include "route/retained_tree.h"
#include "route/topic_trail.h"
#include "store/store.h"

static struct message *message_load(const struct retained_node *node)
{
	return __atomic_load_n(&node->message, __ATOMIC_SEQ_CST);
}

static bool message_swap(struct retained_node *node, struct message **expected,
			 struct message *desired)
{
	return __atomic_compare_exchange_n(&node->message, expected, desired, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static bool message_is_expired(const struct message *message)
{
	return message->expires_ms != 0 && clock_now_ms() >= message->expires_ms;
}

static uint64_t message_bytes(const struct message *message)
{
	return (uint64_t)message->topic_len + message->payload_len + message->properties_len;
}

struct share {
	uint64_t count, bytes, of_broker, bytes_of_broker, expiring;
};

static struct share share_of(const struct message *message)
{
	bool is_set = retained_is_set(message);
	bool is_of_broker = is_set && message->flags & MESSAGE_OF_BROKER;
	uint64_t bytes = is_set ? message_bytes(message) : 0;

	return (struct share){
		.count = is_set,
		.bytes = bytes,
		.of_broker = is_of_broker,
		.bytes_of_broker = is_of_broker ? bytes : 0,
		.expiring = is_set && message->expires_ms != 0,
	};
}

static void total_change(uint64_t *total, uint64_t plus, uint64_t minus)
{
	if (plus != minus)
		__atomic_add_fetch(total, plus - minus, __ATOMIC_RELAXED);
}

/* A message of the same size in the place of another changes nothing that all workers write. */
static void account(struct retained *retained, const struct message *came,
		    const struct message *went)
{
	struct share plus = share_of(came), minus = share_of(went);

	total_change(&retained->count, plus.count, minus.count);
	total_change(&retained->bytes, plus.bytes, minus.bytes);
	total_change(&retained->of_broker, plus.of_broker, minus.of_broker);
	total_change(&retained->bytes_of_broker, plus.bytes_of_broker, minus.bytes_of_broker);
	total_change(&retained->expiring, plus.expiring, minus.expiring);
	COUNT_BY(RETAINED_MESSAGES, plus.count - minus.count);
	COUNT_BY(RETAINED_BYTES, plus.bytes - minus.bytes);
}

/* The tree's reference ends when the readers of now have left. */
static void message_leaves(struct message *message)
{
	if (message)
		message_unref_after_readers(message);
}

static struct retained *retained_of(struct topic_trie *trie)
{
	return (struct retained *)(void *)trie;
}

static bool node_is_wanted(const struct message *message)
{
	return retained_is_set(message) && !message_is_expired(message);
}

static bool node_retire_locked(struct topic_trie *trie, struct trie_node *trie_node)
{
	struct retained_node *node = retained_node_of(trie_node);
	struct message *message = message_load(node);

	if (__atomic_load_n(&node->pins, __ATOMIC_SEQ_CST) != 0 || node_is_wanted(message) ||
	    !message_swap(node, &message, RETAINED_DEAD))
		return false;
	if (__atomic_load_n(&node->pins, __ATOMIC_SEQ_CST) != 0) {
		/* Nobody else writes over RETAINED_DEAD. */
		__atomic_store_n(&node->message, message, __ATOMIC_SEQ_CST);
		return false;
	}
	account(retained_of(trie), NULL, message);
	message_leaves(message);
	return true;
}

static void node_on_link_locked(struct topic_trie *trie, struct trie_node *trie_node)
{
	struct retained_node *node = retained_node_of(trie_node);
	struct retained_node *parent = retained_node_of(trie_node->parent);

	node->version = retained_of(trie)->version_floor;
	node->sibling = parent->first_child;
	node->psibling = &parent->first_child;
	if (node->sibling)
		node->sibling->psibling = &node->sibling;
	rcu_publish(&parent->first_child, node);
}

static void node_on_unlink_locked(struct topic_trie *trie, struct trie_node *trie_node)
{
	struct retained_node *node = retained_node_of(trie_node);
	struct retained *retained = retained_of(trie);
	uint64_t version = __atomic_load_n(&node->version, __ATOMIC_RELAXED);

	rcu_publish(node->psibling, node->sibling);
	if (node->sibling)
		node->sibling->psibling = node->psibling;
	if (version > retained->version_floor)
		__atomic_store_n(&retained->version_floor, version, __ATOMIC_RELAXED);
}

/* Only in retained_destroy() there may be a message left. */
static void node_fini(struct trie_node *trie_node)
{
	struct message *message = retained_node_of(trie_node)->message;

	if (message && message != RETAINED_DEAD)
		message_unref_shared(NULL, &message);
}

static const struct trie_type retained_type = {
	.holds_topics = true,
	.name_offset = offsetof(struct retained_node, name),
	.node_bytes = offsetof(struct retained_node, name),
	.memory_class = MEMORY_RETAINED,
	.lock_held = HISTOGRAM_TREE_LOCK_RETAINED,
	.retire_locked = node_retire_locked,
	.on_link_locked = node_on_link_locked,
	.on_unlink_locked = node_on_unlink_locked,
	.fini = node_fini,
};

enum err retained_create(const struct retained_settings *settings, struct retained **out)
{
	struct retained *retained = aligned_alloc(64, (sizeof *retained + 63) / 64 * 64);
	enum err err;

	*out = NULL;
	if (!retained)
		return ERR_NOMEM;
	memset(retained, 0, sizeof *retained);
	err = topic_trie_init(&retained->trie, &retained_type);
	if (err != ERR_NONE) {
		free(retained);
		return err;
	}
	/* A message without a version was never set, and has removed nothing. */
	retained->version_floor = 1;
	retained_configure(retained, settings);
	*out = retained;
	return ERR_NONE;
}

void retained_destroy(struct retained **retained)
{
	if (!*retained)
		return;
	UNCOUNT_BY(RETAINED_MESSAGES, (*retained)->count);
	UNCOUNT_BY(RETAINED_BYTES, (*retained)->bytes);
	topic_trie_fini(&(*retained)->trie);
	free(*retained);
	*retained = NULL;
}

void retained_configure(struct retained *retained, const struct retained_settings *settings)
{
	__atomic_store_n(&retained->settings.max_messages, settings->max_messages,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&retained->settings.max_bytes, settings->max_bytes, __ATOMIC_RELAXED);
}

struct message *retained_node_message(const struct retained_node *node)
{
	struct message *message = message_load(node);

	return message != RETAINED_DEAD && node_is_wanted(message) ? message : NULL;
}

bool retained_pin(struct retained *retained, struct retained_node *node)
{
	__atomic_add_fetch(&node->pins, 1, __ATOMIC_SEQ_CST);
	if (message_load(node) != RETAINED_DEAD)
		return true;
	retained_unpin(retained, node);
	return false;
}

static void node_prune(struct retained *retained, struct retained_node *node)
{
	topic_trie_lock(&retained->trie);
	topic_trie_prune_locked(&retained->trie, &node->trie);
	topic_trie_unlock(&retained->trie);
}

void retained_unpin(struct retained *retained, struct retained_node *node)
{
	uint32_t pins = __atomic_sub_fetch(&node->pins, 1, __ATOMIC_SEQ_CST);

	if (pins == 0 && __atomic_load_n(&node->trie.children, __ATOMIC_SEQ_CST) == 0 &&
	    !retained_node_message(node))
		node_prune(retained, node);
}

enum installed { INSTALLED, INSTALLED_OLDER, INSTALLED_NOT };

/*
 * Gives the message its version and swaps it in: INSTALLED, and what was there is the caller's to
 * settle. _OLDER: a higher version is there already, and the message was replaced at once. _NOT: the
 * node is going. Inside a section, or with the lock held.
 */
static enum installed node_swap_in(struct retained_node *node, struct message *message,
				   struct message **out_old)
{
	struct message *old = message_load(node);

	message->retained_version = __atomic_add_fetch(&node->version, 1, __ATOMIC_SEQ_CST);
	message_ref_shared(message);
	do {
		if (old == RETAINED_DEAD ||
		    (old && old->retained_version > message->retained_version)) {
			struct message *unused = message;

			message_unref_shared(NULL, &unused);
			return old == RETAINED_DEAD ? INSTALLED_NOT : INSTALLED_OLDER;
		}
	} while (!message_swap(node, &old, message));
	*out_old = old;
	return INSTALLED;
}

static void settle(struct retained *retained, const struct message *message, struct message *old)
{
	account(retained, message, old);
	message_leaves(old);
}

/* False: the node is going. Inside a section. */
static bool node_install(struct retained *retained, struct retained_node *node,
			 struct message *message)
{
	struct message *old;
	enum installed installed = node_swap_in(node, message, &old);

	if (installed == INSTALLED)
		settle(retained, message, old);
	return installed != INSTALLED_NOT;
}

/* What counts against a limit: all but the broker's own. */
static uint64_t limited(const uint64_t *all, const uint64_t *of_broker)
{
	return __atomic_load_n(all, __ATOMIC_RELAXED) -
	       __atomic_load_n(of_broker, __ATOMIC_RELAXED);
}

/* Two workers at once may each take the last place; the limit is not worth a lock. */
static bool limits_allow(const struct retained *retained, const struct retained_node *node,
			 const struct message *message)
{
	const struct message *old = node ? retained_node_message(node) : NULL;
	uint64_t max_messages = __atomic_load_n(&retained->settings.max_messages, __ATOMIC_RELAXED);
	uint64_t max_bytes = __atomic_load_n(&retained->settings.max_bytes, __ATOMIC_RELAXED);

	if (message->flags & MESSAGE_OF_BROKER)
		return true;
	if (max_messages != 0 && !old &&
	    limited(&retained->count, &retained->of_broker) >= max_messages)
		return false;
	return max_bytes == 0 ||
	       limited(&retained->bytes, &retained->bytes_of_broker) + message_bytes(message) <=
		       max_bytes + (old ? message_bytes(old) : 0);
}

static struct retained_node *retained_find(struct retained *retained, struct slice topic)
{
	return retained_node_of(topic_trie_find(&retained->trie, topic));
}

struct installation {
	struct message *message, *old;
	enum installed installed;
};

/* The node is there, and cannot go as long as the lock is held. */
static void install_locked(struct trie_node *node, void *context)
{
	struct installation *installation = context;

	installation->installed =
		node_swap_in(retained_node_of(node), installation->message, &installation->old);
}

/* For a topic that has no node, or one that is going. Inside the section that the place is of. */
static enum err set_at_new_node(struct retained *retained, struct trie_place *place,
				struct message *message)
{
	struct installation installation = {.message = message};
	enum err err = topic_trie_make(&retained->trie, place, install_locked, &installation);

	if (err != ERR_NONE)
		return err;
	BUG_ON(installation.installed == INSTALLED_NOT);
	if (installation.installed == INSTALLED)
		settle(retained, message, installation.old);
	return ERR_NONE;
}

static void retained_remove(struct retained *retained, struct message *message)
{
	struct retained_node *node;

	rcu_read_section_begin();
	node = retained_find(retained, message_topic(message));
	message->retained_version = __atomic_load_n(&retained->version_floor, __ATOMIC_RELAXED);
	if (node && node_install(retained, node, message))
		node_prune(retained, node);
	rcu_read_section_end();
}

static struct retained_node *look_for(struct retained *retained, struct topic_trail *trail,
				      struct slice topic, struct trie_place *out_place)
{
	return retained_node_of(trail ? topic_trail_look(&retained->trie, trail, topic, out_place)
				      : topic_trie_look(&retained->trie, topic, out_place));
}

void retained_expect(struct retained *retained, struct topic_trail *trail, struct slice topic)
{
	topic_trail_expect(&retained->trie, trail, topic);
}

enum err retained_set(struct retained *retained, struct topic_trail *trail, struct message *message)
{
	struct retained_node *node;
	struct trie_place place;
	enum err err = ERR_NONE;

	if (!retained_is_set(message)) {
		retained_remove(retained, message);
		return ERR_NONE;
	}
	rcu_read_section_begin();
	node = look_for(retained, trail, message_topic(message), &place);
	if (!limits_allow(retained, node, message))
		err = ERR_LIMIT;
	else if (!node || !node_install(retained, node, message))
		err = set_at_new_node(retained, &place, message);
	rcu_read_section_end();
	return err;
}

void retained_restore_begin(struct retained *retained, uint64_t floor)
{
	topic_trie_lock(&retained->trie);
	if (floor > retained->version_floor)
		__atomic_store_n(&retained->version_floor, floor, __ATOMIC_RELAXED);
	topic_trie_unlock(&retained->trie);
}

/* The topic twice: the one that stands there is as good. */
static void restore_locked(struct trie_node *trie_node, void *context)
{
	struct retained_node *node = retained_node_of(trie_node);
	struct installation *installation = context;
	struct message *empty = NULL;

	message_ref_shared(installation->message);
	if (message_swap(node, &empty, installation->message))
		installation->installed = INSTALLED;
	else
		installation->old = installation->message;
}

enum err retained_restore(struct worker *me, struct retained *retained, struct message *message)
{
	struct installation installation = {.message = message, .installed = INSTALLED_NOT};
	struct trie_place place;
	enum err err;

	rcu_read_section_begin();
	topic_trie_look(&retained->trie, message_topic(message), &place);
	err = topic_trie_make(&retained->trie, &place, restore_locked, &installation);
	rcu_read_section_end();
	if (installation.old)
		message_unref_shared(me, &installation.old);
	if (installation.installed == INSTALLED)
		account(retained, message, NULL);
	return err;
}

struct message *retained_get(struct worker *me, struct retained *retained, struct slice topic)
{
	struct message *message = NULL;
	struct retained_node *node;

	rcu_read_section_begin();
	node = retained_find(retained, topic);
	if (node)
		message = retained_node_message(node);
	if (message)
		message_use(me, message);
	rcu_read_section_end();
	return message;
}

/*
 * At a node that others are below, an empty message with the same version takes the place of the
 * expired one, so that a slower writer of before does not come through.
 */
static void replace_by_empty(struct worker *me, struct retained *retained,
			     struct retained_node *node, struct message *expired)
{
	struct message_content content = {.topic = message_topic(expired)};
	struct message *empty = message_create(me, &content);

	if (!empty)
		return; /* no memory: it stays, unseen, and the next round tries again */
	empty->retained_version = expired->retained_version;
	message_ref_shared(empty);
	if (message_swap(node, &expired, empty)) {
		settle(retained, empty, expired);
	} else {
		struct message *unused = empty;

		message_unref_shared(me, &unused);
	}
	message_drop(me, &empty);
}

void retained_node_expire(struct worker *me, struct retained *retained, struct retained_node *node)
{
	struct message *message = message_load(node);

	if (message == RETAINED_DEAD || !retained_is_set(message) || !message_is_expired(message))
		return;
	if (me && store_is_open(me) && !(message->flags & MESSAGE_OF_BROKER))
		store_retained_remove(me, message_topic(message), message->retained_version);
	node_prune(retained, node);
	if (message_load(node) == message)
		replace_by_empty(me, retained, node, message);
}

bool retained_expire_slice(struct worker *me, struct retained *retained, unsigned budget)
{
	struct trie_node *node = NULL;

	rcu_read_section_begin();
	for (; budget > 0; budget--) {
		node = topic_trie_after(&retained->trie, retained->expire_order);
		retained->expire_order = node ? node->table.order : 0;
		if (!node)
			break;
		retained_node_expire(me, retained, retained_node_of(node));
	}
	rcu_read_section_end();
	return node != NULL;
}

uint64_t retained_count(const struct retained *retained)
{
	return __atomic_load_n(&retained->count, __ATOMIC_RELAXED);
}

uint64_t retained_bytes(const struct retained *retained)
{
	return __atomic_load_n(&retained->bytes, __ATOMIC_RELAXED);
}

uint64_t retained_expiring_count(const struct retained *retained)
{
	return __atomic_load_n(&retained->expiring, __ATOMIC_RELAXED);
}

static bool node_is_needed(const struct trie_node *trie_node)
{
	const struct retained_node *node = (const struct retained_node *)(const void *)trie_node;

	return retained_is_set(node->message) || node->pins != 0;
}

static void children_audit(const struct retained_node *node)
{
	uint32_t children = 0;

	for (struct retained_node *const *at = &node->first_child; *at; at = &(*at)->sibling) {
		BUG_ON((*at)->psibling != at || (*at)->trie.parent != &node->trie);
		children++;
	}
	BUG_ON(children != node->trie.children);
}

void retained_audit(struct retained *retained)
{
	uint64_t count = 0, bytes = 0, expiring = 0;
	struct trie_node *at = NULL;

	topic_trie_lock(&retained->trie);
	topic_trie_audit_locked(&retained->trie, node_is_needed);
	children_audit(retained_node_of(retained->trie.root));
	while ((at = topic_trie_after(&retained->trie, at ? at->table.order : 0))) {
		const struct retained_node *node = retained_node_of(at);

		children_audit(node);							  /* R2 */
		BUG_ON(node->message && node->message->retained_version > node->version); /* R3 */
		if (!retained_is_set(node->message))
			continue;
		BUG_ON(retained_find(retained, message_topic(node->message)) != node); /* R4 */
		count++;
		bytes += message_bytes(node->message);
		expiring += node->message->expires_ms != 0;
	}
	BUG_ON(count != retained->count || bytes != retained->bytes); /* R1 */
	BUG_ON(expiring != retained->expiring);
	topic_trie_unlock(&retained->trie);
}
