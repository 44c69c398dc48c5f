/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_hello.h - what a TLS client asks for, before anybody answers it. A pure function over bytes.
 */
#ifndef NIGHTJAR_NET_CLIENT_HELLO_H
#define NIGHTJAR_NET_CLIENT_HELLO_H

#include <stdbool.h>

#include "base/slice.h"

enum client_hello_status {
	CLIENT_HELLO_DONE,
	CLIENT_HELLO_NEED_MORE, /* wanted: at least so many bytes in all */
	CLIENT_HELLO_BAD,	/* not one that we understand: OpenSSL shall say so */
};

struct client_hello {
	size_t wanted;
	bool asks_for_mqtt; /* ALPN has "mqtt" or "x-amzn-mqtt-ca" */
	bool asks_for_http; /* ALPN has "http/1.1" */
};

/* bytes: the stream from its first byte. The message may be cut into records in every way. */
enum client_hello_status client_hello_parse(struct slice bytes, struct client_hello *out);

#endif
