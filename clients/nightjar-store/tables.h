/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tables.h - the tables of a store, read and written without a broker.
 */
#ifndef NIGHTJAR_STORE_TABLES_H
#define NIGHTJAR_STORE_TABLES_H

#include <sys/types.h>

#include "store/ledger.h"

/* Says what is wrong on stderr, and returns 1: the program's exit code. */
int fail(const struct err_detail *detail);
int fail_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* directory/nightjar.db */
#define TABLES_PATH_BYTES 4096
void tables_path(char out[TABLES_PATH_BYTES], const char *directory);

/*
 * Opens the store of a directory for reading; a broker may be using it. Where LMDB's lock cannot be
 * opened for writing (another user's copy, a mount that is read only) it reads without, if it is sure
 * that no broker uses it, and says so.
 */
enum err tables_open(const char *directory, struct kv **out, struct err_detail *detail) ERR_CHECKED;
/* ERR_DENIED: it was read without the lock, and a broker has written meanwhile, so it means nothing. */
enum err tables_close(struct kv **kv, struct err_detail *detail) ERR_CHECKED;
/* The user says that no broker uses it, where that cannot be seen. */
void tables_trust_in_no_broker(void);

/* As root: what root makes beside a store must not keep its broker out. */
void tables_give_to(const char *directory, const char *name, uid_t user, gid_t group);

/* Takes the broker's lock; ERR_DENIED: a broker has it. */
enum err tables_lock(const char *directory, int *out_fd, struct err_detail *detail) ERR_CHECKED;
bool tables_are_in_use(const char *directory);
/* Are there rings, with what a broker of durability process may not have committed? */
bool tables_have_rings(const char *directory);

void tables_tell_of_rings(const char *directory);
void tables_print_counts(struct kv *kv);

/* Lets the broker's own code take over what a killed `process` broker has left. */
enum err tables_settle(const char *directory, struct err_detail *detail) ERR_CHECKED;

/*
 * one is called for each record. ERR_INVALID from it: the record is counted in out_damaged, and the walk goes
 * on; any other error ends it.
 */
enum err tables_walk(struct kv *kv, enum kv_table table, kv_record_fn *one, void *context,
		     uint64_t *out_damaged) ERR_CHECKED;

/* Are the messages of each session in the order of their numbers? */
enum err tables_check_order(const struct ledger *ledger, struct err_detail *detail) ERR_CHECKED;

/* What was written is under its name after a power cut, too. */
void tables_sync_directory(const char *directory);

/* The commands. Exit codes. */
int check_store(const char *directory);
int dump_store(const char *directory);
int export_store(const char *directory, const char *file);
/* partly: leaves out what names a session or message that is not there. */
int import_store(const char *directory, const char *file, bool partly);
int import_mosquitto(const char *directory, const char *file);
int compact_store(const char *directory);
int backup_store(const char *directory, const char *target);

#endif
