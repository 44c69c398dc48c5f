/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_tls.c - TLS on the connection's own descriptor.
 *
 * OpenSSL reads and writes the socket itself, so that between two turns it holds no buffer for a
 * connection that is idle. The price is that bytes may wait inside it while the socket is empty:
 * has_pending() says so, and connection.c then reads without being asked to by the poll.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/memory.h"
#include "net/connection.h"
#include "net/transport_tls.h"

static SSL *ssl_of(const struct connection *conn)
{
	return conn->transport_state;
}

/* As read(2) and write(2) tell it: 0 at the end of the stream, or -1 and errno. */
static ssize_t outcome(struct connection *conn, int result, uint16_t other_way)
{
	int saved = errno;

	switch (SSL_get_error(ssl_of(conn), result)) {
	case SSL_ERROR_ZERO_RETURN: return 0;
	case SSL_ERROR_WANT_READ:
		if (other_way == CONNECTION_WRITE_WANTS_READ)
			conn->flags |= other_way;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		if (other_way == CONNECTION_READ_WANTS_WRITE)
			conn->flags |= other_way;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_SYSCALL:
		ERR_clear_error();
		errno = saved ? saved : ECONNRESET;
		break;
	default:
		ERR_clear_error();
		errno = ECONNABORTED;
		break;
	}
	/* Nothing may be sent any more, not even a goodbye. */
	SSL_set_quiet_shutdown(ssl_of(conn), 1);
	return -1;
}

/* Several records make one read, as long as they are here. */
static ssize_t tls_read(struct connection *conn, void *out, size_t cap)
{
	SSL *ssl = ssl_of(conn);
	size_t got = 0, part;
	int result;

	conn->flags &= (uint16_t)~CONNECTION_READ_WANTS_WRITE;
	ERR_clear_error();
	errno = 0;
	do {
		result = SSL_read_ex(ssl, (char *)out + got, cap - got, &part);
		if (result != 1)
			break;
		got += part;
	} while (got < cap && SSL_has_pending(ssl));
	if (!got)
		return outcome(conn, result, CONNECTION_READ_WANTS_WRITE);
	if (result != 1 && SSL_get_error(ssl, result) == SSL_ERROR_SSL) {
		/* What came before the damage is good; the next read tells the end. */
		ERR_clear_error();
		SSL_set_quiet_shutdown(ssl, 1);
		SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	}
	return (ssize_t)got;
}

static bool tls_has_pending(const struct connection *conn)
{
	const SSL *ssl = ssl_of(conn);

	/* A piece of a record counts as pending too, but nothing can be read of it before the rest. */
	return (SSL_has_pending(ssl) && !SSL_want_read(ssl)) ||
	       (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);
}

/* A record holds 16 KiB; with partial writes each call writes one. */
static ssize_t tls_write(struct connection *conn, const void *bytes, size_t len)
{
	SSL *ssl = ssl_of(conn);
	size_t sent = 0, part;
	int result = 1;

	conn->flags &= (uint16_t)~CONNECTION_WRITE_WANTS_READ;
	ERR_clear_error();
	errno = 0;
	while (sent < len) {
		result = SSL_write_ex(ssl, (const char *)bytes + sent, len - sent, &part);
		if (result != 1)
			break;
		sent += part;
	}
	if (result == 1)
		return (ssize_t)sent;
	if (sent) {
		/* Tells which way to wait; an error comes again with the next write. */
		(void)outcome(conn, result, CONNECTION_WRITE_WANTS_READ);
		return (ssize_t)sent;
	}
	if (outcome(conn, result, CONNECTION_WRITE_WANTS_READ) == 0)
		errno = EPIPE;
	return -1;
}

static void tls_close(struct connection *conn)
{
	transport_tls_free(ssl_of(conn));
	conn->transport_state = NULL;
}

void transport_tls_charge(void)
{
	memory_charge(MEMORY_INPUT, TRANSPORT_TLS_BYTES);
}

void transport_tls_free(SSL *ssl)
{
	if (!ssl)
		return;
	if (SSL_is_init_finished(ssl) && !SSL_get_quiet_shutdown(ssl)) {
		ERR_clear_error();
		(void)SSL_shutdown(ssl);
	}
	SSL_free(ssl);
	ERR_clear_error();
	memory_uncharge(MEMORY_INPUT, TRANSPORT_TLS_BYTES);
}

static SSL *tls_of(const struct connection *conn)
{
	return ssl_of(conn);
}

const struct transport transport_tls = {
	.name = "tls",
	.read = tls_read,
	.write = tls_write,
	.has_pending = tls_has_pending,
	.tls = tls_of,
	.close = tls_close,
};
