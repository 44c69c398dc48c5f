/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress.c - is anything lost, doubled or out of order while clients come and go?
 *
 *      publisher p  --s/p/0, s/p/1, s/p/2-->  three subscribers or so each
 *      group     k  --g/k/1, g/k/2--------->  three members of $share/g/...
 *      visitors     subscribe to some s/p/+, read for a while, and leave in various ways
 *
 * A flow is one topic; its messages carry publisher and number. Every fourth publisher and every
 * third subscriber has a persistent session and is torn away from time to time: closed without a
 * word, taken over by a second connection, or by two at once. Everything lives in one process on
 * one epoll, so that it is known at each moment who still lacks what:
 *
 *   F1  A publisher is never more than `window` messages before the slowest of its subscribers.
 *       No broker has a reason to drop anything, at QoS 0 either.
 *   F2  Per subscriber and flow the numbers rise by one. At QoS 1 they may step back, after a
 *       reconnect of the subscriber (then with DUP) or of the publisher. At QoS 2 never.
 *   F3  A group's members together get each number; at QoS 2, where no member is torn away, once.
 *   F4  A visitor gets all that was sent after its SUBACK came. Before it there may be gaps: the
 *       worker may still have messages at hand that it was sent for another one who just left.
 *   F5  A connection that was taken over is closed by the broker.
 *
 * Exit code 0: all of this held. 1: it did not, or the broker stopped serving.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "stress/crowd.h"

/* --- the life of a client --------------------------------------------------------------------- */

static void subscribe_to(struct client *client, const char *format, unsigned number)
{
	char filter[64];

	/* The formats are the constants below. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(filter, sizeof(filter), format, number);
#pragma GCC diagnostic pop
	wire_put_subscribe(&client->wire, client_packet_id(client), filter, 2);
	client->subacks_missing++;
}

static unsigned followed(const struct client *client, unsigned which)
{
	static const unsigned step[FOLLOWED] = {0, 1, 5};

	return (client->index + step[which]) % crowd.publisher_count;
}

/* Several ways to say the same; overlapping filters still make one copy. */
static void subscriber_subscribe(struct client *client)
{
	for (unsigned i = 0; i < FOLLOWED; i++) {
		unsigned publisher = followed(client, i);

		if (client->is_persistent) {
			subscribe_to(client, "s/%u/1", publisher);
			subscribe_to(client, "s/%u/2", publisher);
		} else {
			subscribe_to(client, "s/%u/+", publisher);
			if (client->index % 2 && crowd.has_overlaps) {
				subscribe_to(client, "s/%u/#", publisher);
			}
		}
	}
}

static void start_subscribing(struct client *client)
{
	client->state = STATE_SUBSCRIBING;
	switch (client->role) {
	case ROLE_SUBSCRIBER: subscriber_subscribe(client); break;
	case ROLE_VISITOR: subscribe_to(client, "s/%u/+", client->index); break;
	case ROLE_MEMBER:
		subscribe_to(client, "$share/g/g/%u/1", client->index);
		if (!client->is_torn) {
			subscribe_to(client, "$share/g/g/%u/2", client->index);
		}
		break;
	default: client->state = STATE_ACTIVE; break;
	}
}

static void on_connack(struct client *client, const struct wire_packet *packet)
{
	bool is_back = client->is_persistent && client->was_here;

	if (wire_reason(packet) != 0) {
		crowd_report(&crowd.other, "%s: refused with 0x%02x", client->id,
			     wire_reason(packet));
		return;
	}
	if (client->wire.version > 3 && wire_session_present(packet) != is_back) {
		crowd_report(&crowd.lost, "%s: session present is %d", client->id, !is_back);
	}
	client->was_here = true;
	if (!is_back) {
		memset(client->held, 0, 8192);
		start_subscribing(client);
		return;
	}
	client->state = STATE_ACTIVE;
	client_publish_again(client);
}

static void on_suback(struct client *client)
{
	if (client->subacks_missing == 0 || --client->subacks_missing > 0) {
		return;
	}
	client->state = STATE_ACTIVE;
	for (unsigned qos = 0; qos < FLOWS_EACH && client->role == ROLE_VISITOR; qos++) {
		const struct flow *flow = &crowd.flows[client->index * FLOWS_EACH + qos];

		client->visits[qos] = (struct position){.owner = client,
							.next = flow->sent,
							.cursor = flow->sent};
	}
}

static void on_packet(struct client *client, const struct wire_packet *packet)
{
	switch (packet->type) {
	case WIRE_CONNACK: on_connack(client, packet); break;
	case WIRE_SUBACK: on_suback(client); break;
	case WIRE_PUBLISH: client_on_publish(client, packet); break;
	case WIRE_PUBREL:
		client->held[wire_packet_id(packet) / 8] &=
			(uint8_t) ~(1u << wire_packet_id(packet) % 8);
		wire_put_ack(&client->wire, WIRE_PUBCOMP, wire_packet_id(packet));
		break;
	case WIRE_PUBACK:
	case WIRE_PUBREC:
	case WIRE_PUBCOMP: client_on_answer(client, packet); break;
	case WIRE_UNSUBACK: break;
	case WIRE_PINGRESP:
		wire_put_empty(&client->wire, WIRE_DISCONNECT);
		wire_flush(&client->wire);
		wire_close(&client->wire);
		client->state = STATE_AWAY;
		break;
	case WIRE_DISCONNECT: /* the broker ends version 5 connections that were taken over so */
		if (client->is_torn && packet->length > 0 && packet->body[0] == 0x8e) {
			break;
		}
		/* fall through */
	default:
		crowd_report(&crowd.other, "%s: packet type %u, first byte 0x%02x", client->id,
			     packet->type, packet->length ? packet->body[0] : 0);
	}
}

static void come_back(struct client *client)
{
	for (unsigned i = 0; i < crowd.flow_count && client->role == ROLE_SUBSCRIBER; i++) {
		struct position *position = client_position(client, i);

		if (position) {
			position->is_repeating = true;
		}
	}
	client_connect(client);
}

static void on_readable(struct client *client)
{
	struct wire_packet packet;
	int got = wire_fill(&client->wire);
	int more = 0;

	while (client->wire.fd >= 0 && (more = wire_next(&client->wire, &packet)) > 0) {
		on_packet(client, &packet);
	}
	if (client->wire.fd < 0) {
		return;
	}
	if (more < 0) {
		crowd_report(&crowd.other, "%s: malformed bytes", client->id);
	}
	if (got < 0 || more < 0) {
		/* Of two CONNECTs at once either may win. */
		if (!client->is_torn) {
			crowd_report(&crowd.other, "%s: the broker closed the connection",
				     client->id);
		}
		wire_close(&client->wire);
		come_back(client);
	}
}

/* --- coming and going ------------------------------------------------------------------------- */

/* Tears a client away from its connection in one of three ways. */
static void tear(struct client *client)
{
	unsigned way = crowd_random(3);

	crowd.torn++;
	if (way == 0 || !client->is_persistent) {
		wire_close(&client->wire);
	} else {
		client_leave_to_broker(client);
	}
	come_back(client);
	if (way == 2 && client->is_persistent) {
		client_leave_to_broker(client); /* this one races with the next */
		come_back(client);
	}
	client->due_s = crowd_soon_s(0.3, 3);
}

static void visit(struct client *client)
{
	unsigned way = crowd_random(4);

	client->due_s = crowd_soon_s(0.05, 1);
	if (client->state == STATE_AWAY) {
		if (crowd.is_stopping) {
			return;
		}
		client->index = crowd_random(crowd.publisher_count);
		client->was_here = false;
		crowd.visits++;
		client_connect(client);
	} else if (client->state == STATE_ACTIVE && way < 2) {
		char filter[32];

		snprintf(filter, sizeof(filter), "s/%u/+", client->index);
		wire_put_unsubscribe(&client->wire, client_packet_id(client), filter);
		wire_put_empty(&client->wire, WIRE_PINGREQ);
	} else if (client->state == STATE_ACTIVE) {
		if (way == 2) {
			wire_put_empty(&client->wire, WIRE_DISCONNECT);
			wire_flush(&client->wire);
		}
		wire_close(&client->wire);
		client->state = STATE_AWAY;
	}
}

static void come_and_go(void)
{
	double now = crowd_now_s();

	for (unsigned i = 0; i < crowd.client_count; i++) {
		struct client *client = &crowd.clients[i];

		if (client->due_s > now) {
			continue;
		}
		if (client->role == ROLE_VISITOR) {
			visit(client);
		} else if (client->is_torn && client->state == STATE_ACTIVE && !crowd.is_stopping) {
			tear(client);
		}
	}
}

static void turn(void)
{
	struct epoll_event events[MAX_EVENTS];
	int count;

	for (unsigned i = 0; i < crowd.client_count; i++) {
		struct client *client = &crowd.clients[i];

		if (client->role == ROLE_PUBLISHER || client->role == ROLE_GROUP_PUBLISHER) {
			client_publish_more(client);
		}
		if (client->wire.fd >= 0 && wire_flush(&client->wire) < 0 && !client->is_torn) {
			crowd_report(&crowd.other, "%s: the broker is gone", client->id);
		}
	}
	count = epoll_wait(crowd.epoll_fd, events, MAX_EVENTS, 10);
	for (int i = 0; i < count; i++) {
		uint64_t what = events[i].data.u64;

		if (what >> 32) {
			crowd_on_zombie((int)(uint32_t)what);
		} else if (crowd.clients[what].wire.fd >= 0) {
			on_readable(&crowd.clients[what]);
		}
	}
}

/* --- setting up, and the end ------------------------------------------------------------------ */

static struct client *add_client(unsigned *used, enum role role, unsigned index)
{
	static const uint8_t versions[] = {4, 5, 5, 4, 3};
	static const char *const names[] = {"pub", "sub", "gpub", "mem", "vis"};
	struct client *client = &crowd.clients[*used];

	wire_init(&client->wire, versions[*used % 5]);
	client->role = role;
	client->index = index;
	/* Version 3.1 allows 23 characters. */
	snprintf(client->id, sizeof(client->id), "%s%u-%u", names[role], index, *used);
	client->held = calloc(1, 8192);
	client->due_s = crowd_soon_s(0.2, 2);
	if (!client->held) {
		crowd_fail("out of memory");
	}
	(*used)++;
	return client;
}

static void follow(struct client *client, unsigned publisher)
{
	bool publisher_is_torn = publisher % 4 == 0;

	for (unsigned qos = 0; qos < FLOWS_EACH; qos++) {
		struct flow *flow = &crowd.flows[publisher * FLOWS_EACH + qos];

		if (qos == 0 && (client->is_persistent || publisher_is_torn)) {
			continue;
		}
		flow->positions = realloc(flow->positions,
					  (flow->position_count + 1) * sizeof(*flow->positions));
		if (!flow->positions) {
			crowd_fail("out of memory");
		}
		flow->positions[flow->position_count++] = (struct position){.owner = client};
		flow->is_followed = true;
	}
}

static void make_flows(void)
{
	crowd.flow_count = (crowd.publisher_count + crowd.group_count) * FLOWS_EACH;
	crowd.flows = calloc(crowd.flow_count, sizeof(*crowd.flows));
	if (!crowd.flows) {
		crowd_fail("out of memory");
	}
	for (unsigned i = 0; i < crowd.flow_count; i++) {
		struct flow *flow = &crowd.flows[i];
		unsigned index = i / FLOWS_EACH, qos = i % FLOWS_EACH;
		bool is_group = index >= crowd.publisher_count;

		snprintf(flow->topic, sizeof(flow->topic), "%s/%u/%u", is_group ? "g" : "s",
			 is_group ? index - crowd.publisher_count : index, qos);
		flow->is_repeated = !is_group && index % 4 == 0;
		flow->is_followed = is_group && qos > 0;
	}
}

static void make_clients(void)
{
	unsigned used = 0;

	crowd.group_count = crowd.client_count / 50;
	crowd.subscriber_count = (crowd.client_count * 9 / 10 - crowd.group_count * 4) / 2;
	crowd.publisher_count = crowd.subscriber_count;
	crowd.clients = calloc(crowd.client_count, sizeof(*crowd.clients));
	if (!crowd.clients) {
		crowd_fail("out of memory");
	}
	make_flows();
	for (unsigned i = 0; i < crowd.subscriber_count; i++) {
		struct client *client = add_client(&used, ROLE_SUBSCRIBER, i);

		client->is_persistent = client->is_torn = i % 3 == 0;
		for (unsigned k = 0; k < FOLLOWED; k++) {
			follow(client, followed(client, k));
		}
	}
	for (unsigned i = 0; i < crowd.group_count * GROUP_MEMBERS; i++) {
		add_client(&used, ROLE_MEMBER, i / GROUP_MEMBERS)->is_torn = i % GROUP_MEMBERS == 0;
	}
	for (unsigned i = 0; i < crowd.publisher_count; i++) {
		struct client *client = add_client(&used, ROLE_PUBLISHER, i);

		client->is_persistent = client->is_torn = i % 4 == 0;
	}
	for (unsigned i = 0; i < crowd.group_count; i++) {
		add_client(&used, ROLE_GROUP_PUBLISHER, i);
	}
	while (used < crowd.client_count) {
		add_client(&used, ROLE_VISITOR, 0);
	}
}

/* Subscribers first: F2 counts from the first message. */
static void connect_all(enum role role, double deadline_s)
{
	unsigned missing = 0;

	for (unsigned i = 0; i < crowd.client_count; i++) {
		if (crowd.clients[i].role == role) {
			client_connect(&crowd.clients[i]);
		}
	}
	do {
		turn();
		missing = 0;
		for (unsigned i = 0; i < crowd.client_count; i++) {
			missing += crowd.clients[i].role == role &&
				   crowd.clients[i].state != STATE_ACTIVE;
		}
	} while (missing > 0 && crowd_now_s() < deadline_s);
	if (missing > 0) {
		crowd_report(&crowd.other, "%u clients were not connected in time", missing);
	}
}

static bool is_all_done(bool say_what_is_missing)
{
	bool done = crowd.zombies == 0;

	for (unsigned i = 0; i < crowd.client_count; i++) {
		const struct client *client = &crowd.clients[i];

		done &= client->outgoing_count == 0;
		if (say_what_is_missing && client->outgoing_count > 0) {
			crowd_report(&crowd.lost, "%s: packet %u was not answered", client->id,
				     client->outgoing[0].packet_id);
		}
	}
	for (unsigned i = 0; i < crowd.flow_count; i++) {
		const struct flow *flow = &crowd.flows[i];

		done &= !flow->is_followed || flow_done(flow) == flow->sent;
		if (say_what_is_missing && flow->is_followed && flow_done(flow) != flow->sent) {
			crowd_report(&crowd.lost, "%s: sent up to %u, received up to %u",
				     flow->topic, flow->sent, flow_done(flow));
		}
	}
	if (say_what_is_missing && crowd.zombies > 0) {
		crowd_report(&crowd.other, "%" PRIu64 " taken-over connections are open",
			     crowd.zombies);
	}
	return done;
}

static int finish(void)
{
	double deadline_s = crowd_now_s() + 60;

	crowd.is_stopping = true;
	while (!is_all_done(false) && crowd_now_s() < deadline_s) {
		turn();
		come_and_go();
	}
	is_all_done(true);
	printf("%u clients, %.0f s: %" PRIu64 " published, %" PRIu64 " delivered, %" PRIu64
	       " torn away, %" PRIu64 " taken over, %" PRIu64 " visits\n",
	       crowd.client_count, crowd.seconds, crowd.published, crowd.delivered, crowd.torn,
	       crowd.connections_taken, crowd.visits);
	printf("%" PRIu64 " lost, %" PRIu64 " doubled, %" PRIu64 " out of order, %" PRIu64
	       " other faults\n",
	       crowd.lost, crowd.doubled, crowd.disordered, crowd.other);
	return crowd.lost + crowd.doubled + crowd.disordered + crowd.other > 0 ||
	       crowd.delivered == 0;
}

static bool parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", 1, NULL, 'p'},	  {"clients", 1, NULL, 'c'}, {"seconds", 1, NULL, 's'},
		{"window", 1, NULL, 'w'}, {"seed", 1, NULL, 'r'},    {"no-overlaps", 0, NULL, 'o'},
		{NULL, 0, NULL, 0},
	};
	int key;

	while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
		double value = optarg ? atof(optarg) : 0;

		switch (key) {
		case 'p': crowd.port = (uint16_t)value; break;
		case 'c': crowd.client_count = (unsigned)value; break;
		case 's': crowd.seconds = value; break;
		case 'w': crowd.window = (unsigned)value; break;
		case 'r': crowd.random += (uint64_t)value * 7919; break;
		case 'o': crowd.has_overlaps = false; break;
		default: return false;
		}
	}
	return crowd.port && crowd.client_count >= 50 && crowd.window && crowd.window <= MAX_WINDOW;
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	double end_s;

	if (!parse(argc, argv)) {
		fputs("usage: stress --port PORT [--clients 1000] [--seconds 60] [--window 16] "
		      "[--seed N]\n",
		      stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	crowd.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	make_clients();
	connect_all(ROLE_SUBSCRIBER, crowd_now_s() + 60);
	connect_all(ROLE_MEMBER, crowd_now_s() + 60);
	connect_all(ROLE_PUBLISHER, crowd_now_s() + 60);
	connect_all(ROLE_GROUP_PUBLISHER, crowd_now_s() + 60);
	end_s = crowd_now_s() + crowd.seconds;
	while (crowd_now_s() < end_s) {
		turn();
		come_and_go();
	}
	return finish();
}
