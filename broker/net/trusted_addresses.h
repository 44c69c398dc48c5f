/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trusted_addresses.h - proxies that are believed when they say for whom they speak.
 *
 * Frozen after create; any thread reads it.
 */
#ifndef NIGHTJAR_NET_TRUSTED_ADDRESSES_H
#define NIGHTJAR_NET_TRUSTED_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "net/address.h"

struct trusted_addresses;

/* texts: "10.0.0.1", "10.0.0.0/8", "fd00::/8", or "unix" for all who come through a Unix socket. */
enum err trusted_addresses_create(const char *const *texts, size_t count,
				  struct trusted_addresses **out,
				  struct err_detail *detail) ERR_CHECKED;
void trusted_addresses_destroy(struct trusted_addresses **list);

/* list may be NULL: nobody. An IPv4 address in IPv6's clothes (::ffff:10.0.0.1) is that IPv4 address. */
bool trusted_addresses_has(const struct trusted_addresses *list, const struct address *address);

#endif
