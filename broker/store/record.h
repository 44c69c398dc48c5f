/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what the values in the store look like.
 *
 *	value: version, 1 byte | what it holds | checksum, 4 bytes
 *
 * A session, subscription, will, or retained message is one record each. A message with its
 * receivers is one record, or several (RECEIVERS_BYTES), of which the first holds the body and the
 * others name it:
 *
 *	messages   1041 -> body, number 7001, receivers 12 13 14 ...
 *	           1042 -> body in 1041, number 7301, receivers 312 313 ...
 *
 * A receiver is a byte or two, because their ids mostly follow each other and their numbers always do.
 * What a session has done with its messages is its state record:
 *
 *	states       12 -> all below 7000 done, 7003 done; 7001 sent as 17; received 4 5
 *
 * All functions are pure, and reading checks everything: the bytes may be damaged.
 */
#ifndef NIGHTJAR_STORE_RECORD_H
#define NIGHTJAR_STORE_RECORD_H

#include "store/pack.h"
#include "store/store.h"

#define RECORD_VERSION 1
#define STORE_FORMAT 1

/* Of receivers in one record: two of these fit a page, so no runs of pages have to be found. */
#define RECEIVERS_BYTES 1800

/* Starts a value, and ends it with the checksum of all since at. */
size_t record_begin(struct pack *to);
void record_end(struct pack *to, size_t at);
/* The inside of a value; false: damaged, or of a version that we do not know. */
bool record_open(struct slice value, struct unpack *out);

void record_put_session(struct pack *to, const struct store_session *session);
bool record_get_session(struct slice value, struct store_session *out);
void record_put_subscription(struct pack *to, const struct store_subscription *subscription);
bool record_get_subscription(struct slice value, struct store_subscription *out);

/* A message as it is stored. Slices point into the value. */
struct stored_message {
	uint64_t arrived_ms, expires_ms; /* wall */
	uint64_t retained_version;
	struct slice client_id, username; /* of who published */
	struct slice topic, properties, payload;
	uint16_t listener;
	uint8_t qos, flags;
	bool has_origin, has_username;
};

/* wall_ms - clock_now_ms() of the moment: what turns the message's times into wall time. */
void stored_message_of(const struct message *message, uint64_t wall_offset_ms,
		       struct stored_message *out);
void pack_message(struct pack *to, const struct stored_message *message);
bool unpack_message(struct unpack *from, struct stored_message *out);
/* NULL: no memory. offset as above, of now. */
struct message *stored_message_make(struct worker *me, const struct stored_message *message,
				    uint64_t wall_offset_ms);

static inline uint32_t stored_message_bytes(const struct stored_message *message)
{
	return (uint32_t)(message->topic.len + message->properties.len + message->payload.len);
}

struct stored_will {
	struct stored_message message;
	uint64_t due_ms;
	uint32_t delay_s, expiry_s;
	bool has_expiry;
};
void record_put_will(struct pack *to, const struct stored_will *will);
bool record_get_will(struct slice value, struct stored_will *out);

/* The version stands in the message. */
void record_put_retained(struct pack *to, const struct stored_message *message);
bool record_get_retained(struct slice value, struct stored_message *out);

/* Messages. */

struct receiver {
	uint64_t id, number;
	struct slice subscription_ids; /* little-endian, 4 bytes each; as in the record */
	uint8_t qos;
	bool retain;
};

/* How a record of receivers goes on from one to the next. Begins with id 0 and the first number. */
struct receiver_cursor {
	uint64_t id, number;
};

void pack_receiver(struct pack *to, struct receiver_cursor *cursor,
		   const struct receiver *receiver);
bool unpack_receiver(struct unpack *from, struct receiver_cursor *cursor, struct receiver *out);

struct message_record {
	uint64_t body_record; /* 0: the body is here */
	struct slice body;    /* for unpack_message() */
	uint64_t number;      /* of the first receiver */
	struct slice receivers;
};
void record_put_message(struct pack *to, const struct message_record *record);
bool record_get_message(struct slice value, struct message_record *out);

/* States. The lists are read one by one. */
struct flight {
	uint64_t number;
	uint16_t packet_id;
	uint8_t state; /* enum store_flight */
	uint8_t qos;
};

struct state_record {
	uint64_t done_below; /* all numbers below are done */
	uint64_t done_count, flight_count, received_count;
	struct unpack rest; /* done numbers (state_next_done), flights, received, in this order */
	uint64_t last;
};
/* numbers rise. */
void record_put_state(struct pack *to, uint64_t done_below, const uint64_t *done, size_t done_count,
		      const struct flight *flights, size_t flight_count, const uint16_t *received,
		      size_t received_count);
bool record_get_state(struct slice value, struct state_record *out);
uint64_t state_next_done(struct state_record *state);
struct flight state_next_flight(struct state_record *state);
uint16_t state_next_received(struct state_record *state);

/* The one record of the whole store. */
struct meta_record {
	uint32_t format;
	uint64_t commit, wall_ms;
	uint64_t seed;
	uint64_t next_id, next_number, next_record, retained_version;
	uint64_t applied[WORKERS_MAX]; /* of each worker's ring; 0: nothing */
	unsigned rings;
	uint64_t rings_nonce;
};
void record_put_meta(struct pack *to, const struct meta_record *meta);
bool record_get_meta(struct slice value, struct meta_record *out);

/* Of topics and filters, in keys. The seed is the store's own. */
uint64_t record_hash(struct slice text, uint64_t seed);

#endif
