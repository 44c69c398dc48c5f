/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replace_file.h - puts a new text in a file's place, whole or not at all.
 *
 * The text goes to a temporary file beside it, reaches the disk, and is renamed over it: a broker
 * that reloads at any moment reads either the old users or the new ones. Mode, owner and group stay
 * those of the old file; a new one can be read by its owner only. A symbolic link is followed.
 */
#ifndef NIGHTJAR_PASSWD_REPLACE_FILE_H
#define NIGHTJAR_PASSWD_REPLACE_FILE_H

#include "base/err.h"
#include "base/slice.h"

struct file_lock {
	int fd; /* -1: not held */
};

/*
 * Keeps other runs of this program out of the file's folder until the lock is released, so that two
 * of them at once lose no user. Waits. Where the system cannot lock, nothing is held.
 */
struct file_lock file_lock_take(const char *path);
void file_lock_release(struct file_lock *lock);

/* ERR_IO: detail says what failed, and the old file is untouched. */
enum err replace_file(const char *path, struct slice text, struct err_detail *detail) ERR_CHECKED;

#endif
