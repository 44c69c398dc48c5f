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

/*
 * The second part goes through a multiplication (the constant is 2^64 divided by the golden ratio)
 * so that small numbers, as those of tree nodes are, change the upper half of the seed as well.
 */
uint64_t hash_bytes_with(const void *data, size_t len, uint64_t second)
{
	return XXH3_64bits_withSeed(data, len, seed ^ (second * 0x9e3779b97f4a7c15u));
}

void hash_seed_set(uint64_t new_seed)
{
	seed = new_seed;
}
