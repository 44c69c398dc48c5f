/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command_line.h - the options of the nightjar program, those of mosquitto, --test-config and --healthcheck.
 */
#ifndef NIGHTJAR_SERVER_COMMAND_LINE_H
#define NIGHTJAR_SERVER_COMMAND_LINE_H

#include "base/err.h"
#include "server/config.h"

enum command_line_action {
	COMMAND_LINE_RUN,
	COMMAND_LINE_TEST_CONFIG, /* check the configuration, exit 0 or 1 */
	COMMAND_LINE_HEALTHCHECK, /* ask the running broker, exit 0 or 1 */
	COMMAND_LINE_HELP,	  /* print command_line_help(), exit 0 */
	COMMAND_LINE_VERSION,	  /* print the version, exit 0 */
};

struct command_line {
	enum command_line_action action;
	const char *config_path; /* borrowed from argv; NULL: no file */
	struct config_overrides overrides;
};

/* On failure detail says which argument is wrong and what is allowed. */
enum err command_line_parse(int argc, char *const argv[], struct command_line *out,
			    struct err_detail *detail) ERR_CHECKED;

/* Several lines of text, ended by a line break. */
const char *command_line_help(void);

#endif
