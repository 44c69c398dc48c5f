/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_transport.h - how a program with libmosquitto gets to the broker (harness/transport.py):
 * NIGHTJAR_CAFILE asks for TLS, NIGHTJAR_UNIX names a Unix socket, else it is TCP.
 */
#ifndef NIGHTJAR_TESTS_INTEGRATION_LIB_TRANSPORT_H
#define NIGHTJAR_TESTS_INTEGRATION_LIB_TRANSPORT_H

#include <mosquitto.h>
#include <stdlib.h>

/* The host to connect client to; *port becomes 0 for a Unix socket. NULL: TLS cannot be set up. */
static inline const char *lib_transport_host(struct mosquitto *client, int *port)
{
	const char *cafile = getenv("NIGHTJAR_CAFILE");
	const char *path = getenv("NIGHTJAR_UNIX");

	if (path) {
		*port = 0;
		return path;
	}
	if (cafile && mosquitto_tls_set(client, cafile, NULL, NULL, NULL, NULL) != MOSQ_ERR_SUCCESS)
		return NULL;
	return "127.0.0.1";
}

#endif
