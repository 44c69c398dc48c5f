/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web.c - libwebsockets' contexts, one per worker, and the sockets in them.
 *
 * Contexts are made and destroyed on the main thread, while no worker runs: libwebsockets counts its
 * users of OpenSSL in variables that are no business of two threads at once. In between each context is
 * its worker's alone.
 *
 * All of libwebsockets' own time-outs are longer than ours, except those of its closing handshake: one
 * timer per socket, in the worker's wheel, covers TLS handshake, headers, and an answer that is not
 * taken.
 */
#include "net/web.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/bug.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/net_worker.h"
#include "net/tls_context.h"
#include "net/web_parts.h"

/* Longer than connect_timeout can be. */
#define LONG_S 4000
#define CLOSE_TURNS 10
#define STOP_MS 1000

static __thread struct tls_server *lending; /* to the vhost that is being made */

struct web_worker *web_worker_of(struct worker *worker)
{
	return net_worker_of(worker)->web;
}

void web_peer_of(struct web_socket *socket, struct web_peer *out)
{
	*out = (struct web_peer){
		.address = &socket->address,
		.listener = socket->listener->listener,
		.is_tls = socket->is_tls,
		.tls = lws_get_ssl(socket->wsi),
	};
}

void web_kill(struct web_socket *socket)
{
	timer_disarm(&socket->home->me->wheel, &socket->timer);
	if (socket->wsi)
		lws_set_timeout(socket->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

/*
 * Ours is armed. libwebsockets keeps its own in a sorted list that it walks from the front: ten
 * thousand in it would make each new one dear.
 */
void web_forget_timeout(struct web_socket *socket)
{
	lws_set_timeout(socket->wsi, NO_PENDING_TIMEOUT, 0);
}

/* Headers have connect_timeout from now on. */
void web_watch_headers(struct web_socket *socket)
{
	socket->deadline_ms = socket->home->me->now_ms + socket->home->connect_timeout_ms;
	timer_arm_at(&socket->home->me->wheel, &socket->timer, socket->deadline_ms);
}

void web_stop_talking(struct web_socket *socket)
{
	timer_disarm(&socket->home->me->wheel, &socket->timer);
	if (!socket->pprev)
		return;
	*socket->pprev = socket->next;
	if (socket->next)
		socket->next->pprev = socket->pprev;
	socket->pprev = NULL;
	memory_uncharge(MEMORY_INPUT, socket->home->web->settings.headers_bytes);
}

static void start_talking(struct web_socket *socket)
{
	struct web_worker *home = socket->home;

	memory_charge(MEMORY_INPUT, home->web->settings.headers_bytes);
	socket->next = home->talking;
	socket->pprev = &home->talking;
	if (socket->next)
		socket->next->pprev = &socket->next;
	home->talking = socket;
}

/* Without waiting for it to take what is left of an answer, and without leaving that to the kernel. */
static void cut_off(struct web_socket *socket)
{
	struct linger at_once = {.l_onoff = 1};

	if (socket->wsi) {
		int fd = lws_get_socket_fd(socket->wsi);

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
		shutdown(fd, SHUT_RDWR);
	}
	web_kill(socket);
}

static void on_timer(struct timer *timer)
{
	struct web_socket *socket = TIMER_OWNER(timer, struct web_socket, timer);
	char text[ADDRESS_TEXT_BYTES];
	struct log_fields fields = {.address = address_text(&socket->address, text)};

	if (socket->exchange) {
		if (!web_request_tick(socket))
			cut_off(socket);
		return;
	}
	counter_add(socket->home->me->counters, COUNTER_REFUSED_TIMEOUT, 1);
	fields.reason = "no complete request within connect_timeout";
	log_event(LOG_TYPE_DEBUG, &fields, "Connection closed");
	web_kill(socket);
}

static void socket_destroyed(struct web_socket *socket)
{
	struct web_worker *home = socket->home;

	web_stop_talking(socket);
	if (socket->exchange)
		web_request_lost(socket);
	websocket_ends(socket, 0);
	socket->wsi = NULL;
	home->sockets--;
	memory_uncharge(MEMORY_INPUT, WEB_SOCKET_BYTES);
	if (socket->listener->place)
		listener_forget_connection(socket->listener->place);
	if (!socket->conn)
		free(socket);
}

/* libwebsockets has begun to close: by its own reason, which is then a breach of the protocol, or
 * because the connection is gone. */
static void websocket_dropped(struct web_socket *socket)
{
	websocket_ends(socket, lws_get_close_length(socket->wsi) > 0 ? EPROTO : 0);
}

static int lend_tls(SSL_CTX *theirs)
{
	BUG_ON(!lending);
	return tls_server_lend(lending, theirs, TLS_ALPN_HTTP) == ERR_NONE ? 0 : -1;
}

int web_on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		 size_t len)
{
	struct web_socket *socket;

	if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS)
		return lend_tls(user);
	if (reason == LWS_CALLBACK_WSI_CREATE)
		((struct web_worker *)lws_context_user(lws_get_context(wsi)))->made++;
	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
	case LWS_CALLBACK_ESTABLISHED:
	case LWS_CALLBACK_RECEIVE:
	case LWS_CALLBACK_SERVER_WRITEABLE:
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
	case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_HTTP:
	case LWS_CALLBACK_HTTP_WRITEABLE:
	case LWS_CALLBACK_WSI_DESTROY: break;
	/* A CONNECT makes libwebsockets leave HTTP. */
	case LWS_CALLBACK_RAW_ADOPT:
	case LWS_CALLBACK_RAW_RX: return -1;
	default: return 0;
	}
	socket = lws_get_opaque_user_data(wsi);
	if (!socket)
		return 0;
	if (worker_current)
		worker_turn_begin(worker_current);
	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: return web_check_upgrade(socket);
	case LWS_CALLBACK_ESTABLISHED: return websocket_established(socket);
	case LWS_CALLBACK_RECEIVE: return websocket_received(socket, in, len);
	case LWS_CALLBACK_SERVER_WRITEABLE: websocket_writable(socket); return 0;
	case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL: websocket_dropped(socket); return 0;
	case LWS_CALLBACK_HTTP: return web_request_begin(socket, in, len);
	case LWS_CALLBACK_HTTP_WRITEABLE: return web_request_writable(socket);
	case LWS_CALLBACK_WSI_DESTROY: socket_destroyed(socket); return 0;
	default: websocket_ends(socket, 0); return 0;
	}
}

/* Which subprotocols there are. The first serves HTTP; no list of tokens can name it. */
static const struct lws_protocols protocols[] = {
	{.name = "no subprotocol", .callback = web_on_event},
	{.name = "mqtt", .callback = web_on_event},
	{.name = "mqttv3.1", .callback = web_on_event},
	{.name = NULL},
};

bool web_adopt(struct worker *me, const struct newcomer *newcomer, bool is_tls)
{
	struct web_worker *home = web_worker_of(me);
	struct web_socket *socket;
	lws_adopt_desc_t adopt = {.type = LWS_ADOPT_HTTP | LWS_ADOPT_SOCKET | LWS_ADOPT_ALLOW_SSL,
				  .fd.sockfd = newcomer->fd};
	size_t i = 0;
	uint64_t made;

	while (home && i < home->web->settings.listener_count &&
	       home->web->listeners[i].listener != newcomer->listener)
		i++;
	if (!home || home->is_stopping || i == home->web->settings.listener_count)
		return false;
	adopt.vh = is_tls ? home->tls[i] : home->plain[i];
	socket = adopt.vh ? calloc(1, sizeof *socket) : NULL;
	if (!socket)
		return false;
	socket->home = home;
	socket->listener = &home->web->listeners[i];
	socket->address = newcomer->address;
	socket->is_tls = is_tls;
	timer_init(&socket->timer, on_timer);
	adopt.opaque = socket;
	home->sockets++;
	memory_charge(MEMORY_INPUT, WEB_SOCKET_BYTES);
	start_talking(socket);
	socket->deadline_ms = newcomer->deadline_ms;
	timer_arm_at(&me->wheel, &socket->timer, socket->deadline_ms);
	made = home->made;
	socket->wsi = lws_adopt_descriptor_vhost_via_info(&adopt);
	/* On failure it has closed the descriptor, and tells when what it had made is destroyed. */
	if (socket->wsi) {
		lws_set_wsi_user(socket->wsi, socket);
		web_forget_timeout(socket);
	} else if (home->made == made) {
		socket_destroyed(socket);
	}
	return true;
}

/* Start. */

static void log_line(int level, const char *line)
{
	size_t len = strlen(line);

	(void)level;
	while (len > 0 && line[len - 1] == '\n')
		len--;
	log_event(LOG_TYPE_WEBSOCKETS, NULL, "libwebsockets: %.*s", (int)len, line);
}

enum err web_create(const struct web_settings *settings, struct web **out,
		    struct err_detail *detail)
{
	struct web *web;

	*out = NULL;
	if (settings->listener_count == 0)
		return ERR_NONE;
	web = calloc(1, sizeof *web);
	if (web) {
		web->listeners = calloc(settings->listener_count, sizeof *web->listeners);
		web->no_client = SSL_CTX_new(TLS_client_method());
	}
	if (!web || !web->listeners || !web->no_client) {
		web_destroy(&web);
		return err_set(detail, ERR_NOMEM, "No memory for WebSocket and HTTP.");
	}
	memcpy(web->listeners, settings->listeners,
	       settings->listener_count * sizeof *web->listeners);
	web->settings = *settings;
	web->settings.listeners = web->listeners;
	lws_set_log_level((int)settings->log_level, log_line);
	web_memory_open(settings->workers);
	*out = web;
	return ERR_NONE;
}

static struct lws_vhost *make_vhost(struct web_worker *home, const struct web_listener *listener,
				    bool is_tls)
{
	static const lws_retry_bo_t no_pings; /* MQTT has its own */
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = protocols,
		.vhost_name = is_tls ? "tls" : "plain",
		.keepalive_timeout = LONG_S,
		.timeout_secs_ah_idle = LONG_S,
		.retry_and_idle_policy = &no_pings,
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
	};

	if (is_tls) {
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
				LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
		info.alpn = "http/1.1";
		info.provided_client_ssl_ctx = home->web->no_client;
		lending = listener->tls;
	}
	return lws_create_vhost(home->context, &info);
}

static enum err make_vhosts(struct web_worker *home, struct err_detail *detail)
{
	const struct web_settings *settings = &home->web->settings;

	home->plain = calloc(settings->listener_count, sizeof(struct lws_vhost *));
	home->tls = calloc(settings->listener_count, sizeof(struct lws_vhost *));
	if (!home->plain || !home->tls)
		return err_set(detail, ERR_NOMEM, "No memory for WebSocket and HTTP.");
	for (size_t i = 0; i < settings->listener_count; i++) {
		const struct web_listener *listener = &home->web->listeners[i];

		if (listener->is_plain)
			home->plain[i] = make_vhost(home, listener, false);
		if (listener->tls)
			home->tls[i] = make_vhost(home, listener, true);
		if ((listener->is_plain && !home->plain[i]) || (listener->tls && !home->tls[i]))
			return err_set(detail, ERR_IO,
				       "libwebsockets cannot be set up for a listener; log_type "
				       "websockets says more.");
	}
	return ERR_NONE;
}

enum err web_worker_init(struct web *web, struct worker *worker, struct err_detail *detail)
{
	void *loops[] = {&worker->loop};
	struct lws_context_creation_info info = {
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
			   LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
		.foreign_loops = loops,
		.pt_serv_buf_size = WEB_READ_BYTES,
		.max_http_header_data2 = web ? web->settings.headers_bytes : 0,
		.timeout_secs = LONG_S,
		.uid = -1,
		.gid = -1,
		.alpn = "http/1.1",
	};
	struct web_worker *home;

	if (!web)
		return ERR_NONE;
	home = calloc(1, sizeof *home);
	if (!home)
		return err_set(detail, ERR_NOMEM, "No memory for WebSocket and HTTP.");
	home->web = web;
	home->me = worker;
	home->connect_timeout_ms = web->settings.connect_timeout_ms;
	net_worker_of(worker)->web = home;
	info.pcontext = &home->context;
	info.user = home;
	home->context = lws_create_context(&info);
	if (!home->context)
		return err_set(detail, ERR_IO,
			       "libwebsockets cannot be set up. Is its plugin for libuv installed "
			       "(Debian's package libwebsockets-evlib-uv)? log_type websockets "
			       "says more.");
	return make_vhosts(home, detail);
}

void web_ready(void)
{
	web_memory_trim();
}

void web_set_connect_timeout(struct worker *me, uint32_t connect_timeout_ms)
{
	if (web_worker_of(me))
		web_worker_of(me)->connect_timeout_ms = connect_timeout_ms;
}

/* Stop. */

void web_stop(struct worker *me)
{
	struct web_worker *home = web_worker_of(me);
	struct web_socket *next;

	if (!home)
		return;
	home->is_stopping = true;
	home->stop_ms = me->now_ms;
	for (struct web_socket *socket = home->talking; socket; socket = next) {
		next = socket->next;
		if (!socket->exchange)
			web_kill(socket);
	}
}

/* Who does not answer a Close frame is not waited for as long as when the broker goes on. */
bool web_is_gone(struct worker *me)
{
	struct web_worker *home = web_worker_of(me);

	return !home || home->sockets == 0 || me->now_ms >= home->stop_ms + STOP_MS;
}

void web_worker_fini(struct worker *worker)
{
	struct web_worker *home = web_worker_of(worker);

	if (!home)
		return;
	net_worker_of(worker)->web = NULL;
	if (home->context) {
		/* The end of a turn is the worker's, and it has ended. */
		uv_prepare_stop(&worker->prepare);
		uv_check_stop(&worker->check);
		/* On a loop that is not its own it is asked twice: to close its handles, and, when
		 * they are closed, to free the rest. */
		lws_context_destroy(home->context);
		for (int i = 0; i < CLOSE_TURNS; i++)
			uv_run(&worker->loop, UV_RUN_NOWAIT);
		if (home->context)
			lws_context_destroy(home->context);
		BUG_ON(home->context);
	}
	free(home->plain);
	free(home->tls);
	free(home);
}

void web_destroy(struct web **web_ref)
{
	struct web *web = *web_ref;

	if (!web)
		return;
	web_memory_close();
	SSL_CTX_free(web->no_client);
	free(web->listeners);
	free(web);
	*web_ref = NULL;
}
