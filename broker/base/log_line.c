/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_line.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct text {
	char *out;
	size_t len, cap; /* cap is without the terminating zero */
	bool is_cut;
};

static void text_append(struct text *text, const char *bytes, size_t len)
{
	if (len > text->cap - text->len) {
		text->is_cut = true;
		text->cap = text->len; /* nothing shorter may follow what was left out */
		return;
	}
	memcpy(text->out + text->len, bytes, len);
	text->len += len;
	text->out[text->len] = '\0';
}

static void text_append_string(struct text *text, const char *string)
{
	text_append(text, string, strlen(string));
}

/* Length of the well-formed UTF-8 character at the front of bytes, 0 for none. */
static size_t utf8_length(struct slice bytes)
{
	const uint8_t *d = bytes.data;
	size_t len = d[0] < 0x80 ? 1 : d[0] < 0xc2 ? 0 : d[0] < 0xe0 ? 2 : d[0] < 0xf0 ? 3 : 4;

	if (len == 0 || d[0] > 0xf4 || len > bytes.len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((d[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what is beyond U+10FFFF. */
	if ((d[0] == 0xe0 && d[1] < 0xa0) || (d[0] == 0xed && d[1] > 0x9f) ||
	    (d[0] == 0xf0 && d[1] < 0x90) || (d[0] == 0xf4 && d[1] > 0x8f))
		return 0;
	return len;
}

/* U+0000-001F, U+007F, and U+0080-009F, which some terminals obey too. */
static bool is_control(const uint8_t *character, size_t len)
{
	return character[0] < 0x20 || character[0] == 0x7f ||
	       (len == 2 && character[0] == 0xc2 && character[1] < 0xa0);
}

/* in_quotes: also backslash and quote, so that a value cannot end its quotes. */
static void text_append_escaped(struct text *text, struct slice bytes, bool in_quotes)
{
	while (bytes.len > 0) {
		size_t len = utf8_length(bytes);
		char escaped[8];

		if (len == 0 || is_control(bytes.data, len)) {
			len = 1;
			snprintf(escaped, sizeof escaped, "\\x%02x", bytes.data[0]);
			text_append_string(text, escaped);
		} else {
			if (in_quotes && (bytes.data[0] == '"' || bytes.data[0] == '\\'))
				text_append(text, "\\", 1);
			text_append(text, (const char *)bytes.data, len);
		}
		bytes = slice_of(bytes.data + len, bytes.len - len);
	}
}

static bool needs_quotes(struct slice value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] <= ' ' || strchr("\"\\=", value.data[i]))
			return true;
	return false;
}

static void text_append_field(struct text *text, const char *name, struct slice value)
{
	bool quoted = needs_quotes(value);

	if (value.len == 0)
		return;
	text_append(text, " ", 1);
	text_append_string(text, name);
	text_append_string(text, quoted ? "=\"" : "=");
	text_append_escaped(text, value, quoted);
	if (quoted)
		text_append(text, "\"", 1);
}

static void text_append_time(struct text *text, const char *format, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	char shown[128];
	struct tm tm;

	if (!format[0])
		snprintf(shown, sizeof shown, "%lld", (long long)seconds);
	else if (!localtime_r(&seconds, &tm) || strftime(shown, sizeof shown, format, &tm) == 0)
		return;
	text_append_string(text, shown);
}

const char *log_type_name(enum log_type type)
{
	switch (type) {
	case LOG_TYPE_ERROR: return "error";
	case LOG_TYPE_WARNING: return "warning";
	case LOG_TYPE_NOTICE: return "notice";
	case LOG_TYPE_INFORMATION: return "information";
	case LOG_TYPE_DEBUG: return "debug";
	case LOG_TYPE_SUBSCRIBE: return "subscribe";
	case LOG_TYPE_UNSUBSCRIBE: return "unsubscribe";
	case LOG_TYPE_WEBSOCKETS: return "websockets";
	case LOG_TYPE_INTERNAL: return "internal";
	}
	return "unknown";
}

static void format_text(struct log_line *line, const struct log_line_style *style,
			enum log_type type, const struct log_fields *fields, const char *message,
			uint64_t wall_ms)
{
	/* Room is kept for the dots that show a cut, and the line break. */
	struct text text = {.out = line->text, .cap = LOG_LINE_BYTES - 4};

	if (style->timestamp) {
		text_append_time(&text, style->timestamp_format, wall_ms);
		text_append_string(&text, ": ");
	}
	line->body = text.len;
	if (type == LOG_TYPE_ERROR)
		text_append_string(&text, "Error: ");
	if (type == LOG_TYPE_WARNING)
		text_append_string(&text, "Warning: ");
	text_append_escaped(&text, slice_from_string(message), false);
	if (fields) {
		text_append_field(&text, "client", fields->client_id);
		text_append_field(&text, "user", fields->user);
		text_append_field(&text, "address", slice_from_string(fields->address));
		text_append_field(&text, "reason", slice_from_string(fields->reason));
	}
	text.cap = LOG_LINE_BYTES;
	text_append_string(&text, text.is_cut ? "...\n" : "\n");
	line->len = text.len;
}

static void json_add(cJSON *object, const char *name, struct slice value, size_t limit)
{
	char shown[LOG_LINE_BYTES] = "";
	struct text text = {.out = shown, .cap = limit};

	if (value.len == 0)
		return;
	text_append_escaped(&text, value, false);
	text.cap = limit + 3;
	if (text.is_cut)
		text_append_string(&text, "...");
	cJSON_AddStringToObject(object, name, shown);
}

static void json_add_time(cJSON *object, const struct log_line_style *style, uint64_t wall_ms)
{
	char shown[128] = "";
	struct text text = {.out = shown, .cap = sizeof shown - 1};
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;

	if (style->timestamp_format[0]) {
		text_append_time(&text, style->timestamp_format, wall_ms);
	} else if (gmtime_r(&seconds, &tm)) {
		size_t len = strftime(shown, sizeof shown, "%Y-%m-%dT%H:%M:%S", &tm);

		snprintf(shown + len, sizeof shown - len, ".%03uZ", (unsigned)(wall_ms % 1000));
	}
	cJSON_AddStringToObject(object, "time", shown);
}

/* Each string is cut to limit bytes. False when the object is larger than a line all the same. */
static bool format_json(struct log_line *line, const struct log_line_style *style,
			enum log_type type, const struct log_fields *fields, const char *message,
			uint64_t wall_ms, size_t limit)
{
	cJSON *object = cJSON_CreateObject();
	bool fits;

	if (style->timestamp)
		json_add_time(object, style, wall_ms);
	cJSON_AddStringToObject(object, "level", log_type_name(type));
	json_add(object, "message", slice_from_string(message), limit);
	if (fields) {
		json_add(object, "client", fields->client_id, limit);
		json_add(object, "user", fields->user, limit);
		json_add(object, "address", slice_from_string(fields->address), limit);
		json_add(object, "reason", slice_from_string(fields->reason), limit);
	}
	fits = object && cJSON_PrintPreallocated(object, line->text, LOG_LINE_BYTES - 8, false);
	cJSON_Delete(object);
	if (!fits)
		return false;
	line->body = 0;
	line->len = strlen(line->text);
	line->text[line->len++] = '\n';
	line->text[line->len] = '\0';
	return true;
}

void log_line_format(struct log_line *line, const struct log_line_style *style, enum log_type type,
		     const struct log_fields *fields, const char *message, uint64_t wall_ms)
{
	/* Every byte may take two in JSON, and five strings must fit in the line: 300 always do. */
	static const size_t limits[] = {2000, 800, 300};

	if (!message[0])
		message = "(no text)";
	if (style->json)
		for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
			if (format_json(line, style, type, fields, message, wall_ms, limits[i]))
				return;
	format_text(line, style, type, fields, message, wall_ms);
}
