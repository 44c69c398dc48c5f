/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_files.c - the files of http_dir.
 *
 *	worker: path --> pool: open, look, read a part --> worker: answer
 *	                 pool: read the next part      <-- worker: the part has left
 *
 * A worker never waits for a disk, and a file costs one part in memory however large it is.
 *
 * What is not meant to be seen stays unseen: a name that begins with a dot, whatever lies outside of
 * the directory (the kernel sees to it, RESOLVE_BENEATH; where it cannot, no symbolic link is
 * followed), and everything that is no plain file.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"
#include "http/http_parts.h"

#define PART_BYTES 65536u
#define PATH_BYTES 1024u
#define HEADERS_BYTES 256u

/* Owner: the worker; while work is in the pool, the pool's thread. */
struct http_file {
	struct pool_work work;
	struct web_exchange *exchange;
	struct web_request request; /* its slices point to what follows */
	char asked[PATH_BYTES], etag_asked[256];
	char path[PATH_BYTES]; /* below the directory */
	char etag[64], headers[HEADERS_BYTES];
	int directory; /* borrowed */
	int fd;	       /* -1: not open */
	int error;     /* errno of the last step */
	uint64_t size, at;
	size_t part_len;
	bool has_console, is_answered;
	uint8_t part[PART_BYTES];
};

const char *http_content_type(const char *path)
{
	static const struct {
		const char *end, *type;
	} types[] = {
		{".html", "text/html; charset=utf-8"},
		{".htm", "text/html; charset=utf-8"},
		{".css", "text/css; charset=utf-8"},
		{".js", "text/javascript; charset=utf-8"},
		{".mjs", "text/javascript; charset=utf-8"},
		{".json", "application/json"},
		{".map", "application/json"},
		{".txt", HTTP_TEXT_PLAIN},
		{".md", HTTP_TEXT_PLAIN},
		{".svg", "image/svg+xml"},
		{".png", "image/png"},
		{".jpg", "image/jpeg"},
		{".jpeg", "image/jpeg"},
		{".gif", "image/gif"},
		{".webp", "image/webp"},
		{".ico", "image/vnd.microsoft.icon"},
		{".wasm", "application/wasm"},
		{".woff2", "font/woff2"},
		{".xml", "application/xml"},
		{".pdf", "application/pdf"},
	};
	size_t len = strlen(path);

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		size_t end = strlen(types[i].end);

		if (len > end && strcasecmp(path + len - end, types[i].end) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}

/* "/a/b" becomes "a/b", "/" and "/a/" get index.html. false: a name that is not served. */
static bool take_path(struct http_file *file, struct slice path)
{
	bool is_directory = path.data[path.len - 1] == '/';

	if (path.len + sizeof "index.html" > PATH_BYTES)
		return false;
	for (size_t i = 0; i + 1 < path.len; i++) {
		if (path.data[i] == '/' && path.data[i + 1] == '.')
			return false;
	}
	memcpy(file->asked, path.data, path.len);
	memcpy(file->path, path.data + 1, path.len - 1);
	file->path[path.len - 1] = '\0';
	if (is_directory)
		strcat(file->path, "index.html");
	return file->path[0] != '/';
}

/* Pool. Without openat2(): each name by itself, and no symbolic link. */
static int open_step_by_step(int directory, const char *path)
{
	char copy[PATH_BYTES];
	char *rest = NULL;
	int at = dup(directory);

	memcpy(copy, path, strlen(path) + 1);
	for (char *name = strtok_r(copy, "/", &rest); name && at >= 0;) {
		char *next_name = strtok_r(NULL, "/", &rest);
		int next = openat(at, name,
				  O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
					  (next_name ? O_DIRECTORY : 0));

		close(at);
		at = next;
		name = next_name;
	}
	return at;
}

/* Pool. */
static int open_beneath(int directory, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open_step_by_step(directory, path);
	return fd;
}

/* Pool. */
static void read_part(struct http_file *file)
{
	uint64_t left = file->size - file->at;
	size_t want = left < PART_BYTES ? (size_t)left : PART_BYTES;

	file->part_len = 0;
	while (file->part_len < want) {
		ssize_t got = pread(file->fd, file->part + file->part_len, want - file->part_len,
				    (off_t)(file->at + file->part_len));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			/* It became shorter, or the disk fails: the promised length cannot be kept. */
			file->error = got < 0 ? errno : EIO;
			return;
		}
		file->part_len += (size_t)got;
	}
	file->at += file->part_len;
}

/* Pool. */
static void open_file(struct http_file *file)
{
	struct stat stat;

	file->fd = open_beneath(file->directory, file->path);
	if (file->fd < 0) {
		file->error = errno;
		return;
	}
	if (fstat(file->fd, &stat) != 0 || !S_ISREG(stat.st_mode)) {
		file->error = ENOENT;
		return;
	}
	file->size = (uint64_t)stat.st_size;
	snprintf(file->etag, sizeof file->etag, "\"%llx-%llx-%llx\"",
		 (unsigned long long)stat.st_mtim.tv_sec, (unsigned long long)stat.st_mtim.tv_nsec,
		 (unsigned long long)file->size);
	if (file->request.method == WEB_GET &&
	    !http_etag_matches(file->request.if_none_match, file->etag))
		read_part(file);
}

static void file_run(struct pool_work *work)
{
	struct http_file *file = (struct http_file *)(void *)work;

	file->error = 0;
	if (file->is_answered)
		read_part(file);
	else
		open_file(file);
}

static void file_free(void *owner)
{
	struct http_file *file = owner;

	if (file->fd >= 0)
		close(file->fd);
	memory_uncharge(MEMORY_OUTPUT, sizeof *file);
	free(file);
}

static void file_next_part(struct worker *me, struct web_exchange *exchange, void *owner)
{
	struct http_file *file = owner;

	(void)exchange;
	pool_submit(me, &file->work);
}

static void answer_error(struct worker *me, struct http_file *file)
{
	struct web_exchange *exchange = file->exchange;
	bool is_absent = file->error == ENOENT || file->error == ENOTDIR || file->error == EXDEV ||
			 file->error == ELOOP || file->error == EACCES;

	if (!is_absent)
		http_answer_text(me, exchange, 500, NULL, "The file cannot be read.\n");
	else if (!file->has_console || !http_console_serve(me, exchange, &file->request))
		http_answer_not_found(me, exchange);
	file_free(file);
}

static void answer_file(struct worker *me, struct http_file *file)
{
	bool is_same = http_etag_matches(file->request.if_none_match, file->etag);
	struct web_response response = {
		.status = is_same ? 304 : 200,
		.content_type = is_same ? NULL : http_content_type(file->path),
		.headers = file->headers,
		.body = slice_of(file->part, file->part_len),
		.total_len = is_same ? 0 : file->size,
		.free_body = file_free,
		.owner = file,
		.next_part = file_next_part,
	};

	file->is_answered = true;
	snprintf(file->headers, sizeof file->headers,
		 "ETag: %s\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n",
		 file->etag);
	web_answer(me, file->exchange, &response);
}

static void file_done(struct worker *me, struct pool_work *work)
{
	struct http_file *file = (struct http_file *)(void *)work;

	if (file->is_answered)
		web_continue(me, file->exchange, slice_of(file->part, file->part_len),
			     file->error != 0);
	else if (file->error)
		answer_error(me, file);
	else
		answer_file(me, file);
}

void http_files_serve(struct worker *me, struct web_exchange *exchange,
		      const struct web_request *request, int directory, bool has_console)
{
	struct http_file *file = malloc(sizeof *file);

	if (!file) {
		http_answer_text(me, exchange, 503, NULL, "No memory.\n");
		return;
	}
	memset(file, 0, offsetof(struct http_file, part));
	memory_charge(MEMORY_OUTPUT, sizeof *file);
	file->fd = -1;
	file->exchange = exchange;
	file->directory = directory;
	file->has_console = has_console;
	if (!take_path(file, request->path)) {
		http_answer_not_found(me, exchange);
		file_free(file);
		return;
	}
	file->request = *request;
	file->request.path = slice_of(file->asked, request->path.len);
	if (request->if_none_match.len < sizeof file->etag_asked)
		memcpy(file->etag_asked, request->if_none_match.data, request->if_none_match.len);
	file->request.if_none_match = slice_from_string(file->etag_asked);
	file->work.run = file_run;
	file->work.done = file_done;
	pool_submit(me, &file->work);
}
