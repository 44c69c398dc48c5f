/* SPDX-License-Identifier: Apache-2.0 */
/*
 * match_cache.h - who gets a topic's messages on this worker, worked out once.
 *
 * Keyed by Topic Name and the tree's generation: any change of a subscription makes results of
 * before useless, so no result outlives the endpoints that it points to while it is current.
 * Owner: one worker.
 */
#ifndef NIGHTJAR_ROUTE_MATCH_CACHE_H
#define NIGHTJAR_ROUTE_MATCH_CACHE_H

#include "route/route.h"

enum target_flag {
	TARGET_NO_LOCAL = 1 << 0,	/* all merged subscriptions have No Local */
	TARGET_MIXED_NO_LOCAL = 1 << 1, /* some have */
	TARGET_RETAIN_AS_PUBLISHED = 1 << 2,
	TARGET_READABLE = 1 << 3,
};

/* One endpoint, its matching subscriptions merged. */
struct route_target {
	struct endpoint *endpoint; /* only while the generation is current; else use the handle */
	handle_t handle;
	const struct subscription_policy *policy;
	uint16_t rights_generation;
	uint32_t first_id; /* index into the result's ids */
	uint16_t id_count;
	uint8_t qos;
	uint8_t flags;
};

/* Frozen after it was made. Counted, because a fan-out in slices outlives its place in the cache. */
struct match_result {
	uint32_t refs;
	uint32_t target_count;
	uint64_t generation; /* of the tree that it was made of */
	uint32_t bytes;
	uint16_t topic_len;
	uint16_t other_count;
	uint32_t *ids;
	uint16_t *others; /* other workers that have subscribers */
	uint8_t *topic;
	struct route_target targets[];
};

struct match_cache;

enum err match_cache_create(struct topic_tree *tree, uint16_t worker,
			    struct match_cache **out) ERR_CHECKED;
void match_cache_destroy(struct match_cache **cache);

/* A look-up of this topic comes soon: its place is fetched from memory meanwhile. */
void match_cache_expect(struct match_cache *cache, uint64_t topic_hash);
/* The result for the message's topic, with a reference for the caller; NULL: no memory. */
struct match_result *match_cache_find(struct match_cache *cache, const struct message *message,
				      bool allow_duplicates);
void match_result_unref(struct match_result **result);
/* Do both name the same receivers, because they are of one topic and generation? */
bool match_result_is_same(const struct match_result *one, const struct match_result *other);

#endif
