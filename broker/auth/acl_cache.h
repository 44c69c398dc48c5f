/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl_cache.h - the last few decisions about topics, per connection.
 *
 * Owner: the connection's worker. Allocated at the first acl_cache_put, so that a connection that
 * never needs a check pays one NULL pointer. An entry counts only for the generation of the rights
 * that it was made under: a reload needs no clearing.
 *
 * Keys are 64-bit hashes under a secret of this process, because a client chooses its topics: under
 * a known hash it could find a topic that collides with one that it may use.
 */
#ifndef NIGHTJAR_AUTH_ACL_CACHE_H
#define NIGHTJAR_AUTH_ACL_CACHE_H

#include "base/hash.h"
#include "base/slice.h"

enum acl_cached {
	ACL_CACHED_MISS,
	ACL_CACHED_ALLOWED,
	ACL_CACHED_DENIED,
};

enum acl_access {
	ACL_READ = 1,  /* deliver to this client */
	ACL_WRITE = 2, /* this client publishes */
};

#define ACL_CACHE_SLOTS 16

/* Each topic and access has one slot; what was there before is forgotten. */
struct cached_decision {
	uint64_t hash;
	uint64_t stamp; /* generation, access and decision; 0: empty, as no generation is 0 */
};

/* Owner: the connection's worker. Here for acl_cache_get() only. */
struct acl_cache {
	struct cached_decision slots[ACL_CACHE_SLOTS];
};

static inline uint64_t acl_topic_hash(struct slice topic)
{
	return hash_slice(topic);
}

/* The upper bits choose: the lower ones tend to be used by the tables that share this hash. */
static inline size_t acl_cache_slot(enum acl_access access, uint64_t hash)
{
	return ((hash >> 40) ^ (access == ACL_WRITE)) % ACL_CACHE_SLOTS;
}

static inline uint64_t acl_cache_stamp(enum acl_access access, uint64_t generation)
{
	return generation << 3 | (uint64_t)access << 1;
}

/* cache may be NULL. Inline: it stands on the road of each message. */
static inline enum acl_cached acl_cache_get(const struct acl_cache *cache, enum acl_access access,
					    uint64_t hash, uint64_t generation)
{
	const struct cached_decision *slot;

	if (!cache)
		return ACL_CACHED_MISS;
	slot = &cache->slots[acl_cache_slot(access, hash)];
	if (slot->hash != hash ||
	    (slot->stamp & ~UINT64_C(1)) != acl_cache_stamp(access, generation))
		return ACL_CACHED_MISS;
	return slot->stamp & 1 ? ACL_CACHED_ALLOWED : ACL_CACHED_DENIED;
}

/* Allocates *cache when it is NULL; without memory the decision is simply not kept. */
void acl_cache_put(struct acl_cache **cache, enum acl_access access, uint64_t hash,
		   uint64_t generation, bool allowed);

void acl_cache_destroy(struct acl_cache **cache);

#endif
