/* SPDX-License-Identifier: Apache-2.0 */
#include "replace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder that path is in; allocated, NULL without memory. */
static char *folder_of(const char *path)
{
	char *copy = strdup(path);
	char *folder = copy ? strdup(dirname(copy)) : NULL;

	free(copy);
	return folder;
}

struct file_lock file_lock_take(const char *path)
{
	struct file_lock lock = {.fd = -1};
	char *folder = folder_of(path);

	if (folder)
		lock.fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	while (lock.fd >= 0 && flock(lock.fd, LOCK_EX) != 0) {
		if (errno == EINTR)
			continue;
		file_lock_release(&lock);
	}
	return lock;
}

void file_lock_release(struct file_lock *lock)
{
	if (lock->fd >= 0)
		close(lock->fd);
	lock->fd = -1;
}

static enum err write_all(int fd, struct slice text, const char *path, struct err_detail *detail)
{
	while (text.len > 0) {
		ssize_t wrote = write(fd, text.data, text.len);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return err_set(detail, ERR_IO, "cannot write '%s': %s", path,
				       strerror(errno));
		text.data += wrote;
		text.len -= (size_t)wrote;
	}
	return ERR_NONE;
}

/* Gives the new file the mode and owners of the one it replaces. */
static enum err keep_owner(int fd, const char *target, struct err_detail *detail)
{
	struct stat old;

	if (stat(target, &old) != 0)
		return errno == ENOENT ? ERR_NONE
				       : err_set(detail, ERR_IO, "cannot look at '%s': %s", target,
						 strerror(errno));
	/* The owner first: a change of owner clears bits of the mode. */
	if (fchown(fd, old.st_uid, old.st_gid) != 0)
		return err_set(detail, ERR_IO,
			       "cannot keep the owner and group of '%s' (%s); run this as its "
			       "owner or as root",
			       target, strerror(errno));
	if (fchmod(fd, old.st_mode & 07777) != 0)
		return err_set(detail, ERR_IO, "cannot keep the mode of '%s': %s", target,
			       strerror(errno));
	return ERR_NONE;
}

/* The name itself must be on disk too, or a power cut could bring the old file back. */
static void sync_folder(const char *path)
{
	char *folder = folder_of(path);
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	free(folder);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

static enum err fill_and_rename(int fd, const char *temporary, const char *target,
				struct slice text, struct err_detail *detail)
{
	enum err err = keep_owner(fd, target, detail);

	if (!err)
		err = write_all(fd, text, temporary, detail);
	if (!err && fsync(fd) != 0)
		err = err_set(detail, ERR_IO, "cannot bring '%s' to the disk: %s", temporary,
			      strerror(errno));
	if (!err && rename(temporary, target) != 0)
		err = err_set(detail, ERR_IO, "cannot replace '%s': %s", target, strerror(errno));
	return err;
}

static enum err replace_target(const char *target, struct slice text, struct err_detail *detail)
{
	char *temporary;
	enum err err;
	int fd;

	if (asprintf(&temporary, "%s.XXXXXX", target) < 0)
		return err_set(detail, ERR_NOMEM, "out of memory");
	fd = mkostemp(temporary, O_CLOEXEC); /* made with mode 0600 */
	if (fd < 0) {
		err = err_set(detail, ERR_IO, "cannot make a file beside '%s': %s", target,
			      strerror(errno));
		free(temporary);
		return err;
	}
	err = fill_and_rename(fd, temporary, target, text, detail);
	close(fd);
	if (err)
		unlink(temporary);
	else
		sync_folder(target);
	free(temporary);
	return err;
}

enum err replace_file(const char *path, struct slice text, struct err_detail *detail)
{
	char *target = realpath(path, NULL);
	enum err err;

	if (!target && errno != ENOENT)
		return err_set(detail, ERR_IO, "cannot look at '%s': %s", path, strerror(errno));
	err = replace_target(target ? target : path, text, detail);
	free(target);
	return err;
}
