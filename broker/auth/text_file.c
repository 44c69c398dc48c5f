/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_FILE_MAX_BYTES ((off_t)256 << 20)

static enum err check_kind_of_file(int fd, const char *path, const char *kind, size_t *out_size,
				   struct err_detail *detail)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return err_set(detail, ERR_IO, "%s '%s': %s", kind, path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return err_set(detail, ERR_IO, "%s '%s' is not a regular file", kind, path);
	if (status.st_size > TEXT_FILE_MAX_BYTES)
		return err_set(detail, ERR_LIMIT, "%s '%s' is larger than 256 MiB", kind, path);
	*out_size = (size_t)status.st_size;
	return ERR_NONE;
}

/* Reads up to size bytes; the file may have become shorter meanwhile. */
static ssize_t read_up_to(int fd, uint8_t *bytes, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t got = read(fd, bytes + have, size - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

static enum err read_open_file(int fd, const char *path, const char *kind, struct slice *out,
			       struct err_detail *detail)
{
	size_t size = 0;
	ssize_t length;
	uint8_t *bytes;
	enum err err = check_kind_of_file(fd, path, kind, &size, detail);

	if (err)
		return err;
	bytes = malloc(size + 1);
	if (!bytes)
		return err_set(detail, ERR_NOMEM, "%s '%s': no memory to read it", kind, path);
	length = read_up_to(fd, bytes, size);
	if (length < 0) {
		free(bytes);
		return err_set(detail, ERR_IO, "%s '%s': %s", kind, path, strerror(errno));
	}
	*out = slice_of(bytes, (size_t)length);
	return ERR_NONE;
}

enum err text_file_read(const char *path, const char *kind, struct slice *out,
			struct err_detail *detail)
{
	/* O_NONBLOCK: a FIFO under this name must not hold up the start before it is refused. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	enum err err;

	*out = SLICE_NONE;
	if (fd < 0)
		return err_set(detail, ERR_IO,
			       "%s '%s' cannot be opened by user id %u: %s; check the path and the "
			       "permissions of the file and its folders",
			       kind, path, (unsigned)geteuid(), strerror(errno));
	err = read_open_file(fd, path, kind, out, detail);
	close(fd);
	return err;
}

void text_file_free(struct slice *text)
{
	void *bytes = (void *)(uintptr_t)text->data;

	if (bytes)
		OPENSSL_cleanse(bytes, text->len);
	free(bytes);
	*text = SLICE_NONE;
}

static bool is_blank(uint8_t byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n' || byte == '\v' ||
	       byte == '\f';
}

struct slice text_trim(struct slice text)
{
	while (text.len > 0 && is_blank(text.data[text.len - 1]))
		text.len--;
	while (text.len > 0 && is_blank(text.data[0])) {
		text.data++;
		text.len--;
	}
	return text;
}

struct slice text_next_word(struct slice *text)
{
	struct slice word = *text;
	size_t len = 0;

	while (len < text->len && !is_blank(text->data[len]))
		len++;
	word.len = len;
	*text = text_trim(slice_of(text->data + len, text->len - len));
	return word;
}

struct text_lines text_lines_of(struct slice text, const char *name)
{
	if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
		text = slice_of(text.data + 3, text.len - 3);
	return (struct text_lines){.rest = text, .name = name};
}

bool text_lines_next(struct text_lines *lines, struct slice *out_line)
{
	struct slice *rest = &lines->rest;
	const uint8_t *end;
	size_t len;

	if (rest->len == 0)
		return false;
	end = memchr(rest->data, '\n', rest->len);
	len = end ? (size_t)(end - rest->data) : rest->len;
	*out_line = text_trim(slice_of(rest->data, len));
	lines->number++;
	rest->data += end ? len + 1 : len;
	rest->len -= end ? len + 1 : len;
	return true;
}
