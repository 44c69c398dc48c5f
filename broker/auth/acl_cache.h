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

struct acl_cache;

static inline uint64_t acl_topic_hash(struct slice topic)
{
	return hash_slice(topic);
}

/* cache may be NULL. */
enum acl_cached acl_cache_get(const struct acl_cache *cache, enum acl_access access, uint64_t hash,
			      uint64_t generation);

/* Allocates *cache when it is NULL; without memory the decision is simply not kept. */
void acl_cache_put(struct acl_cache **cache, enum acl_access access, uint64_t hash,
		   uint64_t generation, bool allowed);

void acl_cache_destroy(struct acl_cache **cache);

#endif
