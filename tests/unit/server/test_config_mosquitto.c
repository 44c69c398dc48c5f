/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations that run under mosquitto start here unchanged: what people have in the field, and
 * the files of Debian's package when NIGHTJAR_MOSQUITTO names the folder it was unpacked to.
 * Without it, files of the same shape stand in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"

static struct config_errors errors;

static struct config *load(const char *text)
{
	struct config *config = NULL;

	if (config_load_bytes("t.conf", text, strlen(text), NULL, &config, &errors) != ERR_NONE)
		fail_msg("%s", errors.text[0]);
	assert_non_null(config);
	return config;
}

/* A file of the package, NULL where that was not unpacked. */
static char *package_file(const char *path)
{
	const char *package = getenv("NIGHTJAR_MOSQUITTO");
	char whole[512];
	char *text;
	FILE *file;

	if (!package || access(package, F_OK) != 0)
		return NULL;
	snprintf(whole, sizeof(whole), "%s/%s", package, path);
	file = fopen(whole, "r");
	if (!file)
		fail_msg("%s cannot be read", whole);
	text = calloc(1, 1 << 20);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	return text;
}

/* What a small company runs; the same shape as many files in the field. */
static void a_typical_deployment_loads(void **state)
{
	struct config *config = load("per_listener_settings true\n"
				     "persistence true\n"
				     "persistence_location /mosquitto/data/\n"
				     "log_dest file /mosquitto/log/mosquitto.log\n"
				     "log_dest stdout\n"
				     "log_type all\n"
				     "log_timestamp_format %Y-%m-%d %H:%M:%S\n"
				     "connection_messages true\n"
				     "max_queued_messages 5000\n"
				     "\n"
				     "listener 1883 127.0.0.1\n"
				     "allow_anonymous true\n"
				     "\n"
				     "listener 1884\n"
				     "protocol mqtt\n"
				     "allow_anonymous false\n"
				     "password_file /mosquitto/config/passwd\n"
				     "acl_file /mosquitto/config/acl\n");

	(void)state;
	assert_int_equal(config->listener_count, 2);
	assert_true(config->listeners[0].access.allow_anonymous);
	assert_null(config->listeners[0].access.acl_file);
	assert_string_equal(config->listeners[1].access.acl_file, "/mosquitto/config/acl");
	assert_true(config->persistence);
	assert_int_equal(config->note_count, 0);
	config_destroy(config);
}

/* Debian's /etc/mosquitto/mosquitto.conf sets these. */
static const char debian_settings[] = "pid_file /run/mosquitto/mosquitto.pid\n"
				      "persistence true\n"
				      "persistence_location /var/lib/mosquitto/\n"
				      "log_dest file /var/log/mosquitto/mosquitto.log\n";

static void debians_stock_file_loads(void **state)
{
	char *text = package_file("etc/mosquitto/mosquitto.conf");
	struct config *config;

	(void)state;
	if (text) {
		/* Its folder of further files need not be on the machine that tests. */
		char *include = strstr(text, "include_dir /");

		assert_non_null(include);
		*include = '\0';
	}
	config = load(text ? text : debian_settings);
	assert_true(config->is_local_only);
	assert_string_equal(config->pid_file, "/run/mosquitto/mosquitto.pid");
	assert_string_equal(config->log_file, "/var/log/mosquitto/mosquitto.log");
	assert_true(config->persistence);
	assert_int_equal(config->note_count, 0);
	config_destroy(config);
	free(text);
}

static const char example_path[] = "usr/share/doc/mosquitto/examples/mosquitto.conf";

static void mosquittos_example_with_every_option_commented_loads(void **state)
{
	char *text = package_file(example_path);
	struct config *config = load(text ? text : "# Config file\n#listener\n\n#max_qos 2\n");

	(void)state;
	assert_true(config->is_local_only);
	assert_int_equal(config->note_count, 0);
	config_destroy(config);
	free(text);
}

/*
 * Each "#option value" of mosquitto's example is a default that one may uncomment: it loads, or is
 * refused as not supported yet, or has no value there to load. Nothing is unknown.
 */
static void every_option_of_mosquittos_example_is_known(void **state)
{
	char *text = package_file(example_path);
	char *own = strdup("#listener\n#max_qos 2\n#bridge_alpn\n");
	char *rest = text ? text : own, *line;
	unsigned seen = 0;

	(void)state;
	while ((line = strsep(&rest, "\n"))) {
		struct config *config = NULL;

		if (line[0] != '#' || line[1] < 'a' || line[1] > 'z')
			continue;
		seen++;
		if (config_load_bytes("e", line + 1, strlen(line + 1), NULL, &config, &errors) !=
		    ERR_NONE)
			assert_null(strstr(errors.text[0], "unknown option"));
		config_destroy(config);
	}
	assert_true(seen >= (text ? 70 : 3));
	free(own);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_typical_deployment_loads),
		cmocka_unit_test(debians_stock_file_loads),
		cmocka_unit_test(mosquittos_example_with_every_option_commented_loads),
		cmocka_unit_test(every_option_of_mosquittos_example_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
