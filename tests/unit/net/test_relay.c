/* SPDX-License-Identifier: Apache-2.0 */
/* Pushed connections, and the relays that they leave behind. The transport here is a socket that the
 * test's transport reads itself, as a library would. */
#include "net_fixture.h"

#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "net/relay.h"

#define LIMIT (256u * 1024u)

struct pipe_end {
	struct connection *conn;
	uv_poll_t poll;
	int fd;
};

static void pipe_on_poll(uv_poll_t *poll, int status, int events)
{
	static __thread uint8_t bytes[50000];
	struct pipe_end *end = poll->data;
	ssize_t got;

	worker_turn_begin(worker_current);
	(void)status;
	if (end->conn && (events & UV_WRITABLE))
		connection_push_writable(end->conn);
	if (!end->conn || !(events & UV_READABLE))
		return;
	got = recv(end->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (got > 0)
		connection_push(end->conn, slice_of(bytes, (size_t)got));
	else if (got == 0 || errno != EAGAIN)
		connection_push_lost(end->conn, got ? errno : 0);
}

static ssize_t pipe_write(struct connection *conn, const void *bytes, size_t len)
{
	struct pipe_end *end = conn->transport_state;
	/* The headroom may be written to. */
	memset((uint8_t *)(uintptr_t)bytes - 16, 0xee, 16);
	return send(end->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void pipe_watch(struct connection *conn, uint16_t events)
{
	struct pipe_end *end = conn->transport_state;

	if (events)
		uv_poll_start(&end->poll, events, pipe_on_poll);
	else
		uv_poll_stop(&end->poll);
}

static void pipe_on_closed(uv_handle_t *handle)
{
	struct pipe_end *end = handle->data;

	close(end->fd);
	free(end);
}

static void pipe_close(struct connection *conn)
{
	struct pipe_end *end = conn->transport_state;

	end->conn = NULL;
	conn->transport_state = NULL;
	uv_poll_stop(&end->poll);
	uv_close((uv_handle_t *)&end->poll, pipe_on_closed);
}

static void pipe_rebind(struct connection *conn)
{
	((struct pipe_end *)conn->transport_state)->conn = conn;
}

static const struct transport transport_pipe = {
	.name = "pipe",
	.headroom = 16,
	.write = pipe_write,
	.watch = pipe_watch,
	.close = pipe_close,
	.rebind = pipe_rebind,
};

static int begin(void **unused)
{
	(void)unused;
	net_begin(3);
	return 0;
}

static int finish(void **unused)
{
	(void)unused;
	net_end();
	return 0;
}

static void pushed_begin(struct worker *me, void *context)
{
	struct peer *peer = context;
	struct pipe_end *end = calloc(1, sizeof *end);

	CHECK(end);
	end->fd = peer->conn.fd;
	end->conn = &peer->conn;
	connection_init_pushed(&peer->conn, me, &transport_pipe, end, &peer_ops,
			       peer->conn.output_limit);
	CHECK(uv_poll_init(&me->loop, &end->poll, end->fd) == 0);
	end->poll.data = end;
	uv_poll_start(&end->poll, UV_READABLE, pipe_on_poll);
}

static struct peer *pushed_open(enum peer_mode mode)
{
	return peer_open_by(pushed_begin, pair_unix, mode, LIMIT);
}

static void hop_now(struct worker *me, void *context)
{
	struct peer *peer = context;

	connection_pause(&peer->conn);
	hop_post(me, me->id, peer);
}

static void hop_and_wait(struct peer *peer, uint16_t from)
{
	uint64_t hops = peer_now(peer, hops);

	do_on(from, hop_now, peer);
	peer_wait(peer, peer->hops == hops + 1);
}

static void bytes_one_at_a_time_make_the_same_packets(void **unused)
{
	static const uint32_t lengths[] = {4, 5, 4, 21, 6, 4, 9};
	struct peer *peer = pushed_open(PEER_TAKES);
	uint8_t stream[64];
	size_t len = 0;

	(void)unused;
	for (uint32_t i = 0; i < 7; i++) {
		packet_make(stream + len, i, lengths[i]);
		len += lengths[i];
	}
	for (size_t i = 0; i < len; i++) {
		int unread = 1;

		far_send(peer, stream + i, 1);
		while (unread) {
			sched_yield();
			assert_int_equal(ioctl(peer->far, SIOCOUTQ, &unread), 0);
		}
	}
	peer_wait(peer, peer->packets == 7);
	peer_free(peer);
}

static void packets_of_every_size_arrive_whole(void **unused)
{
	static const enum peer_mode modes[] = {PEER_TAKES, PEER_PAUSES};

	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		struct peer *peer = pushed_open(modes[mode]);

		for (uint32_t i = 0; i < 1000; i++)
			far_send_packet(peer, i, i % 100 == 99 ? 150000 + i : 4 + i * 53 % 700);
		peer_wait(peer, peer->packets == 1000);
		peer_free(peer);
	}
}

static void bytes_come_through_a_chain_of_relays(void **unused)
{
	struct peer *peer = pushed_open(PEER_HOPS);

	(void)unused;
	peer->every = 150;
	for (uint32_t i = 0; i < 1500; i++)
		far_send_packet(peer, i, i % 100 == 99 ? 300000 : 4 + i * 53 % 300);
	peer_wait(peer, peer->packets == 1500);
	peer_wait(peer, peer->hops == 10);
	peer_free(peer);
}

static void read_pattern(struct peer *peer, uint64_t total)
{
	uint8_t bytes[8192];
	uint64_t at = 0;

	while (at < total) {
		ssize_t got = recv(peer->far, bytes, sizeof bytes, 0);

		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(bytes[i], pattern(0, at++));
	}
}

static void answers_go_back_through_the_relay(void **unused)
{
	struct peer *peer = pushed_open(PEER_ANSWERS);

	(void)unused;
	peer->answer_bytes = 3000;
	hop_and_wait(peer, 0);
	for (uint32_t i = 0; i < 300; i++)
		far_send_packet(peer, i, 100);
	read_pattern(peer, 300 * 3000);
	assert_true(peer_now(peer, consumed) == 300 * 100);
	peer_free(peer);
}

static void take_again(struct worker *me, void *context)
{
	struct peer *peer = context;

	(void)me;
	peer->mode = PEER_TAKES;
	connection_resume(&peer->conn);
}

/* Packets of 4,096 bytes until nobody takes any more for a second. Returns the bytes. */
static size_t send_until_full(struct peer *peer)
{
	uint8_t packet[4096];
	size_t sent = 0;

	while (sent < (16u << 20)) {
		struct pollfd writable = {.fd = peer->far, .events = POLLOUT};
		ssize_t got;

		if (poll(&writable, 1, 1000) <= 0)
			break;
		packet_make(packet, (uint32_t)(sent / sizeof packet), sizeof packet);
		got = send(peer->far, packet + sent % sizeof packet,
			   sizeof packet - sent % sizeof packet, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += got > 0 ? (size_t)got : 0;
	}
	return sent;
}

static void a_reader_that_pauses_is_sent_no_more_than_the_window(void **unused)
{
	struct peer *peer = pushed_open(PEER_STAYS_PAUSED);
	size_t sent;

	(void)unused;
	hop_and_wait(peer, 0);
	sent = send_until_full(peer);
	assert_true(sent < (4u << 20));
	assert_true(memory_used(MEMORY_INPUT) + memory_used(MEMORY_OUTPUT) < (2u << 20));
	do_on(1, take_again, peer);
	peer_wait(peer, peer->packets == sent / 4096);
	peer_free(peer);
}

static void the_peers_end_is_told_through_the_relay(void **unused)
{
	struct peer *peer = pushed_open(PEER_TAKES);

	(void)unused;
	hop_and_wait(peer, 0);
	hop_and_wait(peer, 1);
	for (uint32_t i = 0; i < 50; i++)
		far_send_packet(peer, i, 1000);
	close(peer->far);
	peer->far = -1;
	peer_wait(peer, peer->is_closed);
	assert_int_equal(peer_now(peer, packets), 50);
	assert_true(peer_now(peer, is_lost));
	peer_free(peer);
}

static void closing_the_far_end_closes_the_transport(void **unused)
{
	struct peer *peer = pushed_open(PEER_TAKES);
	uint8_t byte;

	(void)unused;
	hop_and_wait(peer, 0);
	do_on(1, peer_close_, peer);
	assert_int_equal(recv(peer->far, &byte, 1, 0), 0);
	peer_free(peer);
}

static void a_peer_that_ends_while_its_connection_moves_is_noticed(void **unused)
{
	(void)unused;
	for (int i = 0; i < 50; i++) {
		struct peer *peer = pushed_open(PEER_TAKES);

		far_send_packet(peer, 0, 100);
		do_on(0, hop_now, peer);
		close(peer->far);
		peer->far = -1;
		peer_free(peer);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_one_at_a_time_make_the_same_packets),
		cmocka_unit_test(packets_of_every_size_arrive_whole),
		cmocka_unit_test(bytes_come_through_a_chain_of_relays),
		cmocka_unit_test(answers_go_back_through_the_relay),
		cmocka_unit_test(a_reader_that_pauses_is_sent_no_more_than_the_window),
		cmocka_unit_test(the_peers_end_is_told_through_the_relay),
		cmocka_unit_test(closing_the_far_end_closes_the_transport),
		cmocka_unit_test(a_peer_that_ends_while_its_connection_moves_is_noticed),
	};

	return cmocka_run_group_tests(tests, begin, finish);
}
