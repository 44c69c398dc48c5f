/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_tls.h - SSL objects of connections, counted as memory. Used by the files of net only.
 */
#ifndef NIGHTJAR_NET_TRANSPORT_TLS_H
#define NIGHTJAR_NET_TRANSPORT_TLS_H

#include <openssl/ssl.h>

/* What an idle connection's SSL object takes, as docs/tls.md has it measured. */
#define TRANSPORT_TLS_BYTES 12288u

/* For each SSL object that transport_tls_free() is going to free. */
void transport_tls_charge(void);
/* Says goodbye (close_notify) where that is still possible. NULL is fine. */
void transport_tls_free(SSL *ssl);

#endif
