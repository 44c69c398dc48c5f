/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy_header.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define V1_BYTES_MAX 107u /* "\r\n" included */
#define V2_HEAD 16u

static const char v1_start[] = "PROXY ";
static const uint8_t v2_start[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_header_status bad(struct proxy_header *out, const char *fault)
{
	out->fault = fault;
	return PROXY_HEADER_BAD;
}

static enum proxy_header_status need(struct proxy_header *out, size_t wanted)
{
	out->wanted = wanted;
	return PROXY_HEADER_NEED_MORE;
}

/* "56324": digits only, no zero in front, at most 65535. */
static bool parse_port(const char *text, uint16_t *out)
{
	unsigned long port = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9' && at - text < 5; at++)
		port = port * 10 + (unsigned long)(*at - '0');
	*out = (uint16_t)port;
	return at != text && !*at && port <= 65535 && (*text != '0' || !text[1]);
}

/* line: what stands between "PROXY " and "\r\n"; it is cut into words. */
static const char *parse_line(char *line, struct proxy_header *out)
{
	struct address destination;
	char *rest, *words[5];
	uint16_t port;
	int family;

	if (strncmp(line, "UNKNOWN", 7) == 0 && (line[7] == '\0' || line[7] == ' '))
		return NULL;
	words[0] = strtok_r(line, " ", &rest);
	for (int i = 1; i < 5; i++)
		words[i] = words[i - 1] ? strtok_r(NULL, " ", &rest) : NULL;
	if (!words[4] || strtok_r(NULL, " ", &rest))
		return "does not have its five words";
	if (strcmp(words[0], "TCP4") == 0)
		family = AF_INET;
	else if (strcmp(words[0], "TCP6") == 0)
		family = AF_INET6;
	else
		return "is neither of TCP4, TCP6 nor UNKNOWN";
	if (inet_pton(family, words[1], out->address.bytes) != 1 ||
	    inet_pton(family, words[2], destination.bytes) != 1)
		return "has an address that is none";
	if (!parse_port(words[3], &out->address.port) || !parse_port(words[4], &port))
		return "has a port that is none";
	out->address.family = (uint8_t)family;
	out->has_address = true;
	return NULL;
}

static enum proxy_header_status parse_v1(struct slice bytes, struct proxy_header *out)
{
	size_t look = bytes.len < V1_BYTES_MAX ? bytes.len : V1_BYTES_MAX;
	const uint8_t *end = memchr(bytes.data, '\n', look);
	char line[V1_BYTES_MAX];
	size_t len;

	if (!end)
		return look < V1_BYTES_MAX ? need(out, look + 1)
					   : bad(out, "is longer than 107 bytes");
	out->len = (size_t)(end - bytes.data) + 1;
	len = out->len - (sizeof v1_start - 1);
	if (len < 2 || end[-1] != '\r')
		return bad(out, "does not end in CR LF");
	memcpy(line, bytes.data + sizeof v1_start - 1, len - 2);
	line[len - 2] = '\0';
	if (strlen(line) != len - 2)
		return bad(out, "holds a zero byte");
	out->fault = parse_line(line, out);
	return out->fault ? PROXY_HEADER_BAD : PROXY_HEADER_DONE;
}

static const char *parse_v2_address(const uint8_t *head, size_t len, struct proxy_header *out)
{
	const uint8_t *at = head + V2_HEAD;

	if ((head[12] & 15) == 0)
		return NULL; /* LOCAL: a health check of the proxy's own */
	switch (head[13]) {
	case 0x11:
		if (len < 12)
			return "is too short for its addresses";
		out->address.family = AF_INET;
		memcpy(out->address.bytes, at, 4);
		out->address.port = (uint16_t)(at[8] << 8 | at[9]);
		break;
	case 0x21:
		if (len < 36)
			return "is too short for its addresses";
		out->address.family = AF_INET6;
		memcpy(out->address.bytes, at, 16);
		out->address.port = (uint16_t)(at[32] << 8 | at[33]);
		break;
	case 0x31:
		if (len < 216)
			return "is too short for its addresses";
		out->address.family = AF_UNIX;
		break;
	default: return NULL; /* unspecified, or datagrams: the proxy does not say */
	}
	out->has_address = true;
	return NULL;
}

static enum proxy_header_status parse_v2(struct slice bytes, struct proxy_header *out)
{
	const uint8_t *head = bytes.data;
	size_t len;

	if (bytes.len < V2_HEAD)
		return need(out, V2_HEAD);
	if (head[12] != 0x20 && head[12] != 0x21)
		return bad(out, "has a version or command that is not known");
	len = (size_t)(head[14] << 8 | head[15]);
	if (V2_HEAD + len > PROXY_HEADER_BYTES_MAX)
		return bad(out, "is longer than 4096 bytes");
	if (bytes.len < V2_HEAD + len)
		return need(out, V2_HEAD + len);
	out->len = V2_HEAD + len;
	out->fault = parse_v2_address(head, len, out);
	return out->fault ? PROXY_HEADER_BAD : PROXY_HEADER_DONE;
}

static bool begins(struct slice bytes, const void *start, size_t len)
{
	return memcmp(bytes.data, start, bytes.len < len ? bytes.len : len) == 0;
}

enum proxy_header_status proxy_header_parse(struct slice bytes, struct proxy_header *out)
{
	*out = (struct proxy_header){0};
	if (bytes.len == 0)
		return need(out, 1);
	if (begins(bytes, v2_start, sizeof v2_start))
		return bytes.len < sizeof v2_start ? need(out, sizeof v2_start)
						   : parse_v2(bytes, out);
	if (begins(bytes, v1_start, sizeof v1_start - 1))
		return bytes.len < sizeof v1_start - 1 ? need(out, bytes.len + 1)
						       : parse_v1(bytes, out);
	return PROXY_HEADER_NONE;
}
