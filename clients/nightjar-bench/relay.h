/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h - the least that a broker could do for QoS 0, to compare brokers with.
 */
#ifndef NIGHTJAR_BENCH_RELAY_H
#define NIGHTJAR_BENCH_RELAY_H

#include <stdint.h>

/* "relay [--websocket] PORT", argv[0] being "relay": serves 127.0.0.1:PORT until a signal ends it. */
int relay_main(int argc, char **argv);

/* relay_ws.c: the same through libwebsockets. */
int relay_serve_websocket(uint16_t port);

#endif
