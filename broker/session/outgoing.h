/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outgoing.h - what a session still has to send: its queue, and its window of messages in flight.
 *
 *	deliver --> [ queue ] --> [ window: sent, not acknowledged to the end ] --> gone
 *
 * Owner: the session's worker. Both are allocated at their first use.
 */
#ifndef NIGHTJAR_SESSION_OUTGOING_H
#define NIGHTJAR_SESSION_OUTGOING_H

#include "base/err.h"
#include "route/shared_group.h"

enum outgoing_flag {
	OUTGOING_RETAIN = 1 << 0,
	OUTGOING_NEVER_SENT = 1 << 1, /* in the window, but its first PUBLISH did not leave */
};

/* One message for one session. Holds one use of the message, and the ticket until it is answered. */
struct outgoing {
	struct message *message; /* NULL in the window after PUBREC */
	struct shared_ticket *ticket;
	union {
		uint32_t id;   /* id_count == 1 */
		uint32_t *ids; /* id_count > 1: owned */
	};
	uint64_t number; /* of its record in the store; 0: nobody keeps it */
	uint16_t id_count;
	uint8_t qos;
	uint8_t flags; /* enum outgoing_flag */
};

/* Takes a use of the message and copies the identifiers. */
enum err outgoing_copy_ids(struct outgoing *out, const struct delivery *delivery) ERR_CHECKED;
void outgoing_free_ids(struct outgoing *out);

ERR_CHECKED static inline enum err outgoing_init(struct worker *me, struct outgoing *out,
						 const struct delivery *delivery)
{
	*out = (struct outgoing){
		.message = delivery->message,
		.ticket = delivery->ticket,
		.id_count = delivery->subscription_id_count,
		.qos = delivery->qos,
		.flags = delivery->retain ? OUTGOING_RETAIN : 0,
	};
	if (out->id_count && outgoing_copy_ids(out, delivery) != ERR_NONE)
		return ERR_NOMEM;
	message_use(me, out->message);
	return ERR_NONE;
}

static inline void outgoing_fini(struct worker *me, struct outgoing *out)
{
	if (out->id_count > 1)
		outgoing_free_ids(out);
	if (out->message)
		message_drop(me, &out->message);
}

static inline const uint32_t *outgoing_ids(const struct outgoing *out)
{
	return out->id_count > 1 ? out->ids : &out->id;
}

/* What the limits count for a message. */
static inline size_t outgoing_bytes(const struct message *message)
{
	return (size_t)message->topic_len + message->payload_len + message->properties_len;
}

struct queue {
	struct outgoing *items; /* a ring of cap, a power of two */
	uint32_t head, count, cap;
	uint32_t qos0_count;
	uint64_t bytes;
	/* Behind these: what is in the store alone (spill.c). */
	uint32_t spilled, spilled_at_fetch;
	uint64_t spilled_bytes;
	uint64_t spill_after; /* the store's numbers above this one */
	bool is_fetching;
};

struct queue_size {
	uint64_t messages, bytes;
};

enum err queue_grow(struct queue *queue) ERR_CHECKED;

/* index 0: head */
static inline struct outgoing *queue_at(struct queue *queue, uint32_t index)
{
	return &queue->items[(queue->head + index) & (queue->cap - 1)];
}

static inline struct outgoing *queue_head(struct queue *queue) /* NULL: empty */
{
	return queue && queue->count ? queue_at(queue, 0) : NULL;
}

/* Takes what out holds. */
ERR_CHECKED static inline enum err queue_push_take(struct queue *queue, const struct outgoing *out)
{
	if (queue->count == queue->cap && queue_grow(queue) != ERR_NONE)
		return ERR_NOMEM;
	*queue_at(queue, queue->count++) = *out;
	queue->bytes += outgoing_bytes(out->message);
	queue->qos0_count += out->qos == 0;
	return ERR_NONE;
}

struct outgoing *queue_last(struct queue *queue); /* must not be empty */
/* Removes the head; what it holds belongs to the caller. */
struct outgoing queue_pop(struct queue *queue);
/* Removes and gives the item at index (0: head): for tickets that go back. O(count). */
struct outgoing queue_remove(struct queue *queue, uint32_t index);
void queue_free(struct queue **queue); /* must be empty */

enum window_state {
	WINDOW_FREE,
	WINDOW_UNSENT,	       /* was sent on an earlier connection, not yet on this one */
	WINDOW_SENT,	       /* QoS 1: waits for PUBACK; QoS 2: for PUBREC */
	WINDOW_RELEASE_UNSENT, /* PUBREL to be sent again on this connection */
	WINDOW_RELEASED,       /* PUBREL sent, waits for PUBCOMP */
};

#define WINDOW_NONE 0xffffffffu

/* Why a slot in one of the UNSENT states is not sent: it only waits for the store. */
enum window_hold {
	WINDOW_HOLDS_NOTHING,
	WINDOW_HOLDS_PUBLISH, /* its own, or one before it, waits for its Packet Identifier's commit */
	WINDOW_HOLDS_PUBREL,
};

struct window_slot {
	struct outgoing out;
	uint64_t waits_for;  /* the post to the store that has to be committed first; 0: none */
	uint32_t next, prev; /* order of sending */
	uint16_t packet_id;
	uint8_t state;	 /* enum window_state */
	bool is_on_wire; /* counted in on_wire */
	uint8_t hold;	 /* enum window_hold */
};

/*
 * Slots are found by packet_id modulo cap. Identifiers are given out so that their slot is free, and
 * cap is at least twice what may be in flight, so finding one takes a step or two.
 */
struct window {
	uint32_t cap; /* a power of two */
	uint32_t count;
	uint32_t on_wire;      /* what the receiver's Receive Maximum counts on this connection */
	uint32_t unsent;       /* slots in one of the UNSENT states */
	uint32_t held;	       /* of those: that only wait for the store */
	uint32_t held_publish; /* of those: PUBLISH, so that others may not pass */
	uint32_t first, last;  /* by order of sending; WINDOW_NONE */
	uint64_t bytes;
	uint16_t last_packet_id;
	struct window_slot slots[];
};

/* A free slot with a packet_id, last in order, which takes what out holds; state SENT. NULL: no
 * memory. *window may be NULL or move. limit: how many there may be at most. */
struct window_slot *window_add_take(struct window **window, const struct outgoing *out,
				    uint32_t limit);
/* The same with a Packet Identifier that was given before a restart, in this state. NULL also when
 * the identifier is taken. */
struct window_slot *window_restore_take(struct window **window, const struct outgoing *out,
					uint16_t packet_id, enum window_state state);
/* Sets one of the UNSENT states: it is sent when the store has come as far as slot->waits_for. */
void window_hold(struct window *window, struct window_slot *slot, enum window_state state,
		 enum window_hold hold);
/* It is sent, or waits for more than the store. */
void window_unhold(struct window *window, struct window_slot *slot);
struct window_slot *window_find(struct window *window, uint16_t packet_id); /* NULL: unknown */
/* Takes the slot out; what it holds belongs to the caller. */
struct outgoing window_remove(struct window *window, struct window_slot *slot);
struct window_slot *window_next(struct window *window, const struct window_slot *slot);
struct window_slot *window_first(struct window *window);
void window_free(struct window **window); /* must be empty */

#endif
