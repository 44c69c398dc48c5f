/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow_parts.h - the two ends of a flow, for flow.c, flow_publisher.c and flow_subscriber.c only.
 */
#ifndef NIGHTJAR_BENCH_FLOW_PARTS_H
#define NIGHTJAR_BENCH_FLOW_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "flow.h"

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

/* Prepares publisher `number` and begins to connect it. */
void publisher_init(struct flow *flow, uint32_t number);
void publisher_fini(struct publisher *publisher);
/* Puts the publisher on the list of those that can send, if it owes messages. */
void publisher_mark_ready(struct publisher *publisher);
/* Sends what window, debt and buffer allow. True when only the buffer stands in the way. */
bool publisher_fill(struct publisher *publisher, uint64_t now_ns);
/* One of the arrivals that a message waits for. False when it waits for none: one too many. */
bool publisher_arrived(struct publisher *publisher, uint32_t number);

/* Its client is not connected yet. */
void subscriber_init(struct flow *flow, uint32_t number);
void subscriber_fini(struct subscriber *subscriber);
/* Sends SUBSCRIBE packets until all filters are sent or enough answers are missing. */
void subscriber_subscribe(struct subscriber *subscriber);

#endif
