/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c - the two ends of the road of a message: one read, one write per turn.
 *
 *	readable --> worker's read buffer --> on_bytes() --> unconsumed rest --> conn->in
 *	connection_reserve() --> conn->out --(end of turn, or 64 KiB)--> the socket
 *
 * Packets of usual size are handed up from the worker's buffer, so an idle connection has no
 * buffer of its own. A rest is put in front of the next read. A packet that is larger than one read
 * is gathered in conn->in, which doubles as the bytes arrive: a declared length alone costs nothing.
 *
 * A turn's budget: when it is used up, readable sockets are left alone. Polling is level-triggered,
 * so they come again in the next turn, which begins with the first that was left out.
 */
#include "net/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/connection_parts.h"
#include "net/first_bytes.h"
#include "net/net_worker.h"
#include "net/poller.h"
#include "net/relay.h"

static void connection_watch(struct connection *conn);
static void look_again(struct connection *conn);

static bool turn_has_budget(struct worker *me, struct net_worker *net)
{
	if (net->turn != me->turn) {
		net->turn = me->turn;
		net->turn_bytes = 0;
		net->clock_at_bytes = NET_CLOCK_BYTES;
	}
	if (net->turn_bytes < net->clock_at_bytes)
		return true;
	net->clock_at_bytes = net->turn_bytes + NET_CLOCK_BYTES;
	if (net->turn_bytes < NET_TURN_BYTES && clock_fine_us() - me->now_us < NET_TURN_US)
		return true;
	net->clock_at_bytes = 0; /* for the rest of this turn */
	return false;
}

static void input_release(struct connection *conn)
{
	if (!conn->in)
		return;
	memory_uncharge(MEMORY_INPUT, conn->in_cap);
	free(conn->in);
	conn->in = NULL;
	conn->in_len = conn->in_cap = 0;
}

bool connection_input_grow(struct connection *conn, uint32_t cap)
{
	uint8_t *in = realloc(conn->in, cap);

	if (!in)
		return false;
	memory_charge(MEMORY_INPUT, cap - conn->in_cap);
	conn->in = in;
	conn->in_cap = cap;
	return true;
}

/* Keeps the rest that on_bytes() did not consume. rest may lie inside conn->in. */
static bool input_keep(struct connection *conn, struct slice rest)
{
	if (rest.len == 0) {
		input_release(conn);
		return true;
	}
	if (conn->in && rest.data >= conn->in && rest.data <= conn->in + conn->in_cap) {
		memmove(conn->in, rest.data, rest.len);
		conn->in_len = (uint32_t)rest.len;
		return true;
	}
	if (rest.len > conn->in_cap && !connection_input_grow(conn, (uint32_t)rest.len))
		return false;
	memcpy(conn->in, rest.data, rest.len);
	conn->in_len = (uint32_t)rest.len;
	return true;
}

void connection_hand_up(struct connection *conn, struct slice bytes)
{
	size_t used = conn->ops->on_bytes(conn, bytes);

	BUG_ON(used > bytes.len);
	if (connection_is_closing(conn) || !conn->worker)
		return;
	if (!input_keep(conn, slice_of(bytes.data + used, bytes.len - used)))
		conn->ops->on_lost(conn, ENOMEM);
}

static void read_failed(struct connection *conn, ssize_t got)
{
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	conn->flags |= CONNECTION_EOF;
	conn->ops->on_lost(conn, got < 0 ? errno : 0);
}

void connection_account_read(struct connection *conn, ssize_t got)
{
	struct worker *me = conn->worker;

	conn->last_read_ms = me->now_ms;
	net_worker_of(me)->turn_bytes += (uint32_t)got + NET_READ_COST;
	if (!(conn->flags & CONNECTION_IS_RELAY))
		counter_add(me->counters, COUNTER_BYTES_RECEIVED, (uint64_t)got);
}

/* A packet larger than one read: straight into the connection's own buffer. */
static void read_large(struct connection *conn)
{
	uint32_t room = conn->in_cap - conn->in_len;
	ssize_t got;

	if (room < NET_READ_BYTES / 2) {
		uint64_t cap = (uint64_t)conn->in_cap * 2 + NET_READ_BYTES;

		if (cap > conn->in_wanted)
			cap = conn->in_wanted;
		if (cap > conn->in_cap && !connection_input_grow(conn, (uint32_t)cap)) {
			conn->ops->on_lost(conn, ENOMEM);
			return;
		}
		room = conn->in_cap - conn->in_len;
	}
	got = conn->transport->read(conn, conn->in + conn->in_len, room);
	if (got <= 0) {
		read_failed(conn, got);
		return;
	}
	connection_account_read(conn, got);
	conn->in_len += (uint32_t)got;
	if (conn->in_len >= conn->in_wanted)
		connection_hand_up(conn, slice_of(conn->in, conn->in_len));
}

static void read_usual(struct connection *conn)
{
	struct net_worker *net = net_worker_of(conn->worker);
	uint32_t have = conn->in_len;
	ssize_t got;

	BUG_ON(have > NET_READ_BYTES);
	got = conn->transport->read(conn, net->read_buffer + have, NET_READ_BYTES);
	if (got <= 0) {
		read_failed(conn, got);
		return;
	}
	if (have)
		memcpy(net->read_buffer, conn->in, have);
	connection_account_read(conn, got);
	connection_hand_up(conn, slice_of(net->read_buffer, have + (size_t)got));
}

/* false: nothing is read any more in this turn. */
static bool connection_read(struct connection *conn)
{
	bool has_budget;

	if (conn->flags & (CONNECTION_PAUSED | CONNECTION_STALLED | CONNECTION_CLOSING))
		return true;
	if (connection_is_pushed(conn)) {
		connection_hand_up(conn, slice_of(conn->in, conn->in_len));
		return true;
	}
	has_budget = turn_has_budget(conn->worker, net_worker_of(conn->worker));
	if (has_budget) {
		if (conn->in_wanted > NET_READ_BYTES)
			read_large(conn);
		else
			read_usual(conn);
	}
	if (conn->transport->has_pending)
		look_again(conn);
	return has_budget;
}

/* Writes what is there. Returns false when the peer is gone. */
static bool output_flush(struct connection *conn)
{
	struct net_worker *net = net_worker_of(conn->worker);

	while (conn->out_start < conn->out_len) {
		uint32_t left = conn->out_len - conn->out_start;
		ssize_t sent = conn->transport->write(conn, conn->out + conn->out_start, left);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN;
		if (!(conn->flags & CONNECTION_IS_RELAY))
			counter_add(conn->worker->counters, COUNTER_BYTES_SENT, (uint64_t)sent);
		/* It is not read now, so what it takes is the only sign of life. */
		if (conn->flags & CONNECTION_STALLED)
			conn->last_read_ms = conn->worker->now_ms;
		conn->out_start += (uint32_t)sent;
		if ((uint32_t)sent < left)
			return true;
	}
	net_chunk_free(net, conn->out, conn->out_cap);
	conn->out = NULL;
	conn->out_start = conn->out_len = conn->out_cap = 0;
	return true;
}

/* A peer that does not take its answers is asked for no more questions. */
static void output_check_limit(struct connection *conn)
{
	if (conn->out_len - conn->out_start <= conn->output_limit ||
	    (conn->flags & CONNECTION_STALLED))
		return;
	conn->flags |= CONNECTION_STALLED;
	counter_add(conn->worker->counters, COUNTER_PARKED_OUTPUT, 1);
}

/* After each attempt to write: chokes, or lets go on. */
static void output_settle(struct connection *conn)
{
	bool was_choked = connection_is_choked(conn);
	uint32_t left = conn->out_len - conn->out_start;

	if (connection_is_closing(conn))
		return;
	if (left == 0)
		conn->flags &= (uint16_t) ~(CONNECTION_CHOKED | CONNECTION_STALLED);
	else
		conn->flags |= CONNECTION_CHOKED;
	output_check_limit(conn);
	connection_watch(conn);
	if (was_choked && left == 0)
		conn->ops->on_drained(conn);
}

void connection_flush(struct connection *conn)
{
	OWNED_BY_ME(conn);
	if (!output_flush(conn)) {
		if (!connection_is_closing(conn))
			conn->ops->on_lost(conn, errno);
		return;
	}
	if (conn->out || connection_is_choked(conn))
		output_settle(conn);
}

/*
 * The socket has an error, and is not watched any more. What the peer sent before it is still there
 * to be read; the read after the last byte tells the error.
 */
static void on_error(struct connection *conn)
{
	if (connection_is_closing(conn))
		return;
	conn->events = 0;
	for (int i = 0; i < 1024 && conn->worker && !connection_is_closing(conn); i++) {
		if (conn->flags & (CONNECTION_PAUSED | CONNECTION_STALLED))
			break;
		if (conn->in_wanted > NET_READ_BYTES)
			read_large(conn);
		else
			read_usual(conn);
	}
	/* A paused one has not heard all of it. Once it is read again the socket reports again. */
	if (conn->worker && !connection_is_closing(conn) && !(conn->flags & CONNECTION_PAUSED))
		conn->ops->on_lost(conn, ECONNRESET);
}

static bool on_ready(struct connection *conn, int events)
{
	if (connection_is_closing(conn))
		return true;
	if ((events & UV_WRITABLE) || (conn->flags & CONNECTION_WRITE_WANTS_READ))
		connection_flush(conn);
	if (conn->worker && ((events & UV_READABLE) || (conn->flags & CONNECTION_READ_WANTS_WRITE)))
		return connection_read(conn);
	return true;
}

/* What a transport needs to write so that it can read, and the other way round. */
static uint16_t events_of_transport(const struct connection *conn, uint16_t events)
{
	if (conn->flags & CONNECTION_WRITE_WANTS_READ)
		events = (uint16_t)((events & ~UV_WRITABLE) | UV_READABLE);
	if (conn->flags & CONNECTION_READ_WANTS_WRITE)
		events |= UV_WRITABLE;
	return events;
}

static void connection_watch(struct connection *conn)
{
	uint16_t events = 0, added;

	if (conn->fd < 0 && !connection_is_pushed(conn))
		return;
	if (!(conn->flags & (CONNECTION_PAUSED | CONNECTION_STALLED)))
		events |= UV_READABLE;
	if (conn->flags & CONNECTION_CHOKED)
		events |= UV_WRITABLE;
	if (conn->flags & (CONNECTION_READ_WANTS_WRITE | CONNECTION_WRITE_WANTS_READ))
		events = events_of_transport(conn, events);
	if (events == conn->events)
		return;
	added = (uint16_t)(events & ~conn->events);
	conn->events = events;
	if (connection_is_pushed(conn))
		conn->transport->watch(conn, events);
	else if (poller_watch(net_worker_of(conn->worker)->poller, conn) != ERR_NONE)
		conn->ops->on_lost(conn, ENOMEM);
	if (added & UV_READABLE)
		look_again(conn);
}

void connection_fill(struct connection *conn, struct worker *worker,
		     const struct transport *transport, const struct connection_ops *ops,
		     uint32_t output_limit)
{
	struct address address = conn->address;
	void *state = conn->transport_state;

	memset(conn, 0, sizeof *conn);
	conn->address = address;
	conn->fd = -1;
	conn->transport = transport;
	conn->transport_state = state;
	conn->ops = ops;
	conn->worker = worker;
	conn->output_limit = output_limit;
	conn->opened_ms = (uint32_t)worker->now_ms;
	conn->last_read_ms = worker->now_ms;
}

enum err connection_init(struct connection *conn, struct worker *worker, int fd,
			 const struct transport *transport, const struct connection_ops *ops,
			 uint32_t output_limit)
{
	enum err err;

	connection_fill(conn, worker, transport, ops, output_limit);
	conn->fd = fd;
	conn->events = UV_READABLE;
	err = poller_watch(net_worker_of(worker)->poller, conn);
	if (err != ERR_NONE)
		return err;
	counter_add(worker->counters, COUNTER_CONNECTIONS_OPEN, 1);
	look_again(conn);
	return ERR_NONE;
}

static bool output_grow(struct connection *conn, size_t len)
{
	struct net_worker *net = net_worker_of(conn->worker);
	uint32_t headroom = conn->transport->headroom;
	uint32_t waiting = conn->out_len - conn->out_start;
	uint64_t need = (uint64_t)waiting + headroom + len;
	uint64_t want = conn->out_cap ? need * 2 : need;
	uint32_t cap;
	uint8_t *out;

	if (need > UINT32_MAX / 4)
		return false;
	out = net_chunk_alloc(net, (uint32_t)want, &cap);
	if (!out)
		return false;
	if (conn->out)
		memcpy(out + headroom, conn->out + conn->out_start, waiting);
	conn->out_start = headroom;
	conn->out_len = headroom + waiting;
	net_chunk_free(net, conn->out, conn->out_cap);
	conn->out = out;
	conn->out_cap = cap;
	return true;
}

static void mark_dirty(struct connection *conn)
{
	struct net_worker *net = net_worker_of(conn->worker);

	conn->flags |= CONNECTION_DIRTY;
	conn->dirty_next = NULL;
	*net->dirty_end = conn;
	net->dirty_end = &conn->dirty_next;
}

uint8_t *connection_reserve_slow(struct connection *conn, size_t len)
{
	OWNED_BY_ME(conn);
	if (!(conn->flags & (CONNECTION_DIRTY | CONNECTION_CHOKED)))
		mark_dirty(conn);
	if (conn->out_len + len > NET_WRITE_BYTES && conn->out && !connection_is_choked(conn))
		connection_flush(conn);
	if (conn->out_len + len > conn->out_cap && !output_grow(conn, len)) {
		conn->ops->on_lost(conn, ENOMEM);
		return NULL;
	}
	/* Nothing is written until the peer takes some: nobody else would look at the limit. */
	if (connection_is_choked(conn) && !(conn->flags & CONNECTION_STALLED)) {
		output_check_limit(conn);
		connection_watch(conn);
	}
	return conn->out + conn->out_len;
}

bool connection_write(struct connection *conn, struct slice bytes)
{
	uint8_t *room = connection_reserve(conn, bytes.len);

	if (!room)
		return false;
	memcpy(room, bytes.data, bytes.len);
	connection_wrote(conn, bytes.len);
	return true;
}

void connection_pause(struct connection *conn)
{
	OWNED_BY_ME(conn);
	conn->flags |= CONNECTION_PAUSED;
	conn->flags &= (uint16_t)~CONNECTION_RESUME_WANTED;
	connection_watch(conn);
}

static void read_in_a_later_turn(struct connection *conn)
{
	struct net_worker *net = net_worker_of(conn->worker);

	if (conn->flags & CONNECTION_RESUMING)
		return;
	conn->flags |= CONNECTION_RESUMING;
	conn->resume_next = net->resume;
	net->resume = conn;
	worker_add_task(conn->worker, &net->resume_task);
}

/* Bytes that no event will tell of: inside the transport, or pushed while it was not read. */
static bool has_unread(const struct connection *conn)
{
	if (connection_is_pushed(conn))
		return conn->in_len > 0 && conn->in_len >= conn->in_wanted;
	return conn->transport->has_pending && conn->transport->has_pending(conn);
}

/* Bytes inside the transport do not make the socket readable: they are asked for by ourselves. */
static void look_again(struct connection *conn)
{
	if (!conn->worker || connection_is_closing(conn))
		return;
	if (has_unread(conn))
		read_in_a_later_turn(conn);
	if (conn->flags & (CONNECTION_READ_WANTS_WRITE | CONNECTION_WRITE_WANTS_READ))
		connection_watch(conn);
}

void connection_resume(struct connection *conn)
{
	OWNED_BY_ME(conn);
	if (!(conn->flags & CONNECTION_PAUSED))
		return;
	conn->flags |= CONNECTION_RESUME_WANTED;
	read_in_a_later_turn(conn);
}

static void unpause(struct connection *conn)
{
	conn->flags &= (uint16_t) ~(CONNECTION_RESUME_WANTED | CONNECTION_PAUSED);
	/* Time in which we did not read is not the peer's silence. */
	conn->last_read_ms = conn->worker->now_ms;
	if (conn->in_len && conn->in_len >= conn->in_wanted)
		connection_hand_up(conn, slice_of(conn->in, conn->in_len));
	if (conn->worker)
		connection_watch(conn);
}

static void resume_now(struct connection *conn)
{
	conn->flags &= (uint16_t)~CONNECTION_RESUMING;
	if (connection_is_closing(conn))
		return;
	if (conn->flags & CONNECTION_RESUME_WANTED)
		unpause(conn);
	if (conn->worker && has_unread(conn))
		(void)connection_read(conn);
}

static bool run_resume(struct worker *me, struct task *task)
{
	struct net_worker *net = net_worker_of(me);
	struct connection *list = net->resume;

	(void)task;
	net->resume = NULL;
	while (list) {
		struct connection *conn = list;

		list = conn->resume_next;
		resume_now(conn);
	}
	return net->resume != NULL;
}

void connection_close(struct connection *conn)
{
	struct net_worker *net = net_worker_of(conn->worker);

	OWNED_BY_ME(conn);
	if (connection_is_closing(conn))
		return;
	conn->flags |= CONNECTION_CLOSING;
	conn->reap_next = net->reap;
	net->reap = conn;
	worker_do_not_sleep(conn->worker);
}

static void leave_dirty(struct net_worker *net, struct connection *conn)
{
	struct connection **at = &net->dirty;

	while (*at != conn)
		at = &(*at)->dirty_next;
	*at = conn->dirty_next;
	if (!*at)
		net->dirty_end = at;
}

static void leave_resume(struct net_worker *net, struct connection *conn)
{
	struct connection **at = &net->resume;

	while (*at && *at != conn)
		at = &(*at)->resume_next;
	if (*at)
		*at = conn->resume_next;
}

static void leave_lists(struct connection *conn)
{
	struct net_worker *net = net_worker_of(conn->worker);

	if (conn->flags & CONNECTION_DIRTY)
		leave_dirty(net, conn);
	if (conn->flags & CONNECTION_RESUMING)
		leave_resume(net, conn);
	conn->flags &= (uint16_t) ~(CONNECTION_DIRTY | CONNECTION_RESUMING);
}

/*
 * A socket that is closed with unread input makes the kernel reset the connection, and the reset
 * can overtake our last packet. So what has arrived is read away first, within reason.
 */
static void discard_input(struct connection *conn)
{
	struct net_worker *net = net_worker_of(conn->worker);

	if (conn->flags & CONNECTION_EOF)
		return;
	shutdown(conn->fd, SHUT_WR);
	for (int i = 0; i < 16; i++) {
		if (recv(conn->fd, net->read_buffer, NET_READ_BYTES, MSG_DONTWAIT) <= 0)
			return;
	}
}

static void connection_reap(struct connection *conn)
{
	struct worker *me = conn->worker;

	output_flush(conn);
	leave_lists(conn);
	conn->transport->close(conn);
	if (!connection_is_pushed(conn)) {
		discard_input(conn);
		close(conn->fd);
		conn->fd = -1;
	}
	net_chunk_free(net_worker_of(me), conn->out, conn->out_cap);
	conn->out = NULL;
	input_release(conn);
	if (!(conn->flags & CONNECTION_IS_RELAY))
		counter_sub(me->counters, COUNTER_CONNECTIONS_OPEN, 1);
	conn->ops->on_closed(conn);
}

static void flush_all(struct worker *me)
{
	struct net_worker *net = net_worker_of(me);

	while (net->dirty) {
		struct connection *conn = net->dirty;

		net->dirty = conn->dirty_next;
		if (!net->dirty)
			net->dirty_end = &net->dirty;
		conn->flags &= (uint16_t)~CONNECTION_DIRTY;
		if (conn->out_len && !connection_is_choked(conn))
			connection_flush(conn);
	}
}

static void reap_all(struct worker *me)
{
	struct net_worker *net = net_worker_of(me);

	/* Once for all of them: taking each out of the list of dirty ones would be quadratic. */
	if (net->reap)
		flush_all(me);
	while (net->reap) {
		struct connection *conn = net->reap;

		net->reap = conn->reap_next;
		connection_reap(conn);
	}
}

void connection_detach(struct connection *conn)
{
	OWNED_BY_ME(conn);
	if (conn->out && !connection_is_choked(conn))
		output_flush(conn);
	/* What is left goes along; if the peer is gone, the next attempt to write tells. */
	if (conn->out)
		conn->flags |= CONNECTION_CHOKED;
	leave_lists(conn);
	if (connection_is_pushed(conn))
		relay_leave_behind(conn);
	else
		poller_forget(net_worker_of(conn->worker)->poller, conn);
	conn->events = 0; /* attaching begins to watch */
	counter_sub(conn->worker->counters, COUNTER_CONNECTIONS_OPEN, 1);
	conn->worker = NULL;
}

void connection_attach(struct connection *conn, struct worker *worker)
{
	conn->worker = worker;
	conn->last_read_ms = worker->now_ms;
	counter_add(worker->counters, COUNTER_CONNECTIONS_OPEN, 1);
	if (connection_is_pushed(conn) && !relay_arrive(conn)) {
		conn->ops->on_lost(conn, ENOMEM);
		return;
	}
	connection_watch(conn);
	if (conn->flags & CONNECTION_RESUME_WANTED)
		connection_resume(conn);
}

enum err net_worker_init(struct worker *worker)
{
	struct net_worker *net = calloc(1, sizeof *net);

	if (!net)
		return ERR_NOMEM;
	if (poller_create(worker, on_ready, on_error, &net->poller) != ERR_NONE) {
		free(net);
		return ERR_NOMEM;
	}
	net->dirty_end = &net->dirty;
	net->resume_task.run = run_resume;
	worker->slot[WORKER_SLOT_NET] = net;
	if (first_bytes_worker_init(worker) != ERR_NONE) {
		net_worker_fini(worker);
		return ERR_NOMEM;
	}
	worker_add_reap_hook(worker, reap_all);
	worker_add_flush_hook(worker, flush_all);
	return ERR_NONE;
}

void net_worker_fini(struct worker *worker)
{
	struct net_worker *net = net_worker_of(worker);

	if (!net)
		return;
	first_bytes_worker_fini(worker);
	poller_destroy(&net->poller);
	for (int class = 0; class < NET_CHUNK_CLASSES; class ++) {
		while (net->free_chunks[class]) {
			struct net_chunk *chunk = net->free_chunks[class];

			net->free_chunks[class] = chunk->next;
			free(chunk);
		}
	}
	free(net);
	worker->slot[WORKER_SLOT_NET] = NULL;
}
