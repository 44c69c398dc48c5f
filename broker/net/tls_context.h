/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_context.h - what a listener's TLS is set up with: certificates, whom it trusts, versions.
 *
 *	files --tls_server_create(), tls_server_reload()--> an SSL_CTX, frozen
 *	            struct tls_server: the one in force --> each handshake that begins
 *
 * All workers use the same SSL_CTX, and a reload puts another one in its place: handshakes that have
 * begun and connections that are open keep theirs. libwebsockets makes an SSL_CTX for each of its
 * vhosts; tls_server_lend() lets every handshake there use ours. So certificates, verification and
 * the keys of session tickets are the same everywhere, and a session begun on one worker is resumed
 * on any other.
 */
#ifndef NIGHTJAR_NET_TLS_CONTEXT_H
#define NIGHTJAR_NET_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "net/address.h"

struct tls_certificate {
	const char *certfile; /* the chain, the server's own certificate first */
	const char *keyfile;
};

/* What the directives say. NULL: not set. Borrowed during the call that takes it. */
struct tls_settings {
	const char *listener; /* its name, for the log */
	const char *certfile, *keyfile;
	const struct tls_certificate
		*sni; /* further ones, chosen by the name the client asks for */
	size_t sni_count;
	const char *cafile, *capath; /* who signs clients' certificates */
	bool require_certificate;
	const char *crlfile;
	const char *tls_version; /* the lowest: "tlsv1.2" or "tlsv1.3" */
	const char *ciphers, *ciphers_tls13;
	const char *dhparamfile;
	const char *psk_hint, *psk_file; /* instead of, or beside, certificates */
	const char *ocsp_file;		 /* the answer of a certificate authority, in DER */
};

/* Which protocols are agreed on when the client asks by ALPN (or-ed). It need not ask. */
enum tls_alpn {
	TLS_ALPN_MQTT = 1 << 0, /* "mqtt", "x-amzn-mqtt-ca" */
	TLS_ALPN_HTTP = 1 << 1, /* "http/1.1" */
};

/* Any thread may use it; create, reload and destroy are the main thread's. */
struct tls_server;

/*
 * Reads and checks the files (never on a worker). detail names the file, what is wrong with it and
 * how to mend it. tls_server_reload() leaves everything as it was when it fails.
 */
enum err tls_server_create(const struct tls_settings *settings, struct tls_server **out,
			   struct err_detail *detail) ERR_CHECKED;
enum err tls_server_reload(struct tls_server *server, const struct tls_settings *settings,
			   struct err_detail *detail) ERR_CHECKED;
/* After the workers ended. */
void tls_server_destroy(struct tls_server **server);

/* For --test-config: the files are read and checked, and nothing is kept. */
enum err tls_settings_check(const struct tls_settings *settings,
			    struct err_detail *detail) ERR_CHECKED;

/*
 * A server's SSL object for one connection on fd, about to shake hands. address (may be NULL: that of
 * the socket) stands in the log; it is borrowed until tls_forget_address(). NULL: no memory.
 */
SSL *tls_server_open(struct tls_server *server, int fd, unsigned alpn,
		     const struct address *address);
void tls_forget_address(SSL *ssl);

/*
 * theirs is an SSL_CTX that somebody else made (one vhost of one worker). From now on each handshake
 * on it is done with server's files, settings and ticket keys of that moment. Call it once; a reload
 * needs nothing more. Its own certificate, if it has one, is never shown.
 */
enum err tls_server_lend(struct tls_server *server, SSL_CTX *theirs, unsigned alpn) ERR_CHECKED;

/* Who the client is, by its certificate or pre-shared key. */
enum tls_name {
	TLS_NAME_IDENTITY, /* the certificate's common name, or the identity of the key */
	TLS_NAME_SUBJECT,  /* the certificate's whole subject, as RFC 2253 writes it */
};
#define TLS_NAME_BYTES 1024
/* out has TLS_NAME_BYTES. 0: there is none, or it is longer, or has a zero byte in it. Returns its length. */
size_t tls_peer_name(SSL *ssl, enum tls_name kind, char *out);

#endif
