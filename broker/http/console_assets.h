/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_assets.h - the console's files, as clients/console/build.mjs packs them into the binary.
 *
 * Each is kept compressed and is sent as it lies here, with "Content-Encoding: gzip". A build with
 * -DNIGHTJAR_CONSOLE=OFF has an empty table.
 */
#ifndef NIGHTJAR_HTTP_CONSOLE_ASSETS_H
#define NIGHTJAR_HTTP_CONSOLE_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

/* Frozen. */
struct console_asset {
	const char *path;	  /* of the request, "/" for the page itself */
	const char *content_type; /* with its charset */
	const char *etag;	  /* in its quotes */
	const unsigned char *gzip;
	size_t length;	   /* of gzip */
	bool is_immutable; /* the path holds a hash of the content: a browser may keep it */
};

/* Sorted by path in the order of strcmp(). */
extern const struct console_asset console_assets[];
extern const size_t console_assets_count;

/*
 * What the page needs and no more, for the header Content-Security-Policy of every asset: scripts
 * and styles from the broker's own files, and connections to any broker.
 */
#define CONSOLE_CONTENT_SECURITY_POLICY                                                            \
	"default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "             \
	"img-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; "       \
	"frame-ancestors 'none'"

#endif
