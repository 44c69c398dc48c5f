/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_mqtt.c - what a PUBLISH costs to decode and to encode, and a topic to check.
 *
 * usage: bench_mqtt [rounds]    prints nanoseconds of CPU time per call
 *
 * The aim is 20 ns for a frame and a QoS 0 PUBLISH without properties.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mqtt/packet.h"
#include "mqtt/topic.h"

/* The compiler must neither drop a call nor take it out of the loop. */
#define OPAQUE(pointer) __asm__ volatile("" : : "g"(pointer) : "memory")

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void report(const char *what, double start, long rounds)
{
	printf("%-40s %6.1f ns\n", what, (cpu_ns() - start) / (double)rounds);
}

static void bench_decode(const char *what, const struct publish_encoding *publish, long rounds)
{
	uint8_t bytes[512];
	size_t len = publish_encode(bytes, publish);
	double start = cpu_ns();

	for (long i = 0; i < rounds; i++) {
		struct publish_packet packet;
		struct packet_frame frame;
		struct decode_error error;

		OPAQUE(bytes);
		if (packet_frame_decode(slice_of(bytes, len), publish->version, &frame, &error) !=
			    DECODE_DONE ||
		    publish_decode(&frame, publish->version, &packet, &error) != DECODE_DONE)
			abort();
		OPAQUE(&packet);
	}
	report(what, start, rounds);
}

static void bench_encode(const char *what, const struct publish_encoding *publish, long rounds)
{
	uint8_t bytes[512];
	double start = cpu_ns();

	for (long i = 0; i < rounds; i++) {
		OPAQUE(publish);
		if (publish_encoded_size(publish) != publish_encode(bytes, publish))
			abort();
		OPAQUE(bytes);
	}
	report(what, start, rounds);
}

static void bench_topics(struct slice name, struct slice filter, long rounds)
{
	double start = cpu_ns();

	for (long i = 0; i < rounds; i++) {
		OPAQUE(name.data);
		if (!topic_name_is_valid(name))
			abort();
	}
	report("Topic Name: valid?", start, rounds);
	start = cpu_ns();
	for (long i = 0; i < rounds; i++) {
		OPAQUE(name.data);
		if (!topic_matches_filter(name, filter))
			abort();
	}
	report("Topic Name: matches a filter?", start, rounds);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 5000000;
	uint8_t payload[64] = {0}, property[64];
	struct publish_encoding publish = {
		.version = MQTT_V311,
		.topic = SLICE_LITERAL("plant/line1/sensor/temp42"),
		.payload = slice_of(payload, sizeof payload),
	};

	if (rounds <= 0) {
		fprintf(stderr, "usage: %s [rounds]    rounds is a number above 0\n", argv[0]);
		return 2;
	}
	bench_decode("PUBLISH of 3.1.1: decode", &publish, rounds);
	bench_encode("PUBLISH of 3.1.1: encode", &publish, rounds);
	publish.version = MQTT_V5;
	bench_decode("PUBLISH of 5: decode", &publish, rounds);
	bench_encode("PUBLISH of 5: encode", &publish, rounds);
	publish.forward_properties =
		slice_of(property, user_property_encode(property, SLICE_LITERAL("trace"),
							SLICE_LITERAL("0123456789")));
	bench_decode("PUBLISH of 5, a User Property: decode", &publish, rounds);
	bench_encode("PUBLISH of 5, a User Property: encode", &publish, rounds);
	bench_topics(publish.topic, SLICE_LITERAL("plant/+/sensor/#"), rounds);
	return 0;
}
