/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bug.h"

static uint64_t seed;

/* Before main(), so that nothing can have been hashed under another seed. */
__attribute__((constructor)) static void hash_seed_draw(void)
{
	BUG_ON(getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed);
}

uint64_t hash_bytes(const void *data, size_t len)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

void hash_seed_set(uint64_t new_seed)
{
	seed = new_seed;
}
