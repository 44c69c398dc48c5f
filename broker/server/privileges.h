/* SPDX-License-Identifier: Apache-2.0 */
/*
 * privileges.h - from root to a user of its own, and files that must outlive the change.
 *
 * Main thread, before any other thread exists.
 */
#ifndef NIGHTJAR_SERVER_PRIVILEGES_H
#define NIGHTJAR_SERVER_PRIVILEGES_H

#include "server/config.h"

/* Makes the folders of the log file and the pid file where they are missing. */
enum err privileges_make_folders(const struct config *config,
				 struct err_detail *detail) ERR_CHECKED;

/*
 * As root: becomes `user` (or nightjar, or nobody), which gets the log file and the folders that
 * were made. As anybody else: nothing. Says in the log which files a reload will not be able to read.
 */
enum err privileges_drop(const struct config *config, struct err_detail *detail) ERR_CHECKED;

#endif
