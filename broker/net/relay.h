/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h - a connection that cannot leave its worker serves a session that lives on another.
 *
 *	peer <-> pushed transport <-> relay -- letters, both ways --> far end <-> connection's owner
 *	         (stays on its worker)                                (the session's worker)
 *
 * connection_detach() of a pushed connection leaves a relay behind, which takes the transport over;
 * the connection goes on with transport_relay. Nobody above net notices. Each way has a window of
 * its own: so many bytes may be in letters, or held by a reader that is paused, and then the writer
 * waits; a relay that is not read on one side costs no more than that on the other. Letters of relays
 * take no credit of the mailbox, which a paused reader would keep from others.
 */
#ifndef NIGHTJAR_NET_RELAY_H
#define NIGHTJAR_NET_RELAY_H

#include "net/connection.h"

/* Bytes that may be on their way, each direction. */
#define RELAY_WINDOW_BYTES (128u * 1024u)

extern const struct transport transport_relay;

/* For connection.c. On the worker that it leaves: from now on conn->transport is transport_relay. */
void relay_leave_behind(struct connection *conn);
/* On the worker that it has come to. false: there was no memory for a relay. */
bool relay_arrive(struct connection *conn);

/* Relays that still live on this worker's side of their transports. */
unsigned relay_count(const struct worker *me);

#endif
