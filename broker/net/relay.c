/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - one connection in two halves, on two workers.
 *
 * Both halves are allocated where the connection leaves. They know each other as pointers, because
 * each lives until the other cannot send to it any more, and letters between two workers keep their
 * order:
 *
 *	near                                        far
 *	  |  <------------- HELLO (where it is) ----- |  connection_attach()
 *	  |  <------------- DATA -------------------> |
 *	  |  -------------- LOST -------------------> |  the peer has gone
 *	  |  <------------- CLOSE ------------------- |  the owner closes; its last letter
 *
 *  R1  After CLOSE near sends no letter, so far goes when its own letters have come home.
 *  R2  near goes when its transport is closed, CLOSE has come, and its letters have come home.
 *  R3  Every letter with bytes is returned when its reader has taken them: what is on its way and
 *      what a paused reader holds is less than RELAY_WINDOW_BYTES, each way.
 */
#include "net/relay.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/memory.h"
#include "net/net_worker.h"

enum relay_kind { RELAY_HELLO, RELAY_DATA, RELAY_LOST, RELAY_CLOSE };

struct relay_far;

struct relay_letter {
	struct letter letter; /* first member */
	struct relay_letter *next;
	struct relay *near;
	struct relay_far *far;
	int error;
	uint32_t len;
	uint8_t kind;	  /* enum relay_kind */
	uint8_t farewell; /* CLOSE */
	uint8_t bytes[];
};

/* Letters whose bytes the reader has not taken yet. */
struct relay_held {
	struct relay_letter *first, **tail;
};

/* Owner: the worker of the transport. */
struct relay {
	struct connection conn; /* first member; has taken the transport over */
	struct relay_far *far;	/* NULL: has not said hello, or has said goodbye */
	struct relay_held held;
	uint32_t on_way; /* bytes to far */
	unsigned letters_out;
	int error;
	uint16_t there; /* far's worker */
	bool has_lost, is_parted, is_closed;
};

/* Owner: the worker of the session. */
struct relay_far {
	struct connection *conn; /* NULL: closed */
	struct relay *near;
	struct relay_held held;
	uint32_t on_way; /* bytes to near */
	unsigned letters_out;
	uint16_t there; /* near's worker */
	bool is_lost;
};

static void hold(struct relay_held *held, struct relay_letter *letter)
{
	if (!held->first)
		held->tail = &held->first;
	letter->next = NULL;
	*held->tail = letter;
	held->tail = &letter->next;
}

static void return_held(struct worker *me, struct relay_held *held)
{
	while (held->first) {
		struct relay_letter *letter = held->first;

		held->first = letter->next;
		letter_return(me, &letter->letter);
	}
}

static struct relay_letter *letter_make(struct worker *me, const struct letter_type *type,
					enum relay_kind kind, struct slice bytes)
{
	struct relay_letter *letter = letter_create(me, type, sizeof *letter + bytes.len);

	letter->kind = (uint8_t)kind;
	letter->len = (uint32_t)bytes.len;
	if (bytes.len)
		memcpy(letter->bytes, bytes.data, bytes.len);
	memory_charge(MEMORY_OUTPUT, bytes.len);
	return letter;
}

static void letter_free(struct worker *me, struct relay_letter *letter)
{
	memory_uncharge(MEMORY_OUTPUT, letter->len);
	letter_destroy(me, &letter->letter);
}

/* To the far end. */

static void relay_release(struct relay *relay)
{
	if (relay->is_closed && relay->is_parted && relay->letters_out == 0)
		free(relay);
}

static void to_far_on_arrive(struct worker *me, struct letter *base)
{
	struct relay_letter *letter = (struct relay_letter *)base;
	struct relay_far *far = letter->far;
	struct connection *conn = far->conn;

	if (letter->kind == RELAY_LOST) {
		far->is_lost = true;
		letter_return(me, base);
		if (conn)
			connection_push_lost(conn, letter->error);
		return;
	}
	if (!conn || connection_is_closing(conn)) {
		letter_return(me, base);
		return;
	}
	connection_push(conn, slice_of(letter->bytes, letter->len));
	if (far->conn && !connection_is_closing(conn) && !(conn->events & UV_READABLE))
		hold(&far->held, letter);
	else
		letter_return(me, base);
}

static void to_far_on_return(struct worker *me, struct letter *base)
{
	struct relay_letter *letter = (struct relay_letter *)base;
	struct relay *relay = letter->near;

	relay->letters_out--;
	relay->on_way -= letter->len;
	letter_free(me, letter);
	if (!relay->is_closed && relay->far)
		connection_resume(&relay->conn);
	relay_release(relay);
}

static const struct letter_type to_far_type = {
	.name = "relay to session",
	.on_arrive = to_far_on_arrive,
	.on_return = to_far_on_return,
};

static void relay_send(struct relay *relay, enum relay_kind kind, struct slice bytes)
{
	struct worker *me = relay->conn.worker;
	struct relay_letter *letter = letter_make(me, &to_far_type, kind, bytes);

	letter->near = relay;
	letter->far = relay->far;
	letter->error = relay->error;
	relay->letters_out++;
	relay->on_way += letter->len;
	/* A writer that may have to wait is told as soon as it need not. */
	letter->letter.wake_home = relay->on_way > RELAY_WINDOW_BYTES / 4;
	letter_post(me, relay->there, &letter->letter);
}

static size_t relay_on_bytes(struct connection *conn, struct slice bytes)
{
	struct relay *relay = (struct relay *)(void *)conn;
	size_t room = RELAY_WINDOW_BYTES - relay->on_way;
	size_t take = bytes.len < room ? bytes.len : room;

	if (!relay->far)
		take = 0;
	if (take > 0)
		relay_send(relay, RELAY_DATA, slice_of(bytes.data, take));
	if (take < bytes.len)
		connection_pause(conn);
	return take;
}

static void relay_on_drained(struct connection *conn)
{
	return_held(conn->worker, &((struct relay *)(void *)conn)->held);
}

/* What was said before the peer went is heard, beyond the window once. */
static void relay_tell_lost(struct relay *relay)
{
	struct connection *conn = &relay->conn;

	if (conn->in_len)
		relay_send(relay, RELAY_DATA, slice_of(conn->in, conn->in_len));
	relay_send(relay, RELAY_LOST, SLICE_NONE);
	connection_close(conn);
}

static void relay_on_lost(struct connection *conn, int error)
{
	struct relay *relay = (struct relay *)(void *)conn;

	if (relay->has_lost || relay->is_parted)
		return;
	relay->has_lost = true;
	relay->error = error;
	/* Else as soon as it is known where the far end is. */
	if (relay->far)
		relay_tell_lost(relay);
}

static void relay_on_closed(struct connection *conn)
{
	struct relay *relay = (struct relay *)(void *)conn;

	relay->is_closed = true;
	net_worker_of(conn->worker)->relays--;
	return_held(conn->worker, &relay->held);
	relay_release(relay);
}

static const struct connection_ops relay_ops = {
	.on_bytes = relay_on_bytes,
	.on_drained = relay_on_drained,
	.on_lost = relay_on_lost,
	.on_closed = relay_on_closed,
};

/* To the near end. */

static void relay_hello(struct relay *relay, struct relay_far *far, uint16_t there)
{
	relay->far = far;
	relay->there = there;
	if (relay->has_lost)
		relay_tell_lost(relay);
	else
		connection_resume(&relay->conn);
}

static void relay_part(struct relay *relay, uint8_t farewell)
{
	relay->is_parted = true;
	relay->far = NULL;
	if (!relay->is_closed) {
		relay->conn.farewell = farewell;
		connection_close(&relay->conn);
	}
	relay_release(relay);
}

static void to_near_on_arrive(struct worker *me, struct letter *base)
{
	struct relay_letter *letter = (struct relay_letter *)base;
	struct relay *relay = letter->near;
	struct connection *conn = &relay->conn;

	switch ((enum relay_kind)letter->kind) {
	case RELAY_HELLO: relay_hello(relay, letter->far, base->home); break;
	case RELAY_CLOSE: relay_part(relay, letter->farewell); break;
	case RELAY_LOST: break;
	case RELAY_DATA:
		if (relay->is_closed || connection_is_closing(conn) ||
		    !connection_write(conn, slice_of(letter->bytes, letter->len)))
			break;
		if (connection_is_choked(conn)) {
			hold(&relay->held, letter);
			return;
		}
		break;
	}
	letter_return(me, base);
}

static void to_near_on_return(struct worker *me, struct letter *base)
{
	struct relay_letter *letter = (struct relay_letter *)base;
	struct relay_far *far = letter->far;

	far->letters_out--;
	far->on_way -= letter->len;
	letter_free(me, letter);
	if (far->conn && connection_is_choked(far->conn))
		connection_push_writable(far->conn);
	else if (!far->conn && far->letters_out == 0)
		free(far);
}

static const struct letter_type to_near_type = {
	.name = "relay to peer",
	.on_arrive = to_near_on_arrive,
	.on_return = to_near_on_return,
};

static void far_send(struct relay_far *far, enum relay_kind kind, struct slice bytes)
{
	struct worker *me = far->conn->worker;
	struct relay_letter *letter = letter_make(me, &to_near_type, kind, bytes);

	letter->near = far->near;
	letter->far = far;
	letter->farewell = far->conn->farewell;
	far->letters_out++;
	far->on_way += letter->len;
	letter->letter.wake_home = far->on_way > RELAY_WINDOW_BYTES / 4;
	letter_post(me, far->there, &letter->letter);
}

static ssize_t far_write(struct connection *conn, const void *bytes, size_t len)
{
	struct relay_far *far = conn->transport_state;
	size_t room;

	if (!far || far->is_lost) {
		errno = EPIPE;
		return -1;
	}
	room = RELAY_WINDOW_BYTES - far->on_way;
	if (room == 0) {
		errno = EAGAIN;
		return -1;
	}
	if (len > room)
		len = room;
	far_send(far, RELAY_DATA, slice_of(bytes, len));
	return (ssize_t)len;
}

static void far_watch(struct connection *conn, uint16_t events)
{
	struct relay_far *far = conn->transport_state;

	if (far && (events & UV_READABLE))
		return_held(conn->worker, &far->held);
}

static void far_close(struct connection *conn)
{
	struct relay_far *far = conn->transport_state;

	if (!far)
		return;
	conn->transport_state = NULL;
	far_send(far, RELAY_CLOSE, SLICE_NONE);
	return_held(conn->worker, &far->held);
	far->conn = NULL;
}

static void far_rebind(struct connection *conn)
{
	((struct relay_far *)conn->transport_state)->conn = conn;
}

const struct transport transport_relay = {
	.name = "relay",
	.write = far_write,
	.close = far_close,
	.watch = far_watch,
	.rebind = far_rebind,
};

/* Coming and going. */

static void relay_take_over(struct relay *relay, struct connection *conn)
{
	relay->conn.address = conn->address;
	connection_init_pushed(&relay->conn, conn->worker, conn->transport, conn->transport_state,
			       &relay_ops, conn->output_limit);
	counter_sub(conn->worker->counters, COUNTER_CONNECTIONS_OPEN, 1);
	relay->conn.flags = CONNECTION_IS_RELAY;
	relay->conn.events = conn->events;
	conn->transport->rebind(&relay->conn);
	/* Until it is known where the far end is. */
	connection_pause(&relay->conn);
	net_worker_of(conn->worker)->relays++;
}

void relay_leave_behind(struct connection *conn)
{
	struct relay *relay = calloc(1, sizeof *relay);
	struct relay_far *far = calloc(1, sizeof *far);

	if (relay && far) {
		relay_take_over(relay, conn);
		far->near = relay;
		far->there = conn->worker->id;
	} else {
		conn->farewell = FAREWELL_BUSY;
		conn->transport->close(conn);
		free(relay);
		free(far);
		far = NULL;
	}
	conn->transport = &transport_relay;
	conn->transport_state = far;
	conn->events = 0;
}

bool relay_arrive(struct connection *conn)
{
	struct relay_far *far = conn->transport_state;

	if (!far)
		return false;
	far->conn = conn;
	far_send(far, RELAY_HELLO, SLICE_NONE);
	return true;
}

unsigned relay_count(const struct worker *me)
{
	return net_worker_of((struct worker *)me)->relays;
}
