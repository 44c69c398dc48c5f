/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls_peer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "net/tls_context.h"

/* Places in an SSL object. Frozen after tls_peer_prepare(). */
static int index_alpn = -1, index_address = -1, index_psk = -1;

static void free_text(void *parent, void *text, CRYPTO_EX_DATA *data, int index, long argl,
		      void *argp)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	OPENSSL_free(text);
}

bool tls_peer_prepare(void)
{
	if (index_alpn < 0) {
		index_alpn = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
		index_address = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
		index_psk = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_text);
	}
	return index_alpn >= 0 && index_address >= 0 && index_psk >= 0;
}

void tls_peer_set_alpn(SSL *ssl, unsigned alpn)
{
	SSL_set_ex_data(ssl, index_alpn, (void *)(uintptr_t)alpn);
}

unsigned tls_peer_alpn(const SSL *ssl)
{
	return (unsigned)(uintptr_t)SSL_get_ex_data(ssl, index_alpn);
}

void tls_peer_set_address(SSL *ssl, const struct address *address)
{
	SSL_set_ex_data(ssl, index_address, (void *)(uintptr_t)address);
}

const char *tls_peer_address(const SSL *ssl, char *out)
{
	const struct address *known = SSL_get_ex_data(ssl, index_address);
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof from;
	struct address address;

	if (known)
		return address_text(known, out);
	if (getpeername(SSL_get_fd(ssl), (struct sockaddr *)&from, &len) != 0)
		return NULL;
	address_set(&address, &from);
	return address_text(&address, out);
}

void tls_peer_set_psk(SSL *ssl, const char *identity)
{
	OPENSSL_free(SSL_get_ex_data(ssl, index_psk));
	SSL_set_ex_data(ssl, index_psk, identity ? OPENSSL_strdup(identity) : NULL);
}

/* Names. */

static size_t common_name(X509 *certificate, char *out)
{
	X509_NAME *subject = X509_get_subject_name(certificate);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *text = NULL;
	size_t used = 0;
	int len;

	if (at < 0)
		return 0;
	len = ASN1_STRING_to_UTF8(&text,
				  X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	/* "admin\0.example": a name that is read differently here and there is no name. */
	if (len > 0 && len < TLS_NAME_BYTES && !memchr(text, 0, (size_t)len)) {
		memcpy(out, text, (size_t)len);
		out[len] = '\0';
		used = (size_t)len;
	}
	OPENSSL_free(text);
	return used;
}

static size_t subject_text(X509 *certificate, char *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	size_t used = 0;
	char *text;
	long len;

	if (!bio)
		return 0;
	X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
	len = BIO_get_mem_data(bio, &text);
	if (len > 0 && len < TLS_NAME_BYTES) {
		memcpy(out, text, (size_t)len);
		out[len] = '\0';
		used = (size_t)len;
	}
	BIO_free(bio);
	return used;
}

size_t tls_peer_name(SSL *ssl, enum tls_name kind, char *out)
{
	X509 *certificate = SSL_get0_peer_certificate(ssl);
	const char *psk = SSL_get_ex_data(ssl, index_psk);

	out[0] = '\0';
	if (certificate)
		return kind == TLS_NAME_SUBJECT ? subject_text(certificate, out)
						: common_name(certificate, out);
	if (!psk || kind != TLS_NAME_IDENTITY || strlen(psk) >= TLS_NAME_BYTES)
		return 0;
	strcpy(out, psk);
	return strlen(psk);
}

/* What went wrong. */

static const char *verify_problem(int error)
{
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED: return "it has expired";
	case X509_V_ERR_CERT_NOT_YET_VALID: return "it is not valid yet";
	case X509_V_ERR_CERT_REVOKED: return "it has been revoked";
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_CERT_UNTRUSTED:
		return "it is signed by an unknown CA, one that is not in cafile or capath";
	case X509_V_ERR_UNABLE_TO_GET_CRL: return "crlfile has no list of the CA that signed it";
	case X509_V_ERR_CRL_HAS_EXPIRED: return "the list in crlfile has expired: fetch a new one";
	case X509_V_ERR_CRL_NOT_YET_VALID: return "the list in crlfile is not valid yet";
	default: return X509_verify_cert_error_string(error);
	}
}

static void serial_text(const X509 *certificate, char *out, size_t cap)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
	char *digits = number ? BN_bn2hex(number) : NULL;

	snprintf(out, cap, "%s", digits ? digits : "?");
	OPENSSL_free(digits);
	BN_free(number);
}

int tls_peer_on_verify(int is_fine, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509 *certificate = X509_STORE_CTX_get_current_cert(store);
	char subject[TLS_NAME_BYTES] = "", serial[80] = "?", address[ADDRESS_TEXT_BYTES];
	struct log_fields fields = {0};

	if (is_fine)
		return 1;
	if (certificate) {
		subject_text(certificate, subject);
		serial_text(certificate, serial, sizeof serial);
	}
	fields.address = tls_peer_address(ssl, address);
	fields.reason = verify_problem(X509_STORE_CTX_get_error(store));
	log_event(LOG_TYPE_NOTICE, &fields, "Certificate refused (%s, serial number %s)", subject,
		  serial);
	return 0;
}

static const char *usual_reason(unsigned long code)
{
	switch (ERR_GET_REASON(code)) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "the client has no certificate, and require_certificate is true";
	case SSL_R_NO_SHARED_CIPHER: return "the client offers no cipher that is allowed here";
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_UNKNOWN_PROTOCOL: return "the client's TLS version is older than tls_version";
	case SSL_R_NO_APPLICATION_PROTOCOL:
		return "the client asked by ALPN for a protocol that is not served here";
	case SSL_R_HTTP_REQUEST:
	case SSL_R_WRONG_VERSION_NUMBER: return "what the client sent is not TLS";
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
		return "the client does not trust our certificate (unknown CA)";
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
		return "the client does not accept our certificate (a bad certificate)";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
		return "the client does not accept our certificate (expired)";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
		return "the client does not accept our certificate (revoked)";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
		return "the client does not accept our certificate";
	case SSL_R_PSK_IDENTITY_NOT_FOUND:
		return "the client's pre-shared key has an identity that is not in psk_file";
	case SSL_R_DIGEST_CHECK_FAILED:
	case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
	case SSL_R_BINDER_DOES_NOT_VERIFY:
		return "a message did not decrypt: with pre-shared keys, the client has another key";
	default: return NULL;
	}
}

const char *tls_peer_why(const SSL *ssl, int error, char *out)
{
	int saved = errno;
	unsigned long code = ERR_peek_error();
	const char *usual = code ? usual_reason(code) : NULL;
	const char *words = code ? ERR_reason_error_string(code) : NULL;

	(void)ssl;
	ERR_clear_error();
	if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED &&
	    ERR_GET_LIB(code) == ERR_LIB_SSL)
		return NULL;
	if (usual)
		snprintf(out, TLS_WHY_BYTES, "%s", usual);
	else if (words)
		snprintf(out, TLS_WHY_BYTES, "%s", words);
	else if (error == SSL_ERROR_SYSCALL && saved)
		snprintf(out, TLS_WHY_BYTES, "%s", strerror(saved));
	else
		snprintf(out, TLS_WHY_BYTES, "the client closed the connection");
	return out;
}
