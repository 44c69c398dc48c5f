/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/password_hash.h"

#include <argon2.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>

#include "auth/base64.h"
#include "base/bug.h"

#define SHA512_BYTES 64
/* As mosquitto_passwd: its readers of `$6$` take salts of any length, its writers make this one. */
#define SHA512_SALT_BYTES 12
#define ARGON2_SALT_BYTES 16
#define ARGON2_HASH_BYTES 32
#define ARGON2_HASH_MIN 16

/*
 * Defaults for new hashes. PBKDF2 stays readable by mosquitto, and its 10,000 rounds (some 5 ms)
 * weigh the cost of guessing against a fleet that reconnects all at once. Argon2id: the smallest
 * of the settings that OWASP recommends in its password storage cheat sheet.
 */
#define PBKDF2_DEFAULT_ITERATIONS 10000u
#define ARGON2_DEFAULT_PASSES 2u
#define ARGON2_DEFAULT_MEMORY_KIB 19456u
#define ARGON2_DEFAULT_LANES 1u

/* Cuts the field before the next '$' (or the end) off the front of rest. */
static struct slice next_field(struct slice *rest)
{
	const uint8_t *dollar = rest->len ? memchr(rest->data, '$', rest->len) : NULL;
	size_t len = dollar ? (size_t)(dollar - rest->data) : rest->len;
	struct slice field = slice_of(rest->data, len);

	rest->data += dollar ? len + 1 : len;
	rest->len -= dollar ? len + 1 : len;
	return field;
}

/* A decimal number without sign or leading zero, from 1 to max. */
static bool parse_number(struct slice text, uint32_t max, uint32_t *out)
{
	uint64_t value = 0;

	if (text.len == 0 || text.len > 10 || text.data[0] == '0')
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		value = value * 10 + (text.data[i] - '0');
	}
	*out = (uint32_t)value;
	return value <= max;
}

/* SALT$HASH, which ends every scheme's text. */
static enum err parse_salt_and_hash(struct slice rest, enum base64_padding padding,
				    struct password_hash *out, struct err_detail *detail)
{
	struct slice salt_text = next_field(&rest);
	int salt_len = base64_decode(salt_text, padding, out->salt, sizeof out->salt);
	int hash_len = base64_decode(rest, padding, out->hash, sizeof out->hash);

	if (rest.len == 0)
		return err_set(detail, ERR_INVALID, "the password hash ends too early");
	if (salt_len <= 0)
		return err_set(detail, ERR_INVALID,
			       "the salt of the password hash is not Base64 of 1 to %d bytes",
			       PASSWORD_SALT_MAX);
	if (hash_len <= 0)
		return err_set(detail, ERR_INVALID, "the password hash is not Base64");
	out->salt_len = (uint8_t)salt_len;
	out->hash_len = (uint8_t)hash_len;
	return ERR_NONE;
}

static enum err parse_sha512(struct slice rest, struct password_hash *out,
			     struct err_detail *detail)
{
	enum err err = parse_salt_and_hash(rest, BASE64_PADDED, out, detail);

	if (err)
		return err;
	if (out->hash_len != SHA512_BYTES)
		return err_set(detail, ERR_INVALID,
			       "the password hash has %u bytes where SHA-512 makes %d",
			       (unsigned)out->hash_len, SHA512_BYTES);
	return ERR_NONE;
}

static enum err parse_pbkdf2(struct slice rest, struct password_hash *out,
			     struct err_detail *detail)
{
	if (!parse_number(next_field(&rest), PASSWORD_ITERATIONS_MAX, &out->iterations))
		return err_set(
			detail, ERR_INVALID,
			"the iterations of the $7$ password hash are not a number from 1 to %u",
			PASSWORD_ITERATIONS_MAX);
	return parse_sha512(rest, out, detail);
}

/* One of "m=19456,t=2,p=1", cut off the front of rest. */
static bool parse_argon2_parameter(struct slice *rest, const char *key, uint32_t max, uint32_t *out)
{
	const uint8_t *comma = rest->len ? memchr(rest->data, ',', rest->len) : NULL;
	size_t len = comma ? (size_t)(comma - rest->data) : rest->len;
	bool ok = len > 2 && memcmp(rest->data, key, 2) == 0 &&
		  parse_number(slice_of(rest->data + 2, len - 2), max, out);

	rest->data += comma ? len + 1 : len;
	rest->len -= comma ? len + 1 : len;
	return ok;
}

static bool parse_argon2_parameters(struct slice text, struct password_hash *out)
{
	/* A comma at the end would announce a fourth parameter. */
	if (text.len == 0 || text.data[text.len - 1] == ',')
		return false;
	return parse_argon2_parameter(&text, "m=", PASSWORD_ARGON2_MEMORY_MAX_KIB,
				      &out->memory_kib) &&
	       parse_argon2_parameter(&text, "t=", PASSWORD_ARGON2_TIME_MAX, &out->iterations) &&
	       parse_argon2_parameter(&text, "p=", PASSWORD_ARGON2_LANES_MAX, &out->lanes) &&
	       text.len == 0 && out->memory_kib >= 8 * out->lanes;
}

static enum err parse_argon2id(struct slice rest, struct password_hash *out,
			       struct err_detail *detail)
{
	enum err err;

	if (!slice_equal_string(next_field(&rest), "v=19"))
		return err_set(
			detail, ERR_UNSUPPORTED,
			"the argon2id hash is not of version 19 (v=19), the only one supported");
	if (!parse_argon2_parameters(next_field(&rest), out))
		return err_set(detail, ERR_INVALID,
			       "the argon2id parameters are not m=KIB,t=PASSES,p=LANES with "
			       "m from 8*p to %u, t to %u and p to %u",
			       PASSWORD_ARGON2_MEMORY_MAX_KIB, PASSWORD_ARGON2_TIME_MAX,
			       PASSWORD_ARGON2_LANES_MAX);
	err = parse_salt_and_hash(rest, BASE64_UNPADDED, out, detail);
	if (err)
		return err;
	if (out->salt_len < ARGON2_MIN_SALT_LENGTH || out->hash_len < ARGON2_HASH_MIN)
		return err_set(detail, ERR_INVALID,
			       "the argon2id salt is shorter than %u bytes or its hash than %d",
			       ARGON2_MIN_SALT_LENGTH, ARGON2_HASH_MIN);
	return ERR_NONE;
}

enum err password_hash_parse(struct slice text, struct password_hash *out,
			     struct err_detail *detail)
{
	struct slice rest = text;
	struct slice scheme;

	*out = (struct password_hash){0};
	if (text.len == 0)
		return err_set(detail, ERR_INVALID, "there is no password hash");
	if (next_field(&rest).len != 0 || rest.len == 0)
		return err_set(detail, ERR_INVALID, "the password is not hashed");
	scheme = next_field(&rest);
	if (slice_equal_string(scheme, "6")) {
		out->scheme = PASSWORD_SHA512;
		return parse_sha512(rest, out, detail);
	}
	if (slice_equal_string(scheme, "7")) {
		out->scheme = PASSWORD_PBKDF2_SHA512;
		return parse_pbkdf2(rest, out, detail);
	}
	if (slice_equal_string(scheme, "argon2id")) {
		out->scheme = PASSWORD_ARGON2ID;
		return parse_argon2id(rest, out, detail);
	}
	return err_set(
		detail, ERR_UNSUPPORTED,
		"the password hash is of an unknown kind; $6$, $7$ and $argon2id$ are known");
}

static bool digest_sha512(struct slice password, const struct password_hash *hash, uint8_t *out)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	bool ok = digest && EVP_DigestInit_ex(digest, EVP_sha512(), NULL) == 1 &&
		  EVP_DigestUpdate(digest, password.data, password.len) == 1 &&
		  EVP_DigestUpdate(digest, hash->salt, hash->salt_len) == 1 &&
		  EVP_DigestFinal_ex(digest, out, NULL) == 1;

	EVP_MD_CTX_free(digest);
	return ok;
}

static bool digest_pbkdf2(struct slice password, const struct password_hash *hash, uint8_t *out)
{
	return PKCS5_PBKDF2_HMAC((const char *)password.data, (int)password.len, hash->salt,
				 hash->salt_len, (int)hash->iterations, EVP_sha512(),
				 hash->hash_len, out) == 1;
}

static bool digest_argon2id(struct slice password, const struct password_hash *hash, uint8_t *out)
{
	/*
	 * The library only reads the password and the salt: the flags that would clear them are not
	 * set. It works with one thread whatever p says: the result is the same, and the broker's
	 * pool decides how many processors go into passwords.
	 */
	argon2_context context = {
		.out = out,
		.outlen = hash->hash_len,
		.pwd = (uint8_t *)(uintptr_t)password.data,
		.pwdlen = (uint32_t)password.len,
		.salt = (uint8_t *)(uintptr_t)hash->salt,
		.saltlen = hash->salt_len,
		.t_cost = hash->iterations,
		.m_cost = hash->memory_kib,
		.lanes = hash->lanes,
		.threads = 1,
		.version = ARGON2_VERSION_13,
		.flags = ARGON2_DEFAULT_FLAGS,
	};

	return argon2id_ctx(&context) == ARGON2_OK;
}

/* Hashes the password with the parameters and the salt of hash. */
static bool digest_password(struct slice password, const struct password_hash *hash, uint8_t *out)
{
	if (password.len > INT32_MAX)
		return false;
	if (!password.data) /* an empty password; the libraries want a pointer nevertheless */
		password = SLICE_LITERAL("");
	switch (hash->scheme) {
	case PASSWORD_SHA512: return digest_sha512(password, hash, out);
	case PASSWORD_PBKDF2_SHA512: return digest_pbkdf2(password, hash, out);
	case PASSWORD_ARGON2ID: return digest_argon2id(password, hash, out);
	}
	return false;
}

static enum err set_parameters(struct password_hash *hash, uint32_t iterations,
			       struct err_detail *detail)
{
	uint32_t standard = 1, max = 1;

	hash->salt_len = SHA512_SALT_BYTES;
	hash->hash_len = SHA512_BYTES;
	if (hash->scheme == PASSWORD_PBKDF2_SHA512) {
		standard = PBKDF2_DEFAULT_ITERATIONS;
		max = PASSWORD_ITERATIONS_MAX;
	} else if (hash->scheme == PASSWORD_ARGON2ID) {
		standard = ARGON2_DEFAULT_PASSES;
		max = PASSWORD_ARGON2_TIME_MAX;
		hash->memory_kib = ARGON2_DEFAULT_MEMORY_KIB;
		hash->lanes = ARGON2_DEFAULT_LANES;
		hash->salt_len = ARGON2_SALT_BYTES;
		hash->hash_len = ARGON2_HASH_BYTES;
	}
	hash->iterations = iterations ? iterations : standard;
	if (hash->iterations > max)
		return err_set(detail, ERR_INVALID,
			       "%u iterations are too many for this kind of hash: at most %u",
			       hash->iterations, max);
	/* `$6$` has no such field; keep it at the value that parsing leaves there. */
	if (hash->scheme == PASSWORD_SHA512)
		hash->iterations = 0;
	return ERR_NONE;
}

enum err password_hash_make(enum password_scheme scheme, uint32_t iterations, struct slice password,
			    struct password_hash *out, struct err_detail *detail)
{
	enum err err;

	*out = (struct password_hash){.scheme = scheme};
	err = set_parameters(out, iterations, detail);
	if (err)
		return err;
	if (RAND_bytes(out->salt, out->salt_len) != 1)
		return err_set(detail, ERR_IO, "OpenSSL has no random bytes for a salt");
	if (!digest_password(password, out, out->hash))
		return err_set(detail, ERR_IO, "the password cannot be hashed (out of memory?)");
	return ERR_NONE;
}

static int format_prefix(const struct password_hash *hash, char *out)
{
	switch (hash->scheme) {
	case PASSWORD_SHA512: return snprintf(out, PASSWORD_TEXT_MAX, "$6$");
	case PASSWORD_PBKDF2_SHA512:
		return snprintf(out, PASSWORD_TEXT_MAX, "$7$%u$", hash->iterations);
	case PASSWORD_ARGON2ID:
		return snprintf(out, PASSWORD_TEXT_MAX, "$argon2id$v=19$m=%u,t=%u,p=%u$",
				hash->memory_kib, hash->iterations, hash->lanes);
	}
	return 0;
}

size_t password_hash_format(const struct password_hash *hash, char out[PASSWORD_TEXT_MAX])
{
	enum base64_padding padding =
		hash->scheme == PASSWORD_ARGON2ID ? BASE64_UNPADDED : BASE64_PADDED;
	size_t length = (size_t)format_prefix(hash, out);

	length += base64_encode(slice_of(hash->salt, hash->salt_len), padding, out + length);
	out[length++] = '$';
	length += base64_encode(slice_of(hash->hash, hash->hash_len), padding, out + length);
	BUG_ON(length >= PASSWORD_TEXT_MAX);
	return length;
}

bool password_hash_verify(const struct password_hash *hash, struct slice password)
{
	uint8_t digest[PASSWORD_HASH_MAX];
	bool ok = digest_password(password, hash, digest) &&
		  CRYPTO_memcmp(digest, hash->hash, hash->hash_len) == 0;

	OPENSSL_cleanse(digest, sizeof digest);
	return ok;
}

bool password_hash_equal(const struct password_hash *a, const struct password_hash *b)
{
	return a->scheme == b->scheme && a->iterations == b->iterations &&
	       a->memory_kib == b->memory_kib && a->lanes == b->lanes &&
	       a->salt_len == b->salt_len && a->hash_len == b->hash_len &&
	       memcmp(a->salt, b->salt, a->salt_len) == 0 &&
	       memcmp(a->hash, b->hash, a->hash_len) == 0;
}
