/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_context.c - one SSL_CTX per listener and reload, and what OpenSSL asks us during a handshake.
 *
 * Whatever a handshake needs hangs on the SSL_CTX (struct material), so that it lives as long as the
 * last connection that began with it, and nobody has to count.
 */
#include "net/tls_context.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/log.h"
#include "base/rcu.h"
#include "net/tls_files.h"
#include "net/tls_peer.h"
#include "net/tls_tickets.h"

/* Beside what OpenSSL keeps itself. Owned by its SSL_CTX, frozen. */
struct material {
	struct tls_pair own; /* leaf NULL: pre-shared keys only */
	struct tls_pair *sni;
	size_t sni_count;
	struct tls_bytes ocsp;
	struct tls_psk_list psk;
	unsigned char session_id_context[32];
};

/* Of a listener; lives longer than any handshake. */
struct tls_server {
	SSL_CTX *context; /* read under RCU; written by the main thread */
};

/* Of an SSL_CTX that somebody else made; owned by it. */
struct loan {
	struct tls_server *server;
	unsigned alpn;
};

static int index_material = -1, index_loan = -1;

static struct material *material_of(const SSL_CTX *context)
{
	return SSL_CTX_get_ex_data(context, index_material);
}

static void material_free(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argl,
			  void *argp)
{
	struct material *material = pointer;

	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	if (!material)
		return;
	tls_pair_free(&material->own);
	for (size_t i = 0; i < material->sni_count; i++)
		tls_pair_free(&material->sni[i]);
	free(material->sni);
	OPENSSL_free(material->ocsp.data);
	tls_psk_free(&material->psk);
	free(material);
}

static void loan_free(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long argl,
		      void *argp)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	free(pointer);
}

static bool prepare(void)
{
	if (index_material < 0) {
		index_material = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, material_free);
		index_loan = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, loan_free);
	}
	return index_material >= 0 && index_loan >= 0 && tls_peer_prepare();
}

/* What OpenSSL asks. */

struct protocol {
	const char *name;
	unsigned alpn;
};

static const struct protocol protocols[] = {
	{"mqtt", TLS_ALPN_MQTT},
	{"x-amzn-mqtt-ca", TLS_ALPN_MQTT},
	{"http/1.1", TLS_ALPN_HTTP},
};

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned allowed = tls_peer_alpn(ssl);

	(void)arg;
	for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
		size_t len = strlen(protocols[i].name);

		if (!(protocols[i].alpn & allowed))
			continue;
		for (unsigned at = 0; at < in_len; at += 1u + in[at]) {
			if (in[at] != len || at + 1 + len > in_len ||
			    memcmp(in + at + 1, protocols[i].name, len) != 0)
				continue;
			*out = in + at + 1;
			*out_len = (unsigned char)len;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/*
 * on_certificate() chooses by the name. This is here so that libwebsockets' own is not asked, which
 * looks for its vhost by the SSL_CTX in use and gives the process up when that is ours.
 */
static int on_name(SSL *ssl, int *alert, void *arg)
{
	(void)ssl;
	(void)alert;
	(void)arg;
	return SSL_TLSEXT_ERR_OK;
}

/* The certificate for the name that the client asks for; the listener's own when none fits. */
static int on_certificate(SSL *ssl, void *arg)
{
	const struct material *material = material_of(SSL_get_SSL_CTX(ssl));
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)arg;
	if (!name || !material || X509_check_host(material->own.leaf, name, 0, 0, NULL) == 1)
		return 1;
	for (size_t i = 0; i < material->sni_count; i++) {
		const struct tls_pair *pair = &material->sni[i];

		if (X509_check_host(pair->leaf, name, 0, 0, NULL) != 1)
			continue;
		SSL_certs_clear(ssl);
		return SSL_use_cert_and_key(ssl, pair->leaf, pair->key, pair->chain, 1) == 1;
	}
	return 1;
}

static int on_status(SSL *ssl, void *arg)
{
	const struct material *material = material_of(SSL_get_SSL_CTX(ssl));
	unsigned char *copy;

	(void)arg;
	if (!material || !material->ocsp.len || SSL_get_certificate(ssl) != material->own.leaf)
		return SSL_TLSEXT_ERR_NOACK;
	copy = OPENSSL_memdup(material->ocsp.data, material->ocsp.len);
	if (!copy)
		return SSL_TLSEXT_ERR_NOACK;
	SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)material->ocsp.len);
	return SSL_TLSEXT_ERR_OK;
}

static unsigned on_psk(SSL *ssl, const char *identity, unsigned char *out, unsigned cap)
{
	const struct material *material = material_of(SSL_get_SSL_CTX(ssl));
	const struct tls_psk *psk = material ? tls_psk_find(&material->psk, identity) : NULL;

	if (!psk || psk->key.len > cap)
		return 0;
	memcpy(out, psk->key.data, psk->key.len);
	tls_peer_set_psk(ssl, psk->identity);
	return (unsigned)psk->key.len;
}

/* Making one. */

static enum err refused(const struct tls_settings *settings, struct err_detail *detail,
			const char *option, const char *value, const char *mend)
{
	ERR_clear_error();
	return err_set(detail, ERR_INVALID, "Listener %s: '%s %s' cannot be used. %s",
		       settings->listener, option, value, mend);
}

static enum err set_versions(SSL_CTX *context, const struct tls_settings *settings,
			     struct err_detail *detail)
{
	const char *version = settings->tls_version;
	int lowest = TLS1_2_VERSION;

	if (version && strcmp(version, "tlsv1.3") == 0)
		lowest = TLS1_3_VERSION;
	else if (version && strcmp(version, "tlsv1.2") != 0)
		return refused(
			settings, detail, "tls_version", version,
			"The lowest version may be tlsv1.2 or tlsv1.3; older ones are unsafe "
			"and not offered.");
	SSL_CTX_set_min_proto_version(context, lowest);
	return ERR_NONE;
}

static enum err set_ciphers(SSL_CTX *context, const struct tls_settings *settings,
			    struct err_detail *detail)
{
	if (settings->ciphers && SSL_CTX_set_cipher_list(context, settings->ciphers) != 1)
		return refused(settings, detail, "ciphers", settings->ciphers,
			       "'openssl ciphers -v' lists what there is for TLS 1.2.");
	if (settings->ciphers_tls13 &&
	    SSL_CTX_set_ciphersuites(context, settings->ciphers_tls13) != 1)
		return refused(settings, detail, "ciphers_tls1.3", settings->ciphers_tls13,
			       "'openssl ciphers -v -tls1_3' lists what there is.");
	if (settings->dhparamfile)
		return tls_dh_load(context, settings->dhparamfile, detail);
	SSL_CTX_set_dh_auto(context, 1);
	return ERR_NONE;
}

static void set_behaviour(SSL_CTX *context)
{
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					     SSL_OP_CIPHER_SERVER_PREFERENCE |
					     SSL_OP_PRIORITIZE_CHACHA |
					     SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* An idle connection holds no buffers; what one write leaves over goes with the next. */
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* One read from the socket, and not one for each record's header and another for its body. */
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
	SSL_CTX_set_tlsext_servername_callback(context, on_name);
	tls_tickets_use(context);
}

/* An expired certificate is better than none at start, when there is nothing else to serve with. */
static enum err check_time(const X509 *leaf, const char *file, bool is_strict,
			   struct err_detail *detail)
{
	struct err_detail late;

	if (tls_certificate_check_time(leaf, file, &late) == ERR_NONE)
		return ERR_NONE;
	if (is_strict)
		return err_set(detail, ERR_INVALID, "%s", late.text);
	log_event(LOG_TYPE_WARNING, NULL, "%s", late.text);
	return ERR_NONE;
}

static enum err load_own(SSL_CTX *context, const struct tls_settings *settings,
			 struct material *material, bool is_strict, struct err_detail *detail)
{
	struct tls_pair *own = &material->own;
	enum err err;

	if (!settings->keyfile)
		return err_set(detail, ERR_INVALID,
			       "Listener %s has a certfile, and no keyfile that belongs to it.",
			       settings->listener);
	err = tls_pair_load(settings->certfile, settings->keyfile, own, detail);
	if (err == ERR_NONE)
		err = check_time(own->leaf, settings->certfile, is_strict, detail);
	if (err != ERR_NONE)
		return err;
	if (SSL_CTX_use_cert_and_key(context, own->leaf, own->key, own->chain, 1) != 1) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());

		(void)!err_set(detail, ERR_INVALID, "OpenSSL refuses the certificate in %s: %s.",
			       settings->certfile, reason ? reason : "no reason given");
		ERR_clear_error();
		return ERR_INVALID;
	}
	if (settings->ocsp_file) {
		err = tls_ocsp_load(settings->ocsp_file, own->leaf, &material->ocsp, detail);
		SSL_CTX_set_tlsext_status_cb(context, on_status);
	}
	return err;
}

static enum err load_sni(SSL_CTX *context, const struct tls_settings *settings,
			 struct material *material, bool is_strict, struct err_detail *detail)
{
	if (!settings->sni_count)
		return ERR_NONE;
	material->sni = calloc(settings->sni_count, sizeof *material->sni);
	if (!material->sni)
		return err_set(detail, ERR_NOMEM, "No memory for the certificates.");
	for (size_t i = 0; i < settings->sni_count; i++) {
		const struct tls_certificate *files = &settings->sni[i];
		struct tls_pair *pair = &material->sni[i];
		enum err err = tls_pair_load(files->certfile, files->keyfile, pair, detail);

		if (err != ERR_NONE)
			return err;
		material->sni_count++;
		err = check_time(pair->leaf, files->certfile, is_strict, detail);
		if (err != ERR_NONE)
			return err;
	}
	SSL_CTX_set_cert_cb(context, on_certificate, NULL);
	return ERR_NONE;
}

static enum err load_trust(SSL_CTX *context, const struct tls_settings *settings,
			   struct err_detail *detail)
{
	enum err err;

	if (settings->require_certificate && !settings->cafile && !settings->capath)
		return err_set(
			detail, ERR_INVALID,
			"Listener %s has 'require_certificate true', and neither a cafile nor "
			"a capath that says whose certificates are good.",
			settings->listener);
	err = tls_trust_load(SSL_CTX_get_cert_store(context), settings->cafile, settings->capath,
			     settings->crlfile, detail);
	if (err != ERR_NONE || !settings->require_certificate)
		return err;
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   tls_peer_on_verify);
	/* The client is told which authorities we know, so that it can choose among its own. */
	if (settings->cafile)
		SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(settings->cafile));
	ERR_clear_error();
	return ERR_NONE;
}

static enum err load_psk(SSL_CTX *context, const struct tls_settings *settings,
			 struct material *material, struct err_detail *detail)
{
	enum err err;

	if (!settings->psk_hint)
		return ERR_NONE;
	if (!settings->psk_file)
		return err_set(detail, ERR_INVALID,
			       "Listener %s has a psk_hint, and no psk_file that holds the keys.",
			       settings->listener);
	err = tls_psk_load(settings->psk_file, &material->psk, detail);
	if (err != ERR_NONE)
		return err;
	if (SSL_CTX_use_psk_identity_hint(context, settings->psk_hint) != 1)
		return refused(settings, detail, "psk_hint", settings->psk_hint,
			       "It is longer than OpenSSL takes.");
	SSL_CTX_set_psk_server_callback(context, on_psk);
	/* A resumed session would not say whose key it was begun with. */
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(context, 0);
	return ERR_NONE;
}

static enum err fill(SSL_CTX *context, const struct tls_settings *settings,
		     struct material *material, bool is_strict, struct err_detail *detail)
{
	enum err err;

	set_behaviour(context);
	err = set_versions(context, settings, detail);
	if (err == ERR_NONE)
		err = set_ciphers(context, settings, detail);
	if (err == ERR_NONE && settings->certfile)
		err = load_own(context, settings, material, is_strict, detail);
	if (err == ERR_NONE && settings->certfile)
		err = load_sni(context, settings, material, is_strict, detail);
	if (err == ERR_NONE)
		err = load_trust(context, settings, detail);
	if (err == ERR_NONE)
		err = load_psk(context, settings, material, detail);
	if (err != ERR_NONE)
		return err;
	tls_trust_digest(settings->require_certificate ? "required" : "open", settings->cafile,
			 settings->capath, settings->crlfile, material->session_id_context);
	SSL_CTX_set_session_id_context(context, material->session_id_context,
				       sizeof material->session_id_context);
	return ERR_NONE;
}

static enum err context_make(const struct tls_settings *settings, bool is_strict, SSL_CTX **out,
			     struct err_detail *detail)
{
	struct material *material = calloc(1, sizeof *material);
	SSL_CTX *context = prepare() && material ? SSL_CTX_new(TLS_server_method()) : NULL;
	enum err err;

	*out = NULL;
	if (!context || SSL_CTX_set_ex_data(context, index_material, material) != 1) {
		free(material);
		SSL_CTX_free(context);
		return err_set(detail, ERR_NOMEM, "No memory for the TLS of listener %s.",
			       settings->listener);
	}
	err = fill(context, settings, material, is_strict, detail);
	if (err != ERR_NONE)
		SSL_CTX_free(context); /* frees material as well */
	else
		*out = context;
	return err;
}

enum err tls_settings_check(const struct tls_settings *settings, struct err_detail *detail)
{
	SSL_CTX *context;
	enum err err = context_make(settings, true, &context, detail);

	SSL_CTX_free(context);
	return err;
}

enum err tls_server_create(const struct tls_settings *settings, struct tls_server **out,
			   struct err_detail *detail)
{
	struct tls_server *server = calloc(1, sizeof *server);
	enum err err;

	*out = NULL;
	if (!server)
		return err_set(detail, ERR_NOMEM, "No memory for the TLS of listener %s.",
			       settings->listener);
	err = context_make(settings, false, &server->context, detail);
	if (err != ERR_NONE)
		free(server);
	else
		*out = server;
	return err;
}

enum err tls_server_reload(struct tls_server *server, const struct tls_settings *settings,
			   struct err_detail *detail)
{
	SSL_CTX *fresh, *old;
	enum err err = context_make(settings, true, &fresh, detail);

	if (err != ERR_NONE)
		return err;
	old = rcu_exchange(&server->context, fresh);
	rcu_wait();
	SSL_CTX_free(old);
	return ERR_NONE;
}

void tls_server_destroy(struct tls_server **server)
{
	if (!*server)
		return;
	SSL_CTX_free((*server)->context);
	free(*server);
	*server = NULL;
}

/* Using it. */

/* The one in force, with a reference of the caller's. */
static SSL_CTX *current(struct tls_server *server)
{
	SSL_CTX *context;

	rcu_read_section_begin();
	context = rcu_load(server->context);
	BUG_ON(SSL_CTX_up_ref(context) != 1);
	rcu_read_section_end();
	return context;
}

SSL *tls_server_open(struct tls_server *server, int fd, unsigned alpn,
		     const struct address *address)
{
	SSL_CTX *context = current(server);
	SSL *ssl = SSL_new(context);

	SSL_CTX_free(context);
	if (!ssl || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	tls_peer_set_alpn(ssl, alpn);
	tls_peer_set_address(ssl, address);
	SSL_set_accept_state(ssl);
	return ssl;
}

void tls_forget_address(SSL *ssl)
{
	tls_peer_set_address(ssl, NULL);
}

/* What SSL_set_SSL_CTX() leaves as it was, because SSL_new() has copied it from the first one. */
static void take_over(SSL *ssl, SSL_CTX *context)
{
	const struct material *material = material_of(context);

	SSL_clear_options(ssl, SSL_get_options(ssl));
	SSL_set_options(ssl, SSL_CTX_get_options(context));
	SSL_set_min_proto_version(ssl, (int)SSL_CTX_get_min_proto_version(context));
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), SSL_CTX_get_verify_callback(context));
	SSL_set_session_id_context(ssl, material->session_id_context,
				   sizeof material->session_id_context);
	SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(context));
	if (material->psk.count)
		SSL_set_psk_server_callback(ssl, on_psk);
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
	const struct loan *loan = arg;
	SSL_CTX *context = current(loan->server);

	(void)alert;
	tls_peer_set_alpn(ssl, loan->alpn);
	if (SSL_set_SSL_CTX(ssl, context) != NULL)
		take_over(ssl, context);
	SSL_CTX_free(context);
	return SSL_CLIENT_HELLO_SUCCESS;
}

enum err tls_server_lend(struct tls_server *server, SSL_CTX *theirs, unsigned alpn)
{
	struct loan *loan = calloc(1, sizeof *loan);

	if (!loan || SSL_CTX_set_ex_data(theirs, index_loan, loan) != 1) {
		free(loan);
		return ERR_NOMEM;
	}
	loan->server = server;
	loan->alpn = alpn;
	SSL_CTX_set_client_hello_cb(theirs, on_client_hello, loan);
	/* Tickets are made and opened by the first SSL_CTX of a connection, which is theirs. */
	tls_tickets_use(theirs);
	SSL_CTX_set_mode(theirs, SSL_MODE_RELEASE_BUFFERS);
	return ERR_NONE;
}
