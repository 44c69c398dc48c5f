/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.h - one request to the control socket, and its records as they come.
 */
#ifndef NIGHTJAR_CTL_ASK_H
#define NIGHTJAR_CTL_ASK_H

#include <cjson/cJSON.h>

#include "options.h"

/*
 * Calls on_record for each record, with its line and (unless options->json) the object made of it.
 * Prints what goes wrong.
 */
enum exit_code ask(const struct options *options,
		   void (*on_record)(const struct options *options, const char *line,
				     const cJSON *record));

#endif
