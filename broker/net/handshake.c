/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.c - TLS handshakes, so many at once and so long in a turn, and what is inside then.
 *
 * They are the costly part of a connection, and a stranger may ask for as many as he likes. So one
 * begins only when the whole ClientHello is here; at most max_handshakes are under way at once, and
 * when all places are taken the one that has been waiting longest for its client loses its place, if
 * it had it for HANDSHAKE_GRACE_MS; and a turn spends HANDSHAKE_TURN_US on them, then lets others work.
 */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/first_bytes_parts.h"
#include "net/tls_context.h"
#include "net/tls_peer.h"
#include "net/transport_tls.h"

#define HANDSHAKE_GRACE_MS 1000u
#define HANDSHAKE_TURN_US 500u

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
	(void)arrival_refuse(
		oldest, COUNTER_REFUSED_HANDSHAKES, "TLS handshake given up",
		"tls_max_handshakes is reached, and it was the one that waited longest");
	return true;
}

static enum outcome start_handshake(struct arrival *arrival)
{
	const struct listener_settings *place = arrival_place(arrival);
	struct first_bytes *mine = first_bytes_of(arrival->worker);
	unsigned alpn = TLS_ALPN_MQTT;

	if (place->protocol == LISTENER_ANY && place->on_http)
		alpn |= TLS_ALPN_HTTP;
	arrival->ssl = tls_server_open(place->tls, arrival->fd, alpn, &arrival->address);
	if (!arrival->ssl)
		return arrival_refuse(arrival, COUNTER_REFUSED_MEMORY, NULL, "no memory");
	transport_tls_charge();
	arrival->started_ms = arrival->worker->now_ms;
	arrival->stage = STAGE_HANDSHAKE;
	arrival_list_add(&mine->shaking, arrival, &arrival->in_queue);
	return OUTCOME_NEXT;
}

/* Somebody is queued: goes on in the next turn, or when the oldest has had its place long enough. */
static void wait_for_room(struct first_bytes *mine)
{
	struct worker *me = mine->worker;

	if (!mine->queued.first)
		return;
	if (mine->shaking.count < mine->settings.max_handshakes) {
		if (!mine->begin_task.pprev)
			worker_add_task(me, &mine->begin_task);
		return;
	}
	timer_disarm(&me->wheel, &mine->grace);
	timer_arm_at(&me->wheel, &mine->grace,
		     mine->shaking.first->owner->started_ms + HANDSHAKE_GRACE_MS);
}

enum outcome handshake_begin(struct arrival *arrival)
{
	struct worker *me = arrival->worker;
	struct first_bytes *mine = first_bytes_of(me);

	if (!mine->queued.first && has_time(mine) && make_room(mine))
		return start_handshake(arrival);
	arrival->stage = STAGE_QUEUED;
	arrival_list_add(&mine->queued, arrival, &arrival->in_queue);
	wait_for_room(mine);
	return arrival_wait(arrival, 0);
}

/* A place has become free, or its holder has had it long enough. */
bool handshake_begin_waiting(struct worker *me, struct task *task)
{
	struct first_bytes *mine = first_bytes_of(me);

	(void)task;
	while (mine->queued.first && has_time(mine) && make_room(mine)) {
		struct arrival *arrival = mine->queued.first->owner;

		arrival_leave_queue(arrival);
		arrival->stage = STAGE_LOOK;
		if (start_handshake(arrival) != OUTCOME_GONE)
			arrival_go_on(arrival);
	}
	/* The next turn has time again. */
	if (mine->queued.first && !has_time(mine))
		return true;
	wait_for_room(mine);
	return false;
}

void handshake_on_grace(struct timer *timer)
{
	struct first_bytes *mine = TIMER_OWNER(timer, struct first_bytes, grace);

	worker_add_task(mine->worker, &mine->begin_task);
}

static enum outcome handshake_failed(struct arrival *arrival, int error)
{
	char text[TLS_WHY_BYTES];
	const char *why = tls_peer_why(arrival->ssl, error, text);

	SSL_set_quiet_shutdown(arrival->ssl, 1);
	return arrival_refuse(arrival, COUNTER_TLS_HANDSHAKES_FAILED, "TLS handshake failed", why);
}

enum outcome handshake_step(struct arrival *arrival)
{
	struct worker *me = arrival->worker;
	struct first_bytes *mine = first_bytes_of(me);
	uint64_t began_us;
	int result, error;

	/* What waits in the socket makes it readable again in the next turn. */
	if (!has_time(mine))
		return arrival_wait(arrival, arrival->watched ? arrival->watched : UV_READABLE);
	began_us = clock_now_us();
	ERR_clear_error();
	errno = 0;
	result = SSL_accept(arrival->ssl);
	error = SSL_get_error(arrival->ssl, result);
	mine->turn_us += clock_now_us() - began_us;
	if (error == SSL_ERROR_WANT_READ)
		return arrival_wait(arrival, UV_READABLE);
	if (error == SSL_ERROR_WANT_WRITE)
		return arrival_wait(arrival, UV_WRITABLE);
	if (result != 1)
		return handshake_failed(arrival, error);
	counter_add(me->counters,
		    SSL_session_reused(arrival->ssl) ? COUNTER_TLS_HANDSHAKES_RESUMED
						     : COUNTER_TLS_HANDSHAKES_FULL,
		    1);
	arrival_leave_queue(arrival);
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
		return arrival_refuse(arrival, COUNTER_REFUSED_MEMORY, NULL, "no memory");
	memcpy(arrival->header, bytes.data, arrival->header_len);
	if (SSL_read_ex(arrival->ssl, arrival->header + arrival->header_len, more, &got) != 1)
		return proxy_refuse(arrival, "its PROXY header cannot be read");
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
	if (proxy_look(arrival, bytes, &header, &status) == OUTCOME_GONE)
		return OUTCOME_GONE;
	if (status == PROXY_HEADER_NEED_MORE)
		return keep_header(arrival, bytes, bytes.len - kept);
	if (status == PROXY_HEADER_NONE) {
		*out_goes_on = kept == 0;
		return kept ? proxy_refuse(arrival, "its PROXY header breaks off") : OUTCOME_NEXT;
	}
	if (keep_header(arrival, bytes, header.len - kept) == OUTCOME_GONE)
		return OUTCOME_GONE;
	proxy_use(arrival, &header);
	arrival->header_len = 0;
	return OUTCOME_NEXT;
}

static enum outcome look_failed(struct arrival *arrival, int result)
{
	char text[TLS_WHY_BYTES];
	int error = SSL_get_error(arrival->ssl, result);

	if (error == SSL_ERROR_WANT_READ)
		return arrival_wait(arrival, UV_READABLE);
	if (error == SSL_ERROR_WANT_WRITE)
		return arrival_wait(arrival, UV_WRITABLE);
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
		return arrival_give_to_http(arrival, false);
	if (len || arrival_place(arrival)->protocol == LISTENER_MQTT)
		return arrival_give_to_client(arrival);
	return OUTCOME_NEXT;
}

enum outcome handshake_look_inside(struct arrival *arrival)
{
	uint8_t *buffer = net_worker_of(arrival->worker)->read_buffer;
	bool goes_on = true;
	struct slice bytes;
	size_t got;
	int result;

	if (arrival->is_proxied || arrival_place(arrival)->proxy == LISTENER_PROXY_OFF) {
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
	if (!arrival->is_proxied && arrival_place(arrival)->proxy != LISTENER_PROXY_OFF) {
		enum outcome outcome = look_for_header_inside(arrival, bytes, &goes_on);

		if (outcome == OUTCOME_GONE || !goes_on)
			return outcome;
		if (judge_by_alpn(arrival) == OUTCOME_GONE)
			return OUTCOME_GONE;
	}
	return first_bytes_are_http(bytes) ? arrival_give_to_http(arrival, false)
					   : arrival_give_to_client(arrival);
}
