/* SPDX-License-Identifier: Apache-2.0 */
/* What SIGHUP takes over, what it leaves alone, and what it says about that. */
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
#include "server/config_options.h"

static struct config_errors errors, report;
static char path[64];

static void write_config(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static struct config *load(const char *text)
{
	struct config *config = NULL;

	write_config(text);
	if (config_load(path, NULL, &config, &errors) != ERR_NONE)
		fail_msg("%s", errors.text[0]);
	return config;
}

/* The configuration in force after text replaced that of running, which is destroyed. */
static struct config *reload(struct config *running, const char *text)
{
	struct config *fresh = NULL;

	write_config(text);
	if (config_reload(running, NULL, &fresh, &errors, &report) != ERR_NONE)
		fail_msg("%s", errors.text[0]);
	config_destroy(running);
	return fresh;
}

static bool is_reported(const char *text)
{
	for (size_t i = 0; i < report.count; i++)
		if (strstr(report.text[i], text))
			return true;
	return false;
}

static void limits_and_log_are_taken_over(void **state)
{
	struct config *config = load("listener 1883\nallow_anonymous true\n");

	(void)state;
	config = reload(config, "listener 1883\nallow_anonymous false\npassword_file pw\n"
				"max_queued_messages 7\nlog_type error\nlog_dest file /tmp/x\n");
	assert_int_equal(report.count, 0);
	assert_int_equal(config->max_queued_messages, 7);
	assert_int_equal(config->log_types, LOG_TYPE_ERROR);
	assert_string_equal(config->log_file, "/tmp/x");
	assert_false(config->listeners[0].access.allow_anonymous);
	assert_string_equal(config->listeners[0].access.password_file, "pw");
	config_destroy(config);
}

static void what_needs_a_restart_stays_and_is_reported(void **state)
{
	struct config *config = load("user one\nworker_threads 2\nlistener 1883\nmax_qos 1\n"
				     "mount_point m/\nallow_anonymous true\n");

	(void)state;
	config = reload(config, "user two\nworker_threads 3\nlistener 1883\nmax_qos 2\n"
				"allow_anonymous true\npid_file p\n");
	assert_int_equal(report.count, 5);
	assert_true(is_reported("'user' changed from one to two: this needs a restart"));
	assert_true(is_reported("'worker_threads' changed from 2 to 3: this needs a restart"));
	assert_true(is_reported("'pid_file' changed from nothing to p"));
	assert_true(is_reported("'listener 1883': 'max_qos' changed from 1 to 2"));
	assert_true(is_reported("'listener 1883': 'mount_point' changed from m/ to nothing"));
	assert_string_equal(config->user, "one");
	assert_int_equal(config->worker_threads, 2);
	assert_null(config->pid_file);
	assert_int_equal(config->listeners[0].max_qos, 1);
	assert_string_equal(config->listeners[0].mount_point, "m/");
	config_destroy(config);
}

static void listeners_come_and_go_with_a_restart_only(void **state)
{
	struct config *config = load("per_listener_settings true\n"
				     "listener 1 127.0.0.1\nacl_file a1\npassword_file p\n"
				     "listener 2\nacl_file a2\npassword_file p\n");

	(void)state;
	config = reload(config, "per_listener_settings true\n"
				"listener 3\nacl_file a3\npassword_file p\n"
				"listener 2\nacl_file new\npassword_file p\n");
	assert_int_equal(report.count, 2);
	assert_true(is_reported("'listener 1 127.0.0.1' is gone"));
	assert_true(is_reported("'listener 3' is new"));
	assert_int_equal(config->listener_count, 2);
	assert_int_equal(config->listeners[0].port, 1);
	assert_string_equal(config->listeners[0].bind_address, "127.0.0.1");
	assert_string_equal(config->listeners[0].access.acl_file, "a1");
	assert_string_equal(config->listeners[1].access.acl_file, "new");
	config_destroy(config);
}

static void local_only_stays_so_when_the_file_gets_a_listener(void **state)
{
	struct config *config = load("sys_interval 1\n");

	(void)state;
	config = reload(config, "sys_interval 2\nlistener 1883\nallow_anonymous true\n");
	assert_true(config->is_local_only);
	assert_int_equal(config->listener_count, 2);
	assert_true(config->listeners[0].is_loopback_default);
	assert_true(is_reported("'listener 1883' is new"));
	assert_int_equal(config->sys_interval_s, 2);
	config_destroy(config);
}

static void a_bad_file_changes_nothing(void **state)
{
	struct config *config = load("sys_interval 1\n"), *fresh = config;

	(void)state;
	write_config("sys_interval x\n");
	assert_int_equal(config_reload(config, NULL, &fresh, &errors, &report), ERR_INVALID);
	assert_null(fresh);
	assert_int_equal(errors.count, 1);
	assert_int_equal(config->sys_interval_s, 1);
	config_destroy(config);
}

static void a_change_that_needs_a_restart_is_told_from_others(void **state)
{
	struct config *one = load("max_keepalive 10\n");
	struct config *two = load("max_keepalive 20\n");
	struct config *three = load("mailbox_letters 4\n");

	(void)state;
	assert_true(config_is_reloadable_change(one, two, NULL));
	assert_false(config_is_reloadable_change(one, three, NULL));
	assert_false(config_is_reloadable_change(one, three, &report));
	assert_true(is_reported("'mailbox_letters' changed from 4096 to 4"));
	config_destroy(one);
	config_destroy(two);
	config_destroy(three);
}

static void certificates_reload_but_tls_itself_does_not(void **state)
{
	struct config *config = load("listener 1883\nlistener 8883\ncertfile a\nkeyfile b\n"
				     "sni_certificate c d\nallow_anonymous true\n");

	(void)state;
	config = reload(config, "listener 1883\nlistener 8883\ncertfile e\nkeyfile f\n"
				"sni_certificate g h\nsni_certificate i j\n");
	assert_int_equal(report.count, 0);
	assert_string_equal(config->listeners[1].tls.certfile, "e");
	assert_int_equal(config->listeners[1].tls.sni_count, 2);
	assert_string_equal(config->listeners[1].tls.sni[1].keyfile, "j");
	config = reload(config, "listener 1883\ncertfile k\nkeyfile l\nlistener 8883\n");
	assert_int_equal(report.count, 2);
	assert_true(is_reported("'listener 1883': TLS was switched on: this needs a restart"));
	assert_true(is_reported("'listener 8883': TLS was switched off: this needs a restart"));
	assert_null(config->listeners[0].tls.certfile);
	assert_string_equal(config->listeners[1].tls.certfile, "e");
	assert_string_equal(config->listeners[1].tls.sni[0].certfile, "g");
	config_destroy(config);
}

/* Where there was none, they reload only with a restart: above. */
static bool turns_tls_on(const struct config_option *option)
{
	return strcmp(option->name, "certfile") == 0 || strcmp(option->name, "psk_hint") == 0;
}

/* For each option with a field of its own: a restart one is kept, the others are taken over. */
static void every_option_does_what_its_traits_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		struct config *running, *fresh = NULL;
		bool is_restart = option->traits & CONFIG_TRAIT_RESTART;
		void *base;

		if (!config_option_has_field(option) || turns_tls_on(option))
			continue;
		running = load("listener 1883\nallow_anonymous true\n");
		base = option->scope == CONFIG_SCOPE_GLOBAL ? (void *)running
							    : &running->listeners[0];
		/* As if the running one had been given something else than the file says now. */
		if (option->kind == CONFIG_OPTION_TEXT)
			config_option_set_text(option, base, "before");
		else
			config_option_set_number(option, base,
						 config_option_number(option, base) == 1 ? 0 : 1);
		assert_int_equal(config_reload(running, NULL, &fresh, &errors, &report), ERR_NONE);
		assert_int_equal(report.count > 0, is_restart);
		assert_int_equal(config_option_is_same(option, base,
						       option->scope == CONFIG_SCOPE_GLOBAL
							       ? (void *)fresh
							       : &fresh->listeners[0]),
				 is_restart);
		config_destroy(fresh);
		config_destroy(running);
	}
}

static int make_path(void **state)
{
	int fd;

	(void)state;
	strcpy(path, "/tmp/nightjar-reload-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_and_log_are_taken_over),
		cmocka_unit_test(what_needs_a_restart_stays_and_is_reported),
		cmocka_unit_test(listeners_come_and_go_with_a_restart_only),
		cmocka_unit_test(local_only_stays_so_when_the_file_gets_a_listener),
		cmocka_unit_test(a_bad_file_changes_nothing),
		cmocka_unit_test(a_change_that_needs_a_restart_is_told_from_others),
		cmocka_unit_test(certificates_reload_but_tls_itself_does_not),
		cmocka_unit_test(every_option_does_what_its_traits_say),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
