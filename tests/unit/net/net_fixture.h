/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_fixture.h - connections on real workers, with the far end of each in the test's hand.
 *
 * The peer speaks packets of its own: four bytes with the whole length, then bytes that follow from
 * the packet's number, so that each one lost, doubled, torn or out of order is noticed.
 */
#ifndef NIGHTJAR_TESTS_UNIT_NET_FIXTURE_H
#define NIGHTJAR_TESTS_UNIT_NET_FIXTURE_H

#include "unit/runtime/runtime_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "net/connection.h"

#define PACKET_HEAD 4u

enum peer_mode {
	PEER_TAKES,	   /* whatever comes, in whole packets */
	PEER_PAUSES,	   /* pauses after each packet and resumes at once */
	PEER_STAYS_PAUSED, /* pauses after each packet; the test resumes */
	PEER_ANSWERS,	   /* each packet with answer_bytes bytes */
	PEER_HOPS,	   /* to the next worker, every `every` packets */
};

struct peer {
	struct connection conn; /* first member */
	int far;		/* the test's end */

	/* The connection's owner only. */
	enum peer_mode mode;
	uint32_t answer_bytes, every;
	uint32_t next_packet; /* the number that has to come now */
	uint64_t out_at;      /* of the pattern that was written */
	uint32_t out_peak;    /* most that waited to be written */

	/* Guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t seen; /* bytes that were handed up at least once */
	uint64_t consumed;
	uint64_t packets;
	uint32_t drained, hops;
	bool is_lost, is_closed;
	int error;
};

static inline uint8_t pattern(uint64_t number, uint64_t at)
{
	return (uint8_t)(number * 131 + at * 7 + (at >> 8));
}

/* A packet of len bytes, head included. */
static inline void packet_make(uint8_t *out, uint32_t number, uint32_t len)
{
	uint32_t head = htonl(len);

	memcpy(out, &head, PACKET_HEAD);
	for (uint32_t i = PACKET_HEAD; i < len; i++)
		out[i] = pattern(number, i);
}

static inline void peer_changed(struct peer *peer)
{
	pthread_cond_broadcast(&peer->changed);
	pthread_mutex_unlock(&peer->lock);
}

/* Waits until the condition holds, with the deadline of all tests. */
#define peer_wait(peer, condition)                                                                 \
	do {                                                                                       \
		struct timespec deadline_;                                                         \
		int failed_ = 0;                                                                   \
                                                                                                   \
		clock_gettime(CLOCK_REALTIME, &deadline_);                                         \
		deadline_.tv_sec += DEADLINE_S;                                                    \
		pthread_mutex_lock(&(peer)->lock);                                                 \
		while (!(condition) && failed_ != ETIMEDOUT)                                       \
			failed_ = pthread_cond_timedwait(&(peer)->changed, &(peer)->lock,          \
							 &deadline_);                              \
		failed_ = !(condition);                                                            \
		pthread_mutex_unlock(&(peer)->lock);                                               \
		if (failed_)                                                                       \
			fail_msg("waited in vain for " #condition);                                \
	} while (0)

/* A count of now. */
#define peer_now(peer, what)                                                                       \
	({                                                                                         \
		uint64_t value_;                                                                   \
                                                                                                   \
		pthread_mutex_lock(&(peer)->lock);                                                 \
		value_ = (uint64_t)(peer)->what;                                                   \
		pthread_mutex_unlock(&(peer)->lock);                                               \
		value_;                                                                            \
	})

static inline void peer_write_pattern(struct peer *peer, uint32_t len)
{
	uint8_t *room = connection_reserve(&peer->conn, len);
	uint32_t waiting;

	if (!room)
		return;
	for (uint32_t i = 0; i < len; i++)
		room[i] = pattern(0, peer->out_at++);
	connection_wrote(&peer->conn, len);
	waiting = peer->conn.out_len - peer->conn.out_start;
	if (waiting > peer->out_peak)
		peer->out_peak = waiting;
}

/* Hopping: pause, then detach from a letter (nobody on the stack uses the connection there), then
 * attach and resume on the next worker. */
struct hop {
	struct letter letter;
	struct peer *peer;
};

static inline void hop_arrived(struct worker *me, struct letter *letter);
static const struct letter_type hop_type = {.name = "hop",
					    .on_arrive = hop_arrived,
					    .on_return = letter_destroy};

static inline void hop_post(struct worker *me, uint16_t target, struct peer *peer)
{
	struct hop *hop = letter_create(me, &hop_type, sizeof *hop);

	hop->peer = peer;
	letter_post(me, target, &hop->letter);
}

static inline void hop_arrived(struct worker *me, struct letter *letter)
{
	struct peer *peer = ((struct hop *)letter)->peer;
	unsigned workers = runtime_worker_count(me->runtime);

	letter_return(me, letter);
	if (peer->conn.worker) {
		if (connection_is_closing(&peer->conn))
			return;
		connection_detach(&peer->conn);
		hop_post(me, (uint16_t)((me->id + 1u) % workers), peer);
		return;
	}
	pthread_mutex_lock(&peer->lock);
	peer->hops++;
	peer_changed(peer);
	connection_attach(&peer->conn, me);
	connection_resume(&peer->conn);
}

static inline void peer_took(struct peer *peer)
{
	struct connection *conn = &peer->conn;

	switch (peer->mode) {
	case PEER_TAKES: break;
	case PEER_PAUSES:
		connection_pause(conn);
		connection_resume(conn);
		break;
	case PEER_STAYS_PAUSED: connection_pause(conn); break;
	case PEER_ANSWERS: peer_write_pattern(peer, peer->answer_bytes); break;
	case PEER_HOPS:
		if (peer->next_packet % peer->every)
			break;
		connection_pause(conn);
		hop_post(conn->worker, conn->worker->id, peer);
		break;
	}
}

/* One packet, checked. 0: not whole yet. */
static inline uint32_t peer_take_packet(struct peer *peer, struct slice bytes)
{
	uint32_t len;

	peer->conn.in_wanted = 0;
	if (bytes.len < PACKET_HEAD)
		return 0;
	memcpy(&len, bytes.data, PACKET_HEAD);
	len = ntohl(len);
	CHECK(len >= PACKET_HEAD);
	if (bytes.len < len) {
		peer->conn.in_wanted = len;
		return 0;
	}
	for (uint32_t i = PACKET_HEAD; i < len; i++)
		CHECK(bytes.data[i] == pattern(peer->next_packet, i));
	peer->next_packet++;
	return len;
}

static inline size_t peer_on_bytes(struct connection *conn, struct slice bytes)
{
	struct peer *peer = (struct peer *)(void *)conn;
	uint64_t packets = 0;
	size_t used = 0;
	uint32_t len;

	CHECK(worker_current == conn->worker);
	CHECK(!(conn->flags & (CONNECTION_PAUSED | CONNECTION_CLOSING)));
	while (used < bytes.len && !(conn->flags & (CONNECTION_PAUSED | CONNECTION_CLOSING))) {
		len = peer_take_packet(peer, slice_of(bytes.data + used, bytes.len - used));
		if (!len)
			break;
		used += len;
		packets++;
		peer_took(peer);
	}
	pthread_mutex_lock(&peer->lock);
	if (peer->consumed + bytes.len > peer->seen)
		peer->seen = peer->consumed + bytes.len;
	peer->consumed += used;
	peer->packets += packets;
	peer_changed(peer);
	return used;
}

static inline void peer_on_drained(struct connection *conn)
{
	struct peer *peer = (struct peer *)(void *)conn;

	CHECK(!connection_is_choked(conn));
	pthread_mutex_lock(&peer->lock);
	peer->drained++;
	peer_changed(peer);
}

static inline void peer_on_lost(struct connection *conn, int error)
{
	struct peer *peer = (struct peer *)(void *)conn;

	pthread_mutex_lock(&peer->lock);
	CHECK(!peer->is_lost);
	peer->is_lost = true;
	peer->error = error;
	peer_changed(peer);
	connection_close(conn);
}

static inline void peer_on_closed(struct connection *conn)
{
	struct peer *peer = (struct peer *)(void *)conn;

	CHECK(conn->fd == -1);
	pthread_mutex_lock(&peer->lock);
	peer->is_closed = true;
	peer_changed(peer);
}

static const struct connection_ops peer_ops = {
	.on_bytes = peer_on_bytes,
	.on_drained = peer_on_drained,
	.on_lost = peer_on_lost,
	.on_closed = peer_on_closed,
};

/* The runtime of a test. */

static struct runtime *runtime;

static inline void net_begin(unsigned workers)
{
	struct err_detail detail;

	runtime = runtime_make(workers, 16);
	for (uint16_t i = 0; i < workers; i++)
		assert_int_equal(net_worker_init(runtime_worker(runtime, i)), ERR_NONE);
	assert_int_equal(runtime_start(runtime, start_nothing, &detail), ERR_NONE);
}

static inline void net_end(void)
{
	runtime_stop(runtime);
	for (uint16_t i = 0; i < runtime_worker_count(runtime); i++)
		net_worker_fini(runtime_worker(runtime, i));
	runtime_destroy(&runtime);
	assert_int_equal(memory_used(MEMORY_INPUT), 0);
	assert_int_equal(memory_used(MEMORY_OUTPUT), 0);
}

/* A job that the test waits for. */
struct errand {
	void (*run)(struct worker *me, void *context);
	void *context;
	struct latch done;
};

static inline void errand_run_(struct worker *me, void *context)
{
	struct errand *errand = context;

	errand->run(me, errand->context);
	latch_pass(&errand->done);
}

static inline void do_on(uint16_t worker, void (*run)(struct worker *, void *), void *context)
{
	struct errand errand = {run, context, LATCH(1)};

	run_on(runtime_worker(runtime, worker), errand_run_, &errand);
	assert_true(latch_wait(&errand.done));
}

static inline void peer_begin_(struct worker *me, void *context)
{
	struct peer *peer = context;

	CHECK(connection_init(&peer->conn, me, peer->conn.fd, &transport_tcp, &peer_ops,
			      peer->conn.output_limit) == ERR_NONE);
}

static inline void pair_unix(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static inline void pair_tcp(int fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	int listening = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(listening >= 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listening, 1), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &len), 0);
	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fds[1], (struct sockaddr *)&address, len), 0);
	fds[0] = accept(listening, NULL, NULL);
	assert_true(fds[0] >= 0);
	close(listening);
}

/* output_limit: of the connection. begin makes it, on worker 0. */
static inline struct peer *peer_open_by(void (*begin)(struct worker *me, void *peer),
					void (*make_pair)(int fds[2]), enum peer_mode mode,
					uint32_t output_limit)
{
	struct peer *peer = calloc(1, sizeof *peer);
	int fds[2];

	assert_non_null(peer);
	make_pair(fds);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	pthread_mutex_init(&peer->lock, NULL);
	pthread_cond_init(&peer->changed, NULL);
	peer->far = fds[1];
	peer->mode = mode;
	peer->every = 1;
	peer->conn.fd = fds[0];
	peer->conn.output_limit = output_limit;
	do_on(0, begin, peer);
	return peer;
}

static inline struct peer *peer_open(void (*make_pair)(int fds[2]), enum peer_mode mode,
				     uint32_t output_limit)
{
	return peer_open_by(peer_begin_, make_pair, mode, output_limit);
}

static inline void peer_close_(struct worker *me, void *context)
{
	struct peer *peer = context;

	(void)me;
	connection_close(&peer->conn);
}

static inline void peer_resume_(struct worker *me, void *context)
{
	struct peer *peer = context;

	(void)me;
	connection_resume(&peer->conn);
}

static inline void peer_pause_(struct worker *me, void *context)
{
	struct peer *peer = context;

	(void)me;
	connection_pause(&peer->conn);
}

/* The far end is closed, and the connection has noticed. */
static inline void peer_free(struct peer *peer)
{
	if (peer->far >= 0)
		close(peer->far);
	peer_wait(peer, peer->is_closed);
	pthread_mutex_destroy(&peer->lock);
	pthread_cond_destroy(&peer->changed);
	free(peer);
}

static inline void far_send(struct peer *peer, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len) {
		ssize_t sent = send(peer->far, at, len, MSG_NOSIGNAL);

		assert_true(sent > 0);
		at += sent;
		len -= (size_t)sent;
	}
}

static inline void far_send_packet(struct peer *peer, uint32_t number, uint32_t len)
{
	uint8_t *packet = malloc(len);

	assert_non_null(packet);
	packet_make(packet, number, len);
	far_send(peer, packet, len);
	free(packet);
}

/* Reads `len` bytes of the pattern, which begins at `from`. */
static inline void far_expect(struct peer *peer, uint64_t from, uint64_t len)
{
	static uint8_t bytes[65536];

	while (len) {
		struct pollfd one = {.fd = peer->far, .events = POLLIN};
		size_t want = len < sizeof bytes ? len : sizeof bytes;
		ssize_t got;

		assert_int_equal(poll(&one, 1, DEADLINE_S * 1000), 1);
		got = recv(peer->far, bytes, want, 0);
		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(bytes[i], pattern(0, from++));
		len -= (uint64_t)got;
	}
}

#endif
