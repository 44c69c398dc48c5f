/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_peer.h - what an SSL object knows of its connection beside OpenSSL's own state, and the words
 * for what goes wrong in a handshake. Used by the files of net only.
 */
#ifndef NIGHTJAR_NET_TLS_PEER_H
#define NIGHTJAR_NET_TLS_PEER_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "net/address.h"

#define TLS_WHY_BYTES 512

/* Main thread, before the first SSL_CTX is made. */
bool tls_peer_prepare(void);

void tls_peer_set_alpn(SSL *ssl, unsigned alpn);
unsigned tls_peer_alpn(const SSL *ssl);
/* Borrowed; NULL: the socket's. */
void tls_peer_set_address(SSL *ssl, const struct address *address);
/* out has ADDRESS_TEXT_BYTES. */
const char *tls_peer_address(const SSL *ssl, char *out);
/* The identity of the pre-shared key that was used; NULL: none. Copied. */
void tls_peer_set_psk(SSL *ssl, const char *identity);

/* SSL_CTX_set_verify(): logs which certificate was refused and why. */
int tls_peer_on_verify(int is_fine, X509_STORE_CTX *store);

/*
 * Why the handshake failed, after SSL_accept() returned error, from OpenSSL's queue, which is emptied. NULL:
 * tls_peer_on_verify() has said so already. out has TLS_WHY_BYTES.
 */
const char *tls_peer_why(const SSL *ssl, int error, char *out);

#endif
