/* SPDX-License-Identifier: Apache-2.0 */
#include "loader.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define TRANSACTION_RECORDS 20000
#define LOADER_MAP_BYTES (UINT64_C(1) << 40)

static enum err refused(struct loader *loader, enum err err)
{
	return err_set(loader->detail, err, "Cannot write the new store in %s: %s%s",
		       loader->directory, err_text(err),
		       err == ERR_LIMIT ? ". Is the disk full?" : "");
}

/* ERR_EXISTS unless there is no store, or one in which nothing is: a broker makes that when it starts. */
static enum err check_is_empty(const char *directory, struct err_detail *detail)
{
	struct err_detail ignored;
	struct kv_reader *reader;
	uint64_t records = 0;
	struct kv *kv;
	enum err err = tables_open(directory, &kv, &ignored);

	if (err == ERR_NOT_FOUND)
		return ERR_NONE;
	if (err == ERR_NONE) {
		err = kv->ops->reader_open(kv, &reader);
		for (enum kv_table table = 0; err == ERR_NONE && table < KV_META; table++)
			records += kv->ops->count(reader, table);
		kv->ops->reader_close(&reader);
		kv->ops->close(&kv);
	}
	if (err == ERR_NONE && records == 0)
		return ERR_NONE;
	return err_set(detail, ERR_EXISTS,
		       "There is a store in %s already. Name an empty directory with -d; what is "
		       "there is not overwritten",
		       directory);
}

/* It takes its name when all is in it. */
static void paths_of(char out[2][TABLES_PATH_BYTES], const char *directory)
{
	snprintf(out[0], TABLES_PATH_BYTES, "%s/nightjar.db.new", directory);
	snprintf(out[1], TABLES_PATH_BYTES, "%s/nightjar.db.new-lock", directory);
}

static void remove_new(const char *directory)
{
	char paths[2][TABLES_PATH_BYTES];

	paths_of(paths, directory);
	unlink(paths[0]);
	unlink(paths[1]);
}

static enum err open_new(struct loader *loader)
{
	char paths[2][TABLES_PATH_BYTES];
	struct kv_lmdb_settings settings = {.path = paths[0], .max_bytes = LOADER_MAP_BYTES};
	enum err err;

	loader->meta = calloc(1, sizeof *loader->meta);
	if (!loader->meta)
		return ERR_NOMEM;
	loader->meta->format = STORE_FORMAT;
	loader->meta->next_id = loader->meta->next_number = loader->meta->next_record = 1;
	BUG_ON(getrandom(&loader->meta->seed, sizeof loader->meta->seed, 0) < 0);
	remove_new(loader->directory);
	paths_of(paths, loader->directory);
	err = kv_lmdb_open(&settings, &loader->kv, loader->detail);
	return err ? err : loader->kv->ops->begin(loader->kv);
}

enum err loader_open(struct loader *loader, const char *directory, struct err_detail *detail)
{
	enum err err;

	memset(loader, 0, sizeof *loader);
	loader->detail = detail;
	loader->lock = -1;
	snprintf(loader->directory, sizeof loader->directory, "%s", directory);
	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
		return err_set(detail, ERR_IO, "Cannot make %s: %s", directory, strerror(errno));
	err = tables_settle(directory, detail);
	if (err == ERR_NONE)
		err = tables_lock(directory, &loader->lock, detail);
	if (err == ERR_NONE)
		err = check_is_empty(directory, detail);
	return err ? err : open_new(loader);
}

static enum err put(struct loader *loader, enum kv_table table, const struct key *key,
		    struct slice value)
{
	enum err err = loader->kv->ops->put(loader->kv, table, key_slice(key), value, false);

	if (err == ERR_NONE && ++loader->in_transaction % TRANSACTION_RECORDS == 0) {
		err = loader->kv->ops->commit(loader->kv, loader->detail);
		if (err == ERR_NONE)
			err = loader->kv->ops->begin(loader->kv);
	}
	return err == ERR_NONE ? err : refused(loader, err);
}

static enum err put_scratch(struct loader *loader, enum kv_table table, const struct key *key)
{
	return put(loader, table, key, pack_slice(&loader->scratch));
}

enum err loader_session(struct loader *loader, uint64_t id, const struct store_session *session)
{
	struct key key = key_of(id);

	if (id >= loader->meta->next_id)
		loader->meta->next_id = id + 1;
	loader->scratch.len = 0;
	record_put_session(&loader->scratch, session);
	return put_scratch(loader, KV_SESSIONS, &key);
}

static struct slice text_of(enum kv_table table, struct slice value)
{
	struct store_subscription subscription;
	struct stored_message message;

	if (table == KV_SUBSCRIPTIONS)
		return record_get_subscription(value, &subscription) ? subscription.text
								     : SLICE_NONE;
	return record_get_retained(value, &message) ? message.topic : SLICE_NONE;
}

/* The first key with this hash that is free, or has the same text: then the last one counts. */
static enum err put_hashed(struct loader *loader, enum kv_table table, struct key *key,
			   struct slice text)
{
	struct slice found;
	enum err err = ERR_NONE;

	key->len++;
	for (unsigned n = 0; n < 256; n++) {
		key->bytes[key->len - 1] = (uint8_t)n;
		err = kv_get(loader->kv, table, key_slice(key), &found);
		if (err == ERR_NOT_FOUND ||
		    (err == ERR_NONE && slice_equal(text_of(table, found), text)))
			return put_scratch(loader, table, key);
		if (err != ERR_NONE)
			break;
	}
	return refused(loader, err ? err : ERR_LIMIT);
}

enum err loader_subscription(struct loader *loader, uint64_t id,
			     const struct store_subscription *subscription)
{
	struct key key = key_of(id);

	key_add(&key, record_hash(subscription->text, loader->meta->seed));
	loader->scratch.len = 0;
	record_put_subscription(&loader->scratch, subscription);
	return put_hashed(loader, KV_SUBSCRIPTIONS, &key, subscription->text);
}

enum err loader_will(struct loader *loader, uint64_t id, const struct stored_will *will)
{
	struct key key = key_of(id);

	loader->scratch.len = 0;
	record_put_will(&loader->scratch, will);
	return put_scratch(loader, KV_WILLS, &key);
}

enum err loader_retained(struct loader *loader, const struct stored_message *message)
{
	struct key key = key_of(record_hash(message->topic, loader->meta->seed));

	if (message->retained_version > loader->meta->retained_version)
		loader->meta->retained_version = message->retained_version;
	loader->scratch.len = 0;
	record_put_retained(&loader->scratch, message);
	return put_hashed(loader, KV_RETAINED, &key, message->topic);
}

enum err loader_message(struct loader *loader, uint64_t record,
			const struct message_record *message)
{
	struct key key = key_of(record);

	if (record >= loader->meta->next_record)
		loader->meta->next_record = record + 1;
	loader->scratch.len = 0;
	record_put_message(&loader->scratch, message);
	return put_scratch(loader, KV_MESSAGES, &key);
}

enum err loader_state(struct loader *loader, uint64_t id, struct slice value)
{
	struct key key = key_of(id);

	return put(loader, KV_STATES, &key, value);
}

/* What names something that is not there. */

static bool is_there(struct loader *loader, enum kv_table table, uint64_t number)
{
	struct key key = key_of(number);
	struct slice value;

	return kv_get(loader->kv, table, key_slice(&key), &value) == ERR_NONE;
}

/* Each session's messages have rising numbers. */
static bool is_in_order(struct number_map *last, const struct message_record *record)
{
	struct receiver_cursor cursor = {.number = record->number};
	struct unpack from = unpack_of(record->receivers);
	struct receiver receiver;

	while (from.at < from.end) {
		const uint64_t *before;

		if (!unpack_receiver(&from, &cursor, &receiver))
			return false;
		before = number_map_find(last, receiver.id);
		if (before && *before >= receiver.number)
			return false;
		number_map_set(last, receiver.id, receiver.number);
	}
	return true;
}

static bool is_orphan(struct loader *loader, enum kv_table table, struct slice key,
		      struct slice value)
{
	struct message_record record;

	if (table != KV_MESSAGES)
		return !is_there(loader, KV_SESSIONS, key_number(key, 0));
	if (!record_get_message(value, &record))
		return true;
	if (record.body_record && !is_there(loader, KV_MESSAGES, record.body_record))
		return true;
	return !is_in_order(&loader->last_numbers, &record);
}

static enum err remove_orphans_of(struct loader *loader, enum kv_table table)
{
	struct key key = {.len = 0};
	struct slice found, value;
	enum err err;

	while ((err = loader->kv->ops->find(loader->kv, table, key_slice(&key), &found, &value)) ==
	       ERR_NONE) {
		memcpy(key.bytes, found.data, found.len);
		key.len = found.len;
		if (is_orphan(loader, table, key_slice(&key), value)) {
			err = loader->kv->ops->remove(loader->kv, table, key_slice(&key));
			loader->orphans++;
		}
		if (err != ERR_NONE)
			return err;
		key.bytes[key.len++] = 0; /* the next one is not below this */
	}
	return err == ERR_NOT_FOUND ? ERR_NONE : err;
}

enum err loader_remove_orphans(struct loader *loader)
{
	enum err err = remove_orphans_of(loader, KV_SUBSCRIPTIONS);

	if (err == ERR_NONE)
		err = remove_orphans_of(loader, KV_WILLS);
	if (err == ERR_NONE)
		err = remove_orphans_of(loader, KV_STATES);
	if (err == ERR_NONE)
		err = remove_orphans_of(loader, KV_MESSAGES);
	return err == ERR_NONE ? err : refused(loader, err);
}

/* The broker's own code reads it all. */
static enum err check_all(struct loader *loader)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);
	enum err err;

	if (!ledger)
		return ERR_NOMEM;
	ledger_init(ledger);
	err = ledger_load(ledger, loader->kv, loader->detail);
	if (err == ERR_NONE)
		err = tables_check_order(ledger, loader->detail);
	ledger_fini(ledger);
	free(ledger);
	return err;
}

static enum err finish(struct loader *loader)
{
	struct key key = key_of(0);
	enum err err;

	loader->meta->wall_ms = clock_wall_ms();
	loader->scratch.len = 0;
	record_put_meta(&loader->scratch, loader->meta);
	err = put_scratch(loader, KV_META, &key);
	if (err == ERR_NONE)
		err = loader->kv->ops->commit(loader->kv, loader->detail);
	return err == ERR_NONE ? check_all(loader) : err;
}

static enum err give_name(struct loader *loader)
{
	char paths[2][TABLES_PATH_BYTES], path[TABLES_PATH_BYTES];
	struct stat owner;

	paths_of(paths, loader->directory);
	tables_path(path, loader->directory);
	if (rename(paths[0], path) != 0)
		return err_set(loader->detail, ERR_IO, "Cannot rename %s to %s: %s", paths[0], path,
			       strerror(errno));
	if (stat(loader->directory, &owner) == 0)
		tables_give_to(loader->directory, "nightjar.db", owner.st_uid, owner.st_gid);
	tables_sync_directory(loader->directory);
	return ERR_NONE;
}

enum err loader_close(struct loader *loader, enum err failed)
{
	bool is_open = loader->kv != NULL;

	if (failed == ERR_NONE)
		failed = finish(loader);
	else if (is_open)
		loader->kv->ops->abort(loader->kv);
	if (is_open)
		loader->kv->ops->close(&loader->kv);
	if (failed == ERR_NONE)
		failed = give_name(loader);
	if (loader->lock >= 0) {
		remove_new(loader->directory);
		close(loader->lock);
	}
	pack_fini(&loader->scratch);
	number_map_fini(&loader->last_numbers);
	free(loader->meta);
	return failed;
}
