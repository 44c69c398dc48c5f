/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "fail.h"
#include "histogram.h"
#include "probe.h"

enum {
	EVENTS = 256,
	/* One read takes this much; the room before it is for the packet that began in the last. */
	READ_BYTES = 128 * 1024,
	CARRY_BYTES = 4096,
	/* A buffer that grew beyond this for one large packet is given back. */
	KEEP_BYTES = 64 * 1024,
};

void engine_init(struct engine *engine, const struct options *options)
{
	*engine = (struct engine){.options = options, .receive_maximum = UINT16_MAX};
	endpoint_init(&engine->endpoints[engine->endpoint_count++], options, options->url);
	if (options->second_url)
		endpoint_init(&engine->endpoints[engine->endpoint_count++], options,
			      options->second_url);
	engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	engine->buffer = must_allocate(1, CARRY_BYTES + READ_BYTES);
	if (engine->epoll_fd < 0)
		fail("epoll_create1: %s", strerror(errno));
}

void engine_fini(struct engine *engine)
{
	for (uint32_t i = 0; i < engine->endpoint_count; i++)
		endpoint_fini(&engine->endpoints[i]);
	close(engine->epoll_fd);
	free(engine->buffer);
	free(engine->dirty);
}

/* ------------------------------------------------------------------ one client: life */

void client_mark_dirty_slowly(struct client *client)
{
	struct engine *engine = client->engine;

	if (engine->dirty_count == engine->dirty_room) {
		engine->dirty_room = engine->dirty_room * 2 + 64;
		engine->dirty =
			must_resize(engine->dirty, engine->dirty_room * sizeof(*engine->dirty));
	}
	engine->dirty[engine->dirty_count++] = client;
	client->dirty = true;
}

static void client_watch(struct client *client, int operation)
{
	struct epoll_event event = {
		.events = EPOLLIN | (client->watches_write ? EPOLLOUT : 0u),
		.data.ptr = client,
	};

	if (epoll_ctl(client->engine->epoll_fd, operation, client->transport.fd, &event) < 0)
		fail("epoll_ctl: %s", strerror(errno));
}

void client_open(struct client *client, struct engine *engine, const char *role, bool clean_start)
{
	const struct options *options = engine->options;
	struct endpoint *endpoint = &engine->endpoints[engine->opened++ % engine->endpoint_count];
	char client_id[128];
	struct connect_options connect = {
		.client_id = client_id,
		.username = options->username,
		.password = options->password,
		.keep_alive_s = options->keep_alive_s,
		.clean_start = clean_start,
		.session_expiry_s = clean_start ? 0 : 3600,
	};

	snprintf(client_id, sizeof(client_id), "%s-%s%u", options->prefix, role, client->number);
	client->engine = engine;
	client->transport =
		(struct transport){.ops = endpoint->ops, .endpoint = endpoint, .fd = -1};
	client->opened_ns = probe_now_ns();
	if (client->transport.ops->open(&client->transport) < 0)
		fail("cannot connect to %s: %s", endpoint->url,
		     errno == EMFILE ? "too many open files; raise the limit with ulimit -n"
				     : strerror(errno));
	client->state = CLIENT_CONNECTING;
	client->in.length = client->out.length = client->out_sent = 0;
	client->blocked = client->watches_write = false;
	packet_put_connect(&client->out, options->version, &connect);
	client_watch(client, EPOLL_CTL_ADD);
	client_mark_dirty(client);
}

void client_close(struct client *client)
{
	if (client->state == CLIENT_CLOSED)
		return;
	if (client->state == CLIENT_READY && client_unsent(client) == 0)
		(void)client->transport.ops->write(&client->transport, "\xe0\0", 2);
	if (client->state == CLIENT_LEAVING)
		client->engine->leaving_count--;
	client->transport.ops->close(&client->transport);
	client->state = CLIENT_CLOSED;
	bytes_free(&client->in);
	bytes_free(&client->out);
	client->out_sent = 0;
}

void client_ping(struct client *client)
{
	packet_put_pingreq(&client->out);
	client_mark_dirty(client);
}

void client_leave(struct client *client)
{
	packet_put_disconnect(&client->out);
	client->state = CLIENT_LEAVING;
	client->engine->leaving_count++;
	client_mark_dirty(client);
}

/* The connection ended. Only clients that are leaving expect it. */
static void client_lost(struct client *client, int error)
{
	if (client->state == CLIENT_LEAVING) {
		client_close(client);
		return;
	}
	if (client->state == CLIENT_CONNECTING && error)
		fail("cannot connect to %s: %s", client->transport.endpoint->url, strerror(error));
	fail("the broker closed the connection of client %u%s%s%s", client->number,
	     client->state == CLIENT_CONNECTING ? " before a CONNACK" : "", error ? ": " : "",
	     error ? strerror(error) : "");
}

/* ------------------------------------------------------------------ one client: packets in */

static void client_connected(struct client *client, const struct packet *packet)
{
	struct engine *engine = client->engine;
	struct connack connack;

	if (!packet_read_connack(packet, engine->options->version, &connack))
		fail("the broker's answer to CONNECT is no CONNACK (packet type %u)",
		     packet_type(packet));
	if (connack.code != 0)
		fail("the broker refused client %u with code 0x%02x (%s)", client->number,
		     connack.code,
		     connack.code == 5 || connack.code == 0x87 || connack.code == 4 ||
				     connack.code == 0x86
			     ? "not authorised: give --username and --password"
			     : "see the codes of CONNACK");
	if (connack.receive_maximum < engine->receive_maximum)
		engine->receive_maximum = connack.receive_maximum;
	client->session_present = connack.session_present;
	client->state = CLIENT_READY;
	engine->ready_count++;
	if (engine->connect_latency)
		histogram_record(engine->connect_latency, engine->now_ns - client->opened_ns);
	if (engine->on_connected)
		engine->on_connected(client);
}

static void client_control_packet(struct client *client, const struct packet *packet)
{
	switch (packet_type(packet)) {
	case PACKET_DISCONNECT:
		fail("the broker said DISCONNECT to client %u, reason 0x%02x", client->number,
		     packet->length ? packet->body[0] : 0);
	default:
		if (client->state == CLIENT_CONNECTING)
			client_connected(client, packet);
		else if (client->state == CLIENT_READY)
			client->on_packet(client, packet);
	}
}

/* Hands over the whole packets of data; returns how many bytes they were. */
static size_t client_parse(struct client *client, const uint8_t *data, size_t length)
{
	struct packet packet;
	size_t at = 0;

	while (length - at >= 2) {
		int64_t size = packet_header(data + at, length - at, &packet);

		if (size < 0)
			fail("the broker sent client %u a packet with a malformed length",
			     client->number);
		if (size == 0 || (size_t)size > length - at)
			break;
		if (client->state == CLIENT_READY && packet_type(&packet) != PACKET_DISCONNECT)
			client->on_packet(client, &packet);
		else
			client_control_packet(client, &packet);
		if (client->state == CLIENT_CLOSED) /* and data may be freed */
			return length;
		at += (size_t)size;
	}
	return at;
}

/* Keeps the beginning of a packet for the next read, with room for all of it. */
static void client_carry(struct client *client, const uint8_t *rest, size_t length)
{
	struct bytes *in = &client->in;
	struct packet packet;
	int64_t size;

	if (length == 0) {
		in->length = 0;
		if (in->room > KEEP_BYTES)
			bytes_free(in);
		return;
	}
	size = packet_header(rest, length, &packet);
	if (in->data && rest >= in->data && rest < in->data + in->length) {
		memmove(in->data, rest, length);
		in->length = length;
	} else {
		in->length = 0;
		bytes_put(in, rest, length);
	}
	if (size > 0 && (size_t)size > in->length)
		bytes_reserve(in, (size_t)size - in->length);
}

/*
 * A short beginning is copied in front of the shared buffer, and the read continues behind it; a
 * long one is completed where it lies, so that a packet of 1 MiB is not copied at each read.
 */
static void client_read_once(struct client *client)
{
	struct engine *engine = client->engine;
	struct bytes *in = &client->in;
	uint8_t *begin, *into;
	size_t room = READ_BYTES, used, length;
	ssize_t got;

	if (in->length > CARRY_BYTES) {
		begin = in->data;
		into = begin + in->length;
		room = in->room - in->length;
	} else {
		into = engine->buffer + CARRY_BYTES;
		begin = into - in->length;
		if (in->length)
			memcpy(begin, in->data, in->length);
	}
	got = client->transport.ops->read(&client->transport, into, room);
	if (got <= 0) {
		if (got == 0 || (errno != EAGAIN && errno != EINTR))
			client_lost(client, got == 0 ? 0 : errno);
		return;
	}
	engine->now_ns = probe_now_ns();
	length = (size_t)(into - begin) + (size_t)got;
	if (begin == in->data)
		in->length = length;
	used = client_parse(client, begin, length);
	if (client->state != CLIENT_CLOSED && (used < length || in->length))
		client_carry(client, begin + used, length - used);
}

/* A handshake that a read took further may let out what waits for it. */
static void client_read(struct client *client)
{
	do {
		client_read_once(client);
	} while (client->state != CLIENT_CLOSED && transport_has_pending(&client->transport));
	if (client->state != CLIENT_CLOSED && client_unsent(client) &&
	    !client->transport.wants_write)
		client_mark_dirty(client);
}

/* ------------------------------------------------------------------ packets out */

static void client_flush(struct client *client)
{
	ssize_t sent;

	if (client->state == CLIENT_CLOSED ||
	    (client_unsent(client) == 0 && !client->transport.wants_write))
		return;
	sent = client->transport.ops->write(&client->transport, client->out.data + client->out_sent,
					    client_unsent(client));
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		client_lost(client, errno);
		return;
	}
	if (sent > 0)
		client->out_sent += (size_t)sent;
	if (client_unsent(client) == 0)
		client->out.length = client->out_sent = 0;
	client->blocked = client_unsent(client) > 0 || client->transport.wants_write;
	if (client->transport.wants_write != client->watches_write) {
		client->watches_write = !client->watches_write;
		client_watch(client, EPOLL_CTL_MOD);
	}
}

/* Lost clients may close others' connections, but never mark any dirty: the list stands still. */
void engine_flush(struct engine *engine)
{
	for (uint32_t i = 0; i < engine->dirty_count; i++) {
		engine->dirty[i]->dirty = false;
		client_flush(engine->dirty[i]);
	}
	engine->dirty_count = 0;
}

/* ------------------------------------------------------------------ the loop */

int engine_wait(struct engine *engine, uint64_t timeout_ns)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};
	struct epoll_event events[EVENTS];
	int count = epoll_pwait2(engine->epoll_fd, events, EVENTS, &timeout, NULL);

	if (count < 0 && errno != EINTR)
		fail("epoll_pwait2: %s", strerror(errno));
	engine->now_ns = probe_now_ns();
	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		if (client->state != CLIENT_CLOSED && events[i].events & EPOLLOUT)
			client_flush(client);
		if (client->state != CLIENT_CLOSED &&
		    events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			client_read(client);
	}
	return count;
}

void engine_run_until(struct engine *engine, const uint32_t *counter, uint32_t wanted,
		      const char *what)
{
	uint64_t patience_ns = ENGINE_PATIENCE_S * 1000000000ull;
	uint64_t moved_ns = probe_now_ns();
	uint32_t last = *counter;

	while (*counter != wanted) {
		engine_flush(engine);
		engine_wait(engine, 100000000);
		if (*counter != last) {
			last = *counter;
			moved_ns = engine->now_ns;
		} else if (engine->now_ns - moved_ns > patience_ns) {
			fail("%s: %u of %u, then nothing for %d s", what, last, wanted,
			     ENGINE_PATIENCE_S);
		}
	}
	engine_flush(engine);
}
