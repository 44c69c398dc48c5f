/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upgrade.h - a store that an older version has written becomes one of this version.
 *
 *	format 1 --steps[1]--> 2 --steps[2]--> ... --> STORE_FORMAT, then the store is read
 *
 * All steps are one transaction: a start that is cut off finds the store as it was. What is in the META
 * record behind the format may change, the format itself stands at the same place for ever. A step leaves
 * values that carry the RECORD_VERSION and the layout of its own target; so a change of format brings a
 * step, a higher STORE_FORMAT and a higher RECORD_VERSION. The rings of `process` are not upgraded:
 * ring.h says what happens.
 */
#ifndef NIGHTJAR_STORE_UPGRADE_H
#define NIGHTJAR_STORE_UPGRADE_H

#include "store/kv.h"

/* Within the transaction. ERR_INVALID, with detail: what is there makes no sense. */
typedef enum err (*upgrade_step)(struct kv *kv, struct err_detail *detail);

struct upgrade_road {
	uint32_t format;	   /* where it leads to */
	const upgrade_step *steps; /* steps[n], from n to n + 1; NULL: there never was an n */
};

/* To STORE_FORMAT. */
extern const struct upgrade_road upgrade_road;

/*
 * Reads which format the store has; 0: it is new. ERR_UNSUPPORTED: a newer one, or one from which no step
 * leads on.
 */
enum err upgrade_look(struct kv *kv, const struct upgrade_road *road, uint32_t *out_format,
		      struct err_detail *detail) ERR_CHECKED;
/* Takes the store to the end of the road, or leaves it as it is. */
enum err upgrade_run(struct kv *kv, const struct upgrade_road *road,
		     struct err_detail *detail) ERR_CHECKED;

/* For steps: each value of a table is replaced by what rewrite() has packed. false: it makes no sense. */
typedef bool (*upgrade_rewrite_fn)(struct slice key, struct slice value, struct pack *to);
enum err upgrade_rewrite(struct kv *kv, enum kv_table table, upgrade_rewrite_fn rewrite,
			 struct err_detail *detail) ERR_CHECKED;

#endif
