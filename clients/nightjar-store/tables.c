/* SPDX-License-Identifier: Apache-2.0 */
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/upgrade.h"

#define PATH_BYTES 4096
#define TRANSACTION_RECORDS 20000
#define MAP_BYTES (UINT64_C(1) << 40)

int fail_text(const char *format, ...)
{
	va_list arguments;

	fputs("nightjar-store: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return 1;
}

int fail(const struct err_detail *detail)
{
	return fail_text("%s", detail->text);
}

static void db_path(char *out, const char *directory)
{
	snprintf(out, PATH_BYTES, "%s/nightjar.db", directory);
}

static enum err check_format(struct kv *kv, struct err_detail *detail)
{
	uint32_t format;
	enum err err = upgrade_look(kv, &upgrade_road, &format, detail);

	if (err == ERR_NONE && format && format != STORE_FORMAT)
		return err_set(
			detail, ERR_UNSUPPORTED,
			"The store has format %u, of an older version, and this program reads "
			"format %u. Start the broker once: it upgrades the store",
			format, STORE_FORMAT);
	return err;
}

enum err tables_open(const char *directory, struct kv **out, struct err_detail *detail)
{
	char path[PATH_BYTES];
	struct kv_lmdb_settings settings = {.path = path, .read_only = true};
	struct stat status;
	enum err err;

	*out = NULL;
	db_path(path, directory);
	if (stat(path, &status) != 0)
		return err_set(detail, ERR_NOT_FOUND,
			       "There is no store in %s (%s: %s). Name its persistence_location "
			       "with -d",
			       directory, path, strerror(errno));
	err = kv_lmdb_open(&settings, out, detail);
	if (err == ERR_NONE)
		err = check_format(*out, detail);
	if (err != ERR_NONE && *out)
		(*out)->ops->close(out);
	return err;
}

bool tables_are_in_use(const char *directory, int *out_fd)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof path, "%s/nightjar.db.lock", directory);
	*out_fd = open(path, O_RDWR | O_CLOEXEC);
	if (*out_fd < 0 || flock(*out_fd, LOCK_EX | LOCK_NB) == 0)
		return false;
	close(*out_fd);
	*out_fd = -1;
	return true;
}

enum err tables_settle(const char *directory, struct err_detail *detail)
{
	struct store_settings settings = {
		.durability = STORE_DISK,
		.directory = directory,
		.max_bytes = MAP_BYTES,
		.workers = 1,
	};
	struct store *store;
	char path[PATH_BYTES];
	struct stat status;
	enum err err;
	int fd;

	snprintf(path, sizeof path, "%s/ring-0", directory);
	if (stat(path, &status) != 0 || tables_are_in_use(directory, &fd))
		return ERR_NONE;
	if (fd >= 0)
		close(fd);
	err = store_open(&settings, &store, detail);
	if (err == ERR_NONE)
		store_close(&store);
	return err;
}

enum err tables_walk(struct kv *kv, enum kv_table table, tables_fn one, void *context)
{
	struct slice key = SLICE_LITERAL(""), value;
	struct kv_reader *reader;
	enum err err = kv->ops->reader_open(kv, &reader);
	bool above = false;

	while (err == ERR_NONE) {
		err = kv->ops->read(reader, table, key, above, &key, &value);
		if (err == ERR_NONE)
			err = one(context, key, value);
		above = true;
	}
	kv->ops->reader_close(&reader);
	return err == ERR_NOT_FOUND ? ERR_NONE : err;
}

/* Filling a new store. */

static enum err refused(struct loader *loader, enum err err)
{
	return err_set(loader->detail, err, "Cannot write the new store in %s: %s%s",
		       loader->directory, err_text(err),
		       err == ERR_LIMIT ? ". Is the disk full?" : "");
}

enum err loader_open(struct loader *loader, const char *directory, struct err_detail *detail)
{
	char path[PATH_BYTES];
	struct kv_lmdb_settings settings = {.path = path, .max_bytes = MAP_BYTES};
	struct stat status;
	enum err err;

	memset(loader, 0, sizeof *loader);
	loader->detail = detail;
	snprintf(loader->directory, sizeof loader->directory, "%s", directory);
	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
		return err_set(detail, ERR_IO, "Cannot make %s: %s", directory, strerror(errno));
	db_path(path, directory);
	if (stat(path, &status) == 0)
		return err_set(detail, ERR_EXISTS,
			       "There is a store in %s already. Name an empty directory with -d; "
			       "what is there is not overwritten",
			       directory);
	loader->meta = calloc(1, sizeof *loader->meta);
	if (!loader->meta)
		return ERR_NOMEM;
	loader->meta->format = STORE_FORMAT;
	loader->meta->next_id = loader->meta->next_number = loader->meta->next_record = 1;
	BUG_ON(getrandom(&loader->meta->seed, sizeof loader->meta->seed, 0) < 0);
	err = kv_lmdb_open(&settings, &loader->kv, detail);
	return err ? err : loader->kv->ops->begin(loader->kv);
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

/* The first key with this hash that is free: a new store has no text twice. */
static enum err put_hashed(struct loader *loader, enum kv_table table, struct key *key)
{
	struct slice found;
	enum err err = ERR_NONE;

	key->len++;
	for (unsigned n = 0; n < 256; n++) {
		key->bytes[key->len - 1] = (uint8_t)n;
		err = kv_get(loader->kv, table, key_slice(key), &found);
		if (err == ERR_NOT_FOUND)
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
	return put_hashed(loader, KV_SUBSCRIPTIONS, &key);
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
	return put_hashed(loader, KV_RETAINED, &key);
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

static enum err finish(struct loader *loader)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);
	struct key key = key_of(0);
	enum err err;

	BUG_ON(!ledger);
	loader->meta->wall_ms = clock_wall_ms();
	loader->scratch.len = 0;
	record_put_meta(&loader->scratch, loader->meta);
	err = put_scratch(loader, KV_META, &key);
	if (err == ERR_NONE)
		err = loader->kv->ops->commit(loader->kv, loader->detail);
	ledger_init(ledger);
	if (err == ERR_NONE)
		err = ledger_load(ledger, loader->kv, loader->detail);
	ledger_fini(ledger);
	free(ledger);
	return err;
}

enum err loader_close(struct loader *loader, enum err failed)
{
	char path[PATH_BYTES];
	bool is_open = loader->kv != NULL;

	if (failed == ERR_NONE)
		failed = finish(loader);
	else if (is_open)
		loader->kv->ops->abort(loader->kv);
	if (is_open)
		loader->kv->ops->close(&loader->kv);
	pack_fini(&loader->scratch);
	free(loader->meta);
	if (failed != ERR_NONE && is_open) {
		db_path(path, loader->directory);
		unlink(path);
		strcat(path, "-lock");
		unlink(path);
	}
	return failed;
}
