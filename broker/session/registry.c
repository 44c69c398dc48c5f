/* SPDX-License-Identifier: Apache-2.0 */
#define HASH_NONFATAL_OOM 1
#include "session/registry.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/hash.h"
#include "base/memory.h"

#define REGISTRY_SHARDS 64u

struct registry_shard {
	pthread_mutex_t lock;
	struct registration *table;
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
	for (unsigned i = 0; i < REGISTRY_SHARDS; i++)
		pthread_mutex_destroy(&registry->shards[i].lock);
	free(registry);
	*registry_ref = NULL;
}

static struct registry_shard *shard_of(struct registry *registry, uint64_t hash)
{
	return &registry->shards[(hash >> 32) % REGISTRY_SHARDS];
}

static struct registration *registration_make(struct slice client_id, uint16_t owner)
{
	struct registration *fresh = malloc(sizeof *fresh + client_id.len);

	if (!fresh)
		return NULL;
	fresh->session = NULL;
	fresh->owner = owner;
	fresh->client_id_len = (uint16_t)client_id.len;
	memcpy(fresh->client_id, client_id.data, client_id.len);
	memory_charge(MEMORY_SESSION, sizeof *fresh + client_id.len);
	return fresh;
}

static enum err claim_new(struct registry *registry, struct registry_shard *shard,
			  struct slice client_id, unsigned hash, uint16_t claimant,
			  uint64_t max_entries, struct registration **out)
{
	struct registration *fresh;

	if (max_entries && registry_count(registry) >= max_entries)
		return ERR_LIMIT;
	fresh = registration_make(client_id, claimant);
	if (!fresh)
		return ERR_NOMEM;
	HASH_ADD_KEYPTR_BYHASHVALUE(hh, shard->table, fresh->client_id, client_id.len, hash, fresh);
	if (!fresh->hh.tbl) {
		memory_uncharge(MEMORY_SESSION, sizeof *fresh + client_id.len);
		free(fresh);
		return ERR_NOMEM;
	}
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
	struct registration *found;
	enum err err = ERR_NONE;

	*out_registration = NULL;
	*out_owner = claimant;
	pthread_mutex_lock(&shard->lock);
	HASH_FIND_BYHASHVALUE(hh, shard->table, client_id.data, client_id.len, (unsigned)hash,
			      found);
	if (!found)
		err = claim_new(registry, shard, client_id, (unsigned)hash, claimant, max_entries,
				&found);
	if (found) {
		*out_owner = found->owner;
		if (found->owner == claimant)
			*out_registration = found;
	}
	pthread_mutex_unlock(&shard->lock);
	return err;
}

void registry_release(struct registry *registry, struct registration **registration_ref)
{
	struct registration *registration = *registration_ref;
	struct registry_shard *shard =
		shard_of(registry, hash_slice(registration_client_id(registration)));

	pthread_mutex_lock(&shard->lock);
	HASH_DELETE(hh, shard->table, registration);
	pthread_mutex_unlock(&shard->lock);
	memory_uncharge(MEMORY_SESSION, sizeof *registration + registration->client_id_len);
	free(registration);
	__atomic_sub_fetch(&registry->count, 1, __ATOMIC_RELAXED);
	*registration_ref = NULL;
}

uint64_t registry_count(const struct registry *registry)
{
	return __atomic_load_n(&registry->count, __ATOMIC_RELAXED);
}
