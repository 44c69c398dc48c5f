/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - bytes in, bytes out, for one peer; nothing of MQTT.
 *
 * net promises: what arrives is handed up in order, with as little copying as can be; what is
 * written during a turn leaves at its end with one system call; a peer that does not read is told
 * of (connection_is_choked()) and never costs more than its output limit. net calls runtime and
 * base only.
 *
 * The life of a connection:
 *
 *	connection_init -> on_bytes... -> connection_close -> (end of turn) on_closed -> free
 *
 * struct connection is the first member of its owner's struct, which is freed in on_closed().
 * connection_close() only marks: nothing is freed before the end of the turn, so that code on the
 * stack may go on using it. Owner: conn->worker; between detach and attach: whoever carries it.
 */
#ifndef NIGHTJAR_NET_CONNECTION_H
#define NIGHTJAR_NET_CONNECTION_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/slice.h"
#include "net/address.h"
#include "runtime/worker.h"

struct connection;

struct connection_ops {
	/*
	 * Some bytes, everything that is unread so far. Returns how many were consumed; the rest is
	 * kept and comes again with what follows. The bytes may be written to only by unmasking
	 * transports; they are valid during the call. Not called while paused or closing.
	 */
	size_t (*on_bytes)(struct connection *conn, struct slice bytes);
	/* The peer takes bytes again after connection_is_choked() was true. */
	void (*on_drained)(struct connection *conn);
	/* The peer closed, or reading failed (error: errno value, 0: end of stream). Ends in
	 * connection_close(). */
	void (*on_lost)(struct connection *conn, int error);
	/* Everything is closed; free the owner's struct. */
	void (*on_closed)(struct connection *conn);
};

/*
 * How bytes travel. TCP and Unix sockets here; TLS and others beside it. Most transports are polled:
 * net watches the descriptor and reads. A pushed one (watch is not NULL) has no descriptor of its
 * own: somebody hands its bytes in with connection_push().
 */
struct transport {
	const char *name;
	/* So many bytes in front of output may be written to by write(): a frame's header. */
	uint16_t headroom;
	/* As read(2) and write(2): -1 with errno EAGAIN when it would wait. */
	ssize_t (*read)(struct connection *conn, void *out, size_t cap);
	ssize_t (*write)(struct connection *conn, const void *bytes, size_t len);
	/* Are there bytes to be read of which the socket knows nothing any more? NULL: never. */
	bool (*has_pending)(const struct connection *conn);
	/* The SSL object, which knows the peer's certificate. NULL: this transport has none. */
	struct ssl_st *(*tls)(const struct connection *conn);
	/* Says goodbye and frees transport_state; the descriptor is closed by the caller. */
	void (*close)(struct connection *conn);
	/* Pushed transports only. From now on hand in bytes (UV_READABLE), tell when there is room for
	 * output (UV_WRITABLE), or not. */
	void (*watch)(struct connection *conn, uint16_t events);
	/* transport_state belongs to another connection now. */
	void (*rebind)(struct connection *conn);
};

extern const struct transport transport_tcp;
/* transport_state is an SSL object whose handshake is over; owned. */
extern const struct transport transport_tls;

enum connection_flag {
	CONNECTION_DIRTY = 1 << 0,    /* in the worker's list of connections with output */
	CONNECTION_CHOKED = 1 << 1,   /* the peer did not take all; waits until it is writable */
	CONNECTION_PAUSED = 1 << 2,   /* not read: the owner asked for it */
	CONNECTION_STALLED = 1 << 3,  /* not read: too much output is waiting */
	CONNECTION_CLOSING = 1 << 4,  /* ends with this turn */
	CONNECTION_RESUMING = 1 << 5, /* in the worker's list of those to read again */
	CONNECTION_EOF = 1 << 6,      /* the peer will send nothing more */
	CONNECTION_RESUME_WANTED = 1 << 7, /* resumed, and not paused again since */
	CONNECTION_IS_RELAY = 1 << 8, /* stands in for one on another worker, which is counted */
	/* Set by transports: reading goes on when the socket is writable, or the other way round. */
	CONNECTION_READ_WANTS_WRITE = 1 << 9,
	CONNECTION_WRITE_WANTS_READ = 1 << 10,
};

/* Why it ends, for transports that can tell the peer. */
enum connection_farewell {
	FAREWELL_NORMAL,
	FAREWELL_GOING_AWAY, /* the broker stops */
	FAREWELL_PROTOCOL,   /* the peer broke it */
	FAREWELL_POLICY,     /* not authorised, and the like */
	FAREWELL_TOO_LARGE,
	FAREWELL_BUSY, /* no memory, a limit is reached */
};

struct connection {
	struct worker *worker;
	const struct connection_ops *ops;
	const struct transport *transport;
	void *transport_state;
	struct connection *dirty_next, *resume_next, *reap_next;
	uint8_t *in;  /* what on_bytes() left; NULL: nothing */
	uint8_t *out; /* waiting output is out[out_start .. out_len) */
	uint32_t in_len, in_cap;
	uint32_t in_wanted; /* the owner knows it needs this many in one piece; 0: unknown */
	uint32_t out_start, out_len, out_cap;
	int fd;
	uint16_t flags;	       /* enum connection_flag */
	uint16_t events;       /* UV_READABLE, UV_WRITABLE: what is wanted */
	uint8_t polled_events; /* what poller.c has told the kernel */
	uint8_t farewell;      /* enum connection_farewell */
	uint32_t output_limit; /* bytes; above it a choked connection is not read */
	struct address address;
	uint32_t opened_ms;    /* the lower half of that moment */
	uint64_t last_read_ms; /* while stalled: when it last took output */
};

/* Per-worker state of net; before the workers start, and after they ended. */
enum err net_worker_init(struct worker *worker) ERR_CHECKED;
void net_worker_fini(struct worker *worker);

static inline struct ssl_st *connection_tls(const struct connection *conn)
{
	return conn->transport->tls ? conn->transport->tls(conn) : NULL;
}

/* address and transport_state are set by the caller before. Takes the descriptor over on success (and
 * transport_state). Reading begins with the next turn. */
enum err connection_init(struct connection *conn, struct worker *worker, int fd,
			 const struct transport *transport, const struct connection_ops *ops,
			 uint32_t output_limit) ERR_CHECKED;

/* With a transport that is pushed and its state, which must know the connection already. */
void connection_init_pushed(struct connection *conn, struct worker *worker,
			    const struct transport *transport, void *transport_state,
			    const struct connection_ops *ops, uint32_t output_limit);

/*
 * For pushed transports: bytes have arrived, in memory that may be changed (all are taken, whether
 * the connection is paused or not); there is room for output again; the peer has gone.
 */
void connection_push(struct connection *conn, struct slice bytes);
void connection_push_writable(struct connection *conn);
void connection_push_lost(struct connection *conn, int error);

static inline bool connection_is_pushed(const struct connection *conn)
{
	return conn->transport->watch != NULL;
}

static inline bool connection_is_choked(const struct connection *conn)
{
	return (conn->flags & CONNECTION_CHOKED) != 0;
}

static inline bool connection_is_closing(const struct connection *conn)
{
	return (conn->flags & CONNECTION_CLOSING) != 0;
}

/* Output is written at once when it has grown to this. */
#define NET_WRITE_BYTES 65536u

/* The general case of connection_reserve(); call that one. */
uint8_t *connection_reserve_slow(struct connection *conn, size_t len);

/*
 * Room for len more bytes of output, to be filled at once and counted with connection_wrote().
 * NULL when there is no memory: the connection is then closing.
 */
static inline uint8_t *connection_reserve(struct connection *conn, size_t len)
{
	size_t end = conn->out_len + len;

	/* Not the first output of this turn, and all of it fits where the last one went. */
	if ((conn->flags & (CONNECTION_DIRTY | CONNECTION_CHOKED)) == CONNECTION_DIRTY &&
	    end <= conn->out_cap && end <= NET_WRITE_BYTES)
		return conn->out + conn->out_len;
	return connection_reserve_slow(conn, len);
}

static inline void connection_wrote(struct connection *conn, size_t len)
{
	conn->out_len += (uint32_t)len;
}

/* The same in one call. */
bool connection_write(struct connection *conn, struct slice bytes);

/*
 * What the peer said is answered in a later turn than the one that read it. Before the answer is
 * written. See transport_tcp.c.
 */
void connection_answers_late(struct connection *conn);

/* Stops and starts reading. Resuming hands up what is unread already, in a later turn; a pause that
 * comes before takes it back. */
void connection_pause(struct connection *conn);
void connection_resume(struct connection *conn);

/* Ends it with this turn: output that the socket takes at once still leaves. */
void connection_close(struct connection *conn);

/* Moves to another worker: detached it belongs to whoever holds it, unread bytes and output that
 * the peer has not taken included. A pushed one leaves a relay behind (relay.h), which carries its
 * bytes. */
void connection_detach(struct connection *conn);
/* On the new worker. On failure the connection is closed and on_closed() runs. */
void connection_attach(struct connection *conn, struct worker *worker);

#endif
