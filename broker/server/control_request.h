/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_request.h - one line from the control socket: what is asked?
 *
 *	{"version": 1, "command": "client", "id": "sensor-7"}
 *
 * Pure functions.
 */
#ifndef NIGHTJAR_SERVER_CONTROL_REQUEST_H
#define NIGHTJAR_SERVER_CONTROL_REQUEST_H

#include "base/err.h"
#include "base/slice.h"

#define CONTROL_VERSION 1

enum control_command {
	CONTROL_CLIENTS,
	CONTROL_CLIENT,
	CONTROL_DISCONNECT,
	CONTROL_FORGET,
	CONTROL_SUBSCRIPTIONS,
	CONTROL_RETAINED,
	CONTROL_STATS,
	CONTROL_RELOAD,
	CONTROL_LOG_LEVEL,
	CONTROL_COMMANDS
};

struct control_request {
	enum control_command command;
	char *argument; /* owned; NULL: none was given */
};

/* On failure detail has what is wrong and what is expected, and out holds nothing. */
enum err control_request_parse(struct slice line, struct control_request *out,
			       struct err_detail *detail) ERR_CHECKED;
void control_request_fini(struct control_request *request);
const char *control_command_name(enum control_command command);

#endif
