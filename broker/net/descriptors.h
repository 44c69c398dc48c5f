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

/* After accept() succeeded: it may have got what refusing another one had set free for an instant.
 * true: so it is, the connection is closed and the spare descriptor is there again. Any worker. */
bool descriptors_give_back(int fd, const char *listener);

#endif
