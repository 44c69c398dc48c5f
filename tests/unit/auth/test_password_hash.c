/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <argon2.h>

#include "auth/password_hash.h"

/* Made with mosquitto_passwd 2.0.11: `-b` and `-b -H sha512`. */
static const char mosquitto_7[] = /* password "secret" */
	"$7$101$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ==";
static const char mosquitto_6[] = /* password "hunter2" */
	"$6$/GZdMWAigGetRkND$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68aQmd+"
	"TurWNokob3EK0VYXsmW/Q==";

static struct password_hash parse(const char *text)
{
	struct password_hash hash;
	struct err_detail detail = {0};

	if (password_hash_parse(slice_from_string(text), &hash, &detail) != ERR_NONE)
		fail_msg("%s: %s", text, detail.text);
	return hash;
}

static bool opens(const struct password_hash *hash, const char *password)
{
	return password_hash_verify(hash, slice_from_string(password));
}

static void hashes_of_mosquitto_open_with_their_passwords_only(void **unused)
{
	struct password_hash seven = parse(mosquitto_7);
	struct password_hash six = parse(mosquitto_6);

	(void)unused;
	assert_int_equal(seven.scheme, PASSWORD_PBKDF2_SHA512);
	assert_int_equal(seven.iterations, 101);
	assert_true(opens(&seven, "secret"));
	assert_false(opens(&seven, "secre"));
	assert_false(opens(&seven, "secret "));
	assert_false(opens(&seven, ""));
	assert_int_equal(six.scheme, PASSWORD_SHA512);
	assert_true(opens(&six, "hunter2"));
	assert_false(opens(&six, "Hunter2"));
}

static void argon2id_of_the_library_opens_whatever_its_lanes(void **unused)
{
	char text[256];

	(void)unused;
	for (uint32_t lanes = 1; lanes <= 4; lanes += 3) {
		struct password_hash hash;

		assert_int_equal(argon2id_hash_encoded(2, 256, lanes, "open", 4, "saltsaltsalt", 12,
						       24, text, sizeof text),
				 ARGON2_OK);
		hash = parse(text);
		assert_int_equal(hash.memory_kib, 256);
		assert_int_equal(hash.lanes, lanes);
		assert_true(opens(&hash, "open"));
		assert_false(opens(&hash, "opem"));
	}
}

static void assert_round_trip(enum password_scheme scheme, uint32_t iterations)
{
	struct password_hash made, again, parsed;
	char text[PASSWORD_TEXT_MAX];
	size_t length;

	assert_int_equal(password_hash_make(scheme, iterations, SLICE_LITERAL("p\0w"), &made, NULL),
			 ERR_NONE);
	assert_int_equal(password_hash_make(scheme, iterations, SLICE_LITERAL("p\0w"), &again,
					    NULL),
			 ERR_NONE);
	assert_false(password_hash_equal(&made, &again)); /* another salt */
	length = password_hash_format(&made, text);
	assert_int_equal(length, strlen(text));
	parsed = parse(text);
	assert_true(password_hash_equal(&made, &parsed));
	assert_true(password_hash_verify(&parsed, SLICE_LITERAL("p\0w")));
	assert_false(password_hash_verify(&parsed, SLICE_LITERAL("p\0v")));
	assert_false(password_hash_verify(&parsed, SLICE_LITERAL("p")));
}

static void made_hashes_are_read_back(void **unused)
{
	(void)unused;
	assert_round_trip(PASSWORD_SHA512, 0);
	assert_round_trip(PASSWORD_PBKDF2_SHA512, 0);
	assert_round_trip(PASSWORD_PBKDF2_SHA512, 7);
	assert_round_trip(PASSWORD_ARGON2ID, 1);
}

static void too_many_iterations_are_refused(void **unused)
{
	struct password_hash hash;
	struct err_detail detail = {0};

	(void)unused;
	assert_int_equal(password_hash_make(PASSWORD_PBKDF2_SHA512, PASSWORD_ITERATIONS_MAX + 1,
					    SLICE_LITERAL("x"), &hash, &detail),
			 ERR_INVALID);
	assert_non_null(strstr(detail.text, "at most 10000000"));
	assert_int_equal(password_hash_make(PASSWORD_ARGON2ID, PASSWORD_ARGON2_TIME_MAX + 1,
					    SLICE_LITERAL("x"), &hash, &detail),
			 ERR_INVALID);
}

/* Each is one slip away from a good hash. */
static const char *const bad_hashes[] = {
	"",
	"$",
	"plain",
	"$6",
	"$6$",
	"$6$/GZdMWAigGetRkND",
	"$6$/GZdMWAigGetRkND$",
	"$6$$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68aQmd+TurWNokob3EK0VYXsmW/"
	"Q==",
	"$6$/GZdMWAigGetRkND$Zm9v",
	"$6$/GZdMWAigGetRkND$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68aQmd+"
	"TurWNokob3EK0VYXsmW/Q",
	"$6$/GZdMWAigGetRkND$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68aQmd+"
	"TurWNokob3EK0VYXsmW/Q==$",
	"$6$/GZdMWAigGetRkND$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68aQmd+"
	"TurWNokob3EK0VYXsmW/Q==$x",
	"$5$/GZdMWAigGetRkND$Zm9v",
	"$2b$12$abcdefghijklmnopqrstuv",
	"$7$$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ==",
	"$7$0$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ==",
	"$7$-1$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ==",
	"$7$99999999$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ==",
	"$7$42949672970$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ==",
	"$7$101$l+hAxJd/xdHe7VDN",
	"$argon2id$v=19$m=256,t=2,p=1$c2FsdHNhbHQ",
	"$argon2id$v=16$m=256,t=2,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$m=256,t=2,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=256,t=2$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$t=2,m=256,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=256,t=2,p=1,$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=256,t=2,p=1,x=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=7,t=2,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=256,t=0,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=256,t=2,p=1$c2FsdA$MDEyMzQ1Njc4OWFiY2RlZg",
	"$argon2id$v=19$m=256,t=2,p=1$c2FsdHNhbHQ$MDEyMw",
	"$argon2id$v=19$m=256,t=2,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg==",
	"$argon2i$v=19$m=256,t=2,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg",
};

static void damaged_hashes_are_refused_with_a_reason(void **unused)
{
	struct password_hash hash;

	(void)unused;
	for (size_t i = 0; i < sizeof bad_hashes / sizeof bad_hashes[0]; i++) {
		struct err_detail detail = {0};
		enum err err =
			password_hash_parse(slice_from_string(bad_hashes[i]), &hash, &detail);

		if (err != ERR_INVALID && err != ERR_UNSUPPORTED)
			fail_msg("accepted: %s", bad_hashes[i]);
		assert_true(strlen(detail.text) > 10);
	}
	/* The good one that the argon2id lines are a slip away from. */
	parse("$argon2id$v=19$m=256,t=2,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg");
}

static void equal_needs_every_part_to_be_equal(void **unused)
{
	struct password_hash a = parse(mosquitto_7), b = a;

	(void)unused;
	assert_true(password_hash_equal(&a, &b));
	b.iterations++;
	assert_false(password_hash_equal(&a, &b));
	b = a;
	b.salt[3] ^= 1;
	assert_false(password_hash_equal(&a, &b));
	b = a;
	b.hash[63] ^= 1;
	assert_false(password_hash_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes_of_mosquitto_open_with_their_passwords_only),
		cmocka_unit_test(argon2id_of_the_library_opens_whatever_its_lanes),
		cmocka_unit_test(made_hashes_are_read_back),
		cmocka_unit_test(too_many_iterations_are_refused),
		cmocka_unit_test(damaged_hashes_are_refused_with_a_reason),
		cmocka_unit_test(equal_needs_every_part_to_be_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
