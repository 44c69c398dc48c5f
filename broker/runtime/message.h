/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h - a publication, written once and never changed.
 *
 * One block holds what every receiver shares: Topic Name, payload, and the properties that are
 * forwarded unaltered. What differs per receiver (Packet Identifier, QoS, Subscription
 * Identifiers, Topic Alias) is written beside it, never into it.
 *
 *	struct message | topic length, 2 bytes | topic | payload | properties
 *
 * so that a QoS 0 PUBLISH of MQTT 3.1.1 is a fixed header and one copy.
 *
 * Counting. The worker that made the message (its home) counts its own uses plainly and holds one
 * shared reference for all of them; everybody else counts in shared_refs. Whoever drops the last
 * shared reference sends the block home, where the cache is. Messages made outside of any worker
 * have no home and are freed in place.
 */
#ifndef NIGHTJAR_RUNTIME_MESSAGE_H
#define NIGHTJAR_RUNTIME_MESSAGE_H

#include <stdbool.h>

#include "base/rcu.h"
#include "base/slice.h"
#include "runtime/letter.h"

struct worker;

/* Who published. Owner: the home worker of the messages that point here; frozen after create, so
 * other threads may read it as long as they hold a message. */
struct origin {
	uint64_t number;   /* unique in this process: tells two origins apart when one is gone */
	uint32_t uses;	   /* home worker only */
	uint16_t listener; /* index of the listener in the configuration */
	uint16_t client_id_len;
	uint16_t username_len;
	bool has_username;
	uint8_t text[]; /* client id, then user name */
};

struct origin *origin_create(uint16_t listener, struct slice client_id, bool has_username,
			     struct slice username);
struct origin *origin_ref(struct origin *origin);
void origin_unref(struct origin **origin);

static inline struct slice origin_client_id(const struct origin *origin)
{
	return slice_of(origin->text, origin->client_id_len);
}

static inline struct slice origin_username(const struct origin *origin)
{
	return slice_of(origin->text + origin->client_id_len, origin->username_len);
}

enum message_flag {
	MESSAGE_RETAIN = 1 << 0,	  /* the publisher set RETAIN */
	MESSAGE_PAYLOAD_IS_TEXT = 1 << 1, /* Payload Format Indicator 1 */
	MESSAGE_OF_BROKER = 1 << 2,	  /* $SYS: counts against no limit of retained messages */
	/* expires_ms is our own limit for retained messages: it ends the retained copy only, and
	 * receivers are told nothing of it. */
	MESSAGE_RETAIN_EXPIRY = 1 << 3,
};

struct message {
	/* Home worker only. */
	uint32_t local_uses;
	/* Any thread. */
	uint32_t shared_refs;
	union {
		struct letter_node home_node; /* the way home */
		struct rcu_head deferred;     /* a retained message waiting for its readers */
	};

	/* Frozen after message_create(). First what is looked at again when it is sent and freed. */
	struct origin *origin; /* NULL: the broker itself */
	uint32_t payload_len;
	uint32_t properties_len;
	uint16_t topic_len;
	uint16_t home;		   /* WORKER_NONE: none */
	uint8_t qos;		   /* as published */
	uint8_t flags;		   /* enum message_flag */
	uint64_t expires_ms;	   /* clock_now_ms() at which it expires; 0: never */
	uint64_t topic_hash;	   /* hash_bytes(topic) */
	uint64_t number;	   /* 64 bits, unique in this process: worker in the upper 16 */
	uint64_t arrived_us;	   /* clock_fine_us() of the turn that read it */
	uint64_t origin_handle;	   /* handle_t of the publishing session; 0: none */
	uint64_t retained_version; /* set by retained_set() before anybody else sees it */
	uint8_t bytes[];
};

/* The moment at which the publisher lets it expire (Message Expiry Interval), 0: never. */
static inline uint64_t message_expires_ms(const struct message *m)
{
	return m->flags & MESSAGE_RETAIN_EXPIRY ? 0 : m->expires_ms;
}

static inline uint64_t message_arrived_ms(const struct message *m)
{
	return m->arrived_us / 1000;
}

static inline struct slice message_topic(const struct message *m)
{
	return slice_of(m->bytes + 2, m->topic_len);
}

/* With its length in front, as it is sent. */
static inline struct slice message_topic_field(const struct message *m)
{
	return slice_of(m->bytes, 2u + m->topic_len);
}

static inline struct slice message_payload(const struct message *m)
{
	return slice_of(m->bytes + 2 + m->topic_len, m->payload_len);
}

static inline struct slice message_properties(const struct message *m)
{
	return slice_of(m->bytes + 2 + m->topic_len + m->payload_len, m->properties_len);
}

/* What message_create() copies. properties may be filled in by the caller afterwards through
 * message_properties_room() when they have to be gathered (publish_forward_properties()). */
struct message_content {
	struct slice topic, payload, properties;
	uint32_t properties_len; /* of properties, or the room to leave when their data is NULL */
	uint64_t topic_hash;
	uint64_t expires_ms;
	uint64_t origin_handle;
	struct origin *origin; /* a use is taken; NULL: the broker */
	uint8_t qos, flags;
};

/* Returns a message with one use held by the caller, or NULL (no memory, or memory_limit is reached).
 * me is NULL outside of workers. */
struct message *message_create(struct worker *me, const struct message_content *content);

static inline uint8_t *message_properties_room(struct message *m)
{
	return m->bytes + 2 + m->topic_len + m->payload_len;
}

/* Its memory will be needed soon: fetched from wherever it is, while something else is done. */
static inline void message_expect(const struct message *m)
{
	const char *at = (const char *)m;

	for (size_t line = 0; line < 4; line++)
		__builtin_prefetch(at + line * 64);
}

/* The same for one that will only be dropped. */
static inline void message_expect_end(const struct message *m)
{
	__builtin_prefetch(m);
	__builtin_prefetch((const char *)m + 48); /* a block may begin anywhere in a line */
}

/* One more use on this worker. The caller must already be sure that the message lives. */
void message_use(struct worker *me, struct message *m);
/* The end of one use on this worker. */
void message_drop(struct worker *me, struct message **m);
/* A reference that is not bound to a thread (letters, retained tree): may be taken on one thread
 * and put on another; me is the calling worker, or NULL. */
void message_ref_shared(struct message *m);
void message_unref_shared(struct worker *me, struct message **m);
/* For a reader inside an RCU section that found m in the retained tree, whose own reference is
 * dropped only after a grace period: message_use() is safe there. The tree drops with this, at most
 * once in a message's life, because the message itself stands in the queue of the grace period. */
void message_unref_after_readers(struct message *m);

#endif
