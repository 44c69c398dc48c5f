/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password_file.h - the users of a password_file, as a snapshot.
 *
 * Frozen after load, reference counted, read by any thread without a lock. Loading reads a file
 * and therefore never runs on a worker. A line is USERNAME:HASH (see password_hash.h); empty lines
 * and lines that begin with '#' are skipped. Stricter than mosquitto 2.0, which drops such lines
 * with or without a word: a line without ':' or without a hash, a user name twice, a hash that
 * cannot be read, and a password in plain text each fail the whole load with FILE:LINE.
 */
#ifndef NIGHTJAR_AUTH_PASSWORD_FILE_H
#define NIGHTJAR_AUTH_PASSWORD_FILE_H

#include "base/err.h"
#include "base/slice.h"

struct password_file;
struct password_entry; /* one user; lives as long as its file's snapshot */

/* ERR_IO when the file cannot be read, ERR_INVALID for a bad line, ERR_NOMEM. *out: one reference. */
enum err password_file_load(const char *path, struct password_file **out,
			    struct err_detail *detail) ERR_CHECKED;

/* The same for a text in memory; name stands for the path in messages. */
enum err password_file_parse(struct slice text, const char *name, struct password_file **out,
			     struct err_detail *detail) ERR_CHECKED;

struct password_file *password_file_ref(struct password_file *file);
void password_file_unref(struct password_file **file);

size_t password_file_count(const struct password_file *file);

/* NULL when there is no such user. Fast: any thread, workers too. */
const struct password_entry *password_file_find(const struct password_file *file,
						struct slice username);

/* Slow: thread pool only. */
bool password_entry_verify(const struct password_entry *entry, struct slice password);

/*
 * Is there such a user with that password? For an unknown user the password is hashed as well, at
 * the cost of some line of the file that is always the same for the same name, so that the time of
 * the answer does not tell who exists. Slow: thread pool only.
 */
bool password_file_verify(const struct password_file *file, struct slice username,
			  struct slice password);

/* Is it the same line: name, scheme, salt and hash? */
bool password_entry_equal(const struct password_entry *a, const struct password_entry *b);

#endif
