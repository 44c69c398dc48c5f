/* SPDX-License-Identifier: Apache-2.0 */
/*
 * healthcheck.h - nightjar --healthcheck: is the broker of this configuration serving?
 *
 * A process of its own, for containers. It asks one listener of the configuration, the one that can
 * say most: /readyz where HTTP is spoken, else whether MQTT is answered, else whether TLS is. Blocks
 * for some seconds at most.
 */
#ifndef NIGHTJAR_SERVER_HEALTHCHECK_H
#define NIGHTJAR_SERVER_HEALTHCHECK_H

#include "server/config.h"

/* Prints one line, to stdout when all is well, to stderr when not. Returns the exit code: 0 or 1. */
int healthcheck_run(const struct config *config);

#endif
