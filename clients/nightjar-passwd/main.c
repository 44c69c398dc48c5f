/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nightjar-passwd - makes and changes the password_file of Nightjar (and of mosquitto).
 */
#include <errno.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ask_password.h"
#include "auth/password_hash.h"
#include "auth/text_file.h"
#include "base/version.h"
#include "replace_file.h"
#include "user_list.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1, /* the file, the password, or no such user */
	EXIT_USAGE = 2,
};

struct options {
	bool create, delete, batch, upgrade;
	bool has_iterations;
	enum password_scheme scheme;
	uint32_t iterations; /* 0: the scheme's default */
	const char *path;
	const char *username;
	char *password; /* batch only; points into argv */
};

static const char usage_text[] =
	"usage: nightjar-passwd [-c | -D] [-H HASH] [-I N] FILE USERNAME\n"
	"       nightjar-passwd -b [-c] [-H HASH] [-I N] FILE USERNAME PASSWORD\n"
	"       nightjar-passwd -U [-H HASH] [-I N] FILE\n";

static const char help_text[] =
	"Adds a user to a password_file of Nightjar, or gives a user a new password. The password\n"
	"is asked for twice on a terminal, or read from the first line of standard input.\n"
	"\n"
	"  -c, --create        make FILE; one that is there already is emptied first\n"
	"  -D, --delete        delete the user\n"
	"  -b, --batch         take the password from the command line, where other users of this\n"
	"                      machine can see it\n"
	"  -U, --upgrade       hash the passwords of FILE that are in plain text\n"
	"  -H, --hash HASH     sha512-pbkdf2 (default), argon2id, or sha512 (for mosquitto 1.x).\n"
	"                      mosquitto 2 reads sha512-pbkdf2 and sha512\n"
	"  -I, --iterations N  more make guessing and logging in slower; sha512-pbkdf2: 10000,\n"
	"                      argon2id: 2 passes\n"
	"  -h, --help          show this help\n"
	"      --version       show the version\n"
	"\n"
	"The broker reads a changed file when it gets SIGHUP.\n"
	"Exit code: 0 done, 1 failed and nothing was changed, 2 wrong usage.\n";

static int fail(const struct err_detail *detail)
{
	fprintf(stderr, "nightjar-passwd: %s\n", detail->text);
	return EXIT_FAILED;
}

_Noreturn static void usage_error(const char *what, const char *found)
{
	fprintf(stderr, "nightjar-passwd: %s%s%s%s\n%s", what, found ? " '" : "",
		found ? found : "", found ? "'" : "", usage_text);
	exit(EXIT_USAGE);
}

static enum password_scheme parse_scheme(const char *text)
{
	if (strcmp(text, "sha512") == 0)
		return PASSWORD_SHA512;
	if (strcmp(text, "sha512-pbkdf2") == 0)
		return PASSWORD_PBKDF2_SHA512;
	if (strcmp(text, "argon2id") == 0)
		return PASSWORD_ARGON2ID;
	usage_error("-H takes sha512-pbkdf2, argon2id or sha512, not", text);
}

static uint32_t parse_iterations(const char *text)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno || value == 0 ||
	    value > PASSWORD_ITERATIONS_MAX)
		usage_error("-I takes a whole number from 1 to 10000000, not", text);
	return (uint32_t)value;
}

static void take_option(int letter, struct options *options)
{
	switch (letter) {
	case 'c': options->create = true; break;
	case 'D': options->delete = true; break;
	case 'b': options->batch = true; break;
	case 'U': options->upgrade = true; break;
	case 'H': options->scheme = parse_scheme(optarg); break;
	case 'I':
		options->iterations = parse_iterations(optarg);
		options->has_iterations = true;
		break;
	case 'h': printf("%s\n%s", usage_text, help_text); exit(EXIT_DONE);
	case 'V': printf("nightjar-passwd version %s\n", NIGHTJAR_VERSION); exit(EXIT_DONE);
	default: fputs(usage_text, stderr); exit(EXIT_USAGE); /* getopt has said why */
	}
}

static void check_combination(const struct options *options, int arguments)
{
	int wanted = options->upgrade ? 1 : options->batch ? 3 : 2;

	if (options->create + options->delete + options->upgrade > 1)
		usage_error("only one of -c, -D and -U can be given", NULL);
	if (options->batch && (options->delete || options->upgrade))
		usage_error("-b takes a password, which -D and -U have no use for", NULL);
	if (options->has_iterations && options->scheme == PASSWORD_SHA512)
		usage_error("-I has no meaning for the hash sha512", NULL);
	if (arguments < wanted)
		usage_error(options->upgrade ? "the file is missing"
			    : arguments == 0 ? "the file and the user name are missing"
			    : arguments == 1 ? "the user name is missing"
					     : "the password is missing (-b)",
			    NULL);
	if (arguments > wanted)
		usage_error(wanted == 2 && arguments == 3
				    ? "a password on the command line needs -b"
				    : "there are too many arguments",
			    NULL);
}

static struct options parse_command_line(int argc, char **argv)
{
	static const struct option names[] = {
		{"create", no_argument, NULL, 'c'},
		{"delete", no_argument, NULL, 'D'},
		{"batch", no_argument, NULL, 'b'},
		{"upgrade", no_argument, NULL, 'U'},
		{"hash", required_argument, NULL, 'H'},
		{"iterations", required_argument, NULL, 'I'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct options options = {.scheme = PASSWORD_PBKDF2_SHA512};
	int letter;

	while ((letter = getopt_long(argc, argv, "cDbUH:I:h", names, NULL)) != -1)
		take_option(letter, &options);
	check_combination(&options, argc - optind);
	options.path = argv[optind];
	if (!options.upgrade)
		options.username = argv[optind + 1];
	if (options.batch)
		options.password = argv[optind + 2];
	return options;
}

/* The new user's hash, from the command line or from a person. */
static enum err make_hash(const struct options *options, struct password_hash *out,
			  struct err_detail *detail)
{
	struct slice password = SLICE_NONE;
	char *room = calloc(1, PASSWORD_ROOM);
	enum err err = ERR_NONE;

	if (!room)
		return err_set(detail, ERR_NOMEM, "out of memory");
	if (options->batch)
		password = slice_from_string(options->password);
	else
		err = ask_password(room, &password, detail);
	if (!err)
		err = user_password_check(password, detail);
	if (!err)
		err = password_hash_make(options->scheme, options->iterations, password, out,
					 detail);
	/* In `ps` it was visible until here; no reason to leave it there. */
	if (options->batch)
		OPENSSL_cleanse(options->password, strlen(options->password));
	OPENSSL_cleanse(room, PASSWORD_ROOM);
	free(room);
	return err;
}

static enum err read_old_text(const struct options *options, struct slice *out,
			      struct err_detail *detail)
{
	*out = SLICE_NONE;
	if (options->create)
		return ERR_NONE;
	if (access(options->path, F_OK) != 0 && errno == ENOENT)
		return err_set(detail, ERR_NOT_FOUND, "there is no file '%s'%s", options->path,
			       options->delete || options->upgrade ? "" : "; -c makes it");
	return text_file_read(options->path, "password file", out, detail);
}

static enum err edit(const struct options *options, const struct user_list *list,
		     const struct password_hash *hash, FILE *out, unsigned *out_changed,
		     struct err_detail *detail)
{
	struct slice name = slice_from_string(options->username);

	if (options->delete)
		return user_list_delete(list, name, out, detail);
	if (!options->upgrade)
		return user_list_set(list, name, hash, out, detail);
	return user_list_upgrade(list, options->scheme, options->iterations, out, out_changed,
				 detail);
}

/* Old text in, new text out to the file. */
static enum err edit_file(const struct options *options, const struct password_hash *hash,
			  struct err_detail *detail)
{
	struct user_list list = {.path = options->path};
	char *text = NULL;
	size_t length = 0;
	FILE *out = NULL;
	unsigned changed = 0;
	bool complete = false;
	enum err err = read_old_text(options, &list.text, detail);

	if (!err)
		out = open_memstream(&text, &length);
	if (out) {
		err = edit(options, &list, hash, out, &changed, detail);
		complete = !ferror(out);
		complete = fclose(out) == 0 && complete;
	}
	if (!err && !complete)
		err = err_set(detail, ERR_NOMEM, "out of memory");
	if (!err)
		err = replace_file(options->path, slice_of(text, length), detail);
	if (!err && options->upgrade)
		printf("%u password%s hashed in %s\n", changed, changed == 1 ? "" : "s",
		       options->path);
	free(text);
	text_file_free(&list.text);
	return err;
}

int main(int argc, char **argv)
{
	struct options options = parse_command_line(argc, argv);
	struct password_hash hash = {0};
	struct err_detail detail = {0};
	struct file_lock lock;
	enum err err = ERR_NONE;

	if (!options.upgrade && !options.delete)
		err = user_name_check(slice_from_string(options.username), &detail);
	if (!err && !options.upgrade && !options.delete)
		err = make_hash(&options, &hash, &detail);
	if (err)
		return fail(&detail);
	lock = file_lock_take(options.path);
	err = edit_file(&options, &hash, &detail);
	file_lock_release(&lock);
	return err ? fail(&detail) : EXIT_DONE;
}
