/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_header.h - the PROXY protocol, versions 1 and 2: a proxy tells for whom it speaks, before
 * the client's own first byte. A pure function over bytes.
 */
#ifndef NIGHTJAR_NET_PROXY_HEADER_H
#define NIGHTJAR_NET_PROXY_HEADER_H

#include <stdbool.h>

#include "base/slice.h"
#include "net/address.h"

/* A header of version 2 with all that a proxy may say of a TLS connection stays far below. */
#define PROXY_HEADER_BYTES_MAX 4096u

enum proxy_header_status {
	PROXY_HEADER_DONE,
	PROXY_HEADER_NEED_MORE, /* so far it is one; wanted: at least so many bytes in all */
	PROXY_HEADER_NONE,	/* something else */
	PROXY_HEADER_BAD,	/* begins as one and then breaks the rules: fault says how */
};

struct proxy_header {
	size_t wanted;
	size_t len;		/* of the header; what follows is the client's */
	bool has_address;	/* false: the proxy speaks for itself, or does not know */
	struct address address; /* the client's */
	const char *fault;
};

enum proxy_header_status proxy_header_parse(struct slice bytes, struct proxy_header *out);

#endif
