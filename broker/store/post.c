/* SPDX-License-Identifier: Apache-2.0 */
/* post.c - posts as bytes, the reading end; the writing end is posting.c. */
#include "store/post.h"

enum receiver_post_bit {
	RECEIVER_POST_QOS = 3,
	RECEIVER_POST_RETAIN = 4,
	RECEIVER_POST_IDS = 8,
	RECEIVER_POST_FROM = 16,
	RECEIVER_POST_ORIGIN = 32,
};

void pack_receiver_post(struct pack *to, uint64_t id, const struct store_delivery *delivery)
{
	bool has_origin = delivery->origin_id != 0;
	uint8_t *at = pack_room(to, 64 + 4 * (size_t)delivery->subscription_id_count);

	*at++ = POST_RECEIVER;
	at = put_u64(at, id);
	*at++ = (uint8_t)(delivery->qos | (delivery->retain ? RECEIVER_POST_RETAIN : 0) |
			  (delivery->subscription_id_count ? RECEIVER_POST_IDS : 0) |
			  (delivery->from_id ? RECEIVER_POST_FROM : 0) |
			  (has_origin ? RECEIVER_POST_ORIGIN : 0));
	if (delivery->subscription_id_count) {
		at = put_varint(at, delivery->subscription_id_count);
		for (unsigned i = 0; i < delivery->subscription_id_count; i++)
			at = put_u32(at, delivery->subscription_ids[i]);
	}
	if (delivery->from_id)
		at = put_u64(put_u64(at, delivery->from_id), delivery->from_number);
	if (has_origin)
		at = put_u16(put_u64(at, delivery->origin_id), delivery->origin_packet_id);
	pack_until(to, at);
}

void pack_receiver_is_sent(struct pack *to, size_t receiver_at, uint16_t packet_id)
{
	to->data[receiver_at] = POST_SENT_RECEIVER;
	pack_u16(to, packet_id);
}

static void read_receiver(struct unpack *from, struct post *out)
{
	uint8_t bits;

	out->id = unpack_u64(from);
	bits = unpack_u8(from);
	out->subscription_ids = SLICE_NONE;
	out->from_id = out->origin_id = 0;
	out->qos = bits & RECEIVER_POST_QOS;
	out->retain = (bits & RECEIVER_POST_RETAIN) != 0;
	if (bits & RECEIVER_POST_IDS)
		out->subscription_ids = unpack_bytes(from, 4 * unpack_limited(from, UINT16_MAX));
	if (bits & RECEIVER_POST_FROM) {
		out->from_id = unpack_u64(from);
		out->from_number = unpack_u64(from);
	}
	if (bits & RECEIVER_POST_ORIGIN) {
		out->origin_id = unpack_u64(from);
		out->packet_id = unpack_u16(from);
	}
	out->sent_packet_id = out->kind == POST_SENT_RECEIVER ? unpack_u16(from) : 0;
}

static void read_inflight(struct unpack *from, struct post *out)
{
	out->id = unpack_u64(from);
	out->number = unpack_u64(from);
	out->packet_id = unpack_u16(from);
	out->flight = unpack_u8(from);
	out->qos = unpack_u8(from);
}

static void read_hashed(struct unpack *from, struct post *out, bool has_value)
{
	out->hash = unpack_u64(from);
	if (has_value)
		out->value = unpack_text(from);
	out->text = unpack_text(from);
}

/* What belongs to a session, or is retained: not on the road of each message. */
static void read_rare(struct unpack *from, struct post *out)
{
	uint8_t kind = (uint8_t)out->kind;

	memset(out, 0, sizeof *out);
	out->kind = kind;
	switch (kind) {
	case POST_SESSION_PUT:
	case POST_WILL_PUT:
		out->id = unpack_u64(from);
		out->value = unpack_text(from);
		break;
	case POST_SESSION_REMOVE:
	case POST_WILL_REMOVE: out->id = unpack_u64(from); break;
	case POST_SUBSCRIPTION_PUT:
	case POST_SUBSCRIPTION_REMOVE:
		out->id = unpack_u64(from);
		read_hashed(from, out, kind == POST_SUBSCRIPTION_PUT);
		break;
	case POST_RECEIVED_ADD:
	case POST_RECEIVED_REMOVE:
	case POST_ORIGIN_COMES:
		out->id = unpack_u64(from);
		out->packet_id = unpack_u16(from);
		break;
	case POST_RETAINED_PUT:
	case POST_RETAINED_REMOVE:
		out->version = unpack_u64(from);
		read_hashed(from, out, kind == POST_RETAINED_PUT);
		break;
	case POST_ORIGINS_NAMED: out->number = unpack_u64(from); break;
	default: from->is_bad = true;
	}
}

bool post_next(struct unpack *from, struct post *out)
{
	if (from->at == from->end || from->is_bad)
		return false;
	out->kind = unpack_u8(from);
	switch (out->kind) {
	case POST_MESSAGE:
		out->number = unpack_u64(from);
		out->message_number = unpack_u64(from);
		out->value = unpack_bytes(from, unpack_u32(from));
		break;
	case POST_RECEIVER:
	case POST_SENT_RECEIVER: read_receiver(from, out); break;
	case POST_DONE:
		out->id = unpack_u64(from);
		out->number = unpack_u64(from);
		break;
	case POST_INFLIGHT: read_inflight(from, out); break;
	default: read_rare(from, out); break;
	}
	return !from->is_bad;
}
