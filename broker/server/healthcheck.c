/* SPDX-License-Identifier: Apache-2.0 */
#include "server/healthcheck.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_S 4
#define ANSWER_BYTES 1024

/* What is asked, and how it went. */
struct check {
	const struct config_listener *listener;
	char name[256]; /* of the place, for the line that is printed */
	int fd;
	SSL_CTX *context;
	SSL *ssl; /* NULL: plain */
	char answer[ANSWER_BYTES];
	size_t answer_len;
};

static bool has_health(const struct config_listener *listener)
{
	return listener->protocol != CONFIG_PROTOCOL_MQTT &&
	       strcmp(listener->http_health, "false") != 0;
}

static bool is_asked_by_http(const struct config_listener *listener)
{
	return has_health(listener) || listener->protocol == CONFIG_PROTOCOL_WEBSOCKETS;
}

/* A listener of the protocol any speaks both with and without TLS. */
static bool needs_tls(const struct config_listener *listener)
{
	return config_tls_is_on(&listener->tls) && listener->protocol != CONFIG_PROTOCOL_ANY;
}

/* The listener that can say most; with TLS only when there is none without. */
static const struct config_listener *choose(const struct config *config)
{
	const struct config_listener *best = NULL;
	int best_rank = -1;

	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];
		int rank = (has_health(listener) ? 1 : 0) + (needs_tls(listener) ? 0 : 2);

		if (rank <= best_rank || listener->proxy_protocol == CONFIG_PROXY_REQUIRED)
			continue;
		best = listener;
		best_rank = rank;
	}
	return best;
}

/* Every address of this machine, or the one that is answered at. */
static const char *host_of(const struct config_listener *listener)
{
	const char *health = listener->http_health;

	if (has_health(listener) && strcmp(health, "true") != 0)
		return health;
	if (listener->bind_address)
		return listener->bind_address;
	return listener->socket_domain == CONFIG_DOMAIN_IPV6 ? "::1" : "127.0.0.1";
}

static int connect_to(const struct sockaddr *address, socklen_t len)
{
	struct timeval wait = {.tv_sec = WAIT_S};
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	if (connect(fd, address, len) == 0)
		return fd;
	close(fd);
	return -1;
}

static int connect_unix(struct check *check)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(check->name, sizeof check->name, "%s", check->listener->unix_path);
	snprintf(address.sun_path, sizeof address.sun_path, "%s", check->listener->unix_path);
	return connect_to((const struct sockaddr *)&address, sizeof address);
}

static int connect_tcp(struct check *check)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	const char *host = host_of(check->listener);
	struct addrinfo *found = NULL;
	char port[8];
	int fd = -1;

	snprintf(check->name, sizeof check->name, "%s port %u", host, check->listener->port);
	snprintf(port, sizeof port, "%u", check->listener->port);
	if (getaddrinfo(host, port, &hints, &found) != 0)
		return -1;
	for (struct addrinfo *one = found; one && fd < 0; one = one->ai_next)
		fd = connect_to(one->ai_addr, one->ai_addrlen);
	freeaddrinfo(found);
	return fd;
}

static bool send_all(struct check *check, const void *bytes, size_t len)
{
	if (check->ssl)
		return SSL_write(check->ssl, bytes, (int)len) == (int)len;
	return send(check->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* At least want bytes, or the end. */
static bool receive(struct check *check, size_t want)
{
	while (check->answer_len < want) {
		char *at = check->answer + check->answer_len;
		size_t room = sizeof check->answer - 1 - check->answer_len;
		ssize_t got = check->ssl ? SSL_read(check->ssl, at, (int)room)
					 : recv(check->fd, at, room, 0);

		if (got <= 0)
			return false;
		check->answer_len += (size_t)got;
	}
	return true;
}

static int healthy(const struct check *check, const char *how)
{
	printf("nightjar: the broker serves (%s: %s).\n", check->name, how);
	return 0;
}

static int unhealthy(const struct check *check, const char *why)
{
	fprintf(stderr, "nightjar: not healthy: %s: %s.\n", check->name, why);
	return 1;
}

static int ask_http(struct check *check)
{
	static const char request[] =
		"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	char why[128];

	if (!send_all(check, request, sizeof request - 1) ||
	    !receive(check, sizeof "HTTP/1.1 200" - 1))
		return unhealthy(check, "no answer to /readyz");
	if (strncmp(check->answer, "HTTP/1.1 200", 12) == 0)
		return healthy(check, "/readyz says yes");
	/* With http_health false it is not there, and who says so is alive. */
	if (!has_health(check->listener) && strncmp(check->answer, "HTTP/1.1 404", 12) == 0)
		return healthy(check, "HTTP is answered");
	receive(check, sizeof check->answer - 1);
	snprintf(why, sizeof why, "/readyz says %.3s", check->answer + 9);
	return unhealthy(check, why);
}

/*
 * A CONNECT that MQTT 3.1.1 does not allow: no client id, and no Clean Session [MQTT-3.1.3-8]. To be
 * told so (0x02) is an answer of somebody who speaks MQTT; no session is made, and no user asked for.
 */
static int ask_mqtt(struct check *check)
{
	static const unsigned char connect[] = {0x10, 0x0c, 0x00, 0x04, 'M',  'Q',  'T',
						'T',  0x04, 0x00, 0x00, 0x3c, 0x00, 0x00};

	if (!send_all(check, connect, sizeof connect) || !receive(check, 4))
		return unhealthy(check, "MQTT is not answered");
	if ((unsigned char)check->answer[0] != 0x20)
		return unhealthy(check, "what answers is no MQTT broker");
	return healthy(check, "MQTT is answered");
}

/* Whose certificate it is does not matter: the question is whether somebody answers. */
static bool start_tls(struct check *check)
{
	check->context = SSL_CTX_new(TLS_client_method());
	check->ssl = check->context ? SSL_new(check->context) : NULL;
	return check->ssl && SSL_set_fd(check->ssl, check->fd) == 1 && SSL_connect(check->ssl) == 1;
}

static int ask(struct check *check)
{
	const struct config_listener *listener = check->listener;

	if (needs_tls(listener) && !start_tls(check))
		return unhealthy(check, "the TLS handshake fails");
	/* Without a certificate of ours nothing more is said than that. */
	if (needs_tls(listener) && listener->tls.require_certificate)
		return healthy(check, "TLS is answered");
	return is_asked_by_http(listener) ? ask_http(check) : ask_mqtt(check);
}

int healthcheck_run(const struct config *config)
{
	struct check check = {.listener = choose(config), .fd = -1};
	int status;

	signal(SIGPIPE, SIG_IGN);
	if (!check.listener) {
		fprintf(stderr, "nightjar: not healthy: there is no listener that can be asked.\n");
		return 1;
	}
	check.fd = check.listener->unix_path ? connect_unix(&check) : connect_tcp(&check);
	if (check.fd < 0)
		return unhealthy(&check, "nobody listens there");
	status = ask(&check);
	SSL_free(check.ssl);
	SSL_CTX_free(check.context);
	close(check.fd);
	return status;
}
