/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_connect.c - what it costs to connect, to stay, and to drop in.
 */
#include <stdio.h>
#include <string.h>

#include "crowd.h"
#include "fail.h"
#include "probe.h"
#include "scenario.h"

/* ------------------------------------------------------------------ connect, idle */

struct crowd {
	struct client *memory;
	struct client **clients;
	uint32_t count;
};

/* Nobody sends to clients that subscribe to nothing. */
static void idle_on_packet(struct client *client, const struct packet *packet)
{
	fail("client %u has no subscription and got a packet of type %u", client->number,
	     packet_type(packet));
}

static struct crowd crowd_make(uint32_t count)
{
	struct crowd crowd = {.count = count};

	crowd.memory = must_allocate(count, sizeof(*crowd.memory));
	crowd.clients = must_allocate(count, sizeof(struct client *));
	for (uint32_t i = 0; i < count; i++) {
		crowd.memory[i].on_packet = idle_on_packet;
		crowd.clients[i] = &crowd.memory[i];
	}
	return crowd;
}

static void crowd_free(struct crowd *crowd)
{
	for (uint32_t i = 0; i < crowd->count; i++)
		client_close(crowd->clients[i]);
	free(crowd->clients);
	free(crowd->memory);
}

/* A tenth of the clients warms the broker up, and stays. */
void run_connect(const struct options *options, struct report *report)
{
	uint32_t warm_up = options->count / 10;
	struct crowd crowd = crowd_make(options->count + warm_up);
	struct phase *phase = report_add(report, "connect", "client");
	struct engine engine;

	engine_init(&engine, options);
	crowd_connect(crowd.clients, 0, warm_up, &engine, report, true, NULL);
	phase_begin(report, phase);
	crowd_connect(crowd.clients, warm_up, crowd.count, &engine, report, true, &phase->latency);
	phase_end(report, phase, options->count);
	phase->memory_items = options->count;
	crowd_free(&crowd);
	engine_fini(&engine);
}

void run_idle(const struct options *options, struct report *report)
{
	struct crowd crowd = crowd_make(options->count);
	struct phase *phase = report_add(report, "connect", "client");
	struct engine engine;

	engine_init(&engine, options);
	crowd_connect(crowd.clients, 0, options->base_count, &engine, report, true, NULL);
	phase_begin(report, phase);
	crowd_connect(crowd.clients, options->base_count, options->count, &engine, report, true,
		      &phase->latency);
	phase_end(report, phase, options->count - options->base_count);
	phase->memory_items = options->count - options->base_count;
	crowd_free(&crowd);
	engine_fini(&engine);
}

/* ------------------------------------------------------------------ churn */

enum { VISIT_MESSAGE = 7 }; /* the Packet Identifier of a visit's one message */

/*
 * CONNECT > CONNACK > SUBSCRIBE > SUBACK > PUBLISH > the message itself and the acknowledgements
 * of both sides > DISCONNECT > the broker closes.
 */
struct visitor {
	struct client client; /* first */
	struct report *report;
	uint32_t visit;
	uint32_t left; /* packets that the visit still waits for */
	bool got_message;
	char topic[80];
};

static void visitor_subscribe(struct client *client)
{
	struct visitor *visitor = (struct visitor *)client;
	const struct options *options = client->engine->options;
	size_t began = packet_begin_subscribe(&client->out, options->version, 1);

	packet_add_filter(&client->out, visitor->topic, (uint8_t)options->qos);
	packet_end_subscribe(&client->out, began);
	client_mark_dirty(client);
}

static void visitor_publish(struct visitor *visitor, const struct packet *packet)
{
	struct client *client = &visitor->client;
	const struct options *options = client->engine->options;
	uint8_t code;
	size_t at;

	if (!packet_suback_grants(packet, options->version, (uint8_t)options->qos, 1, &code))
		fail("the broker did not grant a subscription: code 0x%02x", code);
	at = packet_put_publish(&client->out, options->version, (uint8_t)(options->qos << 1),
				visitor->topic, options->qos ? VISIT_MESSAGE : 0,
				options->payload_bytes);
	memcpy(client->out.data + at, &visitor->visit, sizeof(visitor->visit));
	visitor->left = 1u + (uint32_t)options->qos;
}

static void visitor_got(struct visitor *visitor, const struct packet *packet)
{
	struct client *client = &visitor->client;
	const struct options *options = client->engine->options;
	struct publish publish;

	if (!packet_read_publish(packet, options->version, &publish) ||
	    publish.payload_length != options->payload_bytes ||
	    memcmp(publish.payload, &visitor->visit, sizeof(visitor->visit)) != 0) {
		visitor->report->tally.unexpected++;
		return;
	}
	if (visitor->got_message)
		visitor->report->tally.doubled++;
	visitor->got_message = true;
	visitor->left--;
	if (options->qos)
		packet_put_ack(&client->out, options->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC,
			       publish.packet_id);
}

static void visitor_on_packet(struct client *client, const struct packet *packet)
{
	struct visitor *visitor = (struct visitor *)client;

	switch (packet_type(packet)) {
	case PACKET_SUBACK: visitor_publish(visitor, packet); break;
	case PACKET_PUBLISH: visitor_got(visitor, packet); break;
	case PACKET_PUBREC: packet_put_ack(&client->out, PACKET_PUBREL, packet_id(packet)); break;
	case PACKET_PUBREL:
		packet_put_ack(&client->out, PACKET_PUBCOMP, packet_id(packet));
		visitor->left--;
		break;
	case PACKET_PUBACK:
	case PACKET_PUBCOMP: visitor->left--; break;
	default: visitor->report->tally.unexpected++; break;
	}
	if (visitor->left == 0)
		client_leave(client);
	else
		client_mark_dirty(client);
}

static void visitor_begin(struct visitor *visitor, struct engine *engine, uint32_t visit)
{
	visitor->visit = visit;
	visitor->left = UINT32_MAX; /* until PUBLISH */
	visitor->got_message = false;
	visitor->client.number = visit;
	visitor->client.on_packet = visitor_on_packet;
	snprintf(visitor->topic, sizeof(visitor->topic), "%s/visit/%u", engine->options->prefix,
		 visit);
	client_open(&visitor->client, engine, "visitor", true);
}

/* One look at the visitors: those that have left are counted, and come again as somebody else. */
static void visitors_turn(struct visitor *visitors, uint32_t count, struct engine *engine,
			  struct phase *phase, uint32_t *begun, uint32_t *done)
{
	uint32_t wanted = engine->options->count;

	for (uint32_t i = 0; i < count; i++) {
		struct visitor *visitor = &visitors[i];

		if (visitor->client.state != CLIENT_CLOSED)
			continue;
		if (visitor->topic[0]) {
			++*done;
			histogram_record(&phase->latency,
					 engine->now_ns - visitor->client.opened_ns);
			visitor->topic[0] = '\0';
		}
		if (*begun < wanted)
			visitor_begin(visitor, engine, (*begun)++);
	}
}

void run_churn(const struct options *options, struct report *report)
{
	uint32_t count = options->concurrency, begun = 0, done = 0, last = 0;
	struct visitor *visitors = must_allocate(count, sizeof(*visitors));
	struct phase *phase = report_add(report, "visit", "visit");
	struct engine engine;
	uint64_t moved_ns = probe_now_ns();

	engine_init(&engine, options);
	engine.on_connected = visitor_subscribe;
	for (uint32_t i = 0; i < count; i++)
		visitors[i].report = report;
	phase_begin(report, phase);
	for (;;) {
		visitors_turn(visitors, count, &engine, phase, &begun, &done);
		if (done == options->count)
			break;
		engine_flush(&engine);
		engine_wait(&engine, 100000000);
		report_progress(report, "visits", done, engine.now_ns);
		if (done != last) {
			last = done;
			moved_ns = engine.now_ns;
		} else if (engine.now_ns - moved_ns > ENGINE_PATIENCE_S * 1000000000ull) {
			fail("%u of %u visits, then none for %d s: a message is lost, or the broker "
			     "does not close after DISCONNECT",
			     done, options->count, ENGINE_PATIENCE_S);
		}
	}
	phase_end(report, phase, options->count);
	report_progress_end(report);
	free(visitors);
	engine_fini(&engine);
}
