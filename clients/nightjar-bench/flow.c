/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow.c - how messages are counted.
 *
 * A publisher numbers its messages from 0. Those from tail to sent - 1 are under way, each with a
 * slot that says how many arrivals are missing: one for each receiver, and one for the broker's
 * own acknowledgement above QoS 0.
 *
 *      slots    [ 0 ][ 0 ][ 1 ][ 0 ][ 2 ][ 2 ][   ][   ]      window 8
 *                         ^ tail              ^ sent
 *
 * Invariants:
 *   W1  sent - tail <= window <= number of slots, so no slot is used for two messages.
 *   W2  Slots outside tail..sent-1 are not looked at; the one at tail is not 0.
 *   O1  A subscriber gets each publisher's messages in the order of their numbers. A number above
 *       the expected one means that those between are lost, until one of them comes late.
 *
 * Above QoS 0, a message's slot number plus 1 is its Packet Identifier.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "flow.h"
#include "probe.h"
#include "scenario.h"

enum {
	/* A publisher's bytes for one write; more waits for the next turn. */
	BATCH_BYTES = 64 * 1024,
	SUBSCRIBE_FILTERS = 200, /* in one packet */
	SUBSCRIBE_AHEAD = 4,	 /* packets without SUBACK */
	/* With a rate, the pause between two looks at what is due. */
	TICK_NS = 10000,
	IDLE_WAIT_NS = 50000000,
	STALL_S = 10,
};

/* What the broker has to say next about a message above QoS 0. */
enum await { AWAIT_NOTHING, AWAIT_PUBACK, AWAIT_PUBREC, AWAIT_PUBCOMP };

struct stamp {
	uint32_t publisher;
	uint32_t number;
	uint64_t due_ns;
};

struct slot {
	uint16_t missing;
	uint8_t await;
	uint32_t receiver; /* varied topics: whose */
};

struct publisher {
	struct client client; /* first: a client is cast to its publisher */
	struct flow *flow;
	uint32_t sent, tail;
	uint32_t owed; /* messages that are due and not sent */
	bool ready;    /* is in flow->ready */
	struct slot *slots;
	struct bytes packet; /* each message is a copy of it */
	size_t stamp_at, id_at, digits_at;
};

/* Messages that were skipped, and may still come late. */
struct gap {
	uint32_t publisher, begin, end;
};

struct subscriber {
	struct client client; /* first */
	struct flow *flow;
	uint32_t first_publisher, publisher_count;
	uint32_t *expected; /* of each publisher: the number that is next */
	struct gap *gaps;
	uint32_t gap_count;
	uint32_t filters_sent, filter_count;
	uint8_t *released; /* QoS 2: a bit for each Packet Identifier that waits for PUBREL */
	uint32_t subacks;
	char topic[FLOW_TOPIC_MAX]; /* paired: the only one */
	size_t topic_length;
};

/* ------------------------------------------------------------------ publishers */

static void publisher_mark_ready(struct publisher *publisher)
{
	struct flow *flow = publisher->flow;

	if (!publisher->ready && publisher->owed && !flow->stopping) {
		publisher->ready = true;
		flow->ready[flow->ready_count++] = publisher;
	}
}

/* One of the arrivals that a message waits for. False when it waits for none: one too many. */
static bool publisher_arrived(struct publisher *publisher, uint32_t number)
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

/* Sends what window, debt and buffer allow. True when only the buffer stands in the way. */
static bool publisher_fill(struct publisher *publisher, uint64_t now_ns)
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

static void publisher_init(struct flow *flow, uint32_t number)
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

/* ------------------------------------------------------------------ subscribers */

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

/* Sends SUBSCRIBE packets until all filters are sent or enough answers are missing. */
static void subscriber_subscribe(struct subscriber *subscriber)
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

static void subscriber_init(struct flow *flow, uint32_t number)
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
	client_open(&subscriber->client, flow->engine, "sub", true);
}

/* ------------------------------------------------------------------ the whole */

static void flow_begin_rate(struct flow *flow)
{
	/* The first messages are due in a millisecond: nothing is late from the start. */
	flow->rate_began_ns = probe_now_ns() + 1000000;
	flow->due_count = 0;
	for (uint32_t i = 0; i < flow->plan->publishers; i++)
		flow->publishers[i].owed = flow->interval_ns > 0 ? 0 : 1;
}

/* Gives each publisher its share of what has become due; how long until the next is. */
static uint64_t flow_take_due(struct flow *flow, uint64_t now_ns)
{
	uint64_t next_ns;

	if (flow->interval_ns <= 0 || flow->stopping)
		return IDLE_WAIT_NS;
	for (;;) {
		struct publisher *publisher =
			&flow->publishers[flow->due_count % flow->plan->publishers];

		next_ns = flow->rate_began_ns +
			  (uint64_t)((double)flow->due_count * flow->interval_ns);
		if (next_ns > now_ns)
			break;
		flow->due_count++;
		publisher->owed++;
		publisher_mark_ready(publisher);
	}
	return next_ns - now_ns < TICK_NS ? TICK_NS : next_ns - now_ns;
}

static void flow_fill(struct flow *flow, uint64_t now_ns)
{
	uint32_t count = flow->ready_count, kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct publisher *publisher = flow->ready[i];

		if (!flow->stopping && publisher_fill(publisher, now_ns))
			flow->ready[kept++] = publisher;
		else
			publisher->ready = false;
	}
	flow->ready_count = kept;
}

/* True while a message is under way. */
static bool flow_is_busy(const struct flow *flow)
{
	for (uint32_t i = 0; i < flow->plan->publishers; i++)
		if (flow->publishers[i].tail != flow->publishers[i].sent)
			return true;
	return false;
}

/* All clients ping when half of the Keep Alive has passed, whether they have to or not. */
static void flow_keep_alive(struct flow *flow, uint64_t now_ns)
{
	uint64_t half_ns = flow->options->keep_alive_s * 500000000ull;

	if (half_ns == 0 || now_ns - flow->pinged_ns < half_ns)
		return;
	flow->pinged_ns = now_ns;
	for (uint32_t i = 0; i < flow->plan->publishers; i++)
		client_ping(&flow->publishers[i].client);
	for (uint32_t i = 0; i < flow->plan->subscribers; i++)
		client_ping(&flow->subscribers[i].client);
}

/* Runs until end_ns, or with end_ns 0 until no message is under way; ends early on a stall. */
static void flow_turns(struct flow *flow, uint64_t end_ns)
{
	uint64_t moved_ns = probe_now_ns(), now_ns = moved_ns, moved_at = flow->delivered;

	while (end_ns ? now_ns < end_ns : flow_is_busy(flow)) {
		uint64_t wait_ns = flow_take_due(flow, now_ns);

		flow_keep_alive(flow, now_ns);
		flow_fill(flow, now_ns);
		engine_flush(flow->engine);
		if (end_ns && end_ns - now_ns < wait_ns)
			wait_ns = end_ns - now_ns;
		engine_wait(flow->engine, wait_ns);
		now_ns = flow->engine->now_ns;
		report_progress(flow->report, flow->options->scenario->name, flow->delivered,
				now_ns);
		if (flow->delivered != moved_at || (flow->interval_ns > 0 && !flow->stopping)) {
			moved_at = flow->delivered;
			moved_ns = now_ns;
		} else if (now_ns - moved_ns > STALL_S * 1000000000ull) {
			return;
		}
	}
}

/*
 * What still misses arrivals is lost. Afterwards a PINGRESP of each subscriber shows that nothing
 * more is on its way, so that a doubled last message is seen too.
 */
static void flow_finish(struct flow *flow)
{
	flow->stopping = true;
	flow_turns(flow, 0);
	for (uint32_t i = 0; i < flow->plan->publishers; i++) {
		const struct publisher *publisher = &flow->publishers[i];

		for (uint32_t n = publisher->tail; n != publisher->sent; n++)
			flow->report->tally.lost += publisher->slots[n & flow->mask].missing;
	}
	flow->answers = 0;
	for (uint32_t i = 0; i < flow->plan->subscribers; i++) {
		flow->subscribers[i].client.awaited = 1;
		client_ping(&flow->subscribers[i].client);
	}
	engine_run_until(flow->engine, &flow->answers, flow->plan->subscribers,
			 "subscribers answered at the end");
}

/* Above QoS 0 no broker has to take more at once than it announces. */
static void flow_choose_window(struct flow *flow)
{
	const struct options *options = flow->options;
	uint32_t slots = 1;

	flow->window = options->window;
	if (options->qos && flow->window > flow->engine->receive_maximum)
		flow->window = flow->engine->receive_maximum;
	while (slots < flow->window)
		slots *= 2;
	flow->mask = slots - 1;
}

/* Many subscriptions are worth a row of their own: what one costs, and what it weighs. */
static void flow_subscribe(struct flow *flow)
{
	const struct flow_plan *plan = flow->plan;
	struct phase *phase = NULL;

	if (plan->varied) {
		phase = report_add(flow->report, "subscribe", "subscription");
		phase->memory_items = plan->filters;
		phase_begin(flow->report, phase);
	}
	for (uint32_t i = 0; i < plan->subscribers; i++)
		subscriber_subscribe(&flow->subscribers[i]);
	engine_run_until(flow->engine, &flow->answers, plan->filters, "subscriptions granted");
	if (phase)
		phase_end(flow->report, phase, plan->filters);
}

void flow_open(struct flow *flow, const struct flow_plan *plan, struct engine *engine,
	       struct report *report)
{
	const struct options *options = engine->options;

	*flow = (struct flow){
		.plan = plan,
		.options = options,
		.engine = engine,
		.report = report,
		.first_byte = (uint8_t)(PACKET_PUBLISH << 4 | options->qos << 1),
		.interval_ns = options->rate > 0 ? 1e9 / options->rate : 0,
		.pinged_ns = probe_now_ns(),
		.random = 0x9e3779b97f4a7c15u,
	};
	flow->subscribers = must_allocate(plan->subscribers, sizeof(*flow->subscribers));
	flow->publishers = must_allocate(plan->publishers, sizeof(*flow->publishers));
	flow->ready = must_allocate(plan->publishers, sizeof(*flow->ready));
	for (uint32_t i = 0; i < plan->subscribers; i++)
		subscriber_init(flow, i);
	engine_run_until(engine, &engine->ready_count, plan->subscribers, "subscribers connected");
	flow_subscribe(flow);
	flow_choose_window(flow);
	for (uint32_t i = 0; i < plan->publishers; i++)
		publisher_init(flow, i);
	engine_run_until(engine, &engine->ready_count, plan->subscribers + plan->publishers,
			 "publishers connected");
}

void flow_measure(struct flow *flow, const char *phase_name)
{
	const struct options *options = flow->options;
	bool of_sent = flow->plan->varied;
	struct phase *phase = report_add(flow->report, phase_name, of_sent ? "publish" : "message");
	uint64_t before;

	flow->latency = &phase->latency;
	phase->open_loop = flow->interval_ns > 0;
	flow_begin_rate(flow);
	for (uint32_t i = 0; i < flow->plan->publishers; i++)
		publisher_mark_ready(&flow->publishers[i]);
	flow_turns(flow, probe_now_ns() + (uint64_t)(options->warm_up_s * 1e9));
	before = of_sent ? flow->sent : flow->delivered;
	phase_begin(flow->report, phase);
	flow_turns(flow, phase->began_ns + (uint64_t)(options->seconds * 1e9));
	phase_end(flow->report, phase, (of_sent ? flow->sent : flow->delivered) - before);
	flow_finish(flow);
	report_progress_end(flow->report);
	if (phase->count == 0)
		fail("no message arrived within the %g s that were measured", options->seconds);
}

void flow_close(struct flow *flow)
{
	for (uint32_t i = 0; i < flow->plan->publishers; i++) {
		client_close(&flow->publishers[i].client);
		free(flow->publishers[i].slots);
		bytes_free(&flow->publishers[i].packet);
	}
	for (uint32_t i = 0; i < flow->plan->subscribers; i++) {
		client_close(&flow->subscribers[i].client);
		free(flow->subscribers[i].expected);
		free(flow->subscribers[i].gaps);
		free(flow->subscribers[i].released);
	}
	free(flow->publishers);
	free(flow->subscribers);
	free(flow->ready);
}

void flow_run(const struct options *options, struct report *report, const struct flow_plan *plan,
	      const char *phase_name)
{
	struct engine engine;
	struct flow flow;

	engine_init(&engine, options);
	flow_open(&flow, plan, &engine, report);
	flow_measure(&flow, phase_name);
	flow_close(&flow);
	engine_fini(&engine);
}
