/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web_headers.c - what a request's headers say, and short answers.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/trusted_addresses.h"
#include "net/web_parts.h"

#define REFUSAL_BYTES 1024

int web_header(struct lws *wsi, enum lws_token_indexes which, char *out, size_t cap)
{
	int len = lws_hdr_total_length(wsi, which);

	out[0] = '\0';
	if (len <= 0)
		return 0;
	if ((size_t)len >= cap || lws_hdr_copy(wsi, out, (int)cap, which) < 0)
		return -1;
	return (int)strlen(out);
}

bool web_list_has(const char *list, const char *token)
{
	size_t want = strlen(token);

	while (*list) {
		size_t len;

		list += strspn(list, " \t,");
		len = strcspn(list, ",");
		while (len > 0 && (list[len - 1] == ' ' || list[len - 1] == '\t'))
			len--;
		if (len == want && strncasecmp(list, token, len) == 0)
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

/* "203.0.113.9", "203.0.113.9:4711", "[2001:db8::1]:4711", "2001:db8::1". */
static bool address_parse(char *text, struct address *out)
{
	struct sockaddr_storage from = {0};
	struct sockaddr_in6 *in6 = (void *)&from;
	struct sockaddr_in *in = (void *)&from;
	char *colon = strchr(text, ':');

	if (text[0] == '[') {
		text++;
		text[strcspn(text, "]")] = '\0';
	} else if (colon && !strchr(colon + 1, ':')) {
		*colon = '\0';
	}
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
		from.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
		from.ss_family = AF_INET6;
	else
		return false;
	address_set(out, &from);
	return true;
}

/*
 * X-Forwarded-For grows on its right end: from there on addresses of trusted proxies are passed over,
 * and the first other one is the client. What stands left of it, the client may have made up.
 */
static bool client_of_list(const struct trusted_addresses *trusted, char *list, struct address *out)
{
	bool found = false;

	for (;;) {
		char *comma = strrchr(list, ',');
		char *one = comma ? comma + 1 : list;
		struct address address;

		one += strspn(one, " \t");
		one[strcspn(one, " \t")] = '\0';
		if (!address_parse(one, &address))
			return found;
		*out = address;
		found = true;
		if (!comma || !trusted_addresses_has(trusted, &address))
			return true;
		*comma = '\0';
	}
}

void web_follow_proxy(struct web_socket *socket)
{
	const struct trusted_addresses *trusted = socket->listener->trusted_proxies;
	struct address address;
	char value[512];

	if (!trusted || !trusted_addresses_has(trusted, &socket->address))
		return;
	if (web_header(socket->wsi, WSI_TOKEN_X_FORWARDED_FOR, value, sizeof value) > 0) {
		if (client_of_list(trusted, value, &address))
			socket->address = address;
	} else if (web_header(socket->wsi, WSI_TOKEN_HTTP_X_REAL_IP, value, sizeof value) > 0) {
		if (address_parse(value, &address))
			socket->address = address;
	}
}

const char *web_status_text(unsigned status)
{
	switch (status) {
	case 200: return "OK";
	case 304: return "Not Modified";
	case 400: return "Bad Request";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 426: return "Upgrade Required";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 503: return "Service Unavailable";
	default: return "Error";
	}
}

bool web_refuse(struct web_socket *socket, unsigned status, const char *headers, const char *text)
{
	char answer[REFUSAL_BYTES];
	int len = snprintf(answer, sizeof answer,
			   "HTTP/1.1 %u %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
			   "Content-Length: %zu\r\nCache-Control: no-store\r\n"
			   "X-Content-Type-Options: nosniff\r\n%sConnection: close\r\n\r\n%s\n",
			   status, web_status_text(status), strlen(text) + 1,
			   headers ? headers : "", text);

	if (len >= (int)sizeof answer)
		return false;
	return lws_write(socket->wsi, (unsigned char *)answer, (size_t)len, LWS_WRITE_HTTP) >= 0;
}
