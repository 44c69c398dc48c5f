/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/acl_cache.h"

#include <stdlib.h>

#include "base/memory.h"

void acl_cache_put(struct acl_cache **cache, enum acl_access access, uint64_t hash,
		   uint64_t generation, bool allowed)
{
	if (!*cache) {
		*cache = calloc(1, sizeof **cache);
		if (!*cache)
			return;
		memory_charge(MEMORY_SESSION, sizeof **cache);
	}
	(*cache)->slots[acl_cache_slot(access, hash)] =
		(struct cached_decision){hash, acl_cache_stamp(access, generation) | allowed};
}

void acl_cache_destroy(struct acl_cache **cache)
{
	if (*cache)
		memory_uncharge(MEMORY_SESSION, sizeof **cache);
	free(*cache);
	*cache = NULL;
}
