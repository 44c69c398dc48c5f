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
#include "fail.h"
#include "flow_parts.h"
#include "probe.h"
#include "scenario.h"

enum {
	/* With a rate, the pause between two looks at what is due. */
	TICK_NS = 10000,
	IDLE_WAIT_NS = 50000000,
	STALL_S = 10,
};

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

static void flow_connect_subscribers(struct flow *flow, bool clean_start)
{
	struct engine *engine = flow->engine;
	uint32_t wanted = engine->ready_count + flow->plan->subscribers;

	for (uint32_t i = 0; i < flow->plan->subscribers; i++)
		client_open(&flow->subscribers[i].client, engine, "sub", clean_start);
	engine_run_until(engine, &engine->ready_count, wanted, "subscribers connected");
}

static void flow_leave_subscribers(struct flow *flow)
{
	for (uint32_t i = 0; i < flow->plan->subscribers; i++)
		client_leave(&flow->subscribers[i].client);
	engine_run_until(flow->engine, &flow->engine->leaving_count, 0,
			 "connections that the broker has not closed after DISCONNECT");
}

/* What an earlier run has left of the sessions, or this one would leave. */
static void flow_forget_sessions(struct flow *flow)
{
	flow_connect_subscribers(flow, true);
	flow_leave_subscribers(flow);
}

void flow_open(struct flow *flow, const struct flow_plan *plan, struct engine *engine,
	       struct report *report)
{
	const struct options *options = engine->options;
	uint32_t wanted;

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
	if (options->persistent)
		flow_forget_sessions(flow);
	flow_connect_subscribers(flow, !options->persistent);
	flow_subscribe(flow);
	flow_choose_window(flow);
	wanted = engine->ready_count + plan->publishers;
	for (uint32_t i = 0; i < plan->publishers; i++)
		publisher_init(flow, i);
	engine_run_until(engine, &engine->ready_count, wanted, "publishers connected");
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
	for (uint32_t i = 0; i < flow->plan->publishers; i++)
		publisher_fini(&flow->publishers[i]);
	if (flow->options->persistent) {
		flow_leave_subscribers(flow);
		flow_forget_sessions(flow);
	}
	for (uint32_t i = 0; i < flow->plan->subscribers; i++)
		subscriber_fini(&flow->subscribers[i]);

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
