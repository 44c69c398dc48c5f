/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_offline.c - sessions whose clients are away: what a session weighs, what it costs to
 * queue messages for it, and to hand them over when the client is back.
 */
#include <stdio.h>
#include <string.h>

#include "crowd.h"
#include "fail.h"
#include "feeder.h"
#include "probe.h"
#include "scenario.h"

struct sleeper {
	struct client client; /* first */
	struct report *report;
	struct histogram *latency; /* of the drain, from CONNECT on */
	uint32_t *total;	   /* messages that all sleepers got */
	uint32_t *subacks;
	uint32_t expected; /* number of the next message */
};

struct bedroom {
	struct engine engine;
	struct report *report;
	struct sleeper *sleepers;
	struct client **clients;
	uint32_t total, subacks;
};

static void sleeper_on_publish(struct sleeper *sleeper, const struct packet *packet)
{
	struct client *client = &sleeper->client;
	const struct options *options = client->engine->options;
	struct tally *tally = &sleeper->report->tally;
	struct publish publish;
	struct feeder_stamp stamp;

	if (!packet_read_publish(packet, options->version, &publish) ||
	    publish.payload_length != options->payload_bytes || publish.packet_id == 0) {
		tally->unexpected++;
		return;
	}
	memcpy(&stamp, publish.payload, sizeof(stamp));
	if (stamp.topic != client->number) {
		tally->unexpected++;
	} else if (stamp.number < sleeper->expected) {
		tally->doubled++;
	} else {
		tally->lost += stamp.number - sleeper->expected;
		*sleeper->total += 1 + stamp.number - sleeper->expected;
		sleeper->expected = stamp.number + 1;
	}
	histogram_record(sleeper->latency, client->engine->now_ns - client->opened_ns);
	packet_put_ack(&client->out, options->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC,
		       publish.packet_id);
	client_mark_dirty(client);
}

static void sleeper_on_packet(struct client *client, const struct packet *packet)
{
	struct sleeper *sleeper = (struct sleeper *)client;
	const struct options *options = client->engine->options;
	uint8_t code;

	switch (packet_type(packet)) {
	case PACKET_PUBLISH: sleeper_on_publish(sleeper, packet); break;
	case PACKET_PUBREL:
		packet_put_ack(&client->out, PACKET_PUBCOMP, packet_id(packet));
		client_mark_dirty(client);
		break;
	case PACKET_SUBACK:
		if (!packet_suback_grants(packet, options->version, (uint8_t)options->qos,
					  options->filters, &code))
			fail("the broker did not grant a subscription: code 0x%02x", code);
		++*sleeper->subacks;
		break;
	default: sleeper->report->tally.unexpected++; break;
	}
}

static void bedroom_open(struct bedroom *bedroom, const struct options *options,
			 struct report *report, struct histogram *latency)
{
	*bedroom = (struct bedroom){.report = report};
	engine_init(&bedroom->engine, options);
	bedroom->sleepers = must_allocate(options->count, sizeof(*bedroom->sleepers));
	bedroom->clients = must_allocate(options->count, sizeof(struct client *));
	for (uint32_t i = 0; i < options->count; i++) {
		struct sleeper *sleeper = &bedroom->sleepers[i];

		sleeper->report = report;
		sleeper->latency = latency;
		sleeper->total = &bedroom->total;
		sleeper->subacks = &bedroom->subacks;
		sleeper->client.on_packet = sleeper_on_packet;
		bedroom->clients[i] = &sleeper->client;
	}
}

static void all_leave(struct bedroom *bedroom)
{
	const struct options *options = bedroom->engine.options;

	for (uint32_t i = 0; i < options->count; i++)
		client_leave(bedroom->clients[i]);
	engine_run_until(&bedroom->engine, &bedroom->engine.leaving_count, 0,
			 "connections that the broker has not closed after DISCONNECT");
}

/* Messages come through the first; nobody publishes to what the others ask for. */
static void add_filters(struct client *client, uint32_t number)
{
	const struct options *options = client->engine->options;
	char filter[FEEDER_TOPIC_MAX + 16];

	feeder_topic(options, number, filter);
	packet_add_filter(&client->out, filter, (uint8_t)options->qos);
	for (uint32_t i = 1; i < options->filters; i++) {
		snprintf(filter, sizeof(filter), "%s/device/%08u/cmd%u", options->prefix, number,
			 i);
		packet_add_filter(&client->out, filter, (uint8_t)options->qos);
	}
}

/* Connects all with what is left of their sessions, or with new ones. */
static void all_connect(struct bedroom *bedroom, bool clean_start)
{
	crowd_connect(bedroom->clients, 0, bedroom->engine.options->count, &bedroom->engine,
		      bedroom->report, clean_start, NULL);
}

static void all_subscribe(struct bedroom *bedroom)
{
	const struct options *options = bedroom->engine.options;

	for (uint32_t i = 0; i < options->count; i++) {
		struct client *client = bedroom->clients[i];
		size_t began = packet_begin_subscribe(&client->out, options->version, 1);

		add_filters(client, i);
		packet_end_subscribe(&client->out, began);
		client_mark_dirty(client);
	}
	engine_run_until(&bedroom->engine, &bedroom->subacks, options->count,
			 "subscriptions granted");
}

static void drain(struct bedroom *bedroom, uint32_t wanted)
{
	struct engine *engine = &bedroom->engine;
	const struct options *options = engine->options;
	uint64_t moved_ns = probe_now_ns();
	uint32_t last = 0;

	for (uint32_t i = 0; i < options->count; i++)
		if (!bedroom->clients[i]->session_present)
			fail("the broker has forgotten the session of client %u", i);
	while (bedroom->total < wanted) {
		engine_flush(engine);
		engine_wait(engine, 100000000);
		report_progress(bedroom->report, "drained", bedroom->total, engine->now_ns);
		if (bedroom->total != last)
			moved_ns = engine->now_ns;
		else if (engine->now_ns - moved_ns > ENGINE_PATIENCE_S * 1000000000ull)
			break;
		last = bedroom->total;
	}
	bedroom->report->tally.lost += wanted - bedroom->total;
	report_progress_end(bedroom->report);
}

void run_offline(const struct options *options, struct report *report)
{
	struct phase *away = report_add(report, "leave", "session");
	struct phase *queue = report_add(report, "queue", "message");
	struct phase *deliver = report_add(report, "drain", "message");
	uint32_t wanted = options->count * options->messages;
	struct bedroom bedroom;
	struct feeder feeder;

	bedroom_open(&bedroom, options, report, &deliver->latency);
	all_connect(&bedroom, true); /* what an earlier run has left is forgotten */
	all_leave(&bedroom);
	feeder_open(&feeder, &bedroom.engine, report);
	phase_begin(report, away);
	all_connect(&bedroom, false);
	all_subscribe(&bedroom);
	all_leave(&bedroom);
	phase_end(report, away, options->count);
	away->memory_items = options->count;

	phase_begin(report, queue);
	feeder_run(&feeder, options->count, wanted);
	phase_end(report, queue, wanted);
	queue->memory_items = wanted;

	phase_begin(report, deliver);
	all_connect(&bedroom, false);
	drain(&bedroom, wanted);
	phase_end(report, deliver, wanted);

	all_leave(&bedroom);
	all_connect(&bedroom, true);
	all_leave(&bedroom);
	feeder_close(&feeder);
	engine_fini(&bedroom.engine);
	free(bedroom.clients);
	free(bedroom.sleepers);
}
