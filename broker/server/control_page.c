/* SPDX-License-Identifier: Apache-2.0 */
#include "server/control_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/base64.h"
#include "base/bug.h"
#include "base/clock.h"
#include "mqtt/utf8.h"

enum field_kind { FIELD_RECORD, FIELD_TEXT, FIELD_NUMBER, FIELD_FLAG, FIELD_BYTES };

struct field {
	const char *key; /* FIELD_RECORD: the type */
	uint64_t number; /* FIELD_TEXT, FIELD_BYTES: the length of what follows, padded to 8 */
	uint64_t kind;	 /* enum field_kind */
};

static void append(struct control_page *page, const void *data, size_t len)
{
	if (!page->has_failed &&
	    buffer_append(&page->bytes, slice_of(data, len), CONTROL_PAGE_BYTES_MAX) != ERR_NONE)
		page->has_failed = true;
}

static void put(struct control_page *page, enum field_kind kind, const char *key, uint64_t number)
{
	const struct field field = {.key = key, .number = number, .kind = kind};

	append(page, &field, sizeof field);
}

/* Whole or not at all: a reader must not find a length without its bytes. */
static void put_bytes(struct control_page *page, enum field_kind kind, const char *key,
		      struct slice bytes)
{
	static const uint8_t padding[8];
	size_t room = sizeof(struct field) + bytes.len + sizeof padding;

	if (page->has_failed ||
	    buffer_reserve(&page->bytes, room, CONTROL_PAGE_BYTES_MAX) != ERR_NONE) {
		page->has_failed = true;
		return;
	}
	put(page, kind, key, bytes.len);
	append(page, bytes.data, bytes.len);
	append(page, padding, (8 - bytes.len % 8) % 8);
}

void control_page_begin(struct control_page *page, const char *type)
{
	put(page, FIELD_RECORD, type, 0);
}

void control_page_text(struct control_page *page, const char *key, struct slice text)
{
	put_bytes(page, FIELD_TEXT, key, text);
}

void control_page_string(struct control_page *page, const char *key, const char *text)
{
	put_bytes(page, FIELD_TEXT, key, slice_from_string(text));
}

void control_page_number(struct control_page *page, const char *key, uint64_t number)
{
	put(page, FIELD_NUMBER, key, number);
}

void control_page_flag(struct control_page *page, const char *key, bool flag)
{
	put(page, FIELD_FLAG, key, flag);
}

void control_page_moment(struct control_page *page, const char *key, uint64_t now_ms)
{
	if (!page->wall_ms) {
		page->wall_ms = clock_wall_ms();
		page->now_ms = clock_now_ms();
	}
	control_page_number(page, key, (page->wall_ms + now_ms - page->now_ms) / 1000);
}

void control_page_bytes(struct control_page *page, const char *key, struct slice bytes)
{
	put_bytes(page, FIELD_BYTES, key, bytes);
}

void control_page_clear(struct control_page *page)
{
	buffer_clear(&page->bytes);
	page->wall_ms = 0;
	page->has_failed = false;
}

void control_page_fini(struct control_page *page)
{
	buffer_fini(&page->bytes);
}

/* On the main thread. */

void control_json_number(cJSON *object, const char *key, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, number);
	cJSON_AddItemToObjectCS(object, key, cJSON_CreateRaw(text));
}

static void json_text(cJSON *object, const char *key, struct slice text)
{
	char *copy = malloc(text.len + 1);

	if (!copy)
		return;
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	cJSON_AddItemToObjectCS(object, key, cJSON_CreateString(copy));
	free(copy);
}

static void json_base64(cJSON *object, const char *key, struct slice bytes)
{
	char *text = malloc(BASE64_ROOM(bytes.len));
	char name[64];

	if (!text)
		return;
	base64_encode(bytes, BASE64_PADDED, text);
	snprintf(name, sizeof name, "%s_base64", key);
	cJSON_AddStringToObject(object, name, text);
	free(text);
}

static void json_bytes(cJSON *object, const char *key, struct slice bytes)
{
	if (utf8_is_valid(bytes))
		json_text(object, key, bytes);
	else
		json_base64(object, key, bytes);
}

static void json_field(cJSON *object, const struct field *field, const uint8_t *bytes)
{
	switch ((enum field_kind)field->kind) {
	case FIELD_TEXT: json_text(object, field->key, slice_of(bytes, field->number)); return;
	case FIELD_BYTES: json_bytes(object, field->key, slice_of(bytes, field->number)); return;
	case FIELD_NUMBER: control_json_number(object, field->key, field->number); return;
	case FIELD_FLAG:
		cJSON_AddItemToObjectCS(object, field->key, cJSON_CreateBool(field->number != 0));
		return;
	case FIELD_RECORD: break;
	}
	cJSON_AddItemToObjectCS(object, "type", cJSON_CreateString(field->key));
}

static bool has_bytes(const struct field *field)
{
	return field->kind == FIELD_TEXT || field->kind == FIELD_BYTES;
}

cJSON *control_page_next(const struct control_page *page, uint32_t *at)
{
	cJSON *object = NULL;

	while (*at < page->bytes.len) {
		const struct field *field = (const void *)(page->bytes.data + *at);

		if (field->kind == FIELD_RECORD && object)
			return object;
		if (!object)
			object = cJSON_CreateObject();
		if (!object)
			return NULL;
		*at += (uint32_t)sizeof *field;
		json_field(object, field, page->bytes.data + *at);
		if (has_bytes(field))
			*at += (uint32_t)((field->number + 7) / 8 * 8);
	}
	return object;
}
