/* SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHECKSUM_BYTES 4

enum session_bit { SESSION_HAS_USERNAME = 1, SESSION_IS_GROUP = 2, SESSION_IS_WILL = 4 };
enum subscription_bit { SUB_NO_LOCAL = 1, SUB_RETAIN_AS_PUBLISHED = 2 };
enum message_bit { MESSAGE_HAS_ORIGIN = 1, MESSAGE_HAS_USERNAME = 2 };
enum receiver_bit {
	RECEIVER_QOS = 3,
	RECEIVER_RETAIN = 4,
	RECEIVER_IDS = 8,
	RECEIVER_NEXT_ID = 16,	   /* the id follows the one before */
	RECEIVER_NEXT_NUMBER = 32, /* and so does the number */
};

uint64_t record_hash(struct slice text, uint64_t seed)
{
	return XXH3_64bits_withSeed(text.data, text.len, seed);
}

static uint32_t checksum(const uint8_t *data, size_t len)
{
	return (uint32_t)XXH3_64bits(data, len);
}

size_t record_begin(struct pack *to)
{
	size_t at = to->len;

	pack_u8(to, RECORD_VERSION);
	return at;
}

void record_end(struct pack *to, size_t at)
{
	pack_u32(to, checksum(to->data + at, to->len - at));
}

bool record_open(struct slice value, struct unpack *out)
{
	struct unpack tail;

	if (value.len < 1 + CHECKSUM_BYTES || value.data[0] != RECORD_VERSION)
		return false;
	value.len -= CHECKSUM_BYTES;
	tail = unpack_of(slice_of(value.data + value.len, CHECKSUM_BYTES));
	if (unpack_u32(&tail) != checksum(value.data, value.len))
		return false;
	*out = unpack_of(slice_of(value.data + 1, value.len - 1));
	return true;
}

static bool is_read_to_the_end(const struct unpack *from)
{
	return !from->is_bad && from->at == from->end;
}

void record_put_session(struct pack *to, const struct store_session *session)
{
	size_t at = record_begin(to);

	pack_u8(to, (uint8_t)((session->has_username ? SESSION_HAS_USERNAME : 0) |
			      (session->kind == STORE_GROUP ? SESSION_IS_GROUP : 0) |
			      (session->kind == STORE_WILL ? SESSION_IS_WILL : 0)));
	pack_u8(to, session->version);
	pack_u32(to, session->expiry_s);
	pack_varint(to, session->connected_ms);
	pack_varint(to, session->offline_ms);
	pack_text(to, session->name);
	pack_text(to, session->username);
	pack_text(to, session->listener);
	record_end(to, at);
}

bool record_get_session(struct slice value, struct store_session *out)
{
	struct unpack from;
	uint8_t bits;

	if (!record_open(value, &from))
		return false;
	bits = unpack_u8(&from);
	*out = (struct store_session){
		.kind = bits & SESSION_IS_GROUP	 ? STORE_GROUP
			: bits & SESSION_IS_WILL ? STORE_WILL
						 : STORE_SESSION,
		.has_username = (bits & SESSION_HAS_USERNAME) != 0,
	};
	out->version = unpack_u8(&from);
	out->expiry_s = unpack_u32(&from);
	out->connected_ms = unpack_varint(&from);
	out->offline_ms = unpack_varint(&from);
	out->name = unpack_text(&from);
	out->username = unpack_text(&from);
	out->listener = unpack_text(&from);
	return is_read_to_the_end(&from);
}

void record_put_subscription(struct pack *to, const struct store_subscription *subscription)
{
	size_t at = record_begin(to);

	pack_u8(to, (uint8_t)((subscription->no_local ? SUB_NO_LOCAL : 0) |
			      (subscription->retain_as_published ? SUB_RETAIN_AS_PUBLISHED : 0)));
	pack_u8(to, subscription->qos);
	pack_u8(to, subscription->retain_handling);
	pack_varint(to, subscription->subscription_id);
	pack_text(to, subscription->text);
	record_end(to, at);
}

bool record_get_subscription(struct slice value, struct store_subscription *out)
{
	struct unpack from;
	uint8_t bits;

	if (!record_open(value, &from))
		return false;
	bits = unpack_u8(&from);
	*out = (struct store_subscription){
		.no_local = (bits & SUB_NO_LOCAL) != 0,
		.retain_as_published = (bits & SUB_RETAIN_AS_PUBLISHED) != 0,
	};
	out->qos = unpack_u8(&from);
	out->retain_handling = unpack_u8(&from);
	out->subscription_id = (uint32_t)unpack_limited(&from, UINT32_MAX);
	out->text = unpack_text(&from);
	return is_read_to_the_end(&from);
}

void stored_message_of(const struct message *message, uint64_t wall_offset_ms,
		       struct stored_message *out)
{
	*out = (struct stored_message){
		.arrived_ms = message_arrived_ms(message) + wall_offset_ms,
		.expires_ms = message->expires_ms ? message->expires_ms + wall_offset_ms : 0,
		.retained_version = message->retained_version,
		.topic = message_topic(message),
		.properties = message_properties(message),
		.payload = message_payload(message),
		.qos = message->qos,
		.flags = message->flags,
	};
	if (!message->origin)
		return;
	out->has_origin = true;
	out->has_username = message->origin->has_username;
	out->listener = message->origin->listener;
	out->client_id = origin_client_id(message->origin);
	out->username = origin_username(message->origin);
}

void pack_message(struct pack *to, const struct stored_message *message)
{
	uint8_t *at = pack_room(to, 64 + message->client_id.len + message->username.len +
					    stored_message_bytes(message));

	*at++ = (uint8_t)((message->has_origin ? MESSAGE_HAS_ORIGIN : 0) |
			  (message->has_username ? MESSAGE_HAS_USERNAME : 0));
	*at++ = message->qos;
	*at++ = message->flags;
	at = put_varint(at, message->arrived_ms);
	at = put_varint(at, message->expires_ms);
	at = put_varint(at, message->retained_version);
	if (message->has_origin) {
		at = put_varint(at, message->listener);
		at = put_text(at, message->client_id);
		at = put_text(at, message->username);
	}
	at = put_text(at, message->topic);
	at = put_text(at, message->properties);
	at = put_text(at, message->payload);
	pack_until(to, at);
}

bool unpack_message(struct unpack *from, struct stored_message *out)
{
	uint8_t bits = unpack_u8(from);

	*out = (struct stored_message){
		.has_origin = (bits & MESSAGE_HAS_ORIGIN) != 0,
		.has_username = (bits & MESSAGE_HAS_USERNAME) != 0,
	};
	out->qos = unpack_u8(from);
	out->flags = unpack_u8(from);
	out->arrived_ms = unpack_varint(from);
	out->expires_ms = unpack_varint(from);
	out->retained_version = unpack_varint(from);
	if (out->has_origin) {
		out->listener = (uint16_t)unpack_limited(from, UINT16_MAX);
		out->client_id = unpack_text(from);
		out->username = unpack_text(from);
	}
	out->topic = unpack_text(from);
	out->properties = unpack_text(from);
	out->payload = unpack_text(from);
	return !from->is_bad && out->qos <= 2 && out->topic.len <= UINT16_MAX &&
	       out->client_id.len <= UINT16_MAX && out->username.len <= UINT16_MAX &&
	       out->payload.len <= UINT32_MAX && out->properties.len <= UINT32_MAX;
}

struct message *stored_message_make(struct worker *me, const struct stored_message *message,
				    uint64_t wall_offset_ms)
{
	struct message_content content = {
		.topic = message->topic,
		.payload = message->payload,
		.properties = message->properties,
		.properties_len = (uint32_t)message->properties.len,
		.topic_hash = hash_slice(message->topic),
		.qos = message->qos,
		.flags = message->flags,
	};
	struct message *made;

	if (message->has_origin)
		content.origin = origin_create(message->listener, message->client_id,
					       message->has_username, message->username);
	/* What has expired long ago may lie before this machine's start: then it expires at once. */
	if (message->expires_ms)
		content.expires_ms = message->expires_ms > wall_offset_ms
					     ? message->expires_ms - wall_offset_ms
					     : 1;
	made = message_create(me, &content);
	origin_unref(&content.origin);
	if (!made)
		return NULL;
	made->arrived_us =
		1000 *
		(message->arrived_ms > wall_offset_ms ? message->arrived_ms - wall_offset_ms : 1);
	made->retained_version = message->retained_version;
	return made;
}

void record_put_will(struct pack *to, const struct stored_will *will)
{
	size_t at = record_begin(to);

	pack_u8(to, will->has_expiry);
	pack_varint(to, will->due_ms);
	pack_varint(to, will->delay_s);
	pack_varint(to, will->expiry_s);
	pack_message(to, &will->message);
	record_end(to, at);
}

bool record_get_will(struct slice value, struct stored_will *out)
{
	struct unpack from;

	if (!record_open(value, &from))
		return false;
	*out = (struct stored_will){.has_expiry = unpack_u8(&from) != 0};
	out->due_ms = unpack_varint(&from);
	out->delay_s = (uint32_t)unpack_limited(&from, UINT32_MAX);
	out->expiry_s = (uint32_t)unpack_limited(&from, UINT32_MAX);
	return unpack_message(&from, &out->message) && is_read_to_the_end(&from);
}

void record_put_retained(struct pack *to, const struct stored_message *message)
{
	size_t at = record_begin(to);

	pack_message(to, message);
	record_end(to, at);
}

bool record_get_retained(struct slice value, struct stored_message *out)
{
	struct unpack from;

	return record_open(value, &from) && unpack_message(&from, out) && is_read_to_the_end(&from);
}

void pack_receiver(struct pack *to, struct receiver_cursor *cursor, const struct receiver *receiver)
{
	bool next_id = receiver->id == cursor->id + 1;
	bool next_number = receiver->number == cursor->number;

	pack_u8(to, (uint8_t)(receiver->qos | (receiver->retain ? RECEIVER_RETAIN : 0) |
			      (receiver->subscription_ids.len ? RECEIVER_IDS : 0) |
			      (next_id ? RECEIVER_NEXT_ID : 0) |
			      (next_number ? RECEIVER_NEXT_NUMBER : 0)));
	if (!next_id)
		pack_signed(to, (int64_t)(receiver->id - cursor->id));
	if (!next_number)
		pack_signed(to, (int64_t)(receiver->number - cursor->number));
	if (receiver->subscription_ids.len) {
		pack_varint(to, receiver->subscription_ids.len / 4);
		pack_bytes(to, receiver->subscription_ids);
	}
	cursor->id = receiver->id;
	cursor->number = receiver->number + 1;
}

bool unpack_receiver(struct unpack *from, struct receiver_cursor *cursor, struct receiver *out)
{
	uint8_t bits = unpack_u8(from);

	*out = (struct receiver){.qos = bits & RECEIVER_QOS, .retain = bits & RECEIVER_RETAIN};
	out->id = cursor->id + 1;
	out->number = cursor->number;
	if (!(bits & RECEIVER_NEXT_ID))
		out->id = cursor->id + (uint64_t)unpack_signed(from);
	if (!(bits & RECEIVER_NEXT_NUMBER))
		out->number += (uint64_t)unpack_signed(from);
	if (bits & RECEIVER_IDS)
		out->subscription_ids = unpack_bytes(from, 4 * unpack_limited(from, UINT16_MAX));
	cursor->id = out->id;
	cursor->number = out->number + 1;
	return !from->is_bad && out->id != 0 && out->number != 0 && out->qos <= 2;
}

void record_put_message(struct pack *to, const struct message_record *record)
{
	size_t at = record_begin(to);

	pack_varint(to, record->body_record);
	if (!record->body_record)
		pack_text(to, record->body);
	pack_varint(to, record->number);
	pack_bytes(to, record->receivers);
	record_end(to, at);
}

bool record_get_message(struct slice value, struct message_record *out)
{
	struct unpack from;

	if (!record_open(value, &from))
		return false;
	*out = (struct message_record){.body_record = unpack_varint(&from)};
	if (!out->body_record)
		out->body = unpack_text(&from);
	out->number = unpack_varint(&from);
	out->receivers = slice_of(from.at, unpack_left(&from));
	return !from.is_bad;
}

void record_put_state(struct pack *to, uint64_t done_below, const uint64_t *done, size_t done_count,
		      const struct flight *flights, size_t flight_count, const uint16_t *received,
		      size_t received_count)
{
	size_t at = record_begin(to);
	uint64_t last = done_below;

	pack_varint(to, done_below);
	pack_varint(to, done_count);
	pack_varint(to, flight_count);
	pack_varint(to, received_count);
	for (size_t i = 0; i < done_count; i++) {
		pack_varint(to, done[i] - last);
		last = done[i];
	}
	last = done_below;
	for (size_t i = 0; i < flight_count; i++) {
		pack_signed(to, (int64_t)(flights[i].number - last));
		last = flights[i].number;
		pack_u16(to, flights[i].packet_id);
		pack_u8(to, (uint8_t)(flights[i].state | flights[i].qos << 4));
	}
	for (size_t i = 0; i < received_count; i++)
		pack_u16(to, received[i]);
	record_end(to, at);
}

bool record_get_state(struct slice value, struct state_record *out)
{
	*out = (struct state_record){.done_below = 0};
	if (!record_open(value, &out->rest))
		return false;
	out->done_below = out->last = unpack_varint(&out->rest);
	out->done_count = unpack_varint(&out->rest);
	out->flight_count = unpack_varint(&out->rest);
	out->received_count = unpack_varint(&out->rest);
	/* Each takes a byte at least. */
	return !out->rest.is_bad && out->done_count <= value.len &&
	       out->flight_count <= value.len && out->received_count <= value.len;
}

uint64_t state_next_done(struct state_record *state)
{
	state->last += unpack_varint(&state->rest);
	state->done_count--;
	if (state->done_count == 0) {
		uint64_t last = state->last;

		state->last = state->done_below;
		return last;
	}
	return state->last;
}

struct flight state_next_flight(struct state_record *state)
{
	struct flight flight = {.number = state->last + (uint64_t)unpack_signed(&state->rest)};

	state->last = flight.number;
	flight.packet_id = unpack_u16(&state->rest);
	flight.state = unpack_u8(&state->rest);
	flight.qos = flight.state >> 4;
	flight.state &= 15;
	return flight;
}

uint16_t state_next_received(struct state_record *state)
{
	return unpack_u16(&state->rest);
}

void record_put_meta(struct pack *to, const struct meta_record *meta)
{
	size_t at = record_begin(to);

	pack_u32(to, meta->format);
	pack_u64(to, meta->commit);
	pack_u64(to, meta->wall_ms);
	pack_u64(to, meta->seed);
	pack_u64(to, meta->next_id);
	pack_u64(to, meta->next_number);
	pack_u64(to, meta->next_record);
	pack_u64(to, meta->retained_version);
	pack_u64(to, meta->rings_nonce);
	pack_varint(to, meta->rings);
	for (unsigned i = 0; i < meta->rings; i++)
		pack_varint(to, meta->applied[i]);
	record_end(to, at);
}

bool record_get_meta(struct slice value, struct meta_record *out)
{
	struct unpack from;

	memset(out, 0, sizeof *out);
	if (!record_open(value, &from))
		return false;
	out->format = unpack_u32(&from);
	out->commit = unpack_u64(&from);
	out->wall_ms = unpack_u64(&from);
	out->seed = unpack_u64(&from);
	out->next_id = unpack_u64(&from);
	out->next_number = unpack_u64(&from);
	out->next_record = unpack_u64(&from);
	out->retained_version = unpack_u64(&from);
	out->rings_nonce = unpack_u64(&from);
	out->rings = (unsigned)unpack_limited(&from, WORKERS_MAX);
	for (unsigned i = 0; i < out->rings; i++)
		out->applied[i] = unpack_varint(&from);
	return is_read_to_the_end(&from);
}
