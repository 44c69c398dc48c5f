/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow_publisher.c - sends copies of one packet with a new stamp, and takes acknowledgements.
 */
#include <string.h>

#include "fail.h"
#include "flow_parts.h"

enum {
	/* Bytes for one write; more waits for the next turn. */
	BATCH_BYTES = 64 * 1024,
};

void publisher_mark_ready(struct publisher *publisher)
{
	struct flow *flow = publisher->flow;

	if (!publisher->ready && publisher->owed && !flow->stopping) {
		publisher->ready = true;
		flow->ready[flow->ready_count++] = publisher;
	}
}

bool publisher_arrived(struct publisher *publisher, uint32_t number)
{
	struct slot *slots = publisher->slots;
	uint32_t mask = publisher->flow->mask, tail = publisher->tail;

	if (number - tail >= publisher->sent - tail || slots[number & mask].missing == 0)
		return false;
	if (--slots[number & mask].missing == 0 && number == tail) {
		do
			tail++;
		while (tail != publisher->sent && slots[tail & mask].missing == 0);
		publisher->tail = tail;
		publisher_mark_ready(publisher);
	}
	return true;
}

/* Acknowledgements: each must be the one that its message waits for. */
static void publisher_on_packet(struct client *client, const struct packet *packet)
{
	static const uint8_t awaited_type[] = {0, PACKET_PUBACK, PACKET_PUBREC, PACKET_PUBCOMP};
	struct publisher *publisher = (struct publisher *)client;
	struct flow *flow = publisher->flow;
	unsigned type = packet_type(packet);
	uint32_t index = packet_id(packet) - 1u;
	uint32_t number = publisher->tail + ((index - publisher->tail) & flow->mask);

	if (type == PACKET_PINGRESP)
		return;
	if (index > flow->mask || number - publisher->tail >= publisher->sent - publisher->tail ||
	    publisher->slots[index].await == AWAIT_NOTHING ||
	    awaited_type[publisher->slots[index].await] != type || packet_reason(packet) >= 0x80) {
		flow->report->tally.unexpected++;
		return;
	}
	if (type == PACKET_PUBREC) {
		publisher->slots[index].await = AWAIT_PUBCOMP;
		packet_put_ack(&client->out, PACKET_PUBREL, (uint16_t)(index + 1));
		client_mark_dirty(client);
		return;
	}
	publisher->slots[index].await = AWAIT_NOTHING;
	publisher_arrived(publisher, number);
}

static uint64_t next_random(struct flow *flow)
{
	flow->random ^= flow->random << 13;
	flow->random ^= flow->random >> 7;
	flow->random ^= flow->random << 17;
	return flow->random;
}

static void write_digits(uint8_t *at, uint32_t number)
{
	for (int i = FLOW_DIGITS - 1; i >= 0; i--) {
		at[i] = (uint8_t)('0' + number % 10);
		number /= 10;
	}
}

/* Every hundredth message and so on has a receiver; its filter is any one of them. */
static uint16_t vary_topic(struct publisher *publisher, uint8_t *digits, struct slot *slot)
{
	struct flow *flow = publisher->flow;
	uint32_t filters = flow->plan->filters;
	uint32_t any = (uint32_t)(((next_random(flow) >> 32) * filters) >> 32);
	bool matches = publisher->sent * (uint64_t)flow->options->match_percent % 100 <
		       flow->options->match_percent;

	write_digits(digits, matches ? any : filters + any);
	slot->receiver = any % flow->plan->subscribers;
	return matches;
}

static void publisher_send(struct publisher *publisher, uint64_t due_ns)
{
	static const uint8_t first_await[] = {AWAIT_NOTHING, AWAIT_PUBACK, AWAIT_PUBREC};
	struct flow *flow = publisher->flow;
	struct bytes *out = &publisher->client.out;
	size_t length = publisher->packet.length;
	uint8_t *at = bytes_reserve(out, length);
	uint32_t index = publisher->sent & flow->mask;
	struct slot *slot = &publisher->slots[index];
	struct stamp stamp = {publisher->client.number, publisher->sent, due_ns};
	int qos = flow->options->qos;

	memcpy(at, publisher->packet.data, length);
	memcpy(at + publisher->stamp_at, &stamp, sizeof(stamp));
	slot->missing = flow->plan->receivers;
	if (flow->plan->varied)
		slot->missing = vary_topic(publisher, at + publisher->digits_at, slot);
	if (qos) {
		at[publisher->id_at] = (uint8_t)((index + 1) >> 8);
		at[publisher->id_at + 1] = (uint8_t)(index + 1);
		slot->missing++;
		slot->await = first_await[qos];
	}
	out->length += length;
	if (slot->missing == 0 && publisher->tail == publisher->sent) /* W2 */
		publisher->tail++;
	publisher->sent++;
	flow->sent++;
}

bool publisher_fill(struct publisher *publisher, uint64_t now_ns)
{
	struct flow *flow = publisher->flow;
	bool by_rate = flow->interval_ns > 0;
	uint64_t due_ns = now_ns;

	if (publisher->client.blocked)
		return true;
	while (publisher->owed && publisher->sent - publisher->tail < flow->window) {
		if (client_unsent(&publisher->client) >= BATCH_BYTES)
			return true;
		if (by_rate) {
			double nth = (double)publisher->sent * flow->plan->publishers +
				     publisher->client.number;

			due_ns = flow->rate_began_ns + (uint64_t)(nth * flow->interval_ns);
			publisher->owed--;
		}
		publisher_send(publisher, due_ns);
		client_mark_dirty(&publisher->client);
	}
	return false;
}

void publisher_init(struct flow *flow, uint32_t number)
{
	struct publisher *publisher = &flow->publishers[number];
	const struct options *options = flow->options;
	char topic[FLOW_TOPIC_MAX];

	flow->plan->topic(options, number, topic);
	publisher->flow = flow;
	publisher->client.number = number;
	publisher->client.on_packet = publisher_on_packet;
	publisher->slots = must_allocate(flow->mask + 1u, sizeof(*publisher->slots));
	publisher->stamp_at = packet_put_publish(&publisher->packet, options->version,
						 (uint8_t)(options->qos << 1), topic,
						 options->qos ? 1 : 0, options->payload_bytes);
	publisher->id_at = publisher->stamp_at - (options->version == MQTT_5 ? 3 : 2);
	if (flow->plan->varied) {
		const char *digits = strstr(topic, "00000000");

		publisher->digits_at = publisher->stamp_at - strlen(topic) +
				       (size_t)(digits - topic) - (options->qos ? 2 : 0) -
				       (options->version == MQTT_5 ? 1 : 0);
	}
	client_open(&publisher->client, flow->engine, "pub", true);
}

void publisher_fini(struct publisher *publisher)
{
	client_close(&publisher->client);
	free(publisher->slots);
	bytes_free(&publisher->packet);
}
