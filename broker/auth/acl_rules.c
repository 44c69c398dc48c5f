/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl_rules.c - which rules match this Topic Name, without trying them all?
 *
 * Each rule is filed under its stem: the levels in front of its first wildcard, or the whole filter
 * when it has none. A Topic Name can match only rules whose stem is a start of it, so a check looks
 * up as many stems as the name has levels, however many rules there are:
 *
 *	name  "a/b/c"        stems "", "a", "a/b", "a/b/c"
 *	rules "a/b/c"        stem  "a/b/c"  exact
 *	      "a/#"          stem  "a"      matches with its stem
 *	      "a/+/c"        stem  "a"      must be compared level by level
 *	      "+/b/#"        stem  ""       the same
 *
 * Depths at which no rule has its stem are not even hashed.
 *
 * Invariants:
 *   R1  Rules with the same stem stand side by side; a bucket holds their range.
 *   R2  The table has at least one empty slot, so that each search ends.
 *   R3  bits_of_depths has bit d set when a stem of d levels exists (bit 63: 63 and more).
 */
#include "auth/acl_rules.h"

#include <stdlib.h>

#include "base/hash.h"
#include "mqtt/topic.h"

enum rule_kind {
	RULE_EXACT,	   /* no wildcard */
	RULE_STEM_AND_ALL, /* stem, then "/#": matches whatever has the stem */
	RULE_WILDCARD,
};

struct compiled_rule {
	uint32_t offset; /* of the filter in text */
	uint16_t len;
	uint8_t bits;
	uint8_t kind; /* enum rule_kind */
};

struct bucket {
	uint64_t hash; /* of the stem */
	uint32_t first, count;
	uint16_t stem_len;
	uint8_t used;
};

struct acl_rules {
	uint64_t bits_of_depths;
	uint32_t longest_stem; /* bytes; behind it a Topic Name is not looked at */
	uint32_t count;
	uint32_t mask; /* number of slots less one; a power of two less one */
	size_t bytes;
	struct compiled_rule *rules;
	const uint8_t *text;
	struct bucket slots[];
};

/* The levels in front of the first wildcard, without the '/' between. */
static struct slice stem_of(struct slice filter)
{
	size_t wild = 0;

	while (wild < filter.len && filter.data[wild] != '+' && filter.data[wild] != '#')
		wild++;
	if (wild == filter.len)
		return filter;
	return slice_of(filter.data, wild > 0 ? wild - 1 : 0);
}

/*
 * A stem "" is that of "+/..." and "#", and also of "/+/...", whose first level is empty. Both are
 * looked up at depth 0 and compared level by level.
 */
static unsigned stem_depth(struct slice stem)
{
	size_t levels = topic_levels_count(stem);

	return levels < 63 ? (unsigned)levels : 63;
}

static enum rule_kind kind_of(struct slice filter, struct slice stem)
{
	if (stem.len == filter.len)
		return RULE_EXACT;
	if (stem.len > 0 && filter.len == stem.len + 2 && filter.data[filter.len - 1] == '#')
		return RULE_STEM_AND_ALL;
	return RULE_WILDCARD;
}

static int compare_stems(const void *left, const void *right)
{
	struct slice a = stem_of(((const struct acl_rule *)left)->filter);
	struct slice b = stem_of(((const struct acl_rule *)right)->filter);

	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return a.len ? memcmp(a.data, b.data, a.len) : 0;
}

static struct acl_rules *allocate(const struct acl_rule *rules, size_t count)
{
	size_t slots = 2, text_bytes = 0, bytes;
	struct acl_rules *set;

	while (slots < count * 2)
		slots *= 2;
	for (size_t i = 0; i < count; i++)
		text_bytes += rules[i].filter.len;
	if (count > UINT32_MAX / 4 || text_bytes > UINT32_MAX)
		return NULL;
	bytes = sizeof *set + slots * sizeof set->slots[0] + count * sizeof set->rules[0] +
		text_bytes;
	set = calloc(1, bytes);
	if (!set)
		return NULL;
	set->count = (uint32_t)count;
	set->mask = (uint32_t)slots - 1;
	set->bytes = bytes;
	set->rules = (struct compiled_rule *)(void *)(set->slots + slots);
	set->text = (const uint8_t *)(set->rules + count);
	return set;
}

static void copy_rules(struct acl_rules *set, const struct acl_rule *rules)
{
	uint8_t *text = (uint8_t *)(set->rules + set->count);
	uint32_t offset = 0;

	for (uint32_t i = 0; i < set->count; i++) {
		struct slice filter = rules[i].filter;

		memcpy(text + offset, filter.data, filter.len);
		set->rules[i] = (struct compiled_rule){
			.offset = offset,
			.len = (uint16_t)filter.len,
			.bits = rules[i].bits,
			.kind = (uint8_t)kind_of(filter, stem_of(filter)),
		};
		offset += (uint32_t)filter.len;
	}
}

static struct slice rule_filter(const struct acl_rules *set, uint32_t index)
{
	const struct compiled_rule *rule = &set->rules[index];

	return slice_of(set->text + rule->offset, rule->len);
}

/* The bucket of a stem, or the empty slot where it would be. */
static const struct bucket *find_bucket(const struct acl_rules *set, struct slice stem,
					uint64_t hash)
{
	for (uint32_t at = (uint32_t)hash & set->mask;; at = (at + 1) & set->mask) {
		const struct bucket *bucket = &set->slots[at];

		if (!bucket->used)
			return bucket;
		if (bucket->hash == hash && bucket->stem_len == stem.len &&
		    memcmp(rule_filter(set, bucket->first).data, stem.data, stem.len) == 0)
			return bucket;
	}
}

/* The rules come sorted by stem [R1]. */
static void fill_buckets(struct acl_rules *set)
{
	for (uint32_t i = 0; i < set->count; i++) {
		struct slice stem = stem_of(rule_filter(set, i));
		uint64_t hash = hash_slice(stem);
		const struct bucket *found = find_bucket(set, stem, hash);
		struct bucket *bucket = &set->slots[found - set->slots];

		if (!bucket->used)
			*bucket = (struct bucket){.hash = hash,
						  .first = i,
						  .stem_len = (uint16_t)stem.len,
						  .used = 1};
		bucket->count++;
		if (stem.len > set->longest_stem)
			set->longest_stem = (uint32_t)stem.len;
		set->bits_of_depths |= UINT64_C(1) << stem_depth(stem);
	}
}

enum err acl_rules_compile(struct acl_rule *rules, size_t count, struct acl_rules **out)
{
	struct acl_rules *set;

	*out = NULL;
	if (count == 0)
		return ERR_NONE;
	qsort(rules, count, sizeof rules[0], compare_stems);
	set = allocate(rules, count);
	if (!set)
		return ERR_NOMEM;
	copy_rules(set, rules);
	fill_buckets(set);
	*out = set;
	return ERR_NONE;
}

void acl_rules_destroy(struct acl_rules **rules)
{
	free(*rules);
	*rules = NULL;
}

static bool rule_matches(const struct acl_rules *set, uint32_t index, struct slice stem,
			 struct slice topic)
{
	switch ((enum rule_kind)set->rules[index].kind) {
	case RULE_EXACT: return stem.len == topic.len;
	case RULE_STEM_AND_ALL: return true;
	case RULE_WILDCARD: return topic_matches_filter(topic, rule_filter(set, index));
	}
	return false;
}

static unsigned match_stem(const struct acl_rules *set, struct slice stem, struct slice topic)
{
	const struct bucket *bucket = find_bucket(set, stem, hash_slice(stem));
	unsigned bits = 0;

	for (uint32_t i = bucket->first; i < bucket->first + bucket->count; i++)
		if ((set->rules[i].bits & ~bits) && rule_matches(set, i, stem, topic))
			bits |= set->rules[i].bits;
	return bits;
}

unsigned acl_rules_match(const struct acl_rules *set, struct slice topic)
{
	unsigned bits = 0, depth = 0;
	size_t end = 0;

	if (!set || topic.len == 0)
		return 0;
	if (set->bits_of_depths & 1)
		bits = match_stem(set, slice_of(topic.data, 0), topic);
	do {
		while (end < topic.len && topic.data[end] != '/')
			end++;
		depth += depth < 63;
		/* A stem of no bytes is that of depth 0, looked up above. */
		if (end > 0 && (set->bits_of_depths >> depth & 1))
			bits |= match_stem(set, slice_of(topic.data, end), topic);
	} while (end < topic.len && end++ < set->longest_stem);
	return bits;
}

size_t acl_rules_count(const struct acl_rules *rules)
{
	return rules ? rules->count : 0;
}

struct acl_rule acl_rules_at(const struct acl_rules *rules, size_t index)
{
	return (struct acl_rule){.filter = rule_filter(rules, (uint32_t)index),
				 .bits = rules->rules[index].bits};
}

size_t acl_rules_bytes(const struct acl_rules *rules)
{
	return rules ? rules->bytes : 0;
}
