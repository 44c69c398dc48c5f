/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_line.h - an event as the one line that the destinations get. Pure functions, any thread.
 *
 * What peers chose (client ids, names, topics in messages) may hold anything; the line never does:
 * control characters and bytes that are no UTF-8 appear as \xNN, so that nobody can forge a line
 * or steer a terminal, and a value with spaces is quoted.
 */
#ifndef NIGHTJAR_BASE_LOG_LINE_H
#define NIGHTJAR_BASE_LOG_LINE_H

#include "base/log.h"

/* A pipe takes this much (PIPE_BUF) in one piece or not at all; longer lines are cut. */
#define LOG_LINE_BYTES 4096

struct log_line_style {
	bool json;
	bool timestamp;
	char timestamp_format[64]; /* empty: seconds since 1970 */
};

struct log_line {
	size_t len;		       /* the line break at the end included */
	size_t body;		       /* where the text behind the timestamp starts */
	char text[LOG_LINE_BYTES + 1]; /* terminated by zero */
};

/* fields may be NULL. */
void log_line_format(struct log_line *line, const struct log_line_style *style, enum log_type type,
		     const struct log_fields *fields, const char *message, uint64_t wall_ms);

/* "error", "warning", ...: the word of log_type in the configuration. */
const char *log_type_name(enum log_type type);

#endif
