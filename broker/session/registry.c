/* SPDX-License-Identifier: Apache-2.0 */
#include "session/registry.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/hash.h"
#include "base/memory.h"

#define REGISTRY_SHARDS 64u
#define BUCKETS_FIRST 32u

/* A table of our own: a broker may hold millions of sessions, and uthash takes 56 bytes of each. */
struct registry_shard {
	pthread_mutex_t lock;
	struct registration **buckets; /* as many as a power of two, or NULL */
	uint32_t bucket_count, count;
} __attribute__((aligned(64)));

struct registry {
	struct registry_shard shards[REGISTRY_SHARDS];
	uint64_t count; /* any thread */
};

enum err registry_create(struct registry **out)
{
	struct registry *registry = aligned_alloc(64, sizeof *registry);

	*out = registry;
	if (!registry)
		return ERR_NOMEM;
	memset(registry, 0, sizeof *registry);
	for (unsigned i = 0; i < REGISTRY_SHARDS; i++)
		pthread_mutex_init(&registry->shards[i].lock, NULL);
	return ERR_NONE;
}

void registry_destroy(struct registry **registry_ref)
{
	struct registry *registry = *registry_ref;

	if (!registry)
		return;
	BUG_ON(registry->count);
	for (unsigned i = 0; i < REGISTRY_SHARDS; i++) {
		pthread_mutex_destroy(&registry->shards[i].lock);
		free(registry->shards[i].buckets);
	}
	free(registry);
	*registry_ref = NULL;
}

static struct registry_shard *shard_of(struct registry *registry, uint64_t hash)
{
	return &registry->shards[(hash >> 32) % REGISTRY_SHARDS];
}

/* The place that points to it, or the end of its bucket. The shard has buckets. */
static struct registration **bucket_find(struct registry_shard *shard, struct slice client_id,
					 uint32_t hash)
{
	struct registration **at = &shard->buckets[hash & (shard->bucket_count - 1)];

	while (*at && !slice_equal(registration_client_id(*at), client_id))
		at = &(*at)->next;
	return at;
}

/* At two in each bucket, which only who connects looks through. Without memory they get longer. */
static void shard_grow(struct registry_shard *shard)
{
	uint32_t count = shard->bucket_count ? shard->bucket_count * 2 : BUCKETS_FIRST;
	struct registration **buckets = calloc(count, sizeof(struct registration *));

	if (!buckets)
		return;
	for (uint32_t i = 0; i < shard->bucket_count; i++) {
		while (shard->buckets[i]) {
			struct registration *one = shard->buckets[i];
			uint32_t hash = (uint32_t)hash_slice(registration_client_id(one));

			shard->buckets[i] = one->next;
			one->next = buckets[hash & (count - 1)];
			buckets[hash & (count - 1)] = one;
		}
	}
	free(shard->buckets);
	shard->buckets = buckets;
	shard->bucket_count = count;
}

/* The text begins before the struct's end, where there would be padding. */
static size_t registration_bytes(struct slice client_id)
{
	size_t bytes = offsetof(struct registration, client_id) + client_id.len;

	return bytes > sizeof(struct registration) ? bytes : sizeof(struct registration);
}

static struct registration *registration_make(struct slice client_id, uint16_t owner)
{
	struct registration *fresh = malloc(registration_bytes(client_id));

	if (!fresh)
		return NULL;
	fresh->session = NULL;
	fresh->owner = owner;
	fresh->client_id_len = (uint16_t)client_id.len;
	memcpy(fresh->client_id, client_id.data, client_id.len);
	memory_charge(MEMORY_SESSION, registration_bytes(client_id));
	return fresh;
}

static enum err claim_new(struct registry *registry, struct registry_shard *shard,
			  struct slice client_id, uint32_t hash, uint16_t claimant,
			  uint64_t max_entries, struct registration **out)
{
	struct registration *fresh, **bucket;

	if (max_entries && registry_count(registry) >= max_entries)
		return ERR_LIMIT;
	fresh = registration_make(client_id, claimant);
	if (!fresh)
		return ERR_NOMEM;
	bucket = &shard->buckets[hash & (shard->bucket_count - 1)];
	fresh->next = *bucket;
	*bucket = fresh;
	shard->count++;
	__atomic_add_fetch(&registry->count, 1, __ATOMIC_RELAXED);
	*out = fresh;
	return ERR_NONE;
}

enum err registry_claim(struct registry *registry, struct slice client_id, uint16_t claimant,
			uint64_t max_entries, struct registration **out_registration,
			uint16_t *out_owner)
{
	uint64_t hash = hash_slice(client_id);
	struct registry_shard *shard = shard_of(registry, hash);
	struct registration *found = NULL;
	enum err err = ERR_NONE;

	*out_registration = NULL;
	*out_owner = claimant;
	pthread_mutex_lock(&shard->lock);
	if (shard->count == 2 * shard->bucket_count)
		shard_grow(shard);
	if (!shard->buckets)
		err = ERR_NOMEM;
	else
		found = *bucket_find(shard, client_id, (uint32_t)hash);
	if (!found && err == ERR_NONE)
		err = claim_new(registry, shard, client_id, (uint32_t)hash, claimant, max_entries,
				&found);
	if (found) {
		*out_owner = found->owner;
		if (found->owner == claimant)
			*out_registration = found;
	}
	pthread_mutex_unlock(&shard->lock);
	return err;
}

struct registration *registry_find(struct registry *registry, struct slice client_id,
				   uint16_t *out_owner)
{
	uint64_t hash = hash_slice(client_id);
	struct registry_shard *shard = shard_of(registry, hash);
	struct registration *found = NULL;

	pthread_mutex_lock(&shard->lock);
	if (shard->buckets)
		found = *bucket_find(shard, client_id, (uint32_t)hash);
	if (found)
		*out_owner = found->owner;
	pthread_mutex_unlock(&shard->lock);
	return found;
}

void registry_release(struct registry *registry, struct registration **registration_ref)
{
	struct registration *registration = *registration_ref;
	struct slice client_id = registration_client_id(registration);
	uint64_t hash = hash_slice(client_id);
	struct registry_shard *shard = shard_of(registry, hash);

	pthread_mutex_lock(&shard->lock);
	*bucket_find(shard, client_id, (uint32_t)hash) = registration->next;
	shard->count--;
	pthread_mutex_unlock(&shard->lock);
	memory_uncharge(MEMORY_SESSION, registration_bytes(client_id));
	free(registration);
	__atomic_sub_fetch(&registry->count, 1, __ATOMIC_RELAXED);
	*registration_ref = NULL;
}

uint64_t registry_count(const struct registry *registry)
{
	return __atomic_load_n(&registry->count, __ATOMIC_RELAXED);
}
