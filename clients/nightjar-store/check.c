/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - is a store whole, and what is in it? */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tables.h"

#define PATH_BYTES 4096

static void print_counts(struct kv *kv)
{
	struct kv_reader *reader;
	struct kv_space space;

	if (kv->ops->reader_open(kv, &reader) == ERR_NONE) {
		for (enum kv_table table = 0; table < KV_META; table++)
			printf("%-14s %llu\n", kv_table_name(table),
			       (unsigned long long)kv->ops->count(reader, table));
		kv->ops->reader_close(&reader);
	}
	if (kv->ops->space(kv, true, &space) == ERR_NONE)
		printf("%-14s %llu, of which %llu are in use\n", "bytes",
		       (unsigned long long)space.file_bytes, (unsigned long long)space.used_bytes);
}

int check_store(const char *directory)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);
	struct err_detail detail;
	char ring[PATH_BYTES];
	struct stat status;
	struct kv *kv;
	enum err err;

	BUG_ON(!ledger);
	err = tables_open(directory, &kv, &detail);
	if (err == ERR_NONE) {
		ledger_init(ledger);
		err = ledger_load(ledger, kv, &detail);
		if (err == ERR_NONE) {
			ledger_audit(ledger);
			print_counts(kv);
			printf("%-14s %llu, format %u\n", "commit",
			       (unsigned long long)ledger->meta.commit, ledger->meta.format);
		}
		ledger_fini(ledger);
		kv->ops->close(&kv);
	}
	free(ledger);
	if (err != ERR_NONE)
		return fail(&detail);
	snprintf(ring, sizeof ring, "%s/ring-0", directory);
	if (stat(ring, &status) == 0)
		puts("This is a store of durability process: what its broker has not committed yet "
		     "is in the files ring-N, and not counted here.");
	puts("The store is whole.");
	return 0;
}

/* For people; export is for programs. */

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
		tables_fn one;
	} tables[] = {{KV_SESSIONS, dump_session},
		      {KV_SUBSCRIPTIONS, dump_subscription},
		      {KV_MESSAGES, dump_message},
		      {KV_RETAINED, dump_retained}};
	struct err_detail detail;
	struct kv *kv;
	int failed = 0;

	if (tables_open(directory, &kv, &detail) != ERR_NONE)
		return fail(&detail);
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		if (tables_walk(kv, tables[i].table, tables[i].one, NULL) != ERR_NONE)
			failed = fail_text("table %s is damaged", kv_table_name(tables[i].table));
	print_counts(kv);
	kv->ops->close(&kv);
	return failed;
}

/* Copies. */

static enum err copy_to(const char *directory, const char *path, struct err_detail *detail)
{
	struct kv *kv;
	enum err err = tables_open(directory, &kv, detail);

	if (err != ERR_NONE)
		return err;
	err = kv_lmdb_copy(kv, path, detail);
	kv->ops->close(&kv);
	if (err != ERR_NONE)
		unlink(path);
	return err;
}

int backup_store(const char *directory, const char *target)
{
	char path[PATH_BYTES];
	struct err_detail detail;
	struct stat status;

	if (mkdir(target, 0700) != 0 && errno != EEXIST)
		return fail_text("cannot make %s: %s", target, strerror(errno));
	snprintf(path, sizeof path, "%s/nightjar.db", target);
	if (stat(path, &status) == 0)
		return fail_text("%s is there already; a backup overwrites nothing", path);
	if (copy_to(directory, path, &detail) != ERR_NONE)
		return fail(&detail);
	return check_store(target);
}

int compact_store(const char *directory)
{
	char path[PATH_BYTES], fresh[PATH_BYTES];
	struct err_detail detail;
	int lock, failed;

	if (tables_are_in_use(directory, &lock))
		return fail_text("a broker uses %s: stop it first", directory);
	if (lock >= 0)
		close(lock);
	if (tables_settle(directory, &detail) != ERR_NONE)
		return fail(&detail);
	if (tables_are_in_use(directory, &lock))
		return fail_text("a broker uses %s: stop it first", directory);
	snprintf(path, sizeof path, "%s/nightjar.db", directory);
	snprintf(fresh, sizeof fresh, "%s/nightjar.db.new", directory);
	unlink(fresh);
	failed = copy_to(directory, fresh, &detail) != ERR_NONE ? fail(&detail) : 0;
	/* The copy is on disk before it takes the name. */
	if (!failed && rename(fresh, path) != 0)
		failed = fail_text("cannot put %s in its place: %s", fresh, strerror(errno));
	if (!failed)
		failed = check_store(directory);
	if (lock >= 0)
		close(lock);
	return failed;
}
