/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c - the counts of a message.
 *
 *	home worker:  local_uses, plain      0 <-> 1 takes or drops one of the shared references
 *	anybody:      shared_refs, atomic    the last one to drop it sends the block home
 *
 * Invariants:
 *   M1  shared_refs == references of others + (local_uses > 0).
 *   M2  Nobody takes a reference of a message without holding one already, except inside an RCU
 *       section, where the retained tree's reference outlives the section. So 0 is final.
 */
#include "runtime/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/memory.h"
#include "runtime/message_home.h"
#include "runtime/outbox.h"
#include "runtime/runtime.h"

#define LARGE_BYTES 65536 /* worth a wake-up of its own to be freed */

static uint64_t homeless_number; /* atomic: of messages made outside of workers */

/* Touched once per connection. */
static uint64_t origins_made;

struct origin *origin_create(uint16_t listener, struct slice client_id, bool has_username,
			     struct slice username)
{
	/* The text begins before the struct's end, where there would be padding. */
	size_t bytes = offsetof(struct origin, text) + client_id.len + username.len;
	struct origin *origin = malloc(bytes > sizeof *origin ? bytes : sizeof *origin);

	if (!origin)
		return NULL;
	BUG_ON(client_id.len > UINT16_MAX || username.len > UINT16_MAX);
	origin->number = __atomic_add_fetch(&origins_made, 1, __ATOMIC_RELAXED);
	origin->uses = 1;
	origin->listener = listener;
	origin->client_id_len = (uint16_t)client_id.len;
	origin->username_len = (uint16_t)username.len;
	origin->has_username = has_username;
	if (client_id.len)
		memcpy(origin->text, client_id.data, client_id.len);
	if (username.len)
		memcpy(origin->text + client_id.len, username.data, username.len);
	return origin;
}

struct origin *origin_ref(struct origin *origin)
{
	origin->uses++;
	return origin;
}

void origin_unref(struct origin **origin)
{
	struct origin *o = *origin;

	*origin = NULL;
	if (o && --o->uses == 0)
		free(o);
}

static size_t message_size(size_t topic_len, size_t payload_len, size_t properties_len)
{
	return sizeof(struct message) + 2 + topic_len + payload_len + properties_len;
}

static size_t message_size_of(const struct message *m)
{
	return message_size(m->topic_len, m->payload_len, m->properties_len);
}

static bool is_home(const struct worker *me, const struct message *m)
{
	return me && m->home == me->id;
}

static void message_number(struct worker *me, struct message *m)
{
	m->home = me ? me->id : (uint16_t)WORKER_NONE;
	m->local_uses = me ? 1 : 0;
	m->number = (uint64_t)m->home << 48;
	m->number |= me ? ++me->next_message_number
			: __atomic_add_fetch(&homeless_number, 1, __ATOMIC_RELAXED);
}

static void message_fill(struct message *m, const struct message_content *content)
{
	uint8_t *p = m->bytes;

	m->topic_len = (uint16_t)content->topic.len;
	m->payload_len = (uint32_t)content->payload.len;
	m->properties_len = content->properties_len;
	*p++ = (uint8_t)(m->topic_len >> 8);
	*p++ = (uint8_t)m->topic_len;
	if (m->topic_len)
		memcpy(p, content->topic.data, m->topic_len);
	p += m->topic_len;
	if (m->payload_len)
		memcpy(p, content->payload.data, m->payload_len);
	p += m->payload_len;
	if (content->properties.data && m->properties_len)
		memcpy(p, content->properties.data, m->properties_len);
}

struct message *message_create(struct worker *me, const struct message_content *content)
{
	size_t size =
		message_size(content->topic.len, content->payload.len, content->properties_len);
	struct message *m;

	BUG_ON(content->topic.len > UINT16_MAX || content->payload.len > UINT32_MAX);
	BUG_ON(content->properties.data && content->properties.len != content->properties_len);
	/* Uses of an origin are counted plainly, which nobody could do without a home. */
	BUG_ON(!me && content->origin);
	if (memory_is_over_limit())
		return NULL;
	m = block_alloc(me, size);
	if (!m)
		return NULL;
	memory_charge(MEMORY_MESSAGE, size);
	/* Every member is set below: clearing the block first costs as much as all the rest. */
	message_number(me, m);
	message_fill(m, content);
	m->shared_refs = 1;
	m->retained_version = 0;
	m->arrived_us = me ? me->now_us : clock_fine_us();
	m->expires_ms = content->expires_ms;
	m->topic_hash = content->topic_hash;
	m->origin_handle = content->origin_handle;
	m->origin = content->origin ? origin_ref(content->origin) : NULL;
	m->qos = content->qos;
	m->flags = content->flags;
	return m;
}

static inline void message_free(struct worker *me, struct message *m)
{
	size_t size = message_size_of(m);

	DEBUG_BUG_ON(m->local_uses != 0);
	origin_unref(&m->origin);
	memory_uncharge(MEMORY_MESSAGE, size);
	block_free(me, m, size);
}

void message_come_home(struct worker *me, struct letter_node *node)
{
	message_free(me, RCU_OWNER(node, struct message, home_node));
}

/* From liburcu's thread, the pool or the main thread. */
static void message_send_home_foreign(struct message *m)
{
	struct runtime *runtime = runtime_current();
	struct node_list list = {NULL, NULL};
	struct worker *home;
	bool is_urgent;

	if (!runtime) {
		message_free(NULL, m);
		return;
	}
	home = runtime->workers[m->home];
	is_urgent = message_size_of(m) >= LARGE_BYTES || mailbox_gathers_foreign(home->mailbox);
	node_list_add(&list, &m->home_node);
	mailbox_post(home->mailbox, MAILBOX_MESSAGES, &list);
	if (mailbox_wake_is_due(home->mailbox, is_urgent))
		worker_wake(home);
}

static void message_end(struct worker *me, struct message *m)
{
	if (m->home == WORKER_NONE || is_home(me, m))
		message_free(me, m);
	else if (me)
		outbox_add_message(me, m->home, &m->home_node, message_size_of(m));
	else
		message_send_home_foreign(m);
}

void message_ref_shared(struct message *m)
{
	DEBUG_BUG_ON(__atomic_load_n(&m->shared_refs, __ATOMIC_RELAXED) == 0);
	__atomic_add_fetch(&m->shared_refs, 1, __ATOMIC_RELAXED);
}

/* Out of line: most uses end without it, and need no stack for it. */
__attribute__((noinline)) static void drop_shared(struct worker *me, struct message *m)
{
	/* Who holds the only one needs no atomic subtraction: nobody can add to it (M2). */
	if (__atomic_load_n(&m->shared_refs, __ATOMIC_ACQUIRE) == 1 ||
	    __atomic_sub_fetch(&m->shared_refs, 1, __ATOMIC_ACQ_REL) == 0)
		message_end(me, m);
}

void message_unref_shared(struct worker *me, struct message **message)
{
	struct message *m = *message;

	*message = NULL;
	drop_shared(me, m);
}

void message_use(struct worker *me, struct message *m)
{
	if (!is_home(me, m))
		message_ref_shared(m);
	else if (m->local_uses++ == 0)
		message_ref_shared(m);
}

void message_drop(struct worker *me, struct message **message)
{
	struct message *m = *message;

	*message = NULL;
	if (is_home(me, m)) {
		BUG_ON(m->local_uses == 0);
		if (--m->local_uses > 0)
			return;
	}
	drop_shared(me, m);
}

static void message_readers_left(struct rcu_head *head)
{
	struct message *m = RCU_OWNER(head, struct message, deferred);

	message_unref_shared(NULL, &m);
}

void message_unref_after_readers(struct message *m)
{
	rcu_defer_free(&m->deferred, message_readers_left);
}
