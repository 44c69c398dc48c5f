/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptors.h - refusing a connection when there is no descriptor for it.
 */
#ifndef NIGHTJAR_NET_DESCRIPTORS_H
#define NIGHTJAR_NET_DESCRIPTORS_H

#include <stdbool.h>

/* After accept() failed with EMFILE or ENFILE: takes one waiting connection and closes it. false:
 * could not, the caller should not try again in this turn. Any worker. */
bool descriptors_refuse_one(int listening_fd, const char *listener);

#endif
