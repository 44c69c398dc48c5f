/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A Topic Name, or for wildcards what a topic has to begin with, and who listens. */
struct relay_route {
	struct relay_route *next;
	uint64_t hash;
	char *name;
	size_t length;
	int *listeners; /* ids */
	uint32_t count, room;
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

static struct relay_route *route_new(const uint8_t *text, size_t length)
{
	struct relay_route *route = must_allocate(1, sizeof(*route));

	route->name = must_allocate(1, length);
	route->length = length;
	memcpy(route->name, text, length);
	return route;
}

static struct relay_route *route_find(struct relay_core *core, const uint8_t *topic, size_t length,
				      bool make)
{
	uint64_t hash = hash_topic(topic, length);
	struct relay_route **bucket = &core->buckets[hash % RELAY_BUCKETS], *route;

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

static struct relay_route *route_wild(struct relay_core *core, const uint8_t *begin, size_t length)
{
	for (uint32_t i = 0; i < core->wild_count; i++)
		if (core->wild[i]->length == length &&
		    memcmp(core->wild[i]->name, begin, length) == 0)
			return core->wild[i];
	core->wild = must_resize(core->wild, (core->wild_count + 1) * sizeof(*core->wild));
	return core->wild[core->wild_count++] = route_new(begin, length);
}

static void route_add(struct relay_core *core, struct relay_peer *peer, const uint8_t *filter,
		      size_t length)
{
	struct relay_route *route;

	if (length && filter[length - 1] == '#')
		route = route_wild(core, filter, length - 1);
	else
		route = route_find(core, filter, length, true);
	if (route->count == route->room) {
		route->room = route->room * 2 + 1;
		route->listeners =
			must_resize(route->listeners, route->room * sizeof(*route->listeners));
	}
	route->listeners[route->count++] = peer->id;
	if ((peer->route_count & (peer->route_count + 1)) == 0) /* full at 1, 3, 7 ... */
		peer->routes = must_resize(peer->routes,
					   (2 * peer->route_count + 2) * sizeof(*peer->routes));
	peer->routes[peer->route_count++] = route;
}

static void route_remove(struct relay_route *route, int id)
{
	for (uint32_t i = 0; i < route->count; i++)
		if (route->listeners[i] == id)
			route->listeners[i--] = route->listeners[--route->count];
}

/* ------------------------------------------------------------------ packets */

/* false: it cannot be relayed. */
static bool relay_publish(struct relay_core *core, const uint8_t *packet, size_t length,
			  const uint8_t *body)
{
	size_t topic_length = packet_u16(body);
	struct relay_route *route;

	if (packet[0] & 6) {
		fprintf(stderr, "relay: a client published with QoS %d; only QoS 0 is relayed\n",
			packet[0] >> 1 & 3);
		return false;
	}
	route = route_find(core, body + 2, topic_length, false);
	for (uint32_t i = 0; route && i < route->count; i++)
		core->put(route->listeners[i], packet, length);
	for (uint32_t w = 0; w < core->wild_count; w++) {
		route = core->wild[w];
		if (topic_length >= route->length &&
		    memcmp(body + 2, route->name, route->length) == 0)
			for (uint32_t i = 0; i < route->count; i++)
				core->put(route->listeners[i], packet, length);
	}
	return true;
}

static void relay_subscribe(struct relay_core *core, struct relay_peer *peer,
			    const struct packet *packet)
{
	bool v5 = peer->version == MQTT_5;
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

		route_add(core, peer, at + 2, length);
		bytes_put_u8(&codes, 0);
		at += 2 + length + 1;
	}
	for (left = codes.length; left > 127; left >>= 7)
		header[used++] = (uint8_t)(left | 128);
	header[used++] = (uint8_t)left;
	core->put(peer->id, header, used);
	core->put(peer->id, codes.data, codes.length);
	bytes_free(&codes);
}

/* false: the connection ends. */
static bool relay_packet(struct relay_core *core, struct relay_peer *peer, const uint8_t *data,
			 size_t size, const struct packet *packet)
{
	switch (packet_type(packet)) {
	case PACKET_CONNECT:
		peer->version = packet->body[6];
		if (peer->version == MQTT_5)
			core->put(peer->id, "\x20\x03\0\0\0", 5);
		else
			core->put(peer->id, "\x20\x02\0\0", 4);
		break;
	case PACKET_PUBLISH: return relay_publish(core, data, size, packet->body);
	case PACKET_SUBSCRIBE: relay_subscribe(core, peer, packet); break;
	case PACKET_PINGREQ: core->put(peer->id, "\xd0\0", 2); break;
	case PACKET_DISCONNECT: return false;
	default: break;
	}
	return true;
}

size_t relay_core_input(struct relay_core *core, struct relay_peer *peer, const uint8_t *data,
			size_t length)
{
	struct packet packet = {0};
	size_t at = 0;

	while (length - at >= 2) {
		int64_t size = packet_header(data + at, length - at, &packet);

		if (size < 0 || size > RELAY_PACKET_MAX)
			return RELAY_CLOSE;
		if (size == 0 || (size_t)size > length - at)
			break;
		if (!relay_packet(core, peer, data + at, (size_t)size, &packet))
			return RELAY_CLOSE;
		at += (size_t)size;
	}
	return at;
}

void relay_core_forget(struct relay_core *core, struct relay_peer *peer)
{
	(void)core;
	for (uint32_t i = 0; i < peer->route_count; i++)
		route_remove(peer->routes[i], peer->id);
	free(peer->routes);
	peer->routes = NULL;
	peer->route_count = 0;
}
