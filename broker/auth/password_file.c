/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password_file.c - the entries stand in one array, sorted by name, and are found by halving: a
 * lookup happens once per CONNECT, beside a hash that takes ten thousand times as long.
 */
#include "auth/password_file.h"

#include <stdlib.h>

#include "auth/password_hash.h"
#include "auth/text_file.h"
#include "base/hash.h"

#define USERNAME_MAX_BYTES 65535 /* what a CONNECT can carry */

struct password_entry {
	struct slice username; /* points into the file's names */
	unsigned line;
	struct password_hash hash;
};

/* Frozen after load. */
struct password_file {
	unsigned references; /* atomic */
	size_t count;
	struct password_entry *entries; /* sorted by username */
	uint8_t *names;			/* all user names, one after the other */
};

static int compare_names(struct slice a, struct slice b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int order = shorter ? memcmp(a.data, b.data, shorter) : 0;

	if (order != 0)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

static int compare_entries(const void *left, const void *right)
{
	const struct password_entry *a = left;
	const struct password_entry *b = right;
	int order = compare_names(a->username, b->username);

	return order != 0 ? order : (a->line > b->line) - (a->line < b->line);
}

static bool is_content(struct slice line)
{
	return line.len > 0 && line.data[0] != '#';
}

static enum err parse_hash(struct slice text, const struct text_lines *at, struct slice username,
			   struct password_hash *out, struct err_detail *detail)
{
	struct err_detail reason = {0};
	enum err err;

	if (text.len > 0 && text.data[0] != '$')
		return err_set(detail, ERR_INVALID,
			       "%s:%u: the password of user '%.*s' is in plain text; run "
			       "`nightjar-passwd -U %s` once to hash the passwords of this file",
			       at->name, at->number, TEXT_SHOWN(username), at->name);
	err = password_hash_parse(text, out, &reason);
	if (err)
		return err_set(
			detail, err,
			"%s:%u: user '%.*s': %s; set the password anew with `nightjar-passwd %s %.*s`",
			at->name, at->number, TEXT_SHOWN(username), reason.text, at->name,
			TEXT_SHOWN(username));
	return ERR_NONE;
}

/* USERNAME:HASH. The entry's name still points into the line. */
static enum err parse_line(struct slice line, const struct text_lines *at,
			   struct password_entry *out, struct err_detail *detail)
{
	const uint8_t *colon = memchr(line.data, ':', line.len);
	size_t len = colon ? (size_t)(colon - line.data) : 0;

	if (!colon)
		return err_set(
			detail, ERR_INVALID,
			"%s:%u: there is no ':' in this line; it must read USERNAME:HASH, as "
			"nightjar-passwd writes it, or begin with '#'",
			at->name, at->number);
	out->line = at->number;
	out->username = text_trim(slice_of(line.data, len));
	if (out->username.len == 0 || out->username.len > USERNAME_MAX_BYTES ||
	    memchr(out->username.data, '\0', out->username.len))
		return err_set(
			detail, ERR_INVALID,
			"%s:%u: the user name before ':' is empty, longer than %d bytes, or holds a "
			"zero byte",
			at->name, at->number, USERNAME_MAX_BYTES);
	return parse_hash(text_trim(slice_of(colon + 1, line.len - len - 1)), at, out->username,
			  &out->hash, detail);
}

static size_t count_content(struct slice text, const char *name)
{
	struct text_lines lines = text_lines_of(text, name);
	struct slice line;
	size_t count = 0;

	while (text_lines_next(&lines, &line))
		count += is_content(line);
	return count;
}

static enum err parse_lines(struct password_file *file, struct slice text, const char *name,
			    struct err_detail *detail)
{
	struct text_lines lines = text_lines_of(text, name);
	struct slice line;
	size_t used = 0;

	while (text_lines_next(&lines, &line)) {
		struct password_entry *entry = &file->entries[file->count];
		enum err err;

		if (!is_content(line))
			continue;
		err = parse_line(line, &lines, entry, detail);
		if (err)
			return err;
		memcpy(file->names + used, entry->username.data, entry->username.len);
		entry->username.data = file->names + used;
		used += entry->username.len;
		file->count++;
	}
	return ERR_NONE;
}

static enum err sort_and_check_duplicates(struct password_file *file, const char *name,
					  struct err_detail *detail)
{
	if (file->count > 0)
		qsort(file->entries, file->count, sizeof *file->entries, compare_entries);
	for (size_t i = 1; i < file->count; i++) {
		const struct password_entry *entry = &file->entries[i];

		if (slice_equal(entry->username, entry[-1].username))
			return err_set(
				detail, ERR_INVALID,
				"%s:%u: user '%.*s' stands in line %u already; delete one of the two",
				name, entry->line, TEXT_SHOWN(entry->username), entry[-1].line);
	}
	return ERR_NONE;
}

static struct password_file *allocate(size_t entries, size_t name_bytes)
{
	struct password_file *file = calloc(1, sizeof *file);

	if (!file)
		return NULL;
	file->references = 1;
	file->entries = calloc(entries + 1, sizeof *file->entries);
	file->names = malloc(name_bytes + 1);
	if (!file->entries || !file->names)
		password_file_unref(&file);
	return file;
}

enum err password_file_parse(struct slice text, const char *name, struct password_file **out,
			     struct err_detail *detail)
{
	struct password_file *file = allocate(count_content(text, name), text.len);
	enum err err;

	*out = NULL;
	if (!file)
		return err_set(detail, ERR_NOMEM, "%s: no memory for its users", name);
	err = parse_lines(file, text, name, detail);
	if (!err)
		err = sort_and_check_duplicates(file, name, detail);
	if (err)
		password_file_unref(&file);
	*out = file;
	return err;
}

enum err password_file_load(const char *path, struct password_file **out, struct err_detail *detail)
{
	struct slice text;
	enum err err;

	*out = NULL;
	err = text_file_read(path, "password_file", &text, detail);
	if (err)
		return err;
	err = password_file_parse(text, path, out, detail);
	text_file_free(&text);
	return err;
}

struct password_file *password_file_ref(struct password_file *file)
{
	if (file)
		__atomic_add_fetch(&file->references, 1, __ATOMIC_RELAXED);
	return file;
}

void password_file_unref(struct password_file **file)
{
	struct password_file *gone = *file;

	*file = NULL;
	if (!gone || __atomic_sub_fetch(&gone->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(gone->entries);
	free(gone->names);
	free(gone);
}

size_t password_file_count(const struct password_file *file)
{
	return file->count;
}

const struct password_entry *password_file_find(const struct password_file *file,
						struct slice username)
{
	size_t low = 0, high = file->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_names(username, file->entries[middle].username);

		if (order == 0)
			return &file->entries[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool password_entry_verify(const struct password_entry *entry, struct slice password)
{
	return password_hash_verify(&entry->hash, password);
}

/*
 * Costs what a verification costs, and has no result. An empty file has no users to find out about.
 */
static void hash_for_nothing(const struct password_file *file, struct slice username,
			     struct slice password)
{
	if (file->count > 0)
		(void)password_hash_verify(&file->entries[hash_slice(username) % file->count].hash,
					   password);
}

bool password_file_verify(const struct password_file *file, struct slice username,
			  struct slice password)
{
	const struct password_entry *entry = password_file_find(file, username);

	if (entry)
		return password_entry_verify(entry, password);
	hash_for_nothing(file, username, password);
	return false;
}

bool password_entry_equal(const struct password_entry *a, const struct password_entry *b)
{
	return slice_equal(a->username, b->username) && password_hash_equal(&a->hash, &b->hash);
}
