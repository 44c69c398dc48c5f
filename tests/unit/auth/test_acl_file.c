/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/acl_file.h"
#include "auth/acl_sections.h"

static struct acl_file *parse(const char *text)
{
	struct acl_file *acl;
	struct err_detail detail = {0};

	if (acl_file_parse(slice_from_string(text), "acl", &acl, &detail) != ERR_NONE)
		fail_msg("%s", detail.text);
	return acl;
}

static void assert_refused(const char *text, const char *place, const char *part)
{
	struct acl_file *acl = (void *)(uintptr_t)1;
	struct err_detail detail = {0};

	if (acl_file_parse(slice_from_string(text), "acl", &acl, &detail) != ERR_INVALID)
		fail_msg("accepted: %s", text);
	assert_null(acl);
	if (strncmp(detail.text, place, strlen(place)) != 0 || !strstr(detail.text, part))
		fail_msg("'%s' should begin with '%s' and hold '%s'", detail.text, place, part);
}

static unsigned user_bits(const struct acl_file *acl, const char *user, const char *topic)
{
	return acl_rules_match(acl_file_user_rules(acl, user != NULL,
						   slice_from_string(user ? user : "")),
			       slice_from_string(topic));
}

static void stock_example_of_mosquitto_is_read(void **unused)
{
	struct acl_file *acl = parse(
		"# This affects access control for clients with no username.\ntopic read $SYS/#\n\n"
		"# This only affects clients with username \"roger\".\nuser roger\ntopic foo/bar\n\n"
		"# This affects all clients.\npattern write $SYS/broker/connection/%c/state\n");

	(void)unused;
	assert_int_equal(user_bits(acl, NULL, "$SYS/x"), ACL_BIT_READ);
	assert_int_equal(user_bits(acl, "roger", "$SYS/x"), 0);
	assert_int_equal(user_bits(acl, "roger", "foo/bar"), ACL_BIT_READ | ACL_BIT_WRITE);
	assert_int_equal(user_bits(acl, "rog", "foo/bar"), 0);
	assert_int_equal(acl_file_pattern_count(acl), 1);
	assert_int_equal(acl_file_pattern_at(acl, 0).bits, ACL_BIT_WRITE);
	acl_file_unref(&acl);
	assert_null(acl);
}

/* The folder of the sources, from the absolute path that CMake compiles them under. */
static const char *source_path(const char *file, char out[512])
{
	static const char here[] = "tests/unit/auth/test_acl_file.c";

	assert_true(sizeof __FILE__ > sizeof here);
	snprintf(out, 512, "%.*s%s", (int)(sizeof __FILE__ - sizeof here), __FILE__, file);
	return out;
}

static void our_own_example_means_what_it_says(void **unused)
{
	struct err_detail detail = {0};
	struct acl_file *acl;
	char path[512];

	(void)unused;
	if (acl_file_load(source_path("conf/examples/acl.example", path), &acl, &detail))
		fail_msg("%s", detail.text);
	assert_int_equal(user_bits(acl, NULL, "public/x"), ACL_BIT_READ);
	assert_int_equal(user_bits(acl, "dashboard", "$SYS/broker/uptime"), ACL_BIT_READ);
	assert_int_equal(user_bits(acl, "dashboard", "a"), ACL_BIT_READ);
	assert_true(user_bits(acl, "controller", "devices/7/firmware") & ACL_BIT_DENY);
	assert_int_equal(acl_file_pattern_count(acl), 2);
	acl_file_unref(&acl);
}

static void each_access_word_has_its_meaning(void **unused)
{
	struct acl_file *acl = parse("topic a\ntopic read b\ntopic write c\ntopic readwrite d\n"
				     "topic deny e\ntopic   readwrite \t with space/x y \n"
				     "topic read\n");

	(void)unused;
	assert_int_equal(user_bits(acl, NULL, "a"), ACL_BIT_READ | ACL_BIT_WRITE);
	assert_int_equal(user_bits(acl, NULL, "b"), ACL_BIT_READ);
	assert_int_equal(user_bits(acl, NULL, "c"), ACL_BIT_WRITE);
	assert_int_equal(user_bits(acl, NULL, "d"), ACL_BIT_READ | ACL_BIT_WRITE);
	assert_int_equal(user_bits(acl, NULL, "e"), ACL_BIT_DENY);
	assert_int_equal(user_bits(acl, NULL, "with space/x y"), ACL_BIT_READ | ACL_BIT_WRITE);
	/* A single word is a topic, whatever it is. */
	assert_int_equal(user_bits(acl, NULL, "read"), ACL_BIT_READ | ACL_BIT_WRITE);
	acl_file_unref(&acl);
}

static void user_named_twice_has_the_rules_of_both_places(void **unused)
{
	struct acl_file *acl =
		parse("user bob\r\ntopic read a\r\nuser  Al Capone \r\ntopic read b\r\n"
		      "user bob\r\ntopic read c\r\n");

	(void)unused;
	assert_int_equal(user_bits(acl, "bob", "a"), ACL_BIT_READ);
	assert_int_equal(user_bits(acl, "bob", "c"), ACL_BIT_READ);
	assert_int_equal(user_bits(acl, "bob", "b"), 0);
	assert_int_equal(user_bits(acl, "Al Capone", "b"), ACL_BIT_READ);
	assert_int_equal(user_bits(acl, NULL, "a"), 0);
	acl_file_unref(&acl);
}

static void patterns_are_for_all_wherever_they_stand(void **unused)
{
	struct acl_file *acl = parse("user bob\npattern read c/%c\npattern deny x/#\ntopic read a\n"
				     "pattern write u/%u/+\n");

	(void)unused;
	assert_int_equal(acl_file_pattern_count(acl), 2);
	assert_true(slice_equal_string(acl_file_pattern_at(acl, 0).filter, "c/%c"));
	assert_true(slice_equal_string(acl_file_pattern_at(acl, 1).filter, "u/%u/+"));
	assert_int_equal(acl_rules_match(acl_file_common_patterns(acl), SLICE_LITERAL("x/y")),
			 ACL_BIT_DENY);
	assert_int_equal(user_bits(acl, "bob", "a"), ACL_BIT_READ); /* bob's section goes on */
	acl_file_unref(&acl);
}

static void bad_lines_are_named_with_their_number(void **unused)
{
	(void)unused;
	assert_refused("# c\n\ntopc read a\n", "acl:3: 'topc'", "user, topic, pattern or #");
	assert_refused("topic\n", "acl:1: ", "no topic");
	assert_refused("topic a\nuser\n", "acl:2: ", "no name");
	assert_refused("topic reed a\n", "acl:1: 'reed'", "read, write, readwrite or deny");
	assert_refused("topic with space\n", "acl:1: 'with'", "spaces");
	assert_refused("topic read a/#/b\n", "acl:1: 'a/#/b'", "not a valid Topic Filter");
	assert_refused("pattern a/%c+\n", "acl:1: ", "not a valid Topic Filter");
	assert_refused("topic read \xff\xfe\n", "acl:1: ", "UTF-8");
	assert_refused("Topic read a\n", "acl:1: 'Topic'", "not known");
}

static void empty_file_is_a_file_that_denies(void **unused)
{
	struct acl_file *acl = parse("");

	(void)unused;
	assert_non_null(acl);
	assert_int_equal(user_bits(acl, NULL, "a"), 0);
	acl_file_unref(&acl);
	acl = parse("\n# only a comment");
	assert_non_null(acl);
	acl_file_unref(&acl);
}

static void files_are_loaded_and_errors_name_them(void **unused)
{
	char path[] = "/tmp/nightjar-test-XXXXXX";
	int fd = mkstemp(path);
	struct acl_file *acl, *mine;
	struct err_detail detail = {0};

	(void)unused;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "topic read a\nnonsense\n", 22), 22);
	assert_int_equal(acl_file_load(path, &acl, &detail), ERR_INVALID);
	assert_non_null(strstr(detail.text, path));
	assert_non_null(strstr(detail.text, ":2: "));
	assert_int_equal(ftruncate(fd, 13), 0);
	close(fd);
	assert_int_equal(acl_file_load(path, &acl, &detail), ERR_NONE);
	mine = acl_file_ref(acl);
	acl_file_unref(&acl);
	assert_int_equal(user_bits(mine, NULL, "a"), ACL_BIT_READ);
	acl_file_unref(&mine);
	unlink(path);
	assert_int_equal(acl_file_load(path, &acl, &detail), ERR_IO);
	assert_null(acl);
	assert_non_null(strstr(detail.text, "No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stock_example_of_mosquitto_is_read),
		cmocka_unit_test(our_own_example_means_what_it_says),
		cmocka_unit_test(each_access_word_has_its_meaning),
		cmocka_unit_test(user_named_twice_has_the_rules_of_both_places),
		cmocka_unit_test(patterns_are_for_all_wherever_they_stand),
		cmocka_unit_test(bad_lines_are_named_with_their_number),
		cmocka_unit_test(empty_file_is_a_file_that_denies),
		cmocka_unit_test(files_are_loaded_and_errors_name_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
