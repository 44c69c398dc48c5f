/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/command_line.h"

#define ARGUMENTS_MAX 32

static struct command_line line;
static struct err_detail detail;

/* Arguments are given as one text, apart by blanks. */
static enum err parse(const char *text)
{
	static char copy[256];
	char *argv[ARGUMENTS_MAX] = {"nightjar"}, *rest = copy, *word;
	int argc = 1;

	strcpy(copy, text);
	while ((word = strsep(&rest, " ")))
		if (*word)
			argv[argc++] = word;
	detail.text[0] = '\0';
	return command_line_parse(argc, argv, &line, &detail);
}

static void expect_error(const char *arguments, const char *message)
{
	assert_int_equal(parse(arguments), ERR_INVALID);
	assert_string_equal(detail.text, message);
}

static void no_argument_runs_without_a_file(void **state)
{
	(void)state;
	assert_int_equal(parse(""), ERR_NONE);
	assert_int_equal(line.action, COMMAND_LINE_RUN);
	assert_null(line.config_path);
	assert_int_equal(line.overrides.port_count, 0);
	assert_false(line.overrides.daemonize || line.overrides.verbose);
}

static void mosquittos_short_options_work(void **state)
{
	(void)state;
	assert_int_equal(parse("-c a.conf -p 1 -p 65535 -d -v"), ERR_NONE);
	assert_int_equal(line.action, COMMAND_LINE_RUN);
	assert_string_equal(line.config_path, "a.conf");
	assert_int_equal(line.overrides.port_count, 2);
	assert_int_equal(line.overrides.ports[1], 65535);
	assert_true(line.overrides.daemonize && line.overrides.verbose);
}

static void long_options_work(void **state)
{
	(void)state;
	assert_int_equal(parse("--config-file b --port 99 --daemon --verbose"), ERR_NONE);
	assert_string_equal(line.config_path, "b");
	assert_int_equal(line.overrides.ports[0], 99);
	assert_true(line.overrides.daemonize && line.overrides.verbose);
}

static void questions_win_over_running(void **state)
{
	(void)state;
	assert_int_equal(parse("--test-config -c x"), ERR_NONE);
	assert_int_equal(line.action, COMMAND_LINE_TEST_CONFIG);
	assert_int_equal(parse("--version --test-config"), ERR_NONE);
	assert_int_equal(line.action, COMMAND_LINE_VERSION);
	assert_int_equal(parse("--help --version"), ERR_NONE);
	assert_int_equal(line.action, COMMAND_LINE_HELP);
	assert_int_equal(parse("-h"), ERR_NONE);
	assert_int_equal(line.action, COMMAND_LINE_HELP);
}

static void mistakes_are_named(void **state)
{
	(void)state;
	expect_error("-x", "unknown option '-x': try --help, which lists them");
	expect_error("a.conf", "unknown option 'a.conf': try --help, which lists them");
	expect_error("-c", "-c needs a file name behind it");
	expect_error("-d --port", "--port needs a port number behind it");
	expect_error("-p 0", "-p takes a port from 1 to 65535, not '0'");
	expect_error("-p 65536", "-p takes a port from 1 to 65535, not '65536'");
	expect_error("-p 1883x", "-p takes a port from 1 to 65535, not '1883x'");
	expect_error("-p -v", "-p takes a port from 1 to 65535, not '-v'");
	expect_error("-c a -c b", "-c is given twice ('a' and 'b'): there is one configuration "
				  "file; it can load others with include_dir");
	expect_error("-p 1 -p 2 -p 3 -p 4 -p 5 -p 6 -p 7 -p 8 -p 9 -p 10 -p 11",
		     "-p can be given 10 times at most");
}

static void help_lists_every_option(void **state)
{
	static const char *const names[] =
		{"-c",	      "--config-file", "-p",	    "--port", "-d",    "--daemon", "-v",
		 "--verbose", "--test-config", "--version", "-h",     "--help"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(strstr(command_line_help(), names[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_argument_runs_without_a_file),
		cmocka_unit_test(mosquittos_short_options_work),
		cmocka_unit_test(long_options_work),
		cmocka_unit_test(questions_win_over_running),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(help_lists_every_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
