/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_sessions.c - very many sessions in one broker, without descriptors: what does each weigh?
 *
 *	bench_sessions [SESSIONS [WORKERS [BYTES]]]	(10000; 1; no limit)
 *
 * The whole broker of this process, over a transport that keeps nothing but a place in a table: each
 * client sends CONNECT (MQTT 3.1.1) and SUBSCRIBE to "device/N/cmd" and checks the answers; all are
 * connected at the same time. Then all leave. Prints resident memory at each stage; fails when an
 * answer is not as it should be, or when the broker takes more than BYTES for all of them.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rcu.h"
#include "server/broker.h"
#include "session/client.h"

#define BATCH 128u
#define PATIENCE_S 300
#define RETURN_S 15

enum peer_state { PEER_NEW, PEER_CONNECTING, PEER_SUBSCRIBING, PEER_READY, PEER_GONE };

/* Owner: the worker of its connection. */
struct peer {
	struct connection *conn;
	uint8_t state; /* enum peer_state */
};

/* The peers of one worker. */
struct part {
	struct task task; /* first member */
	uint32_t from, to, next;
	bool is_leaving;
} __attribute__((aligned(64)));

static struct {
	struct broker broker;
	struct peer *peers;
	struct part parts[WORKERS_MAX];
	uint32_t sessions, workers;
	uint64_t bytes_max;
	uint32_t ready, gone; /* atomic */
} bench;

static __attribute__((noreturn)) void fail(const char *what)
{
	fprintf(stderr, "bench_sessions: %s\n", what);
	_exit(1);
}

/* The transport. */

static ssize_t peer_write(struct connection *conn, const void *bytes, size_t len)
{
	struct peer *peer = conn->transport_state;
	const uint8_t *packet = bytes;

	if (peer->state == PEER_CONNECTING && len == 4 && packet[0] == 0x20 && packet[3] == 0) {
		peer->state = PEER_SUBSCRIBING;
	} else if (peer->state == PEER_SUBSCRIBING && len == 5 && packet[0] == 0x90 &&
		   packet[4] == 0) {
		peer->state = PEER_READY;
		__atomic_add_fetch(&bench.ready, 1, __ATOMIC_RELAXED);
	} else {
		fail("an answer is neither the CONNACK nor the SUBACK that is due");
	}
	return (ssize_t)len;
}

static void peer_close(struct connection *conn)
{
	struct peer *peer = conn->transport_state;

	peer->conn = NULL;
	peer->state = PEER_GONE;
	__atomic_add_fetch(&bench.gone, 1, __ATOMIC_RELAXED);
}

static void peer_watch(struct connection *conn, uint16_t events)
{
	(void)conn;
	(void)events;
}

static const struct transport transport_peer = {
	.name = "memory",
	.write = peer_write,
	.close = peer_close,
	.watch = peer_watch,
};

/* The clients. */

static uint8_t *put_text(uint8_t *at, struct slice text)
{
	*at++ = (uint8_t)(text.len >> 8);
	*at++ = (uint8_t)text.len;
	memcpy(at, text.data, text.len);
	return at + text.len;
}

static void send_packet(struct peer *peer, uint8_t *packet, const uint8_t *end)
{
	packet[1] = (uint8_t)(end - packet - 2);
	connection_push(peer->conn, slice_of(packet, (size_t)(end - packet)));
}

static void send_connect(struct peer *peer, uint32_t number)
{
	static const uint8_t behind_name[] = {4, 2, 0, 0}; /* 3.1.1, Clean Session, no Keep Alive */
	uint8_t packet[64] = {0x10};
	uint8_t *at = put_text(packet + 2, SLICE_LITERAL("MQTT"));
	char id[24];

	snprintf(id, sizeof id, "client-%07u", number);
	memcpy(at, behind_name, sizeof behind_name);
	peer->state = PEER_CONNECTING;
	send_packet(peer, packet, put_text(at + sizeof behind_name, slice_from_string(id)));
}

static void send_subscribe(struct peer *peer, uint32_t number)
{
	uint8_t packet[64] = {0x82, 0, 0, 1};
	uint8_t *at;
	char filter[32];

	if (peer->state != PEER_SUBSCRIBING)
		fail("a CONNACK has not come");
	snprintf(filter, sizeof filter, "device/%u/cmd", number);
	at = put_text(packet + 4, slice_from_string(filter));
	*at++ = 0;
	send_packet(peer, packet, at);
}

static void peer_connect(struct worker *me, uint32_t number)
{
	static const struct address address = {.family = AF_UNIX};
	struct peer *peer = &bench.peers[number];

	peer->conn = client_accept_pushed(me, &transport_peer, peer, 0, &address,
					  me->now_ms + PATIENCE_S * 1000);
	if (!peer->conn)
		fail("the broker accepts no more");
	send_connect(peer, number);
}

/* A batch connects while the one before, whose CONNACKs have left with the last turn, subscribes. */
static bool come(struct worker *me, struct part *part)
{
	uint32_t end = part->to - part->next < BATCH ? part->to : part->next + BATCH;
	uint32_t last = part->next - part->from < BATCH ? part->from : part->next - BATCH;

	for (uint32_t i = last; i < part->next; i++)
		if (bench.peers[i].state != PEER_READY)
			send_subscribe(&bench.peers[i], i);
	if (part->next == part->to && bench.peers[part->to - 1].state == PEER_READY)
		return false;
	for (; part->next < end; part->next++)
		peer_connect(me, part->next);
	return true;
}

static bool leave(struct part *part)
{
	uint32_t end = part->to - part->next < BATCH ? part->to : part->next + BATCH;

	for (; part->next < end; part->next++)
		connection_push_lost(bench.peers[part->next].conn, 0);
	return part->next < part->to;
}

static bool part_run(struct worker *me, struct task *task)
{
	struct part *part = (struct part *)(void *)task;

	return part->is_leaving ? leave(part) : come(me, part);
}

static void begin_here(struct worker *me, void *context)
{
	struct part *part = &bench.parts[me->id];

	part->is_leaving = context != NULL;
	part->next = part->from;
	part->task.run = part_run;
	if (part->from < part->to)
		worker_add_task(me, &part->task);
}

/* The figures. */

static double resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long pages = 0;

	if (!file || fscanf(file, "%*s %ld", &pages) != 1)
		fail("/proc/self/statm cannot be read");
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void wait_for_all(const uint32_t *count, const char *what)
{
	uint64_t until_ms = clock_now_ms() + PATIENCE_S * 1000;

	while (__atomic_load_n(count, __ATOMIC_ACQUIRE) < bench.sessions) {
		if (clock_now_ms() > until_ms)
			fail(what);
		usleep(2000);
	}
}

static void print_classes(void)
{
	for (int class = 0; class < MEMORY_CLASS_COUNT; class ++) {
		uint64_t used = memory_used((enum memory_class) class);

		if (used)
			printf("  %-14s %8.1f bytes each, without the allocator's part\n",
			       memory_class_label((enum memory_class) class),
			       (double)used / bench.sessions);
	}
}

/* The broker gives memory back by itself, a second after most of it was freed. */
static double resident_when_settled(double before)
{
	uint64_t until_ms = clock_now_ms() + RETURN_S * 1000;
	double now = resident_bytes();

	while (now > before + 16e6 && clock_now_ms() < until_ms) {
		usleep(100000);
		now = resident_bytes();
	}
	return now;
}

static void measure(void)
{
	double before = resident_bytes(), with, after;
	uint64_t began_us = clock_now_us();

	runtime_on_every_worker(bench.broker.runtime, begin_here, NULL, NULL);
	wait_for_all(&bench.ready, "not all have connected and subscribed in time");
	with = resident_bytes();
	printf("%u sessions, %u workers: %.1f s, %.0f MiB resident before, %.0f MiB with them: "
	       "%.0f bytes each\n",
	       bench.sessions, bench.workers, (double)(clock_now_us() - began_us) / 1e6,
	       before / 1048576, with / 1048576, (with - before) / bench.sessions);
	print_classes();
	runtime_on_every_worker(bench.broker.runtime, begin_here, NULL, &bench);
	wait_for_all(&bench.gone, "not all have left in time");
	after = resident_when_settled(before);
	printf("%.0f MiB resident after all have left\n", after / 1048576);
	if (bench.bytes_max && with - before > (double)bench.bytes_max)
		fail("that is more than was allowed");
}

static void *drive(void *unused)
{
	(void)unused;
	rcu_thread_register();
	measure();
	rcu_thread_unregister();
	fflush(stdout);
	kill(getpid(), SIGTERM);
	return NULL;
}

static void start_broker(const char *folder)
{
	static struct config_errors errors;
	struct err_detail detail = {.text = ""};
	struct config *config;
	char text[512];
	int len = snprintf(text, sizeof text,
			   "listener 0 %s/socket\nallow_anonymous true\npersistence false\n"
			   "sys_interval 0\nworker_threads %u\nlog_type error\n",
			   folder, bench.workers);

	if (config_load_bytes("bench_sessions", text, (size_t)len, NULL, &config, &errors) !=
	    ERR_NONE)
		fail(errors.text[0]);
	broker_watch_signals(&bench.broker);
	if (broker_open_take(&bench.broker, config, &detail) != ERR_NONE ||
	    broker_start(&bench.broker, &detail) != ERR_NONE)
		fail(detail.text);
}

static void parts_make(void)
{
	bench.peers = calloc(bench.sessions, sizeof *bench.peers);
	if (!bench.peers)
		fail("no memory");
	/* Ours, so it is there before memory is looked at. */
	memset(bench.peers, 0xff, bench.sessions * sizeof *bench.peers);
	memset(bench.peers, 0, bench.sessions * sizeof *bench.peers);
	for (uint32_t i = 0; i < bench.workers; i++) {
		bench.parts[i].from = (uint32_t)((uint64_t)bench.sessions * i / bench.workers);
		bench.parts[i].to = (uint32_t)((uint64_t)bench.sessions * (i + 1) / bench.workers);
	}
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/bench_sessions-XXXXXX";
	pthread_t driver;

	bench.sessions = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 10000;
	bench.workers = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1;
	bench.bytes_max = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	if (!bench.sessions || bench.sessions > 9999999 || !bench.workers ||
	    bench.workers > WORKERS_MAX) {
		fprintf(stderr, "usage: %s [SESSIONS [WORKERS [BYTES]]]\n", argv[0]);
		return 1;
	}
	if (!mkdtemp(folder))
		fail("no folder for a socket");
	parts_make();
	start_broker(folder);
	if (pthread_create(&driver, NULL, drive, NULL) != 0)
		fail("no thread");
	broker_run(&bench.broker);
	pthread_join(driver, NULL);
	broker_close(&bench.broker);
	free(bench.peers);
	rmdir(folder);
	return 0;
}
