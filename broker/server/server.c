/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "server/broker.h"
#include "server/broker_tls.h"
#include "server/healthcheck.h"
#include "server/service_manager.h"

/* -d: the pipe by which the process in the background tells the one in front that it serves; -1:
 * there is none. */
static int front = -1;

static int print_errors(const struct config_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		fprintf(stderr, "nightjar: %s\n", errors->text[i]);
	if (errors->is_cut)
		fprintf(stderr, "nightjar: ... and more\n");
	return 1;
}

static int print_failure(const struct err_detail *detail)
{
	log_event(LOG_TYPE_ERROR, NULL, "%s", detail->text);
	/* Where the log goes is not where whoever typed -d looks. */
	if (front >= 0)
		fprintf(stderr, "nightjar: %s\n", detail->text);
	return 1;
}

static int test_config(struct config *config, struct config_errors *errors)
{
	enum err err = config_check_files(config, snapshot_check_file, NULL, errors);

	broker_tls_check(config, errors);
	if (errors->count)
		err = ERR_INVALID;
	for (size_t i = 0; i < config->note_count; i++)
		fprintf(stderr, "nightjar: warning: %s\n", config->notes[i]);
	if (err != ERR_NONE)
		return print_errors(errors);
	printf("nightjar: the configuration is valid.\n");
	return 0;
}

/* Only now: until then what is wrong has to be seen, and has to be the exit code. */
static void leave_front(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (write(front, "", 1) != 1)
		log_event(LOG_TYPE_WARNING, NULL, "Who started the broker has gone: %s.",
			  strerror(errno));
	close(front);
	front = -1;
}

static void wait_for_child(int from_child)
{
	ssize_t got;
	char byte;

	do {
		got = read(from_child, &byte, 1);
	} while (got < 0 && errno == EINTR);
	_exit(got == 1 ? 0 : 1);
}

/* false: could not. Returns in the child only. */
static bool daemonize(void)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) != 0) {
		fprintf(stderr, "nightjar: cannot go to the background: %s.\n", strerror(errno));
		return false;
	}
	child = fork();
	if (child < 0) {
		fprintf(stderr, "nightjar: cannot go to the background: %s.\n", strerror(errno));
		return false;
	}
	if (child > 0) {
		close(ends[1]);
		wait_for_child(ends[0]);
	}
	close(ends[0]);
	front = ends[1];
	setsid();
	return true;
}

static int serve(const struct command_line *line, struct config *config,
		 const struct authority_hooks *hooks)
{
	static struct broker broker;
	struct err_detail detail = {.text = ""};
	int status = 0;

	broker.line = *line;
	broker.hooks = hooks;
	/* Before the listeners are open: who can connect may also send SIGHUP, which would kill. */
	broker_watch_signals(&broker);
	service_manager_open();
	if (broker_open_take(&broker, config, &detail) != ERR_NONE) {
		status = print_failure(&detail);
		broker_close(&broker);
		return status;
	}
	log_event(LOG_TYPE_NOTICE, NULL, "nightjar version %s is starting", NIGHTJAR_VERSION);
	if (broker_start(&broker, &detail) != ERR_NONE) {
		status = print_failure(&detail);
	} else {
		log_event(LOG_TYPE_NOTICE, NULL, "nightjar version %s is running",
			  NIGHTJAR_VERSION);
		if (front >= 0)
			leave_front();
		service_manager_ready();
		broker_run(&broker);
	}
	broker_close(&broker);
	service_manager_close();
	log_event(LOG_TYPE_NOTICE, NULL, "nightjar version %s has stopped", NIGHTJAR_VERSION);
	log_close();
	return status;
}

static int run(const struct command_line *line, const struct authority_hooks *hooks)
{
	static struct config_errors errors; /* too large for the stack */
	struct config *config;
	int status;

	if (config_load(line->config_path, &line->overrides, &config, &errors) != ERR_NONE)
		return print_errors(&errors);
	if (line->action == COMMAND_LINE_HEALTHCHECK) {
		status = healthcheck_run(config);
		config_destroy(config);
		return status;
	}
	if (line->action == COMMAND_LINE_TEST_CONFIG) {
		errors.count = 0;
		status = test_config(config, &errors);
		config_destroy(config);
		return status;
	}
	if (config->daemonize && !daemonize()) {
		config_destroy(config);
		return 1;
	}
	return serve(line, config, hooks);
}

int server_main(int argc, char **argv, const struct authority_hooks *hooks)
{
	struct err_detail detail;
	struct command_line line;

	if (command_line_parse(argc, argv, &line, &detail) != ERR_NONE) {
		fprintf(stderr, "nightjar: %s\n", detail.text);
		return 1;
	}
	switch (line.action) {
	case COMMAND_LINE_HELP: fputs(command_line_help(), stdout); return 0;
	case COMMAND_LINE_VERSION: printf("nightjar version %s\n", NIGHTJAR_VERSION); return 0;
	case COMMAND_LINE_RUN:
	case COMMAND_LINE_HEALTHCHECK:
	case COMMAND_LINE_TEST_CONFIG: break;
	}
	return run(&line, hooks);
}
