/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_lmdb.c - tables in one LMDB file.
 *
 * A commit is LMDB's plain one: pages, fdatasync, then the meta page, written through. Nothing of
 * MDB_NOSYNC and its like, which trade the file's life for speed. Read transactions belong to
 * readers and not to threads (MDB_NOTLS), and keep the file from being closed under them (in_use).
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/kv.h"

#define READERS_MAX 1024
/*
 * Of address space, above max_bytes. What is new is refused at 95 % of them, but what is on its way between
 * workers then was admitted, and a removal needs new pages before it gives old ones back.
 */
#define SPARE_BYTES (UINT64_C(64) << 20)

struct kv_lmdb {
	struct kv kv;
	struct kv_lmdb_settings settings;
	char *path;		 /* owned */
	pthread_rwlock_t in_use; /* held for reading by each reader */
	MDB_env *env;		 /* NULL: it could not be opened again */
	MDB_dbi tables[KV_TABLES];
	bool has_table[KV_TABLES]; /* all, unless read only */

	/* Owner: the writer. */
	MDB_txn *txn;
	MDB_cursor *cursors[KV_TABLES];
};

struct kv_reader {
	struct kv_lmdb *lmdb;
	MDB_txn *txn;
	MDB_cursor *cursors[KV_TABLES];
	const void *last[KV_TABLES]; /* the key at which the cursor stands */
};

static struct kv_lmdb *lmdb_of(struct kv *kv)
{
	return (struct kv_lmdb *)(void *)kv;
}

static enum err err_of(int code)
{
	switch (code) {
	case 0: return ERR_NONE;
	case MDB_NOTFOUND: return ERR_NOT_FOUND;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case ENOSPC:
	case EDQUOT: return ERR_LIMIT;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE: return ERR_INVALID;
	case ENOMEM: return ERR_NOMEM;
	case EACCES:
	case EPERM:
	case EROFS: return ERR_DENIED;
	default: return ERR_IO;
	}
}

static MDB_val val_of(struct slice bytes)
{
	return (MDB_val){bytes.len, (void *)(uintptr_t)bytes.data};
}

static struct slice slice_of_val(const MDB_val *val)
{
	return slice_of(val->mv_data, val->mv_size);
}

/* Opening. */

static int open_tables(struct kv_lmdb *lmdb)
{
	unsigned flags = lmdb->settings.read_only ? 0 : MDB_CREATE;
	MDB_txn *txn;
	int failed =
		mdb_txn_begin(lmdb->env, NULL, lmdb->settings.read_only ? MDB_RDONLY : 0, &txn);

	if (failed)
		return failed;
	for (int i = 0; i < KV_TABLES && !failed; i++) {
		failed =
			mdb_dbi_open(txn, kv_table_name((enum kv_table)i), flags, &lmdb->tables[i]);
		lmdb->has_table[i] = !failed;
		if (failed == MDB_NOTFOUND && lmdb->settings.read_only)
			failed = 0;
	}
	if (failed) {
		mdb_txn_abort(txn);
		return failed;
	}
	return mdb_txn_commit(txn);
}

static int open_env(struct kv_lmdb *lmdb)
{
	unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (lmdb->settings.read_only ? MDB_RDONLY : 0);
	int failed = mdb_env_create(&lmdb->env), dead;

	if (lmdb->settings.no_lock)
		flags |= MDB_NOLOCK;
	if (failed)
		return failed;
	failed = mdb_env_set_maxdbs(lmdb->env, KV_TABLES);
	if (!failed)
		failed = mdb_env_set_maxreaders(lmdb->env, READERS_MAX);
	if (!failed && lmdb->settings.max_bytes)
		failed = mdb_env_set_mapsize(lmdb->env, (lmdb->settings.max_bytes + SPARE_BYTES) /
								4096 * 4096);
	if (!failed)
		failed = mdb_env_open(lmdb->env, lmdb->path, flags, 0600);
	/* Of a process that was killed while it read: it would keep pages from being used again. */
	if (!failed)
		failed = mdb_reader_check(lmdb->env, &dead);
	if (!failed)
		failed = open_tables(lmdb);
	if (failed) {
		mdb_env_close(lmdb->env);
		lmdb->env = NULL;
	}
	return failed;
}

static enum err opened(struct kv_lmdb *lmdb, int failed, struct err_detail *detail)
{
	enum err err = err_of(failed);

	if (!failed)
		return ERR_NONE;
	if (err == ERR_NOT_FOUND)
		err = ERR_INVALID;
	return err_set(detail, err, "Cannot open the store %s: %s%s", lmdb->path,
		       mdb_strerror(failed),
		       failed == ENOMEM ? ". Is persistence_max_size more address space than this "
					  "system gives?"
		       : err == ERR_DENIED
			       ? ". The file and its lock, nightjar.db-lock, must belong to the "
				 "user that this runs as"
			       : "");
}

/* Readers and the writer. */

static void close_cursors(struct kv_lmdb *lmdb)
{
	for (int i = 0; i < KV_TABLES; i++) {
		if (lmdb->cursors[i])
			mdb_cursor_close(lmdb->cursors[i]);
		lmdb->cursors[i] = NULL;
	}
}

static enum err lmdb_begin(struct kv *kv)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);

	if (!lmdb->env)
		return ERR_IO;
	return err_of(mdb_txn_begin(lmdb->env, NULL, 0, &lmdb->txn));
}

/*
 * One cursor a table and transaction: what is put, removed and looked for comes mostly in order, and a
 * cursor that stands near does not go down the whole tree again.
 */
static int cursor_of(struct kv_lmdb *lmdb, enum kv_table table, MDB_cursor **out)
{
	int failed = 0;

	if (!lmdb->cursors[table])
		failed = mdb_cursor_open(lmdb->txn, lmdb->tables[table], &lmdb->cursors[table]);
	*out = lmdb->cursors[table];
	return failed;
}

static enum err lmdb_put(struct kv *kv, enum kv_table table, struct slice key, struct slice value,
			 bool append)
{
	MDB_val key_val = val_of(key), value_val = val_of(value);
	MDB_cursor *cursor;
	int failed = cursor_of(lmdb_of(kv), table, &cursor);

	if (!failed)
		failed = mdb_cursor_put(cursor, &key_val, &value_val, append ? MDB_APPEND : 0);
	if (failed == MDB_KEYEXIST && append)
		failed = mdb_cursor_put(cursor, &key_val, &value_val, 0);
	return err_of(failed);
}

static enum err lmdb_remove(struct kv *kv, enum kv_table table, struct slice key)
{
	uint8_t copy[KEY_BYTES_MAX]; /* key may lie in the page that changes */
	MDB_val key_val = {key.len, copy}, value;
	MDB_cursor *cursor;
	int failed = cursor_of(lmdb_of(kv), table, &cursor);

	BUG_ON(key.len > sizeof copy);
	memcpy(copy, key.data, key.len);
	if (!failed)
		failed = mdb_cursor_get(cursor, &key_val, &value, MDB_SET);
	if (!failed)
		failed = mdb_cursor_del(cursor, 0);
	return failed == MDB_NOTFOUND ? ERR_NONE : err_of(failed);
}

static enum err lmdb_find(struct kv *kv, enum kv_table table, struct slice from,
			  struct slice *out_key, struct slice *out_value)
{
	MDB_val key = val_of(from), value;
	MDB_cursor *cursor;
	int failed = cursor_of(lmdb_of(kv), table, &cursor);

	if (!failed)
		failed = mdb_cursor_get(cursor, &key, &value, from.len ? MDB_SET_RANGE : MDB_FIRST);
	if (failed)
		return err_of(failed);
	*out_key = slice_of_val(&key);
	*out_value = slice_of_val(&value);
	return ERR_NONE;
}

static enum err lmdb_commit(struct kv *kv, struct err_detail *detail)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);
	MDB_txn *txn = lmdb->txn;
	int failed;

	close_cursors(lmdb);
	lmdb->txn = NULL;
	failed = mdb_txn_commit(txn);
	return failed ? err_set(detail, err_of(failed), "%s: %s", lmdb->path, mdb_strerror(failed))
		      : ERR_NONE;
}

static void lmdb_abort(struct kv *kv)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);

	close_cursors(lmdb);
	mdb_txn_abort(lmdb->txn);
	lmdb->txn = NULL;
}

static enum err lmdb_reopen(struct kv *kv, struct err_detail *detail)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);
	bool is_written;
	enum err err;

	pthread_rwlock_wrlock(&lmdb->in_use);
	if (lmdb->env)
		mdb_env_close(lmdb->env);
	lmdb->env = NULL;
	err = lmdb_walk(lmdb->path, &is_written, detail);
	if (err == ERR_NONE)
		err = opened(lmdb, open_env(lmdb), detail);
	pthread_rwlock_unlock(&lmdb->in_use);
	return err;
}

/* Room. */

/* Table 0 is LMDB's own: transactions, and the pages that each has freed, their number in front. */
static uint64_t count_free_pages(struct kv_lmdb *lmdb)
{
	uint64_t pages = 0, one;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;

	if (mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	if (mdb_cursor_open(txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
			memcpy(&one, value.mv_data, sizeof one);
			pages += one;
		}
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return pages;
}

static enum err lmdb_space(struct kv *kv, bool exact, struct kv_space *out)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);
	struct stat status;
	MDB_envinfo info;
	MDB_stat stat;
	int fd;

	if (!lmdb->env || mdb_env_info(lmdb->env, &info) != 0 ||
	    mdb_env_stat(lmdb->env, &stat) != 0)
		return ERR_IO;
	out->file_bytes = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
	out->used_bytes = out->file_bytes;
	out->max_bytes = lmdb->settings.max_bytes;
	out->disk_bytes = 0;
	if (exact)
		out->used_bytes -= count_free_pages(lmdb) * stat.ms_psize;
	if (mdb_env_get_fd(lmdb->env, &fd) == 0 && fstat(fd, &status) == 0)
		out->disk_bytes = (uint64_t)status.st_blocks * 512;
	return ERR_NONE;
}

static enum err lmdb_reserve(struct kv *kv, uint64_t bytes)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);
	int fd;

	if (!lmdb->env || mdb_env_get_fd(lmdb->env, &fd) != 0)
		return ERR_IO;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) == 0)
		return ERR_NONE;
	/* A file system that cannot promise: then a commit finds out. */
	return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? ERR_LIMIT : ERR_NONE;
}

static enum err lmdb_reader_open(struct kv *kv, struct kv_reader **out)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);
	struct kv_reader *reader = calloc(1, sizeof *reader);
	int failed = EIO;

	*out = NULL;
	if (!reader)
		return ERR_NOMEM;
	reader->lmdb = lmdb;
	pthread_rwlock_rdlock(&lmdb->in_use);
	if (lmdb->env)
		failed = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &reader->txn);
	if (failed) {
		pthread_rwlock_unlock(&lmdb->in_use);
		free(reader);
		return err_of(failed);
	}
	*out = reader;
	return ERR_NONE;
}

static void lmdb_reader_close(struct kv_reader **reader_ref)
{
	struct kv_reader *reader = *reader_ref;

	if (!reader)
		return;
	for (int i = 0; i < KV_TABLES; i++)
		if (reader->cursors[i])
			mdb_cursor_close(reader->cursors[i]);
	mdb_txn_abort(reader->txn);
	pthread_rwlock_unlock(&reader->lmdb->in_use);
	free(reader);
	*reader_ref = NULL;
}

static int reader_seek(MDB_cursor *cursor, struct slice from, bool above, MDB_val *key,
		       MDB_val *value)
{
	int failed;

	*key = val_of(from);
	if (from.len == 0)
		return mdb_cursor_get(cursor, key, value, MDB_FIRST);
	failed = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (!failed && above && slice_equal(slice_of_val(key), from))
		failed = mdb_cursor_get(cursor, key, value, MDB_NEXT);
	return failed;
}

static enum err lmdb_read(struct kv_reader *reader, enum kv_table table, struct slice from,
			  bool above, struct slice *out_key, struct slice *out_value)
{
	MDB_cursor **cursor = &reader->cursors[table];
	MDB_val key, value;
	int failed = 0;

	if (!reader->lmdb->has_table[table])
		return ERR_NOT_FOUND;
	if (!*cursor)
		failed = mdb_cursor_open(reader->txn, reader->lmdb->tables[table], cursor);
	if (failed)
		return err_of(failed);
	if (above && from.data == reader->last[table])
		failed = mdb_cursor_get(*cursor, &key, &value, MDB_NEXT);
	else
		failed = reader_seek(*cursor, from, above, &key, &value);
	reader->last[table] = NULL;
	if (failed)
		return err_of(failed);
	reader->last[table] = key.mv_data;
	*out_key = slice_of_val(&key);
	*out_value = slice_of_val(&value);
	return ERR_NONE;
}

static uint64_t lmdb_count(struct kv_reader *reader, enum kv_table table)
{
	MDB_stat stat;

	if (!reader->lmdb->has_table[table] ||
	    mdb_stat(reader->txn, reader->lmdb->tables[table], &stat) != 0)
		return 0;
	return stat.ms_entries;
}

static void lmdb_close(struct kv **kv)
{
	struct kv_lmdb *lmdb = lmdb_of(*kv);

	if (!lmdb)
		return;
	if (lmdb->env)
		mdb_env_close(lmdb->env);
	pthread_rwlock_destroy(&lmdb->in_use);
	free(lmdb->path);
	free(lmdb);
	*kv = NULL;
}

static const struct kv_ops lmdb_ops = {
	.close = lmdb_close,
	.reopen = lmdb_reopen,
	.begin = lmdb_begin,
	.put = lmdb_put,
	.remove = lmdb_remove,
	.find = lmdb_find,
	.commit = lmdb_commit,
	.abort = lmdb_abort,
	.space = lmdb_space,
	.reserve = lmdb_reserve,
	.reader_open = lmdb_reader_open,
	.reader_close = lmdb_reader_close,
	.read = lmdb_read,
	.count = lmdb_count,
};

/* Beside a broker that writes: a reader keeps the pages of its transaction from being used again. */
static enum err walk_beside_a_writer(struct kv_lmdb *lmdb, struct err_detail *detail)
{
	enum err err = ERR_NOT_FOUND;
	MDB_txn *txn;

	for (unsigned tries = 0; tries < 10000 && err == ERR_NOT_FOUND; tries++) {
		int failed = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);

		if (failed)
			return opened(lmdb, failed, detail);
		err = lmdb_walk_held(lmdb->path, mdb_txn_id(txn), detail);
		mdb_txn_abort(txn);
	}
	return err == ERR_NOT_FOUND
		       ? err_set(detail, ERR_IO, "The store %s changes too fast to be looked at",
				 lmdb->path)
		       : err;
}

static enum err check_and_open(struct kv_lmdb *lmdb, struct err_detail *detail)
{
	bool is_written;
	enum err err = lmdb_walk(lmdb->path, &is_written, detail);

	if (err != ERR_INVALID || !is_written || !lmdb->settings.read_only)
		return err == ERR_NONE || err == ERR_NOT_FOUND
			       ? opened(lmdb, open_env(lmdb), detail)
			       : err;
	if (lmdb->settings.no_lock)
		return err_set(detail, ERR_DENIED, "A broker writes to the store %s", lmdb->path);
	err = opened(lmdb, open_env(lmdb), detail);
	return err == ERR_NONE ? walk_beside_a_writer(lmdb, detail) : err;
}

enum err kv_lmdb_open(const struct kv_lmdb_settings *settings, struct kv **out,
		      struct err_detail *detail)
{
	struct kv_lmdb *lmdb = calloc(1, sizeof *lmdb);
	struct kv *kv;
	enum err err;

	*out = NULL;
	if (!lmdb)
		return ERR_NOMEM;
	lmdb->kv.ops = &lmdb_ops;
	lmdb->settings = *settings;
	lmdb->path = strdup(settings->path);
	pthread_rwlock_init(&lmdb->in_use, NULL);
	kv = &lmdb->kv;
	if (!lmdb->path) {
		lmdb_close(&kv);
		return ERR_NOMEM;
	}
	err = check_and_open(lmdb, detail);
	if (err != ERR_NONE)
		lmdb_close(&kv);
	*out = kv;
	return err;
}

uint64_t kv_lmdb_transaction(struct kv *kv)
{
	MDB_envinfo info;

	return mdb_env_info(lmdb_of(kv)->env, &info) == 0 ? info.me_last_txnid : 0;
}

enum err kv_lmdb_copy(struct kv *kv, const char *path, struct err_detail *detail)
{
	struct kv_lmdb *lmdb = lmdb_of(kv);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), failed;

	if (fd < 0)
		return err_set(detail, errno == EEXIST ? ERR_EXISTS : ERR_IO, "Cannot make %s: %s",
			       path, strerror(errno));
	failed = mdb_env_copyfd2(lmdb->env, fd, MDB_CP_COMPACT);
	if (!failed && fsync(fd) != 0)
		failed = errno;
	close(fd);
	if (!failed)
		return ERR_NONE;
	unlink(path);
	return err_set(detail, err_of(failed), "Cannot copy the store %s to %s: %s", lmdb->path,
		       path, mdb_strerror(failed));
}
