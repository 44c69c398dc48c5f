/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl_file.c - from text to sections: one compiled set of rules per user, one for clients without a
 * user name, one for patterns that are the same for everybody, and a list of those that are not.
 *
 * Each line becomes a struct acl_line; sorting the lines by section puts each section's lines side
 * by side, whatever order (and however often) the file names its users in.
 */
#include "auth/acl_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/acl_rules.h"
#include "auth/acl_sections.h"
#include "auth/text_file.h"
#include "base/log.h"
#include "mqtt/topic.h"

enum section_kind {
	SECTION_ANONYMOUS,
	SECTION_COMMON_PATTERNS,
	SECTION_CLIENT_PATTERNS, /* with %c or %u; never compiled here */
	SECTION_USER,
};

/* One `topic` or `pattern` line. The slices point into the text. */
struct acl_line {
	enum section_kind section;
	struct slice username; /* SECTION_USER only */
	unsigned number;
	struct acl_rule rule;
};

struct acl_user {
	struct slice name; /* points into acl_file.strings */
	struct acl_rules *rules;
};

/* Frozen after load. */
struct acl_file {
	unsigned references; /* atomic */
	char *name;
	struct acl_rules *anonymous;
	struct acl_rules *common_patterns;
	struct acl_rule *patterns; /* filters point into strings */
	size_t pattern_count;
	struct acl_user *users; /* sorted by name */
	size_t user_count;
	uint8_t *strings;
	size_t strings_used;
};

/* State of one parse. */
struct acl_parser {
	struct text_lines lines;
	struct acl_line *found;
	size_t count, room;
	bool in_user;
	struct slice username;
	struct err_detail *detail;
};

static int compare_bytes(struct slice a, struct slice b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int order = shorter ? memcmp(a.data, b.data, shorter) : 0;

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_sections(const struct acl_line *a, const struct acl_line *b)
{
	if (a->section != b->section)
		return a->section < b->section ? -1 : 1;
	return compare_bytes(a->username, b->username);
}

static int compare_lines(const void *left, const void *right)
{
	const struct acl_line *a = left;
	const struct acl_line *b = right;
	int order = compare_sections(a, b);

	return order != 0 ? order : (a->number > b->number) - (a->number < b->number);
}

static bool has_placeholder(struct slice text)
{
	for (size_t i = 0; i + 1 < text.len; i++)
		if (text.data[i] == '%' && (text.data[i + 1] == 'c' || text.data[i + 1] == 'u'))
			return true;
	return false;
}

static enum err append_line(struct acl_parser *parser, const struct acl_line *line)
{
	if (parser->count == parser->room) {
		size_t room = parser->room ? parser->room * 2 : 64;
		struct acl_line *found = realloc(parser->found, room * sizeof *found);

		if (!found)
			return err_set(parser->detail, ERR_NOMEM, "%s: no memory for its rules",
				       parser->lines.name);
		parser->found = found;
		parser->room = room;
	}
	parser->found[parser->count++] = *line;
	return ERR_NONE;
}

/* 0 when the word is not an access. */
static uint8_t access_bits(struct slice word)
{
	if (slice_equal_string(word, "read"))
		return ACL_BIT_READ;
	if (slice_equal_string(word, "write"))
		return ACL_BIT_WRITE;
	if (slice_equal_string(word, "readwrite"))
		return ACL_BIT_READ | ACL_BIT_WRITE;
	return slice_equal_string(word, "deny") ? ACL_BIT_DENY : 0;
}

/* [ACCESS] TOPIC; a TOPIC with white space in it needs an ACCESS in front, as in mosquitto. */
static enum err parse_rule(struct acl_parser *parser, struct slice text, struct acl_rule *out)
{
	const struct text_lines *at = &parser->lines;
	struct slice rest = text;
	struct slice word = text_next_word(&rest);

	if (word.len == 0)
		return err_set(parser->detail, ERR_INVALID,
			       "%s:%u: there is no topic; it must read "
			       "topic [read|write|readwrite|deny] TOPIC",
			       at->name, at->number);
	out->filter = rest.len > 0 ? rest : word;
	out->bits = rest.len > 0 ? access_bits(word) : ACL_BIT_READ | ACL_BIT_WRITE;
	if (out->bits == 0)
		return err_set(parser->detail, ERR_INVALID,
			       "%s:%u: '%.*s' is not an access: read, write, readwrite or deny (a "
			       "topic with spaces needs one of these in front of it)",
			       at->name, at->number, TEXT_SHOWN(word));
	if (!topic_filter_is_valid(out->filter))
		return err_set(parser->detail, ERR_INVALID,
			       "%s:%u: '%.*s' is not a valid Topic Filter: '+' and '#' must fill a "
			       "level between '/' alone, '#' only the last, and it must be UTF-8",
			       at->name, at->number, TEXT_SHOWN(out->filter));
	return ERR_NONE;
}

static enum err parse_topic(struct acl_parser *parser, struct slice text)
{
	struct acl_line line = {
		.section = parser->in_user ? SECTION_USER : SECTION_ANONYMOUS,
		.username = parser->username,
		.number = parser->lines.number,
	};
	enum err err = parse_rule(parser, text, &line.rule);

	if (err)
		return err;
	if (has_placeholder(line.rule.filter))
		log_event(LOG_TYPE_WARNING, NULL,
			  "%s:%u: %%c and %%u are put in for clients by 'pattern' only; in this "
			  "'topic' they stand for themselves",
			  parser->lines.name, parser->lines.number);
	return append_line(parser, &line);
}

static enum err parse_pattern(struct acl_parser *parser, struct slice text)
{
	struct acl_line line = {.number = parser->lines.number};
	enum err err = parse_rule(parser, text, &line.rule);

	if (err)
		return err;
	line.section = has_placeholder(line.rule.filter) ? SECTION_CLIENT_PATTERNS
							 : SECTION_COMMON_PATTERNS;
	return append_line(parser, &line);
}

static enum err parse_line(struct acl_parser *parser, struct slice line)
{
	struct slice rest = line;
	struct slice word = text_next_word(&rest);

	if (slice_equal_string(word, "topic"))
		return parse_topic(parser, rest);
	if (slice_equal_string(word, "pattern"))
		return parse_pattern(parser, rest);
	if (!slice_equal_string(word, "user"))
		return err_set(parser->detail, ERR_INVALID,
			       "%s:%u: '%.*s' is not known here; a line begins with user, topic, "
			       "pattern or #",
			       parser->lines.name, parser->lines.number, TEXT_SHOWN(word));
	if (rest.len == 0)
		return err_set(parser->detail, ERR_INVALID, "%s:%u: there is no name behind 'user'",
			       parser->lines.name, parser->lines.number);
	parser->in_user = true;
	parser->username = rest;
	return ERR_NONE;
}

static enum err parse_lines(struct acl_parser *parser)
{
	struct slice line;

	while (text_lines_next(&parser->lines, &line)) {
		enum err err;

		if (line.len == 0 || line.data[0] == '#')
			continue;
		err = parse_line(parser, line);
		if (err)
			return err;
	}
	if (parser->count > 0)
		qsort(parser->found, parser->count, sizeof parser->found[0], compare_lines);
	return ERR_NONE;
}

static struct slice keep_string(struct acl_file *acl, struct slice text)
{
	uint8_t *at = acl->strings + acl->strings_used;

	memcpy(at, text.data, text.len);
	acl->strings_used += text.len;
	return slice_of(at, text.len);
}

/* Takes the lines of one section; rules is scratch space for them. */
static enum err add_section(struct acl_file *acl, const struct acl_line *lines, size_t count,
			    struct acl_rule *rules)
{
	struct acl_user *user;

	for (size_t i = 0; i < count; i++)
		rules[i] = lines[i].rule;
	switch (lines->section) {
	case SECTION_ANONYMOUS: return acl_rules_compile(rules, count, &acl->anonymous);
	case SECTION_COMMON_PATTERNS: return acl_rules_compile(rules, count, &acl->common_patterns);
	case SECTION_CLIENT_PATTERNS:
		acl->pattern_count = count;
		for (size_t i = 0; i < count; i++) {
			acl->patterns[i] = rules[i];
			acl->patterns[i].filter = keep_string(acl, rules[i].filter);
		}
		return ERR_NONE;
	case SECTION_USER: break;
	}
	user = &acl->users[acl->user_count++];
	user->name = keep_string(acl, lines->username);
	return acl_rules_compile(rules, count, &user->rules);
}

static enum err add_sections(struct acl_file *acl, const struct acl_line *lines, size_t count,
			     struct acl_rule *rules)
{
	size_t first = 0;

	while (first < count) {
		size_t end = first + 1;
		enum err err;

		while (end < count && compare_sections(&lines[first], &lines[end]) == 0)
			end++;
		err = add_section(acl, &lines[first], end - first, rules);
		if (err)
			return err;
		first = end;
	}
	return ERR_NONE;
}

/* No line can bring more than one user, one pattern, and its own bytes. */
static struct acl_file *allocate(const char *name, size_t line_count, size_t text_bytes)
{
	struct acl_file *acl = calloc(1, sizeof *acl);

	if (!acl)
		return NULL;
	acl->references = 1;
	acl->name = strdup(name);
	acl->patterns = calloc(line_count + 1, sizeof *acl->patterns);
	acl->users = calloc(line_count + 1, sizeof *acl->users);
	acl->strings = malloc(text_bytes + 1);
	if (!acl->name || !acl->patterns || !acl->users || !acl->strings)
		acl_file_unref(&acl);
	return acl;
}

static enum err build(const struct acl_parser *parser, size_t text_bytes, struct acl_file **out)
{
	struct acl_file *acl = allocate(parser->lines.name, parser->count, text_bytes);
	struct acl_rule *rules = calloc(parser->count + 1, sizeof *rules);
	enum err err = ERR_NOMEM;

	if (acl && rules)
		err = add_sections(acl, parser->found, parser->count, rules);
	free(rules);
	if (err) {
		acl_file_unref(&acl);
		return err_set(parser->detail, err, "%s: no memory for its rules",
			       parser->lines.name);
	}
	*out = acl;
	return ERR_NONE;
}

enum err acl_file_parse(struct slice text, const char *name, struct acl_file **out,
			struct err_detail *detail)
{
	struct acl_parser parser = {.lines = text_lines_of(text, name), .detail = detail};
	enum err err = parse_lines(&parser);

	*out = NULL;
	if (!err)
		err = build(&parser, text.len, out);
	free(parser.found);
	return err;
}

enum err acl_file_load(const char *path, struct acl_file **out, struct err_detail *detail)
{
	struct slice text;
	enum err err;

	*out = NULL;
	err = text_file_read(path, "acl_file", &text, detail);
	if (err)
		return err;
	err = acl_file_parse(text, path, out, detail);
	text_file_free(&text);
	return err;
}

struct acl_file *acl_file_ref(struct acl_file *acl)
{
	if (acl)
		__atomic_add_fetch(&acl->references, 1, __ATOMIC_RELAXED);
	return acl;
}

void acl_file_unref(struct acl_file **acl)
{
	struct acl_file *gone = *acl;

	*acl = NULL;
	if (!gone || __atomic_sub_fetch(&gone->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < gone->user_count; i++)
		acl_rules_destroy(&gone->users[i].rules);
	acl_rules_destroy(&gone->anonymous);
	acl_rules_destroy(&gone->common_patterns);
	free(gone->users);
	free(gone->patterns);
	free(gone->strings);
	free(gone->name);
	free(gone);
}

const char *acl_file_name(const struct acl_file *acl)
{
	return acl->name;
}

const struct acl_rules *acl_file_user_rules(const struct acl_file *acl, bool has_username,
					    struct slice username)
{
	size_t low = 0, high = acl->user_count;

	if (!has_username)
		return acl->anonymous;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_bytes(username, acl->users[middle].name);

		if (order == 0)
			return acl->users[middle].rules;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

const struct acl_rules *acl_file_common_patterns(const struct acl_file *acl)
{
	return acl->common_patterns;
}

size_t acl_file_pattern_count(const struct acl_file *acl)
{
	return acl->pattern_count;
}

struct acl_rule acl_file_pattern_at(const struct acl_file *acl, size_t index)
{
	return acl->patterns[index];
}
