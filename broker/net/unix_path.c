/* SPDX-License-Identifier: Apache-2.0 */
#include "net/unix_path.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_stale = fd >= 0 &&
			connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
			errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return is_stale;
}

enum err unix_path_clear(const struct sockaddr_un *address, const char *what,
			 struct err_detail *detail)
{
	struct stat info;

	if (lstat(address->sun_path, &info) != 0)
		return ERR_NONE;
	if (!S_ISSOCK(info.st_mode))
		return err_set(
			detail, ERR_INVALID,
			"%s: %s exists and is not a socket. Remove it, or name another path.", what,
			address->sun_path);
	if (is_stale(address))
		unlink(address->sun_path);
	return ERR_NONE;
}
