/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a killed broker left behind, or nothing yet: digits and an end of line. */
static bool holds_a_pid(int fd)
{
	char text[32] = {0};
	ssize_t len = pread(fd, text, sizeof text - 1, 0);

	return len >= 0 && len < (ssize_t)sizeof text - 1 &&
	       strspn(text, "0123456789 \r\n") == (size_t)len;
}

static enum err cannot_write(const char *path, struct err_detail *detail)
{
	return err_set(detail, ERR_IO, "Cannot write the pid_file %s: %s.", path, strerror(errno));
}

static enum err write_to(int fd, const char *path, bool *is_ours, struct err_detail *detail)
{
	struct stat info;

	if (fstat(fd, &info) != 0)
		return cannot_write(path, detail);
	if (S_ISREG(info.st_mode) && !holds_a_pid(fd))
		return err_set(
			detail, ERR_INVALID,
			"The pid_file %s exists and does not hold a process id. Remove it, or "
			"name another path.",
			path);
	if ((S_ISREG(info.st_mode) && ftruncate(fd, 0) != 0) ||
	    dprintf(fd, "%ld\n", (long)getpid()) < 0)
		return cannot_write(path, detail);
	*is_ours = S_ISREG(info.st_mode);
	return ERR_NONE;
}

enum err pid_file_write(const char *path, bool *is_ours, struct err_detail *detail)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
	enum err err;

	*is_ours = false;
	if (fd < 0)
		return cannot_write(path, detail);
	err = write_to(fd, path, is_ours, detail);
	if (close(fd) != 0 && err == ERR_NONE)
		err = cannot_write(path, detail);
	return err;
}
