/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "fail.h"
#include "options.h"
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

int transport_tcp_open(struct transport *transport)
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
	ssize_t sent = send(transport->fd, from, count, MSG_NOSIGNAL);

	transport->wants_write = sent < (ssize_t)count && (sent >= 0 || errno == EAGAIN);
	return sent;
}

void transport_tcp_close(struct transport *transport)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	setsockopt(transport->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(transport->fd);
	transport->fd = -1;
}

static const struct transport_ops transport_tcp = {
	.open = transport_tcp_open,
	.read = tcp_read,
	.write = tcp_write,
	.close = transport_tcp_close,
};

/* ------------------------------------------------------------------ URLs */

struct scheme {
	const char *name;
	const char *port;
	bool has_tls, is_web;
};

static const struct scheme schemes[] = {
	{"tcp", "1883", false, false}, {"mqtt", "1883", false, false},
	{"tls", "8883", true, false},  {"mqtts", "8883", true, false},
	{"ssl", "8883", true, false},  {"ws", "80", false, true},
	{"wss", "443", true, true},
};

static const char unix_scheme[] = "unix://";

static const struct scheme *find_scheme(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strlen(schemes[i].name) == length &&
		    strncmp(schemes[i].name, name, length) == 0)
			return &schemes[i];
	fail("cannot speak '%.*s': use tcp://, tls://, ws://, wss:// or unix://, or just HOST:PORT",
	     (int)length, name);
}

/* Splits "host:port", "[::1]:port", "host" or "::1". */
static void split_host(const char *text, char host[HOST_MAX], char port[8])
{
	const char *colon = strrchr(text, ':');
	const char *end = text + strlen(text);
	long number;
	char *rest;

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

static void resolve(struct endpoint *endpoint, const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	int error = getaddrinfo(host, port, &hints, &found);

	if (error)
		fail("cannot find the host '%s': %s", host, gai_strerror(error));
	memcpy(&endpoint->address, found->ai_addr, found->ai_addrlen);
	endpoint->address_length = found->ai_addrlen;
	freeaddrinfo(found);
}

static void endpoint_init_unix(struct endpoint *endpoint, const char *path)
{
	struct sockaddr_un *address = (struct sockaddr_un *)&endpoint->address;
	size_t length = strlen(path);

	if (length == 0 || length >= sizeof(address->sun_path))
		fail("'%s' is no path of a Unix socket; use unix:///run/nightjar/mqtt.sock", path);
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, length + 1);
	endpoint->address_length = sizeof(*address);
	endpoint->host = strdup("localhost");
	endpoint->ops = endpoint->stream = &transport_tcp;
}

void endpoint_init(struct endpoint *endpoint, const struct options *options, const char *url)
{
	const char *separator = strstr(url, "://"), *slash;
	const struct scheme *scheme = &schemes[0];
	char host[HOST_MAX], port[8];

	*endpoint = (struct endpoint){.url = url};
	if (strncmp(url, unix_scheme, sizeof(unix_scheme) - 1) == 0) {
		endpoint_init_unix(endpoint, url + sizeof(unix_scheme) - 1);
		return;
	}
	if (separator) {
		scheme = find_scheme(url, (size_t)(separator - url));
		url = separator + 3;
	}
	slash = scheme->is_web ? strchr(url, '/') : NULL;
	endpoint->path = slash ? slash : "/mqtt";
	endpoint->host = slash ? strndup(url, (size_t)(slash - url)) : strdup(url);
	if (!endpoint->host)
		fail("out of memory");
	snprintf(port, sizeof(port), "%s", scheme->port);
	split_host(endpoint->host, host, port);
	resolve(endpoint, host, port);
	endpoint->stream = &transport_tcp;
	if (scheme->has_tls) {
		endpoint->stream = &transport_tls;
		endpoint->server_name = strdup(host);
		endpoint_init_tls(endpoint, options);
	}
	endpoint->ops = scheme->is_web ? &transport_ws : endpoint->stream;
}

void endpoint_fini(struct endpoint *endpoint)
{
	SSL_CTX_free(endpoint->tls);
	free(endpoint->host);
	free(endpoint->server_name);
}

bool transport_has_pending(const struct transport *transport)
{
	return transport->ssl && SSL_has_pending(transport->ssl);
}
