/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "server/control_page.h"
#include "server/control_request.h"

/* Requests. */

static void takes(const char *line, enum control_command command, const char *argument)
{
	struct control_request request;
	struct err_detail detail;

	if (control_request_parse(slice_from_string(line), &request, &detail) != ERR_NONE)
		fail_msg("%s: %s", line, detail.text);
	assert_int_equal(request.command, command);
	if (argument)
		assert_string_equal(request.argument, argument);
	else
		assert_null(request.argument);
	control_request_fini(&request);
}

static void refuses(const char *line, const char *why)
{
	struct control_request request;
	struct err_detail detail;

	assert_int_not_equal(control_request_parse(slice_from_string(line), &request, &detail),
			     ERR_NONE);
	assert_null(request.argument);
	if (!strstr(detail.text, why))
		fail_msg("%s is refused with: %s", line, detail.text);
}

static void requests_are_read(void **state)
{
	(void)state;
	takes("{\"version\":1,\"command\":\"clients\"}", CONTROL_CLIENTS, NULL);
	takes(" { \"id\": \"a\\u00e4\" , \"command\" : \"client\", \"version\": 1 } ",
	      CONTROL_CLIENT, "a\xc3\xa4");
	takes("{\"version\":1,\"command\":\"subscriptions\"}", CONTROL_SUBSCRIPTIONS, NULL);
	takes("{\"version\":1,\"command\":\"subscriptions\",\"filter\":\"a/+/#\"}",
	      CONTROL_SUBSCRIPTIONS, "a/+/#");
	takes("{\"version\":1,\"command\":\"stats\",\"id\":7,\"more\":[{}]}", CONTROL_STATS, NULL);
	takes("{\"version\":1,\"command\":\"log-level\",\"level\":\"+debug\"}", CONTROL_LOG_LEVEL,
	      "+debug");
}

static void bad_requests_are_told_what_is_wrong(void **state)
{
	(void)state;
	refuses("", "JSON object");
	refuses("{", "JSON object");
	refuses("\"stats\"", "JSON object");
	refuses("{\"command\":\"stats\"}", "version");
	refuses("{\"version\":\"1\",\"command\":\"stats\"}", "version");
	refuses("{\"version\":2,\"command\":\"stats\"}", "same release");
	refuses("{\"version\":1.5,\"command\":\"stats\"}", "version 1");
	refuses("{\"version\":1}", "command");
	refuses("{\"version\":1,\"command\":\"Stats\"}", "no command 'Stats'");
	refuses("{\"version\":1,\"command\":\"client\"}", "\"id\"");
	refuses("{\"version\":1,\"command\":\"client\",\"ID\":\"a\"}", "\"id\"");
	refuses("{\"version\":1,\"command\":\"forget\",\"id\":null}", "string");
	refuses("{\"version\":1,\"command\":\"forget\",\"id\":\"\"}", "empty");
	refuses("{\"version\":1,\"command\":\"retained\",\"topic\":\"a/#/b\"}", "Topic Filter");
}

/* Pages. */

static cJSON *next(const struct control_page *page, uint32_t *at)
{
	cJSON *record = control_page_next(page, at);

	assert_non_null(record);
	return record;
}

static void is_json(cJSON *record, const char *wanted)
{
	char *text = cJSON_PrintUnformatted(record);

	assert_string_equal(text, wanted);
	cJSON_free(text);
	cJSON_Delete(record);
}

static void records_become_objects_in_their_order(void **state)
{
	struct control_page page = {.bytes = BUFFER_NONE};
	uint32_t at = 0;

	(void)state;
	assert_null(control_page_next(&page, &at));
	control_page_begin(&page, "one");
	control_page_text(&page, "text", SLICE_LITERAL("a\"\n"));
	control_page_number(&page, "number", UINT64_MAX);
	control_page_flag(&page, "yes", true);
	control_page_begin(&page, "empty");
	control_page_begin(&page, "three");
	control_page_text(&page, "none", SLICE_NONE);
	control_page_bytes(&page, "plain", SLICE_LITERAL("12345678"));
	control_page_bytes(&page, "raw", SLICE_LITERAL("a\0b"));
	control_page_bytes(&page, "bad", SLICE_LITERAL("\xff"));
	is_json(next(&page, &at), "{\"type\":\"one\",\"text\":\"a\\\"\\n\","
				  "\"number\":18446744073709551615,\"yes\":true}");
	is_json(next(&page, &at), "{\"type\":\"empty\"}");
	is_json(next(&page, &at), "{\"type\":\"three\",\"none\":\"\",\"plain\":\"12345678\","
				  "\"raw_base64\":\"YQBi\",\"bad_base64\":\"/w==\"}");
	assert_null(control_page_next(&page, &at));
	control_page_clear(&page);
	at = 0;
	assert_null(control_page_next(&page, &at));
	control_page_fini(&page);
}

static void moments_are_shown_in_wall_time(void **state)
{
	struct control_page page = {.bytes = BUFFER_NONE};
	uint64_t before_s = clock_wall_ms() / 1000;
	const cJSON *when;
	uint32_t at = 0;
	cJSON *record;

	(void)state;
	control_page_begin(&page, "x");
	control_page_moment(&page, "when", clock_now_ms() - 5000);
	record = next(&page, &at);
	when = cJSON_GetObjectItem(record, "when");
	/* Exact numbers are raw text to cJSON. */
	assert_in_range(strtoull(when->valuestring, NULL, 10), before_s - 6, before_s);
	cJSON_Delete(record);
	control_page_fini(&page);
}

static void a_page_has_a_bound_and_is_never_half_a_text(void **state)
{
	struct control_page page = {.bytes = BUFFER_NONE};
	uint8_t *large = calloc(1, CONTROL_PAGE_BYTES_MAX);
	uint32_t at = 0;

	(void)state;
	memset(large, 'x', CONTROL_PAGE_BYTES_MAX);
	control_page_begin(&page, "a");
	control_page_text(&page, "fits", slice_of(large, CONTROL_PAGE_BYTES_FULL));
	assert_true(control_page_is_full(&page));
	assert_false(page.has_failed);
	control_page_text(&page, "does not", slice_of(large, CONTROL_PAGE_BYTES_MAX - 1000));
	assert_true(page.has_failed);
	control_page_number(&page, "later", 1);
	cJSON_Delete(next(&page, &at));
	assert_null(control_page_next(&page, &at));
	assert_int_equal(at, page.bytes.len);
	control_page_fini(&page);
	free(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_read),
		cmocka_unit_test(bad_requests_are_told_what_is_wrong),
		cmocka_unit_test(records_become_objects_in_their_order),
		cmocka_unit_test(moments_are_shown_in_wall_time),
		cmocka_unit_test(a_page_has_a_bound_and_is_never_half_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
