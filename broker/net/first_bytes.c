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
 */
#include "net/first_bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "net/client_hello.h"
#include "net/first_bytes_parts.h"
#include "net/trusted_addresses.h"
#include "net/tunnel.h"

/* The PROXY protocol. */

static const char no_header[] = "there is no PROXY header, and proxy_protocol is 'required'";

static bool is_tls(const struct arrival *arrival, struct slice bytes)
{
	/* A handshake record; no packet of MQTT, no HTTP. */
	return !arrival->ssl && bytes.data[0] == 0x16;
}

static const char *proxy_refusal(const struct arrival *arrival, struct slice bytes,
				 enum proxy_header_status status)
{
	const struct listener_settings *place = arrival_place(arrival);

	if (status == PROXY_HEADER_NONE) {
		/* Inside TLS there may be one. */
		if (place->proxy != LISTENER_PROXY_REQUIRED ||
		    (place->tls && is_tls(arrival, bytes)))
			return NULL;
		return no_header;
	}
	if (place->proxy == LISTENER_PROXY_OFF)
		return "it begins with a PROXY header, and proxy_protocol is 'off' here";
	if (!trusted_addresses_has(place->trusted, &arrival->address_of_socket))
		return "it begins with a PROXY header, and its address is not in trusted_proxy";
	return NULL;
}

void proxy_use(struct arrival *arrival, const struct proxy_header *header)
{
	arrival->is_proxied = true;
	if (header->has_address)
		arrival->address = header->address;
}

enum outcome proxy_refuse(struct arrival *arrival, const char *why)
{
	return arrival_refuse(arrival, COUNTER_REFUSED_PROTOCOL, "Connection refused", why);
}

/* Judges what was seen. DONE in *out_status: the header is to be consumed by the caller. */
enum outcome proxy_look(struct arrival *arrival, struct slice bytes, struct proxy_header *header,
			enum proxy_header_status *out_status)
{
	enum proxy_header_status status = proxy_header_parse(bytes, header);
	const char *why;
	char text[80];

	*out_status = status;
	if (status == PROXY_HEADER_NEED_MORE) {
		/* Whoever may send none is not waited for: "P" may begin a PUT. */
		if (arrival_place(arrival)->proxy == LISTENER_PROXY_OFF)
			*out_status = PROXY_HEADER_NONE;
		return OUTCOME_NEXT;
	}
	why = proxy_refusal(arrival, bytes, status);
	if (why)
		return proxy_refuse(arrival, why);
	if (status != PROXY_HEADER_BAD)
		return OUTCOME_NEXT;
	snprintf(text, sizeof text, "its PROXY header %s", header->fault);
	return proxy_refuse(arrival, text);
}

/* Looking at the socket. */

static enum outcome look_at_hello(struct arrival *arrival, struct slice bytes)
{
	const struct listener_settings *place = arrival_place(arrival);
	struct client_hello hello;
	enum client_hello_status status = client_hello_parse(bytes, &hello);

	if (status == CLIENT_HELLO_NEED_MORE && hello.wanted <= LOOK_BYTES_MAX)
		return arrival_wait_for_bytes(arrival, hello.wanted, bytes.len);
	arrival_set_low_water(arrival, 1);
	if (place->protocol == LISTENER_WEBSOCKETS ||
	    (place->protocol == LISTENER_ANY && hello.asks_for_http && !hello.asks_for_mqtt)) {
		/* Nobody looks for one inside there. */
		if (place->proxy == LISTENER_PROXY_REQUIRED && !arrival->is_proxied)
			return proxy_refuse(arrival, no_header);
		return arrival_give_to_http(arrival, true);
	}
	return handshake_begin(arrival);
}

bool first_bytes_are_http(struct slice bytes)
{
	return bytes.data[0] >= 'A' && bytes.data[0] <= 'Z';
}

static enum outcome judge(struct arrival *arrival, struct slice bytes)
{
	const struct listener_settings *place = arrival_place(arrival);

	if (place->tls && (is_tls(arrival, bytes) || place->protocol != LISTENER_ANY))
		return look_at_hello(arrival, bytes);
	if (is_tls(arrival, bytes) && place->protocol == LISTENER_ANY)
		return arrival_refuse(arrival, COUNTER_REFUSED_PROTOCOL, "Connection refused",
				      "the client speaks TLS, and this listener has no certfile");
	if (place->protocol == LISTENER_WEBSOCKETS ||
	    (place->protocol == LISTENER_ANY && first_bytes_are_http(bytes)))
		return arrival_give_to_http(arrival, false);
	return arrival_give_to_client(arrival);
}

static enum outcome look(struct arrival *arrival)
{
	uint8_t *buffer = net_worker_of(arrival->worker)->read_buffer;
	ssize_t got = recv(arrival->fd, buffer, LOOK_BYTES_MAX, MSG_PEEK | MSG_DONTWAIT);
	struct slice bytes = slice_of(buffer, got > 0 ? (size_t)got : 0);
	enum proxy_header_status status;
	struct proxy_header header;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return arrival_wait_for_bytes(arrival, 1, 0);
	if (got <= 0) {
		arrival_end(arrival, NULL, got < 0 ? strerror(errno) : "the connection was lost");
		return OUTCOME_GONE;
	}
	if (!arrival->is_proxied) {
		if (proxy_look(arrival, bytes, &header, &status) == OUTCOME_GONE)
			return OUTCOME_GONE;
		if (status == PROXY_HEADER_NEED_MORE)
			return arrival_wait_for_bytes(arrival, header.wanted, bytes.len);
		if (status == PROXY_HEADER_DONE) {
			arrival_set_low_water(arrival, 1);
			if (recv(arrival->fd, buffer, header.len, MSG_DONTWAIT) !=
			    (ssize_t)header.len)
				return proxy_refuse(arrival, "its PROXY header cannot be read");
			proxy_use(arrival, &header);
			return OUTCOME_NEXT;
		}
	}
	return judge(arrival, bytes);
}

static enum outcome step(struct arrival *arrival)
{
	switch (arrival->stage) {
	case STAGE_LOOK: return look(arrival);
	case STAGE_HANDSHAKE: return handshake_step(arrival);
	case STAGE_LOOK_INSIDE: return handshake_look_inside(arrival);
	default: return OUTCOME_WAIT;
	}
}

void arrival_go_on(struct arrival *arrival)
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
	arrival_list_add(&mine->all, arrival, &arrival->in_all);
	arrival_start_clock(arrival);
	arrival_go_on(arrival);
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
	mine->begin_task.run = handshake_begin_waiting;
	timer_init(&mine->grace, handshake_on_grace);
	net_worker_of(worker)->first_bytes = mine;
	return ERR_NONE;
}

void first_bytes_worker_fini(struct worker *worker)
{
	free(net_worker_of(worker)->first_bytes);
	net_worker_of(worker)->first_bytes = NULL;
}
