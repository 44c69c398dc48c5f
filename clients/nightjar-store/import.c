/* SPDX-License-Identifier: Apache-2.0 */
/* import.c - lines of JSON, as export writes them, into a new store. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>

#include "auth/base64.h"
#include "loader.h"
#include "mqtt/topic.h"

struct import {
	struct loader loader;
	struct err_detail *detail;
	bool partly;
	uint64_t line, records, left_out;
	const char *wrong; /* the member that does not make sense */
	struct pack bytes; /* decoded Base64 of this line */
};

/* name: of the member in which item stands. */
static uint64_t number_in(struct import *import, const cJSON *item, const char *name, uint64_t max)
{
	double value = item->valuedouble;

	if (!cJSON_IsNumber(item) || value < 0 || value > (double)max ||
	    value > 9007199254740992.0 || value != (double)(uint64_t)value) {
		import->wrong = name;
		return 0;
	}
	return (uint64_t)value;
}

static uint64_t number(struct import *import, const cJSON *object, const char *name, uint64_t max)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	return item ? number_in(import, item, name, max) : 0;
}

static struct slice text(struct import *import, const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!item)
		return SLICE_NONE;
	if (!cJSON_IsString(item)) {
		import->wrong = name;
		return SLICE_NONE;
	}
	return slice_from_string(item->valuestring);
}

/* Room was made for all of the line's before the first, so none moves. */
static struct slice base64(struct import *import, const cJSON *object, const char *name)
{
	struct slice from = text(import, object, name);
	uint8_t *to = import->bytes.data + import->bytes.len;
	int length;

	if (!from.len)
		return SLICE_NONE;
	length = base64_decode(from, BASE64_PADDED, to, import->bytes.cap - import->bytes.len);
	if (length < 0) {
		import->wrong = name;
		return SLICE_NONE;
	}
	import->bytes.len += (size_t)length;
	return slice_of(to, (size_t)length);
}

static bool flag(const cJSON *object, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static bool has(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name) != NULL;
}

static void get_message(struct import *import, const cJSON *object, struct stored_message *out)
{
	*out = (struct stored_message){
		.topic = text(import, object, "topic"),
		.payload = has(object, "payload_base64") ? base64(import, object, "payload_base64")
							 : text(import, object, "payload"),
		.properties = base64(import, object, "properties_base64"),
		.qos = (uint8_t)number(import, object, "qos", 2),
		.flags = (uint8_t)number(import, object, "flags", UINT8_MAX),
		.arrived_ms = number(import, object, "arrived_ms", UINT64_MAX),
		.expires_ms = number(import, object, "expires_ms", UINT64_MAX),
		.retained_version = number(import, object, "version", UINT64_MAX),
		.has_origin = has(object, "client_id"),
		.client_id = text(import, object, "client_id"),
		.has_username = has(object, "username"),
		.username = text(import, object, "username"),
		.listener = (uint16_t)number(import, object, "listener", UINT16_MAX),
	};
	if (!topic_name_is_valid(out->topic))
		import->wrong = "topic";
}

static enum err import_meta(struct import *import, const cJSON *line)
{
	struct meta_record *meta = import->loader.meta;

	if (number(import, line, "format", UINT32_MAX) > STORE_FORMAT)
		import->wrong = "format";
	meta->next_id = number(import, line, "next_id", UINT64_MAX);
	meta->next_number = number(import, line, "next_number", UINT64_MAX);
	meta->next_record = number(import, line, "next_record", UINT64_MAX);
	meta->retained_version = number(import, line, "retained_version", UINT64_MAX);
	return ERR_NONE;
}

static enum err import_session(struct import *import, const cJSON *line,
			       enum store_session_kind kind)
{
	struct store_session session = {
		.kind = kind,
		.name = kind == STORE_GROUP ? base64(import, line, "name_base64")
					    : text(import, line, "name"),
		.has_username = has(line, "username"),
		.username = text(import, line, "username"),
		.listener = text(import, line, "listener"),
		.version = (uint8_t)number(import, line, "mqtt", 5),
		.expiry_s = (uint32_t)number(import, line, "expiry_s", UINT32_MAX),
		.connected_ms = number(import, line, "connected_ms", UINT64_MAX),
		.offline_ms = number(import, line, "offline_ms", UINT64_MAX),
	};
	uint64_t id = number(import, line, "id", UINT64_MAX);

	if (!id)
		import->wrong = "id";
	if (kind == STORE_SESSION && !session.name.len)
		import->wrong = "name";
	return import->wrong ? ERR_NONE : loader_session(&import->loader, id, &session);
}

static bool is_filter(struct slice text)
{
	struct slice group, filter;

	switch (topic_filter_parse_shared(text, &group, &filter)) {
	case TOPIC_SHARED: return true;
	case TOPIC_NOT_SHARED: return topic_filter_is_valid(text);
	case TOPIC_SHARE_INVALID: break;
	}
	return false;
}

static enum err import_subscription(struct import *import, const cJSON *line)
{
	struct store_subscription subscription = {
		.text = text(import, line, "filter"),
		.qos = (uint8_t)number(import, line, "qos", 2),
		.retain_handling = (uint8_t)number(import, line, "retain_handling", 2),
		.subscription_id = (uint32_t)number(import, line, "subscription_id", UINT32_MAX),
		.no_local = flag(line, "no_local"),
		.retain_as_published = flag(line, "retain_as_published"),
	};
	uint64_t id = number(import, line, "id", UINT64_MAX);

	if (!is_filter(subscription.text))
		import->wrong = "filter";
	return import->wrong ? ERR_NONE : loader_subscription(&import->loader, id, &subscription);
}

static enum err import_will(struct import *import, const cJSON *line)
{
	struct stored_will will = {
		.due_ms = number(import, line, "due_ms", UINT64_MAX),
		.delay_s = (uint32_t)number(import, line, "delay_s", UINT32_MAX),
		.expiry_s = (uint32_t)number(import, line, "expiry_s", UINT32_MAX),
		.has_expiry = has(line, "expiry_s"),
	};
	uint64_t id = number(import, line, "id", UINT64_MAX);

	get_message(import, cJSON_GetObjectItemCaseSensitive(line, "message"), &will.message);
	return import->wrong ? ERR_NONE : loader_will(&import->loader, id, &will);
}

static enum err import_state(struct import *import, const cJSON *line)
{
	VECTOR(uint64_t) done = {NULL, 0, 0};
	VECTOR(struct flight) flights = {NULL, 0, 0};
	VECTOR(uint16_t) received = {NULL, 0, 0};
	struct pack value = {NULL, 0, 0};
	enum err err = ERR_NONE;
	const cJSON *one;

	cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(line, "done")) * VECTOR_ADD(done) =
		number_in(import, one, "done", UINT64_MAX);
	for (size_t i = 1; i < done.count; i++)
		if (done.at[i] <= done.at[i - 1])
			import->wrong = "done";
	cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(line, "flights"))
	{
		*VECTOR_ADD(flights) =
			(struct flight){number(import, one, "number", UINT64_MAX),
					(uint16_t)number(import, one, "packet_id", UINT16_MAX),
					(uint8_t)number(import, one, "state", STORE_RELEASED),
					(uint8_t)number(import, one, "qos", 2)};
	}
	cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(line, "received")) *
		VECTOR_ADD(received) = (uint16_t)number_in(import, one, "received", UINT16_MAX);
	record_put_state(&value, number(import, line, "done_below", UINT64_MAX), done.at,
			 done.count, flights.at, flights.count, received.at, received.count);
	if (!import->wrong)
		err = loader_state(&import->loader, number(import, line, "id", UINT64_MAX),
				   pack_slice(&value));
	pack_fini(&value);
	free(done.at);
	free(flights.at);
	free(received.at);
	return err;
}

static void pack_json_receiver(struct import *import, const cJSON *one, struct pack *to,
			       struct receiver_cursor *cursor)
{
	struct pack ids = {NULL, 0, 0};
	struct receiver receiver = {
		.id = number(import, one, "id", UINT64_MAX),
		.number = number(import, one, "number", UINT64_MAX),
		.qos = (uint8_t)number(import, one, "qos", 2),
		.retain = flag(one, "retain"),
	};
	const cJSON *id;

	cJSON_ArrayForEach(id, cJSON_GetObjectItemCaseSensitive(one, "subscription_ids"))
		pack_u32(&ids, (uint32_t)number_in(import, id, "subscription_ids", UINT32_MAX));
	receiver.subscription_ids = pack_slice(&ids);
	if (!receiver.id || !receiver.number)
		import->wrong = "receivers";
	if (receiver.number >= import->loader.meta->next_number)
		import->loader.meta->next_number = receiver.number + 1;
	pack_receiver(to, cursor, &receiver);
	pack_fini(&ids);
}

static enum err import_message(struct import *import, const cJSON *line)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(line, "receivers"), *one;
	struct message_record record = {.body_record =
						number(import, line, "body_record", UINT64_MAX)};
	struct pack receivers = {NULL, 0, 0}, body = {NULL, 0, 0};
	struct receiver_cursor cursor = {0, 0};
	struct stored_message message;
	enum err err = ERR_NONE;

	if (!record.body_record) {
		get_message(import, cJSON_GetObjectItemCaseSensitive(line, "message"), &message);
		pack_message(&body, &message);
		record.body = pack_slice(&body);
	}
	if (cJSON_GetArraySize(list))
		record.number = cursor.number =
			number(import, cJSON_GetArrayItem(list, 0), "number", UINT64_MAX);
	cJSON_ArrayForEach(one, list) pack_json_receiver(import, one, &receivers, &cursor);
	record.receivers = pack_slice(&receivers);
	if (number(import, line, "record", UINT64_MAX) == 0 ||
	    record.body_record >= number(import, line, "record", UINT64_MAX))
		import->wrong = "record";
	if (!import->wrong)
		err = loader_message(&import->loader, number(import, line, "record", UINT64_MAX),
				     &record);
	pack_fini(&receivers);
	pack_fini(&body);
	return err;
}

static enum err import_retained(struct import *import, const cJSON *line)
{
	struct stored_message message;

	get_message(import, line, &message);
	return import->wrong ? ERR_NONE : loader_retained(&import->loader, &message);
}

static enum err import_line(struct import *import, const cJSON *line)
{
	struct slice type = text(import, line, "type");

	if (slice_equal_string(type, "store"))
		return import_meta(import, line);
	if (slice_equal_string(type, "session"))
		return import_session(import, line, STORE_SESSION);
	if (slice_equal_string(type, "group"))
		return import_session(import, line, STORE_GROUP);
	if (slice_equal_string(type, "departing"))
		return import_session(import, line, STORE_WILL);
	if (slice_equal_string(type, "subscription"))
		return import_subscription(import, line);
	if (slice_equal_string(type, "will"))
		return import_will(import, line);
	if (slice_equal_string(type, "state"))
		return import_state(import, line);
	if (slice_equal_string(type, "message"))
		return import_message(import, line);
	if (slice_equal_string(type, "retained"))
		return import_retained(import, line);
	import->wrong = "type";
	return ERR_NONE;
}

static enum err import_text(struct import *import, const char *line, size_t length)
{
	cJSON *json = cJSON_ParseWithLength(line, length);
	enum err err = ERR_NONE;

	import->wrong = NULL;
	import->bytes.len = 0;
	pack_room(&import->bytes, length + 1);
	if (json)
		err = import_line(import, json);
	cJSON_Delete(json);
	if (!json || import->wrong)
		return err_set(import->detail, ERR_INVALID, "line %llu: %s%s",
			       (unsigned long long)import->line,
			       json ? "this member makes no sense: " : "this is no JSON",
			       json ? import->wrong : "");
	return err;
}

static enum err import_lines(struct import *import, FILE *from)
{
	enum err err = ERR_NONE;
	char *line = NULL;
	size_t room = 0;
	ssize_t length;

	while (err == ERR_NONE && (length = getline(&line, &room, from)) > 0) {
		import->line++;
		if (line[0] == '\n')
			continue;
		err = import_text(import, line, (size_t)length);
		import->records += err == ERR_NONE;
		if (err != ERR_INVALID || !import->partly)
			continue;
		fail(import->detail);
		import->left_out++;
		err = ERR_NONE;
	}
	/* What was read before is not all that there is. */
	if (err == ERR_NONE && ferror(from))
		err = err_set(import->detail, ERR_IO, "Cannot read line %llu: %s",
			      (unsigned long long)import->line + 1, strerror(errno));
	free(line);
	return err;
}

static void report(const struct import *import, const char *directory)
{
	printf("%llu records are in %s/nightjar.db\n",
	       (unsigned long long)(import->records - import->loader.orphans), directory);
	if (import->loader.orphans)
		printf("Left out, because the session or message that they name is not among the "
		       "lines: %llu records\n",
		       (unsigned long long)import->loader.orphans);
	if (import->left_out)
		printf("Left out, because they make no sense: %llu lines\n",
		       (unsigned long long)import->left_out);
}

int import_store(const char *directory, const char *file, bool partly)
{
	struct err_detail detail = {""};
	struct import import = {.detail = &detail, .partly = partly};
	FILE *from = file ? fopen(file, "re") : stdin;
	enum err err;

	if (!from)
		return fail_text("cannot open %s: %s", file, strerror(errno));
	err = loader_open(&import.loader, directory, &detail);
	if (err == ERR_NONE)
		err = import_lines(&import, from);
	if (err == ERR_NONE && partly)
		err = loader_remove_orphans(&import.loader);
	err = loader_close(&import.loader, err);
	pack_fini(&import.bytes);
	if (file)
		fclose(from);
	if (err != ERR_NONE)
		return fail(&detail);
	report(&import, directory);
	return 0;
}
