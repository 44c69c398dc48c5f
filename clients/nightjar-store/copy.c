/* SPDX-License-Identifier: Apache-2.0 */
/* copy.c - a store somewhere else, or anew in its place. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tables.h"

static enum err copy_to(const char *directory, const char *path, struct err_detail *detail)
{
	struct kv *kv;
	enum err err = tables_open(directory, &kv, detail), closed;

	if (err != ERR_NONE)
		return err;
	err = kv_lmdb_copy(kv, path, detail);
	closed = tables_close(&kv, detail);
	if (err == ERR_NONE && closed != ERR_NONE)
		unlink(path);
	return err == ERR_NONE ? closed : err;
}

int backup_store(const char *directory, const char *target)
{
	char path[TABLES_PATH_BYTES];
	struct err_detail detail = {""};
	int failed;

	/* What a broker that was killed has left in its rings was acknowledged, too. */
	if (tables_settle(directory, &detail) != ERR_NONE)
		return fail(&detail);
	if (mkdir(target, 0700) != 0 && errno != EEXIST)
		return fail_text("cannot make %s: %s", target, strerror(errno));
	tables_path(path, target);
	if (access(path, F_OK) == 0)
		return fail_text("%s is there already; a backup overwrites nothing", path);
	if (copy_to(directory, path, &detail) != ERR_NONE)
		return fail(&detail);
	tables_sync_directory(target);
	failed = check_store(target);
	if (!failed && tables_have_rings(directory))
		puts("Its broker runs with durability process: what it has acknowledged in the last "
		     "second may not be in the copy.");
	return failed;
}

/* The broker must be able to open it as before. */
static enum err keep_owner(const char *path, const char *fresh, struct err_detail *detail)
{
	struct stat old;

	if (stat(path, &old) == 0 && chown(fresh, old.st_uid, old.st_gid) == 0 &&
	    chmod(fresh, old.st_mode & 07777) == 0)
		return ERR_NONE;
	return err_set(detail, ERR_DENIED,
		       "Cannot give %s the owner of %s: %s. Run this as its owner, or as root",
		       fresh, path, strerror(errno));
}

/* The copy is on disk before it takes the name. */
static enum err compact(const char *directory, struct err_detail *detail)
{
	char path[TABLES_PATH_BYTES], fresh[TABLES_PATH_BYTES];
	enum err err;

	tables_path(path, directory);
	snprintf(fresh, sizeof fresh, "%s/nightjar.db.new", directory);
	unlink(fresh);
	err = copy_to(directory, fresh, detail);
	if (err == ERR_NONE)
		err = keep_owner(path, fresh, detail);
	if (err == ERR_NONE && rename(fresh, path) != 0)
		err = err_set(detail, ERR_IO, "Cannot put %s in its place: %s", fresh,
			      strerror(errno));
	if (err != ERR_NONE)
		unlink(fresh);
	else
		tables_sync_directory(directory);
	return err;
}

int compact_store(const char *directory)
{
	struct err_detail detail = {""};
	struct kv *kv;
	enum err err = tables_open(directory, &kv, &detail); /* is there one at all? */
	int lock = -1;

	if (err == ERR_NONE)
		kv->ops->close(&kv);
	if (err == ERR_NONE)
		err = tables_settle(directory, &detail);
	if (err == ERR_NONE)
		err = tables_lock(directory, &lock, &detail);
	if (err == ERR_NONE)
		err = compact(directory, &detail);
	if (err != ERR_NONE)
		fail(&detail);
	else
		err = check_store(directory) ? ERR_INVALID : ERR_NONE;
	if (lock >= 0)
		close(lock);
	return err != ERR_NONE;
}
