/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "feeder.h"
#include "probe.h"

enum {
	BATCH_BYTES = 64 * 1024,
	WAIT_NS = 100000000,
	PACKET_IDS = 65536,
};

void feeder_topic(const struct options *options, uint32_t number, char out[FEEDER_TOPIC_MAX])
{
	snprintf(out, FEEDER_TOPIC_MAX, "%s/device/%08u/state", options->prefix, number);
}

static uint16_t feeder_packet_id(uint64_t number)
{
	return (uint16_t)(1 + number % (PACKET_IDS - 1));
}

static void feeder_on_ack(struct feeder *feeder, const struct packet *packet)
{
	uint16_t id = packet_id(packet);

	if (feeder->await[id] != packet_type(packet) || packet_reason(packet) >= 0x80) {
		feeder->report->tally.unexpected++;
	} else if (packet_type(packet) == PACKET_PUBREC) {
		feeder->await[id] = PACKET_PUBCOMP;
		packet_put_ack(&feeder->client.out, PACKET_PUBREL, id);
		client_mark_dirty(&feeder->client);
	} else {
		feeder->await[id] = 0;
		feeder->confirmed++;
	}
}

static void feeder_on_packet(struct client *client, const struct packet *packet)
{
	struct feeder *feeder = (struct feeder *)client;

	if (packet_type(packet) != PACKET_PINGRESP) {
		feeder_on_ack(feeder, packet);
		return;
	}
	if (feeder->mark_count == 0) {
		feeder->report->tally.unexpected++;
		return;
	}
	feeder->confirmed = feeder->marks[0];
	feeder->marks[0] = feeder->marks[1];
	feeder->mark_count--;
}

static void feeder_mark(struct feeder *feeder)
{
	feeder->marks[feeder->mark_count++] = feeder->sent;
	packet_put_pingreq(&feeder->client.out);
}

static void feeder_send(struct feeder *feeder, uint64_t now_ns)
{
	const struct options *options = feeder->client.engine->options;
	struct bytes *out = &feeder->client.out;
	char topic[FEEDER_TOPIC_MAX];
	uint16_t id = options->qos ? feeder_packet_id(feeder->sent) : 0;
	struct feeder_stamp stamp = {
		.topic = (uint32_t)(feeder->sent % feeder->topics),
		.number = (uint32_t)(feeder->sent / feeder->topics),
		.sent_ns = now_ns,
	};
	size_t at;

	feeder_topic(options, stamp.topic, topic);
	at = packet_put_publish(out, options->version,
				(uint8_t)(options->qos << 1 | (feeder->retain ? 1 : 0)), topic, id,
				feeder->empty ? 0 : options->payload_bytes);
	if (!feeder->empty)
		memcpy(out->data + at, &stamp, sizeof(stamp));
	feeder->await[id] = options->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC;
	feeder->sent++;
}

static void feeder_fill(struct feeder *feeder, uint64_t window)
{
	const struct options *options = feeder->client.engine->options;
	uint64_t half = window / 2 ? window / 2 : 1;

	if (feeder->client.blocked)
		return;
	while (feeder->sent < feeder->total && feeder->sent - feeder->confirmed < window &&
	       client_unsent(&feeder->client) < BATCH_BYTES) {
		feeder_send(feeder, feeder->client.engine->now_ns);
		if (options->qos == 0 && feeder->mark_count < 2 &&
		    (feeder->sent % half == 0 || feeder->sent == feeder->total))
			feeder_mark(feeder);
	}
	if (options->qos == 0 && feeder->mark_count == 0 && feeder->confirmed < feeder->sent)
		feeder_mark(feeder);
	if (client_unsent(&feeder->client))
		client_mark_dirty(&feeder->client);
}

void feeder_open(struct feeder *feeder, struct engine *engine, struct report *report)
{
	uint32_t ready = engine->ready_count;

	*feeder = (struct feeder){.report = report};
	feeder->await = must_allocate(PACKET_IDS, 1);
	feeder->client.on_packet = feeder_on_packet;
	client_open(&feeder->client, engine, "feeder", true);
	engine_run_until(engine, &engine->ready_count, ready + 1, "publisher connected");
}

void feeder_run(struct feeder *feeder, uint32_t topics, uint64_t total)
{
	struct engine *engine = feeder->client.engine;
	const struct options *options = engine->options;
	uint64_t window = options->window, moved_ns = probe_now_ns(), last = 0;

	if (options->qos && window > engine->receive_maximum)
		window = engine->receive_maximum;
	feeder->topics = topics;
	feeder->total = total;
	feeder->sent = feeder->confirmed = 0;
	feeder->mark_count = 0;
	engine->now_ns = moved_ns;
	while (feeder->confirmed < total) {
		feeder_fill(feeder, window);
		engine_flush(engine);
		engine_wait(engine, WAIT_NS);
		report_progress(feeder->report, "published", feeder->confirmed, engine->now_ns);
		if (feeder->confirmed != last) {
			last = feeder->confirmed;
			moved_ns = engine->now_ns;
		} else if (engine->now_ns - moved_ns > ENGINE_PATIENCE_S * 1000000000ull) {
			fail("the broker confirmed %llu of %llu messages, then nothing for %d s",
			     (unsigned long long)last, (unsigned long long)total,
			     ENGINE_PATIENCE_S);
		}
	}
	report_progress_end(feeder->report);
}

void feeder_close(struct feeder *feeder)
{
	client_close(&feeder->client);
	free(feeder->await);
}
