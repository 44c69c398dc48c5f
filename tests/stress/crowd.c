/* SPDX-License-Identifier: Apache-2.0 */
#include "stress/crowd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct crowd crowd = {.client_count = 1000,
		      .window = 16,
		      .seconds = 60,
		      .has_overlaps = true,
		      .random = 88172645463325252ull};

double crowd_now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

uint32_t crowd_random(uint32_t limit)
{
	crowd.random ^= crowd.random << 13;
	crowd.random ^= crowd.random >> 7;
	crowd.random ^= crowd.random << 17;
	return (uint32_t)((crowd.random >> 32) * limit >> 32);
}

double crowd_soon_s(double least_s, double most_s)
{
	return crowd_now_s() + least_s + (most_s - least_s) * crowd_random(1000) / 1000.0;
}

void crowd_report(uint64_t *counter, const char *format, ...)
{
	va_list args;

	(*counter)++;
	if (crowd.lost + crowd.doubled + crowd.disordered + crowd.other > ERRORS_SHOWN) {
		return;
	}
	va_start(args, format);
	vfprintf(stdout, format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

_Noreturn void crowd_fail(const char *what)
{
	printf("stress: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- connections ------------------------------------------------------------------------------ */

static void watch(struct client *client)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = (uint64_t)(client - crowd.clients)};

	if (epoll_ctl(crowd.epoll_fd, EPOLL_CTL_ADD, client->wire.fd, &event) < 0) {
		crowd_fail("epoll_ctl");
	}
}

void client_connect(struct client *client)
{
	struct wire_connect options = {
		.client_id = client->id,
		.clean_start = !client->is_persistent,
		.keep_alive_s = 600,
		.session_expiry_s = client->is_persistent ? 3600 : 0,
	};

	if (wire_open(&client->wire, crowd.port) < 0) {
		crowd_fail("connect");
	}
	client->state = STATE_CONNECTING;
	client->subacks_missing = 0;
	wire_put_connect(&client->wire, &options);
	watch(client);
	wire_flush(&client->wire);
}

/* The broker has to close it; what still comes on it is thrown away. */
void client_leave_to_broker(struct client *client)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = UINT64_C(1) << 32 | (unsigned)client->wire.fd};

	epoll_ctl(crowd.epoll_fd, EPOLL_CTL_MOD, client->wire.fd, &event);
	crowd.zombies++;
	client->wire.fd = -1;
	wire_close(&client->wire);
}

void crowd_on_zombie(int fd)
{
	char bytes[4096];
	ssize_t got;

	do {
		got = read(fd, bytes, sizeof(bytes));
	} while (got > 0);
	if (got == 0 || errno != EAGAIN) {
		close(fd);
		crowd.zombies--;
		crowd.connections_taken++;
	}
}

/* --- publishing ------------------------------------------------------------------------------- */

uint32_t flow_done(const struct flow *flow)
{
	uint32_t done = flow->position_count ? UINT32_MAX : flow->low;

	for (unsigned i = 0; i < flow->position_count; i++) {
		if (flow->positions[i].next < done) {
			done = flow->positions[i].next;
		}
	}
	return done;
}

static void put_message(struct client *client, uint32_t flow_index, const struct outgoing *out,
			bool dup)
{
	const struct flow *flow = &crowd.flows[flow_index];
	struct payload payload = {.flow = flow_index, .number = out->number};
	struct wire_publish publish = {
		.topic = (const uint8_t *)flow->topic,
		.topic_length = strlen(flow->topic),
		.payload = (const uint8_t *)&payload,
		.payload_length = sizeof(payload),
		.packet_id = out->packet_id,
		.qos = out->qos,
		.dup = dup,
	};

	wire_put_publish(&client->wire, &publish);
}

static uint32_t first_flow(const struct client *client)
{
	unsigned group = client->role == ROLE_GROUP_PUBLISHER ? crowd.publisher_count : 0;

	return (group + client->index) * FLOWS_EACH;
}

/* A Packet Identifier that is not in use by this publisher. */
uint16_t client_packet_id(struct client *client)
{
	client->last_packet_id = (uint16_t)(client->last_packet_id % 60000 + 1);
	return client->last_packet_id;
}

static bool publish_one(struct client *client, uint8_t qos)
{
	struct flow *flow = &crowd.flows[first_flow(client) + qos];
	struct outgoing out = {.qos = qos, .number = flow->sent};

	if (!flow->is_followed || flow->sent - flow_done(flow) >= crowd.window) {
		return false;
	}
	if (qos > 0) {
		if (client->outgoing_count == MAX_INFLIGHT) {
			return false;
		}
		out.packet_id = client_packet_id(client);
		client->outgoing[client->outgoing_count++] = out;
	}
	put_message(client, first_flow(client) + qos, &out, false);
	flow->sent++;
	crowd.published++;
	return true;
}

void client_publish_more(struct client *client)
{
	bool again = client->state == STATE_ACTIVE && !crowd.is_stopping;

	while (again) {
		again = false;
		for (uint8_t qos = 0; qos < FLOWS_EACH; qos++) {
			again |= publish_one(client, qos);
		}
	}
}

/* After a reconnect: everything unfinished again, in its order [MQTT-4.4.0-1]. */
void client_publish_again(struct client *client)
{
	for (unsigned i = 0; i < client->outgoing_count; i++) {
		const struct outgoing *out = &client->outgoing[i];

		if (out->is_received) {
			wire_put_ack(&client->wire, WIRE_PUBREL, out->packet_id);
		} else {
			put_message(client, first_flow(client) + out->qos, out, true);
		}
	}
}

void client_on_answer(struct client *client, const struct wire_packet *packet)
{
	uint16_t packet_id = wire_packet_id(packet);
	unsigned i = 0;

	/* A PUBREL sent again may be for what was finished already: 0x92 then. */
	if (wire_reason(packet) >= 0x80 && packet->type != WIRE_PUBCOMP) {
		crowd_report(&crowd.other, "%s: packet %u was refused with 0x%02x", client->id,
			     packet_id, wire_reason(packet));
	}
	while (i < client->outgoing_count && client->outgoing[i].packet_id != packet_id) {
		i++;
	}
	if (packet->type == WIRE_PUBREC) {
		wire_put_ack(&client->wire, WIRE_PUBREL, packet_id);
	}
	if (i == client->outgoing_count) {
		crowd_report(&crowd.other, "%s: answer %u for packet %u that is not on its way",
			     client->id, packet->type, packet_id);
	} else if (packet->type == WIRE_PUBREC) {
		client->outgoing[i].is_received = true;
	} else {
		memmove(&client->outgoing[i], &client->outgoing[i + 1],
			(client->outgoing_count - i - 1) * sizeof(client->outgoing[0]));
		client->outgoing_count--;
	}
}

/* --- receiving -------------------------------------------------------------------------------- */

struct position *client_position(struct client *client, uint32_t flow_index)
{
	struct flow *flow = &crowd.flows[flow_index];

	if (client->role == ROLE_VISITOR) {
		bool is_visited = flow_index / FLOWS_EACH == client->index;

		return is_visited ? &client->visits[flow_index % FLOWS_EACH] : NULL;
	}
	for (unsigned i = 0; i < flow->position_count; i++) {
		if (flow->positions[i].owner == client) {
			return &flow->positions[i];
		}
	}
	return NULL;
}

/* F4; from there on a visitor is a subscriber as any. */
static void begin_visit(struct client *client, struct position *position, uint32_t number)
{
	if (number > position->next) {
		crowd_report(&crowd.lost, "%s: SUBACK at %u, first message is %u", client->id,
			     position->next, number);
	}
	position->at_suback = position->next;
	position->next = position->cursor = position->first = number;
	position->has_begun = true;
}

/* F2 */
static void check_number(struct client *client, struct position *position, const struct flow *flow,
			 const struct wire_publish *publish, uint32_t number)
{
	bool may_step_back = publish->qos == 1 && (position->is_repeating || flow->is_repeated);
	/* Both were torn: what was in flight holds parts of two passes over the same numbers. */
	bool is_of_earlier_pass = publish->dup && flow->is_repeated && number < position->next;
	/* Before the SUBACK a subscription may come to life in parts [F4]. */
	bool is_before_suback = number <= position->at_suback;

	if (number > position->cursor && !is_of_earlier_pass && !is_before_suback) {
		crowd_report(&crowd.lost, "%s: %s: %u came, %u is missing (SUBACK %u, first %u)",
			     client->id, flow->topic, number, position->cursor, position->at_suback,
			     position->first);
	} else if (number < position->cursor && !may_step_back) {
		crowd_report(publish->qos == 1 ? &crowd.disordered : &crowd.doubled,
			     "%s: %s: %u came again, QoS %u, dup %d, expected %u", client->id,
			     flow->topic, number, publish->qos, publish->dup, position->cursor);
	} else if (number < position->next && !publish->dup && !flow->is_repeated) {
		crowd_report(&crowd.other, "%s: %s: %u is repeated without DUP", client->id,
			     flow->topic, number);
	}
	if (publish->qos == 1) {
		position->is_repeating = false;
	}
	position->cursor = number + 1;
	if (position->next < position->cursor) {
		position->next = position->cursor;
		crowd.delivered++;
	}
}

/* F3 */
static void check_group(struct client *client, struct flow *flow,
			const struct wire_publish *publish, uint32_t number)
{
	uint64_t bit = number - flow->low < MAX_WINDOW ? UINT64_C(1) << (number - flow->low) : 0;

	if (number < flow->low || (flow->seen & bit)) {
		if (publish->qos == 2) {
			crowd_report(&crowd.doubled, "%s: %s: %u came again", client->id,
				     flow->topic, number);
		}
		return;
	}
	flow->seen |= bit;
	crowd.delivered++;
	while (flow->seen & 1) {
		flow->seen >>= 1;
		flow->low++;
	}
}

static void take_message(struct client *client, const struct wire_publish *publish)
{
	struct payload payload;
	struct flow *flow;
	struct position *position;

	if (publish->payload_length != sizeof(payload)) {
		crowd_report(&crowd.other, "%s: a message of %zu bytes", client->id,
			     publish->payload_length);
		return;
	}
	memcpy(&payload, publish->payload, sizeof(payload));
	flow = payload.flow < crowd.flow_count ? &crowd.flows[payload.flow] : NULL;
	if (!flow || publish->qos != payload.flow % FLOWS_EACH ||
	    publish->topic_length != strlen(flow->topic) ||
	    memcmp(publish->topic, flow->topic, publish->topic_length) != 0) {
		crowd_report(&crowd.other, "%s: a message with a wrong topic or QoS", client->id);
		return;
	}
	if (client->role == ROLE_MEMBER) {
		check_group(client, flow, publish, payload.number);
		return;
	}
	position = client_position(client, payload.flow);
	if (!position) {
		crowd_report(&crowd.other, "%s: %s was not subscribed", client->id, flow->topic);
		return;
	}
	if (client->role == ROLE_VISITOR && !position->has_begun) {
		begin_visit(client, position, payload.number);
	}
	check_number(client, position, flow, publish, payload.number);
}

void client_on_publish(struct client *client, const struct wire_packet *packet)
{
	struct wire_publish publish;

	if (!wire_read_publish(&client->wire, packet, &publish)) {
		crowd_report(&crowd.other, "%s: a malformed PUBLISH", client->id);
		return;
	}
	if (publish.qos == 2) {
		uint8_t *byte = &client->held[publish.packet_id / 8];
		uint8_t bit = (uint8_t)(1u << publish.packet_id % 8);

		/* Method A of the specification: the identifier is held until PUBREL. */
		if (!(*byte & bit)) {
			take_message(client, &publish);
		} else if (!publish.dup) {
			crowd_report(&crowd.other, "%s: identifier %u in use twice", client->id,
				     publish.packet_id);
		}
		*byte |= bit;
	} else {
		take_message(client, &publish);
	}
	if (publish.qos > 0) {
		wire_put_ack(&client->wire, publish.qos == 1 ? WIRE_PUBACK : WIRE_PUBREC,
			     publish.packet_id);
	}
}
