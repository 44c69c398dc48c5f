/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h - fills a new store, record by record.
 */
#ifndef NIGHTJAR_STORE_LOADER_H
#define NIGHTJAR_STORE_LOADER_H

#include "tables.h"

/* Fills a new store. Owner: one thread. */
struct loader {
	struct kv *kv;
	struct meta_record *meta;
	struct pack scratch;
	uint64_t in_transaction;
	uint64_t orphans;		/* that loader_remove_orphans() has removed */
	struct number_map last_numbers; /* of each session, while orphans are removed */
	int lock;
	char directory[4000];
	struct err_detail *detail;
};

/* ERR_EXISTS: there is a store already, with something in it. ERR_DENIED: a broker uses the directory. */
enum err loader_open(struct loader *loader, const char *directory,
		     struct err_detail *detail) ERR_CHECKED;
enum err loader_session(struct loader *loader, uint64_t id,
			const struct store_session *session) ERR_CHECKED;
enum err loader_subscription(struct loader *loader, uint64_t id,
			     const struct store_subscription *subscription) ERR_CHECKED;
enum err loader_will(struct loader *loader, uint64_t id,
		     const struct stored_will *will) ERR_CHECKED;
enum err loader_retained(struct loader *loader, const struct stored_message *message) ERR_CHECKED;
enum err loader_message(struct loader *loader, uint64_t record,
			const struct message_record *message) ERR_CHECKED;
/* value: a state record. */
enum err loader_state(struct loader *loader, uint64_t id, struct slice value) ERR_CHECKED;
/* What names a session or a message that is not there, or a message that is out of order. */
enum err loader_remove_orphans(struct loader *loader) ERR_CHECKED;
/* Checks all of it; no store is left in the directory when that fails (or failed is set). */
enum err loader_close(struct loader *loader, enum err failed) ERR_CHECKED;

#endif
