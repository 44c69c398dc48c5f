/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl_rules.h - a set of topic rules, compiled for fast matching. Used by acl_file.c and
 * acl_view.c only.
 *
 * Frozen after compile. One allocation, without pointers into the text that it was made from.
 */
#ifndef NIGHTJAR_AUTH_ACL_RULES_H
#define NIGHTJAR_AUTH_ACL_RULES_H

#include "base/err.h"
#include "base/slice.h"

enum acl_bits {
	ACL_BIT_READ = 1, /* the values of enum acl_access */
	ACL_BIT_WRITE = 2,
	ACL_BIT_DENY = 4, /* neither read nor write, whatever grants it */
};

struct acl_rule {
	struct slice filter; /* a valid Topic Filter */
	uint8_t bits;	     /* enum acl_bits */
};

struct acl_rules;

/* The rules are borrowed and put into another order. No rules at all: *out is NULL. ERR_NOMEM. */
enum err acl_rules_compile(struct acl_rule *rules, size_t count,
			   struct acl_rules **out) ERR_CHECKED;
void acl_rules_destroy(struct acl_rules **rules);

/* The bits of all rules that match the Topic Name, or-ed. rules may be NULL: no bits. */
unsigned acl_rules_match(const struct acl_rules *rules, struct slice topic);

size_t acl_rules_count(const struct acl_rules *rules); /* NULL: 0 */
struct acl_rule acl_rules_at(const struct acl_rules *rules, size_t index);
size_t acl_rules_bytes(const struct acl_rules *rules); /* memory that the set takes; NULL: 0 */

#endif
