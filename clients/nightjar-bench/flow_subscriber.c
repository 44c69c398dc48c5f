/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow_subscriber.c - subscribes, and checks that each message is the one that comes next.
 */
#include <string.h>

#include "fail.h"
#include "flow_parts.h"

enum {
	SUBSCRIBE_FILTERS = 200, /* in one packet */
	SUBSCRIBE_AHEAD = 4,	 /* packets without SUBACK */
};

/* A number below the expected one: was it missed before? Then it is late, and not lost. */
static bool subscriber_found_late(struct subscriber *subscriber, const struct stamp *stamp)
{
	for (uint32_t i = 0; i < subscriber->gap_count; i++) {
		struct gap *gap = &subscriber->gaps[i];

		if (gap->publisher != stamp->publisher ||
		    stamp->number - gap->begin >= gap->end - gap->begin)
			continue;
		/* The part of the gap behind it becomes a gap of its own. */
		subscriber->gaps = must_resize(subscriber->gaps,
					       (subscriber->gap_count + 1) * sizeof(struct gap));
		gap = &subscriber->gaps[i];
		subscriber->gaps[subscriber->gap_count++] =
			(struct gap){gap->publisher, stamp->number + 1, gap->end};
		gap->end = stamp->number;
		return true;
	}
	return false;
}

static void subscriber_out_of_step(struct subscriber *subscriber, const struct stamp *stamp,
				   uint32_t *expected)
{
	struct flow *flow = subscriber->flow;
	struct publisher *publisher = &flow->publishers[stamp->publisher];

	if ((int32_t)(stamp->number - *expected) > 0) {
		if (stamp->number - publisher->tail >= publisher->sent - publisher->tail) {
			flow->report->tally.unexpected++;
			return;
		}
		subscriber->gaps = must_resize(subscriber->gaps,
					       (subscriber->gap_count + 1) * sizeof(struct gap));
		subscriber->gaps[subscriber->gap_count++] =
			(struct gap){stamp->publisher, *expected, stamp->number};
		flow->report->tally.lost += stamp->number - *expected;
		while (*expected != stamp->number)
			publisher_arrived(publisher, (*expected)++);
		++*expected;
		publisher_arrived(publisher, stamp->number);
	} else if (subscriber_found_late(subscriber, stamp)) {
		flow->report->tally.lost--;
		flow->report->tally.out_of_order++;
	} else {
		flow->report->tally.doubled++;
	}
}

/* The message is intact and from one of ours: is it the one that comes next? */
static void subscriber_count(struct subscriber *subscriber, const struct stamp *stamp)
{
	struct flow *flow = subscriber->flow;
	struct publisher *publisher = &flow->publishers[stamp->publisher];
	uint32_t *expected = &subscriber->expected[stamp->publisher - subscriber->first_publisher];

	if (flow->plan->varied) {
		struct slot *slot = &publisher->slots[stamp->number & flow->mask];

		if (slot->receiver != subscriber->client.number)
			flow->report->tally.unexpected++;
		else if ((int32_t)(stamp->number - *expected) < 0)
			flow->report->tally.out_of_order++;
		else if (!publisher_arrived(publisher, stamp->number))
			flow->report->tally.doubled++;
		*expected = stamp->number + 1;
	} else if (stamp->number == *expected) {
		++*expected;
		if (!publisher_arrived(publisher, stamp->number))
			flow->report->tally.unexpected++;
	} else {
		subscriber_out_of_step(subscriber, stamp, expected);
	}
}

static void subscriber_acknowledge(struct subscriber *subscriber, uint16_t id)
{
	struct client *client = &subscriber->client;

	if (subscriber->flow->options->qos == 1) {
		packet_put_ack(&client->out, PACKET_PUBACK, id);
	} else {
		packet_put_ack(&client->out, PACKET_PUBREC, id);
		subscriber->released[id / 8] |= (uint8_t)(1 << id % 8);
	}
	client_mark_dirty(client);
}

static void subscriber_on_publish(struct subscriber *subscriber, const struct packet *packet)
{
	struct flow *flow = subscriber->flow;
	const struct options *options = flow->options;
	struct publish publish;
	struct stamp stamp;

	if (packet->first != flow->first_byte ||
	    !packet_read_publish(packet, options->version, &publish) ||
	    publish.payload_length != options->payload_bytes) {
		flow->report->tally.unexpected++;
		return;
	}
	memcpy(&stamp, publish.payload, sizeof(stamp));
	if (stamp.publisher - subscriber->first_publisher >= subscriber->publisher_count ||
	    (subscriber->topic_length &&
	     (publish.topic_length != subscriber->topic_length ||
	      memcmp(publish.topic, subscriber->topic, subscriber->topic_length) != 0))) {
		flow->report->tally.unexpected++;
		return;
	}
	subscriber_count(subscriber, &stamp);
	flow->delivered++;
	histogram_record(flow->latency, flow->engine->now_ns - stamp.due_ns);
	if (publish.packet_id)
		subscriber_acknowledge(subscriber, publish.packet_id);
}

static void subscriber_on_pubrel(struct subscriber *subscriber, uint16_t id)
{
	if (!subscriber->released || !(subscriber->released[id / 8] & 1 << id % 8)) {
		subscriber->flow->report->tally.unexpected++;
		return;
	}
	subscriber->released[id / 8] &= (uint8_t) ~(1 << id % 8);
	packet_put_ack(&subscriber->client.out, PACKET_PUBCOMP, id);
	client_mark_dirty(&subscriber->client);
}

void subscriber_subscribe(struct subscriber *subscriber)
{
	struct flow *flow = subscriber->flow;
	struct bytes *out = &subscriber->client.out;
	char filter[FLOW_TOPIC_MAX];

	while (subscriber->filters_sent < subscriber->filter_count &&
	       subscriber->client.awaited < SUBSCRIBE_AHEAD) {
		uint32_t left = subscriber->filter_count - subscriber->filters_sent;
		uint32_t count = left < SUBSCRIBE_FILTERS ? left : SUBSCRIBE_FILTERS;
		size_t began = packet_begin_subscribe(out, flow->options->version,
						      (uint16_t)(1 + subscriber->filters_sent /
									     SUBSCRIBE_FILTERS));

		for (uint32_t i = 0; i < count; i++) {
			flow->plan->filter(flow->options,
					   subscriber->client.number +
						   subscriber->filters_sent++ *
							   flow->plan->subscribers,
					   filter);
			packet_add_filter(out, filter, (uint8_t)flow->options->qos);
		}
		packet_end_subscribe(out, began);
		subscriber->client.awaited++;
		client_mark_dirty(&subscriber->client);
	}
}

static void subscriber_on_suback(struct subscriber *subscriber, const struct packet *packet)
{
	const struct options *options = subscriber->flow->options;
	uint32_t before = subscriber->subacks++ * SUBSCRIBE_FILTERS;
	uint32_t left = subscriber->filter_count - before;
	uint32_t count = left < SUBSCRIBE_FILTERS ? left : SUBSCRIBE_FILTERS;
	uint8_t code;

	if (!packet_suback_grants(packet, options->version, (uint8_t)options->qos, count, &code))
		fail("the broker did not grant a subscription with QoS %d: code 0x%02x",
		     options->qos, code);
	subscriber->client.awaited--;
	subscriber->flow->answers += count;
	subscriber_subscribe(subscriber);
}

static void subscriber_on_packet(struct client *client, const struct packet *packet)
{
	struct subscriber *subscriber = (struct subscriber *)client;

	switch (packet_type(packet)) {
	case PACKET_PUBLISH: subscriber_on_publish(subscriber, packet); break;
	case PACKET_PUBREL: subscriber_on_pubrel(subscriber, packet_id(packet)); break;
	case PACKET_SUBACK: subscriber_on_suback(subscriber, packet); break;
	case PACKET_PINGRESP:
		if (client->awaited) { /* not for the keep alive */
			client->awaited = 0;
			subscriber->flow->answers++;
		}
		break;
	default: subscriber->flow->report->tally.unexpected++; break;
	}
}

void subscriber_init(struct flow *flow, uint32_t number)
{
	struct subscriber *subscriber = &flow->subscribers[number];
	const struct flow_plan *plan = flow->plan;

	subscriber->flow = flow;
	subscriber->client.number = number;
	subscriber->client.on_packet = subscriber_on_packet;
	subscriber->first_publisher = plan->paired ? number : 0;
	subscriber->publisher_count = plan->paired ? 1 : plan->publishers;
	subscriber->expected =
		must_allocate(subscriber->publisher_count, sizeof(*subscriber->expected));
	subscriber->filter_count =
		plan->filters / plan->subscribers + (number < plan->filters % plan->subscribers);
	if (flow->options->qos == 2)
		subscriber->released = must_allocate(8192, 1);
	if (!plan->varied && subscriber->publisher_count == 1) {
		plan->topic(flow->options, subscriber->first_publisher, subscriber->topic);
		subscriber->topic_length = strlen(subscriber->topic);
	}
}

void subscriber_fini(struct subscriber *subscriber)
{
	client_close(&subscriber->client);
	free(subscriber->expected);
	free(subscriber->gaps);
	free(subscriber->released);
}
