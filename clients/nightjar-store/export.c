/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.c - a store as lines of JSON, one for each record.
 *
 * Text stands as it is; what is no text (payloads with other bytes, properties) as Base64. Numbers
 * are all below 2^53.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "auth/base64.h"
#include "mqtt/utf8.h"
#include "tables.h"

struct export
{
	FILE *file;
	struct kv *kv;	  /* NULL: of a damaged store */
	const char *path; /* of the store */
	struct err_detail *detail;
};

static void add_number(cJSON *object, const char *name, uint64_t value)
{
	cJSON_AddNumberToObject(object, name, (double)value);
}

static void add_base64(cJSON *object, const char *name, struct slice bytes)
{
	char *text = malloc(BASE64_ROOM(bytes.len));

	BUG_ON(!text);
	base64_encode(bytes, BASE64_PADDED, text);
	cJSON_AddStringToObject(object, name, text);
	free(text);
}

static void add_text(cJSON *object, const char *name, struct slice text)
{
	char *copy = malloc(text.len + 1);

	BUG_ON(!copy);
	if (text.len)
		memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	cJSON_AddStringToObject(object, name, copy);
	free(copy);
}

static bool is_text(struct slice bytes)
{
	return bytes.len == 0 ||
	       (memchr(bytes.data, 0, bytes.len) == NULL && utf8_payload_is_valid(bytes));
}

static void add_message(cJSON *object, const struct stored_message *message)
{
	add_text(object, "topic", message->topic);
	if (is_text(message->payload))
		add_text(object, "payload", message->payload);
	else
		add_base64(object, "payload_base64", message->payload);
	if (message->properties.len)
		add_base64(object, "properties_base64", message->properties);
	add_number(object, "qos", message->qos);
	add_number(object, "flags", message->flags);
	add_number(object, "arrived_ms", message->arrived_ms);
	if (message->expires_ms)
		add_number(object, "expires_ms", message->expires_ms);
	if (message->retained_version)
		add_number(object, "version", message->retained_version);
	if (!message->has_origin)
		return;
	add_text(object, "client_id", message->client_id);
	if (message->has_username)
		add_text(object, "username", message->username);
	add_number(object, "listener", message->listener);
}

static cJSON *line_begin(const char *type, uint64_t id)
{
	cJSON *line = cJSON_CreateObject();

	cJSON_AddStringToObject(line, "type", type);
	if (id)
		add_number(line, "id", id);
	return line;
}

static enum err line_end(struct export *export, cJSON *line)
{
	char *text = cJSON_PrintUnformatted(line);
	int written = text ? fprintf(export->file, "%s\n", text) : -1;

	free(text);
	cJSON_Delete(line);
	return written < 0 ? ERR_IO : ERR_NONE;
}

static enum err export_meta(void *context, struct slice key, struct slice value)
{
	struct meta_record *meta = malloc(sizeof *meta);
	cJSON *line = line_begin("store", 0);
	bool is_good;

	(void)key;
	BUG_ON(!meta);
	is_good = record_get_meta(value, meta);
	add_number(line, "format", meta->format);
	add_number(line, "next_id", meta->next_id);
	add_number(line, "next_number", meta->next_number);
	add_number(line, "next_record", meta->next_record);
	add_number(line, "retained_version", meta->retained_version);
	free(meta);
	if (is_good)
		return line_end(context, line);
	cJSON_Delete(line);
	return ERR_INVALID;
}

static enum err export_session(void *context, struct slice key, struct slice value)
{
	struct store_session session;
	cJSON *line;

	if (!record_get_session(value, &session))
		return ERR_INVALID;
	line = line_begin(session.kind == STORE_GROUP  ? "group"
			  : session.kind == STORE_WILL ? "departing"
						       : "session",
			  key_number(key, 0));
	if (session.kind == STORE_GROUP)
		add_base64(line, "name_base64", session.name);
	else
		add_text(line, "name", session.name);
	if (session.has_username)
		add_text(line, "username", session.username);
	add_text(line, "listener", session.listener);
	add_number(line, "mqtt", session.version);
	add_number(line, "expiry_s", session.expiry_s);
	add_number(line, "connected_ms", session.connected_ms);
	add_number(line, "offline_ms", session.offline_ms);
	return line_end(context, line);
}

static enum err export_subscription(void *context, struct slice key, struct slice value)
{
	struct store_subscription subscription;
	cJSON *line;

	if (!record_get_subscription(value, &subscription))
		return ERR_INVALID;
	line = line_begin("subscription", key_number(key, 0));
	add_text(line, "filter", subscription.text);
	add_number(line, "qos", subscription.qos);
	add_number(line, "subscription_id", subscription.subscription_id);
	add_number(line, "retain_handling", subscription.retain_handling);
	cJSON_AddBoolToObject(line, "no_local", subscription.no_local);
	cJSON_AddBoolToObject(line, "retain_as_published", subscription.retain_as_published);
	return line_end(context, line);
}

static enum err export_will(void *context, struct slice key, struct slice value)
{
	struct stored_will will;
	cJSON *line;

	if (!record_get_will(value, &will))
		return ERR_INVALID;
	line = line_begin("will", key_number(key, 0));
	add_number(line, "due_ms", will.due_ms);
	add_number(line, "delay_s", will.delay_s);
	if (will.has_expiry)
		add_number(line, "expiry_s", will.expiry_s);
	add_message(cJSON_AddObjectToObject(line, "message"), &will.message);
	return line_end(context, line);
}

static cJSON *number_of(uint64_t value)
{
	return cJSON_CreateNumber((double)value);
}

static enum err export_state(void *context, struct slice key, struct slice value)
{
	struct state_record state;
	cJSON *line, *list, *one;

	if (!record_get_state(value, &state))
		return ERR_INVALID;
	line = line_begin("state", key_number(key, 0));
	add_number(line, "done_below", state.done_below);
	list = cJSON_AddArrayToObject(line, "done");
	while (state.done_count)
		cJSON_AddItemToArray(list, number_of(state_next_done(&state)));
	list = cJSON_AddArrayToObject(line, "flights");
	for (uint64_t i = 0; i < state.flight_count; i++) {
		struct flight flight = state_next_flight(&state);

		one = cJSON_CreateObject();
		add_number(one, "number", flight.number);
		add_number(one, "packet_id", flight.packet_id);
		add_number(one, "state", flight.state);
		add_number(one, "qos", flight.qos);
		cJSON_AddItemToArray(list, one);
	}
	list = cJSON_AddArrayToObject(line, "received");
	for (uint64_t i = 0; i < state.received_count; i++)
		cJSON_AddItemToArray(list, number_of(state_next_received(&state)));
	return line_end(context, line);
}

static cJSON *json_of_receiver(const struct receiver *receiver)
{
	struct unpack ids = unpack_of(receiver->subscription_ids);
	cJSON *one = cJSON_CreateObject(), *list;

	add_number(one, "id", receiver->id);
	add_number(one, "number", receiver->number);
	add_number(one, "qos", receiver->qos);
	if (receiver->retain)
		cJSON_AddBoolToObject(one, "retain", true);
	if (receiver->subscription_ids.len) {
		list = cJSON_AddArrayToObject(one, "subscription_ids");
		while (ids.at < ids.end)
			cJSON_AddItemToArray(list, number_of(unpack_u32(&ids)));
	}
	return one;
}

static enum err export_message(void *context, struct slice key, struct slice value)
{
	struct message_record record;
	struct receiver_cursor cursor = {0, 0};
	struct stored_message message;
	struct receiver receiver;
	struct unpack from;
	cJSON *line, *list;

	if (!record_get_message(value, &record))
		return ERR_INVALID;
	from = unpack_of(record.body);
	if (!record.body_record && !unpack_message(&from, &message))
		return ERR_INVALID;
	line = line_begin("message", 0);
	add_number(line, "record", key_number(key, 0));
	if (record.body_record)
		add_number(line, "body_record", record.body_record);
	else
		add_message(cJSON_AddObjectToObject(line, "message"), &message);
	list = cJSON_AddArrayToObject(line, "receivers");
	from = unpack_of(record.receivers);
	cursor.number = record.number;
	while (from.at < from.end && unpack_receiver(&from, &cursor, &receiver))
		cJSON_AddItemToArray(list, json_of_receiver(&receiver));
	return line_end(context, line);
}

static enum err export_retained(void *context, struct slice key, struct slice value)
{
	struct stored_message message;
	cJSON *line;

	(void)key;
	if (!record_get_retained(value, &message))
		return ERR_INVALID;
	line = line_begin("retained", 0);
	add_message(line, &message);
	return line_end(context, line);
}

typedef enum err export_fn(struct export *export, enum kv_table table, kv_record_fn *one,
			   struct lmdb_damage *damage);

static enum err export_table(struct export *export, enum kv_table table, kv_record_fn *one,
			     struct lmdb_damage *damage)
{
	return tables_walk(export->kv, table, one, export, &damage->records);
}

/* LMDB cannot be let near a file whose pages do not hang together. */
static enum err salvage_table(struct export *export, enum kv_table table, kv_record_fn *one,
			      struct lmdb_damage *damage)
{
	return lmdb_salvage(export->path, table, one, export, damage, export->detail);
}

/* What cannot be read is left out, and said: this is what one has after damage. */
static int export_all(struct export *export, export_fn *table)
{
	static const struct {
		enum kv_table table;
		kv_record_fn *one;
	} tables[] = {
		{KV_META, export_meta},
		{KV_SESSIONS, export_session},
		{KV_SUBSCRIPTIONS, export_subscription},
		{KV_WILLS, export_will},
		{KV_STATES, export_state},
		{KV_MESSAGES, export_message},
		{KV_RETAINED, export_retained},
	};
	int failed = 0;

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		struct lmdb_damage damage = {0, 0};

		if (table(export, tables[i].table, tables[i].one, &damage) != ERR_NONE)
			return fail_text("cannot write the lines: %s", strerror(errno));
		if (damage.records || damage.pages)
			failed = fail_text("table %s is damaged: left out are %" PRIu64
					   " records, and %" PRIu64 " pages with what was on them",
					   kv_table_name(tables[i].table), damage.records,
					   damage.pages);
	}
	return failed;
}

static int write_lines(struct export *export, export_fn *table, const char *file)
{
	int failed;

	if (file)
		export->file = fopen(file, "wxe");
	if (!export->file)
		return fail_text("cannot make %s: %s", file, strerror(errno));
	failed = export_all(export, table);
	if (fflush(export->file) != 0 || (file && fsync(fileno(export->file)) != 0))
		failed = fail_text("cannot write the lines: %s", strerror(errno));
	if (file)
		fclose(export->file);
	return failed;
}

static int export_damaged(struct export *export, const char *directory, const char *file)
{
	fail(export->detail);
	if (tables_have_rings(directory))
		fail_text("what is in the files ring-N, acknowledged and not committed, is left "
			  "out");
	(void)write_lines(export, salvage_table, file);
	return 1;
}

int export_store(const char *directory, const char *file)
{
	char path[TABLES_PATH_BYTES];
	struct err_detail detail = {""};
	struct export export = {.file = stdout, .path = path, .detail = &detail};
	enum err err = tables_settle(directory, &detail);
	int failed;

	tables_path(path, directory);
	if (err == ERR_NONE)
		err = tables_open(directory, &export.kv, &detail);
	if (err == ERR_INVALID && !tables_are_in_use(directory))
		return export_damaged(&export, directory, file);
	if (err != ERR_NONE)
		return fail(&detail);
	failed = write_lines(&export, export_table, file);
	if (tables_close(&export.kv, &detail) != ERR_NONE)
		failed = fail(&detail);
	return failed;
}
