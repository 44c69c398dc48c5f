/* SPDX-License-Identifier: Apache-2.0 */
/*
 * match_cache.c - two-way set associative, because a topic is published to again and again.
 *
 *	set = hash & mask     [ way 0: the last one used | way 1: the one before ]
 *
 * A topic has a place in it from its second message on: one that is published to once costs a match
 * and nothing else, and pushes none out that comes again. Every further one costs a hash
 * comparison and a memcmp of the name.
 */
#include "route/match_cache.h"

#include <stdlib.h>

#include "base/rcu.h"

#define CACHE_SETS 8192u
#define CACHE_WAYS 2u
/* Results of large fan-outs add up: above this the cache starts anew. */
#define CACHE_BYTES_MAX (32u * 1024u * 1024u)
/* What is remembered of topics that missed once. */
#define CACHE_MARKS 8192u
/* The result of a topic that has no place is made here, unless it is larger. */
#define CACHE_SPARE_BYTES 1024u

struct match_entry {
	uint64_t hash;
	uint64_t generation;
	struct match_result *result;
};

/* A subscription that matched, before merging. */
struct match_row {
	struct endpoint *endpoint;
	const struct subscription *subscription;
};

struct match_cache {
	struct topic_tree *tree;
	uint16_t worker;
	uint64_t bytes;
	struct topic_match match; /* scratch */
	struct match_row *rows;	  /* scratch */
	uint32_t row_count, row_cap;
	struct match_result *spare; /* of CACHE_SPARE_BYTES; NULL: not made yet */
	uint32_t marks[CACHE_MARKS];
	struct match_entry entries[CACHE_SETS * CACHE_WAYS];
};

enum err match_cache_create(struct topic_tree *tree, uint16_t worker, struct match_cache **out)
{
	struct match_cache *cache = calloc(1, sizeof *cache);

	*out = cache;
	if (!cache)
		return ERR_NOMEM;
	cache->tree = tree;
	cache->worker = worker;
	return ERR_NONE;
}

static void entry_clear(struct match_cache *cache, struct match_entry *entry)
{
	if (!entry->result)
		return;
	cache->bytes -= entry->result->bytes;
	match_result_unref(&entry->result);
}

static void cache_clear(struct match_cache *cache)
{
	for (uint32_t i = 0; i < CACHE_SETS * CACHE_WAYS; i++)
		entry_clear(cache, &cache->entries[i]);
}

void match_cache_destroy(struct match_cache **cache_ref)
{
	struct match_cache *cache = *cache_ref;

	if (!cache)
		return;
	cache_clear(cache);
	match_result_unref(&cache->spare);
	topic_match_fini(&cache->match);
	free(cache->rows);
	free(cache);
	*cache_ref = NULL;
}

void match_result_unref(struct match_result **result)
{
	if (*result && --(*result)->refs == 0)
		free(*result);
	*result = NULL;
}

bool match_result_is_same(const struct match_result *one, const struct match_result *other)
{
	return one == other ||
	       (one->generation == other->generation && one->topic_len == other->topic_len &&
		memcmp(one->topic, other->topic, one->topic_len) == 0);
}

static bool rows_add(struct match_cache *cache, const struct subscription *subscription)
{
	if (cache->row_count == cache->row_cap) {
		uint32_t cap = cache->row_cap ? cache->row_cap * 2 : 64;
		struct match_row *rows = realloc(cache->rows, cap * sizeof *rows);

		if (!rows)
			return false;
		cache->rows = rows;
		cache->row_cap = cap;
	}
	cache->rows[cache->row_count].endpoint = subscription->endpoint;
	cache->rows[cache->row_count++].subscription = subscription;
	return true;
}

static int compare_rows(const void *a, const void *b)
{
	const struct match_row *one = a, *two = b;

	return (one->endpoint > two->endpoint) - (one->endpoint < two->endpoint);
}

/* All subscriptions of this worker that match. An endpoint has one subscription per node, so only
 * a match of several nodes can name it twice. */
static bool rows_gather(struct match_cache *cache)
{
	cache->row_count = 0;
	for (uint32_t i = 0; i < cache->match.own_count; i++) {
		for (struct topic_link *link = cache->match.own[i]; link; link = link->next) {
			if (!rows_add(cache, (const struct subscription *)(void *)link))
				return false;
		}
	}
	if (cache->match.own_count > 1)
		qsort(cache->rows, cache->row_count, sizeof *cache->rows, compare_rows);
	return true;
}

static void target_begin(struct route_target *target, const struct subscription *subscription)
{
	*target = (struct route_target){
		.endpoint = subscription->endpoint,
		.handle = subscription->endpoint->handle,
		.policy = subscription->policy,
		.rights_generation = subscription->rights_generation,
		.qos = subscription->qos,
		.flags = TARGET_READABLE,
	};
	if (subscription->flags & SUBSCRIPTION_NO_LOCAL)
		target->flags |= TARGET_NO_LOCAL;
}

static void target_merge(struct match_result *result, struct route_target *target,
			 const struct subscription *subscription, uint32_t *id_count)
{
	bool no_local = (subscription->flags & SUBSCRIPTION_NO_LOCAL) != 0;

	if (no_local != ((target->flags & TARGET_NO_LOCAL) != 0))
		target->flags =
			(uint8_t)((target->flags & ~TARGET_NO_LOCAL) | TARGET_MIXED_NO_LOCAL);
	if (subscription->flags & SUBSCRIPTION_RETAIN_AS_PUBLISHED)
		target->flags |= TARGET_RETAIN_AS_PUBLISHED;
	/* All have to be proven under the same generation, or the delivery looks for itself. */
	if (!(subscription->flags & SUBSCRIPTION_READABLE) ||
	    subscription->rights_generation != target->rights_generation)
		target->flags &= (uint8_t)~TARGET_READABLE;
	if (subscription->qos > target->qos)
		target->qos = subscription->qos;
	if (subscription->policy != target->policy)
		target->policy = NULL; /* one of them wants everything */
	if (subscription->id) {
		result->ids[(*id_count)++] = subscription->id;
		target->id_count++;
	}
}

static void merge_rows(struct match_cache *cache, struct match_result *result, bool duplicates)
{
	struct route_target *target = NULL;
	uint32_t id_count = 0;

	for (uint32_t i = 0; i < cache->row_count; i++) {
		const struct subscription *subscription = cache->rows[i].subscription;

		if (!target || duplicates || target->endpoint != subscription->endpoint) {
			target = &result->targets[result->target_count++];
			target_begin(target, subscription);
			target->first_id = id_count;
		}
		target_merge(result, target, subscription, &id_count);
	}
}

static uint16_t count_others(const struct topic_match *match)
{
	unsigned count = 0;

	for (unsigned i = 0; i < WORKERS_MAX / 64 && match->has_others; i++)
		count += (unsigned)__builtin_popcountll(match->others[i]);
	return (uint16_t)count;
}

static void list_others(const struct topic_match *match, struct match_result *result)
{
	if (!match->has_others)
		return;
	for (unsigned i = 0; i < WORKERS_MAX / 64; i++) {
		for (uint64_t bits = match->others[i]; bits; bits &= bits - 1)
			result->others[result->other_count++] =
				(uint16_t)(i * 64 + (unsigned)__builtin_ctzll(bits));
	}
}

/* Memory for a result. Without a place in the cache it is used at once and hardly ever kept. */
static struct match_result *result_alloc(struct match_cache *cache, size_t bytes, bool has_place)
{
	struct match_result *spare = cache->spare;

	if (has_place || bytes > CACHE_SPARE_BYTES)
		return malloc(bytes);
	if (spare && spare->refs == 1) {
		cache->spare = NULL;
		return spare;
	}
	return malloc(CACHE_SPARE_BYTES);
}

static struct match_result *result_make(struct match_cache *cache, struct slice topic,
					bool duplicates, bool has_place)
{
	uint16_t others = count_others(&cache->match);
	size_t targets_at = sizeof(struct match_result);
	size_t ids_at = targets_at + cache->row_count * sizeof(struct route_target);
	size_t others_at = ids_at + cache->row_count * sizeof(uint32_t);
	size_t topic_at = others_at + others * sizeof(uint16_t);
	size_t bytes = topic_at + topic.len;
	struct match_result *result;

	if (bytes > UINT32_MAX)
		return NULL;
	result = result_alloc(cache, bytes, has_place);
	if (!result)
		return NULL;
	*result = (struct match_result){.refs = 1,
					.bytes = (uint32_t)bytes,
					.topic_len = (uint16_t)topic.len};
	result->ids = (uint32_t *)(void *)((char *)result + ids_at);
	result->others = (uint16_t *)(void *)((char *)result + others_at);
	result->topic = (uint8_t *)result + topic_at;
	memcpy(result->topic, topic.data, topic.len);
	merge_rows(cache, result, duplicates);
	list_others(&cache->match, result);
	return result;
}

static struct match_result *match_now(struct match_cache *cache, const struct message *message,
				      bool duplicates, bool has_place)
{
	struct match_result *result = NULL;

	rcu_read_section_begin();
	if (topic_tree_match(cache->tree, cache->worker, message_topic(message),
			     message->topic_hash, &cache->match) == ERR_NONE &&
	    rows_gather(cache))
		result = result_make(cache, message_topic(message), duplicates, has_place);
	rcu_read_section_end();
	return result;
}

static inline bool entry_is(const struct match_entry *entry, const struct message *message,
			    uint64_t generation)
{
	return entry->hash == message->topic_hash && entry->generation == generation &&
	       entry->result && entry->result->topic_len == message->topic_len &&
	       memcmp(entry->result->topic, message->bytes + 2, message->topic_len) == 0;
}

/* Did this topic miss before under this generation, or has it a place that is out of date? */
static bool deserves_place(struct match_cache *cache, const struct match_entry *way, uint64_t hash,
			   uint64_t generation)
{
	uint32_t mark = (uint32_t)(hash >> 32) ^ (uint32_t)generation;
	uint32_t *seen = &cache->marks[hash & (CACHE_MARKS - 1)];

	if (way[0].hash == hash || way[1].hash == hash || *seen == mark)
		return true;
	*seen = mark;
	return false;
}

static void entry_put(struct match_cache *cache, struct match_entry *way,
		      const struct match_entry *fresh)
{
	if (cache->bytes > CACHE_BYTES_MAX)
		cache_clear(cache);
	entry_clear(cache, &way[1]);
	way[1] = way[0];
	way[0] = *fresh;
	cache->bytes += fresh->result->bytes;
	fresh->result->refs++;
}

static struct match_result *match_anew(struct match_cache *cache, const struct message *message,
				       uint64_t generation, bool allow_duplicates,
				       struct match_entry *way)
{
	bool has_place = deserves_place(cache, way, message->topic_hash, generation);
	struct match_result *result = match_now(cache, message, allow_duplicates, has_place);

	if (!result)
		return NULL;
	result->generation = generation;
	if (has_place) {
		entry_put(cache, way,
			  &(struct match_entry){message->topic_hash, generation, result});
	} else if (!cache->spare && result->bytes <= CACHE_SPARE_BYTES) {
		cache->spare = result;
		result->refs++;
	}
	return result;
}

static struct match_entry *entries_of(struct match_cache *cache, uint64_t hash)
{
	return &cache->entries[(hash & (CACHE_SETS - 1)) * CACHE_WAYS];
}

void match_cache_expect(struct match_cache *cache, uint64_t topic_hash)
{
	__builtin_prefetch(entries_of(cache, topic_hash));
	__builtin_prefetch(&cache->marks[topic_hash & (CACHE_MARKS - 1)]);
}

struct match_result *match_cache_find(struct match_cache *cache, const struct message *message,
				      bool allow_duplicates)
{
	uint64_t generation = topic_tree_generation(cache->tree);
	struct match_entry *way = entries_of(cache, message->topic_hash);

	if (entry_is(&way[0], message, generation)) {
		way[0].result->refs++;
		return way[0].result;
	}
	if (entry_is(&way[1], message, generation)) {
		struct match_entry used = way[1];

		way[1] = way[0];
		way[0] = used;
		used.result->refs++;
		return used.result;
	}
	return match_anew(cache, message, generation, allow_duplicates, way);
}
