/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arrival.c - a connection that is still being looked at: how it waits, and how it leaves.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "net/first_bytes_parts.h"
#include "net/tls_context.h"
#include "net/transport_tls.h"
#include "net/tunnel.h"

/* Lists: all of them, those that shake hands, those that wait for a place. */

void arrival_list_add(struct arrival_list *list, struct arrival *arrival, struct arrival_link *link)
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

void arrival_list_remove(struct arrival_list *list, struct arrival_link *link)
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

void arrival_leave_queue(struct arrival *arrival)
{
	struct first_bytes *mine = first_bytes_of(arrival->worker);

	if (arrival->stage == STAGE_QUEUED)
		arrival_list_remove(&mine->queued, &arrival->in_queue);
	else if (arrival->stage == STAGE_HANDSHAKE)
		arrival_list_remove(&mine->shaking, &arrival->in_queue);
}

/* Waiting. */

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct arrival *arrival = handle->data;

	(void)status;
	(void)events;
	worker_turn_begin(worker_current);
	if (arrival->stage != STAGE_GONE)
		arrival_go_on(arrival);
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
		arrival_go_on(arrival);
		return;
	}
	counter_add(me->counters, COUNTER_REFUSED_TIMEOUT, 1);
	arrival_end(arrival, NULL, "no complete CONNECT within connect_timeout");
}

void arrival_start_clock(struct arrival *arrival)
{
	timer_init(&arrival->timer, on_timer);
	timer_arm_at(&arrival->worker->wheel, &arrival->timer, arrival->deadline_ms);
}

enum outcome arrival_wait(struct arrival *arrival, int events)
{
	if (!open_poll(arrival)) {
		arrival_end(arrival, NULL, "no memory");
		return OUTCOME_GONE;
	}
	watch(arrival, events);
	return OUTCOME_WAIT;
}

void arrival_set_low_water(struct arrival *arrival, uint32_t bytes)
{
	int value = (int)bytes;

	if (arrival->low_water == bytes)
		return;
	arrival->low_water = bytes;
	if (arrival->address_of_socket.family != AF_UNIX)
		setsockopt(arrival->fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

enum outcome arrival_wait_for_bytes(struct arrival *arrival, size_t wanted, size_t seen)
{
	struct worker *me = arrival->worker;

	if (seen && (arrival->address_of_socket.family == AF_UNIX || arrival->low_water > seen)) {
		/* Woken too early, and would be again at once. */
		timer_disarm(&me->wheel, &arrival->timer);
		timer_arm_at(&me->wheel, &arrival->timer, me->now_ms + TIMER_TICK_MS);
		return arrival_wait(arrival, 0);
	}
	arrival_set_low_water(arrival, (uint32_t)wanted);
	return arrival_wait(arrival, UV_READABLE);
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

	arrival_leave_queue(arrival);
	arrival_list_remove(&mine->all, &arrival->in_all);
	timer_disarm(&me->wheel, &arrival->timer);
	arrival_set_low_water(arrival, 1);
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

enum outcome arrival_refuse(struct arrival *arrival, enum counter counter, const char *what,
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
		.listener = arrival_place(arrival)->index,
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

enum outcome arrival_give_to_client(struct arrival *arrival)
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

enum outcome arrival_give_to_http(struct arrival *arrival, bool is_tls)
{
	struct newcomer newcomer = newcomer_of(arrival);
	struct listener *listener = arrival->listener;
	const struct listener_settings *place = arrival_place(arrival);
	struct worker *me = arrival->worker;
	bool is_taken;

	if (!place->on_http)
		return arrival_refuse(arrival, COUNTER_REFUSED_PROTOCOL, NULL,
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
