/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_tls.h - the TLS of the broker's listeners. Main thread.
 */
#ifndef NIGHTJAR_SERVER_BROKER_TLS_H
#define NIGHTJAR_SERVER_BROKER_TLS_H

#include "net/tls_context.h"
#include "server/config.h"

struct broker;

/* Before the listeners are opened, as root where the keys belong to it. */
enum err broker_tls_open(struct broker *broker, const struct config *config,
			 struct err_detail *detail) ERR_CHECKED;
/* NULL: this listener has no TLS. */
struct tls_server *broker_tls_server(const struct broker *broker, size_t listener);
/* After the workers ended. */
void broker_tls_close(struct broker *broker);

/* On SIGHUP, with the configuration that holds from now on. What cannot be used is named in the log,
 * and that listener goes on as it was. */
void broker_tls_reload(struct broker *broker, const struct config *config);

/* tls_watch: before and after the main loop runs. */
void broker_tls_start_watching(struct broker *broker);
void broker_tls_stop_watching(struct broker *broker);

/* For --test-config. */
void broker_tls_check(const struct config *config, struct config_errors *errors);

#endif
