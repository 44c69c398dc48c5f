/* SPDX-License-Identifier: Apache-2.0 */
#include "net_fixture.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#define LIMIT (256u * 1024u)

static int begin(void **unused)
{
	(void)unused;
	net_begin(2);
	return 0;
}

static int finish(void **unused)
{
	(void)unused;
	net_end();
	return 0;
}

/* Packets of these lengths one behind the other; returns the number of bytes. */
static size_t stream_make(uint8_t *out, uint32_t first_number, const uint32_t *lengths, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++) {
		packet_make(out + len, first_number + (uint32_t)i, lengths[i]);
		len += lengths[i];
	}
	return len;
}

static const uint32_t short_lengths[] = {4, 5, 4, 21, 6, 4, 9};

static void bytes_cut_at_any_place_make_the_same_packets(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_TAKES, LIMIT);
	uint8_t stream[64];
	uint64_t bytes = 0;
	uint32_t number = 0;
	size_t len;

	(void)unused;
	for (size_t cut = 1; cut < sizeof stream; cut++) {
		len = stream_make(stream, number, short_lengths, 7);
		if (cut >= len)
			break;
		far_send(peer, stream, cut);
		peer_wait(peer, peer->seen == bytes + cut);
		far_send(peer, stream + cut, len - cut);
		bytes += len;
		number += 7;
		peer_wait(peer, peer->consumed == bytes);
	}
	assert_int_equal(peer_now(peer, packets), number);
	peer_free(peer);
}

static void bytes_one_at_a_time_make_the_same_packets(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_TAKES, LIMIT);
	uint8_t stream[64];
	size_t len = stream_make(stream, 0, short_lengths, 7);

	(void)unused;
	for (size_t i = 0; i < len; i++) {
		far_send(peer, stream + i, 1);
		peer_wait(peer, peer->seen == i + 1);
	}
	assert_int_equal(peer_now(peer, packets), 7);
	peer_free(peer);
}

static const uint32_t long_lengths[] = {65535,	65536, 65537,	4,     131071, 131072, 131073,
					700001, 5,     1500000, 65536, 4,      300000, 7};

static void packets_larger_than_a_read_arrive_whole(void **unused)
{
	static const enum peer_mode modes[] = {PEER_TAKES, PEER_PAUSES};

	(void)unused;
	for (int mode = 0; mode < 2; mode++) {
		struct peer *peer = peer_open(pair_unix, modes[mode], LIMIT);
		uint64_t bytes = 0;

		for (uint32_t i = 0; i < 14; i++) {
			far_send_packet(peer, i, long_lengths[i]);
			bytes += long_lengths[i];
		}
		peer_wait(peer, peer->consumed == bytes);
		assert_int_equal(peer_now(peer, packets), 14);
		peer_free(peer);
	}
}

struct memory_look {
	struct peer *peer;
	uint32_t in_cap;
};

static void look_at_input(struct worker *me, void *context)
{
	struct memory_look *look = context;

	(void)me;
	look->in_cap = look->peer->conn.in_cap;
}

static void a_declared_length_alone_takes_no_memory(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_TAKES, LIMIT);
	struct memory_look look = {.peer = peer};
	uint8_t begun[7] = {0x0c, 0x80, 0, 0, 'a', 'b', 'c'}; /* of 200 MiB */

	(void)unused;
	far_send(peer, begun, sizeof begun);
	peer_wait(peer, peer->seen == 7);
	do_on(0, look_at_input, &look);
	assert_in_range(look.in_cap, 7, 200000);
	close(peer->far);
	peer->far = -1;
	peer_wait(peer, peer->is_lost);
	assert_int_equal(peer_now(peer, error), 0);
	peer_free(peer);
}

static void pausing_after_each_packet_keeps_order_and_bytes(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_PAUSES, LIMIT);
	uint64_t bytes = 0;

	(void)unused;
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t len = 4 + i * 37 % 400;

		far_send_packet(peer, i, len);
		bytes += len;
	}
	peer_wait(peer, peer->consumed == bytes);
	assert_int_equal(peer_now(peer, packets), 3000);
	peer_free(peer);
}

static void resume_then_pause_(struct worker *me, void *context)
{
	struct peer *peer = context;

	(void)me;
	connection_resume(&peer->conn);
	connection_pause(&peer->conn);
}

static void do_nothing_(struct worker *me, void *context)
{
	(void)me;
	(void)context;
}

/* One packet for each resume, however often it is resumed and paused again in one turn. */
static void what_is_paused_is_not_read_until_it_is_resumed(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_STAYS_PAUSED, LIMIT);

	(void)unused;
	for (uint32_t i = 0; i < 20; i++)
		far_send_packet(peer, i, 10);
	for (uint64_t i = 1; i <= 20; i++) {
		peer_wait(peer, peer->packets == i);
		do_on(0, resume_then_pause_, peer);
		do_on(0, do_nothing_, NULL);
		do_on(0, do_nothing_, NULL);
		assert_int_equal(peer_now(peer, packets), i);
		do_on(0, peer_resume_, peer);
	}
	peer_free(peer);
}

/* Output. */

struct output_job {
	struct peer *peer;
	uint32_t piece, pieces;
	bool is_choked; /* found at the end */
};

static void write_pieces(struct worker *me, void *context)
{
	struct output_job *job = context;

	(void)me;
	for (uint32_t i = 0; i < job->pieces; i++)
		peer_write_pattern(job->peer, job->piece);
	job->is_choked = connection_is_choked(&job->peer->conn);
}

static void look_at_choke(struct worker *me, void *context)
{
	struct output_job *job = context;

	(void)me;
	job->is_choked = connection_is_choked(&job->peer->conn);
}

static void what_is_written_leaves_with_the_turn(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_TAKES, LIMIT);
	struct output_job job = {.peer = peer, .piece = 100, .pieces = 3};

	(void)unused;
	do_on(0, write_pieces, &job);
	far_expect(peer, 0, 300);
	assert_false(job.is_choked);
	peer_free(peer);
}

static void a_choked_connection_tells_when_it_has_drained(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_TAKES, LIMIT);
	struct output_job job = {.peer = peer, .piece = 1000, .pieces = 4000};

	(void)unused;
	for (uint64_t round = 0; round < 3; round++) {
		do_on(0, write_pieces, &job);
		do_on(0, look_at_choke, &job);
		assert_true(job.is_choked);
		assert_int_equal(peer_now(peer, drained), round);
		far_expect(peer, round * 4000000, 4000000);
		peer_wait(peer, peer->drained == round + 1);
		do_on(0, look_at_choke, &job);
		assert_false(job.is_choked);
	}
	peer_free(peer);
}

struct stall_look {
	struct peer *peer;
	bool is_stalled;
};

static void look_at_stall(struct worker *me, void *context)
{
	struct stall_look *look = context;

	(void)me;
	look->is_stalled = (look->peer->conn.flags & CONNECTION_STALLED) != 0;
}

static bool is_stalled(struct peer *peer)
{
	struct stall_look look = {.peer = peer};

	do_on(0, look_at_stall, &look);
	return look.is_stalled;
}

/* Sends requests until the other side reads no more; returns how many went out. */
static uint32_t flood(struct peer *peer, uint32_t max)
{
	uint8_t packet[64];
	uint32_t sent = 0;

	while (sent < max) {
		struct pollfd one = {.fd = peer->far, .events = POLLOUT};
		size_t at = 0;

		/* A packet in parts: the socket may take half of one. */
		packet_make(packet, sent, sizeof packet);
		while (at < sizeof packet) {
			ssize_t got;

			if (at == 0 && poll(&one, 1, 20) == 0) {
				if (is_stalled(peer))
					return sent;
				continue;
			}
			got = send(peer->far, packet + at, sizeof packet - at,
				   at ? MSG_NOSIGNAL : MSG_NOSIGNAL | MSG_DONTWAIT);
			if (got < 0 && errno == EAGAIN)
				continue;
			assert_true(got > 0);
			at += (size_t)got;
		}
		sent++;
	}
	return sent;
}

static void who_does_not_read_its_answers_is_not_read_either(void **unused)
{
	const uint32_t answer = 2000, limit = 100000;
	struct peer *peer = peer_open(pair_unix, PEER_ANSWERS, limit);
	uint32_t sent;

	(void)unused;
	peer->answer_bytes = answer;
	sent = flood(peer, 1000000);
	assert_true(sent < 1000000);
	/* One read may still be answered when the limit has been reached. */
	assert_in_range(peer->out_peak, limit, limit + 65536 / 64 * answer + 2 * 65536);
	far_expect(peer, 0, (uint64_t)sent * answer);
	peer_wait(peer, peer->packets == sent);
	peer_free(peer);
}

static void write_and_close(struct worker *me, void *context)
{
	write_pieces(me, context);
	connection_close(&((struct output_job *)context)->peer->conn);
}

static void closing_still_sends_what_was_written(void **unused)
{
	/* The second pair has unread input, whose end must not reset what was sent. */
	for (int unread = 0; unread < 2; unread++) {
		struct peer *peer = peer_open(pair_tcp, PEER_STAYS_PAUSED, LIMIT);
		struct output_job job = {.peer = peer, .piece = 500, .pieces = 40};
		uint8_t end;

		(void)unused;
		if (unread) {
			for (uint32_t i = 0; i < 200; i++)
				far_send_packet(peer, i, 300);
			peer_wait(peer, peer->packets == 1);
		}
		do_on(0, write_and_close, &job);
		far_expect(peer, 0, 20000);
		assert_int_equal(recv(peer->far, &end, 1, 0), 0);
		assert_false(peer_now(peer, is_lost));
		peer_free(peer);
	}
}

/* The end. */

static void the_end_of_the_stream_is_told_once_without_an_error(void **unused)
{
	struct peer *peer = peer_open(pair_tcp, PEER_TAKES, LIMIT);

	(void)unused;
	far_send_packet(peer, 0, 1000);
	assert_int_equal(shutdown(peer->far, SHUT_WR), 0);
	peer_wait(peer, peer->is_closed);
	assert_true(peer_now(peer, is_lost));
	assert_int_equal(peer_now(peer, error), 0);
	assert_int_equal(peer_now(peer, packets), 1);
	peer_free(peer);
}

/* Everything has reached the other side's kernel; then the connection is reset. */
static void far_reset(struct peer *peer)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	int left = 1;

	while (left)
		assert_int_equal(ioctl(peer->far, SIOCOUTQ, &left), 0);
	assert_int_equal(setsockopt(peer->far, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
	close(peer->far);
	peer->far = -1;
}

static void what_came_before_a_reset_is_delivered(void **unused)
{
	static const enum peer_mode modes[] = {PEER_TAKES, PEER_PAUSES, PEER_HOPS};

	(void)unused;
	for (int mode = 0; mode < 3; mode++) {
		struct peer *peer = peer_open(pair_tcp, modes[mode], LIMIT);

		do_on(0, peer_pause_, peer);
		for (uint32_t i = 0; i < 500; i++)
			far_send_packet(peer, i, 100 + i % 50);
		far_reset(peer);
		do_on(0, peer_resume_, peer);
		peer_wait(peer, peer->is_closed);
		assert_int_equal(peer_now(peer, packets), 500);
		assert_true(peer_now(peer, is_lost));
		peer_free(peer);
	}
}

static void writing_to_one_that_has_gone_tells_that_it_is_lost(void **unused)
{
	struct peer *peer = peer_open(pair_tcp, PEER_TAKES, LIMIT);
	struct output_job job = {.peer = peer, .piece = 1000, .pieces = 2000};

	(void)unused;
	do_on(0, peer_pause_, peer);
	far_reset(peer);
	do_on(0, write_pieces, &job);
	peer_wait(peer, peer->is_closed);
	assert_true(peer_now(peer, error) == EPIPE || peer_now(peer, error) == ECONNRESET);
	peer_free(peer);
}

/* From worker to worker. */

static void bytes_unread_move_along_to_another_worker(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_HOPS, LIMIT);
	uint64_t bytes = 0;

	(void)unused;
	peer->every = 7;
	for (uint32_t i = 0; i < 4000; i++) {
		uint32_t len = i % 500 == 499 ? 200000 : 4 + i * 53 % 300;

		far_send_packet(peer, i, len);
		bytes += len;
	}
	peer_wait(peer, peer->consumed == bytes);
	assert_int_equal(peer_now(peer, packets), 4000);
	assert_true(peer_now(peer, hops) > 500);
	peer_free(peer);
}

static void write_and_hop(struct worker *me, void *context)
{
	struct output_job *job = context;

	write_pieces(me, job);
	connection_pause(&job->peer->conn);
	hop_post(me, me->id, job->peer);
}

static void output_that_was_not_taken_moves_along(void **unused)
{
	struct peer *peer = peer_open(pair_unix, PEER_TAKES, LIMIT);
	struct output_job job = {.peer = peer, .piece = 1000, .pieces = 3000};

	(void)unused;
	do_on(0, write_and_hop, &job);
	peer_wait(peer, peer->hops == 1);
	far_expect(peer, 0, 3000000);
	peer_wait(peer, peer->drained == 1);
	far_send_packet(peer, 0, 100);
	peer_wait(peer, peer->packets == 1);
	peer_free(peer);
}

/* One who sends without end must not keep a worker from serving another. */

static bool flooding; /* atomic */

static void *flood_on(void *arg)
{
	static uint8_t packet[1u << 20];
	struct peer *peer = arg;
	uint32_t number = 0;

	while (__atomic_load_n(&flooding, __ATOMIC_RELAXED)) {
		packet_make(packet, number++, 30000);
		CHECK(send(peer->far, packet, 30000, MSG_NOSIGNAL) == 30000);
	}
	return NULL;
}

static void a_flood_does_not_starve_another_connection(void **unused)
{
	struct peer *loud = peer_open(pair_unix, PEER_TAKES, LIMIT);
	struct peer *quiet = peer_open(pair_unix, PEER_ANSWERS, LIMIT);
	pthread_t thread;

	(void)unused;
	quiet->answer_bytes = 10;
	__atomic_store_n(&flooding, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&thread, NULL, flood_on, loud), 0);
	peer_wait(loud, loud->packets > 10);
	for (uint32_t i = 0; i < 200; i++) {
		far_send_packet(quiet, i, 20);
		far_expect(quiet, i * 10, 10);
	}
	__atomic_store_n(&flooding, false, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	peer_free(loud);
	peer_free(quiet);
}

/*
 * Several that have more than a turn reads, all there before the first is read: who comes last is
 * read before any of them has had a second turn.
 */

#define LOUD 8u
#define LOUD_PACKET 30000u

struct crowd {
	struct peer *loud[LOUD], *quiet;
};

static void crowd_resume_(struct worker *me, void *context)
{
	struct crowd *crowd = context;

	for (unsigned i = 0; i < LOUD; i++)
		peer_resume_(me, crowd->loud[i]);
	peer_resume_(me, crowd->quiet);
}

/* As many packets as the socket takes. */
static uint32_t far_fill(struct peer *peer)
{
	static uint8_t packet[LOUD_PACKET];
	uint32_t number = 0;
	ssize_t sent;

	do {
		packet_make(packet, number++, LOUD_PACKET);
		sent = send(peer->far, packet, LOUD_PACKET, MSG_NOSIGNAL | MSG_DONTWAIT);
		assert_true(sent == LOUD_PACKET || (sent < 0 && errno == EAGAIN));
	} while (sent > 0);
	return number - 1;
}

static uint64_t loud_bytes; /* at the moment in which the quiet one was read */
static struct crowd *loud_crowd;

static size_t quiet_on_bytes(struct connection *conn, struct slice bytes)
{
	(void)bytes;
	for (unsigned i = 0; i < LOUD; i++)
		loud_bytes += peer_now(loud_crowd->loud[i], seen);
	return peer_on_bytes(conn, bytes);
}

static const struct connection_ops quiet_ops = {
	.on_bytes = quiet_on_bytes,
	.on_drained = peer_on_drained,
	.on_lost = peer_on_lost,
	.on_closed = peer_on_closed,
};

static void several_floods_do_not_starve_another_connection(void **unused)
{
	struct crowd crowd;
	uint32_t packets[LOUD];

	(void)unused;
	for (unsigned i = 0; i < LOUD; i++) {
		crowd.loud[i] = peer_open(pair_unix, PEER_TAKES, LIMIT);
		do_on(0, peer_pause_, crowd.loud[i]);
		packets[i] = far_fill(crowd.loud[i]);
		assert_true(packets[i] > 4);
	}
	crowd.quiet = peer_open(pair_unix, PEER_TAKES, LIMIT);
	do_on(0, peer_pause_, crowd.quiet);
	crowd.quiet->conn.ops = &quiet_ops;
	loud_bytes = 0;
	loud_crowd = &crowd;
	far_send_packet(crowd.quiet, 0, 20);
	do_on(0, crowd_resume_, &crowd);
	peer_wait(crowd.quiet, crowd.quiet->packets == 1);
	assert_true(loud_bytes <= LOUD * 65536u);
	for (unsigned i = 0; i < LOUD; i++) {
		peer_wait(crowd.loud[i], crowd.loud[i]->packets == packets[i]);
		peer_free(crowd.loud[i]);
	}
	peer_free(crowd.quiet);
}

static void tell_that_it_answers_late(struct worker *me, void *context)
{
	(void)me;
	connection_answers_late(&((struct peer *)context)->conn);
}

static int quick_acknowledgements(const struct peer *peer)
{
	int on = -1;
	socklen_t len = sizeof on;

	assert_int_equal(getsockopt(peer->conn.fd, IPPROTO_TCP, TCP_QUICKACK, &on, &len), 0);
	return on;
}

static void who_is_answered_late_is_not_acknowledged_at_each_read(void **unused)
{
	struct peer *tcp = peer_open(pair_tcp, PEER_TAKES, LIMIT);
	struct peer *local = peer_open(pair_unix, PEER_TAKES, LIMIT);

	(void)unused;
	assert_int_equal(quick_acknowledgements(tcp), 1);
	do_on(0, tell_that_it_answers_late, tcp);
	assert_int_equal(quick_acknowledgements(tcp), 0);
	do_on(0, tell_that_it_answers_late, local);
	far_send_packet(local, 0, 20);
	peer_wait(local, local->packets == 1);
	peer_free(tcp);
	peer_free(local);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(bytes_cut_at_any_place_make_the_same_packets),
		CASE(bytes_one_at_a_time_make_the_same_packets),
		CASE(packets_larger_than_a_read_arrive_whole),
		CASE(a_declared_length_alone_takes_no_memory),
		CASE(pausing_after_each_packet_keeps_order_and_bytes),
		CASE(what_is_paused_is_not_read_until_it_is_resumed),
		CASE(what_is_written_leaves_with_the_turn),
		CASE(a_choked_connection_tells_when_it_has_drained),
		CASE(who_does_not_read_its_answers_is_not_read_either),
		CASE(closing_still_sends_what_was_written),
		CASE(the_end_of_the_stream_is_told_once_without_an_error),
		CASE(what_came_before_a_reset_is_delivered),
		CASE(writing_to_one_that_has_gone_tells_that_it_is_lost),
		CASE(bytes_unread_move_along_to_another_worker),
		CASE(output_that_was_not_taken_moves_along),
		CASE(a_flood_does_not_starve_another_connection),
		CASE(several_floods_do_not_starve_another_connection),
		CASE(who_is_answered_late_is_not_acknowledged_at_each_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
