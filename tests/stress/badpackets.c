/* SPDX-License-Identifier: Apache-2.0 */
/*
 * badpackets.c - does the broker serve on while others send it rubbish?
 *
 * Each connection sends a few packets made from good ones and then damaged: bits turned, bytes
 * changed, removed, doubled or added, lengths made wrong; some are plain noise. Two in three
 * connections begin with a good CONNECT, so that all decoders are reached. What the broker answers
 * is thrown away; the connection ends when the broker closes it, or after a short while. A witness
 * publishes to itself all the time; a broker that lets it wait has failed.
 *
 * Exit code 0: the witness was served to the end. The caller compares the broker's memory.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "stress/wire.h"

enum { LANES = 24, MAX_EVENTS = 64, WITNESS_PATIENCE_S = 20 };

/* One connection after the other. */
struct lane {
	struct wire wire;
	double end_s;
};

static struct {
	uint16_t port;
	double seconds;
	uint64_t random;
	int epoll_fd;
	struct lane lanes[LANES];
	struct wire witness;
	double witness_sent_s;
	bool witness_waits;
	uint64_t connections, packets, bytes, closed_by_broker, witnessed;
} run = {.seconds = 10, .random = 88172645463325252ull};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint32_t any(uint32_t limit)
{
	run.random ^= run.random << 13;
	run.random ^= run.random >> 7;
	run.random ^= run.random << 17;
	return (uint32_t)((run.random >> 32) * limit >> 32);
}

static _Noreturn void fail(const char *what)
{
	printf("badpackets: %s (%s), after %" PRIu64 " connections and %" PRIu64 " packets\n", what,
	       strerror(errno), run.connections, run.packets);
	exit(1);
}

/* --- packets ---------------------------------------------------------------------------------- */

static const char *const texts[] = {
	"bad/a",
	"bad/+/b",
	"#",
	"$share/g/bad/#",
	"",
	"bad/\xc3\xa9",
	"bad/\xed\xa0\x80",
	"$SYS/#",
	"bad/very/deep/topic/with/many/levels/that/goes/on/and/on",
	"/",
	"//",
	"+",
	"bad/\x01",
	"$share//x",
	"$share/g",
	"bad/#/x",
};

static const char *any_text(void)
{
	return texts[any(sizeof(texts) / sizeof(texts[0]))];
}

static size_t put_u16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return 2;
}

static size_t put_text(uint8_t *at, const char *text)
{
	size_t length = strlen(text);

	memcpy(at + put_u16(at, length), text, length);
	return length + 2;
}

/* Some properties, whether or not the packet may have them. */
static size_t put_properties(uint8_t *at)
{
	static const uint8_t ids[] = {0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x11, 0x12, 0x13,
				      0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1c, 0x1f, 0x21,
				      0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a};
	size_t length = 1;

	for (unsigned count = any(4); count > 0 && length < 80; count--) {
		uint8_t id = ids[any(sizeof(ids))];

		at[length++] = id;
		switch (id) {
		case 0x03:
		case 0x08:
		case 0x09:
		case 0x12:
		case 0x15:
		case 0x16:
		case 0x1a:
		case 0x1c:
		case 0x1f: length += put_text(at + length, "text"); break;
		case 0x26:
			length += put_text(at + length, "name");
			length += put_text(at + length, "value");
			break;
		case 0x02:
		case 0x11:
		case 0x18:
		case 0x27:
			length += put_u16(at + length, any(2) * 0xffff);
			length += put_u16(at + length, any(65536));
			break;
		case 0x13:
		case 0x21:
		case 0x22:
		case 0x23: length += put_u16(at + length, any(20)); break;
		default: at[length++] = (uint8_t)any(3); break;
		}
	}
	at[0] = (uint8_t)(length - 1);
	return length;
}

static size_t make_connect(uint8_t *body, uint8_t version)
{
	size_t length = put_text(body, version == 3 ? "MQIsdp" : "MQTT");
	bool has_will = any(3) == 0;
	char id[16];

	body[length++] = version;
	body[length++] =
		(uint8_t)(2u | (has_will ? 4u | any(3) << 3 : 0u) | any(2) << 6 | any(2) << 7);
	length += put_u16(body + length, any(100));
	length += version == 5 ? put_properties(body + length) : 0;
	snprintf(id, sizeof(id), "bad%u", any(16));
	length += put_text(body + length, id);
	if (has_will) {
		length += version == 5 ? put_properties(body + length) : 0;
		length += put_text(body + length, any_text());
		length += put_text(body + length, "gone");
	}
	length += put_text(body + length, "user");
	return length + put_text(body + length, "password");
}

static size_t make_body(uint8_t *body, unsigned type, uint8_t version)
{
	size_t length = 0;

	switch (type) {
	case WIRE_CONNECT: return make_connect(body, version);
	case WIRE_PUBLISH:
		length = put_text(body, any_text());
		length += put_u16(body + length, any(30));
		length += version == 5 ? put_properties(body + length) : 0;
		return length + put_text(body + length, "payload");
	case WIRE_SUBSCRIBE:
	case WIRE_UNSUBSCRIBE:
		length = put_u16(body, any(30));
		length += version == 5 ? put_properties(body + length) : 0;
		for (unsigned count = any(4); count > 0; count--) {
			length += put_text(body + length, any_text());
			if (type == WIRE_SUBSCRIBE) {
				body[length++] = (uint8_t)any(any(8) ? 3 : 256);
			}
		}
		return length;
	case WIRE_PINGREQ:
	case WIRE_PINGRESP: return 0;
	default:
		length = put_u16(body, any(30));
		body[length++] = (uint8_t)any(any(2) ? 2 : 256);
		return length + (any(2) ? put_properties(body + length) : 0);
	}
}

static size_t make_packet(uint8_t *packet, unsigned type, uint8_t version)
{
	static const uint8_t flags[16] =
		{[WIRE_PUBREL] = 2, [WIRE_SUBSCRIBE] = 2, [WIRE_UNSUBSCRIBE] = 2};
	uint8_t body[1024];
	size_t length = make_body(body, type, version), at = 0;

	packet[at++] = (uint8_t)(type << 4 | (type == WIRE_PUBLISH ? any(6) & 14 : flags[type]));
	if (length > 127) {
		packet[at++] = (uint8_t)(length & 127) | 128;
		packet[at++] = (uint8_t)(length >> 7);
	} else {
		packet[at++] = (uint8_t)length;
	}
	memcpy(packet + at, body, length);
	return at + length;
}

/* One kind of damage; returns the new length, which is at most 8 more. */
static size_t damage(uint8_t *packet, size_t length)
{
	size_t at = any((uint32_t)length), rest = length - at;

	switch (any(8)) {
	case 0: packet[at] ^= (uint8_t)(1u << any(8)); return length;
	case 1: packet[at] = (uint8_t)any(256); return length;
	case 2: packet[at] = any(2) ? 0xff : 0; return length;
	case 3: memmove(packet + at, packet + at + 1, rest - 1); return length - 1;
	case 4: memmove(packet + at + 1, packet + at, rest); return length + 1;
	case 5: return at + 1;
	case 6: packet[1] = (uint8_t)any(256); return length;
	default:
		memmove(packet + at + 8, packet + at, rest);
		for (unsigned i = 0; i < 8; i++) {
			packet[at + i] = (uint8_t)any(256);
		}
		return length + 8;
	}
}

static void put_bad_packet(struct wire *wire, uint8_t version)
{
	uint8_t packet[2048];
	size_t length;

	if (any(40) == 0) {
		for (length = 0; length < 64; length++) {
			packet[length] = (uint8_t)any(256);
		}
	} else {
		length = make_packet(packet, 1 + any(15), version);
	}
	for (unsigned count = any(4); count > 0 && length > 1; count--) {
		length = damage(packet, length);
	}
	wire_put_bytes(wire, packet, length);
	run.packets++;
	run.bytes += length;
}

/* --- lanes ------------------------------------------------------------------------------------ */

static void watch(int fd, uint32_t number)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

	if (epoll_ctl(run.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		fail("epoll_ctl");
	}
}

static void lane_begin(unsigned number)
{
	static const uint8_t versions[] = {3, 4, 5, 5, 5};
	struct lane *lane = &run.lanes[number];
	uint8_t version = versions[any(sizeof(versions))];
	char id[16];

	wire_close(&lane->wire);
	lane->wire.version = version;
	if (wire_open(&lane->wire, run.port) < 0) {
		fail("the broker does not take connections");
	}
	watch(lane->wire.fd, number);
	run.connections++;
	lane->end_s = now_s() + 0.02 + any(100) / 1000.0;
	if (any(3)) {
		snprintf(id, sizeof(id), "bad%u", any(16));
		wire_put_connect(&lane->wire, &(struct wire_connect){.client_id = id,
								     .clean_start = true,
								     .keep_alive_s = 5});
	}
	for (unsigned count = 1 + any(8); count > 0; count--) {
		put_bad_packet(&lane->wire, version);
	}
	wire_flush(&lane->wire);
}

static void lane_turn(unsigned number)
{
	struct lane *lane = &run.lanes[number];
	int got = wire_fill(&lane->wire);

	lane->wire.in.start = lane->wire.in.end = 0;
	if (got < 0) {
		run.closed_by_broker++;
		lane_begin(number);
	}
}

/* --- the witness ------------------------------------------------------------------------------ */

static void witness_publish(void)
{
	struct wire_publish publish = {.topic = (const uint8_t *)"witness",
				       .topic_length = 7,
				       .payload = (const uint8_t *)"here",
				       .payload_length = 4};

	wire_put_publish(&run.witness, &publish);
	wire_flush(&run.witness);
	run.witness_sent_s = now_s();
	run.witness_waits = true;
}

static void witness_turn(void)
{
	struct wire_packet packet;
	int got = wire_fill(&run.witness);

	while (wire_next(&run.witness, &packet) > 0) {
		if (packet.type == WIRE_SUBACK) {
			witness_publish();
		} else if (packet.type == WIRE_PUBLISH) {
			run.witness_waits = false;
			run.witnessed++;
		}
	}
	if (got < 0) {
		fail("the broker closed the witness's connection");
	}
}

static void witness_begin(void)
{
	wire_init(&run.witness, 4);
	if (wire_open(&run.witness, run.port) < 0) {
		fail("cannot connect");
	}
	watch(run.witness.fd, LANES);
	wire_put_connect(&run.witness, &(struct wire_connect){.client_id = "witness",
							      .clean_start = true,
							      .keep_alive_s = 600});
	wire_put_subscribe(&run.witness, 1, "witness", 0);
	wire_flush(&run.witness);
	run.witness_sent_s = now_s();
	run.witness_waits = true;
}

static void turn(void)
{
	struct epoll_event events[MAX_EVENTS];
	int count = epoll_wait(run.epoll_fd, events, MAX_EVENTS, 5);
	double now = now_s();

	for (int i = 0; i < count; i++) {
		if (events[i].data.u32 == LANES) {
			witness_turn();
		} else {
			lane_turn(events[i].data.u32);
		}
	}
	for (unsigned i = 0; i < LANES; i++) {
		if (run.lanes[i].end_s < now) {
			lane_begin(i);
		}
	}
	if (run.witness_waits && now > run.witness_sent_s + WITNESS_PATIENCE_S) {
		fail("the witness is not served");
	}
	if (!run.witness_waits && now > run.witness_sent_s + 0.05) {
		witness_publish();
	}
}

static bool parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", 1, NULL, 'p'},
		{"seconds", 1, NULL, 's'},
		{"seed", 1, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	int key;

	while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (key) {
		case 'p': run.port = (uint16_t)atoi(optarg); break;
		case 's': run.seconds = atof(optarg); break;
		case 'r': run.random += strtoull(optarg, NULL, 10) * 7919; break;
		default: return false;
		}
	}
	return run.port > 0;
}

int main(int argc, char **argv)
{
	double end_s;

	if (!parse(argc, argv)) {
		fputs("usage: badpackets --port PORT [--seconds 10] [--seed N]\n", stderr);
		return 2;
	}
	run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	witness_begin();
	for (unsigned i = 0; i < LANES; i++) {
		wire_init(&run.lanes[i].wire, 5);
		lane_begin(i);
	}
	end_s = now_s() + run.seconds;
	while (now_s() < end_s) {
		turn();
	}
	printf("%" PRIu64 " connections, %" PRIu64 " bad packets, %" PRIu64 " bytes; %" PRIu64
	       " closed by the broker, the witness was served %" PRIu64 " times\n",
	       run.connections, run.packets, run.bytes, run.closed_by_broker, run.witnessed);
	return run.witnessed == 0;
}
