/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix_path.h - the file name of a Unix socket, before it is bound.
 *
 * Any thread.
 */
#ifndef NIGHTJAR_NET_UNIX_PATH_H
#define NIGHTJAR_NET_UNIX_PATH_H

#include <sys/un.h>

#include "base/err.h"

/*
 * Removes the socket that a killed broker left behind: one that nobody listens on. A socket in use
 * stays, and bind() then says EADDRINUSE. Anything else of that name is somebody's file: ERR_INVALID.
 * what: the option that names the path, for the message.
 */
enum err unix_path_clear(const struct sockaddr_un *address, const char *what,
			 struct err_detail *detail) ERR_CHECKED;

#endif
