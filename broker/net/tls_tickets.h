/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_tickets.h - session tickets: a client that comes back skips the costly part of the handshake.
 *
 * The server keeps nothing: the session travels with the client, sealed with a key of this process.
 * All listeners and workers use the same keys, which change every TLS_TICKET_KEY_S; the one before
 * still opens what it sealed. Any thread.
 */
#ifndef NIGHTJAR_NET_TLS_TICKETS_H
#define NIGHTJAR_NET_TLS_TICKETS_H

#include <openssl/ssl.h>

#define TLS_TICKET_KEY_S (6u * 3600u)

/* Also refuses to resume a session whose client certificate has expired since. */
void tls_tickets_use(SSL_CTX *context);

#endif
