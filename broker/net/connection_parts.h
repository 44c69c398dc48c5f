/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection_parts.h - what connection.c and connection_push.c share. For these two only.
 */
#ifndef NIGHTJAR_NET_CONNECTION_PARTS_H
#define NIGHTJAR_NET_CONNECTION_PARTS_H

#include "net/connection.h"

/* Everything but its address is set anew; no descriptor. */
void connection_fill(struct connection *conn, struct worker *worker,
		     const struct transport *transport, const struct connection_ops *ops,
		     uint32_t output_limit);
/* got bytes have been read: time, budget, counters. */
void connection_account_read(struct connection *conn, ssize_t got);
/* Hands all unread bytes to on_bytes() and keeps what it leaves. */
void connection_hand_up(struct connection *conn, struct slice bytes);
bool connection_input_grow(struct connection *conn, uint32_t cap);
/* Writes what is there, as much as is taken. */
void connection_flush(struct connection *conn);

#endif
