/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_page.h - records on their way from a worker to the control socket.
 *
 * A worker writes plain bytes, which costs it little more than copying; the main thread makes JSON
 * objects of them. A record is a type and fields; a key is a string literal. Owner: whoever holds
 * the page; first the worker, then the main thread.
 */
#ifndef NIGHTJAR_SERVER_CONTROL_PAGE_H
#define NIGHTJAR_SERVER_CONTROL_PAGE_H

#include <cjson/cJSON.h>

#include "base/buffer.h"

/* One field alone may be so large; a page is full at less. */
#define CONTROL_PAGE_BYTES_MAX (1024u * 1024u)
#define CONTROL_PAGE_BYTES_FULL (384u * 1024u)

struct control_page {
	struct buffer bytes;
	uint64_t wall_ms, now_ms; /* the same moment on both clocks; 0: not asked for yet */
	bool has_failed;	  /* no memory, or a record that is too large: it is cut off */
};

void control_page_begin(struct control_page *page, const char *type);
void control_page_text(struct control_page *page, const char *key, struct slice text);
void control_page_string(struct control_page *page, const char *key, const char *text);
void control_page_number(struct control_page *page, const char *key, uint64_t number);
void control_page_flag(struct control_page *page, const char *key, bool flag);
/* now_ms is a moment on clock_now_ms(); shown in seconds since 1970. */
void control_page_moment(struct control_page *page, const char *key, uint64_t now_ms);
/* Text if it is UTF-8 without zero bytes, else "<key>_base64". */
void control_page_bytes(struct control_page *page, const char *key, struct slice bytes);

static inline bool control_page_is_full(const struct control_page *page)
{
	return page->has_failed || page->bytes.len >= CONTROL_PAGE_BYTES_FULL;
}

void control_page_clear(struct control_page *page);
void control_page_fini(struct control_page *page);

/* The record at *at (begins at 0), which moves behind it; NULL: the end, or no memory. */
cJSON *control_page_next(const struct control_page *page, uint32_t *at);

/* Numbers exact to 64 bits, which cJSON's own are not. */
void control_json_number(cJSON *object, const char *key, uint64_t number);

#endif
