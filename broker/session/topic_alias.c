/* SPDX-License-Identifier: Apache-2.0 */
#include "session/topic_alias.h"

#include <stdlib.h>

#include "base/memory.h"

struct topic_alias_table {
	uint16_t count;
	struct slice topics[]; /* each owned; index is alias - 1 */
};

static void topic_forget(struct slice *topic)
{
	if (!topic->data)
		return;
	memory_uncharge(MEMORY_SESSION, topic->len);
	free((void *)(uintptr_t)topic->data);
	*topic = SLICE_NONE;
}

static enum err topic_copy(struct slice *to, struct slice topic)
{
	uint8_t *copy = malloc(topic.len ? topic.len : 1);

	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, topic.data, topic.len);
	memory_charge(MEMORY_SESSION, topic.len);
	topic_forget(to);
	*to = slice_of(copy, topic.len);
	return ERR_NONE;
}

enum err topic_alias_set(struct topic_alias_table **table, uint16_t maximum, uint16_t alias,
			 struct slice topic)
{
	if (!*table) {
		*table = calloc(1, sizeof **table + maximum * sizeof(struct slice));
		if (!*table)
			return ERR_NOMEM;
		(*table)->count = maximum;
		memory_charge(MEMORY_SESSION, maximum * sizeof(struct slice));
	}
	if (alias > (*table)->count) /* a reload cannot raise what CONNACK has said */
		return ERR_LIMIT;
	if (slice_equal((*table)->topics[alias - 1], topic))
		return ERR_NONE;
	return topic_copy(&(*table)->topics[alias - 1], topic);
}

struct slice topic_alias_get(const struct topic_alias_table *table, uint16_t alias)
{
	if (!table || alias == 0 || alias > table->count)
		return SLICE_NONE;
	return table->topics[alias - 1];
}

void topic_alias_table_free(struct topic_alias_table **table)
{
	if (!*table)
		return;
	for (uint16_t i = 0; i < (*table)->count; i++)
		topic_forget(&(*table)->topics[i]);
	memory_uncharge(MEMORY_SESSION, (*table)->count * sizeof(struct slice));
	free(*table);
	*table = NULL;
}

struct alias_entry {
	uint64_t hash;
	uint64_t used; /* when, by the table's own clock; 0: free */
	struct slice topic;
};

struct topic_alias_out {
	uint64_t clock;
	uint16_t count;
	struct alias_entry entries[];
};

static struct topic_alias_out *out_make(uint16_t count)
{
	struct topic_alias_out *out = calloc(1, sizeof *out + count * sizeof(struct alias_entry));

	if (!out)
		return NULL;
	out->count = count;
	memory_charge(MEMORY_SESSION, count * sizeof(struct alias_entry));
	return out;
}

enum topic_alias_use topic_alias_choose(struct topic_alias_out **out_ref, uint16_t count,
					uint64_t topic_hash, struct slice topic,
					uint16_t *out_alias)
{
	struct topic_alias_out *out = *out_ref ? *out_ref : (*out_ref = out_make(count));
	struct alias_entry *oldest;

	if (!out)
		return TOPIC_ALIAS_NONE;
	oldest = &out->entries[0];
	out->clock++;
	for (uint16_t i = 0; i < out->count; i++) {
		struct alias_entry *entry = &out->entries[i];

		if (entry->used && entry->hash == topic_hash && slice_equal(entry->topic, topic)) {
			entry->used = out->clock;
			*out_alias = (uint16_t)(i + 1);
			return TOPIC_ALIAS_KNOWN;
		}
		if (entry->used < oldest->used)
			oldest = entry;
	}
	/* Taking over a place that was used just now would only push others out in turn. */
	if (oldest->used && out->clock - oldest->used < 2u * out->count)
		return TOPIC_ALIAS_NONE;
	if (topic_copy(&oldest->topic, topic) != ERR_NONE)
		return TOPIC_ALIAS_NONE;
	oldest->hash = topic_hash;
	oldest->used = out->clock;
	*out_alias = (uint16_t)(oldest - out->entries + 1);
	return TOPIC_ALIAS_INTRODUCE;
}

void topic_alias_out_free(struct topic_alias_out **out)
{
	if (!*out)
		return;
	for (uint16_t i = 0; i < (*out)->count; i++)
		topic_forget(&(*out)->entries[i].topic);
	memory_uncharge(MEMORY_SESSION, (*out)->count * sizeof(struct alias_entry));
	free(*out);
	*out = NULL;
}
