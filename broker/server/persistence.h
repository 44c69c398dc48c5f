/* SPDX-License-Identifier: Apache-2.0 */
/*
 * persistence.h - the store in the life of the broker: opened and read back while the workers run and
 * serve nobody yet, closed when they have ended.
 *
 * Main thread.
 */
#ifndef NIGHTJAR_SERVER_PERSISTENCE_H
#define NIGHTJAR_SERVER_PERSISTENCE_H

#include "server/broker.h"

/* Is there to be a store? */
bool persistence_is_on(const struct broker *broker);
/*
 * With the workers running: opens the store if there is to be one, says in the log what outlives the
 * broker, and returns when the workers have read everything back, and serve has run on each. On failure
 * nothing was served.
 */
enum err persistence_start(struct broker *broker, worker_hook serve,
			   struct err_detail *detail) ERR_CHECKED;
void persistence_worker_fini(struct worker *worker);
void persistence_close(struct broker *broker);

#endif
