/* SPDX-License-Identifier: Apache-2.0 */
#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* Without a byte for so long the broker is taken for dead; a reload may take a while. */
#define SILENCE_MAX_S 60

static enum exit_code unreachable(const struct options *options, const char *why)
{
	const char *advice = "";

	if (errno == ENOENT || errno == ECONNREFUSED)
		advice = " Is the broker running, and is control_socket set in its configuration?";
	else if (errno == EACCES || errno == EPERM)
		advice = " Only root and the broker's user may use it.";
	fprintf(stderr, "nightjar-ctl: %s %s: %s.%s\n", why, options->socket_path, strerror(errno),
		advice);
	return EXIT_UNREACHABLE;
}

/* -1: the reason was printed. */
static int connect_to_broker(const struct options *options)
{
	const struct timeval silence = {.tv_sec = SILENCE_MAX_S};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(options->socket_path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		unreachable(options, "cannot connect to");
		return -1;
	}
	strcpy(address.sun_path, options->socket_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
		unreachable(options, "cannot connect to");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
	return fd;
}

static char *request_text(const struct options *options)
{
	cJSON *request = cJSON_CreateObject();
	char *text;

	cJSON_AddNumberToObject(request, "version", 1);
	cJSON_AddStringToObject(request, "command", options->command);
	if (options->argument)
		cJSON_AddStringToObject(request, options->argument_key, options->argument);
	text = cJSON_PrintUnformatted(request);
	cJSON_Delete(request);
	return text;
}

/* A broker that refuses us closes at once, but says why before: so a failure is found when reading. */
static void send_request(int fd, const struct options *options)
{
	char *text = request_text(options);
	size_t len = text ? strlen(text) : 0, sent = 0;

	if (text)
		text[len] = '\n'; /* in the place of the zero byte */
	while (text && sent < len + 1) {
		ssize_t done = send(fd, text + sent, len + 1 - sent, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			break;
		sent += (size_t)done;
	}
	cJSON_free(text);
}

static bool is_of_type(const char *line, const char *type)
{
	static const char start[] = "{\"type\":\"";
	size_t len = strlen(type);

	return strncmp(line, start, sizeof start - 1) == 0 &&
	       strncmp(line + sizeof start - 1, type, len) == 0 &&
	       line[sizeof start - 1 + len] == '"';
}

static enum exit_code print_error(const char *line)
{
	cJSON *record = cJSON_Parse(line);
	const cJSON *message = cJSON_GetObjectItem(record, "message");
	const cJSON *code = cJSON_GetObjectItem(record, "code");
	bool is_denied = cJSON_IsString(code) && strcmp(code->valuestring, "denied") == 0;

	fprintf(stderr, "nightjar-ctl: %s\n",
		cJSON_IsString(message) ? message->valuestring : line);
	cJSON_Delete(record);
	return is_denied ? EXIT_UNREACHABLE : EXIT_REFUSED;
}

enum exit_code ask(const struct options *options,
		   void (*on_record)(const struct options *options, const char *line,
				     const cJSON *record))
{
	int fd = connect_to_broker(options);
	FILE *stream = fd < 0 ? NULL : fdopen(fd, "r");
	enum exit_code code = EXIT_UNREACHABLE;
	size_t room = 0;
	char *line = NULL;

	if (!stream)
		return EXIT_UNREACHABLE;
	send_request(fd, options);
	errno = 0;
	while (getline(&line, &room, stream) > 0) {
		cJSON *record;

		if (is_of_type(line, "end")) {
			code = EXIT_DONE;
			break;
		}
		if (is_of_type(line, "error")) {
			fflush(stdout);
			code = print_error(line);
			break;
		}
		record = options->json ? NULL : cJSON_Parse(line);
		on_record(options, line, record);
		cJSON_Delete(record);
	}
	if (code == EXIT_UNREACHABLE)
		fprintf(stderr, "nightjar-ctl: the broker broke off its answer%s%s.\n",
			errno ? ": " : "", errno ? strerror(errno) : "");
	free(line);
	fclose(stream);
	return code;
}
