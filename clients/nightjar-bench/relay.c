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
#include "packet.h"
#include "relay.h"

enum {
	BUCKETS = 1 << 18,
	EVENTS = 512,
	READ_BYTES = 64 * 1024,
	PACKET_MAX = (1 << 20) + 4096,
	BACKLOG = 4096,
};

struct peer {
	int fd; /* -1: free */
	bool dirty, blocked;
	uint8_t version;
	struct bytes in; /* the beginning of a packet */
	struct bytes out;
	struct route **routes; /* where this peer is among the listeners */
	uint32_t route_count;
};

/* A Topic Name, or for wildcards what a topic has to begin with, and who listens. */
struct route {
	struct route *next;
	uint64_t hash;
	char *name;
	size_t length;
	int *listeners; /* descriptors */
	uint32_t count, room;
};

struct relay {
	int epoll_fd, listen_fd;
	struct peer *peers; /* by descriptor */
	uint32_t peer_room;
	int *dirty;
	uint32_t dirty_count;
	struct route *buckets[BUCKETS];
	struct route **wild;
	uint32_t wild_count;
	uint8_t buffer[PACKET_MAX + READ_BYTES];
};

/* ------------------------------------------------------------------ routes */

/* Eight bytes at a time; topics are short. */
static uint64_t hash_topic(const uint8_t *text, size_t length)
{
	uint64_t hash = length * 0x9e3779b97f4a7c15u, word;

	for (; length >= 8; text += 8, length -= 8) {
		memcpy(&word, text, 8);
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	word = 0;
	memcpy(&word, text, length);
	hash = (hash ^ word) * 0xff51afd7ed558ccdu;
	return hash ^ hash >> 29;
}

static struct route *route_new(const uint8_t *text, size_t length)
{
	struct route *route = must_allocate(1, sizeof(*route));

	route->name = must_allocate(1, length);
	route->length = length;
	memcpy(route->name, text, length);
	return route;
}

static struct route *route_find(struct relay *relay, const uint8_t *topic, size_t length, bool make)
{
	uint64_t hash = hash_topic(topic, length);
	struct route **bucket = &relay->buckets[hash % BUCKETS], *route;

	for (route = *bucket; route; route = route->next)
		if (route->hash == hash && route->length == length &&
		    memcmp(route->name, topic, length) == 0)
			return route;
	if (!make)
		return NULL;
	route = route_new(topic, length);
	route->hash = hash;
	route->next = *bucket;
	*bucket = route;
	return route;
}

static struct route *route_wild(struct relay *relay, const uint8_t *begin, size_t length)
{
	for (uint32_t i = 0; i < relay->wild_count; i++)
		if (relay->wild[i]->length == length &&
		    memcmp(relay->wild[i]->name, begin, length) == 0)
			return relay->wild[i];
	relay->wild = must_resize(relay->wild, (relay->wild_count + 1) * sizeof(*relay->wild));
	return relay->wild[relay->wild_count++] = route_new(begin, length);
}

static void route_add(struct relay *relay, int fd, const uint8_t *filter, size_t length)
{
	struct peer *peer = &relay->peers[fd];
	struct route *route;

	if (length && filter[length - 1] == '#')
		route = route_wild(relay, filter, length - 1);
	else
		route = route_find(relay, filter, length, true);
	if (route->count == route->room) {
		route->room = route->room * 2 + 1;
		route->listeners =
			must_resize(route->listeners, route->room * sizeof(*route->listeners));
	}
	route->listeners[route->count++] = fd;
	if ((peer->route_count & (peer->route_count + 1)) == 0) /* full at 1, 3, 7 ... */
		peer->routes = must_resize(peer->routes,
					   (2 * peer->route_count + 2) * sizeof(*peer->routes));
	peer->routes[peer->route_count++] = route;
}

static void route_remove(struct route *route, int fd)
{
	for (uint32_t i = 0; i < route->count; i++)
		if (route->listeners[i] == fd)
			route->listeners[i--] = route->listeners[--route->count];
}

/* ------------------------------------------------------------------ peers */

static void peer_close(struct relay *relay, int fd)
{
	struct peer *peer = &relay->peers[fd];

	for (uint32_t i = 0; i < peer->route_count; i++)
		route_remove(peer->routes[i], fd);
	free(peer->routes);
	bytes_free(&peer->in);
	bytes_free(&peer->out);
	close(fd);
	*peer = (struct peer){.fd = -1, .dirty = peer->dirty};
}

static void peer_put(struct relay *relay, int fd, const void *packet, size_t length)
{
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
		relay->peers[fd].fd = fd;
		epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	}
}

/* ------------------------------------------------------------------ packets */

static void relay_publish(struct relay *relay, int fd, const uint8_t *packet, size_t length,
			  const uint8_t *body)
{
	size_t topic_length = packet_u16(body);
	struct route *route;

	if (packet[0] & 6) {
		fprintf(stderr, "relay: a client published with QoS %d; only QoS 0 is relayed\n",
			packet[0] >> 1 & 3);
		peer_close(relay, fd);
		return;
	}
	route = route_find(relay, body + 2, topic_length, false);
	for (uint32_t i = 0; route && i < route->count; i++)
		peer_put(relay, route->listeners[i], packet, length);
	for (uint32_t w = 0; w < relay->wild_count; w++) {
		route = relay->wild[w];
		if (topic_length >= route->length &&
		    memcmp(body + 2, route->name, route->length) == 0)
			for (uint32_t i = 0; i < route->count; i++)
				peer_put(relay, route->listeners[i], packet, length);
	}
}

static void relay_subscribe(struct relay *relay, int fd, const struct packet *packet)
{
	bool v5 = relay->peers[fd].version == MQTT_5;
	const uint8_t *at = packet->body + 2, *end = packet->body + packet->length;
	struct bytes codes = {0};
	uint8_t header[PACKET_HEADER_MAX] = {PACKET_SUBACK << 4};
	size_t used = 1, left;

	bytes_put(&codes, packet->body, 2);
	if (v5) {
		bytes_put_u8(&codes, 0);
		at += 1 + at[0];
	}
	while (end - at > 2) {
		size_t length = packet_u16(at);

		route_add(relay, fd, at + 2, length);
		bytes_put_u8(&codes, 0);
		at += 2 + length + 1;
	}
	for (left = codes.length; left > 127; left >>= 7)
		header[used++] = (uint8_t)(left | 128);
	header[used++] = (uint8_t)left;
	peer_put(relay, fd, header, used);
	peer_put(relay, fd, codes.data, codes.length);
	bytes_free(&codes);
}

static void relay_packet(struct relay *relay, int fd, const uint8_t *data, size_t size,
			 const struct packet *packet)
{
	switch (packet_type(packet)) {
	case PACKET_CONNECT:
		relay->peers[fd].version = packet->body[6];
		if (packet->body[6] == MQTT_5)
			peer_put(relay, fd, "\x20\x03\0\0\0", 5);
		else
			peer_put(relay, fd, "\x20\x02\0\0", 4);
		break;
	case PACKET_PUBLISH: relay_publish(relay, fd, data, size, packet->body); break;
	case PACKET_SUBSCRIBE: relay_subscribe(relay, fd, packet); break;
	case PACKET_PINGREQ: peer_put(relay, fd, "\xd0\0", 2); break;
	case PACKET_DISCONNECT: peer_close(relay, fd); break;
	default: break;
	}
}

static void peer_read(struct relay *relay, int fd)
{
	struct peer *peer = &relay->peers[fd];
	uint8_t *buffer = relay->buffer;
	size_t length = peer->in.length, at = 0;
	struct packet packet = {0};
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
	while (length - at >= 2 && peer->fd >= 0) {
		int64_t size = packet_header(buffer + at, length - at, &packet);

		if (size < 0 || size > PACKET_MAX) {
			peer_close(relay, fd);
			return;
		}
		if (size == 0 || (size_t)size > length - at)
			break;
		relay_packet(relay, fd, buffer + at, (size_t)size, &packet);
		at += (size_t)size;
	}
	if (peer->fd >= 0 && at < length)
		bytes_put(&peer->in, buffer + at, length - at);
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

int relay_main(int argc, char **argv)
{
	struct relay *relay;
	char *end = NULL;
	unsigned long port = argc == 2 ? strtoul(argv[1], &end, 10) : 0;

	if (argc != 2 || *end || port < 1 || port > 65535) {
		fputs("usage: nightjar-bench relay PORT\n"
		      "Serves 127.0.0.1:PORT as the least that a broker could do, until killed.\n",
		      stderr);
		return EXIT_USAGE;
	}
	relay = must_allocate(1, sizeof(*relay));
	relay_open(relay, (uint16_t)port);
	for (;;)
		relay_turn(relay);
}
