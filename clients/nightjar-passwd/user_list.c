/* SPDX-License-Identifier: Apache-2.0 */
#include "user_list.h"

#include "auth/text_file.h"
#include "mqtt/utf8.h"

#define FIELD_MAX_BYTES 65535 /* of a User Name or Password in a CONNECT */

struct raw_lines {
	struct slice rest;
	unsigned number;
};

/* A line of a user, or something that is passed through. */
struct user_line {
	struct slice raw;      /* without the line's end */
	struct slice name;     /* empty: comment or empty line */
	struct slice password; /* hash or plain text, as it stands there */
};

static bool next_raw_line(struct raw_lines *lines, struct slice *out)
{
	struct slice *rest = &lines->rest;
	const uint8_t *end;
	size_t len;

	if (rest->len == 0)
		return false;
	end = memchr(rest->data, '\n', rest->len);
	len = end ? (size_t)(end - rest->data) : rest->len;
	*out = slice_of(rest->data, len);
	if (len > 0 && rest->data[len - 1] == '\r')
		out->len--;
	lines->number++;
	rest->data += end ? len + 1 : len;
	rest->len -= end ? len + 1 : len;
	return true;
}

static enum err split_line(const struct user_list *list, unsigned number, struct slice raw,
			   struct user_line *out, struct err_detail *detail)
{
	struct slice trimmed = text_trim(raw);
	const uint8_t *colon;

	*out = (struct user_line){.raw = raw};
	if (trimmed.len == 0 || trimmed.data[0] == '#')
		return ERR_NONE;
	colon = memchr(raw.data, ':', raw.len);
	if (colon)
		out->name = text_trim(slice_of(raw.data, (size_t)(colon - raw.data)));
	if (out->name.len == 0)
		return err_set(detail, ERR_INVALID,
			       "%s:%u: this line is not USERNAME:PASSWORD; correct or delete it, "
			       "nothing was changed",
			       list->path, number);
	out->password = slice_of(colon + 1, raw.len - (size_t)(colon + 1 - raw.data));
	return ERR_NONE;
}

/* False at the end and on an error, which *err tells apart. */
static bool next_user_line(const struct user_list *list, struct raw_lines *lines,
			   struct user_line *out, enum err *err, struct err_detail *detail)
{
	struct slice raw;

	*err = ERR_NONE;
	if (!next_raw_line(lines, &raw))
		return false;
	*err = split_line(list, lines->number, raw, out, detail);
	return *err == ERR_NONE;
}

static void write_slice(struct slice text, FILE *out)
{
	if (text.len > 0)
		fwrite(text.data, 1, text.len, out);
}

static void write_raw(struct slice raw, FILE *out)
{
	write_slice(raw, out);
	putc('\n', out);
}

static void write_user(struct slice name, const struct password_hash *hash, FILE *out)
{
	char text[PASSWORD_TEXT_MAX];

	password_hash_format(hash, text);
	write_slice(name, out);
	fprintf(out, ":%s\n", text);
}

enum err user_name_check(struct slice name, struct err_detail *detail)
{
	if (name.len == 0)
		return err_set(detail, ERR_INVALID, "the user name is empty");
	if (name.len > FIELD_MAX_BYTES)
		return err_set(detail, ERR_INVALID, "the user name is longer than %d bytes",
			       FIELD_MAX_BYTES);
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] == ':')
			return err_set(detail, ERR_INVALID,
				       "a user name cannot hold ':', which ends it in the file");
		if (name.data[i] < 0x20 || name.data[i] == 0x7f)
			return err_set(detail, ERR_INVALID,
				       "a user name cannot hold control characters");
	}
	if (!utf8_is_valid(name))
		return err_set(detail, ERR_INVALID, "the user name is not UTF-8, as MQTT wants it");
	if (name.data[0] == '#' || text_trim(name).len != name.len)
		return err_set(detail, ERR_INVALID,
			       "a user name cannot begin with '#', nor begin or end with a space");
	return ERR_NONE;
}

enum err user_password_check(struct slice password, struct err_detail *detail)
{
	if (password.len == 0)
		return err_set(detail, ERR_INVALID, "the password is empty");
	if (password.len > FIELD_MAX_BYTES)
		return err_set(detail, ERR_INVALID, "the password is longer than %d bytes",
			       FIELD_MAX_BYTES);
	return ERR_NONE;
}

enum err user_list_set(const struct user_list *list, struct slice name,
		       const struct password_hash *hash, FILE *out, struct err_detail *detail)
{
	struct raw_lines lines = {.rest = list->text};
	struct user_line line;
	bool written = false;
	enum err err;

	while (next_user_line(list, &lines, &line, &err, detail)) {
		if (!slice_equal(line.name, name)) {
			write_raw(line.raw, out);
			continue;
		}
		if (!written)
			write_user(name, hash, out);
		written = true;
	}
	if (!err && !written)
		write_user(name, hash, out);
	return err;
}

enum err user_list_delete(const struct user_list *list, struct slice name, FILE *out,
			  struct err_detail *detail)
{
	struct raw_lines lines = {.rest = list->text};
	struct user_line line;
	bool found = false;
	enum err err;

	while (next_user_line(list, &lines, &line, &err, detail)) {
		if (slice_equal(line.name, name))
			found = true;
		else
			write_raw(line.raw, out);
	}
	if (!err && !found)
		return err_set(detail, ERR_NOT_FOUND, "%s: there is no user '%.*s'", list->path,
			       TEXT_SHOWN(name));
	return err;
}

/*
 * A password in plain text may begin with '$' as well, so what counts as a hash is what reads as
 * one; what merely looks like one is left to a person, who knows.
 */
static enum err upgrade_line(const struct user_list *list, unsigned number,
			     const struct user_line *line, struct password_hash *hash,
			     bool *out_is_hash, struct err_detail *detail)
{
	static const char *const starts[] = {"$6$", "$7$", "$argon2"};
	struct slice text = text_trim(line->password);
	struct err_detail reason = {0};

	*out_is_hash = password_hash_parse(text, hash, &reason) == ERR_NONE;
	for (size_t i = 0; !*out_is_hash && i < sizeof starts / sizeof starts[0]; i++)
		if (text.len >= strlen(starts[i]) &&
		    memcmp(text.data, starts[i], strlen(starts[i])) == 0)
			return err_set(
				detail, ERR_INVALID,
				"%s:%u: user '%.*s' has what looks like a damaged hash (%s); "
				"set this password anew, nothing was changed",
				list->path, number, TEXT_SHOWN(line->name), reason.text);
	if (!*out_is_hash && user_password_check(line->password, &reason) != ERR_NONE)
		return err_set(detail, ERR_INVALID, "%s:%u: user '%.*s': %s; nothing was changed",
			       list->path, number, TEXT_SHOWN(line->name), reason.text);
	return ERR_NONE;
}

enum err user_list_upgrade(const struct user_list *list, enum password_scheme scheme,
			   uint32_t iterations, FILE *out, unsigned *out_changed,
			   struct err_detail *detail)
{
	struct raw_lines lines = {.rest = list->text};
	struct password_hash hash;
	struct user_line line;
	enum err err;

	*out_changed = 0;
	while (next_user_line(list, &lines, &line, &err, detail)) {
		bool keep = line.name.len == 0;

		if (!keep)
			err = upgrade_line(list, lines.number, &line, &hash, &keep, detail);
		if (!err && !keep)
			err = password_hash_make(scheme, iterations, line.password, &hash, detail);
		if (err)
			return err;
		if (keep) {
			write_raw(line.raw, out);
		} else {
			write_user(line.name, &hash, out);
			++*out_changed;
		}
	}
	return err;
}
