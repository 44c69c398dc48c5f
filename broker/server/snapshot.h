/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - a configuration, turned into what sessions have to know of it.
 */
#ifndef NIGHTJAR_SERVER_SNAPSHOT_H
#define NIGHTJAR_SERVER_SNAPSHOT_H

#include "server/config.h"
#include "session/settings.h"

/*
 * Reads the password and ACL files (never on a worker). listeners: one per configured listener, in
 * their order. On success the snapshot owns the configuration, which lives as long as it does; on
 * failure the caller keeps it and detail says which file and why. *out has one reference.
 */
enum err snapshot_create(struct config *config, struct listener *const *listeners,
			 const struct authority_hooks *hooks, struct session_settings **out,
			 struct err_detail *detail) ERR_CHECKED;

const struct config *snapshot_config(const struct session_settings *settings);

/* For --test-config. */
enum err snapshot_check_file(const char *kind, const char *path, struct err_detail *detail,
			     void *context);

#endif
