/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - failures of the world outside (disk, memory, files, plugins).
 *
 * A function that can fail returns enum err and is marked ERR_CHECKED. When a person should read
 * why, it also takes a struct err_detail, which it fills with one sentence: what, where, and how
 * to mend it. A peer that breaks the protocol is not an err: decoders have results of their own.
 */
#ifndef NIGHTJAR_BASE_ERR_H
#define NIGHTJAR_BASE_ERR_H

#define ERR_CHECKED __attribute__((warn_unused_result))

enum err {
	ERR_NONE = 0,
	ERR_NOMEM, /* no memory, or over the budget of its class */
	ERR_IO,	   /* the operating system refused; the detail holds its words */
	ERR_LIMIT, /* a configured limit was met */
	ERR_NOT_FOUND,
	ERR_EXISTS,
	ERR_INVALID,	 /* what was read does not make sense */
	ERR_DENIED,	 /* not permitted */
	ERR_UNSUPPORTED, /* known, but not offered by this build */
};

#define ERR_DETAIL_BYTES 512

struct err_detail {
	char text[ERR_DETAIL_BYTES]; /* one sentence, terminated by zero, cut when too long */
};

/* Fills detail (may be NULL) and returns code, so that a failure is one line: return err_set(...). */
enum err err_set(struct err_detail *detail, enum err code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

const char *err_text(enum err code);

#endif
