/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "transport.h"

enum {
	/* A local address has about 28,000 ports towards one destination. */
	CONNECTIONS_PER_ADDRESS = 20000,
	HOST_MAX = 256,
};

/* ------------------------------------------------------------------ TCP */

/*
 * Clients beyond the first 20,000 come from 127.0.0.2 and so on. The kernel chooses the port at
 * connect, when it knows the destination, so that a port can serve several.
 */
static void choose_source(struct transport *transport)
{
	struct endpoint *endpoint = transport->endpoint;
	const struct sockaddr_in *to = (const struct sockaddr_in *)&endpoint->address;
	uint32_t step = endpoint->opened++ / CONNECTIONS_PER_ADDRESS;
	struct sockaddr_in from = {.sin_family = AF_INET};
	int one = 1;

	if (step == 0 || to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != 127)
		return;
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + step % 250);
	setsockopt(transport->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(transport->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		fail("cannot connect from %s: %s", inet_ntoa(from.sin_addr), strerror(errno));
}

static int tcp_open(struct transport *transport)
{
	const struct endpoint *endpoint = transport->endpoint;
	int one = 1;

	transport->fd =
		socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (transport->fd < 0)
		return -1;
	choose_source(transport);
	setsockopt(transport->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(transport->fd, (const struct sockaddr *)&endpoint->address,
		    endpoint->address_length) < 0 &&
	    errno != EINPROGRESS)
		return -1;
	return 0;
}

static ssize_t tcp_read(struct transport *transport, void *into, size_t room)
{
	return recv(transport->fd, into, room, 0);
}

static ssize_t tcp_write(struct transport *transport, const void *from, size_t count)
{
	return send(transport->fd, from, count, MSG_NOSIGNAL);
}

static void tcp_close(struct transport *transport)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	setsockopt(transport->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(transport->fd);
	transport->fd = -1;
}

/* ------------------------------------------------------------------ URLs */

static const struct transport_ops transports[] = {
	{"tcp", tcp_open, tcp_read, tcp_write, tcp_close},
	{"mqtt", tcp_open, tcp_read, tcp_write, tcp_close},
};

static const struct transport_ops *find_transport(const char *scheme, size_t length)
{
	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
		if (strlen(transports[i].scheme) == length &&
		    strncmp(transports[i].scheme, scheme, length) == 0)
			return &transports[i];
	fail("cannot speak '%.*s': this version measures plain TCP only. Use tcp://HOST:PORT, or "
	     "just HOST:PORT",
	     (int)length, scheme);
}

/* Splits "host:port", "[::1]:port", "host" or "::1". */
static void split_host(const char *text, char host[HOST_MAX], char port[8])
{
	const char *colon = strrchr(text, ':');
	const char *end = text + strlen(text);
	long number;
	char *rest;

	snprintf(port, 8, "1883");
	if (colon && (text[0] == '[' ? colon[-1] == ']' : strchr(text, ':') == colon)) {
		number = strtol(colon + 1, &rest, 10);
		if (rest == colon + 1 || *rest || number < 1 || number > 65535)
			fail("'%s' is no port; use a number from 1 to 65535", colon + 1);
		snprintf(port, 8, "%ld", number);
		end = colon;
	}
	if (text[0] == '[' && end > text + 1 && end[-1] == ']') {
		text++;
		end--;
	}
	if (end == text || end - text >= HOST_MAX)
		fail("'%s' names no host; use HOST:PORT, for example 127.0.0.1:1883", text);
	snprintf(host, HOST_MAX, "%.*s", (int)(end - text), text);
}

void endpoint_parse(struct endpoint *endpoint, const char *url)
{
	const char *separator = strstr(url, "://");
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	char host[HOST_MAX], port[8];
	int error;

	*endpoint = (struct endpoint){.ops = &transports[0]};
	if (separator) {
		endpoint->ops = find_transport(url, (size_t)(separator - url));
		url = separator + 3;
	}
	split_host(url, host, port);
	error = getaddrinfo(host, port, &hints, &found);
	if (error)
		fail("cannot find the host '%s': %s", host, gai_strerror(error));
	memcpy(&endpoint->address, found->ai_addr, found->ai_addrlen);
	endpoint->address_length = found->ai_addrlen;
	freeaddrinfo(found);
}
