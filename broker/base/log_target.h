/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_target.h - one place that log lines go to, which never makes the caller wait.
 *
 * Guarded by the lock in log.c. A target that cannot take a line now (a pipe that nobody reads, a
 * full disk) loses it, counted; the first line that it takes again is preceded by one that says
 * how many were lost. Disks that are slow rather than full do delay the caller.
 */
#ifndef NIGHTJAR_BASE_LOG_TARGET_H
#define NIGHTJAR_BASE_LOG_TARGET_H

#include "base/log_line.h"

struct log_target {
	int fd;		 /* -1: unused */
	bool is_regular; /* a file, which is always ready */
	bool is_torn;	 /* the last line was written in part, without its line break */
	uint64_t lost;	 /* since the last line that was written */
};

#define LOG_TARGET_NONE ((struct log_target){.fd = -1})

struct log_target log_target_of(int fd);
void log_target_write(struct log_target *target, const struct log_line *line,
		      const struct log_line_style *style);

/* Syslog: datagrams to the local socket (normally "/dev/log"), opened again when it went away. */
struct log_syslog {
	const char *path; /* NULL: unused. A string that outlives this */
	int facility;
	int fd;
	uint64_t retry_at_ms; /* not again before, when there was no one to talk to */
};

#define LOG_SYSLOG_NONE ((struct log_syslog){.fd = -1})

void log_syslog_write(struct log_syslog *syslog, enum log_type type, const char *text, size_t len);
void log_syslog_close(struct log_syslog *syslog);

#endif
