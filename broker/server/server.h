/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - the whole program behind main().
 *
 * server puts the folders together: it reads the configuration, makes each folder's settings from
 * it, starts and stops the workers, reloads on SIGHUP, and publishes $SYS. It alone knows both the
 * configuration and the folders.
 */
#ifndef NIGHTJAR_SERVER_SERVER_H
#define NIGHTJAR_SERVER_SERVER_H

struct authority_hooks;

/* hooks: those of plugins that are linked in; NULL: none. Returns the exit status. */
int server_main(int argc, char **argv, const struct authority_hooks *hooks);

#endif
