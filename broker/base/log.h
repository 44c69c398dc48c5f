/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one event, one line, to every destination that is configured.
 *
 * Before log_open() events go to stderr as text. Any thread may log. An event that no destination
 * wants costs one load (log_is_enabled). The types are those of mosquitto's log_type.
 */
#ifndef NIGHTJAR_BASE_LOG_H
#define NIGHTJAR_BASE_LOG_H

#include "base/err.h"
#include "base/slice.h"

enum log_type {
	LOG_TYPE_ERROR = 1 << 0,
	LOG_TYPE_WARNING = 1 << 1,
	LOG_TYPE_NOTICE = 1 << 2,
	LOG_TYPE_INFORMATION = 1 << 3,
	LOG_TYPE_DEBUG = 1 << 4,
	LOG_TYPE_SUBSCRIBE = 1 << 5,
	LOG_TYPE_UNSUBSCRIBE = 1 << 6,
	LOG_TYPE_WEBSOCKETS = 1 << 7,
	LOG_TYPE_INTERNAL = 1 << 8,
};

#define LOG_TYPES_ALL 0x1ff
/* mosquitto's default, with subscribe and unsubscribe left out as there. */
#define LOG_TYPES_DEFAULT                                                                          \
	(LOG_TYPE_ERROR | LOG_TYPE_WARNING | LOG_TYPE_NOTICE | LOG_TYPE_INFORMATION)

/* Who the event is about. Members that are empty or NULL are left out of the line. */
struct log_fields {
	struct slice client_id;
	struct slice user;
	const char *address; /* "127.0.0.1:51234" */
	const char *reason;  /* why, as a short phrase */
};

struct log_settings {
	unsigned types; /* enum log_type, or-ed */
	bool to_stderr, to_stdout;
	bool to_syslog;
	int syslog_facility;	      /* LOG_DAEMON, LOG_LOCAL0, ... of syslog.h */
	const char *file;	      /* NULL: none. Borrowed until log_open() returns */
	bool timestamp;		      /* default true */
	const char *timestamp_format; /* strftime; NULL: seconds since 1970, as mosquitto */
	bool json; /* one JSON object a line: time, level, message, client, ... */
	/* log_dest topic: called for each event, on the thread that logs; must not log. NULL: none. */
	void (*to_topic)(enum log_type type, const char *line);
};

extern unsigned log_types_enabled; /* read it through log_is_enabled() */

static inline bool log_is_enabled(enum log_type type)
{
	return (__atomic_load_n(&log_types_enabled, __ATOMIC_RELAXED) & (unsigned)type) != 0;
}

/*
 * Replaces all destinations at once. On failure (a file that cannot be opened) the old ones stay
 * and detail says which file and why.
 */
enum err log_open(const struct log_settings *settings, struct err_detail *detail) ERR_CHECKED;

/* Other types from now on, until the next log_open(). Any thread. */
void log_types_set(unsigned types);

void log_close(void);

/* fields may be NULL. The text has no line break at its end; control characters are escaped. */
void log_event(enum log_type type, const struct log_fields *fields, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
