/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mosquitto.c - reads mosquitto's mosquitto.db (version 6, of mosquitto 2) into a new store.
 *
 *	file:  15 bytes of magic, checksum (4, unused), version (4) | chunks
 *	chunk: kind, 4 | length, 4 | body. Numbers of up to 4 bytes are big-endian, those of 8 are as
 *	       the machine that wrote them has them: little-endian
 *
 *	configuration  last message, 8 | shut down, 1 | ...
 *	client         expires at, 8 | expiry interval, 4 | last packet id, 2 | lengths of client id, 2 |
 *	               listener's port, 2 | length of user name, 2 | padding, 4 | client id | user name
 *	message        number, 8 | expires at, 8 | payload length, 4 | packet id, 2 | lengths of the
 *	               source's client id, 2, its user name, 2, and of the topic, 2 | port, 2 | QoS, 1 |
 *	               retain, 1 | client id | user name | topic | payload | properties
 *	client message message, 8 | packet id, 2 | length of client id, 2 | QoS, 1 | state, 1 |
 *	               retain and dup, 1 | direction, 1 | client id | properties
 *	retained       message, 8
 *	subscription   identifier, 4 | lengths of client id, 2, and filter, 2 | QoS, 1 | options, 1 |
 *	               padding, 2 | client id | filter
 *
 * A message whose PUBLISH at QoS 2 has come and whose PUBREL has not was not yet delivered there; it is
 * here, with the Packet Identifier remembered, so that the PUBREL is answered.
 */
#define HASH_NONFATAL_OOM 0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "base/clock.h"
#include "mqtt/topic.h"
#include "loader.h"

static const uint8_t magic[15] = {0x00, 0xb5, 0x00, 'm', 'o', 's', 'q', 'u',
				  'i',	't',  't',  'o', ' ', 'd', 'b'};

enum chunk_kind {
	CHUNK_CONFIGURATION = 1,
	CHUNK_MESSAGE,
	CHUNK_CLIENT_MESSAGE,
	CHUNK_RETAINED,
	CHUNK_SUBSCRIPTION,
	CHUNK_CLIENT,
};

enum their_state {
	THEIR_WAIT_FOR_PUBACK = 3,
	THEIR_WAIT_FOR_PUBREC = 5,
	THEIR_RESEND_PUBREL = 6,
	THEIR_WAIT_FOR_PUBCOMP = 9,
};

struct client {
	UT_hash_handle hh;
	struct slice name;
	uint64_t id;
	struct flight *flights;
	size_t flight_count, flight_cap;
	uint16_t *received;
	size_t received_count, received_cap;
	uint64_t next_number;
	struct subscription_of {
		struct slice filter;
		uint8_t qos;
	} * subscriptions;
	size_t subscription_count, subscription_cap;
};

struct stored {
	UT_hash_handle hh;
	uint64_t number; /* theirs */
	uint64_t record; /* ours, with the body; 0: not written yet */
	struct stored_message message;
};

struct conversion {
	struct loader loader;
	struct err_detail *detail;
	struct client *clients;
	struct stored *messages;
	uint64_t next_record, next_number, retained;
	uint64_t counts[CHUNK_CLIENT + 1];
	uint64_t orphans[CHUNK_CLIENT + 1]; /* name a client or message that is not in the file */
	uint64_t unknown;		    /* chunks of other kinds */
};

/* Their numbers. */

static uint16_t big16(struct unpack *from)
{
	uint16_t value = (uint16_t)(unpack_u8(from) << 8);

	return (uint16_t)(value | unpack_u8(from));
}

static uint32_t big32(struct unpack *from)
{
	uint32_t value = (uint32_t)big16(from) << 16;

	return value | big16(from);
}

static struct client *client_of(struct conversion *to, struct slice name)
{
	struct client *client;

	HASH_FIND(hh, to->clients, name.data, name.len, client);
	return client;
}

/* First pass: clients, messages. */

static uint64_t offline_since(uint64_t expires_s, uint32_t interval_s)
{
	if (interval_s == UINT32_MAX || expires_s < interval_s)
		return clock_wall_ms();
	return (expires_s - interval_s) * 1000;
}

static enum err take_client(struct conversion *to, struct unpack *from)
{
	uint64_t expires_s = unpack_u64(from);
	struct store_session session = {.expiry_s = big32(from), .version = 4};
	struct client *client = calloc(1, sizeof *client);
	uint16_t id_bytes, user_bytes, port;
	char listener[8];

	BUG_ON(!client);
	(void)big16(from); /* the last packet id that they gave */
	id_bytes = big16(from);
	port = big16(from);
	user_bytes = big16(from);
	(void)unpack_bytes(from, 4);
	session.name = unpack_bytes(from, id_bytes);
	session.username = unpack_bytes(from, user_bytes);
	session.has_username = user_bytes > 0;
	session.listener =
		slice_of(listener, (size_t)snprintf(listener, sizeof listener, "%u", port));
	session.offline_ms = offline_since(expires_s, session.expiry_s);
	session.connected_ms = session.offline_ms;
	if (from->is_bad || !session.name.len || client_of(to, session.name)) {
		free(client);
		return ERR_INVALID;
	}
	client->name = session.name;
	client->id = ++to->counts[CHUNK_CLIENT];
	client->next_number = 1;
	HASH_ADD_KEYPTR(hh, to->clients, client->name.data, client->name.len, client);
	return loader_session(&to->loader, client->id, &session);
}

/* Theirs have all properties in front of which stands their length; ours only those forwarded, and
 * the same properties are forwarded. */
static struct slice properties_of(struct unpack *from)
{
	uint64_t length = unpack_left(from) ? unpack_varint(from) : 0;

	return unpack_bytes(from, length);
}

static enum err take_message(struct conversion *to, struct unpack *from)
{
	struct stored *stored = calloc(1, sizeof *stored);
	struct stored_message *message = &stored->message;
	uint16_t client_bytes, user_bytes, topic_bytes;
	uint32_t payload_bytes;
	uint8_t retain;

	BUG_ON(!stored);
	stored->number = unpack_u64(from);
	message->expires_ms = unpack_u64(from) * 1000;
	payload_bytes = big32(from);
	(void)big16(from);
	client_bytes = big16(from);
	user_bytes = big16(from);
	topic_bytes = big16(from);
	(void)big16(from);
	message->qos = unpack_u8(from);
	retain = unpack_u8(from);
	message->client_id = unpack_bytes(from, client_bytes);
	message->username = unpack_bytes(from, user_bytes);
	message->topic = unpack_bytes(from, topic_bytes);
	message->payload = unpack_bytes(from, payload_bytes);
	message->properties = properties_of(from);
	message->has_origin = client_bytes > 0;
	message->has_username = user_bytes > 0;
	message->flags = retain ? MESSAGE_RETAIN : 0;
	message->arrived_ms = clock_wall_ms();
	if (from->is_bad || message->qos > 2) {
		free(stored);
		return ERR_INVALID;
	}
	to->counts[CHUNK_MESSAGE]++;
	HASH_ADD(hh, to->messages, number, sizeof stored->number, stored);
	return ERR_NONE;
}

/* Second pass: what belongs to them. */

static struct stored *message_of(struct conversion *to, uint64_t number)
{
	struct stored *stored;

	HASH_FIND(hh, to->messages, &number, sizeof number, stored);
	return stored;
}

static enum err queue_for(struct conversion *to, struct client *client, struct stored *stored,
			  uint8_t qos, bool retain, uint64_t *out_number)
{
	struct receiver receiver = {.id = client->id, .qos = qos, .retain = retain};
	struct message_record record = {.body_record = stored->record};
	struct pack receivers = {NULL, 0, 0}, body = {NULL, 0, 0};
	struct receiver_cursor cursor = {0, 0};
	uint64_t number = ++to->next_record;
	enum err err;

	if (!stored->record) {
		pack_message(&body, &stored->message);
		record.body = pack_slice(&body);
		stored->record = number;
	}
	receiver.number = record.number = cursor.number = number;
	client->next_number = number + 1;
	pack_receiver(&receivers, &cursor, &receiver);
	record.receivers = pack_slice(&receivers);
	err = loader_message(&to->loader, number, &record);
	to->loader.meta->next_number = number + 1;
	*out_number = number;
	pack_fini(&receivers);
	pack_fini(&body);
	return err;
}

static void add_flight(struct client *client, uint64_t number, uint16_t packet_id,
		       enum store_flight state, uint8_t qos)
{
	client->flights = vector_room(client->flights, client->flight_count, &client->flight_cap,
				      sizeof *client->flights);
	client->flights[client->flight_count++] =
		(struct flight){number, packet_id, (uint8_t)state, qos};
}

static enum err keep_retained(struct conversion *to, const struct stored *stored)
{
	struct stored_message message = stored->message;

	message.retained_version = ++to->retained;
	message.flags |= MESSAGE_RETAIN;
	return loader_retained(&to->loader, &message);
}

/* Everybody who has a subscription that matches. */
static enum err deliver_now(struct conversion *to, struct stored *stored)
{
	enum err err = ERR_NONE;
	uint64_t number;

	for (struct client *client = to->clients; client && err == ERR_NONE;
	     client = client->hh.next) {
		int qos = -1;

		for (size_t i = 0; i < client->subscription_count; i++)
			if (topic_matches_filter(stored->message.topic,
						 client->subscriptions[i].filter) &&
			    client->subscriptions[i].qos > qos)
				qos = client->subscriptions[i].qos;
		if (qos > stored->message.qos)
			qos = stored->message.qos;
		if (qos > 0)
			err = queue_for(to, client, stored, (uint8_t)qos, false, &number);
	}
	return err;
}

static enum err take_incoming(struct conversion *to, struct client *client, struct stored *stored,
			      uint16_t packet_id)
{
	client->received = vector_room(client->received, client->received_count,
				       &client->received_cap, sizeof *client->received);
	client->received[client->received_count++] = packet_id;
	return deliver_now(to, stored);
}

static enum err take_client_message(struct conversion *to, struct unpack *from)
{
	struct stored *stored = message_of(to, unpack_u64(from));
	uint16_t packet_id = big16(from), id_bytes = big16(from);
	uint8_t qos = unpack_u8(from), state = unpack_u8(from), bits = unpack_u8(from);
	bool is_outgoing = unpack_u8(from) == 1;
	struct client *client = client_of(to, unpack_bytes(from, id_bytes));
	uint64_t number;
	enum err err;

	if (from->is_bad || qos > 2)
		return ERR_INVALID;
	if (!client || !stored) {
		to->orphans[CHUNK_CLIENT_MESSAGE]++; /* mosquitto passes over it, too */
		return ERR_NONE;
	}
	to->counts[CHUNK_CLIENT_MESSAGE]++;
	if (!is_outgoing)
		return qos == 2 ? take_incoming(to, client, stored, packet_id) : ERR_NONE;
	err = queue_for(to, client, stored, qos, (bits & 0xf0) != 0, &number);
	if (state == THEIR_WAIT_FOR_PUBACK || state == THEIR_WAIT_FOR_PUBREC)
		add_flight(client, number, packet_id, STORE_SENT, qos);
	else if (state == THEIR_RESEND_PUBREL || state == THEIR_WAIT_FOR_PUBCOMP)
		add_flight(client, number, packet_id, STORE_RELEASED, qos);
	return err;
}

static enum err take_retained(struct conversion *to, struct unpack *from)
{
	struct stored *stored = message_of(to, unpack_u64(from));

	if (from->is_bad)
		return ERR_INVALID;
	if (!stored) {
		to->orphans[CHUNK_RETAINED]++;
		return ERR_NONE;
	}
	to->counts[CHUNK_RETAINED]++;
	return keep_retained(to, stored);
}

static enum err take_subscription(struct conversion *to, struct unpack *from)
{
	struct store_subscription subscription = {.subscription_id = big32(from)};
	uint16_t id_bytes = big16(from), filter_bytes = big16(from);
	struct client *client;
	uint8_t options;

	subscription.qos = unpack_u8(from);
	options = unpack_u8(from);
	(void)unpack_bytes(from, 2);
	client = client_of(to, unpack_bytes(from, id_bytes));
	subscription.text = unpack_bytes(from, filter_bytes);
	if (from->is_bad || subscription.qos > 2)
		return ERR_INVALID;
	if (!client) {
		to->orphans[CHUNK_SUBSCRIPTION]++;
		return ERR_NONE;
	}
	subscription.no_local = (options & 4) != 0;
	subscription.retain_as_published = (options & 8) != 0;
	subscription.retain_handling = options >> 4 & 3;
	to->counts[CHUNK_SUBSCRIPTION]++;
	client->subscriptions =
		vector_room(client->subscriptions, client->subscription_count,
			    &client->subscription_cap, sizeof *client->subscriptions);
	client->subscriptions[client->subscription_count].filter = subscription.text;
	client->subscriptions[client->subscription_count++].qos = subscription.qos;
	return loader_subscription(&to->loader, client->id, &subscription);
}

static enum err finish_clients(struct conversion *to)
{
	enum err err = ERR_NONE;

	for (struct client *client = to->clients; client && err == ERR_NONE;
	     client = client->hh.next) {
		struct pack value = {NULL, 0, 0};

		if (client->flight_count || client->received_count) {
			record_put_state(&value, 1, NULL, 0, client->flights, client->flight_count,
					 client->received, client->received_count);
			err = loader_state(&to->loader, client->id, pack_slice(&value));
		}
		pack_fini(&value);
	}
	return err;
}

/* Which chunks a pass reads: those that name others come after them, whatever order the file has. */
static enum err take_chunk(struct conversion *to, unsigned pass, uint32_t kind, struct unpack *from)
{
	switch (kind) {
	case CHUNK_CLIENT: return pass == 0 ? take_client(to, from) : ERR_NONE;
	case CHUNK_MESSAGE: return pass == 0 ? take_message(to, from) : ERR_NONE;
	case CHUNK_SUBSCRIPTION: return pass == 1 ? take_subscription(to, from) : ERR_NONE;
	case CHUNK_RETAINED: return pass == 1 ? take_retained(to, from) : ERR_NONE;
	case CHUNK_CLIENT_MESSAGE: return pass == 2 ? take_client_message(to, from) : ERR_NONE;
	case CHUNK_CONFIGURATION: return ERR_NONE;
	default: to->unknown += pass == 0; return ERR_NONE; /* of a later version, perhaps */
	}
}

static enum err take_file(struct conversion *to, unsigned pass, struct slice file)
{
	struct unpack from = unpack_of(file), body;
	enum err err = ERR_NONE;

	(void)unpack_bytes(&from, sizeof magic + 8);
	while (err == ERR_NONE && unpack_left(&from) > 0) {
		uint64_t at = (uint64_t)(from.at - file.data);
		uint32_t kind = big32(&from), length = big32(&from);

		body = unpack_of(unpack_bytes(&from, length));
		if (!from.is_bad)
			err = take_chunk(to, pass, kind, &body);
		if (from.is_bad || err == ERR_INVALID)
			return err_set(to->detail, ERR_INVALID,
				       "The chunk at byte %llu of the file makes no sense: is it "
				       "damaged?",
				       (unsigned long long)at);
	}
	return err;
}

static enum err check_header(struct slice file, struct err_detail *detail)
{
	struct unpack from = unpack_of(file);
	struct slice start = unpack_bytes(&from, sizeof magic);
	uint32_t version;

	(void)big32(&from);
	version = big32(&from);
	if (from.is_bad || memcmp(start.data, magic, sizeof magic) != 0)
		return err_set(detail, ERR_INVALID, "This is no mosquitto.db");
	if (version != 6)
		return err_set(detail, ERR_UNSUPPORTED,
			       "This mosquitto.db has version %u; version 6 can be read. Start and "
			       "stop mosquitto 2 on it once: it writes version 6",
			       version);
	return ERR_NONE;
}

static void free_all(struct conversion *to)
{
	struct client *client, *next_client;
	struct stored *stored, *next_stored;

	HASH_ITER(hh, to->clients, client, next_client) {
		HASH_DEL(to->clients, client);
		free(client->flights);
		free(client->received);
		free(client->subscriptions);
		free(client);
	}
	HASH_ITER(hh, to->messages, stored, next_stored) {
		HASH_DEL(to->messages, stored);
		free(stored);
	}
}

static enum err convert(struct conversion *to, const char *directory, struct slice file)
{
	enum err err = check_header(file, to->detail);

	if (err != ERR_NONE)
		return err;
	err = loader_open(&to->loader, directory, to->detail);
	for (unsigned pass = 0; pass < 3 && err == ERR_NONE; pass++)
		err = take_file(to, pass, file);
	if (err == ERR_NONE)
		err = finish_clients(to);
	return loader_close(&to->loader, err);
}

static enum err map_file(const char *path, struct slice *out, struct err_detail *detail)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *mapped = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0)
		mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (mapped == MAP_FAILED)
		return err_set(detail, ERR_IO, "Cannot read %s: %s", path,
			       errno ? strerror(errno) : "it is empty");
	*out = slice_of(mapped, (size_t)status.st_size);
	close(fd);
	return ERR_NONE;
}

static void report(const struct conversion *to, const char *directory)
{
	const uint64_t *orphans = to->orphans;

	printf("%" PRIu64 " sessions with %" PRIu64 " subscriptions and %" PRIu64
	       " messages on their way, and %" PRIu64 " retained messages are in %s/nightjar.db\n",
	       to->counts[CHUNK_CLIENT], to->counts[CHUNK_SUBSCRIPTION],
	       to->counts[CHUNK_CLIENT_MESSAGE], to->counts[CHUNK_RETAINED], directory);
	if (orphans[CHUNK_SUBSCRIPTION] || orphans[CHUNK_CLIENT_MESSAGE] || orphans[CHUNK_RETAINED])
		printf("Left out, because their session or message is not in the file: %" PRIu64
		       " subscriptions, %" PRIu64 " messages on their way, %" PRIu64
		       " retained messages\n",
		       orphans[CHUNK_SUBSCRIPTION], orphans[CHUNK_CLIENT_MESSAGE],
		       orphans[CHUNK_RETAINED]);
	if (to->unknown)
		printf("Left out, because their kind is not known here: %" PRIu64 " chunks\n",
		       to->unknown);
	puts("A mosquitto.db holds neither shared subscriptions nor wills: clients that have some "
	     "must subscribe and connect again.");
}

int import_mosquitto(const char *directory, const char *path)
{
	struct err_detail detail = {""};
	struct conversion to = {.detail = &detail};
	struct slice file = SLICE_NONE;
	enum err err = map_file(path, &file, &detail);

	if (err == ERR_NONE) {
		err = convert(&to, directory, file);
		munmap((void *)(uintptr_t)file.data, file.len);
	}
	free_all(&to);
	if (err != ERR_NONE)
		return fail(&detail);
	report(&to, directory);
	return 0;
}
