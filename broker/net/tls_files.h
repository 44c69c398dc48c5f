/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_files.h - certificates, keys, lists of revocation and pre-shared keys, read from files.
 *
 * Each function says in detail which file it was about (what: the directive's name), what is wrong,
 * and how to mend it. They block, so no worker calls them. Used by tls_context.c only.
 */
#ifndef NIGHTJAR_NET_TLS_FILES_H
#define NIGHTJAR_NET_TLS_FILES_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A certificate, what it is signed by, and its key. */
struct tls_pair {
	X509 *leaf;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
};

enum err tls_pair_load(const char *certfile, const char *keyfile, struct tls_pair *out,
		       struct err_detail *detail) ERR_CHECKED;
void tls_pair_free(struct tls_pair *pair);

/* Is the certificate within its time? If not, detail says since when or from when on. */
enum err tls_certificate_check_time(const X509 *leaf, const char *file,
				    struct err_detail *detail) ERR_CHECKED;

enum err tls_trust_load(X509_STORE *store, const char *cafile, const char *capath,
			const char *crlfile, struct err_detail *detail) ERR_CHECKED;
enum err tls_dh_load(SSL_CTX *context, const char *file, struct err_detail *detail) ERR_CHECKED;

struct tls_bytes {
	unsigned char *data; /* from OPENSSL_malloc() */
	size_t len;
};

/* An OCSP response that is about leaf. */
enum err tls_ocsp_load(const char *file, X509 *leaf, struct tls_bytes *out,
		       struct err_detail *detail) ERR_CHECKED;

/* psk_file: one "identity:key in hexadecimal digits" a line. */
struct tls_psk {
	char *identity;
	struct tls_bytes key;
};
struct tls_psk_list {
	struct tls_psk *keys; /* sorted by identity */
	size_t count;
};

enum err tls_psk_load(const char *file, struct tls_psk_list *out,
		      struct err_detail *detail) ERR_CHECKED;
void tls_psk_free(struct tls_psk_list *list);
/* NULL: nobody has this identity. */
const struct tls_psk *tls_psk_find(const struct tls_psk_list *list, const char *identity);

/*
 * A digest of everything that decides whether a client's certificate is trusted: when one of these
 * files changes, sessions that were begun before are not resumed. out has 32 bytes.
 */
void tls_trust_digest(const char *salt, const char *cafile, const char *capath, const char *crlfile,
		      unsigned char *out);

#endif
