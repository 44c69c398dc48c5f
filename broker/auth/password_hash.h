/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password_hash.h - one salted password hash as it stands in a password file.
 *
 *   $6$SALT$HASH                       SHA-512(password, salt)           mosquitto 1.x
 *   $7$ITERATIONS$SALT$HASH            PBKDF2-HMAC-SHA-512               mosquitto 2.x
 *   $argon2id$v=19$m=,t=,p=$SALT$HASH  Argon2id, the PHC string          Nightjar only
 *
 * The first two use padded Base64, Argon2 the unpadded one of its own specification. Pure
 * functions over bytes, any thread; making and verifying are slow on purpose (milliseconds) and
 * never run on a worker. Nothing here logs, and no detail text quotes a password or a hash.
 */
#ifndef NIGHTJAR_AUTH_PASSWORD_HASH_H
#define NIGHTJAR_AUTH_PASSWORD_HASH_H

#include "base/err.h"
#include "base/slice.h"

enum password_scheme {
	PASSWORD_SHA512,
	PASSWORD_PBKDF2_SHA512,
	PASSWORD_ARGON2ID,
};

#define PASSWORD_SALT_MAX 64 /* bytes, decoded */
#define PASSWORD_HASH_MAX 64
#define PASSWORD_TEXT_MAX 320 /* bytes of the longest line that password_hash_format makes */

/*
 * Limits on what a file may ask for. A password file is trusted, but a slip of the pen in it must
 * not turn each CONNECT into minutes of work or gigabytes of memory.
 */
#define PASSWORD_ITERATIONS_MAX 10000000u
#define PASSWORD_ARGON2_MEMORY_MAX_KIB (1024u * 1024u)
#define PASSWORD_ARGON2_TIME_MAX 100u
#define PASSWORD_ARGON2_LANES_MAX 64u

/* A value without pointers: copy and compare it as a whole. */
struct password_hash {
	enum password_scheme scheme;
	uint32_t iterations; /* PBKDF2: rounds; Argon2: passes (t) */
	uint32_t memory_kib; /* Argon2 only (m) */
	uint32_t lanes;	     /* Argon2 only (p) */
	uint8_t salt_len, hash_len;
	uint8_t salt[PASSWORD_SALT_MAX];
	uint8_t hash[PASSWORD_HASH_MAX];
};

/* ERR_INVALID with what is wrong in detail (a phrase without file and line), or ERR_UNSUPPORTED. */
enum err password_hash_parse(struct slice text, struct password_hash *out,
			     struct err_detail *detail) ERR_CHECKED;

/*
 * Hashes a password with a fresh random salt. iterations 0 means the scheme's default. ERR_INVALID
 * for iterations beyond the limits, ERR_NOMEM, or ERR_IO when the library refuses.
 */
enum err password_hash_make(enum password_scheme scheme, uint32_t iterations, struct slice password,
			    struct password_hash *out, struct err_detail *detail) ERR_CHECKED;

/* Writes the text form with its terminating zero into out. Returns its length. */
size_t password_hash_format(const struct password_hash *hash, char out[PASSWORD_TEXT_MAX]);

/* Slow; compares in constant time. False as well when the library fails. */
bool password_hash_verify(const struct password_hash *hash, struct slice password);

bool password_hash_equal(const struct password_hash *a, const struct password_hash *b);

#endif
