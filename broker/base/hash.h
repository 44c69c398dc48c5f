/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - hashes of bytes that peers choose, under a seed that they cannot know.
 *
 * The seed is random per process and set before main(): a hash must never be stored or sent. Any
 * thread may call.
 */
#ifndef NIGHTJAR_BASE_HASH_H
#define NIGHTJAR_BASE_HASH_H

#include "base/slice.h"

uint64_t hash_bytes(const void *data, size_t len);

static inline uint64_t hash_slice(struct slice bytes)
{
	return hash_bytes(bytes.data, bytes.len);
}

/* For tests that need the same order twice; before any hash was made. */
void hash_seed_set(uint64_t seed);

#endif
