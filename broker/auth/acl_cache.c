/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/acl_cache.h"

#include <stdlib.h>

#include "base/memory.h"

#define CACHE_SLOTS 16

/* Each topic and access has one slot; what was there before is forgotten. */
struct cached_decision {
	uint64_t hash;
	uint64_t stamp; /* generation, access and decision; 0: empty, as no generation is 0 */
};

/* Owner: the connection's worker. */
struct acl_cache {
	struct cached_decision slots[CACHE_SLOTS];
};

/* The upper bits choose: the lower ones tend to be used by the tables that share this hash. */
static size_t slot_of(enum acl_access access, uint64_t hash)
{
	return ((hash >> 40) ^ (access == ACL_WRITE)) % CACHE_SLOTS;
}

static uint64_t stamp_of(enum acl_access access, uint64_t generation)
{
	return generation << 3 | (uint64_t)access << 1;
}

enum acl_cached acl_cache_get(const struct acl_cache *cache, enum acl_access access, uint64_t hash,
			      uint64_t generation)
{
	const struct cached_decision *slot;

	if (!cache)
		return ACL_CACHED_MISS;
	slot = &cache->slots[slot_of(access, hash)];
	if (slot->hash != hash || (slot->stamp & ~UINT64_C(1)) != stamp_of(access, generation))
		return ACL_CACHED_MISS;
	return slot->stamp & 1 ? ACL_CACHED_ALLOWED : ACL_CACHED_DENIED;
}

void acl_cache_put(struct acl_cache **cache, enum acl_access access, uint64_t hash,
		   uint64_t generation, bool allowed)
{
	if (!*cache) {
		*cache = calloc(1, sizeof **cache);
		if (!*cache)
			return;
		memory_charge(MEMORY_SESSION, sizeof **cache);
	}
	(*cache)->slots[slot_of(access, hash)] =
		(struct cached_decision){hash, stamp_of(access, generation) | allowed};
}

void acl_cache_destroy(struct acl_cache **cache)
{
	if (*cache)
		memory_uncharge(MEMORY_SESSION, sizeof **cache);
	free(*cache);
	*cache = NULL;
}
