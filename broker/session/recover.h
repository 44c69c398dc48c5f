/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.h - what a start does with the store: sessions, queues and retained messages as they were.
 */
#ifndef NIGHTJAR_SESSION_RECOVER_H
#define NIGHTJAR_SESSION_RECOVER_H

#include "session/session.h"

typedef void (*recovered_fn)(struct worker *me, enum err err, const struct err_detail *detail,
			     void *context);

/* On each worker, before it serves: reads its part in slices, then calls done. */
enum err sessions_recover(struct worker *me, recovered_fn done, void *context) ERR_CHECKED;

/* On each worker, when all have ended their part and all letters of then have arrived: shared groups
 * get their messages. */
void sessions_recover_groups(struct worker *me);
/* When that has ended on all: wills and expiry begin to run. wall_ms: now, as the store sees it. */
void sessions_recover_finish(struct worker *me, uint64_t wall_ms);

#endif
