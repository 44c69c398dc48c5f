/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_parse.c - files into lines, lines into options, options into their fields.
 *
 * The format is mosquitto's: a name, blanks, a value to the end of the line; a line that begins
 * with '#' is a comment. Beyond it, tabs separate as blanks do and may stand before a name or '#'.
 */
#include "server/config_parse.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mqtt/utf8.h"

static void add_placed(struct config_parser *parser, const char *file, unsigned line,
		       const char *format, va_list arguments)
{
	char text[CONFIG_ERROR_BYTES];

	vsnprintf(text, sizeof(text), format, arguments);
	config_errors_add(parser->errors, "%s:%u: %s", file ? file : "", line, text);
}

void config_parser_error(struct config_parser *parser, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_placed(parser, parser->file, parser->line, format, arguments);
	va_end(arguments);
}

void config_parser_error_at(struct config_parser *parser, const struct config_place *place,
			    const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_placed(parser, place->file, place->line, format, arguments);
	va_end(arguments);
}

static void add_note(struct config_parser *parser, const struct config_place *place,
		     const char *format, va_list arguments)
{
	char text[CONFIG_ERROR_BYTES], whole[CONFIG_ERROR_BYTES + 64];

	if (parser->note_count == CONFIG_NOTES_MAX)
		return;
	vsnprintf(text, sizeof(text), format, arguments);
	if (place->file)
		snprintf(whole, sizeof(whole), "%s:%u: %s", place->file, place->line, text);
	else
		snprintf(whole, sizeof(whole), "%s", text);
	parser->notes[parser->note_count] = config_parser_copy(parser, whole);
	if (parser->notes[parser->note_count])
		parser->note_count++;
}

void config_parser_note(struct config_parser *parser, const char *format, ...)
{
	struct config_place here = {parser->file, parser->line, 0};
	va_list arguments;

	va_start(arguments, format);
	add_note(parser, &here, format, arguments);
	va_end(arguments);
}

void config_parser_note_at(struct config_parser *parser, const struct config_place *place,
			   const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add_note(parser, place, format, arguments);
	va_end(arguments);
}

void *config_parser_alloc(struct config_parser *parser, size_t bytes)
{
	void *memory = config_alloc(parser->config, bytes);

	if (!memory)
		config_errors_add(parser->errors, "no memory for the configuration");
	return memory;
}

char *config_parser_copy(struct config_parser *parser, const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = config_parser_alloc(parser, bytes);

	if (copy)
		memcpy(copy, text, bytes);
	return copy;
}

struct config_draft *config_parser_new_draft(struct config_parser *parser)
{
	struct config_draft *draft;

	if (parser->draft_count == CONFIG_LISTENERS_MAX) {
		config_parser_error(parser, "more than %d listeners", CONFIG_LISTENERS_MAX);
		return NULL;
	}
	draft = config_parser_alloc(parser, sizeof(*draft));
	if (!draft)
		return NULL;
	for (size_t i = 0; i < config_option_count; i++)
		if (config_options[i].scope != CONFIG_SCOPE_GLOBAL)
			config_option_set_default(&config_options[i], &draft->values);
	draft->values.file = parser->file;
	draft->values.line = parser->line;
	parser->drafts[parser->draft_count++] = draft;
	return draft;
}

struct config_quoted config_quote(const char *text)
{
	struct config_quoted quoted;
	size_t used = 0;

	for (; *text && used < 72; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte < 0x20 || byte == 0x7f)
			used += (size_t)sprintf(quoted.text + used, "\\x%02x", byte);
		else
			quoted.text[used++] = (char)byte;
	}
	strcpy(quoted.text + used, *text ? "..." : "");
	return quoted;
}

char *config_parser_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t");

	if (*word == '\0' || *word == '#') {
		*rest = word + strlen(word);
		return NULL;
	}
	*rest = word + strcspn(word, " \t");
	if (**rest)
		*(*rest)++ = '\0';
	return word;
}

bool config_parser_end(struct config_parser *parser, const struct config_option *option, char *rest)
{
	const char *word = config_parser_word(&rest);

	if (!word)
		return true;
	config_parser_error(parser, "'%s' has more behind its value than it takes, from '%s' on",
			    option->name, config_quote(word).text);
	return false;
}

bool config_parser_mark(struct config_parser *parser, const struct config_option *option)
{
	size_t index = config_option_index(option);
	struct config_place *place = option->scope == CONFIG_SCOPE_GLOBAL
					     ? &parser->set[index]
					     : &parser->current->set[index];
	bool is_text = option->kind == CONFIG_OPTION_TEXT || option->kind == CONFIG_OPTION_SPECIAL;

	if (place->file && is_text && !(option->traits & CONFIG_TRAIT_LAST_WINS)) {
		config_parser_error(parser, "'%s' is already set at %s:%u: take one of them out",
				    option->name, place->file, place->line);
		return false;
	}
	if (place->file && strcmp(place->file, parser->file) == 0)
		config_parser_note(parser, "'%s' is also set on line %u: this line counts",
				   option->name, place->line);
	*place = (struct config_place){parser->file, parser->line, ++parser->order};
	return true;
}

bool config_number_parse(const char *text, int64_t *out)
{
	char *end;
	long long value;

	if (!isdigit((unsigned char)text[*text == '-']))
		return false;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0')
		return false;
	*out = value;
	return true;
}

void config_parser_refuse(struct config_parser *parser, const struct config_option *option,
			  const char *found)
{
	char allowed[160];

	config_option_allowed(option, allowed, sizeof(allowed));
	if (found)
		config_parser_error(parser, "'%s' takes %s, not '%s'", option->name, allowed,
				    config_quote(found).text);
	else
		config_parser_error(parser, "'%s' needs a value: %s", option->name, allowed);
}

static bool parse_flag(const char *word, int64_t *out)
{
	*out = strcmp(word, "true") == 0 || strcmp(word, "1") == 0;
	return *out || strcmp(word, "false") == 0 || strcmp(word, "0") == 0;
}

static bool parse_number(const struct config_option *option, const char *word, int64_t *out)
{
	if (!config_number_parse(word, out))
		return false;
	if (*out == 0 && (option->traits & CONFIG_TRAIT_ZERO_OK))
		return true;
	if (*out == -1 && (option->traits & CONFIG_TRAIT_MINUS_ONE_OK))
		return true;
	return *out >= option->min && *out <= option->max;
}

/* A month is 30 days and a year 365, as in mosquitto. Seconds are an addition. */
static bool parse_duration(const struct config_option *option, const char *word, int64_t *out)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = {{'s', 1},	       {'h', 3600},	  {'d', 86400},
		     {'w', 7 * 86400}, {'m', 30 * 86400}, {'y', 365 * 86400}};
	int64_t limit = option->size == 4 ? (int64_t)UINT32_MAX - 1 : INT64_MAX / 1000000;
	size_t digits = strspn(word, "0123456789");
	char number[24];

	if (strcmp(word, "0") == 0) {
		*out = 0;
		return true;
	}
	if (digits == 0 || digits >= sizeof(number) || strlen(word) != digits + 1)
		return false;
	memcpy(number, word, digits);
	number[digits] = '\0';
	if (!config_number_parse(number, out))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (units[i].unit == word[digits] && *out <= limit / units[i].seconds) {
			*out *= units[i].seconds;
			return *out > 0;
		}
	return false;
}

static bool parse_choice(const struct config_option *option, const char *word, int64_t *out)
{
	for (const struct config_choice *choice = option->choices; choice->name; choice++)
		if (strcmp(choice->name, word) == 0) {
			*out = choice->value;
			return true;
		}
	return false;
}

static void *option_base(struct config_parser *parser, const struct config_option *option)
{
	if (option->scope == CONFIG_SCOPE_GLOBAL)
		return parser->config;
	return &parser->current->values;
}

static void set_number(struct config_parser *parser, const struct config_option *option,
		       char *value)
{
	const char *word = config_parser_word(&value);
	int64_t number = 0;
	bool is_sound = false;

	if (word)
		is_sound = option->kind == CONFIG_OPTION_FLAG ? parse_flag(word, &number)
			   : option->kind == CONFIG_OPTION_NUMBER
				   ? parse_number(option, word, &number)
			   : option->kind == CONFIG_OPTION_CHOICE
				   ? parse_choice(option, word, &number)
				   : parse_duration(option, word, &number);
	if (!is_sound) {
		config_parser_refuse(parser, option, word);
		return;
	}
	if (config_parser_end(parser, option, value) && config_parser_mark(parser, option))
		config_option_set_number(option, option_base(parser, option), number);
}

static void set_text(struct config_parser *parser, const struct config_option *option,
		     const char *value)
{
	struct err_detail why = {""};
	size_t length = strlen(value);

	if (length == 0) {
		config_parser_refuse(parser, option, NULL);
		return;
	}
	if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
		config_parser_error(parser,
				    "'%s' has quotes round its value, which would be part of it: "
				    "write the value without them",
				    option->name);
		return;
	}
	if (option->check(value, &why) != ERR_NONE) {
		config_parser_error(parser, "'%s' %s, not '%s'", option->name, why.text,
				    config_quote(value).text);
		return;
	}
	if (config_parser_mark(parser, option))
		config_option_set_text(option, option_base(parser, option),
				       config_parser_copy(parser, value));
}

static void handle_option(struct config_parser *parser, const struct config_option *option,
			  const char *name, char *value)
{
	switch (option->kind) {
	case CONFIG_OPTION_TEXT: set_text(parser, option, value); break;
	case CONFIG_OPTION_SPECIAL: option->parse(parser, option, value); break;
	case CONFIG_OPTION_LATER:
	case CONFIG_OPTION_LATER_PREFIX:
		config_parser_error(parser, "'%s' is not supported yet (%s): %s",
				    config_quote(name).text, option->feature->name,
				    option->feature->mend);
		break;
	case CONFIG_OPTION_NO_MEANING:
		config_parser_note(parser, "'%s' has no effect, it can be taken out: %s",
				   option->name, option->help);
		break;
	default: set_number(parser, option, value);
	}
}

/* People write "name = value" and "name: value"; say so when that is all that is wrong. */
static bool is_known_before(const char *name, char *out, size_t bytes)
{
	size_t length = strcspn(name, "=:");

	if (name[length] == '\0' || length >= bytes)
		return false;
	memcpy(out, name, length);
	out[length] = '\0';
	return config_option_find(out) != NULL;
}

static void refuse_unknown(struct config_parser *parser, const char *name)
{
	const char *nearest = config_option_nearest(name);
	char before[64];

	if (is_known_before(name, before, sizeof(before)))
		config_parser_error(parser,
				    "unknown option '%s': write '%s VALUE', with a blank "
				    "and without '%c'",
				    config_quote(name).text, before, name[strlen(before)]);
	else if (nearest)
		config_parser_error(parser, "unknown option '%s': did you mean '%s'?",
				    config_quote(name).text, nearest);
	else
		config_parser_error(parser,
				    "unknown option '%s': nightjar.conf(5) lists those there are",
				    config_quote(name).text);
}

/* Bytes that no value can hold: one that slipped in would be hard to see later. */
static bool is_text(struct config_parser *parser, const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)line[i];

		if (byte >= 0x20 ? byte == 0x7f : byte != '\t') {
			config_parser_error(parser,
					    "there is a control character (0x%02x) in "
					    "column %zu: take it out",
					    byte, i + 1);
			return false;
		}
	}
	if (!utf8_is_valid(slice_of(line, length))) {
		config_parser_error(parser, "this is not UTF-8 text: save the file as UTF-8");
		return false;
	}
	return true;
}

/* line is a copy, without its line break, ended by zero; it is cut into words in place. */
static void parse_line(struct config_parser *parser, char *line, size_t length)
{
	const struct config_option *option;
	char *name, *value;

	while (length > 0 && strchr(" \t\r", line[length - 1]) && line[length - 1])
		line[--length] = '\0';
	name = line + strspn(line, " \t");
	if (*name == '#' && !memchr(line, '\0', length))
		return;
	if (length == 0 || !is_text(parser, line, length))
		return;
	value = name + strcspn(name, " \t");
	if (*value)
		*value++ = '\0';
	value += strspn(value, " \t");
	option = config_option_find(name);
	if (option)
		handle_option(parser, option, name, value);
	else
		refuse_unknown(parser, name);
}

static const char *skip_byte_order_mark(struct config_parser *parser, const char *bytes,
					const char *end)
{
	if (end - bytes >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
		return bytes + 3;
	if (end - bytes >= 2 &&
	    (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0)) {
		config_parser_error(parser, "this is UTF-16 text: save the file as UTF-8");
		return end;
	}
	return bytes;
}

void config_parser_read_bytes(struct config_parser *parser, const char *name, const char *bytes,
			      size_t length)
{
	const char *end = bytes + length;
	char *line = malloc(CONFIG_LINE_BYTES_MAX + 1);

	if (!line) {
		config_errors_add(parser->errors, "no memory for the configuration");
		return;
	}
	parser->file = name;
	parser->line = 1;
	bytes = skip_byte_order_mark(parser, bytes, end);
	for (; bytes < end && !parser->errors->is_cut; parser->line++) {
		const char *stop = memchr(bytes, '\n', (size_t)(end - bytes));
		size_t line_length = (size_t)((stop ? stop : end) - bytes);

		if (line_length > CONFIG_LINE_BYTES_MAX) {
			config_parser_error(parser,
					    "the line has %zu bytes: at most %d are allowed",
					    line_length, CONFIG_LINE_BYTES_MAX);
		} else {
			memcpy(line, bytes, line_length);
			line[line_length] = '\0';
			parse_line(parser, line, line_length);
		}
		bytes += line_length + (stop != NULL);
	}
	free(line);
}

/* Reads up to the limit; the size that stat gives means nothing for a pipe. */
static char *read_all(struct config_parser *parser, int fd, const char *path, size_t *out_length)
{
	size_t room = 65536, length = 0;
	char *bytes = malloc(room);

	while (bytes) {
		ssize_t n = read(fd, bytes + length, room - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			config_errors_add(parser->errors, "%s: cannot be read: %s", path,
					  strerror(errno));
			break;
		}
		if (n == 0) {
			*out_length = length;
			return bytes;
		}
		length += (size_t)n;
		if (length > CONFIG_FILE_BYTES_MAX) {
			config_errors_add(parser->errors,
					  "%s: is larger than %zu MiB: is it a "
					  "configuration file?",
					  path, CONFIG_FILE_BYTES_MAX >> 20);
			break;
		}
		if (length == room) {
			char *larger = realloc(bytes, room *= 2);

			if (!larger)
				free(bytes);
			bytes = larger;
		}
	}
	if (!bytes)
		config_errors_add(parser->errors, "%s: no memory to read it", path);
	free(bytes);
	return NULL;
}

/* The main file must not be included by itself; included files are told by their identity. */
static bool is_readable_file(struct config_parser *parser, const struct stat *status,
			     const char *path)
{
	if (S_ISDIR(status->st_mode)) {
		config_errors_add(parser->errors,
				  "%s: is a directory: name a file, or use "
				  "include_dir for its .conf files",
				  path);
		return false;
	}
	if (!parser->is_included) {
		parser->main_device = status->st_dev;
		parser->main_inode = status->st_ino;
		return true;
	}
	if (status->st_dev == parser->main_device && status->st_ino == parser->main_inode) {
		config_parser_error(parser, "'include_dir' names the directory of this file, which "
					    "would be loaded again: move it elsewhere");
		return false;
	}
	return true;
}

void config_parser_read_file(struct config_parser *parser, const char *path)
{
	struct stat status;
	size_t length = 0;
	char *bytes;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) != 0) {
		config_errors_add(parser->errors, "%s: cannot be opened: %s", path,
				  strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	if (is_readable_file(parser, &status, path)) {
		bytes = read_all(parser, fd, path, &length);
		if (bytes)
			config_parser_read_bytes(parser, path, bytes, length);
		free(bytes);
	}
	close(fd);
}
