/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"

struct ticket_key {
	unsigned char name[16]; /* stands in the ticket, and says which key it is */
	unsigned char seal[32]; /* AES-256-CBC */
	unsigned char sign[32]; /* HMAC-SHA256 */
	uint64_t until_ms;	/* seals no more afterwards; 0: no key */
};

/* Guarded by lock, which is held for copying one of them: nothing beside a handshake. */
static struct {
	pthread_mutex_t lock;
	struct ticket_key now, before;
} keys = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool key_make(struct ticket_key *key, uint64_t now_ms)
{
	key->until_ms = now_ms + TLS_TICKET_KEY_S * 1000u;
	return RAND_bytes(key->name, sizeof key->name) == 1 &&
	       RAND_priv_bytes(key->seal, sizeof key->seal) == 1 &&
	       RAND_priv_bytes(key->sign, sizeof key->sign) == 1;
}

/* The key that seals now. false: there is no randomness, so no ticket either. */
static bool key_to_seal(struct ticket_key *out)
{
	uint64_t now_ms = clock_now_ms();
	bool is_there = true;

	pthread_mutex_lock(&keys.lock);
	if (now_ms >= keys.now.until_ms) {
		keys.before = keys.now;
		is_there = key_make(&keys.now, now_ms);
		if (!is_there)
			keys.now.until_ms = 0;
	}
	*out = keys.now;
	pthread_mutex_unlock(&keys.lock);
	return is_there;
}

/* 0: unknown, 1: the present key, 2: an older one, so that the client gets a new ticket. */
static int key_to_open(const unsigned char *name, struct ticket_key *out)
{
	uint64_t now_ms = clock_now_ms();
	int found = 0;

	pthread_mutex_lock(&keys.lock);
	if (keys.now.until_ms && memcmp(name, keys.now.name, sizeof keys.now.name) == 0) {
		*out = keys.now;
		found = now_ms < keys.now.until_ms ? 1 : 2;
	} else if (now_ms < keys.before.until_ms + TLS_TICKET_KEY_S * 1000u &&
		   keys.before.until_ms &&
		   memcmp(name, keys.before.name, sizeof keys.before.name) == 0) {
		*out = keys.before;
		found = 2;
	}
	pthread_mutex_unlock(&keys.lock);
	return found;
}

static bool sign_with(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->sign,
						  sizeof key->sign),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

static int on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
			 EVP_MAC_CTX *mac, int is_sealing)
{
	struct ticket_key key;
	int result = 1;

	(void)ssl;
	if (is_sealing) {
		if (!key_to_seal(&key) || RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
			return 0;
		memcpy(name, key.name, sizeof key.name);
		if (EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.seal, iv) != 1)
			result = -1;
	} else {
		result = key_to_open(name, &key);
		if (result &&
		    EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.seal, iv) != 1)
			result = -1;
	}
	if (result > 0 && !sign_with(mac, &key))
		result = -1;
	OPENSSL_cleanse(&key, sizeof key);
	return result;
}

/* The certificate was verified when the session began; only its time has gone on since. */
static SSL_TICKET_RETURN on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
					  size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
	X509 *peer = session ? SSL_SESSION_get0_peer(session) : NULL;

	(void)ssl;
	(void)name;
	(void)name_len;
	(void)arg;
	if (peer && X509_cmp_current_time(X509_get0_notAfter(peer)) < 0)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	switch (status) {
	case SSL_TICKET_SUCCESS: return SSL_TICKET_RETURN_USE;
	case SSL_TICKET_SUCCESS_RENEW: return SSL_TICKET_RETURN_USE_RENEW;
	default: return SSL_TICKET_RETURN_IGNORE_RENEW;
	}
}

void tls_tickets_use(SSL_CTX *context)
{
	SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket_key);
	SSL_CTX_set_session_ticket_cb(context, NULL, on_ticket_opened, NULL);
	/* The one kind of session that all workers, and a later SSL_CTX, can take up. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(context, 1);
}
