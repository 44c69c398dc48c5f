/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the command line of nightjar-ctl.
 */
#ifndef NIGHTJAR_CTL_OPTIONS_H
#define NIGHTJAR_CTL_OPTIONS_H

#include <stdbool.h>

#define SOCKET_DEFAULT "/run/nightjar/control.sock"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1, /* the broker said no: not found, not connected, a bad configuration */
	EXIT_USAGE = 2,	  /* the command line */
	EXIT_UNREACHABLE = 3, /* no broker there, or not ours to ask */
};

struct options {
	const char *socket_path;
	bool json;
	const char *command;
	const char *argument_key; /* NULL: none was given */
	const char *argument;
};

/* EXIT_DONE and *out_is_finished false: go on. Prints what is wrong. */
enum exit_code options_parse(int argc, char **argv, struct options *out, bool *out_is_finished);

#endif
