/* SPDX-License-Identifier: Apache-2.0 */
/* Each bad configuration gets an error that says where, what was found and what is allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"
#include "server/config_options.h"

static struct config_errors errors;
static char folder[64];

struct bad {
	const char *text;
	const char *message; /* the whole of it */
};

/* clang-format off */
static const struct bad rows[] = {
	/* Names. */
	{"nonsense_option 1\n",
	 "t.conf:1: unknown option 'nonsense_option': nightjar.conf(5) lists those there are"},
	{"\n# x\nmax_conections 5\n",
	 "t.conf:3: unknown option 'max_conections': did you mean 'max_connections'?"},
	{"Listener 1883\n", "t.conf:1: unknown option 'Listener': did you mean 'listener'?"},
	{"allow_anonymous=true\n",
	 "t.conf:1: unknown option 'allow_anonymous=true': write 'allow_anonymous VALUE', with a "
	 "blank and without '='"},
	{"max_qos: 1\n",
	 "t.conf:1: unknown option 'max_qos:': write 'max_qos VALUE', with a blank and without ':'"},
	{"{\"listener\": 1883}\n",
	 "t.conf:1: unknown option '{\"listener\":': nightjar.conf(5) lists those there are"},
	/* Flags. */
	{"allow_anonymous\n", "t.conf:1: 'allow_anonymous' needs a value: true or false"},
	{"allow_anonymous   \n", "t.conf:1: 'allow_anonymous' needs a value: true or false"},
	{"allow_anonymous yes\n", "t.conf:1: 'allow_anonymous' takes true or false, not 'yes'"},
	{"allow_anonymous True\n", "t.conf:1: 'allow_anonymous' takes true or false, not 'True'"},
	{"retain_available 2\n", "t.conf:1: 'retain_available' takes true or false, not '2'"},
	{"queue_qos0_messages true false\n",
	 "t.conf:1: 'queue_qos0_messages' has more behind its value than it takes, from 'false' on"},
	/* Numbers. */
	{"max_qos 3\n", "t.conf:1: 'max_qos' takes a whole number from 0 to 2, not '3'"},
	{"max_qos -1\n", "t.conf:1: 'max_qos' takes a whole number from 0 to 2, not '-1'"},
	{"max_qos 1.5\n", "t.conf:1: 'max_qos' takes a whole number from 0 to 2, not '1.5'"},
	{"max_qos +1\n", "t.conf:1: 'max_qos' takes a whole number from 0 to 2, not '+1'"},
	{"max_qos 0x1\n", "t.conf:1: 'max_qos' takes a whole number from 0 to 2, not '0x1'"},
	{"max_qos\n", "t.conf:1: 'max_qos' needs a value: a whole number from 0 to 2"},
	{"max_keepalive 0\n",
	 "t.conf:1: 'max_keepalive' takes a whole number from 1 to 65535, not '0'"},
	{"max_keepalive 65536\n",
	 "t.conf:1: 'max_keepalive' takes a whole number from 1 to 65535, not '65536'"},
	{"max_packet_size 19\n",
	 "t.conf:1: 'max_packet_size' takes 0 or a whole number from 20 to 268435460, not '19'"},
	{"message_size_limit 268435456\n",
	 "t.conf:1: 'message_size_limit' takes a whole number from 0 to 268435455, not '268435456'"},
	{"max_inflight_messages 65536\n",
	 "t.conf:1: 'max_inflight_messages' takes a whole number from 0 to 65535, not '65536'"},
	{"max_queued_messages many\n",
	 "t.conf:1: 'max_queued_messages' takes a whole number from 0 to 4294967295, not 'many'"},
	{"memory_limit 99999999999999999999\n",
	 "t.conf:1: 'memory_limit' takes a whole number from 0 to 9223372036854775807, not "
	 "'99999999999999999999'"},
	{"memory_limit 2G\n",
	 "t.conf:1: 'memory_limit' takes a whole number from 0 to 9223372036854775807, not '2G'"},
	{"worker_threads 257\n",
	 "t.conf:1: 'worker_threads' takes a whole number from 0 to 256, not '257'"},
	{"mailbox_letters 3\n",
	 "t.conf:1: 'mailbox_letters' takes a whole number from 4 to 1048576, not '3'"},
	{"listener 1\nmax_connections 0\n",
	 "t.conf:2: 'max_connections' takes -1 or a whole number from 1 to 2147483647, not '0'"},
	{"listener 1\nmax_topic_alias 65536\n",
	 "t.conf:2: 'max_topic_alias' takes a whole number from 0 to 65535, not '65536'"},
	{"sys_interval 10 20\n",
	 "t.conf:1: 'sys_interval' has more behind its value than it takes, from '20' on"},
	/* Durations. */
	{"persistent_client_expiration\n",
	 "t.conf:1: 'persistent_client_expiration' needs a value: a whole number and one of s, h, d, "
	 "w, m, y (30s, 2h, 14d, ...), or 0"},
	{"persistent_client_expiration 14\n",
	 "t.conf:1: 'persistent_client_expiration' takes a whole number and one of s, h, d, w, m, y "
	 "(30s, 2h, 14d, ...), or 0, not '14'"},
	{"persistent_client_expiration d\n",
	 "t.conf:1: 'persistent_client_expiration' takes a whole number and one of s, h, d, w, m, y "
	 "(30s, 2h, 14d, ...), or 0, not 'd'"},
	{"persistent_client_expiration 2days\n",
	 "t.conf:1: 'persistent_client_expiration' takes a whole number and one of s, h, d, w, m, y "
	 "(30s, 2h, 14d, ...), or 0, not '2days'"},
	{"persistent_client_expiration 9223372036854775807y\n",
	 "t.conf:1: 'persistent_client_expiration' takes a whole number and one of s, h, d, w, m, y "
	 "(30s, 2h, 14d, ...), or 0, not '9223372036854775807y'"},
	{"max_session_expiry_interval 137y\n",
	 "t.conf:1: 'max_session_expiry_interval' takes a whole number and one of s, h, d, w, m, y "
	 "(30s, 2h, 14d, ...), or 0, not '137y'"},
	/* Choices. */
	{"socket_domain inet\n", "t.conf:1: 'socket_domain' takes ipv4 or ipv6, not 'inet'"},
	{"queue_drop\n", "t.conf:1: 'queue_drop' needs a value: newest or oldest"},
	{"log_format xml\n", "t.conf:1: 'log_format' takes text or json, not 'xml'"},
	{"shared_subscription_strategy best\n",
	 "t.conf:1: 'shared_subscription_strategy' takes least_inflight, round_robin, random, "
	 "hash_client or hash_topic, not 'best'"},
	{"listener 1\nprotocol http\n",
	 "t.conf:2: 'protocol' takes mqtt | websockets | any, not 'http'"},
	/* Texts. */
	{"acl_file\n", "t.conf:1: 'acl_file' needs a value: PATH"},
	{"acl_file \"/etc/acl\"\n",
	 "t.conf:1: 'acl_file' has quotes round its value, which would be part of it: write the "
	 "value without them"},
	{"acl_file a\nacl_file b\n",
	 "t.conf:2: 'acl_file' is already set at t.conf:1: take one of them out"},
	{"listener 1\nacl_file a\nlistener 2\nacl_file b\n",
	 "t.conf:4: 'acl_file' is set differently at t.conf:2, but holds for all listeners: take one "
	 "out, or let each listener have its own with 'per_listener_settings true'"},
	{"mount_point a/#\n",
	 "t.conf:1: 'mount_point' takes a text without the wildcards + and #, not 'a/#'"},
	{"auto_id_prefix a+\n",
	 "t.conf:1: 'auto_id_prefix' takes a text without the wildcards + and #, not 'a+'"},
	{"bind_interface a-name-that-is-far-too-long\n",
	 "t.conf:1: 'bind_interface' takes the name of a network interface, not "
	 "'a-name-that-is-far-too-long'"},
	/* Listeners. */
	{"listener\n", "t.conf:1: 'listener' needs a value: PORT [ADDRESS] | 0 PATH"},
	{"listener mqtt\n",
	 "t.conf:1: 'listener' takes a port from 1 to 65535, or 0 and the path of a Unix socket, "
	 "not 'mqtt'"},
	{"listener 65536\n",
	 "t.conf:1: 'listener' takes a port from 1 to 65535, or 0 and the path of a Unix socket, "
	 "not '65536'"},
	{"listener 0\n",
	 "t.conf:1: 'listener 0' needs the path of a Unix socket; a TCP listener has a port from 1 "
	 "to 65535"},
	{"listener 1883 127.0.0.1 tls\n",
	 "t.conf:1: 'listener' has more behind its value than it takes, from 'tls' on"},
	{"listener 1883\n\nlistener 1883\n",
	 "t.conf:3: there is a listener for the same address already, at t.conf:1: take one of them "
	 "out"},
	{"port 0\n", "t.conf:1: 'port' takes a port from 1 to 65535, not '0'"},
	{"port\n", "t.conf:1: 'port' needs a value: PORT"},
	{"bind_address\n", "t.conf:1: 'bind_address' needs a value: ADDRESS"},
	{"bind_address ::1\nbind_address ::1\n",
	 "t.conf:2: 'bind_address' is already set at t.conf:1: take one of them out"},
	{"max_connections 10\nlistener 1883\n",
	 "t.conf:1: 'max_connections' stands above the first listener and belongs to none: put it "
	 "below the 'listener' line that it is meant for"},
	{"per_listener_settings true\npassword_file pw\nlistener 1883\n",
	 "t.conf:2: 'password_file' stands above the first listener and belongs to none: put it "
	 "below the 'listener' line that it is meant for"},
	/* Log. */
	{"log_dest\n",
	 "t.conf:1: 'log_dest' needs a value: stderr | stdout | syslog | topic | none | file PATH"},
	{"log_dest dlt\n",
	 "t.conf:1: 'log_dest' takes stderr | stdout | syslog | topic | none | file PATH, not 'dlt'"},
	{"log_dest /var/log/x\n",
	 "t.conf:1: 'log_dest' takes stderr | stdout | syslog | topic | none | file PATH, not "
	 "'/var/log/x'"},
	{"log_dest file\n", "t.conf:1: 'log_dest file' needs the path of a file"},
	{"log_dest file a\nlog_dest file b\n",
	 "t.conf:2: 'log_dest file' is already set, to 'a': there can be one file only"},
	{"log_type\n", "t.conf:1: 'log_type' needs a value: TYPE ..."},
	{"log_type error fatal\n",
	 "t.conf:1: 'log_type' takes error, warning, notice, information, debug, subscribe, "
	 "unsubscribe, websockets, internal, all or none, not 'fatal'"},
	{"log_facility 8\n",
	 "t.conf:1: 'log_facility' takes a whole number from 0 to 7 (for local0 to local7), not '8'"},
	/* What a later version brings. */
	{"listener 8883\ntls_engine pkcs11\n",
	 "t.conf:2: 'tls_engine' is not supported yet (OpenSSL engines): take the line out, and keep "
	 "the key in the file that 'keyfile' names"},
	/* TLS. */
	{"listener 8883\ncertfile c\n",
	 "t.conf:1: this listener: there is a certfile, and no keyfile that belongs to it"},
	{"listener 8883\nkeyfile k\n",
	 "t.conf:1: this listener: there is a keyfile, and no certfile that it belongs to"},
	{"listener 8883\npsk_hint h\n",
	 "t.conf:1: this listener: there is a psk_hint, and no psk_file that holds the keys"},
	{"listener 8883\ncertfile c\nkeyfile k\nrequire_certificate true\n",
	 "t.conf:1: this listener: require_certificate needs a cafile or a capath that says whose "
	 "certificates are good"},
	{"listener 8883\nrequire_certificate true\n",
	 "t.conf:1: this listener: it has options of TLS, and neither certfile nor psk_hint that "
	 "turns TLS on"},
	{"listener 8883\ntls_version tlsv1.1\n",
	 "t.conf:2: 'tls_version' takes tlsv1.2 or tlsv1.3 (older versions are unsafe), not "
	 "'tlsv1.1'"},
	{"listener 8883\nsni_certificate c\n",
	 "t.conf:2: 'sni_certificate' takes the paths of a certificate and of its key"},
	{"listener 8883\nproxy_protocol maybe\n",
	 "t.conf:2: 'proxy_protocol' takes off, on or required, not 'maybe'"},
	{"listener 9001\nwebsockets_origin example.org\n",
	 "t.conf:2: 'websockets_origin' takes an origin such as https://example.org, not "
	 "'example.org'"},
	{"listener 9001\nhttp_metrics yes\n",
	 "t.conf:2: 'http_metrics' takes true, false, or an address such as 127.0.0.1, not 'yes'"},
	{"auth_opt_db_host localhost\n",
	 "t.conf:1: 'auth_opt_db_host' is not supported yet (plugins): take the line out, and use "
	 "password_file and acl_file"},
	{"connection bridge-1\n",
	 "t.conf:1: 'connection' is not supported yet (bridges): take out all lines of the bridge, "
	 "from 'connection' to its last 'topic'"},
	{"bridge_cafile x\n",
	 "t.conf:1: 'bridge_cafile' is not supported yet (bridges): take out all lines of the bridge, "
	 "from 'connection' to its last 'topic'"},
	/* Persistence options are read, if only to warn. */
	{"persistence maybe\n", "t.conf:1: 'persistence' takes true or false, not 'maybe'"},
	{"persistence_location\n", "t.conf:1: 'persistence_location' needs a value: DIRECTORY"},
	{"durability memory\n", "t.conf:1: 'durability' takes disk, process or none, not 'memory'"},
	/* Files. */
	{"include_dir\n", "t.conf:1: 'include_dir' needs a value: DIRECTORY"},
	{"include_dir /nowhere/at/all\n",
	 "t.conf:1: 'include_dir' names '/nowhere/at/all', which cannot be opened: No such file or "
	 "directory"},
	{"\xff\xfel\n", "t.conf:1: this is UTF-16 text: save the file as UTF-8"},
	{"user m\xfcller\n", "t.conf:1: this is not UTF-8 text: save the file as UTF-8"},
	{"user a\x01z\n",
	 "t.conf:1: there is a control character (0x01) in column 7: take it out"},
	{"user\x0b" "me\n", "t.conf:1: there is a control character (0x0b) in column 5: take it out"},
};
/* clang-format on */

static void expect_error(const char *text, size_t length, const char *message)
{
	struct config *config = NULL;
	enum err err = config_load_bytes("t.conf", text, length, NULL, &config, &errors);

	if (err == ERR_NONE || config)
		fail_msg("loads, but should not: %s", text);
	assert_int_not_equal(errors.count, 0);
	if (message && strcmp(errors.text[0], message) != 0)
		fail_msg("\n  of:   %s\n  got:  %s\n  want: %s", text, errors.text[0], message);
}

static void each_bad_line_says_where_what_and_what_is_allowed(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		expect_error(rows[i].text, strlen(rows[i].text), rows[i].message);
		assert_int_equal(errors.count, 1);
	}
}

/* No row of the table can be forgotten: nothing behind the name is an error for every option. */
static void every_option_refuses_an_empty_value(void **state)
{
	(void)state;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		char text[128], prefix[140];

		if (option->kind == CONFIG_OPTION_SECTION ||
		    option->kind == CONFIG_OPTION_NO_MEANING || option->kind == CONFIG_OPTION_ALIAS)
			continue;
		snprintf(text, sizeof(text), "%s\n", option->name);
		snprintf(prefix, sizeof(prefix), "t.conf:1: '%s' ", option->name);
		expect_error(text, strlen(text), NULL);
		if (strcmp(option->name, "log_facility") != 0 &&
		    strncmp(errors.text[0], prefix, strlen(prefix)) != 0)
			fail_msg("%s", errors.text[0]);
	}
}

static void every_later_option_stops_the_start_by_name(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		bool is_prefix = option->kind == CONFIG_OPTION_LATER_PREFIX;
		char text[128], prefix[160];

		if (option->kind != CONFIG_OPTION_LATER && !is_prefix)
			continue;
		snprintf(text, sizeof(text), "%s%s value\n", option->name, is_prefix ? "x" : "");
		snprintf(prefix, sizeof(prefix), "t.conf:1: '%s%s' is not supported yet",
			 option->name, is_prefix ? "x" : "");
		expect_error(text, strlen(text), NULL);
		assert_int_equal(strncmp(errors.text[0], prefix, strlen(prefix)), 0);
		seen++;
	}
	assert_true(seen > 35);
}

static void all_errors_are_reported_at_once_up_to_a_bound(void **state)
{
	char text[1024] = "";

	(void)state;
	for (int i = 0; i < CONFIG_ERRORS_MAX; i++)
		strcat(text, "max_qos 9\n");
	expect_error(text, strlen(text), NULL);
	assert_int_equal(errors.count, CONFIG_ERRORS_MAX);
	assert_false(errors.is_cut);
	strcat(text, "max_qos 9\n");
	expect_error(text, strlen(text), NULL);
	assert_int_equal(errors.count, CONFIG_ERRORS_MAX);
	assert_true(errors.is_cut);
	assert_non_null(strstr(errors.text[19], "t.conf:20: 'max_qos'"));
}

static void a_nul_byte_is_refused_also_in_a_comment(void **state)
{
	(void)state;
	expect_error("user a\0b\n", 9,
		     "t.conf:1: there is a control character (0x00) in column 7: take it out");
	expect_error("\n#\0\n", 4,
		     "t.conf:2: there is a control character (0x00) in column 2: take it out");
}

static void a_line_without_end_is_refused(void **state)
{
	size_t length = 100000;
	char *text = malloc(length);

	(void)state;
	assert_non_null(text);
	memset(text, 'a', length);
	expect_error(text, length,
		     "t.conf:1: the line has 100000 bytes: at most 65536 are allowed");
	free(text);
}

static void more_listeners_than_allowed_are_refused(void **state)
{
	char *text = malloc(300 * 16);
	size_t used = 0;

	(void)state;
	assert_non_null(text);
	for (int i = 1; i <= 257; i++)
		used += (size_t)sprintf(text + used, "listener %d\n", i);
	expect_error(text, used, "t.conf:257: more than 256 listeners");
	free(text);
}

static void a_long_value_is_cut_and_made_harmless_in_the_message(void **state)
{
	char text[256] = "max_qos ";

	(void)state;
	memset(text + 8, 'x', 200);
	expect_error(text, strlen(text), NULL);
	assert_non_null(strstr(errors.text[0], "xxx...'"));
	assert_true(strlen(errors.text[0]) < 160);
}

static char *in_folder(char *buffer, size_t bytes, const char *name)
{
	snprintf(buffer, bytes, "%s/%s", folder, name);
	return buffer;
}

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *file = fopen(in_folder(path, sizeof(path), name), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void expect_file_error(const char *name, const char *message)
{
	struct config *config = NULL;
	char path[256], want[512];

	in_folder(path, sizeof(path), name);
	snprintf(want, sizeof(want), message, folder);
	assert_int_not_equal(config_load(path, NULL, &config, &errors), ERR_NONE);
	assert_null(config);
	assert_string_equal(errors.text[0], want);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	(void)state;
	expect_file_error("none.conf", "%s/none.conf: cannot be opened: No such file or directory");
	expect_file_error("", "%s/: is a directory: name a file, or use include_dir for its .conf "
			      "files");
}

static void an_error_in_an_included_file_names_that_file(void **state)
{
	char path[256], text[300];

	(void)state;
	assert_int_equal(mkdir(in_folder(path, sizeof(path), "d"), 0700), 0);
	write_file("d/x.conf", "\nmax_qos 7\n");
	snprintf(text, sizeof(text), "include_dir %s/d\n", folder);
	write_file("main.conf", text);
	expect_file_error("main.conf",
			  "%s/d/x.conf:2: 'max_qos' takes a whole number from 0 to 2, not '7'");
}

static void include_dir_does_not_nest_and_cannot_loop(void **state)
{
	char path[256], text[300];

	(void)state;
	assert_int_equal(mkdir(in_folder(path, sizeof(path), "loop"), 0700), 0);
	snprintf(text, sizeof(text), "include_dir %s/loop\n", folder);
	write_file("loop/a.conf", text);
	write_file("nest.conf", text);
	expect_file_error("nest.conf", "%s/loop/a.conf:1: 'include_dir' works in the main file "
				       "only: name the directory there");
	snprintf(text, sizeof(text),
		 "%s/loop/a.conf:1: 'include_dir' names the directory of this file, which would be "
		 "loaded again: move it elsewhere",
		 folder);
	expect_file_error("loop/a.conf", text);
}

static void a_directory_that_looks_like_a_file_is_refused(void **state)
{
	char path[256], text[300];

	(void)state;
	assert_int_equal(mkdir(in_folder(path, sizeof(path), "e"), 0700), 0);
	assert_int_equal(mkdir(in_folder(path, sizeof(path), "e/sub.conf"), 0700), 0);
	snprintf(text, sizeof(text), "include_dir %s/e\n", folder);
	write_file("dirs.conf", text);
	expect_file_error("dirs.conf", "%s/e/sub.conf: is a directory: name a file, or use "
				       "include_dir for its .conf files");
}

static void a_file_of_many_megabytes_is_refused(void **state)
{
	char path[256];

	(void)state;
	write_file("huge.conf", "");
	assert_int_equal(truncate(in_folder(path, sizeof(path), "huge.conf"), (17 << 20)), 0);
	expect_file_error("huge.conf",
			  "%s/huge.conf: is larger than 16 MiB: is it a configuration file?");
}

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/nightjar-bad-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_bad_line_says_where_what_and_what_is_allowed),
		cmocka_unit_test(every_option_refuses_an_empty_value),
		cmocka_unit_test(every_later_option_stops_the_start_by_name),
		cmocka_unit_test(all_errors_are_reported_at_once_up_to_a_bound),
		cmocka_unit_test(a_nul_byte_is_refused_also_in_a_comment),
		cmocka_unit_test(a_line_without_end_is_refused),
		cmocka_unit_test(more_listeners_than_allowed_are_refused),
		cmocka_unit_test(a_long_value_is_cut_and_made_harmless_in_the_message),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
		cmocka_unit_test(an_error_in_an_included_file_names_that_file),
		cmocka_unit_test(include_dir_does_not_nest_and_cannot_loop),
		cmocka_unit_test(a_directory_that_looks_like_a_file_is_refused),
		cmocka_unit_test(a_file_of_many_megabytes_is_refused),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
