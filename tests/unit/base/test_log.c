/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/counters.h"
#include "base/log.h"
#include "base/log_line.h"
#include "base/log_target.h"

static const struct log_line_style text_style = {.timestamp = true};
static const struct log_line_style json_style = {.timestamp = true, .json = true};
static char folder[] = "/tmp/nightjar-log-XXXXXX";
static char file_path[128];

static const char *format(const struct log_line_style *style, enum log_type type,
			  const struct log_fields *fields, const char *message)
{
	static struct log_line line;

	log_line_format(&line, style, type, fields, message, 1700000000123u);
	assert_int_equal(line.len, strlen(line.text));
	assert_in_range(line.len, 1, LOG_LINE_BYTES);
	assert_ptr_equal(strchr(line.text, '\n'), line.text + line.len - 1);
	return line.text;
}

static void text_line_has_time_message_and_fields(void **unused)
{
	struct log_fields fields = {
		.client_id = SLICE_LITERAL("c1"),
		.user = SLICE_LITERAL("two words"),
		.address = "127.0.0.1:5",
		.reason = "keep alive",
	};

	(void)unused;
	assert_string_equal(
		format(&text_style, LOG_TYPE_NOTICE, &fields, "Client closed"),
		"1700000000: Client closed client=c1 user=\"two words\" address=127.0.0.1:5 "
		"reason=\"keep alive\"\n");
	assert_string_equal(format(&text_style, LOG_TYPE_ERROR, NULL, "No"),
			    "1700000000: Error: No\n");
}

static void time_can_be_formatted_or_left_out(void **unused)
{
	struct log_line_style style = {.timestamp = true, .timestamp_format = "[%%]"};

	(void)unused;
	assert_string_equal(format(&style, LOG_TYPE_NOTICE, NULL, "x"), "[%]: x\n");
	style.timestamp = false;
	assert_string_equal(format(&style, LOG_TYPE_NOTICE, NULL, "x"), "x\n");
}

static void nothing_a_peer_chose_can_forge_a_line(void **unused)
{
	struct log_fields fields = {.client_id =
					    SLICE_LITERAL("a\\\" user=root\n\x1b[2J\xff\xc2\x9b")};

	(void)unused;
	assert_string_equal(format(&text_style, LOG_TYPE_NOTICE, &fields, "one\ntwo\x7f \xc3\xa9"),
			    "1700000000: one\\x0atwo\\x7f \xc3\xa9 "
			    "client=\"a\\\\\\\" user=root\\x0a\\x1b[2J\\xff\\xc2\\x9b\"\n");
}

static void malformed_utf8_is_escaped_byte_by_byte(void **unused)
{
	/* Overlong, surrogate, beyond the last code point, cut short; then a good one. */
	(void)unused;
	assert_string_equal(format(&text_style, LOG_TYPE_NOTICE, NULL,
				   "\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82 \xe2\x82\xac"),
			    "1700000000: \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 "
			    "\\xe2\\x82 \xe2\x82\xac\n");
}

static void json_line_is_one_object_with_the_same_words(void **unused)
{
	struct log_fields fields = {.client_id = SLICE_LITERAL("c\"1\n"), .reason = "taken over"};
	cJSON *object = cJSON_Parse(format(&json_style, LOG_TYPE_WARNING, &fields, "closed"));

	(void)unused;
	assert_non_null(object);
	assert_string_equal(cJSON_GetObjectItem(object, "time")->valuestring,
			    "2023-11-14T22:13:20.123Z");
	assert_string_equal(cJSON_GetObjectItem(object, "level")->valuestring, "warning");
	assert_string_equal(cJSON_GetObjectItem(object, "message")->valuestring, "closed");
	assert_string_equal(cJSON_GetObjectItem(object, "client")->valuestring, "c\"1\\x0a");
	assert_string_equal(cJSON_GetObjectItem(object, "reason")->valuestring, "taken over");
	assert_null(cJSON_GetObjectItem(object, "user"));
	cJSON_Delete(object);
}

static void too_long_lines_are_cut_and_stay_valid(void **unused)
{
	static char long_text[70000];
	struct log_fields fields;
	const char *line;
	cJSON *object;

	(void)unused;
	memset(long_text, '"', sizeof long_text - 1);
	fields = (struct log_fields){.client_id = slice_from_string(long_text),
				     .user = slice_from_string(long_text),
				     .address = long_text,
				     .reason = long_text};
	line = format(&text_style, LOG_TYPE_NOTICE, &fields, long_text);
	assert_string_equal(line + strlen(line) - 4, "...\n");
	object = cJSON_Parse(format(&json_style, LOG_TYPE_NOTICE, &fields, long_text));
	assert_non_null(object);
	assert_non_null(cJSON_GetObjectItem(object, "reason"));
	cJSON_Delete(object);
}

static char *read_file(const char *path)
{
	static char content[1 << 20];
	int fd = open(path, O_RDONLY);
	ssize_t len;

	assert_true(fd >= 0);
	len = read(fd, content, sizeof content - 1);
	assert_true(len >= 0);
	content[len] = '\0';
	close(fd);
	return content;
}

static void reopen_file(unsigned types)
{
	struct log_settings settings = {.types = types, .file = file_path};
	struct err_detail detail;

	assert_int_equal(log_open(&settings, &detail), ERR_NONE);
}

static void open_file(unsigned types)
{
	unlink(file_path);
	reopen_file(types);
}

static void only_the_types_that_are_wanted_are_written(void **unused)
{
	(void)unused;
	open_file(LOG_TYPE_ERROR | LOG_TYPE_SUBSCRIBE);
	assert_true(log_is_enabled(LOG_TYPE_SUBSCRIBE));
	assert_false(log_is_enabled(LOG_TYPE_NOTICE));
	log_event(LOG_TYPE_NOTICE, NULL, "not this");
	log_event(LOG_TYPE_SUBSCRIBE, NULL, "but %s %d", "this", 1);
	log_close();
	assert_string_equal(read_file(file_path), "but this 1\n");
}

static void without_a_destination_nothing_is_enabled(void **unused)
{
	struct log_settings settings = {.types = LOG_TYPES_ALL};

	(void)unused;
	assert_int_equal(log_open(&settings, NULL), ERR_NONE);
	assert_false(log_is_enabled(LOG_TYPE_ERROR));
	log_close();
	assert_true(log_is_enabled(LOG_TYPE_ERROR));
}

static void file_is_opened_again_after_logrotate_moved_it(void **unused)
{
	char moved[160];

	(void)unused;
	snprintf(moved, sizeof moved, "%s.1", file_path);
	open_file(LOG_TYPES_ALL);
	log_event(LOG_TYPE_NOTICE, NULL, "old");
	assert_int_equal(rename(file_path, moved), 0);
	log_event(LOG_TYPE_NOTICE, NULL, "still old");
	reopen_file(LOG_TYPES_ALL);
	log_event(LOG_TYPE_NOTICE, NULL, "new");
	log_close();
	assert_string_equal(read_file(moved), "old\nstill old\n");
	assert_string_equal(read_file(file_path), "new\n");
	unlink(moved);
}

static void file_that_cannot_be_opened_leaves_the_old_log(void **unused)
{
	struct log_settings settings = {.types = LOG_TYPES_ALL, .file = "/nonexistent/folder/log"};
	struct err_detail detail = {""};

	(void)unused;
	open_file(LOG_TYPES_ALL);
	assert_int_equal(log_open(&settings, &detail), ERR_IO);
	assert_non_null(strstr(detail.text, "/nonexistent/folder/log"));
	log_event(LOG_TYPE_NOTICE, NULL, "still here");
	log_close();
	assert_string_equal(read_file(file_path), "still here\n");
}

static char topic_line[256];

static void note_topic_line(enum log_type type, const char *line)
{
	snprintf(topic_line, sizeof topic_line, "%d %s", (int)type, line);
}

static void topic_gets_the_line_without_its_break(void **unused)
{
	struct log_settings settings = {.types = LOG_TYPES_ALL, .to_topic = note_topic_line};

	(void)unused;
	assert_int_equal(log_open(&settings, NULL), ERR_NONE);
	log_event(LOG_TYPE_WARNING, NULL, "careful");
	log_close();
	assert_string_equal(topic_line, "2 Warning: careful");
}

static void pipe_that_nobody_reads_loses_lines_and_says_so_later(void **unused)
{
	struct log_target target;
	struct log_line line;
	static char drained[1 << 17];
	uint64_t lost_before = counter_total(COUNTER_LOG_LINES_LOST);
	int ends[2];

	(void)unused;
	assert_int_equal(pipe(ends), 0);
	target = log_target_of(ends[1]);
	log_line_format(&line, &text_style, LOG_TYPE_NOTICE, NULL, "filling", 0);
	for (int i = 0; i < 100000 && target.lost < 5; i++)
		log_target_write(&target, &line, &text_style);
	assert_int_equal(target.lost, 5);
	assert_int_equal(counter_total(COUNTER_LOG_LINES_LOST) - lost_before, 5);
	assert_true(read(ends[0], drained, sizeof drained) > 0);
	log_target_write(&target, &line, &text_style);
	assert_int_equal(target.lost, 0);
	memset(drained, 0, sizeof drained);
	assert_true(read(ends[0], drained, sizeof drained - 1) > 0);
	assert_non_null(strstr(drained, "Warning: 5 log lines could not be written here\n"));
	close(ends[0]);
	close(ends[1]);
}

static void full_disk_and_closed_descriptor_only_lose_lines(void **unused)
{
	struct log_target full = log_target_of(open("/dev/full", O_WRONLY));
	struct log_target closed = log_target_of(dup(full.fd));
	struct log_line line;

	(void)unused;
	close(closed.fd);
	log_line_format(&line, &text_style, LOG_TYPE_NOTICE, NULL, "x", 0);
	for (int i = 0; i < 3; i++) {
		log_target_write(&full, &line, &text_style);
		log_target_write(&closed, &line, &text_style);
	}
	assert_int_equal(full.lost, 3);
	assert_int_equal(closed.lost, 3);
	close(full.fd);
}

static void syslog_gets_datagrams_and_may_come_back(void **unused)
{
	struct log_syslog syslog = LOG_SYSLOG_NONE;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char datagram[512] = "";
	int fd;

	(void)unused;
	snprintf(address.sun_path, sizeof address.sun_path, "%s/syslog", folder);
	syslog.path = address.sun_path;
	syslog.facility = LOG_LOCAL0;
	log_syslog_write(&syslog, LOG_TYPE_ERROR, "nobody there", 12);
	assert_int_equal(syslog.fd, -1);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	syslog.retry_at_ms = 0;
	log_syslog_write(&syslog, LOG_TYPE_ERROR, "hello there", 5);
	assert_true(recv(fd, datagram, sizeof datagram - 1, MSG_DONTWAIT) > 0);
	assert_int_equal(strncmp(datagram, "<131>", 5), 0);
	assert_string_equal(datagram + strlen(datagram) - 7, ": hello");
	log_syslog_close(&syslog);
	close(fd);
	unlink(address.sun_path);
}

static void *log_many(void *name)
{
	for (int i = 0; i < 500; i++)
		log_event(LOG_TYPE_NOTICE, NULL, "%s says %d and %s", (char *)name, i,
			  (char *)name);
	return NULL;
}

static void threads_do_not_mix_their_lines(void **unused)
{
	pthread_t threads[2];
	int good = 0;
	char *line;

	(void)unused;
	open_file(LOG_TYPES_ALL);
	assert_int_equal(pthread_create(&threads[0], NULL, log_many, (void *)"first"), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, log_many, (void *)"second"), 0);
	for (int i = 0; i < 20; i++)
		reopen_file(LOG_TYPES_ALL);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	log_close();
	for (line = strtok(read_file(file_path), "\n"); line; line = strtok(NULL, "\n")) {
		char before[16], after[16], rest;
		int number;

		assert_int_equal(sscanf(line, "%15s says %d and %15s%c", before, &number, after,
					&rest),
				 3);
		assert_string_equal(before, after);
		good++;
	}
	assert_int_equal(good, 1000);
}

static int make_folder(void **unused)
{
	(void)unused;
	if (!mkdtemp(folder))
		return -1;
	snprintf(file_path, sizeof file_path, "%s/broker.log", folder);
	return 0;
}

static int remove_folder(void **unused)
{
	(void)unused;
	unlink(file_path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_line_has_time_message_and_fields),
		cmocka_unit_test(time_can_be_formatted_or_left_out),
		cmocka_unit_test(nothing_a_peer_chose_can_forge_a_line),
		cmocka_unit_test(malformed_utf8_is_escaped_byte_by_byte),
		cmocka_unit_test(json_line_is_one_object_with_the_same_words),
		cmocka_unit_test(too_long_lines_are_cut_and_stay_valid),
		cmocka_unit_test(only_the_types_that_are_wanted_are_written),
		cmocka_unit_test(without_a_destination_nothing_is_enabled),
		cmocka_unit_test(file_is_opened_again_after_logrotate_moved_it),
		cmocka_unit_test(file_that_cannot_be_opened_leaves_the_old_log),
		cmocka_unit_test(topic_gets_the_line_without_its_break),
		cmocka_unit_test(pipe_that_nobody_reads_loses_lines_and_says_so_later),
		cmocka_unit_test(full_disk_and_closed_descriptor_only_lose_lines),
		cmocka_unit_test(syslog_gets_datagrams_and_may_come_back),
		cmocka_unit_test(threads_do_not_mix_their_lines),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
