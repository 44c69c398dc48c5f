/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_ws.c - the relay through libwebsockets on a libuv loop.
 *
 * Output is written at the end of the turn, without asking for a callback first while the socket
 * takes all: that would cost two calls of epoll_ctl and a turn for each write.
 */
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <uv.h>

#include "bytes.h"
#include "fail.h"
#include "relay.h"
#include "relay_core.h"

enum {
	PEERS_MAX = 1 << 20,
	READ_BYTES = 64 * 1024,
};

struct web_peer {
	struct relay_peer peer;
	struct lws *wsi;
	struct bytes in;  /* the beginning of a packet */
	struct bytes out; /* behind LWS_PRE bytes, once there is some */
	bool is_dirty;
};

static struct relay_core *core;
static struct web_peer **peers; /* by descriptor; NULL: closed */
static int *dirty;
static uint32_t dirty_count;

static void peer_put(int id, const void *bytes, size_t count)
{
	struct web_peer *peer = peers[id];

	if (!peer)
		return;
	if (peer->out.length == 0) {
		bytes_reserve(&peer->out, LWS_PRE + count);
		peer->out.length = LWS_PRE;
	}
	bytes_put(&peer->out, bytes, count);
	if (!peer->is_dirty) {
		peer->is_dirty = true;
		dirty[dirty_count++] = id;
	}
}

static void peer_write(struct web_peer *peer)
{
	if (peer->out.length > LWS_PRE)
		lws_write(peer->wsi, peer->out.data + LWS_PRE, peer->out.length - LWS_PRE,
			  LWS_WRITE_BINARY);
	peer->out.length = 0;
}

static void on_turn_end(uv_check_t *handle)
{
	(void)handle;
	for (uint32_t i = 0; i < dirty_count; i++) {
		struct web_peer *peer = peers[dirty[i]];

		if (!peer)
			continue;
		peer->is_dirty = false;
		if (lws_partial_buffered(peer->wsi))
			lws_callback_on_writable(peer->wsi);
		else
			peer_write(peer);
	}
	dirty_count = 0;
}

/* false: the connection ends. */
static bool peer_input(struct web_peer *peer, const uint8_t *data, size_t length)
{
	size_t used;

	if (peer->in.length) {
		bytes_put(&peer->in, data, length);
		data = peer->in.data;
		length = peer->in.length;
	}
	used = relay_core_input(core, &peer->peer, data, length);
	if (used == RELAY_CLOSE)
		return false;
	if (peer->in.length) {
		memmove(peer->in.data, data + used, length - used);
		peer->in.length = length - used;
	} else if (used < length) {
		bytes_put(&peer->in, data + used, length - used);
	}
	return true;
}

static void peer_open(struct web_peer *peer, struct lws *wsi)
{
	*peer = (struct web_peer){.wsi = wsi, .peer.id = lws_get_socket_fd(wsi)};
	if (peer->peer.id < 0 || peer->peer.id >= PEERS_MAX)
		fail("relay: descriptor %d is beyond what it can serve", peer->peer.id);
	peers[peer->peer.id] = peer;
}

static void peer_gone(struct web_peer *peer)
{
	relay_core_forget(core, &peer->peer);
	peers[peer->peer.id] = NULL;
	bytes_free(&peer->in);
	bytes_free(&peer->out);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in,
		    size_t length)
{
	switch (why) {
	case LWS_CALLBACK_ESTABLISHED: peer_open(user, wsi); break;
	case LWS_CALLBACK_RECEIVE: return peer_input(user, in, length) ? 0 : -1;
	case LWS_CALLBACK_SERVER_WRITEABLE: peer_write(user); break;
	case LWS_CALLBACK_CLOSED: peer_gone(user); break;
	default: break;
	}
	return 0;
}

/*
 * libwebsockets has a receive buffer of READ_BYTES for each connection, which limits how much it reads
 * at once and is hardly ever touched. From memory without headers it stays virtual.
 */
static struct {
	uint8_t *begin;
	size_t slot_bytes;
	uint32_t used, spare_count;
	uint32_t *spare;
} slots;

static void *slot_take(size_t bytes)
{
	if (!slots.begin) {
		slots.slot_bytes = (bytes + 4095) & ~(size_t)4095;
		slots.spare = must_allocate(PEERS_MAX, sizeof(*slots.spare));
		slots.begin = mmap(NULL, PEERS_MAX * slots.slot_bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (slots.begin == MAP_FAILED)
			fail("relay: no address space for receive buffers");
	}
	return slots.begin + (slots.spare_count ? slots.spare[--slots.spare_count] : slots.used++) *
				     slots.slot_bytes;
}

static void *allocate(void *block, size_t bytes, const char *what)
{
	size_t offset = (size_t)((uint8_t *)block - slots.begin);
	bool is_slot = block && slots.begin && offset < PEERS_MAX * slots.slot_bytes;

	if (bytes && !block && what && strcmp(what, "rx_ubuf") == 0)
		return slot_take(bytes);
	if (is_slot && !bytes) {
		slots.spare[slots.spare_count++] = (uint32_t)(offset / slots.slot_bytes);
		return NULL;
	}
	if (bytes)
		return realloc(block, bytes);
	free(block);
	return NULL;
}

int relay_serve_websocket(uint16_t port)
{
	static const struct lws_protocols protocols[] = {
		{.name = "mqtt",
		 .callback = on_event,
		 .per_session_data_size = sizeof(struct web_peer)},
		{.name = NULL},
	};
	struct lws_context *context;
	uv_loop_t loop;
	uv_check_t check;
	void *loops[] = {&loop};
	struct lws_context_creation_info info = {
		.port = port,
		.iface = "127.0.0.1",
		.protocols = protocols,
		.foreign_loops = loops,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DISABLE_IPV6 |
			   LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.pt_serv_buf_size = READ_BYTES,
	};

	core = must_allocate(1, sizeof(*core));
	core->put = peer_put;
	peers = must_allocate(PEERS_MAX, sizeof(struct web_peer *));
	dirty = must_allocate(PEERS_MAX, sizeof(*dirty));
	lws_set_allocator(allocate);
	lws_set_log_level(LLL_ERR, NULL);
	uv_loop_init(&loop);
	/* A context comes about even when its own vhost cannot listen. */
	context = lws_create_context(&info);
	if (!context || !lws_create_vhost(context, &info))
		fail("relay: cannot listen on 127.0.0.1:%u", port);
	uv_check_init(&loop, &check);
	uv_check_start(&check, on_turn_end);
	return uv_run(&loop, UV_RUN_DEFAULT);
}
