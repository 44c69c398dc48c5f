/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.h - HTTP that was found inside our own TLS, on its way to libwebsockets.
 *
 *	client ==TLS== outer connection --copy-- inner connection ==socketpair== libwebsockets
 *
 * libwebsockets takes neither an SSL object nor bytes that are decrypted already, so it is given one
 * end of a socketpair. Only clients that do not ask for http/1.1 by ALPN come this way. Owner: the
 * worker.
 */
#ifndef NIGHTJAR_NET_TUNNEL_H
#define NIGHTJAR_NET_TUNNEL_H

#include "net/listener.h"

/* newcomer->ssl is set. Takes descriptor and SSL object; false: they stay the caller's. The listener's
 * place goes to who serves the HTTP. */
bool tunnel_open(struct worker *me, struct listener *listener, const struct newcomer *newcomer);

/* When the broker stops: ends what is open. */
void tunnels_stop(struct worker *me);

#endif
