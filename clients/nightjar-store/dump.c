/* SPDX-License-Identifier: Apache-2.0 */
/* dump.c - what is in a store, for people; export is for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "tables.h"

static enum err dump_session(void *context, struct slice key, struct slice value)
{
	struct store_session session;

	(void)context;
	if (!record_get_session(value, &session))
		return ERR_INVALID;
	printf("%s %llu '%.*s'",
	       session.kind == STORE_GROUP  ? "group"
	       : session.kind == STORE_WILL ? "departing will"
					    : "session",
	       (unsigned long long)key_number(key, 0),
	       session.kind == STORE_GROUP ? 0 : (int)session.name.len,
	       (const char *)session.name.data);
	if (session.has_username)
		printf(" user '%.*s'", (int)session.username.len,
		       (const char *)session.username.data);
	printf(" expiry %u s, %s\n", session.expiry_s,
	       session.offline_ms ? "offline" : "was connected");
	return ERR_NONE;
}

static enum err dump_subscription(void *context, struct slice key, struct slice value)
{
	struct store_subscription subscription;

	(void)context;
	if (!record_get_subscription(value, &subscription))
		return ERR_INVALID;
	printf("subscription of %llu: QoS %u %.*s\n", (unsigned long long)key_number(key, 0),
	       subscription.qos, (int)subscription.text.len, (const char *)subscription.text.data);
	return ERR_NONE;
}

static enum err dump_message(void *context, struct slice key, struct slice value)
{
	struct receiver_cursor cursor = {0, 0};
	struct message_record record;
	struct stored_message message;
	struct receiver receiver;
	uint64_t receivers = 0;
	struct unpack from;

	(void)context;
	if (!record_get_message(value, &record))
		return ERR_INVALID;
	printf("message %llu", (unsigned long long)key_number(key, 0));
	from = unpack_of(record.body);
	if (record.body_record)
		printf(" (body in %llu)", (unsigned long long)record.body_record);
	else if (unpack_message(&from, &message))
		printf(" %.*s, %zu bytes", (int)message.topic.len, (const char *)message.topic.data,
		       message.payload.len);
	cursor.number = record.number;
	for (from = unpack_of(record.receivers);
	     from.at < from.end && unpack_receiver(&from, &cursor, &receiver); receivers++)
		if (receivers < 4)
			printf("%s %llu", receivers ? "," : " to", (unsigned long long)receiver.id);
	if (receivers > 4)
		printf(" and %llu more", (unsigned long long)receivers - 4);
	putchar('\n');
	return ERR_NONE;
}

static enum err dump_retained(void *context, struct slice key, struct slice value)
{
	struct stored_message message;

	(void)context;
	(void)key;
	if (!record_get_retained(value, &message))
		return ERR_INVALID;
	printf("retained %.*s, %zu bytes\n", (int)message.topic.len,
	       (const char *)message.topic.data, message.payload.len);
	return ERR_NONE;
}

int dump_store(const char *directory)
{
	static const struct {
		enum kv_table table;
		kv_record_fn *one;
	} tables[] = {{KV_SESSIONS, dump_session},
		      {KV_SUBSCRIPTIONS, dump_subscription},
		      {KV_MESSAGES, dump_message},
		      {KV_RETAINED, dump_retained}};
	struct err_detail detail = {""};
	struct kv *kv;
	int failed = 0;

	if (tables_open(directory, &kv, &detail) != ERR_NONE)
		return fail(&detail);
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		uint64_t damaged;

		if (tables_walk(kv, tables[i].table, tables[i].one, NULL, &damaged) != ERR_NONE)
			failed = fail_text("cannot read table %s", kv_table_name(tables[i].table));
		else if (damaged)
			failed = fail_text("%" PRIu64 " records of table %s are damaged", damaged,
					   kv_table_name(tables[i].table));
	}
	tables_print_counts(kv);
	tables_tell_of_rings(directory);
	if (tables_close(&kv, &detail) != ERR_NONE)
		failed = fail(&detail);
	return failed;
}
