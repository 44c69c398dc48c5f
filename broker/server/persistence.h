/* SPDX-License-Identifier: Apache-2.0 */
/*
 * persistence.h - the store in the life of the broker: opened before the workers start, read back by
 * them before they accept, closed when they have ended.
 *
 * Main thread, but for what says otherwise.
 */
#ifndef NIGHTJAR_SERVER_PERSISTENCE_H
#define NIGHTJAR_SERVER_PERSISTENCE_H

#include "server/broker.h"

/* Opens the store, if there is to be one, and says in the log what outlives the broker. */
enum err persistence_open(struct broker *broker, struct err_detail *detail) ERR_CHECKED;
/* Before the other folders' parts of a worker. */
enum err persistence_worker_init(struct broker *broker, struct worker *worker) ERR_CHECKED;
/* On each worker, when it starts: serve runs on all of them when all have read the store back. */
void persistence_worker_start(struct worker *me, struct broker *broker, worker_hook serve);
/* Waits for that. On failure nothing was served, and the workers have ended. */
enum err persistence_wait(struct broker *broker, struct err_detail *detail) ERR_CHECKED;
void persistence_worker_fini(struct worker *worker);
void persistence_close(struct broker *broker);

#endif
