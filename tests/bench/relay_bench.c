/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_bench.c - what does a broker pay per delivered message?
 *
 *      publisher i --PUBLISH relay/i--> broker --> subscriber i        i = 0 .. pairs-1
 *
 * All clients live in this one process on one epoll. A publisher stops when its subscriber lacks
 * `window` messages, so no broker has a reason to drop one, and brokers of any speed do the same
 * work per message. Each payload starts with a number; a message lost, doubled or out of order
 * ends the run with exit code 1.
 *
 * The broker's CPU time is the sum over its threads of the first field of
 * /proc/PID/task/TID/schedstat, in nanoseconds: what the load generator or anybody else on the
 * machine burns does not count. A warm-up before the measured time lets caches and buffers grow.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "stress/wire.h"

enum { MAX_PAYLOAD = 65536, MIN_PAYLOAD = 8, MAX_EVENTS = 256 };

struct pair {
	struct wire publisher;
	struct wire subscriber;
	char topic[32];
	uint64_t sent;
	uint64_t received;
	bool publisher_blocked; /* waits for EPOLLOUT */
};

struct bench {
	struct pair *pairs;
	unsigned pair_count;
	unsigned window;
	size_t payload_bytes;
	uint16_t port;
	uint8_t version;
	uint8_t qos; /* what is published and subscribed; above 0 the broker's answers count too */
	int pid;
	double warm_up_s;
	double seconds;
	int epoll_fd;
	uint64_t delivered;
};

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "relay_bench: %s\n", what);
	exit(1);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t read_schedstat(int pid, const char *tid)
{
	uint64_t run_ns = 0;
	char path[320];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, tid);
	file = fopen(path, "r");
	if (!file) {
		return 0;
	}
	if (fscanf(file, "%" SCNu64, &run_ns) != 1) {
		run_ns = 0;
	}
	fclose(file);
	return run_ns;
}

static uint64_t broker_cpu_ns(int pid)
{
	uint64_t sum_ns = 0;
	struct dirent *entry;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks) {
		fail("the broker's process is gone");
	}
	while ((entry = readdir(tasks))) {
		if (entry->d_name[0] != '.') {
			sum_ns += read_schedstat(pid, entry->d_name);
		}
	}
	closedir(tasks);
	return sum_ns;
}

static void wait_for(struct wire *wire, uint8_t type)
{
	struct wire_packet packet;
	double deadline_s = now_s() + 10;

	while (wire_next(wire, &packet) == 0) {
		if (wire_fill(wire) < 0 || now_s() > deadline_s) {
			fail("the broker refused a client");
		}
	}
	if (packet.type != type || (type == WIRE_CONNACK && wire_reason(&packet) != 0)) {
		fail("the broker answered something unexpected");
	}
}

static void client_open(struct bench *bench, struct wire *wire, const char *name, unsigned index)
{
	char client_id[32];
	struct wire_connect options = {.client_id = client_id, .clean_start = true};

	snprintf(client_id, sizeof(client_id), "%s-%u", name, index);
	wire_init(wire, bench->version);
	if (wire_open(wire, bench->port) < 0) {
		fail(strerror(errno));
	}
	wire_put_connect(wire, &options);
	wire_flush(wire);
	wait_for(wire, WIRE_CONNACK);
}

/* The event's number says which pair, and in its lowest bit whether it is the subscriber. */
static void watch(struct bench *bench, struct wire *wire, unsigned number, uint32_t events, int op)
{
	struct epoll_event event = {.events = events, .data.u32 = number};

	if (epoll_ctl(bench->epoll_fd, op, wire->fd, &event) < 0) {
		fail("epoll_ctl");
	}
}

static void pair_open(struct bench *bench, unsigned index)
{
	struct pair *pair = &bench->pairs[index];

	snprintf(pair->topic, sizeof(pair->topic), "relay/%u", index);
	client_open(bench, &pair->publisher, "relay-pub", index);
	client_open(bench, &pair->subscriber, "relay-sub", index);
	wire_put_subscribe(&pair->subscriber, 1, pair->topic, bench->qos);
	wire_flush(&pair->subscriber);
	wait_for(&pair->subscriber, WIRE_SUBACK);
	watch(bench, &pair->publisher, index * 2, EPOLLIN, EPOLL_CTL_ADD);
	watch(bench, &pair->subscriber, index * 2 + 1, EPOLLIN, EPOLL_CTL_ADD);
}

static void pair_publish(struct bench *bench, struct pair *pair)
{
	static uint8_t payload[MAX_PAYLOAD];
	struct wire_publish publish = {
		.topic = (const uint8_t *)pair->topic,
		.topic_length = strlen(pair->topic),
		.payload = payload,
		.payload_length = bench->payload_bytes,
		.qos = bench->qos,
	};

	while (pair->sent - pair->received < bench->window) {
		memcpy(payload, &pair->sent, sizeof(pair->sent));
		publish.packet_id = bench->qos ? (uint16_t)(1 + pair->sent % 60000) : 0;
		wire_put_publish(&pair->publisher, &publish);
		pair->sent++;
	}
}

static void pair_flush(struct bench *bench, struct pair *pair, unsigned index)
{
	int left = wire_flush(&pair->publisher);

	if (left < 0) {
		fail("the broker closed a publisher's connection");
	}
	if ((left > 0) != pair->publisher_blocked) {
		pair->publisher_blocked = left > 0;
		watch(bench, &pair->publisher, index * 2, EPOLLIN | (left > 0 ? EPOLLOUT : 0u),
		      EPOLL_CTL_MOD);
	}
}

/* Checks the number in the payload and answers as the QoS asks. */
static void subscriber_got(struct bench *bench, struct pair *pair, const struct wire_packet *packet)
{
	struct wire_publish publish;
	uint64_t number;

	if (packet->type == WIRE_PUBREL) {
		wire_put_ack(&pair->subscriber, WIRE_PUBCOMP, wire_packet_id(packet));
		return;
	}
	if (packet->type != WIRE_PUBLISH ||
	    !wire_read_publish(&pair->subscriber, packet, &publish) ||
	    publish.payload_length != bench->payload_bytes) {
		fail("a subscriber got something unexpected");
	}
	memcpy(&number, publish.payload, sizeof(number));
	if (number != pair->received) {
		fail("a message was lost, doubled or out of order");
	}
	pair->received++;
	bench->delivered++;
	if (publish.qos) {
		wire_put_ack(&pair->subscriber, publish.qos == 1 ? WIRE_PUBACK : WIRE_PUBREC,
			     publish.packet_id);
	}
}

static void on_subscriber(struct bench *bench, struct pair *pair)
{
	struct wire_packet packet;

	if (wire_fill(&pair->subscriber) < 0) {
		fail("the broker closed a subscriber's connection");
	}
	while (wire_next(&pair->subscriber, &packet) > 0) {
		subscriber_got(bench, pair, &packet);
	}
	wire_flush(&pair->subscriber);
}

static void on_publisher(struct pair *pair)
{
	struct wire_packet packet;

	if (wire_fill(&pair->publisher) < 0) {
		fail("the broker closed a publisher's connection");
	}
	while (wire_next(&pair->publisher, &packet) > 0) {
		if (packet.type == WIRE_PUBREC) {
			wire_put_ack(&pair->publisher, WIRE_PUBREL, wire_packet_id(&packet));
		}
	}
}

/* Publishers are topped up after all events of a turn, so that they write in batches. */
static void run_until(struct bench *bench, double end_s)
{
	struct epoll_event events[MAX_EVENTS];

	while (now_s() < end_s) {
		int count;

		for (unsigned i = 0; i < bench->pair_count; i++) {
			pair_publish(bench, &bench->pairs[i]);
			pair_flush(bench, &bench->pairs[i], i);
		}
		count = epoll_wait(bench->epoll_fd, events, MAX_EVENTS, 1000);
		for (int i = 0; i < count; i++) {
			struct pair *pair = &bench->pairs[events[i].data.u32 / 2];

			if (events[i].data.u32 & 1) {
				on_subscriber(bench, pair);
			} else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
				on_publisher(pair);
			}
		}
	}
}

static int usage(void)
{
	fputs("usage: relay_bench --port PORT --pid PID [--pairs 50] [--payload 64] [--window 100]\n"
	      "                   [--seconds 5] [--warm-up 1] [--qos 0] [--mqtt 4]\n"
	      "Prints: microseconds of the broker's CPU per delivered message, messages per second.\n",
	      stderr);
	return 2;
}

static bool parse(struct bench *bench, int argc, char **argv)
{
	static const struct option options[] = {
		{"port", 1, NULL, 'p'},	   {"pid", 1, NULL, 'P'},    {"pairs", 1, NULL, 'n'},
		{"payload", 1, NULL, 'b'}, {"window", 1, NULL, 'w'}, {"seconds", 1, NULL, 's'},
		{"warm-up", 1, NULL, 'u'}, {"qos", 1, NULL, 'q'},    {"mqtt", 1, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	int key;

	while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
		double value = optarg ? atof(optarg) : 0;

		switch (key) {
		case 'p': bench->port = (uint16_t)value; break;
		case 'P': bench->pid = (int)value; break;
		case 'n': bench->pair_count = (unsigned)value; break;
		case 'b': bench->payload_bytes = (size_t)value; break;
		case 'w': bench->window = (unsigned)value; break;
		case 's': bench->seconds = value; break;
		case 'u': bench->warm_up_s = value; break;
		case 'q': bench->qos = (uint8_t)value; break;
		case 'm': bench->version = (uint8_t)value; break;
		default: return false;
		}
	}
	return bench->port && bench->pid && bench->pair_count && bench->window && bench->qos <= 2 &&
	       bench->payload_bytes >= MIN_PAYLOAD && bench->payload_bytes <= MAX_PAYLOAD;
}

int main(int argc, char **argv)
{
	struct bench bench = {.pair_count = 50,
			      .window = 100,
			      .payload_bytes = 64,
			      .version = 4,
			      .seconds = 5,
			      .warm_up_s = 1};
	uint64_t cpu_ns, delivered;
	double began_s;

	if (!parse(&bench, argc, argv)) {
		return usage();
	}
	bench.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	bench.pairs = calloc(bench.pair_count, sizeof(*bench.pairs));
	if (bench.epoll_fd < 0 || !bench.pairs) {
		fail("out of resources");
	}
	for (unsigned i = 0; i < bench.pair_count; i++) {
		pair_open(&bench, i);
	}
	run_until(&bench, now_s() + bench.warm_up_s);
	began_s = now_s();
	cpu_ns = broker_cpu_ns(bench.pid);
	delivered = bench.delivered;
	run_until(&bench, began_s + bench.seconds);
	cpu_ns = broker_cpu_ns(bench.pid) - cpu_ns;
	delivered = bench.delivered - delivered;
	if (delivered == 0) {
		fail("nothing was delivered");
	}
	printf("%.4f us/message, %.0f messages/s, %" PRIu64 " messages\n",
	       (double)cpu_ns / 1000.0 / (double)delivered, (double)delivered / (now_s() - began_s),
	       delivered);
	return 0;
}
