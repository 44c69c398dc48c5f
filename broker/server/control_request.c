/* SPDX-License-Identifier: Apache-2.0 */
#include "server/control_request.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "mqtt/topic.h"

struct command_info {
	const char *name;
	const char *argument; /* its key; NULL: takes none */
	bool is_needed;
};

static const struct command_info commands[CONTROL_COMMANDS] = {
	[CONTROL_CLIENTS] = {"clients", NULL, false},
	[CONTROL_CLIENT] = {"client", "id", true},
	[CONTROL_DISCONNECT] = {"disconnect", "id", true},
	[CONTROL_FORGET] = {"forget", "id", true},
	[CONTROL_SUBSCRIPTIONS] = {"subscriptions", "filter", false},
	[CONTROL_RETAINED] = {"retained", "topic", true},
	[CONTROL_STATS] = {"stats", NULL, false},
	[CONTROL_RELOAD] = {"reload", NULL, false},
	[CONTROL_LOG_LEVEL] = {"log-level", "level", false},
};

const char *control_command_name(enum control_command command)
{
	return commands[command].name;
}

static enum err find_command(const cJSON *root, enum control_command *out,
			     struct err_detail *detail)
{
	const cJSON *name = cJSON_GetObjectItemCaseSensitive(root, "command");

	if (!cJSON_IsString(name))
		return err_set(detail, ERR_INVALID,
			       "The request has no \"command\" that is a string.");
	for (unsigned i = 0; i < CONTROL_COMMANDS; i++) {
		if (strcmp(commands[i].name, name->valuestring) != 0)
			continue;
		*out = (enum control_command)i;
		return ERR_NONE;
	}
	return err_set(detail, ERR_UNSUPPORTED, "There is no command '%.64s'.", name->valuestring);
}

static enum err check_version(const cJSON *root, struct err_detail *detail)
{
	const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "version");

	if (!cJSON_IsNumber(version))
		return err_set(detail, ERR_INVALID,
			       "The request has no \"version\" that is a number; this broker "
			       "speaks version %d.",
			       CONTROL_VERSION);
	if (version->valuedouble != CONTROL_VERSION)
		return err_set(detail, ERR_UNSUPPORTED,
			       "This broker speaks version %d of the control protocol, not %g. "
			       "nightjar-ctl and the broker should be of the same release.",
			       CONTROL_VERSION, version->valuedouble);
	return ERR_NONE;
}

/* Topics and filters have to be some. */
static enum err check_argument(enum control_command command, const char *text,
			       struct err_detail *detail)
{
	if ((command == CONTROL_SUBSCRIPTIONS || command == CONTROL_RETAINED) &&
	    !topic_filter_is_valid(slice_from_string(text)))
		return err_set(detail, ERR_INVALID, "'%.200s' is not a valid Topic Filter.", text);
	if (text[0] == '\0')
		return err_set(detail, ERR_INVALID, "The %s is empty.", commands[command].argument);
	return ERR_NONE;
}

static enum err read_argument(const cJSON *root, struct control_request *out,
			      struct err_detail *detail)
{
	const struct command_info *info = &commands[out->command];
	const cJSON *item;
	enum err err;

	if (!info->argument)
		return ERR_NONE;
	item = cJSON_GetObjectItemCaseSensitive(root, info->argument);
	if (!item && !info->is_needed)
		return ERR_NONE;
	if (!item || !cJSON_IsString(item))
		return err_set(detail, ERR_INVALID,
			       "The command '%s' needs \"%s\", which is a string.", info->name,
			       info->argument);
	err = check_argument(out->command, item->valuestring, detail);
	if (err != ERR_NONE)
		return err;
	out->argument = strdup(item->valuestring);
	return out->argument ? ERR_NONE : err_set(detail, ERR_NOMEM, "No memory.");
}

enum err control_request_parse(struct slice line, struct control_request *out,
			       struct err_detail *detail)
{
	cJSON *root = cJSON_ParseWithLength((const char *)line.data, line.len);
	enum err err;

	*out = (struct control_request){.argument = NULL};
	if (!cJSON_IsObject(root)) {
		cJSON_Delete(root);
		return err_set(detail, ERR_INVALID, "The request is not one JSON object.");
	}
	err = check_version(root, detail);
	if (err == ERR_NONE)
		err = find_command(root, &out->command, detail);
	if (err == ERR_NONE)
		err = read_argument(root, out, detail);
	cJSON_Delete(root);
	return err;
}

void control_request_fini(struct control_request *request)
{
	free(request->argument);
	request->argument = NULL;
}
