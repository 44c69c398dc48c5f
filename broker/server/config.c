/* SPDX-License-Identifier: Apache-2.0 */
#include "server/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "server/config_options.h"
#include "server/config_parse.h"

struct config_block {
	struct config_block *next;
	max_align_t bytes[];
};

/* Everything a configuration points to, freed in one go. */
struct config_memory {
	struct config_block *blocks;
};

void *config_alloc(struct config *config, size_t bytes)
{
	struct config_block *block = calloc(1, sizeof(*block) + bytes);

	if (!block)
		return NULL;
	block->next = config->memory->blocks;
	config->memory->blocks = block;
	return block->bytes;
}

static struct config *config_create(void)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->memory = calloc(1, sizeof(*config->memory));
	if (!config->memory) {
		free(config);
		return NULL;
	}
	for (size_t i = 0; i < config_option_count; i++)
		if (config_options[i].scope == CONFIG_SCOPE_GLOBAL)
			config_option_set_default(&config_options[i], config);
	config->log_types = LOG_TYPES_DEFAULT;
	config->log_to_stderr = true;
	config->log_facility = LOG_DAEMON;
	return config;
}

void config_destroy(struct config *config)
{
	if (!config)
		return;
	for (struct config_block *block = config->memory->blocks; block;) {
		struct config_block *next = block->next;

		free(block);
		block = next;
	}
	free(config->memory);
	free(config);
}

static void add_text(struct config_errors *errors, const char *format, va_list arguments)
{
	if (errors->count == CONFIG_ERRORS_MAX) {
		errors->is_cut = true;
		return;
	}
	vsnprintf(errors->text[errors->count++], CONFIG_ERROR_BYTES, format, arguments);
}

void config_errors_add(struct config_errors *errors, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_text(errors, format, arguments);
	va_end(arguments);
}

static void parser_init(struct config_parser *parser, struct config *config,
			struct config_errors *errors)
{
	memset(parser, 0, sizeof(*parser));
	parser->config = config;
	parser->errors = errors;
	parser->current = &parser->unnamed;
	for (size_t i = 0; i < config_option_count; i++)
		if (config_options[i].scope != CONFIG_SCOPE_GLOBAL)
			config_option_set_default(&config_options[i], &parser->unnamed.values);
}

/* Loads from bytes when there are any, else from path when there is one. */
static enum err load(const char *path, const char *bytes, size_t length,
		     const struct config_overrides *overrides, struct config **out,
		     struct config_errors *errors)
{
	static const struct config_overrides no_overrides;
	struct config *config = config_create();
	struct config_parser *parser = calloc(1, sizeof(*parser));
	enum err err = ERR_NONE;

	*out = NULL;
	errors->count = 0;
	errors->is_cut = false;
	if (!config || !parser) {
		config_errors_add(errors, "no memory for the configuration");
		err = ERR_NOMEM;
		goto done;
	}
	parser_init(parser, config, errors);
	if (path)
		config->path = config_parser_copy(parser, path);
	if (bytes)
		config_parser_read_bytes(parser, config->path, bytes, length);
	else if (path)
		config_parser_read_file(parser, config->path);
	if (errors->count == 0)
		config_resolve(parser, overrides ? overrides : &no_overrides);
	if (errors->count != 0)
		err = ERR_INVALID;
done:
	free(parser);
	if (err == ERR_NONE)
		*out = config;
	else
		config_destroy(config);
	return err;
}

enum err config_load(const char *path, const struct config_overrides *overrides,
		     struct config **out, struct config_errors *errors)
{
	return load(path, NULL, 0, overrides, out, errors);
}

enum err config_load_bytes(const char *name, const char *bytes, size_t length,
			   const struct config_overrides *overrides, struct config **out,
			   struct config_errors *errors)
{
	return load(name, bytes ? bytes : "", length, overrides, out, errors);
}

struct config *config_default(void)
{
	struct config_errors *errors = malloc(sizeof(*errors));
	struct config *config = NULL;

	if (errors && config_load(NULL, NULL, &config, errors) != ERR_NONE)
		config = NULL;
	free(errors);
	return config;
}

void config_log_settings(const struct config *config, struct log_settings *out)
{
	*out = (struct log_settings){
		.types = config->log_types,
		.to_stderr = config->log_to_stderr,
		.to_stdout = config->log_to_stdout,
		.to_syslog = config->log_to_syslog,
		.syslog_facility = config->log_facility,
		.file = config->log_file,
		.timestamp = config->log_timestamp,
		.timestamp_format = config->log_timestamp_format,
		.json = config->log_format == CONFIG_LOG_JSON,
	};
}

/* Was the same file named by a listener before number n? */
static bool is_seen(const struct config *config, size_t n, size_t offset, const char *path)
{
	for (size_t i = 0; i < n; i++) {
		const char *other;

		memcpy(&other, (const char *)&config->listeners[i].access + offset, sizeof(other));
		if (other && strcmp(other, path) == 0)
			return true;
	}
	return false;
}

static void check_file(const struct config *config, size_t n, const char *kind, size_t offset,
		       config_file_check check, void *context, struct config_errors *errors)
{
	struct err_detail detail = {""};
	const char *path;

	memcpy(&path, (const char *)&config->listeners[n].access + offset, sizeof(path));
	if (!path || is_seen(config, n, offset, path))
		return;
	if (check(kind, path, &detail, context) != ERR_NONE)
		config_errors_add(errors, "%s", detail.text);
}

enum err config_check_files(const struct config *config, config_file_check check, void *context,
			    struct config_errors *errors)
{
	size_t before = errors->count;

	for (size_t i = 0; i < config->listener_count; i++) {
		check_file(config, i, "password_file",
			   offsetof(struct config_access, password_file), check, context, errors);
		check_file(config, i, "acl_file", offsetof(struct config_access, acl_file), check,
			   context, errors);
	}
	return errors->count == before ? ERR_NONE : ERR_INVALID;
}
