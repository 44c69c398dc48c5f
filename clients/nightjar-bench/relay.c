/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - what is left of a broker without sessions, checks, limits and QoS.
 *
 *      read each readable peer once
 *        PUBLISH: topic -> hash table -> peers; the packet's bytes are appended to each output
 *      write each peer with output once
 *
 * Its CPU time per message is that of the kernel's network plus two copies, and so close to the
 * least that is possible on a machine. Filters are exact, "#" or "prefix/#". It trusts its peers:
 * for a loopback address only. A packet with QoS above 0 ends the connection, and says so.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "fail.h"
#include "relay.h"
#include "relay_core.h"

enum {
	EVENTS = 512,
	READ_BYTES = 64 * 1024,
	BACKLOG = 4096,
};

struct peer {
	int fd; /* -1: free */
	bool dirty, blocked;
	struct relay_peer peer;
	struct bytes in; /* the beginning of a packet */
	struct bytes out;
};

struct relay {
	int epoll_fd, listen_fd;
	struct peer *peers; /* by descriptor */
	uint32_t peer_room;
	int *dirty;
	uint32_t dirty_count;
	struct relay_core core;
	uint8_t buffer[RELAY_PACKET_MAX + READ_BYTES];
};

static struct relay *the_relay;

/* ------------------------------------------------------------------ peers */

static void peer_close(struct relay *relay, int fd)
{
	struct peer *peer = &relay->peers[fd];

	relay_core_forget(&relay->core, &peer->peer);
	bytes_free(&peer->in);
	bytes_free(&peer->out);
	close(fd);
	*peer = (struct peer){.fd = -1, .dirty = peer->dirty};
}

static void peer_put(int fd, const void *packet, size_t length)
{
	struct relay *relay = the_relay;
	struct peer *peer = &relay->peers[fd];

	bytes_put(&peer->out, packet, length);
	if (!peer->dirty) {
		peer->dirty = true;
		relay->dirty[relay->dirty_count++] = fd;
	}
}

static void peer_flush(struct relay *relay, int fd)
{
	struct peer *peer = &relay->peers[fd];
	struct epoll_event event = {.data.fd = fd};
	ssize_t sent;

	if (peer->fd < 0 || peer->out.length == 0)
		return;
	sent = send(fd, peer->out.data, peer->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN) {
		peer_close(relay, fd);
		return;
	}
	if (sent > 0) {
		peer->out.length -= (size_t)sent;
		memmove(peer->out.data, peer->out.data + sent, peer->out.length);
	}
	if ((peer->out.length > 0) != peer->blocked) {
		peer->blocked = !peer->blocked;
		event.events = EPOLLIN | (peer->blocked ? EPOLLOUT : 0u);
		epoll_ctl(relay->epoll_fd, EPOLL_CTL_MOD, fd, &event);
	}
}

static void accept_peers(struct relay *relay)
{
	int fd, one = 1;

	while ((fd = accept4(relay->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

		if ((uint32_t)fd >= relay->peer_room)
			fail("relay: descriptor %d is beyond the limit of open files", fd);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		relay->peers[fd].fd = relay->peers[fd].peer.id = fd;
		epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	}
}

static void peer_read(struct relay *relay, int fd)
{
	struct peer *peer = &relay->peers[fd];
	uint8_t *buffer = relay->buffer;
	size_t length = peer->in.length, used;
	ssize_t got;

	if (length)
		memcpy(buffer, peer->in.data, length);
	got = recv(fd, buffer + length, READ_BYTES, 0);
	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			peer_close(relay, fd);
		return;
	}
	length += (size_t)got;
	peer->in.length = 0;
	used = relay_core_input(&relay->core, &peer->peer, buffer, length);
	if (used == RELAY_CLOSE)
		peer_close(relay, fd);
	else if (used < length)
		bytes_put(&peer->in, buffer + used, length - used);
}

/* ------------------------------------------------------------------ serving */

static void relay_open(struct relay *relay, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct epoll_event event = {.events = EPOLLIN};
	struct rlimit limit;
	int one = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	relay->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(relay->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(relay->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(relay->listen_fd, BACKLOG) < 0)
		fail("relay: cannot listen on 127.0.0.1:%u: %s", port, strerror(errno));
	getrlimit(RLIMIT_NOFILE, &limit);
	relay->peer_room = limit.rlim_cur < 1u << 20 ? (uint32_t)limit.rlim_cur : 1u << 20;
	relay->peers = must_allocate(relay->peer_room, sizeof(*relay->peers));
	relay->dirty = must_allocate(relay->peer_room, sizeof(*relay->dirty));
	for (uint32_t i = 0; i < relay->peer_room; i++)
		relay->peers[i].fd = -1;
	relay->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	event.data.fd = relay->listen_fd;
	epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, relay->listen_fd, &event);
}

static void relay_turn(struct relay *relay)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(relay->epoll_fd, events, EVENTS, -1);

	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;

		if (fd == relay->listen_fd) {
			accept_peers(relay);
			continue;
		}
		if (events[i].events & EPOLLOUT)
			peer_flush(relay, fd);
		if (relay->peers[fd].fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
			peer_read(relay, fd);
	}
	for (uint32_t i = 0; i < relay->dirty_count; i++) {
		relay->peers[relay->dirty[i]].dirty = false;
		peer_flush(relay, relay->dirty[i]);
	}
	relay->dirty_count = 0;
}

_Noreturn static void serve_tcp(uint16_t port)
{
	the_relay = must_allocate(1, sizeof(*the_relay));
	the_relay->core.put = peer_put;
	relay_open(the_relay, port);
	for (;;)
		relay_turn(the_relay);
}

int relay_main(int argc, char **argv)
{
	bool web = argc == 3 && strcmp(argv[1], "--websocket") == 0;
	const char *number = argc == 2 + web ? argv[argc - 1] : "";
	char *end = NULL;
	unsigned long port = strtoul(number, &end, 10);

	if (end == number || *end || port < 1 || port > 65535) {
		fputs("usage: nightjar-bench relay [--websocket] PORT\n"
		      "Serves 127.0.0.1:PORT as the least that a broker could do, until killed.\n",
		      stderr);
		return EXIT_USAGE;
	}
	if (web)
		return relay_serve_websocket((uint16_t)port);
	serve_tcp((uint16_t)port);
}
