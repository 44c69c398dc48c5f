/* SPDX-License-Identifier: Apache-2.0 */
/* What a sound configuration comes to: defaults, listeners, includes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"

static struct config_errors errors;
static char folder[64];

static struct config *load_with(const char *text, const struct config_overrides *overrides)
{
	struct config *config = NULL;

	if (config_load_bytes("t.conf", text, strlen(text), overrides, &config, &errors) !=
	    ERR_NONE)
		fail_msg("%s", errors.text[0]);
	assert_non_null(config);
	assert_int_equal(errors.count, 0);
	return config;
}

static struct config *load(const char *text)
{
	return load_with(text, NULL);
}

static bool has_note(const struct config *config, const char *text)
{
	for (size_t i = 0; i < config->note_count; i++)
		if (strstr(config->notes[i], text))
			return true;
	return false;
}

/* The path is good until the next call. */
static const char *write_file(const char *name, const char *text)
{
	static char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	return path;
}

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/nightjar-config-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static void without_a_file_the_broker_listens_on_loopback_and_is_anonymous(void **state)
{
	struct config *config = config_default();

	(void)state;
	assert_non_null(config);
	assert_true(config->is_local_only);
	assert_int_equal(config->listener_count, 2);
	assert_string_equal(config->listeners[0].bind_address, "127.0.0.1");
	assert_string_equal(config->listeners[1].bind_address, "::1");
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(config->listeners[i].port, 1883);
		assert_true(config->listeners[i].is_loopback_default);
		assert_true(config->listeners[i].access.allow_anonymous);
	}
	assert_int_equal(config->note_count, 0);
	config_destroy(config);
}

static void silence_means_mosquittos_defaults(void **state)
{
	struct config *config = load("listener 1883\nallow_anonymous true\n");
	const struct config_listener *listener = &config->listeners[0];

	(void)state;
	assert_int_equal(config->max_inflight_messages, 20);
	assert_int_equal(config->max_inflight_bytes, 0);
	assert_int_equal(config->max_queued_messages, 1000);
	assert_int_equal(config->max_queued_bytes, 0);
	assert_int_equal(config->max_keepalive_s, 65535);
	assert_int_equal(config->max_packet_size, 0);
	assert_int_equal(config->message_size_limit, 0);
	assert_int_equal(config->memory_limit, 0);
	assert_int_equal(config->sys_interval_s, 10);
	assert_int_equal(config->persistent_client_expiration_s, 0);
	assert_false(config->queue_qos0_messages);
	assert_false(config->upgrade_outgoing_qos);
	assert_true(config->retain_available);
	assert_true(config->check_retain_source);
	assert_true(config->connection_messages);
	assert_null(config->user);
	assert_null(config->pid_file);
	assert_int_equal(listener->max_topic_alias, 10);
	assert_int_equal(listener->max_qos, 2);
	assert_int_equal(listener->max_connections, -1);
	assert_null(listener->mount_point);
	assert_string_equal(listener->access.auto_id_prefix, "auto-");
	assert_true(listener->access.allow_zero_length_clientid);
	config_destroy(config);
}

static void two_defaults_differ_from_mosquittos_on_purpose(void **state)
{
	struct config *config = config_default();

	(void)state;
	assert_true(config->set_tcp_nodelay);
	assert_false(config->allow_duplicate_messages);
	config_destroy(config);
}

static void log_defaults_are_stderr_and_four_types(void **state)
{
	struct config *config = config_default();
	struct log_settings settings;

	(void)state;
	config_log_settings(config, &settings);
	assert_true(settings.to_stderr);
	assert_false(settings.to_stdout || settings.to_syslog || settings.json);
	assert_null(settings.file);
	assert_true(settings.timestamp);
	assert_null(settings.timestamp_format);
	assert_int_equal(settings.syslog_facility, LOG_DAEMON);
	assert_int_equal(settings.types, LOG_TYPE_ERROR | LOG_TYPE_WARNING | LOG_TYPE_NOTICE |
						 LOG_TYPE_INFORMATION);
	config_destroy(config);
}

static void every_kind_of_option_is_stored(void **state)
{
	struct config *config = load("per_listener_settings false\n"
				     "user mosquitto\n"
				     "pid_file /run/broker.pid\n"
				     "sys_interval 0\n"
				     "memory_limit 9000000000\n"
				     "worker_threads 3\n"
				     "max_keepalive 600\n"
				     "persistent_client_expiration 2m\n"
				     "max_session_expiry_interval 90s\n"
				     "max_packet_size 20\n"
				     "queue_drop oldest\n"
				     "shared_subscription_strategy hash_topic\n"
				     "log_format json\n"
				     "set_tcp_nodelay false\n"
				     "retain_expiry_interval 5\n"
				     "listener 18830 localhost\n"
				     "max_connections 100\n"
				     "max_qos 1\n"
				     "max_topic_alias 65535\n"
				     "mount_point a/b/\n"
				     "socket_domain ipv6\n"
				     "use_username_as_clientid true\n");
	const struct config_listener *listener = &config->listeners[0];

	(void)state;
	assert_string_equal(config->user, "mosquitto");
	assert_string_equal(config->pid_file, "/run/broker.pid");
	assert_int_equal(config->sys_interval_s, 0);
	assert_int_equal(config->memory_limit, 9000000000);
	assert_int_equal(config->worker_threads, 3);
	assert_int_equal(config->max_keepalive_s, 600);
	assert_int_equal(config->persistent_client_expiration_s, 60 * 86400);
	assert_int_equal(config->max_session_expiry_interval_s, 90);
	assert_int_equal(config->max_packet_size, 20);
	assert_int_equal(config->queue_drop, CONFIG_DROP_OLDEST);
	assert_int_equal(config->shared_subscription_strategy, CONFIG_SHARED_HASH_TOPIC);
	assert_int_equal(config->log_format, CONFIG_LOG_JSON);
	assert_false(config->set_tcp_nodelay);
	assert_int_equal(config->retain_expiry_interval_min, 5);
	assert_int_equal(config->listener_count, 1);
	assert_int_equal(listener->port, 18830);
	assert_string_equal(listener->bind_address, "localhost");
	assert_int_equal(listener->max_connections, 100);
	assert_int_equal(listener->max_qos, 1);
	assert_int_equal(listener->max_topic_alias, 65535);
	assert_string_equal(listener->mount_point, "a/b/");
	assert_int_equal(listener->socket_domain, CONFIG_DOMAIN_IPV6);
	assert_true(listener->use_username_as_clientid);
	assert_false(listener->access.allow_anonymous);
	config_destroy(config);
}

static void worker_threads_is_resolved_to_the_processors(void **state)
{
	struct config *config = config_default();

	(void)state;
	assert_in_range(config->worker_threads, 1, 256);
	config_destroy(config);
}

static void durations_take_each_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} rows[] = {{"30s", 30},
		    {"2h", 7200},
		    {"14d", 14 * 86400},
		    {"3w", 21 * 86400},
		    {"2m", 60 * 86400},
		    {"1y", 365 * 86400},
		    {"0", 0},
		    {"100y", 36500ull * 86400}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[80];
		struct config *config;

		snprintf(text, sizeof(text), "persistent_client_expiration %s\n", rows[i].text);
		config = load(text);
		assert_int_equal(config->persistent_client_expiration_s, rows[i].seconds);
		config_destroy(config);
	}
}

static void blanks_tabs_line_ends_and_comments_are_no_part_of_a_value(void **state)
{
	struct config *config = load("\xef\xbb\xbf# a comment with a b\xff"
				     "d byte\r\n"
				     "\r\n"
				     "   \t \n"
				     "\tsys_interval\t 7  \r\n"
				     "  # another comment\n"
				     "max_keepalive 60 # mosquitto reads the first word\n"
				     "listener 1883 127.0.0.1 # loopback\n"
				     "mount_point   a b/  \t\r\n"
				     "allow_anonymous true\n"
				     "log_type all");

	(void)state;
	assert_int_equal(config->sys_interval_s, 7);
	assert_int_equal(config->max_keepalive_s, 60);
	assert_string_equal(config->listeners[0].bind_address, "127.0.0.1");
	assert_string_equal(config->listeners[0].mount_point, "a b/");
	assert_int_equal(config->log_types, LOG_TYPES_ALL);
	config_destroy(config);
}

static void log_lines_add_up_and_replace_the_default(void **state)
{
	struct config *config = load("log_dest file /var/log/my broker.log\n"
				     "log_dest topic\n"
				     "log_dest syslog\n"
				     "log_type error\n"
				     "log_type debug subscribe\n"
				     "log_facility 5\n"
				     "log_timestamp false\n"
				     "log_timestamp_format %Y-%m-%dT%H:%M:%S\n");

	(void)state;
	assert_string_equal(config->log_file, "/var/log/my broker.log");
	assert_true(config->log_to_topic && config->log_to_syslog);
	assert_false(config->log_to_stderr || config->log_to_stdout || config->log_timestamp);
	assert_int_equal(config->log_types, LOG_TYPE_ERROR | LOG_TYPE_DEBUG | LOG_TYPE_SUBSCRIBE);
	assert_int_equal(config->log_facility, LOG_LOCAL5);
	assert_string_equal(config->log_timestamp_format, "%Y-%m-%dT%H:%M:%S");
	config_destroy(config);
}

static void log_dest_none_and_log_type_none_are_silent(void **state)
{
	struct config *config = load("log_dest stdout\nlog_dest none\nlog_type none\n");

	(void)state;
	assert_false(config->log_to_stderr || config->log_to_stdout);
	assert_int_equal(config->log_types, 0);
	config_destroy(config);
}

static void verbose_on_the_command_line_overrides_log_type(void **state)
{
	struct config_overrides overrides = {.verbose = true};
	struct config *config = load_with("log_type error\n", &overrides);

	(void)state;
	assert_int_equal(config->log_types, LOG_TYPES_ALL);
	config_destroy(config);
}

static void ports_on_the_command_line_are_on_loopback(void **state)
{
	struct config_overrides overrides = {.ports = {1884, 1885}, .port_count = 2};
	struct config *config = load_with("sys_interval 1\n", &overrides);

	(void)state;
	assert_int_equal(config->listener_count, 4);
	assert_int_equal(config->listeners[0].port, 1884);
	assert_int_equal(config->listeners[3].port, 1885);
	assert_string_equal(config->listeners[3].bind_address, "::1");
	config_destroy(config);
}

static void ports_on_the_command_line_yield_to_listeners_and_say_so(void **state)
{
	struct config_overrides overrides = {.ports = {1884}, .port_count = 1};
	struct config *config = load_with("listener 1900\nallow_anonymous true\n", &overrides);

	(void)state;
	assert_int_equal(config->listener_count, 1);
	assert_int_equal(config->listeners[0].port, 1900);
	assert_true(has_note(config, "-p is ignored, because t.conf defines listeners"));
	config_destroy(config);
}

static void port_and_bind_address_make_the_default_listener(void **state)
{
	struct config *config = load("port 1890\nmax_connections 5\nbind_address 192.0.2.1\n"
				     "allow_anonymous true\nlistener 1891\n");

	(void)state;
	assert_false(config->is_local_only);
	assert_int_equal(config->listener_count, 2);
	assert_int_equal(config->listeners[0].port, 1890);
	assert_string_equal(config->listeners[0].bind_address, "192.0.2.1");
	assert_int_equal(config->listeners[0].max_connections, 5);
	assert_int_equal(config->listeners[1].port, 1891);
	assert_int_equal(config->listeners[1].max_connections, -1);
	config_destroy(config);
}

static void bind_address_alone_uses_the_usual_port(void **state)
{
	struct config *config = load("bind_address 0.0.0.0\nallow_anonymous true\n");

	(void)state;
	assert_int_equal(config->listener_count, 1);
	assert_int_equal(config->listeners[0].port, 1883);
	assert_false(config->listeners[0].is_loopback_default);
	config_destroy(config);
}

static void local_only_keeps_what_the_file_says(void **state)
{
	struct config *config = load("allow_anonymous false\npassword_file pw\nsocket_domain ipv4\n"
				     "max_connections 3\n");

	(void)state;
	assert_true(config->is_local_only);
	assert_int_equal(config->listener_count, 1);
	assert_string_equal(config->listeners[0].bind_address, "127.0.0.1");
	assert_false(config->listeners[0].access.allow_anonymous);
	assert_string_equal(config->listeners[0].access.password_file, "pw");
	assert_int_equal(config->listeners[0].max_connections, 3);
	config_destroy(config);
}

static void unix_socket_is_a_listener_with_port_0(void **state)
{
	struct config *config = load("listener 0 /run/nightjar.sock\nallow_anonymous true\n");

	(void)state;
	assert_string_equal(config->listeners[0].unix_path, "/run/nightjar.sock");
	assert_null(config->listeners[0].bind_address);
	assert_int_equal(config->listeners[0].port, 0);
	config_destroy(config);
}

static void access_is_shared_unless_per_listener_settings(void **state)
{
	struct config *config = load("listener 1\npassword_file pw\n"
				     "listener 2\nacl_file acl\nallow_anonymous true\n");

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct config_access *access = &config->listeners[i].access;

		assert_string_equal(access->password_file, "pw");
		assert_string_equal(access->acl_file, "acl");
		assert_true(access->allow_anonymous);
	}
	config_destroy(config);
}

static void access_is_separate_with_per_listener_settings(void **state)
{
	/* The option counts for the lines above it too. */
	struct config *config = load("listener 1\npassword_file pw\nauto_id_prefix one-\n"
				     "listener 2\nacl_file acl\nallow_anonymous true\n"
				     "per_listener_settings true\n");
	const struct config_access *one = &config->listeners[0].access;
	const struct config_access *two = &config->listeners[1].access;

	(void)state;
	assert_string_equal(one->password_file, "pw");
	assert_null(one->acl_file);
	assert_false(one->allow_anonymous);
	assert_string_equal(one->auto_id_prefix, "one-");
	assert_null(two->password_file);
	assert_string_equal(two->acl_file, "acl");
	assert_true(two->allow_anonymous);
	assert_string_equal(two->auto_id_prefix, "auto-");
	config_destroy(config);
}

static void last_number_or_flag_wins_with_a_note(void **state)
{
	struct config *config = load("listener 1\nallow_anonymous true\nmax_qos 1\nmax_qos 0\n"
				     "sys_interval 4\nlistener 2\nallow_anonymous false\n"
				     "password_file pw\nsys_interval 5\n");

	(void)state;
	assert_int_equal(config->listeners[0].max_qos, 0);
	assert_int_equal(config->sys_interval_s, 5);
	assert_false(config->listeners[0].access.allow_anonymous);
	assert_true(has_note(config, "t.conf:4: 'max_qos' is also set on line 3"));
	assert_true(has_note(config, "t.conf:9: 'sys_interval' is also set on line 5"));
	assert_true(has_note(config, "t.conf:7: 'allow_anonymous' is set differently at t.conf:2"));
	config_destroy(config);
}

static void persistence_takes_mosquittos_words(void **state)
{
	struct config *config = load("persistence true\npersistence_location /var/lib/m/\n"
				     "persistence_file m.db\nautosave_interval 60\n"
				     "autosave_on_changes false\n"
				     "durability process\npersistence_max_size 5000000\n"
				     "queue_memory_messages 7\npersistence_full_wait 4\n");

	(void)state;
	assert_int_equal(config->note_count, 3);
	assert_true(has_note(config, "t.conf:3: 'persistence_file' has no effect, it can be taken "
				     "out: The store is a folder, persistence_location."));
	assert_true(has_note(config, "t.conf:4: 'autosave_interval' has no effect"));
	assert_true(config->persistence);
	assert_string_equal(config->persistence_location, "/var/lib/m/");
	assert_int_equal(config->durability, STORE_PROCESS);
	assert_int_equal(config->persistence_max_size, 5000000);
	assert_int_equal(config->queue_memory_messages, 7);
	assert_int_equal(config->persistence_full_wait, 4);
	config_destroy(config);
	config = load("");
	assert_false(config->persistence);
	assert_null(config->persistence_location);
	assert_int_equal(config->durability, STORE_DISK);
	assert_int_equal(config->queue_memory_messages, 1000);
	assert_int_equal(config->persistence_full_wait, 30);
	config_destroy(config);
}

static void deprecated_names_work(void **state)
{
	struct config *config = load("listener 1\nmaximum_qos 1\nprotocol mqtt\n"
				     "allow_anonymous true\nretry_interval 20\n");

	(void)state;
	assert_int_equal(config->listeners[0].max_qos, 1);
	assert_true(has_note(config, "'retry_interval' has no effect"));
	config_destroy(config);
}

static void a_listener_that_nobody_can_use_is_noted(void **state)
{
	struct config *config = load("\nlistener 1883\n");

	(void)state;
	assert_true(has_note(config, "t.conf:2: nobody can connect to this listener"));
	config_destroy(config);
}

static void included_files_load_in_mosquittos_order(void **state)
{
	/* The last of them wins, and the notes are no matter here. */
	static const char *const names[] = {"00.conf", "01.conf", "A.conf",
					    "a.conf",  "B.conf",  "b.conf"};
	char text[256], file[64];
	struct config *config;

	(void)state;
	snprintf(text, sizeof(text), "%s/order.d", folder);
	assert_int_equal(mkdir(text, 0700), 0);
	write_file("order.d/README", "not a configuration");
	write_file("order.d/.conf", "not one either");
	snprintf(text, sizeof(text), "sys_interval 1\ninclude_dir %s/order.d/\nsys_interval 99\n",
		 folder);
	for (size_t last = 0; last < 6; last++) {
		/* Log types add up, 'none' takes away what came before: order shows. */
		for (size_t i = 0; i < 6; i++) {
			snprintf(file, sizeof(file), "order.d/%s", names[i]);
			write_file(file, i == last  ? "log_type none\n"
					 : i < last ? "log_type debug\n"
						    : "log_type error\n");
		}
		assert_int_equal(config_load(write_file("order.conf", text), NULL, &config,
					     &errors),
				 ERR_NONE);
		assert_int_equal(config->log_types, last < 5 ? LOG_TYPE_ERROR : 0);
		assert_int_equal(config->sys_interval_s, 99);
		config_destroy(config);
	}
}

static void an_included_file_begins_without_a_listener(void **state)
{
	char text[256];
	const char *path;
	struct config *config;

	(void)state;
	snprintf(text, sizeof(text), "%s/inc.d", folder);
	assert_int_equal(mkdir(text, 0700), 0);
	write_file("inc.d/1.conf", "listener 2000\nmax_qos 0\n");
	write_file("inc.d/2.conf", "port 3000\nmax_qos 1\n");
	snprintf(text, sizeof(text),
		 "listener 1000\ninclude_dir %s/inc.d\nmax_connections 9\n"
		 "allow_anonymous true\n",
		 folder);
	path = write_file("inc.conf", text);
	assert_int_equal(config_load(path, NULL, &config, &errors), ERR_NONE);
	assert_int_equal(config->listener_count, 3);
	assert_int_equal(config->listeners[0].port, 3000);
	assert_int_equal(config->listeners[0].max_qos, 1);
	assert_int_equal(config->listeners[1].port, 1000);
	assert_int_equal(config->listeners[1].max_qos, 2);
	assert_int_equal(config->listeners[1].max_connections, 9);
	assert_int_equal(config->listeners[2].port, 2000);
	assert_int_equal(config->listeners[2].max_qos, 0);
	config_destroy(config);
}

struct checked {
	char seen[256];
};

static enum err record_file(const char *kind, const char *path, struct err_detail *detail,
			    void *context)
{
	struct checked *checked = context;
	size_t used = strlen(checked->seen);

	snprintf(checked->seen + used, sizeof(checked->seen) - used, "%s=%s ", kind, path);
	if (strcmp(path, "bad") == 0)
		return err_set(detail, ERR_INVALID, "%s:3: no colon", path);
	return ERR_NONE;
}

static void files_are_checked_once_each(void **state)
{
	struct config *config = load("per_listener_settings true\n"
				     "listener 1\npassword_file pw\nacl_file acl\n"
				     "listener 2\npassword_file pw\nacl_file bad\n");
	struct checked checked = {""};

	(void)state;
	assert_int_equal(config_check_files(config, record_file, &checked, &errors), ERR_INVALID);
	assert_string_equal(checked.seen, "password_file=pw acl_file=acl acl_file=bad ");
	assert_int_equal(errors.count, 1);
	assert_string_equal(errors.text[0], "bad:3: no colon");
	config_destroy(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_file_the_broker_listens_on_loopback_and_is_anonymous),
		cmocka_unit_test(silence_means_mosquittos_defaults),
		cmocka_unit_test(two_defaults_differ_from_mosquittos_on_purpose),
		cmocka_unit_test(log_defaults_are_stderr_and_four_types),
		cmocka_unit_test(every_kind_of_option_is_stored),
		cmocka_unit_test(worker_threads_is_resolved_to_the_processors),
		cmocka_unit_test(durations_take_each_unit),
		cmocka_unit_test(blanks_tabs_line_ends_and_comments_are_no_part_of_a_value),
		cmocka_unit_test(log_lines_add_up_and_replace_the_default),
		cmocka_unit_test(log_dest_none_and_log_type_none_are_silent),
		cmocka_unit_test(verbose_on_the_command_line_overrides_log_type),
		cmocka_unit_test(ports_on_the_command_line_are_on_loopback),
		cmocka_unit_test(ports_on_the_command_line_yield_to_listeners_and_say_so),
		cmocka_unit_test(port_and_bind_address_make_the_default_listener),
		cmocka_unit_test(bind_address_alone_uses_the_usual_port),
		cmocka_unit_test(local_only_keeps_what_the_file_says),
		cmocka_unit_test(unix_socket_is_a_listener_with_port_0),
		cmocka_unit_test(access_is_shared_unless_per_listener_settings),
		cmocka_unit_test(access_is_separate_with_per_listener_settings),
		cmocka_unit_test(last_number_or_flag_wins_with_a_note),
		cmocka_unit_test(persistence_takes_mosquittos_words),
		cmocka_unit_test(deprecated_names_work),
		cmocka_unit_test(a_listener_that_nobody_can_use_is_noted),
		cmocka_unit_test(included_files_load_in_mosquittos_order),
		cmocka_unit_test(an_included_file_begins_without_a_listener),
		cmocka_unit_test(files_are_checked_once_each),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
