/* SPDX-License-Identifier: Apache-2.0 */
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/upgrade.h"

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
	return fail_text("%s", detail->text[0] ? detail->text : err_text(ERR_NOMEM));
}

void tables_path(char out[TABLES_PATH_BYTES], const char *directory)
{
	snprintf(out, TABLES_PATH_BYTES, "%s/nightjar.db", directory);
}

void tables_give_to(const char *directory, const char *name, uid_t user, gid_t group)
{
	char path[TABLES_PATH_BYTES];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	if (geteuid() == 0 && lchown(path, user, group) != 0 && errno != ENOENT)
		fail_text("cannot give %s to user %u: %s", path, user, strerror(errno));
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

/* LMDB's lock. Readers write in it which transaction they read, so that its pages are not used again. */

static bool is_trusting;
static uint64_t read_without_lock; /* the transaction; 0: the lock is held */

void tables_trust_in_no_broker(void)
{
	is_trusting = true;
}

/* 0, or errno. */
static int open_for_writing_fails(const char *directory)
{
	char path[TABLES_PATH_BYTES];
	int fd;

	snprintf(path, sizeof path, "%s/nightjar.db-lock", directory);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (errno != ENOENT)
		return errno;
	return faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

/* 0: none uses it; EWOULDBLOCK: one does; else errno, and who knows. */
static int look_for_broker(const char *directory)
{
	char path[TABLES_PATH_BYTES];
	int fd, failed;

	snprintf(path, sizeof path, "%s/nightjar.db.lock", directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : errno;
	failed = flock(fd, LOCK_SH | LOCK_NB) == 0 ? 0 : errno;
	close(fd);
	return failed;
}

static enum err may_go_without_lock(const char *directory, int why, struct err_detail *detail)
{
	int broker = look_for_broker(directory);

	if (broker == EWOULDBLOCK)
		return err_set(detail, ERR_DENIED,
			       "A broker uses %s, and nightjar.db-lock there cannot be opened for "
			       "writing (%s): without it the broker would write over what is being "
			       "read. Run this as the broker's user, or look at a backup",
			       directory, strerror(why));
	if (broker && !is_trusting)
		return err_set(
			detail, ERR_DENIED,
			"In %s nightjar.db-lock cannot be opened for writing (%s), nor can be "
			"seen whether a broker uses it (nightjar.db.lock: %s). If none does, say "
			"--no-lock",
			directory, strerror(why), strerror(broker));
	fail_text("nightjar.db-lock cannot be opened for writing (%s): reading %s without it, "
		  "because %s",
		  strerror(why), directory, broker ? "you say so" : "no broker uses it");
	return ERR_NONE;
}

/* Only one is open at a time. */
static enum err open_tables(const char *directory, const char *path, struct kv **out,
			    struct err_detail *detail)
{
	struct kv_lmdb_settings settings = {.path = path, .read_only = true};
	int why = open_for_writing_fails(directory);
	enum err err;

	read_without_lock = 0;
	if (!why)
		return kv_lmdb_open(&settings, out, detail);
	settings.no_lock = true;
	err = may_go_without_lock(directory, why, detail);
	if (err == ERR_NONE)
		err = kv_lmdb_open(&settings, out, detail);
	if (err == ERR_NONE)
		read_without_lock = kv_lmdb_transaction(*out);
	return err;
}

enum err tables_close(struct kv **kv, struct err_detail *detail)
{
	bool is_written = read_without_lock && kv_lmdb_transaction(*kv) != read_without_lock;

	(*kv)->ops->close(kv);
	return is_written
		       ? err_set(detail, ERR_DENIED,
				 "A broker has written to the store while it was read without its "
				 "lock: what was read means nothing")
		       : ERR_NONE;
}

enum err tables_open(const char *directory, struct kv **out, struct err_detail *detail)
{
	char path[TABLES_PATH_BYTES];
	struct stat status;
	enum err err;

	*out = NULL;
	tables_path(path, directory);
	if (stat(path, &status) != 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? err_set(detail, ERR_NOT_FOUND,
					 "There is no store in %s (%s: %s). Name its "
					 "persistence_location with -d",
					 directory, path, strerror(errno))
			       : err_set(detail, ERR_DENIED, "Cannot look at %s: %s", path,
					 strerror(errno));
	if (status.st_size == 0)
		return err_set(detail, ERR_NOT_FOUND, "%s is empty", path);
	err = open_tables(directory, path, out, detail);
	if (!open_for_writing_fails(directory))
		tables_give_to(directory, "nightjar.db-lock", status.st_uid, status.st_gid);
	if (err == ERR_NONE)
		err = check_format(*out, detail);
	if (err != ERR_NONE && *out)
		(*out)->ops->close(out);
	return err;
}

static enum err open_lock(const char *directory, int flags, int *out_fd, struct err_detail *detail)
{
	char path[TABLES_PATH_BYTES];

	snprintf(path, sizeof path, "%s/nightjar.db.lock", directory);
	*out_fd = open(path, flags | O_CLOEXEC, 0600);
	if (*out_fd < 0)
		return err_set(detail, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO,
			       "Cannot open %s: %s", path, strerror(errno));
	if (flock(*out_fd, LOCK_EX | LOCK_NB) == 0)
		return ERR_NONE;
	close(*out_fd);
	*out_fd = -1;
	return err_set(detail, ERR_DENIED, "a broker uses %s: stop it first", directory);
}

enum err tables_lock(const char *directory, int *out_fd, struct err_detail *detail)
{
	char text[32];
	enum err err = open_lock(directory, O_RDWR | O_CREAT, out_fd, detail);
	int length = snprintf(text, sizeof text, "%d", (int)getpid());
	struct stat owner;

	if (err == ERR_NONE && stat(directory, &owner) == 0)
		tables_give_to(directory, "nightjar.db.lock", owner.st_uid, owner.st_gid);
	/* As the broker does: who meets the lock names its holder. */
	if (err == ERR_NONE &&
	    (ftruncate(*out_fd, 0) != 0 || pwrite(*out_fd, text, (size_t)length, 0) != length)) {
		close(*out_fd);
		*out_fd = -1;
		err = err_set(detail, ERR_IO, "Cannot write %s/nightjar.db.lock: %s", directory,
			      strerror(errno));
	}
	return err;
}

bool tables_are_in_use(const char *directory)
{
	enum err err;
	int fd;

	err = open_lock(directory, O_RDONLY, &fd, NULL);
	if (fd >= 0)
		close(fd);
	return err == ERR_DENIED;
}

bool tables_have_rings(const char *directory)
{
	char path[TABLES_PATH_BYTES];
	struct stat status;

	snprintf(path, sizeof path, "%s/ring-0", directory);
	return stat(path, &status) == 0;
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
	enum err err;

	if (!tables_have_rings(directory) || tables_are_in_use(directory))
		return ERR_NONE;
	err = store_open(&settings, &store, detail);
	if (err == ERR_NONE)
		store_close(&store);
	return err;
}

enum err tables_walk(struct kv *kv, enum kv_table table, kv_record_fn *one, void *context,
		     uint64_t *out_damaged)
{
	struct slice key = SLICE_LITERAL(""), value;
	struct kv_reader *reader;
	enum err err = kv->ops->reader_open(kv, &reader);
	bool above = false;

	*out_damaged = 0;
	while (err == ERR_NONE) {
		err = kv->ops->read(reader, table, key, above, &key, &value);
		above = true;
		if (err != ERR_NONE)
			break;
		err = one(context, key, value);
		if (err == ERR_INVALID) {
			++*out_damaged;
			err = ERR_NONE;
		}
	}
	kv->ops->reader_close(&reader);
	return err == ERR_NOT_FOUND ? ERR_NONE : err;
}

void tables_print_counts(struct kv *kv)
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

void tables_tell_of_rings(const char *directory)
{
	if (tables_have_rings(directory))
		puts("This is a store of durability process: what its broker has not committed yet "
		     "is in the files ring-N, and not counted here.");
}

enum err tables_check_order(const struct ledger *ledger, struct err_detail *detail)
{
	struct number_slot *slot;
	uint64_t cursor = 0;

	while ((slot = number_map_next(&ledger->places, &cursor)) != NULL) {
		const struct place *place = (struct place *)(uintptr_t)slot->value;

		for (uint32_t i = place->head; i + 1 < place->end; i++)
			if (place->entries[i].number >= place->entries[i + 1].number)
				return err_set(detail, ERR_INVALID,
					       "The messages of session %llu are not in the order "
					       "of their numbers",
					       (unsigned long long)place->id);
	}
	return ERR_NONE;
}

void tables_sync_directory(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}
