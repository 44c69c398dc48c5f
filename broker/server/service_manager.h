/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_manager.h - tells whoever started the broker what becomes of it.
 *
 * The protocol is that of systemd's sd_notify(3), which others speak as well: a datagram of
 * NAME=VALUE lines to the Unix socket that the environment variable NOTIFY_SOCKET names. Without
 * that variable nothing is sent. No library is needed for it.
 *
 * Owner: the main thread.
 */
#ifndef NIGHTJAR_SERVER_SERVICE_MANAGER_H
#define NIGHTJAR_SERVER_SERVICE_MANAGER_H

/* Before the rights of root are dropped, and before other threads run. Takes the variable out of
 * the environment: programs that the broker may start are not the service. */
void service_manager_open(void);
/* Clients are served; also at the end of a reload, whether it was taken over or not. */
void service_manager_ready(void);
void service_manager_reloading(void);
void service_manager_stopping(void);
void service_manager_close(void);

#endif
