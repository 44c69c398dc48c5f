/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_console.c - the console's files, which are part of the binary.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/console_assets.h"
#include "http/http_parts.h"

#define HEADERS_BYTES 1024u

static int compare_path(const void *key, const void *row)
{
	return strcmp(key, ((const struct console_asset *)row)->path);
}

static const struct console_asset *find(struct slice path)
{
	char text[256];

	if (path.len >= sizeof text)
		return NULL;
	memcpy(text, path.data, path.len);
	text[path.len] = '\0';
	return bsearch(text, console_assets, console_assets_count, sizeof *console_assets,
		       compare_path);
}

bool http_console_serve(struct worker *me, struct web_exchange *exchange,
			const struct web_request *request)
{
	const struct console_asset *asset = find(request->path);
	char headers[HEADERS_BYTES];
	bool is_same;

	if (!asset)
		return false;
	is_same = http_etag_matches(request->if_none_match, asset->etag);
	/* There is no other form of them: who does not know gzip cannot run the page either. */
	snprintf(headers, sizeof headers,
		 "ETag: %s\r\nCache-Control: %s\r\n%s"
		 "Content-Security-Policy: " CONSOLE_CONTENT_SECURITY_POLICY "\r\n"
		 "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
		 "Cross-Origin-Opener-Policy: same-origin\r\n",
		 asset->etag,
		 asset->is_immutable ? "public, max-age=31536000, immutable" : "no-cache",
		 is_same ? "" : "Content-Encoding: gzip\r\n");
	web_answer(me, exchange,
		   &(struct web_response){
			   .status = is_same ? 304 : 200,
			   .content_type = is_same ? NULL : asset->content_type,
			   .headers = headers,
			   .body = is_same ? SLICE_NONE : slice_of(asset->gzip, asset->length),
		   });
	return true;
}
