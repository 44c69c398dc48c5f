/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic_alias.h - Topic Aliases (MQTT 5, 3.3.2.3.4) of one connection, in both directions.
 *
 * Owner: the client. Allocated at first use.
 */
#ifndef NIGHTJAR_SESSION_TOPIC_ALIAS_H
#define NIGHTJAR_SESSION_TOPIC_ALIAS_H

#include "base/err.h"
#include "base/slice.h"

/* The client's: alias -> Topic Name. */
struct topic_alias_table;

/* alias is 1..maximum, checked by the caller. Copies the topic. */
enum err topic_alias_set(struct topic_alias_table **table, uint16_t maximum, uint16_t alias,
			 struct slice topic) ERR_CHECKED;
/* Empty: the alias was never set. */
struct slice topic_alias_get(const struct topic_alias_table *table, uint16_t alias);
void topic_alias_table_free(struct topic_alias_table **table);

/* Ours: Topic Name -> alias, the least recently used one is given anew. */
struct topic_alias_out;

enum topic_alias_use {
	TOPIC_ALIAS_NONE,      /* send the Topic Name alone */
	TOPIC_ALIAS_INTRODUCE, /* send Topic Name and alias */
	TOPIC_ALIAS_KNOWN,     /* send the alias alone */
};

/* count: how many there may be; at least 1. The alias is only taken for good when the packet is
 * really sent, so call it last. */
enum topic_alias_use topic_alias_choose(struct topic_alias_out **out, uint16_t count,
					uint64_t topic_hash, struct slice topic,
					uint16_t *out_alias);
void topic_alias_out_free(struct topic_alias_out **out);

#endif
