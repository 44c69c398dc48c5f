/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_target.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counters.h"

struct log_target log_target_of(int fd)
{
	struct stat status;

	return (struct log_target){
		.fd = fd,
		.is_regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode),
	};
}

/*
 * A pipe or terminal that is ready takes PIPE_BUF bytes without waiting; asking first is better
 * than O_NONBLOCK, which would change the descriptor for everyone who shares our stderr.
 */
static bool target_is_ready(const struct log_target *target)
{
	struct pollfd ready = {.fd = target->fd, .events = POLLOUT};

	return target->is_regular || (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT));
}

static bool target_put(struct log_target *target, const char *text, size_t len)
{
	ssize_t written;

	if (!target_is_ready(target))
		return false;
	do {
		written = write(target->fd, text, len);
	} while (written < 0 && errno == EINTR);
	if (written > 0)
		target->is_torn = (size_t)written < len;
	return written == (ssize_t)len;
}

/* Says how many lines are missing, when the target takes lines again. */
static bool target_catch_up(struct log_target *target, const struct log_line_style *style)
{
	struct log_line line;
	char message[64];

	if (target->is_torn && !target_put(target, "\n", 1))
		return false;
	if (target->lost == 0)
		return true;
	snprintf(message, sizeof message, "%llu log lines could not be written here",
		 (unsigned long long)target->lost);
	log_line_format(&line, style, LOG_TYPE_WARNING, NULL, message, clock_wall_ms());
	if (!target_put(target, line.text, line.len))
		return false;
	target->lost = 0;
	return true;
}

void log_target_write(struct log_target *target, const struct log_line *line,
		      const struct log_line_style *style)
{
	if (target->fd < 0)
		return;
	if (target_catch_up(target, style) && target_put(target, line->text, line->len))
		return;
	target->lost++;
	COUNT(LOG_LINES_LOST);
}

static int syslog_level(enum log_type type)
{
	switch (type) {
	case LOG_TYPE_ERROR: return LOG_ERR;
	case LOG_TYPE_WARNING: return LOG_WARNING;
	case LOG_TYPE_NOTICE: return LOG_NOTICE;
	case LOG_TYPE_INFORMATION:
	case LOG_TYPE_SUBSCRIBE:
	case LOG_TYPE_UNSUBSCRIBE: return LOG_INFO;
	case LOG_TYPE_DEBUG:
	case LOG_TYPE_WEBSOCKETS:
	case LOG_TYPE_INTERNAL: break;
	}
	return LOG_DEBUG;
}

/* syslog(3) would wait for a daemon that hangs, so this speaks to its socket itself. */
static bool syslog_connect(struct log_syslog *syslog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (syslog->fd >= 0)
		return true;
	if (clock_now_ms() < syslog->retry_at_ms)
		return false;
	syslog->retry_at_ms = clock_now_ms() + 1000;
	snprintf(address.sun_path, sizeof address.sun_path, "%s", syslog->path);
	syslog->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (syslog->fd < 0)
		return false;
	if (connect(syslog->fd, (struct sockaddr *)&address, sizeof address) == 0)
		return true;
	close(syslog->fd);
	syslog->fd = -1;
	return false;
}

void log_syslog_write(struct log_syslog *syslog, enum log_type type, const char *text, size_t len)
{
	char datagram[LOG_LINE_BYTES + 128], time_shown[32];
	time_t now = (time_t)(clock_wall_ms() / 1000);
	struct tm tm;
	int made;

	if (!syslog->path)
		return;
	if (!syslog_connect(syslog)) {
		COUNT(LOG_LINES_LOST);
		return;
	}
	localtime_r(&now, &tm);
	strftime(time_shown, sizeof time_shown, "%b %e %H:%M:%S", &tm);
	made = snprintf(datagram, sizeof datagram, "<%d>%s nightjar[%d]: %.*s",
			syslog->facility | syslog_level(type), time_shown, (int)getpid(), (int)len,
			text);
	if (send(syslog->fd, datagram, (size_t)made, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return;
	COUNT(LOG_LINES_LOST);
	if (errno != EAGAIN && errno != ENOBUFS)
		log_syslog_close(syslog);
}

void log_syslog_close(struct log_syslog *syslog)
{
	if (syslog->fd >= 0)
		close(syslog->fd);
	syslog->fd = -1;
}
