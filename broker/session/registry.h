/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - which worker owns the session of this Client Identifier?
 *
 * A sharded table with a mutex per shard, used when a client connects and when a session ends.
 * Only the owner removes an entry or uses its session pointer.
 */
#ifndef NIGHTJAR_SESSION_REGISTRY_H
#define NIGHTJAR_SESSION_REGISTRY_H

#include "base/err.h"
#include "base/slice.h"

struct session;
struct registry;

/* Guarded by the shard's mutex, except that session belongs to the owner and the identifier never
 * changes. Lives until the owner releases it. */
struct registration {
	struct registration *next; /* in its bucket */
	struct session *session;   /* owner only */
	uint16_t owner;
	uint16_t client_id_len;
	uint8_t client_id[];
};

static inline struct slice registration_client_id(const struct registration *registration)
{
	return slice_of(registration->client_id, registration->client_id_len);
}

enum err registry_create(struct registry **out) ERR_CHECKED;
void registry_destroy(struct registry **registry);

/*
 * Finds who owns the identifier, or makes the worker `claimant` its owner. *out_registration is set
 * only when the claimant is the owner (it may use it until it releases it); *out_owner always.
 * ERR_LIMIT: max_entries (0: no limit) is met by a new one.
 */
enum err registry_claim(struct registry *registry, struct slice client_id, uint16_t claimant,
			uint64_t max_entries, struct registration **out_registration,
			uint16_t *out_owner) ERR_CHECKED;
/* The registration, or NULL; only its owner may use it, any thread may ask who that is. */
struct registration *registry_find(struct registry *registry, struct slice client_id,
				   uint16_t *out_owner);
void registry_release(struct registry *registry, struct registration **registration);
uint64_t registry_count(const struct registry *registry);

#endif
