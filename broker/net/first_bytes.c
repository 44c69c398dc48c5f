/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first_bytes.c - what does this connection speak?
 *
 *	LOOK ---> QUEUED ---> HANDSHAKE ---> LOOK_INSIDE ---> given away
 *	  `---------------------------------------------------^
 *
 * Looking leaves the bytes in the socket, which therefore stays readable: SO_RCVLOWAT tells the
 * kernel how many there have to be before it wakes us. Where that is not heeded (Unix sockets), the
 * look is repeated by the timer.
 *
 * Handshakes are the costly part, and a stranger may ask for as many as he likes. So one begins only
 * when the whole ClientHello is here; at most max_handshakes are under way at once, and when all
 * places are taken the one that has been waiting longest for its client loses its place, if it had
 * it for HANDSHAKE_GRACE_MS; and a turn spends HANDSHAKE_TURN_US on them, then lets others work.
 */
#include "net/first_bytes.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/client_hello.h"
#include "net/first_bytes_parts.h"
#include "net/net_worker.h"
#include "net/proxy_header.h"
#include "net/tls_context.h"
#include "net/tls_peer.h"
#include "net/transport_tls.h"
#include "net/trusted_addresses.h"
#include "net/tunnel.h"

/* A ClientHello that is longer is not looked into. */
#define LOOK_BYTES_MAX (17u * 1024u)
#define HANDSHAKE_GRACE_MS 1000u
#define HANDSHAKE_TURN_US 2000u

/* What a step says to the loop in go_on(). */
enum outcome {
	OUTCOME_NEXT, /* the stage has changed */
	OUTCOME_WAIT,
	OUTCOME_GONE, /* given away or closed */
};

static void go_on(struct arrival *arrival);

static struct first_bytes *first_bytes_of(struct worker *me)
{
	return net_worker_of(me)->first_bytes;
}

static const struct listener_settings *place_of(const struct arrival *arrival)
{
	return listener_settings_of(arrival->listener);
}

/* Lists: all of them, those that shake hands, those that wait for a place. */

static void list_add(struct arrival_list *list, struct arrival *arrival, struct arrival_link *link)
{
	link->owner = arrival;
	link->next = NULL;
	link->prev = list->last;
	if (list->last)
		list->last->next = link;
	else
		list->first = link;
	list->last = link;
	list->count++;
}

static void list_remove(struct arrival_list *list, struct arrival_link *link)
{
	if (link->prev)
		link->prev->next = link->next;
	else
		list->first = link->next;
	if (link->next)
		link->next->prev = link->prev;
	else
		list->last = link->prev;
	list->count--;
}

static void leave_queue(struct arrival *arrival)
{
	struct first_bytes *mine = first_bytes_of(arrival->worker);

	if (arrival->stage == STAGE_QUEUED)
		list_remove(&mine->queued, &arrival->in_queue);
	else if (arrival->stage == STAGE_HANDSHAKE)
		list_remove(&mine->shaking, &arrival->in_queue);
}

/* Waiting. */

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct arrival *arrival = handle->data;

	(void)status;
	(void)events;
	worker_turn_begin(worker_current);
	if (arrival->stage != STAGE_GONE)
		go_on(arrival);
}

static void watch(struct arrival *arrival, int events)
{
	if (arrival->watched == events || !arrival->has_poll)
		return;
	arrival->watched = (uint8_t)events;
	if (events)
		uv_poll_start(&arrival->poll, events, on_poll);
	else
		uv_poll_stop(&arrival->poll);
}

static bool open_poll(struct arrival *arrival)
{
	if (arrival->has_poll)
		return true;
	if (uv_poll_init(&arrival->worker->loop, &arrival->poll, arrival->fd) != 0)
		return false;
	arrival->poll.data = arrival;
	arrival->has_poll = true;
	return true;
}

static void on_timer(struct timer *timer)
{
	struct arrival *arrival = TIMER_OWNER(timer, struct arrival, timer);
	struct worker *me = arrival->worker;

	if (me->now_ms < arrival->deadline_ms) {
		timer_arm_at(&me->wheel, timer, arrival->deadline_ms);
		go_on(arrival);
		return;
	}
	counter_add(me->counters, COUNTER_REFUSED_TIMEOUT, 1);
	arrival_end(arrival, NULL, "no complete CONNECT within connect_timeout");
}

static enum outcome wait_for_events(struct arrival *arrival, int events)
{
	if (!open_poll(arrival)) {
		arrival_end(arrival, NULL, "no memory");
		return OUTCOME_GONE;
	}
	watch(arrival, events);
	return OUTCOME_WAIT;
}

static void set_low_water(struct arrival *arrival, uint32_t bytes)
{
	int value = (int)bytes;

	if (arrival->low_water == bytes)
		return;
	arrival->low_water = bytes;
	if (arrival->address_of_socket.family != AF_UNIX)
		setsockopt(arrival->fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

/* Until so many bytes are here, of which seen are already. */
static enum outcome wait_for_bytes(struct arrival *arrival, size_t wanted, size_t seen)
{
	struct worker *me = arrival->worker;

	if (seen && (arrival->address_of_socket.family == AF_UNIX || arrival->low_water > seen)) {
		/* Woken too early, and would be again at once. */
		timer_disarm(&me->wheel, &arrival->timer);
		timer_arm_at(&me->wheel, &arrival->timer, me->now_ms + TIMER_TICK_MS);
		return wait_for_events(arrival, 0);
	}
	set_low_water(arrival, (uint32_t)wanted);
	return wait_for_events(arrival, UV_READABLE);
}

/* The end of it here. */

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* The descriptor is not touched: it goes to somebody else, or is closed by the caller. */
static void let_go(struct arrival *arrival)
{
	struct worker *me = arrival->worker;
	struct first_bytes *mine = first_bytes_of(me);

	leave_queue(arrival);
	list_remove(&mine->all, &arrival->in_all);
	timer_disarm(&me->wheel, &arrival->timer);
	set_low_water(arrival, 1);
	free(arrival->header);
	arrival->stage = STAGE_GONE;
	memory_uncharge(MEMORY_INPUT, sizeof *arrival);
	counter_sub(me->counters, COUNTER_CONNECTIONS_OPEN, 1);
	if (mine->queued.first)
		worker_add_task(me, &mine->begin_task);
	if (!arrival->has_poll) {
		free(arrival);
		return;
	}
	uv_poll_stop(&arrival->poll);
	uv_close((uv_handle_t *)&arrival->poll, on_poll_closed);
}

/* What has arrived is read away, or the kernel resets the connection and our alert gets lost. */
static void close_gently(struct worker *me, int fd)
{
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 16; i++) {
		if (recv(fd, net_worker_of(me)->read_buffer, NET_READ_BYTES, MSG_DONTWAIT) <= 0)
			break;
	}
	close(fd);
}

void arrival_end(struct arrival *arrival, const char *what, const char *why)
{
	struct worker *me = arrival->worker;
	struct listener *listener = arrival->listener;
	char address[ADDRESS_TEXT_BYTES];
	struct log_fields fields = {.address = address_text(&arrival->address, address),
				    .reason = why};
	int fd = arrival->fd;

	if (why && (what || first_bytes_of(me)->settings.connection_messages))
		log_event(LOG_TYPE_NOTICE, &fields, "%s", what ? what : "Connection closed");
	transport_tls_free(arrival->ssl);
	arrival->ssl = NULL;
	let_go(arrival);
	close_gently(me, fd);
	listener_forget_connection(listener);
}

static enum outcome refuse(struct arrival *arrival, enum counter counter, const char *what,
			   const char *why)
{
	counter_add(arrival->worker->counters, counter, 1);
	arrival_end(arrival, what, why);
	return OUTCOME_GONE;
}

static struct newcomer newcomer_of(const struct arrival *arrival)
{
	if (arrival->ssl)
		tls_forget_address(arrival->ssl);
	return (struct newcomer){
		.fd = arrival->fd,
		.listener = place_of(arrival)->index,
		.address = arrival->address,
		.ssl = arrival->ssl,
		.deadline_ms = arrival->deadline_ms,
	};
}

static void refuse_newcomer(struct worker *me, struct listener *listener,
			    const struct newcomer *newcomer)
{
	transport_tls_free(newcomer->ssl);
	close_gently(me, newcomer->fd);
	listener_forget_connection(listener);
}

static enum outcome give_to_client(struct arrival *arrival)
{
	struct newcomer newcomer = newcomer_of(arrival);
	struct listener *listener = arrival->listener;
	struct worker *me = arrival->worker;

	arrival->ssl = NULL;
	let_go(arrival);
	if (!listener_settings_of(listener)->on_client(me, &newcomer))
		refuse_newcomer(me, listener, &newcomer);
	return OUTCOME_GONE;
}

static enum outcome give_to_http(struct arrival *arrival, bool is_tls)
{
	struct newcomer newcomer = newcomer_of(arrival);
	struct listener *listener = arrival->listener;
	const struct listener_settings *place = place_of(arrival);
	struct worker *me = arrival->worker;
	bool is_taken;

	if (!place->on_http)
		return refuse(arrival, COUNTER_REFUSED_PROTOCOL, NULL,
			      "the client speaks HTTP, which is not served here");
	arrival->ssl = NULL;
	let_go(arrival);
	if (newcomer.ssl)
		is_taken = tunnel_open(me, listener, &newcomer);
	else
		is_taken = place->on_http(me, &newcomer, is_tls);
	if (!is_taken)
		refuse_newcomer(me, listener, &newcomer);
	return OUTCOME_GONE;
}

/* The PROXY protocol. */

static const char *proxy_refusal(const struct arrival *arrival, enum proxy_header_status status)
{
	const struct listener_settings *place = place_of(arrival);

	if (status == PROXY_HEADER_NONE)
		return place->proxy == LISTENER_PROXY_REQUIRED
			       ? "there is no PROXY header, and proxy_protocol is 'required'"
			       : NULL;
	if (place->proxy == LISTENER_PROXY_OFF)
		return "it begins with a PROXY header, and proxy_protocol is 'off' here";
	if (!trusted_addresses_has(place->trusted, &arrival->address_of_socket))
		return "it begins with a PROXY header, and its address is not in trusted_proxy";
	return NULL;
}

static void use_header(struct arrival *arrival, const struct proxy_header *header)
{
	arrival->is_proxied = true;
	if (header->has_address)
		arrival->address = header->address;
}

static enum outcome refuse_header(struct arrival *arrival, const char *why)
{
	return refuse(arrival, COUNTER_REFUSED_PROTOCOL, "Connection refused", why);
}

/* Judges what was seen. DONE in *out_status: the header is to be consumed by the caller. */
static enum outcome look_for_header(struct arrival *arrival, struct slice bytes,
				    struct proxy_header *header,
				    enum proxy_header_status *out_status)
{
	enum proxy_header_status status = proxy_header_parse(bytes, header);
	const char *why;
	char text[80];

	*out_status = status;
	if (status == PROXY_HEADER_NEED_MORE) {
		/* Whoever may send none is not waited for: "P" may begin a PUT. */
		if (place_of(arrival)->proxy == LISTENER_PROXY_OFF)
			*out_status = PROXY_HEADER_NONE;
		return OUTCOME_NEXT;
	}
	why = proxy_refusal(arrival, status);
	if (why)
		return refuse_header(arrival, why);
	if (status != PROXY_HEADER_BAD)
		return OUTCOME_NEXT;
	snprintf(text, sizeof text, "its PROXY header %s", header->fault);
	return refuse_header(arrival, text);
}

/* Looking at the socket. */

static enum outcome begin_handshake(struct arrival *arrival);

static enum outcome look_at_hello(struct arrival *arrival, struct slice bytes)
{
	const struct listener_settings *place = place_of(arrival);
	struct client_hello hello;
	enum client_hello_status status = client_hello_parse(bytes, &hello);

	if (status == CLIENT_HELLO_NEED_MORE && hello.wanted <= LOOK_BYTES_MAX)
		return wait_for_bytes(arrival, hello.wanted, bytes.len);
	set_low_water(arrival, 1);
	if (place->protocol == LISTENER_WEBSOCKETS ||
	    (place->protocol == LISTENER_ANY && hello.asks_for_http && !hello.asks_for_mqtt))
		return give_to_http(arrival, true);
	return begin_handshake(arrival);
}

static bool begins_as_http(struct slice bytes)
{
	return bytes.data[0] >= 'A' && bytes.data[0] <= 'Z';
}

static enum outcome judge(struct arrival *arrival, struct slice bytes)
{
	const struct listener_settings *place = place_of(arrival);
	bool is_tls = bytes.data[0] == 0x16; /* a handshake record; no packet of MQTT, no HTTP */

	if (place->tls && (is_tls || place->protocol != LISTENER_ANY))
		return look_at_hello(arrival, bytes);
	if (is_tls && place->protocol == LISTENER_ANY)
		return refuse(arrival, COUNTER_REFUSED_PROTOCOL, "Connection refused",
			      "the client speaks TLS, and this listener has no certfile");
	if (place->protocol == LISTENER_WEBSOCKETS ||
	    (place->protocol == LISTENER_ANY && begins_as_http(bytes)))
		return give_to_http(arrival, false);
	return give_to_client(arrival);
}

static enum outcome look(struct arrival *arrival)
{
	uint8_t *buffer = net_worker_of(arrival->worker)->read_buffer;
	ssize_t got = recv(arrival->fd, buffer, LOOK_BYTES_MAX, MSG_PEEK | MSG_DONTWAIT);
	struct slice bytes = slice_of(buffer, got > 0 ? (size_t)got : 0);
	enum proxy_header_status status;
	struct proxy_header header;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return wait_for_bytes(arrival, 1, 0);
	if (got <= 0) {
		arrival_end(arrival, NULL, got < 0 ? strerror(errno) : "the connection was lost");
		return OUTCOME_GONE;
	}
	if (!arrival->is_proxied) {
		if (look_for_header(arrival, bytes, &header, &status) == OUTCOME_GONE)
			return OUTCOME_GONE;
		if (status == PROXY_HEADER_NEED_MORE)
			return wait_for_bytes(arrival, header.wanted, bytes.len);
		if (status == PROXY_HEADER_DONE) {
			set_low_water(arrival, 1);
			if (recv(arrival->fd, buffer, header.len, MSG_DONTWAIT) !=
			    (ssize_t)header.len)
				return refuse_header(arrival, "its PROXY header cannot be read");
			use_header(arrival, &header);
			return OUTCOME_NEXT;
		}
	}
	return judge(arrival, bytes);
}

/* TLS. */

static bool has_time(struct first_bytes *mine)
{
	if (mine->turn != mine->worker->turn) {
		mine->turn = mine->worker->turn;
		mine->turn_us = 0;
	}
	return mine->turn_us < HANDSHAKE_TURN_US;
}

/* false: all places are taken, by handshakes that began just now. */
static bool make_room(struct first_bytes *mine)
{
	struct arrival *oldest;

	if (mine->shaking.count < mine->settings.max_handshakes)
		return true;
	oldest = mine->shaking.first->owner;
	if (mine->worker->now_ms < oldest->started_ms + HANDSHAKE_GRACE_MS)
		return false;
	(void)refuse(oldest, COUNTER_REFUSED_HANDSHAKES, "TLS handshake given up",
		     "max_handshakes is reached, and it was the one that waited longest");
	return true;
}

static enum outcome start_handshake(struct arrival *arrival)
{
	const struct listener_settings *place = place_of(arrival);
	struct first_bytes *mine = first_bytes_of(arrival->worker);
	unsigned alpn = TLS_ALPN_MQTT;

	if (place->protocol == LISTENER_ANY && place->on_http)
		alpn |= TLS_ALPN_HTTP;
	arrival->ssl = tls_server_open(place->tls, arrival->fd, alpn, &arrival->address);
	if (!arrival->ssl)
		return refuse(arrival, COUNTER_REFUSED_MEMORY, NULL, "no memory");
	transport_tls_charge();
	arrival->started_ms = arrival->worker->now_ms;
	arrival->stage = STAGE_HANDSHAKE;
	list_add(&mine->shaking, arrival, &arrival->in_queue);
	return OUTCOME_NEXT;
}

static enum outcome begin_handshake(struct arrival *arrival)
{
	struct worker *me = arrival->worker;
	struct first_bytes *mine = first_bytes_of(me);

	if (make_room(mine))
		return start_handshake(arrival);
	arrival->stage = STAGE_QUEUED;
	list_add(&mine->queued, arrival, &arrival->in_queue);
	timer_disarm(&me->wheel, &mine->grace);
	timer_arm_at(&me->wheel, &mine->grace,
		     mine->shaking.first->owner->started_ms + HANDSHAKE_GRACE_MS);
	return wait_for_events(arrival, 0);
}

/* A place has become free, or its holder has had it long enough. */
static bool begin_waiting(struct worker *me, struct task *task)
{
	struct first_bytes *mine = first_bytes_of(me);

	(void)task;
	while (mine->queued.first && has_time(mine) && make_room(mine)) {
		struct arrival *arrival = mine->queued.first->owner;

		leave_queue(arrival);
		arrival->stage = STAGE_LOOK;
		if (start_handshake(arrival) != OUTCOME_GONE)
			go_on(arrival);
	}
	if (!mine->queued.first || !mine->shaking.first)
		return false;
	timer_disarm(&me->wheel, &mine->grace);
	timer_arm_at(&me->wheel, &mine->grace,
		     mine->shaking.first->owner->started_ms + HANDSHAKE_GRACE_MS);
	return false;
}

static void on_grace(struct timer *timer)
{
	struct first_bytes *mine = TIMER_OWNER(timer, struct first_bytes, grace);

	worker_add_task(mine->worker, &mine->begin_task);
}

static enum outcome handshake_failed(struct arrival *arrival, int error)
{
	char text[TLS_WHY_BYTES];
	const char *why = tls_peer_why(arrival->ssl, error, text);

	SSL_set_quiet_shutdown(arrival->ssl, 1);
	return refuse(arrival, COUNTER_TLS_HANDSHAKES_FAILED, "TLS handshake failed", why);
}

static enum outcome shake(struct arrival *arrival)
{
	struct worker *me = arrival->worker;
	struct first_bytes *mine = first_bytes_of(me);
	uint64_t began_us;
	int result, error;

	/* What waits in the socket makes it readable again in the next turn. */
	if (!has_time(mine))
		return wait_for_events(arrival, arrival->watched ? arrival->watched : UV_READABLE);
	began_us = clock_now_us();
	ERR_clear_error();
	errno = 0;
	result = SSL_accept(arrival->ssl);
	error = SSL_get_error(arrival->ssl, result);
	mine->turn_us += clock_now_us() - began_us;
	if (error == SSL_ERROR_WANT_READ)
		return wait_for_events(arrival, UV_READABLE);
	if (error == SSL_ERROR_WANT_WRITE)
		return wait_for_events(arrival, UV_WRITABLE);
	if (result != 1)
		return handshake_failed(arrival, error);
	counter_add(me->counters,
		    SSL_session_reused(arrival->ssl) ? COUNTER_TLS_HANDSHAKES_RESUMED
						     : COUNTER_TLS_HANDSHAKES_FULL,
		    1);
	leave_queue(arrival);
	arrival->stage = STAGE_LOOK_INSIDE;
	if (mine->queued.first)
		worker_add_task(me, &mine->begin_task);
	return OUTCOME_NEXT;
}

/* Looking inside TLS. */

/* A header that is cut into several records is taken out of them piece by piece. */
static enum outcome keep_header(struct arrival *arrival, struct slice bytes, size_t more)
{
	size_t got = 0;

	if (!arrival->header)
		arrival->header = malloc(PROXY_HEADER_BYTES_MAX);
	if (!arrival->header || arrival->header_len + more > PROXY_HEADER_BYTES_MAX)
		return refuse(arrival, COUNTER_REFUSED_MEMORY, NULL, "no memory");
	memcpy(arrival->header, bytes.data, arrival->header_len);
	if (SSL_read_ex(arrival->ssl, arrival->header + arrival->header_len, more, &got) != 1)
		return refuse_header(arrival, "its PROXY header cannot be read");
	arrival->header_len = (uint16_t)(arrival->header_len + got);
	return OUTCOME_NEXT;
}

/* bytes: what was taken out before, and what was seen now. */
static enum outcome look_for_header_inside(struct arrival *arrival, struct slice bytes,
					   bool *out_goes_on)
{
	size_t kept = arrival->header_len;
	enum proxy_header_status status;
	struct proxy_header header;

	*out_goes_on = false;
	if (look_for_header(arrival, bytes, &header, &status) == OUTCOME_GONE)
		return OUTCOME_GONE;
	if (status == PROXY_HEADER_NEED_MORE)
		return keep_header(arrival, bytes, bytes.len - kept);
	if (status == PROXY_HEADER_NONE) {
		*out_goes_on = kept == 0;
		return kept ? refuse_header(arrival, "its PROXY header breaks off") : OUTCOME_NEXT;
	}
	if (keep_header(arrival, bytes, header.len - kept) == OUTCOME_GONE)
		return OUTCOME_GONE;
	use_header(arrival, &header);
	arrival->header_len = 0;
	return OUTCOME_NEXT;
}

static enum outcome look_failed(struct arrival *arrival, int result)
{
	char text[TLS_WHY_BYTES];
	int error = SSL_get_error(arrival->ssl, result);

	if (error == SSL_ERROR_WANT_READ)
		return wait_for_events(arrival, UV_READABLE);
	if (error == SSL_ERROR_WANT_WRITE)
		return wait_for_events(arrival, UV_WRITABLE);
	if (error == SSL_ERROR_ZERO_RETURN) {
		arrival_end(arrival, NULL, "the connection was lost");
		return OUTCOME_GONE;
	}
	SSL_set_quiet_shutdown(arrival->ssl, 1);
	arrival_end(arrival, "TLS connection ended", tls_peer_why(arrival->ssl, error, text));
	return OUTCOME_GONE;
}

static enum outcome judge_by_alpn(struct arrival *arrival)
{
	const unsigned char *name;
	unsigned len;

	SSL_get0_alpn_selected(arrival->ssl, &name, &len);
	if (len == 8 && memcmp(name, "http/1.1", 8) == 0)
		return give_to_http(arrival, false);
	if (len || place_of(arrival)->protocol == LISTENER_MQTT)
		return give_to_client(arrival);
	return OUTCOME_NEXT;
}

static enum outcome look_inside(struct arrival *arrival)
{
	uint8_t *buffer = net_worker_of(arrival->worker)->read_buffer;
	bool goes_on = true;
	struct slice bytes;
	size_t got;
	int result;

	if (arrival->is_proxied || place_of(arrival)->proxy == LISTENER_PROXY_OFF) {
		if (judge_by_alpn(arrival) == OUTCOME_GONE)
			return OUTCOME_GONE;
	}
	ERR_clear_error();
	errno = 0;
	if (arrival->header_len)
		memcpy(buffer, arrival->header, arrival->header_len);
	result = SSL_peek_ex(arrival->ssl, buffer + arrival->header_len, LOOK_BYTES_MAX, &got);
	if (result != 1)
		return look_failed(arrival, result);
	bytes = slice_of(buffer, arrival->header_len + got);
	if (!arrival->is_proxied && place_of(arrival)->proxy != LISTENER_PROXY_OFF) {
		enum outcome outcome = look_for_header_inside(arrival, bytes, &goes_on);

		if (outcome == OUTCOME_GONE || !goes_on)
			return outcome;
		if (judge_by_alpn(arrival) == OUTCOME_GONE)
			return OUTCOME_GONE;
	}
	return begins_as_http(bytes) ? give_to_http(arrival, false) : give_to_client(arrival);
}

static enum outcome step(struct arrival *arrival)
{
	switch (arrival->stage) {
	case STAGE_LOOK: return look(arrival);
	case STAGE_HANDSHAKE: return shake(arrival);
	case STAGE_LOOK_INSIDE: return look_inside(arrival);
	default: return OUTCOME_WAIT;
	}
}

static void go_on(struct arrival *arrival)
{
	while (step(arrival) == OUTCOME_NEXT)
		continue;
}

/* The door. */

/* A listener of plain MQTT: there is nothing to find out. */
static bool needs_no_look(const struct listener_settings *place)
{
	return place->protocol == LISTENER_MQTT && !place->tls &&
	       place->proxy == LISTENER_PROXY_OFF;
}

static void give_at_once(struct worker *me, struct listener *listener, int fd,
			 const struct address *address)
{
	const struct listener_settings *place = listener_settings_of(listener);
	struct newcomer newcomer = {
		.fd = fd,
		.listener = place->index,
		.address = *address,
		.deadline_ms = me->now_ms + first_bytes_of(me)->settings.connect_timeout_ms,
	};

	if (place->on_client(me, &newcomer))
		return;
	close(fd);
	listener_forget_connection(listener);
}

void first_bytes_accept(struct worker *me, struct listener *listener, int fd,
			const struct address *address)
{
	struct first_bytes *mine = first_bytes_of(me);
	bool may_come = !mine->is_stopping && !memory_is_over_limit();
	struct arrival *arrival;

	if (needs_no_look(listener_settings_of(listener))) {
		give_at_once(me, listener, fd, address);
		return;
	}
	arrival = may_come ? calloc(1, sizeof *arrival) : NULL;
	if (!arrival) {
		counter_add(me->counters,
			    mine->is_stopping ? COUNTER_REFUSED_SHUTDOWN : COUNTER_REFUSED_MEMORY,
			    1);
		close(fd);
		listener_forget_connection(listener);
		return;
	}
	memory_charge(MEMORY_INPUT, sizeof *arrival);
	counter_add(me->counters, COUNTER_CONNECTIONS_OPEN, 1);
	arrival->worker = me;
	arrival->listener = listener;
	arrival->fd = fd;
	arrival->address = arrival->address_of_socket = *address;
	arrival->low_water = 1;
	arrival->deadline_ms = me->now_ms + mine->settings.connect_timeout_ms;
	list_add(&mine->all, arrival, &arrival->in_all);
	timer_init(&arrival->timer, on_timer);
	timer_arm_at(&me->wheel, &arrival->timer, arrival->deadline_ms);
	go_on(arrival);
}

void first_bytes_stop(struct worker *me)
{
	struct first_bytes *mine = first_bytes_of(me);

	mine->is_stopping = true;
	while (mine->all.first) {
		counter_add(me->counters, COUNTER_REFUSED_SHUTDOWN, 1);
		arrival_end(mine->all.first->owner, NULL, NULL);
	}
	timer_disarm(&me->wheel, &mine->grace);
	tunnels_stop(me);
}

void first_bytes_configure(struct worker *me, const struct first_bytes_settings *settings)
{
	first_bytes_of(me)->settings = *settings;
}

enum err first_bytes_worker_init(struct worker *worker)
{
	struct first_bytes *mine = calloc(1, sizeof *mine);

	if (!mine)
		return ERR_NOMEM;
	mine->worker = worker;
	mine->settings = (struct first_bytes_settings){10000, 500, true};
	mine->begin_task.run = begin_waiting;
	timer_init(&mine->grace, on_grace);
	net_worker_of(worker)->first_bytes = mine;
	return ERR_NONE;
}

void first_bytes_worker_fini(struct worker *worker)
{
	free(net_worker_of(worker)->first_bytes);
	net_worker_of(worker)->first_bytes = NULL;
}
