/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - the destinations, and who may write to them.
 *
 * The lock is held while settings are copied and, after the line was made, while it is written;
 * no destination waits (log_target.h), so that holding it is short.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_line.h"
#include "base/log_target.h"

#define MESSAGE_BYTES 2048

struct log_state {
	struct log_line_style style;
	struct log_target to_stderr, to_stdout, to_file;
	struct log_syslog to_syslog;
	char *file_path; /* owned; NULL: none */
	void (*to_topic)(enum log_type type, const char *line);
};

#define STATE_INITIAL                                                                              \
	{                                                                                          \
		.style = {.timestamp = true}, .to_stderr = {.fd = STDERR_FILENO},                  \
		.to_stdout = {.fd = -1}, .to_file = {.fd = -1}, .to_syslog = {                     \
			.fd = -1                                                                   \
		}                                                                                  \
	}

unsigned log_types_enabled = LOG_TYPES_DEFAULT;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_state state = STATE_INITIAL; /* guarded by lock */

static void state_fini(struct log_state *old)
{
	if (old->to_file.fd >= 0)
		close(old->to_file.fd);
	log_syslog_close(&old->to_syslog);
	free(old->file_path);
}

static enum err file_open(const char *path, struct log_target *out_target,
			  struct err_detail *detail)
{
	int fd =
		open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);

	if (fd < 0)
		return err_set(
			detail, ERR_IO,
			"cannot open log file '%s': %s; check that its folder exists and that the "
			"broker's user may write there",
			path, strerror(errno));
	*out_target = log_target_of(fd);
	return ERR_NONE;
}

/*
 * When we were started with descriptors 0 to 2 closed, the next socket would become "stderr" and a
 * client would be sent our log.
 */
static void hold_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* A reader of our stderr that goes away must not end the broker. */
static void ignore_sigpipe(void)
{
	struct sigaction action;

	if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

static enum err state_make(struct log_state *out_state, const struct log_settings *settings,
			   struct err_detail *detail)
{
	struct log_state made = STATE_INITIAL;

	made.style.json = settings->json;
	made.style.timestamp = settings->timestamp;
	if (settings->timestamp_format)
		snprintf(made.style.timestamp_format, sizeof made.style.timestamp_format, "%s",
			 settings->timestamp_format);
	made.to_stderr = settings->to_stderr ? log_target_of(STDERR_FILENO) : LOG_TARGET_NONE;
	made.to_stdout = settings->to_stdout ? log_target_of(STDOUT_FILENO) : LOG_TARGET_NONE;
	made.to_topic = settings->to_topic;
	made.to_syslog.path = settings->to_syslog ? "/dev/log" : NULL;
	made.to_syslog.facility =
		settings->syslog_facility ? settings->syslog_facility : LOG_DAEMON;
	if (settings->file) {
		enum err err = file_open(settings->file, &made.to_file, detail);

		if (err != ERR_NONE)
			return err;
		made.file_path = strdup(settings->file);
	}
	if (settings->file && !made.file_path) {
		state_fini(&made);
		return err_set(detail, ERR_NOMEM, "out of memory while opening the log");
	}
	*out_state = made;
	return ERR_NONE;
}

static void state_replace(const struct log_state *made, unsigned types)
{
	struct log_state old;

	pthread_mutex_lock(&lock);
	old = state;
	state = *made;
	__atomic_store_n(&log_types_enabled, types, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
	state_fini(&old);
}

enum err log_open(const struct log_settings *settings, struct err_detail *detail)
{
	bool has_destination = settings->to_stderr || settings->to_stdout || settings->to_syslog ||
			       settings->file || settings->to_topic;
	struct log_state made;
	enum err err;

	hold_standard_descriptors();
	ignore_sigpipe();
	err = state_make(&made, settings, detail);
	if (err == ERR_NONE)
		state_replace(&made, has_destination ? settings->types : 0);
	return err;
}

void log_types_set(unsigned types)
{
	__atomic_store_n(&log_types_enabled, types & LOG_TYPES_ALL, __ATOMIC_RELAXED);
}

void log_close(void)
{
	static const struct log_state initial = STATE_INITIAL;

	state_replace(&initial, LOG_TYPES_DEFAULT);
}

static void line_write(enum log_type type, const struct log_line *line)
{
	const struct log_line_style *style = &state.style;

	log_target_write(&state.to_stderr, line, style);
	log_target_write(&state.to_stdout, line, style);
	log_target_write(&state.to_file, line, style);
	log_syslog_write(&state.to_syslog, type, line->text + line->body,
			 line->len - line->body - 1);
}

void log_event(enum log_type type, const struct log_fields *fields, const char *format, ...)
{
	void (*to_topic)(enum log_type type, const char *line);
	struct log_line_style style;
	struct log_line line;
	char message[MESSAGE_BYTES];
	va_list args;

	if (!log_is_enabled(type))
		return;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);

	pthread_mutex_lock(&lock);
	style = state.style;
	pthread_mutex_unlock(&lock);

	log_line_format(&line, &style, type, fields, message, clock_wall_ms());

	pthread_mutex_lock(&lock);
	line_write(type, &line);
	to_topic = state.to_topic;
	pthread_mutex_unlock(&lock);
	if (to_topic) {
		line.text[line.len - 1] = '\0';
		to_topic(type, line.text);
	}
}
