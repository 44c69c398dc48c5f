/* SPDX-License-Identifier: Apache-2.0 */
/* replay.h - takes in what a `process` broker left in its rings. */
#ifndef NIGHTJAR_STORE_REPLAY_H
#define NIGHTJAR_STORE_REPLAY_H

#include "store/ledger.h"

/*
 * Reads the rings that the ledger's meta names, in the order of their batches, into the ledger. The
 * batches are added to *out_batches and live until they were written. Returns their number.
 */
enum err replay_rings(struct ledger *ledger, const char *directory, struct batch **out_batches,
		      unsigned *out_count, struct err_detail *detail) ERR_CHECKED;
void replay_free(struct batch **batches);

#endif
