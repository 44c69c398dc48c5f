/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pid_file.h - the file that holds the broker's process id while it runs.
 *
 * Main thread.
 */
#ifndef NIGHTJAR_SERVER_PID_FILE_H
#define NIGHTJAR_SERVER_PID_FILE_H

#include <stdbool.h>

#include "base/err.h"

/*
 * ERR_IO when it cannot be written, ERR_INVALID when there is a file of that name that holds something
 * else than a process id: a wrong path must not cost anybody a file. *is_ours: whether it has to be
 * removed at the end, which a device (/dev/null) must not be.
 */
enum err pid_file_write(const char *path, bool *is_ours, struct err_detail *detail) ERR_CHECKED;

#endif
