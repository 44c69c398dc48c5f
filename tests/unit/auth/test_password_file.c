/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/password_file.h"

/* Made with mosquitto_passwd 2.0.11. The passwords are "secret", "hunter2" and, again, "secret". */
#define ALICE                                                                                      \
	"alice:$7$101$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"           \
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ=="
#define BOB                                                                                        \
	"bob:$6$/GZdMWAigGetRkND$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68aQmd" \
	"+TurWNokob3EK0VYXsmW/Q=="
#define BOB_HASH_OF_ALICE                                                                          \
	"bob:$7$101$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"             \
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ=="

static struct password_file *parse(const char *text)
{
	struct password_file *file;
	struct err_detail detail = {0};

	if (password_file_parse(slice_from_string(text), "pw", &file, &detail) != ERR_NONE)
		fail_msg("%s", detail.text);
	return file;
}

/* The load fails, and the message begins with place and holds part. */
static void assert_refused(const char *text, const char *place, const char *part)
{
	struct password_file *file = (void *)(uintptr_t)1;
	struct err_detail detail = {0};

	if (password_file_parse(slice_from_string(text), "pw", &file, &detail) == ERR_NONE)
		fail_msg("accepted: %s", text);
	assert_null(file);
	if (strncmp(detail.text, place, strlen(place)) != 0 || !strstr(detail.text, part))
		fail_msg("'%s' should begin with '%s' and hold '%s'", detail.text, place, part);
}

static bool verify(const struct password_file *file, const char *user, const char *password)
{
	return password_file_verify(file, slice_from_string(user), slice_from_string(password));
}

static void users_of_mosquitto_are_found_and_verified(void **unused)
{
	struct password_file *file = parse(BOB "\n" ALICE "\n");

	(void)unused;
	assert_int_equal(password_file_count(file), 2);
	assert_true(verify(file, "alice", "secret"));
	assert_true(verify(file, "bob", "hunter2"));
	assert_false(verify(file, "alice", "hunter2"));
	assert_false(verify(file, "bob", "secret"));
	assert_non_null(password_file_find(file, SLICE_LITERAL("bob")));
	assert_null(password_file_find(file, SLICE_LITERAL("bo")));
	assert_null(password_file_find(file, SLICE_LITERAL("bobb")));
	assert_null(password_file_find(file, SLICE_LITERAL("BOB")));
	assert_null(password_file_find(file, SLICE_NONE));
	password_file_unref(&file);
	assert_null(file);
}

static void unknown_user_gets_in_with_nobodys_password(void **unused)
{
	struct password_file *file = parse(ALICE "\n");

	(void)unused;
	/* The password is hashed with a line of the file, which must not let it in. */
	assert_false(verify(file, "mallory", "secret"));
	password_file_unref(&file);
	file = parse("# nobody\n");
	assert_int_equal(password_file_count(file), 0);
	assert_false(verify(file, "mallory", ""));
	password_file_unref(&file);
}

static void comments_empty_lines_and_line_ends_are_as_people_write_them(void **unused)
{
	struct password_file *file =
		parse("\xef\xbb\xbf# a comment: with a colon\r\n\r\n  \n\t# another\n  " ALICE
		      " \r\n" BOB);

	(void)unused;
	assert_int_equal(password_file_count(file), 2);
	assert_true(verify(file, "alice", "secret"));
	assert_true(verify(file, "bob", "hunter2"));
	password_file_unref(&file);
}

static void bad_lines_are_named_with_their_number(void **unused)
{
	(void)unused;
	assert_refused("# c\n\n" ALICE "\nnonsense\n", "pw:4: ", "no ':'");
	assert_refused("carl:opensesame\n", "pw:1: ", "plain text; run `nightjar-passwd -U pw`");
	assert_refused(ALICE "\ncarl:\n", "pw:2: ", "no password hash");
	assert_refused(ALICE "\ncarl:$9$x$y\n", "pw:2: ", "unknown kind");
	assert_refused(":$6$x$y\n", "pw:1: ", "empty");
	assert_refused("carl:$7$101$Zm9v\n", "pw:1: user 'carl'", "ends too early");
	assert_refused(ALICE "\n" BOB "\n" ALICE "\n", "pw:3: user 'alice'", "line 1 already");
}

static void password_in_plain_text_is_not_quoted(void **unused)
{
	struct password_file *file;
	struct err_detail detail = {0};

	(void)unused;
	assert_int_equal(password_file_parse(SLICE_LITERAL("carl:opensesame"), "pw", &file,
					     &detail),
			 ERR_INVALID);
	assert_null(strstr(detail.text, "opensesame"));
}

static void zero_byte_in_a_name_is_refused(void **unused)
{
	struct password_file *file;
	struct err_detail detail = {0};

	(void)unused;
	assert_int_equal(password_file_parse(SLICE_LITERAL("a\0b:$6$x$y"), "pw", &file, &detail),
			 ERR_INVALID);
	assert_non_null(strstr(detail.text, "zero"));
}

static void entries_are_equal_when_name_and_hash_are(void **unused)
{
	struct password_file *one = parse(ALICE "\n" BOB "\n");
	struct password_file *two = parse(BOB_HASH_OF_ALICE "\n\n" ALICE "\n");
	const struct password_entry *alice = password_file_find(one, SLICE_LITERAL("alice"));
	const struct password_entry *bob = password_file_find(two, SLICE_LITERAL("bob"));

	(void)unused;
	assert_true(password_entry_equal(
		alice, password_file_find(two, SLICE_LITERAL("alice")))); /* another line number */
	assert_false(password_entry_equal(bob, password_file_find(one, SLICE_LITERAL("bob"))));
	assert_false(password_entry_equal(alice, bob)); /* the same hash, another name */
	password_file_unref(&one);
	password_file_unref(&two);
}

static void references_keep_the_snapshot(void **unused)
{
	struct password_file *file = parse(ALICE "\n");
	struct password_file *mine = password_file_ref(file);

	(void)unused;
	password_file_unref(&file);
	assert_true(verify(mine, "alice", "secret"));
	password_file_unref(&mine);
	password_file_unref(&mine); /* NULL is fine */
}

static void many_users_are_all_found(void **unused)
{
	static const char hash[] =
		":$6$/GZdMWAigGetRkND$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68a"
		"Qmd+TurWNokob3EK0VYXsmW/Q==\n";
	const unsigned count = 2000;
	char *text = malloc(count * (sizeof hash + 16)), name[16];
	size_t used = 0;
	struct password_file *file;

	(void)unused;
	for (unsigned i = 0; i < count; i++)
		used += (size_t)sprintf(text + used, "u%u%s", i * 7919 % count, hash);
	file = parse(text);
	assert_int_equal(password_file_count(file), count);
	for (unsigned i = 0; i < count; i++) {
		sprintf(name, "u%u", i);
		assert_non_null(password_file_find(file, slice_from_string(name)));
	}
	assert_null(password_file_find(file, SLICE_LITERAL("u2000")));
	password_file_unref(&file);
	free(text);
}

static void files_are_loaded_and_errors_name_them(void **unused)
{
	char folder[] = "/tmp/nightjar-test-XXXXXX", path[64];
	struct password_file *file;
	struct err_detail detail = {0};
	FILE *out;

	(void)unused;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/users", folder);
	assert_int_equal(password_file_load(path, &file, &detail), ERR_IO);
	assert_non_null(strstr(detail.text, path));
	assert_non_null(strstr(detail.text, "No such file"));
	assert_int_equal(password_file_load(folder, &file, &detail), ERR_IO);
	assert_non_null(strstr(detail.text, "not a regular file"));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(password_file_load(path, &file, &detail), ERR_IO); /* does not hang */
	unlink(path);
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(BOB "\n", out);
	fclose(out);
	assert_int_equal(password_file_load(path, &file, &detail), ERR_NONE);
	assert_true(verify(file, "bob", "hunter2"));
	password_file_unref(&file);
	unlink(path);
	rmdir(folder);
}

/*
 * The example's users are commented out, because their password is known; without the '#' they must
 * be users with that password.
 */
static void lines_of_our_example_are_good_and_let_nobody_in(void **unused)
{
	static const char here[] = "tests/unit/auth/test_password_file.c";
	static const char *const names[] = {"dashboard", "controller", "device-1"};
	char path[512], text[8192], *line;
	struct password_file *file;
	FILE *in;

	(void)unused;
	snprintf(path, sizeof path, "%.*sconf/examples/passwords.example",
		 (int)(sizeof __FILE__ - sizeof here), __FILE__);
	assert_int_equal(password_file_load(path, &file, NULL), ERR_NONE);
	assert_int_equal(password_file_count(file), 0);
	password_file_unref(&file);
	in = fopen(path, "r");
	assert_non_null(in);
	text[fread(text, 1, sizeof text - 1, in)] = '\0';
	fclose(in);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		line = strstr(text, names[i]);
		while (line && (line[-1] != '#' || line[strlen(names[i])] != ':'))
			line = strstr(line + 1, names[i]);
		assert_non_null(line);
		line[-1] = ' ';
	}
	file = parse(text);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		assert_true(verify(file, names[i], "example"));
	password_file_unref(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_of_mosquitto_are_found_and_verified),
		cmocka_unit_test(unknown_user_gets_in_with_nobodys_password),
		cmocka_unit_test(comments_empty_lines_and_line_ends_are_as_people_write_them),
		cmocka_unit_test(bad_lines_are_named_with_their_number),
		cmocka_unit_test(password_in_plain_text_is_not_quoted),
		cmocka_unit_test(zero_byte_in_a_name_is_refused),
		cmocka_unit_test(entries_are_equal_when_name_and_hash_are),
		cmocka_unit_test(references_keep_the_snapshot),
		cmocka_unit_test(many_users_are_all_found),
		cmocka_unit_test(lines_of_our_example_are_good_and_let_nobody_in),
		cmocka_unit_test(files_are_loaded_and_errors_name_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
