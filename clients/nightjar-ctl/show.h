/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show.h - records as lines for people.
 *
 * What clients chose (identifiers, names, topics, payloads) is printed with its control characters
 * escaped, so that nobody writes to the administrator's terminal.
 */
#ifndef NIGHTJAR_CTL_SHOW_H
#define NIGHTJAR_CTL_SHOW_H

#include <cjson/cJSON.h>

#include "options.h"

void show_record(const struct options *options, const char *line, const cJSON *record);
/* After the last one. */
void show_end(const struct options *options);

#endif
