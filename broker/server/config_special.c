/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_special.c - the directives that are more than a name and a value, and checks of texts.
 */
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <syslog.h>

#include "mqtt/utf8.h"
#include "server/config_parse.h"

const struct config_choice config_log_types[] = {
	{"error", LOG_TYPE_ERROR},
	{"warning", LOG_TYPE_WARNING},
	{"notice", LOG_TYPE_NOTICE},
	{"information", LOG_TYPE_INFORMATION},
	{"debug", LOG_TYPE_DEBUG},
	{"subscribe", LOG_TYPE_SUBSCRIBE},
	{"unsubscribe", LOG_TYPE_UNSUBSCRIBE},
	{"websockets", LOG_TYPE_WEBSOCKETS},
	{"internal", LOG_TYPE_INTERNAL},
	{"all", LOG_TYPES_ALL},
	{"none", 0},
	{NULL, 0},
};

enum err config_check_any(const char *value, struct err_detail *why)
{
	(void)value;
	(void)why;
	return ERR_NONE;
}

enum err config_check_path(const char *value, struct err_detail *why)
{
	if (strlen(value) >= 4096)
		return err_set(why, ERR_INVALID, "takes a path of less than 4096 bytes");
	return ERR_NONE;
}

enum err config_check_interface(const char *value, struct err_detail *why)
{
	if (strlen(value) >= IF_NAMESIZE || strpbrk(value, " \t/"))
		return err_set(why, ERR_INVALID, "takes the name of a network interface");
	return ERR_NONE;
}

enum err config_check_topic_prefix(const char *value, struct err_detail *why)
{
	/* Half of what MQTT allows, so that topics still have room behind the prefix. */
	if (strlen(value) > 32767)
		return err_set(why, ERR_INVALID, "takes at most 32767 bytes");
	if (!utf8_is_valid_without(slice_from_string(value), '+', '#'))
		return err_set(why, ERR_INVALID, "takes a text without the wildcards + and #");
	return ERR_NONE;
}

/*
 * mosquitto's order: letters regardless of case, and where two names differ in the case of a
 * letter only, upper case first.
 */
static int compare_names(const void *a, const void *b)
{
	const unsigned char *left = *(const unsigned char *const *)a;
	const unsigned char *right = *(const unsigned char *const *)b;

	for (; *left && *right; left++, right++) {
		int l = *left >= 'a' && *left <= 'z' ? *left - 32 : *left;
		int r = *right >= 'a' && *right <= 'z' ? *right - 32 : *right;

		if (l != r)
			return l - r;
		if (*left != *right)
			return *left - *right;
	}
	return *left - *right;
}

static bool is_conf_name(const char *name)
{
	size_t length = strlen(name);

	return length > 5 && strcmp(name + length - 5, ".conf") == 0;
}

/* Paths of the .conf files, sorted; the array is the caller's, the paths are the parser's. */
static const char **list_directory(struct config_parser *parser, const char *path, DIR *directory,
				   size_t *out_count)
{
	const char **paths = calloc(CONFIG_INCLUDED_FILES_MAX, sizeof(*paths));
	const char *slash = path[strlen(path) - 1] == '/' ? "" : "/";
	struct dirent *entry;
	size_t count = 0;

	while (paths && (entry = readdir(directory))) {
		size_t bytes = strlen(path) + strlen(entry->d_name) + 2;
		char *name;

		if (!is_conf_name(entry->d_name))
			continue;
		if (count == CONFIG_INCLUDED_FILES_MAX) {
			config_parser_error(parser, "'%s' has more than %d files that end in .conf",
					    path, CONFIG_INCLUDED_FILES_MAX);
			break;
		}
		name = config_parser_alloc(parser, bytes);
		if (!name)
			break;
		snprintf(name, bytes, "%s%s%s", path, slash, entry->d_name);
		paths[count++] = name;
	}
	if (paths)
		qsort(paths, count, sizeof(*paths), compare_names);
	*out_count = count;
	return paths;
}

static void read_included(struct config_parser *parser, const char *const *paths, size_t count)
{
	struct config_draft *current = parser->current;
	const char *file = parser->file;
	unsigned line = parser->line;

	parser->is_included = true;
	for (size_t i = 0; i < count; i++) {
		parser->current = &parser->unnamed;
		parser->file = file;
		parser->line = line;
		config_parser_read_file(parser, paths[i]);
	}
	parser->is_included = false;
	parser->current = current;
	parser->file = file;
	parser->line = line;
}

void config_parse_include_dir(struct config_parser *parser, const struct config_option *option,
			      char *value)
{
	const char **paths;
	size_t count = 0;
	DIR *directory;

	if (parser->is_included) {
		config_parser_error(parser, "'include_dir' works in the main file only: name the "
					    "directory there");
		return;
	}
	if (*value == '\0') {
		config_parser_refuse(parser, option, NULL);
		return;
	}
	value = config_parser_copy(parser, value);
	directory = value ? opendir(value) : NULL;
	if (!directory) {
		config_parser_error(parser, "'include_dir' names '%s', which cannot be opened: %s",
				    config_quote(value ? value : "").text, strerror(errno));
		return;
	}
	paths = list_directory(parser, value, directory, &count);
	closedir(directory);
	if (paths)
		read_included(parser, paths, count);
	free(paths);
}

static bool parse_port(struct config_parser *parser, const struct config_option *option,
		       const char *word, int64_t lowest, uint16_t *out)
{
	int64_t port;

	if (!word) {
		config_parser_refuse(parser, option, NULL);
		return false;
	}
	if (!config_number_parse(word, &port) || port < lowest || port > UINT16_MAX) {
		config_parser_error(parser, "'%s' takes a port from 1 to 65535%s, not '%s'",
				    option->name,
				    lowest == 0 ? ", or 0 and the path of a Unix socket" : "",
				    config_quote(word).text);
		return false;
	}
	*out = (uint16_t)port;
	return true;
}

static void set_unix_path(struct config_parser *parser, struct config_listener *listener,
			  const char *path)
{
	struct sockaddr_un address;

	if (!path)
		config_parser_error(parser, "'listener 0' needs the path of a Unix socket; a TCP "
					    "listener has a port from 1 to 65535");
	else if (strlen(path) >= sizeof(address.sun_path))
		config_parser_error(parser,
				    "'listener 0' takes a path of at most %zu bytes, this "
				    "one has %zu",
				    sizeof(address.sun_path) - 1, strlen(path));
	else
		listener->unix_path = config_parser_copy(parser, path);
}

void config_parse_listener(struct config_parser *parser, const struct config_option *option,
			   char *value)
{
	const char *port_word = config_parser_word(&value);
	const char *where = config_parser_word(&value);
	struct config_draft *draft = config_parser_new_draft(parser);

	if (!draft)
		return;
	/* Also when something is wrong with it: the options below it are meant for it. */
	parser->current = draft;
	if (!parse_port(parser, option, port_word, 0, &draft->values.port) ||
	    !config_parser_end(parser, option, value))
		return;
	if (draft->values.port == 0)
		set_unix_path(parser, &draft->values, where);
	else if (where)
		draft->values.bind_address = config_parser_copy(parser, where);
}

void config_parse_port(struct config_parser *parser, const struct config_option *option,
		       char *value)
{
	const char *word = config_parser_word(&value);
	uint16_t port = 0;

	if (parse_port(parser, option, word, 1, &port) &&
	    config_parser_end(parser, option, value) && config_parser_mark(parser, option))
		parser->unnamed.values.port = port;
}

void config_parse_bind_address(struct config_parser *parser, const struct config_option *option,
			       char *value)
{
	const char *word = config_parser_word(&value);

	if (!word)
		config_parser_refuse(parser, option, NULL);
	else if (config_parser_end(parser, option, value) && config_parser_mark(parser, option))
		parser->unnamed.values.bind_address = config_parser_copy(parser, word);
}

void config_parse_protocol(struct config_parser *parser, const struct config_option *option,
			   char *value)
{
	static const char *const names[] = {
		[CONFIG_PROTOCOL_MQTT] = "mqtt",
		[CONFIG_PROTOCOL_WEBSOCKETS] = "websockets",
		[CONFIG_PROTOCOL_ANY] = "any",
	};
	const char *word = config_parser_word(&value);
	size_t i = 0;

	while (word && i < sizeof names / sizeof *names && strcmp(word, names[i]) != 0)
		i++;
	if (!word || i == sizeof names / sizeof *names)
		config_parser_refuse(parser, option, word);
	else if (config_parser_end(parser, option, value))
		parser->current->values.protocol = (enum config_protocol)i;
}

static void set_log_file(struct config_parser *parser, char *path)
{
	path += strspn(path, " \t");
	if (*path == '\0')
		config_parser_error(parser, "'log_dest file' needs the path of a file");
	else if (parser->config->log_file)
		config_parser_error(parser,
				    "'log_dest file' is already set, to '%s': there can be "
				    "one file only",
				    config_quote(parser->config->log_file).text);
	else
		parser->config->log_file = config_parser_copy(parser, path);
}

void config_parse_log_dest(struct config_parser *parser, const struct config_option *option,
			   char *value)
{
	struct config *config = parser->config;
	const char *word = config_parser_word(&value);

	if (!parser->has_log_dest)
		config->log_to_stderr = false;
	parser->has_log_dest = true;
	if (!word) {
		config_parser_refuse(parser, option, NULL);
		return;
	}
	if (strcmp(word, "file") == 0) {
		set_log_file(parser, value);
		return;
	}
	if (strcmp(word, "stderr") == 0)
		config->log_to_stderr = true;
	else if (strcmp(word, "stdout") == 0)
		config->log_to_stdout = true;
	else if (strcmp(word, "syslog") == 0)
		config->log_to_syslog = true;
	else if (strcmp(word, "topic") == 0)
		config->log_to_topic = true;
	else if (strcmp(word, "none") == 0) {
		config->log_to_stderr = config->log_to_stdout = false;
		config->log_to_syslog = config->log_to_topic = false;
		config->log_file = NULL;
	} else {
		config_parser_refuse(parser, option, word);
		return;
	}
	config_parser_end(parser, option, value);
}

static const struct config_choice *find_log_type(const char *word)
{
	const struct config_choice *type = config_log_types;

	while (type->name && strcmp(type->name, word) != 0)
		type++;
	return type->name ? type : NULL;
}

void config_parse_log_type(struct config_parser *parser, const struct config_option *option,
			   char *value)
{
	const char *word = config_parser_word(&value);

	if (!word) {
		config_parser_refuse(parser, option, NULL);
		return;
	}
	if (!parser->has_log_type)
		parser->config->log_types = 0;
	parser->has_log_type = true;
	for (; word; word = config_parser_word(&value)) {
		const struct config_choice *type = find_log_type(word);

		if (!type) {
			config_parser_error(
				parser,
				"'log_type' takes error, warning, notice, information, "
				"debug, subscribe, unsubscribe, websockets, internal, all "
				"or none, not '%s'",
				config_quote(word).text);
			return;
		}
		parser->config->log_types |= (unsigned)type->value;
		if (type->value == 0)
			parser->config->log_types = 0;
	}
}

void config_parse_log_facility(struct config_parser *parser, const struct config_option *option,
			       char *value)
{
	static const int facilities[] = {LOG_LOCAL0, LOG_LOCAL1, LOG_LOCAL2, LOG_LOCAL3,
					 LOG_LOCAL4, LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7};
	const char *word = config_parser_word(&value);
	int64_t number;

	if (!word || !config_number_parse(word, &number) || number < 0 || number > 7)
		config_parser_error(parser,
				    "'log_facility' takes a whole number from 0 to 7 (for "
				    "local0 to local7), not '%s'",
				    word ? config_quote(word).text : "");
	else if (config_parser_end(parser, option, value))
		parser->config->log_facility = facilities[number];
}
