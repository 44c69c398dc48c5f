/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/ssl.h>

#include "net/client_hello.h"

static uint8_t hello[8192];
static size_t hello_len;

/* What a client of OpenSSL sends; alpn in wire form, "" for none. */
static void hello_make(const char *alpn)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *out = BIO_new(BIO_s_mem());

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	SSL_set_tlsext_host_name(ssl, "broker.example");
	if (*alpn)
		SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	(void)SSL_connect(ssl);
	hello_len = (size_t)BIO_read(out, hello, sizeof hello);
	assert_in_range(hello_len, 100, sizeof hello - 1000);
	SSL_free(ssl);
	SSL_CTX_free(context);
}

static void what_the_client_asks_for_by_alpn_is_found(void **unused)
{
	static const struct {
		const char *alpn;
		bool mqtt, http;
	} rows[] = {
		{"", false, false},
		{"\x08http/1.1", false, true},
		{"\x02h2\x08http/1.1", false, true},
		{"\x04mqtt", true, false},
		{"\x0ex-amzn-mqtt-ca", true, false},
		{"\x08http/1.1\x04mqtt", true, true},
		{"\x02h2\x05mqtt5\x08http/1.0", false, false},
	};
	struct client_hello out;

	(void)unused;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		hello_make(rows[i].alpn);
		assert_int_equal(client_hello_parse(slice_of(hello, hello_len), &out),
				 CLIENT_HELLO_DONE);
		assert_int_equal(out.asks_for_mqtt, rows[i].mqtt);
		assert_int_equal(out.asks_for_http, rows[i].http);
	}
}

static void a_beginning_needs_more_and_never_too_much(void **unused)
{
	struct client_hello out;

	(void)unused;
	hello_make("\x08http/1.1");
	for (size_t len = 0; len < hello_len; len++) {
		assert_int_equal(client_hello_parse(slice_of(hello, len), &out),
				 CLIENT_HELLO_NEED_MORE);
		assert_in_range(out.wanted, len + 1, hello_len);
	}
}

/* The same message, a record for every so many bytes of it. */
static size_t cut_into_records(uint8_t *out, size_t piece)
{
	size_t used = 0;

	for (size_t at = 5; at < hello_len; at += piece) {
		size_t len = hello_len - at < piece ? hello_len - at : piece;
		uint8_t head[5] = {22, 3, 1, (uint8_t)(len >> 8), (uint8_t)len};

		memcpy(out + used, head, 5);
		memcpy(out + used + 5, hello + at, len);
		used += 5 + len;
	}
	return used;
}

static void a_message_may_be_cut_into_records_in_every_way(void **unused)
{
	static uint8_t records[6 * sizeof hello];
	struct client_hello out;

	(void)unused;
	hello_make("\x08http/1.1");
	for (size_t piece = 1; piece < 40; piece++) {
		size_t len = cut_into_records(records, piece);

		assert_int_equal(client_hello_parse(slice_of(records, len), &out),
				 CLIENT_HELLO_DONE);
		assert_true(out.asks_for_http);
		assert_int_equal(client_hello_parse(slice_of(records, len - 1), &out),
				 CLIENT_HELLO_NEED_MORE);
	}
}

static void what_is_no_client_hello_is_left_to_openssl(void **unused)
{
	static const uint8_t alert[] = {21, 3, 1, 0, 2, 1, 0};
	static const uint8_t empty[] = {22, 3, 1, 0, 0, 22, 3, 1};
	static const uint8_t server[] = {22, 3, 3, 0, 4, 2, 0, 0, 0};
	static const uint8_t version[] = {22, 2, 1, 0, 4, 1, 0, 0, 0};
	struct client_hello out;

	(void)unused;
	assert_int_equal(client_hello_parse(slice_of(alert, sizeof alert), &out), CLIENT_HELLO_BAD);
	assert_int_equal(client_hello_parse(slice_of(empty, sizeof empty), &out), CLIENT_HELLO_BAD);
	assert_int_equal(client_hello_parse(slice_of(server, sizeof server), &out),
			 CLIENT_HELLO_BAD);
	assert_int_equal(client_hello_parse(slice_of(version, sizeof version), &out),
			 CLIENT_HELLO_BAD);
	/* Lengths inside that contradict those around them. */
	hello_make("\x08http/1.1");
	hello[5 + 4 + 34] = 255;
	assert_int_equal(client_hello_parse(slice_of(hello, hello_len), &out), CLIENT_HELLO_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_client_asks_for_by_alpn_is_found),
		cmocka_unit_test(a_beginning_needs_more_and_never_too_much),
		cmocka_unit_test(a_message_may_be_cut_into_records_in_every_way),
		cmocka_unit_test(what_is_no_client_hello_is_left_to_openssl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
