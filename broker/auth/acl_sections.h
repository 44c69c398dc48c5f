/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl_sections.h - what acl_view.c needs to see of an acl_file. All of it is frozen and borrowed:
 * it lives as long as the snapshot.
 */
#ifndef NIGHTJAR_AUTH_ACL_SECTIONS_H
#define NIGHTJAR_AUTH_ACL_SECTIONS_H

#include "auth/acl_file.h"
#include "auth/acl_rules.h"

const char *acl_file_name(const struct acl_file *acl);

/* The `topic` lines of a user, or of clients without a user name. NULL when there are none. */
const struct acl_rules *acl_file_user_rules(const struct acl_file *acl, bool has_username,
					    struct slice username);

/* The `pattern` lines that have neither %c nor %u and so are the same for everybody. NULL: none. */
const struct acl_rules *acl_file_common_patterns(const struct acl_file *acl);

/* The other `pattern` lines, with their %c and %u. */
size_t acl_file_pattern_count(const struct acl_file *acl);
struct acl_rule acl_file_pattern_at(const struct acl_file *acl, size_t index);

#endif
