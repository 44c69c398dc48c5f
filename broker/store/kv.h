/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.h - ordered tables of keys and values with transactions: what lies below the store.
 *
 * Two implementations: LMDB (kv_lmdb.c), and memory (kv_memory.c), which tests can hold, fill and
 * break. One thread writes, at most one transaction at a time; any thread may read what is committed,
 * through a reader of its own.
 */
#ifndef NIGHTJAR_STORE_KV_H
#define NIGHTJAR_STORE_KV_H

#include "base/err.h"
#include "store/pack.h"

struct store_image;

/* KV_TABLE(name, name in the file) */
#define KV_TABLE_LIST(TABLE)                                                                       \
	TABLE(SESSIONS, "sessions")	      /* id -> session or group */                         \
	TABLE(SUBSCRIPTIONS, "subscriptions") /* id, hash of the text, n -> subscription */        \
	TABLE(WILLS, "wills")		      /* id -> will */                                     \
	TABLE(STATES, "states")		      /* id -> progress, in flight, received */            \
	TABLE(MESSAGES, "messages")	      /* record -> body and receivers */                   \
	TABLE(RETAINED, "retained")	      /* hash of the topic, n -> message */                \
	TABLE(META, "nightjar")		      /* 0 -> meta_record */

enum kv_table {
#define KV_ENUM(name, text) KV_##name,
	KV_TABLE_LIST(KV_ENUM)
#undef KV_ENUM
		KV_TABLES
};

const char *kv_table_name(enum kv_table table);

struct kv_reader;

struct kv_space {
	uint64_t file_bytes; /* that the tables reach to */
	uint64_t used_bytes; /* less what can be used again */
	uint64_t max_bytes;
	uint64_t disk_bytes; /* blocks that the file has on disk */
};

struct kv {
	const struct kv_ops *ops;
};

/* Errors: ERR_LIMIT no room (map or disk), ERR_IO the system refuses, ERR_INVALID damaged. */
struct kv_ops {
	void (*close)(struct kv **kv);
	/* After a failed commit: closes the file, opens and checks it. */
	enum err (*reopen)(struct kv *kv, struct err_detail *detail);

	enum err (*begin)(struct kv *kv);
	/* append: the key is above all in its table (if it is not, it is put anyway). */
	enum err (*put)(struct kv *kv, enum kv_table table, struct slice key, struct slice value,
			bool append);
	/* Not there: ERR_NONE too. */
	enum err (*remove)(struct kv *kv, enum kv_table table, struct slice key);
	/* The first with a key not below from, within the transaction. ERR_NOT_FOUND: none. Slices hold
	 * until the next change. */
	enum err (*find)(struct kv *kv, enum kv_table table, struct slice from,
			 struct slice *out_key, struct slice *out_value);
	enum err (*commit)(struct kv *kv, struct err_detail *detail);
	void (*abort)(struct kv *kv);
	/* Outside of a transaction, by the writer. exact: counts what is free, which takes a while. */
	enum err (*space)(struct kv *kv, bool exact, struct kv_space *out);
	/* Makes sure that bytes more can be written to the disk; ERR_LIMIT: it is full. */
	enum err (*reserve)(struct kv *kv, uint64_t bytes);

	enum err (*reader_open)(struct kv *kv, struct kv_reader **out);
	void (*reader_close)(struct kv_reader **reader);
	/* As find(), of what was committed when the reader was opened. above: the key itself too is
	 * passed over. */
	enum err (*read)(struct kv_reader *reader, enum kv_table table, struct slice from,
			 bool above, struct slice *out_key, struct slice *out_value);
	uint64_t (*count)(struct kv_reader *reader, enum kv_table table);
};

struct kv_lmdb_settings {
	const char *path; /* of the file */
	uint64_t max_bytes;
	bool read_only; /* beside a running broker */
	bool no_lock;	/* and read only: no broker has it open, and LMDB's lock is left alone */
};

enum err kv_lmdb_open(const struct kv_lmdb_settings *settings, struct kv **out,
		      struct err_detail *detail) ERR_CHECKED;
/* The newest transaction in the file. */
uint64_t kv_lmdb_transaction(struct kv *kv);
/* Of an open file, from another process too: a copy without free pages, on disk, that only its owner
 * may read. ERR_EXISTS: path is there. */
enum err kv_lmdb_copy(struct kv *kv, const char *path, struct err_detail *detail) ERR_CHECKED;
/*
 * Do the file's pages hang together? Before it is opened (lmdb_walk.c). ERR_NOT_FOUND: there is nothing.
 * out_is_written: another process has committed meanwhile, so that ERR_INVALID says nothing.
 */
enum err lmdb_walk(const char *path, bool *out_is_written, struct err_detail *detail) ERR_CHECKED;
/* The same beside a process that writes, of a transaction that a reader of the caller's holds.
 * ERR_NOT_FOUND: it was not the newest any more. */
enum err lmdb_walk_held(const char *path, uint64_t transaction,
			struct err_detail *detail) ERR_CHECKED;

struct lmdb_damage {
	uint64_t pages;	  /* that do not read, with all that was on them */
	uint64_t records; /* that one() called ERR_INVALID */
};

/* What it returns ends the walk unless it is ERR_NONE or ERR_INVALID. */
typedef enum err kv_record_fn(void *context, struct slice key, struct slice value);

/* Whatever can be read of one table of a file, however damaged it is. Nobody may write to it. */
enum err lmdb_salvage(const char *path, enum kv_table table, kv_record_fn *one, void *context,
		      struct lmdb_damage *out_damage, struct err_detail *detail) ERR_CHECKED;

enum err kv_memory_open(struct store_image *image, uint64_t max_bytes, struct kv **out) ERR_CHECKED;

static inline enum err kv_get(struct kv *kv, enum kv_table table, struct slice key,
			      struct slice *out_value)
{
	struct slice found;
	enum err err = kv->ops->find(kv, table, key, &found, out_value);

	return err == ERR_NONE && !slice_equal(found, key) ? ERR_NOT_FOUND : err;
}

#endif
