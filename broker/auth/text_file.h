/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_file.h - a whole file in memory, and its lines.
 *
 * Blocks: never on a worker.
 */
#ifndef NIGHTJAR_AUTH_TEXT_FILE_H
#define NIGHTJAR_AUTH_TEXT_FILE_H

#include "base/err.h"
#include "base/slice.h"

/*
 * Reads a regular file of up to 256 MiB. kind ("password_file") goes into messages. *out is
 * released with text_file_free, which wipes it.
 */
enum err text_file_read(const char *path, const char *kind, struct slice *out,
			struct err_detail *detail) ERR_CHECKED;
void text_file_free(struct slice *text);

/*
 * Walks over lines. A line comes without its end ("\n" or "\r\n") and without white space around
 * it; a byte order mark at the start of the text is skipped, as editors on Windows put it there.
 */
struct text_lines {
	struct slice rest;
	const char *name; /* of the file, for messages */
	unsigned number;  /* of the line that was given out last; the first is 1 */
};

struct text_lines text_lines_of(struct slice text, const char *name);
bool text_lines_next(struct text_lines *lines, struct slice *out_line);

struct slice text_trim(struct slice text);

/* Cuts the first word, up to white space, off the front of text and trims what is left. */
struct slice text_next_word(struct slice *text);

/*
 * For "%.*s" in messages: what was found, cut to a length that leaves room for the advice. Control
 * characters are the logger's business.
 */
#define TEXT_SHOWN(slice) (int)((slice).len > 100 ? 100 : (slice).len), (const char *)(slice).data

#endif
