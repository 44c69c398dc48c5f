/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NIGHTJAR_TESTS_CROWD_H
#define NIGHTJAR_TESTS_CROWD_H

/*
 * The clients of stress.c: what they have sent, what they have to get, and the checks of each
 * message. The rules F1 to F5 stand in stress.c. One thread, one run in a process.
 */
#include <stdbool.h>
#include <stdint.h>

#include "stress/wire.h"

enum {
	MAX_EVENTS = 512,
	MAX_INFLIGHT = 20,
	MAX_WINDOW = 64,
	FLOWS_EACH = 3, /* one for each QoS */
	GROUP_MEMBERS = 3,
	FOLLOWED = 3, /* publishers that a subscriber follows */
	ERRORS_SHOWN = 20,
};

enum role { ROLE_PUBLISHER, ROLE_SUBSCRIBER, ROLE_GROUP_PUBLISHER, ROLE_MEMBER, ROLE_VISITOR };
enum state { STATE_AWAY, STATE_CONNECTING, STATE_SUBSCRIBING, STATE_ACTIVE };

/* How far one subscriber is in one flow. */
struct position {
	struct client *owner;
	uint32_t next;	    /* everything below has arrived */
	uint32_t cursor;    /* what has to come now; below next while a reconnect repeats */
	bool is_repeating;  /* the owner has just come back: one step back is allowed */
	bool has_begun;	    /* visitors: the first message has come */
	uint32_t at_suback; /* visitors: what was sent when the SUBACK came */
	uint32_t first;	    /* visitors: the first number that came */
};

struct flow {
	char topic[32];
	uint32_t sent;
	bool is_followed;
	bool is_repeated; /* its publisher is torn away, and sends again at QoS 1 */
	struct position *positions;
	unsigned position_count;
	/* Groups: numbers below low have arrived, and those whose bit is set above it. */
	uint32_t low;
	uint64_t seen;
};

struct outgoing {
	uint16_t packet_id;
	uint8_t qos;
	bool is_received; /* PUBREC came, PUBREL was sent */
	uint32_t number;
};

struct client {
	struct wire wire;
	enum role role;
	enum state state;
	char id[32];
	unsigned index; /* of its publisher, or of its group */
	bool is_persistent;
	bool is_torn;  /* away from its connection from time to time */
	bool was_here; /* the broker has a session, if persistent */
	unsigned subacks_missing;
	uint16_t last_packet_id;
	unsigned outgoing_count;
	struct outgoing outgoing[MAX_INFLIGHT]; /* in the order of their sending */
	uint8_t *held;				/* bits: QoS 2 Packet Identifiers before PUBREL */
	struct position visits[FLOWS_EACH];
	double due_s;
};

struct payload {
	uint32_t flow;
	uint32_t number;
	char filling[24];
};

struct crowd {
	uint16_t port;
	unsigned client_count;
	unsigned publisher_count;
	unsigned subscriber_count;
	unsigned group_count;
	unsigned window;
	double seconds;
	uint64_t random;
	int epoll_fd;
	struct client *clients;
	struct flow *flows; /* those of publishers, then those of groups */
	unsigned flow_count;
	bool is_stopping;
	bool has_overlaps; /* off for brokers that send a copy for each filter */
	uint64_t published, delivered, torn, visits, connections_taken, zombies;
	uint64_t lost, doubled, disordered, other;
};

extern struct crowd crowd;

/* Monotonic. */
double crowd_now_s(void);

/* 0 up to limit - 1, from the run's seed. */
uint32_t crowd_random(uint32_t limit);

/* A moment between two distances from now. */
double crowd_soon_s(double least_s, double most_s);

/* Counts a fault in one of crowd's counters, and prints the first few. */
void crowd_report(uint64_t *counter, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For what makes the run meaningless. Ends the process. */
_Noreturn void crowd_fail(const char *what);

/* Opens the socket and sends CONNECT. */
void client_connect(struct client *client);

/* Forgets the connection without closing it: the broker has to, when the session is taken over. */
void client_leave_to_broker(struct client *client);

/* Reads what the broker still sends on such a connection, until it closes. */
void crowd_on_zombie(int fd);

/* All numbers below have reached every subscriber. */
uint32_t flow_done(const struct flow *flow);

/* As much as window and Receive Maximum allow [F1]. */
void client_publish_more(struct client *client);

/* After a reconnect: everything unfinished again, in its order [MQTT-4.4.0-1]. */
void client_publish_again(struct client *client);

/* PUBACK, PUBREC or PUBCOMP. */
void client_on_answer(struct client *client, const struct wire_packet *packet);

/* NULL when the client does not follow the flow. */
struct position *client_position(struct client *client, uint32_t flow_index);

/* Checks [F2, F3, F4] and answers. */
void client_on_publish(struct client *client, const struct wire_packet *packet);

/* A Packet Identifier that the client does not use at this moment. */
uint16_t client_packet_id(struct client *client);

#endif
