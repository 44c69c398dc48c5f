/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_retained.c - many retained messages: stored, delivered to a new subscriber of all of
 * them, several times, and deleted.
 */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "feeder.h"
#include "probe.h"
#include "scenario.h"

enum { ROUNDS = 5 };

struct collector {
	struct client client; /* first */
	struct report *report;
	struct histogram *latency;
	uint8_t *seen; /* a flag for each topic */
	uint32_t got;
	uint64_t asked_ns;
};

static void collector_on_publish(struct collector *collector, const struct packet *packet)
{
	const struct options *options = collector->client.engine->options;
	struct publish publish;
	struct feeder_stamp stamp;
	char topic[FEEDER_TOPIC_MAX];

	if (!packet_read_publish(packet, options->version, &publish) ||
	    !(packet->first & PUBLISH_RETAIN) || publish.payload_length != options->payload_bytes) {
		collector->report->tally.unexpected++;
		return;
	}
	memcpy(&stamp, publish.payload, sizeof(stamp));
	feeder_topic(options, stamp.topic, topic);
	if (stamp.topic >= options->count || strlen(topic) != publish.topic_length ||
	    memcmp(topic, publish.topic, publish.topic_length) != 0)
		collector->report->tally.unexpected++;
	else if (collector->seen[stamp.topic])
		collector->report->tally.doubled++;
	else
		collector->got += collector->seen[stamp.topic] = 1;
	histogram_record(collector->latency,
			 collector->client.engine->now_ns - collector->asked_ns);
	if (publish.packet_id) {
		packet_put_ack(&collector->client.out,
			       options->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC,
			       publish.packet_id);
		client_mark_dirty(&collector->client);
	}
}

static void collector_on_packet(struct client *client, const struct packet *packet)
{
	struct collector *collector = (struct collector *)client;
	uint8_t code;

	switch (packet_type(packet)) {
	case PACKET_PUBLISH: collector_on_publish(collector, packet); break;
	case PACKET_PUBREL:
		packet_put_ack(&client->out, PACKET_PUBCOMP, packet_id(packet));
		client_mark_dirty(client);
		break;
	case PACKET_SUBACK:
		if (!packet_suback_grants(packet, client->engine->options->version,
					  (uint8_t)client->engine->options->qos, 1, &code))
			fail("the broker did not grant a subscription: code 0x%02x", code);
		break;
	case PACKET_PINGRESP: client->awaited = 0; break;
	default: collector->report->tally.unexpected++; break;
	}
}

/* Runs until nothing comes any more: all topics, or no progress for long. */
static void collect(struct collector *collector, struct engine *engine)
{
	const struct options *options = engine->options;
	uint64_t moved_ns = probe_now_ns();
	uint32_t last = 0;

	while (collector->got < options->count) {
		engine_flush(engine);
		engine_wait(engine, 100000000);
		report_progress(collector->report, "delivered", collector->got, engine->now_ns);
		if (collector->got != last)
			moved_ns = engine->now_ns;
		else if (engine->now_ns - moved_ns > ENGINE_PATIENCE_S * 1000000000ull)
			break;
		last = collector->got;
	}
	collector->report->tally.lost += options->count - collector->got;
}

/* One subscriber: all retained messages, and by the PINGRESP nothing behind them. */
static void deliver_once(struct collector *collector, struct engine *engine, uint32_t round)
{
	const struct options *options = engine->options;
	uint32_t ready = engine->ready_count;
	char filter[FEEDER_TOPIC_MAX];
	size_t began;

	collector->client = (struct client){.number = round, .on_packet = collector_on_packet};
	collector->got = 0;
	memset(collector->seen, 0, options->count);
	client_open(&collector->client, engine, "collector", true);
	engine_run_until(engine, &engine->ready_count, ready + 1, "subscriber connected");
	snprintf(filter, sizeof(filter), "%s/#", options->prefix);
	began = packet_begin_subscribe(&collector->client.out, options->version, 1);
	packet_add_filter(&collector->client.out, filter, (uint8_t)options->qos);
	packet_end_subscribe(&collector->client.out, began);
	client_mark_dirty(&collector->client);
	collector->asked_ns = probe_now_ns();
	collect(collector, engine);
	collector->client.awaited = 1;
	client_ping(&collector->client);
	engine_run_until(engine, &collector->client.awaited, 0, "answer to PINGREQ");
	client_close(&collector->client);
}

void run_retained(const struct options *options, struct report *report)
{
	struct collector collector = {.report = report};
	struct engine engine;
	struct feeder feeder;
	struct phase *store = report_add(report, "store", "message");
	struct phase *deliver = report_add(report, "deliver", "message");
	struct phase *clear = report_add(report, "delete", "message");

	engine_init(&engine, options);
	feeder_open(&feeder, &engine, report);
	feeder.retain = true;
	phase_begin(report, store);
	feeder_run(&feeder, options->count, options->count);
	phase_end(report, store, options->count);
	store->memory_items = options->count;

	collector.seen = must_allocate(options->count, 1);
	collector.latency = &deliver->latency;
	phase_begin(report, deliver);
	for (uint32_t round = 0; round < ROUNDS; round++)
		deliver_once(&collector, &engine, round);
	phase_end(report, deliver, (uint64_t)options->count * ROUNDS);

	feeder.empty = true;
	phase_begin(report, clear);
	feeder_run(&feeder, options->count, options->count);
	phase_end(report, clear, options->count);
	feeder_close(&feeder);
	free(collector.seen);
	engine_fini(&engine);
	report_progress_end(report);
}
