/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables.h - the tables of a store, read and written without a broker.
 */
#ifndef NIGHTJAR_STORE_TABLES_H
#define NIGHTJAR_STORE_TABLES_H

#include "store/ledger.h"

/* Says what is wrong on stderr, and returns 1: the program's exit code. */
int fail(const struct err_detail *detail);
int fail_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Opens the store of a directory for reading; a broker may be using it. */
enum err tables_open(const char *directory, struct kv **out, struct err_detail *detail) ERR_CHECKED;

/* Is a broker using it? out_fd: the lock, when not (-1 for a directory without one). */
bool tables_are_in_use(const char *directory, int *out_fd);

/* Lets the broker's own code take over what a killed `process` broker has left. */
enum err tables_settle(const char *directory, struct err_detail *detail) ERR_CHECKED;

/* one is called for each; what it returns ends the walk unless it is ERR_NONE. */
typedef enum err (*tables_fn)(void *context, struct slice key, struct slice value);
enum err tables_walk(struct kv *kv, enum kv_table table, tables_fn one, void *context) ERR_CHECKED;

/* Fills a new store. Owner: one thread. */
struct loader {
	struct kv *kv;
	struct meta_record *meta;
	struct pack scratch;
	uint64_t in_transaction;
	char directory[4000];
	struct err_detail *detail;
};

/* ERR_EXISTS: there is a store already. */
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
/* Checks all of it; nothing is left in the directory when that fails (or failed is set). */
enum err loader_close(struct loader *loader, enum err failed) ERR_CHECKED;

/* The commands. Exit codes. */
int check_store(const char *directory);
int dump_store(const char *directory);
int export_store(const char *directory, const char *file);
int import_store(const char *directory, const char *file);
int import_mosquitto(const char *directory, const char *file);
int compact_store(const char *directory);
int backup_store(const char *directory, const char *target);

#endif
