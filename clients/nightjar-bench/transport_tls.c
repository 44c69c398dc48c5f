/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_tls.c - TLS on the descriptor.
 *
 * The handshake happens within the first writes and reads. OpenSSL reads ahead, so that many small
 * records cost one system call.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "fail.h"
#include "options.h"
#include "transport.h"

enum { READ_AHEAD_BYTES = 64 * 1024 };

/* What OpenSSL says, as the words of our own error. */
_Noreturn static void fail_tls(const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	fail("%s: %s", what, reason ? reason : "the connection ended");
}

void endpoint_init_tls(struct endpoint *endpoint, const struct options *options)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (!tls)
		fail_tls("cannot use TLS");
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(tls, 1);
	SSL_CTX_set_default_read_buffer_len(tls, READ_AHEAD_BYTES);
	if (options->ca_file && SSL_CTX_load_verify_locations(tls, options->ca_file, NULL) != 1)
		fail_tls("cannot read the certificates of --ca");
	if (!options->ca_file)
		SSL_CTX_set_default_verify_paths(tls);
	SSL_CTX_set_verify(tls, options->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	endpoint->tls = tls;
}

/* The name in the certificate, or the address. */
static void expect_name(SSL *ssl, const char *name)
{
	struct in6_addr address;

	if (inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1) {
		X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
		return;
	}
	SSL_set_tlsext_host_name(ssl, name);
	SSL_set1_host(ssl, name);
}

static int tls_open(struct transport *transport)
{
	const struct endpoint *endpoint = transport->endpoint;

	if (transport_tcp_open(transport) < 0)
		return -1;
	transport->ssl = SSL_new(endpoint->tls);
	if (!transport->ssl || SSL_set_fd(transport->ssl, transport->fd) != 1)
		fail_tls("cannot use TLS");
	expect_name(transport->ssl, endpoint->server_name);
	SSL_set_connect_state(transport->ssl);
	return 0;
}

/* What became of a call that gave `result` <= 0, as recv and send would say it. */
static ssize_t tls_result(struct transport *transport, int result)
{
	int error = SSL_get_error(transport->ssl, result);

	switch (error) {
	case SSL_ERROR_WANT_WRITE: transport->wants_write = true; __attribute__((fallthrough));
	case SSL_ERROR_WANT_READ: errno = EAGAIN; return -1;
	case SSL_ERROR_ZERO_RETURN: return 0;
	case SSL_ERROR_SYSCALL: return errno ? -1 : 0;
	default: break;
	}
	/* Ended without a farewell, which is the broker's right after our DISCONNECT. */
	if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		return 0;
	}
	fail_tls("TLS with the broker fails");
}

/* As many records as have arrived and fit. */
static ssize_t tls_read(struct transport *transport, void *into, size_t room)
{
	size_t length = 0;
	int got = 1;

	while (length < room && got > 0) {
		size_t left = room - length;

		errno = 0;
		got = SSL_read(transport->ssl, (uint8_t *)into + length,
			       left > INT32_MAX ? INT32_MAX : (int)left);
		if (got > 0)
			length += (size_t)got;
		/* What is not here already is another read's. */
		if (!SSL_has_pending(transport->ssl))
			break;
	}
	return length ? (ssize_t)length : tls_result(transport, got);
}

static ssize_t tls_write(struct transport *transport, const void *from, size_t count)
{
	size_t sent = 0;
	int took = 1;

	transport->wants_write = false;
	while (sent < count && took > 0) {
		size_t left = count - sent;

		errno = 0;
		took = SSL_write(transport->ssl, (const uint8_t *)from + sent,
				 left > INT32_MAX ? INT32_MAX : (int)left);
		if (took > 0)
			sent += (size_t)took;
	}
	if (took <= 0) {
		ssize_t result = tls_result(transport, took);

		return sent ? (ssize_t)sent : result;
	}
	return (ssize_t)sent;
}

static void tls_close(struct transport *transport)
{
	SSL_free(transport->ssl);
	transport->ssl = NULL;
	transport_tcp_close(transport);
}

const struct transport_ops transport_tls = {
	.open = tls_open,
	.read = tls_read,
	.write = tls_write,
	.close = tls_close,
};
