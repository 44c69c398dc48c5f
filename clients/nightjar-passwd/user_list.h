/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_list.h - changes the text of a password file, line by line.
 *
 * Comments, empty lines and the lines of other users stay as they are, in their order. Each
 * function writes the whole new text to out; on an error what was written means nothing.
 */
#ifndef NIGHTJAR_PASSWD_USER_LIST_H
#define NIGHTJAR_PASSWD_USER_LIST_H

#include <stdio.h>

#include "auth/password_hash.h"
#include "base/err.h"
#include "base/slice.h"

struct user_list {
	struct slice text; /* borrowed */
	const char *path;  /* for messages */
};

/* Fit for a password file and for a CONNECT? ERR_INVALID says what is wrong with the name. */
enum err user_name_check(struct slice name, struct err_detail *detail) ERR_CHECKED;

/* ERR_INVALID for an empty password, or one that no CONNECT can carry. */
enum err user_password_check(struct slice password, struct err_detail *detail) ERR_CHECKED;

/* Replaces the user's line (a second line of the same user goes), or appends one. */
enum err user_list_set(const struct user_list *list, struct slice name,
		       const struct password_hash *hash, FILE *out,
		       struct err_detail *detail) ERR_CHECKED;

/* ERR_NOT_FOUND when there is no such user. */
enum err user_list_delete(const struct user_list *list, struct slice name, FILE *out,
			  struct err_detail *detail) ERR_CHECKED;

/* Hashes the passwords that are in plain text. Lines that hold a hash stay. */
enum err user_list_upgrade(const struct user_list *list, enum password_scheme scheme,
			   uint32_t iterations, FILE *out, unsigned *out_changed,
			   struct err_detail *detail) ERR_CHECKED;

#endif
