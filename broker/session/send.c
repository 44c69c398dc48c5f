/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send.c - one PUBLISH, encoded for one receiver or once for many.
 */
#include <stdlib.h>

#include "mqtt/publish_brief.h"
#include "session/sending.h"

/* Aliases are looked for one by one, so there are few, whatever the client would take. */
#define TOPIC_ALIASES_MAX 64u
/* The property, and a byte more for each of the two lengths that it may lengthen. */
#define ALIAS_BYTES_MAX 5u

/*
 * What is left of the Message Expiry Interval; false: nothing [MQTT-3.3.2-5]. This worker's time may
 * stand a little before the arrival at another: then nothing has passed, and not less than that.
 */
static bool expiry_left(struct worker *me, const struct message *message, uint32_t *out_s)
{
	uint64_t arrived_ms = message_arrived_ms(message);
	uint64_t now_ms = me->now_ms > arrived_ms ? me->now_ms : arrived_ms;
	uint64_t left_ms;

	if (message->expires_ms <= now_ms)
		return false;
	left_ms = message->expires_ms - now_ms;
	*out_s = (uint32_t)((left_ms + 999) / 1000);
	return true;
}

static void encoding_fill(const struct client *client, const struct message *message,
			  struct publish_encoding *out)
{
	*out = (struct publish_encoding){
		.version = client->version,
		.topic = message_topic(message),
		.payload = message_payload(message),
		.forward_properties = message_properties(message),
		.has_message_expiry = message_expires_ms(message) != 0,
	};
}

/* Everything that is the same for all receivers of a version. false: it has expired. */
static bool encoding_begin(struct worker *me, const struct client *client,
			   const struct message *message, struct publish_encoding *out)
{
	encoding_fill(client, message, out);
	if (!message_expires_ms(message) || expiry_left(me, message, &out->message_expiry_s))
		return true;
	counter_add(me->counters, COUNTER_DROPPED_EXPIRED, 1);
	return false;
}

static void encoding_strip_mount_point(struct worker *me, const struct session *session,
				       struct publish_encoding *encoding)
{
	struct slice mount_point = session_profile(me, session)->mount_point;
	size_t len = mount_point.len;

	/* A session that came from another listener may have subscriptions of there. */
	if (len && len < encoding->topic.len &&
	    memcmp(encoding->topic.data, mount_point.data, len) == 0) {
		encoding->topic.data += len;
		encoding->topic.len -= len;
	}
}

static void encoding_use_alias(struct client *client, const struct message *message,
			       struct publish_encoding *encoding)
{
	uint32_t count = client_profile(client)->max_topic_alias_broker;

	if (count > client->topic_alias_maximum)
		count = client->topic_alias_maximum;
	if (count > TOPIC_ALIASES_MAX)
		count = TOPIC_ALIASES_MAX;
	if (count == 0 || client->version != MQTT_V5)
		return;
	switch (topic_alias_choose(&client->aliases_out, (uint16_t)count, message->topic_hash,
				   encoding->topic, &encoding->topic_alias)) {
	case TOPIC_ALIAS_NONE: encoding->topic_alias = 0; break;
	case TOPIC_ALIAS_KNOWN: encoding->omit_topic = true; break;
	case TOPIC_ALIAS_INTRODUCE: break;
	}
}

/* The first one of a turn, see runtime/worker.h. */
static void sample_latency(struct worker *me, const struct session *session,
			   const struct message *message, bool retain)
{
	if (!retain && message_arrived_ms(message) >= session->since_ms)
		me->sampled_us = message->arrived_us;
}

static inline void count_sent(struct worker *me, const struct session *session,
			      const struct message *message, bool retain)
{
	if (__builtin_expect(!me->sampled_us, 0))
		sample_latency(me, session, message, retain);
	counter_add(me->counters, COUNTER_PACKETS_SENT_PUBLISH, 1);
	counter_add(me->counters, COUNTER_PUBLISH_SENT, 1);
	counter_add(me->counters, COUNTER_PUBLISH_BYTES_SENT, message->payload_len);
}

static bool fits_client(struct worker *me, const struct client *client, size_t size)
{
	if (size && (!client->maximum_packet_size || size <= client->maximum_packet_size))
		return true;
	counter_add(me->counters, COUNTER_DROPPED_TOO_LARGE, 1);
	return false;
}

/* Nothing is sent but what stands in the message, and a Packet Identifier. */
static inline bool is_brief(struct worker *me, const struct session *session,
			    const struct message *message)
{
	const struct client *client = session->client;

	return !message->expires_ms && !client->topic_alias_maximum &&
	       (!message->properties_len || client->version != MQTT_V5) &&
	       !session_profile(me, session)->mount_point.len;
}

__attribute__((always_inline)) static inline enum sent send_brief(struct worker *me,
								  const struct session *session,
								  const struct message *message,
								  struct publish_brief *packet)
{
	struct client *client = session->client;
	uint8_t *room;
	size_t size;

	packet->version = client->version;
	packet->topic = message_topic_field(message);
	packet->payload = message_payload(message);
	size = publish_brief_size(packet);
	if (!fits_client(me, client, size))
		return SENT_NEVER;
	room = client_reserve(client, size);
	if (!room)
		return SENT_NO_CLIENT;
	connection_wrote(&client->conn, publish_brief_encode(room, packet));
	count_sent(me, session, message, packet->retain);
	trace_message(session, "sent", message_topic(message), packet->qos);
	return SENT_YES;
}

static enum sent send_with_properties(struct worker *me, struct session *session,
				      const struct outgoing *out, uint16_t packet_id, bool dup)
{
	struct client *client = session->client;
	struct publish_encoding encoding;
	uint8_t *room;
	size_t size;

	if (dup && message_expires_ms(out->message) &&
	    message_expires_ms(out->message) <= me->now_ms) {
		/* In flight before it expired: it has to be finished, with the least time left. */
		encoding_fill(client, out->message, &encoding);
		encoding.message_expiry_s = 1;
	} else if (!encoding_begin(me, client, out->message, &encoding)) {
		return SENT_NEVER;
	}
	encoding_strip_mount_point(me, session, &encoding);
	encoding.dup = dup;
	encoding.qos = out->qos;
	encoding.retain = (out->flags & OUTGOING_RETAIN) != 0;
	encoding.packet_id = packet_id;
	encoding.subscription_identifiers = outgoing_ids(out);
	encoding.subscription_identifier_count = out->id_count;
	size = publish_encoded_size(&encoding);
	if (!fits_client(me, client, size))
		return SENT_NEVER;
	/* To introduce an alias makes the packet longer. */
	if (client->topic_alias_maximum &&
	    (!client->maximum_packet_size ||
	     size + ALIAS_BYTES_MAX <= client->maximum_packet_size)) {
		encoding_use_alias(client, out->message, &encoding);
		size = publish_encoded_size(&encoding);
	}
	room = client_reserve(client, size);
	if (!room)
		return SENT_NO_CLIENT;
	connection_wrote(&client->conn, publish_encode(room, &encoding));
	count_sent(me, session, out->message, encoding.retain);
	trace_message(session, "sent", message_topic(out->message), out->qos);
	return SENT_YES;
}

enum sent send_publish(struct worker *me, struct session *session, const struct outgoing *out,
		       uint16_t packet_id, bool dup)
{
	struct publish_brief brief;

	if (out->id_count || !is_brief(me, session, out->message))
		return send_with_properties(me, session, out, packet_id, dup);
	brief.qos = out->qos;
	brief.dup = dup;
	brief.retain = (out->flags & OUTGOING_RETAIN) != 0;
	brief.packet_id = packet_id;
	return send_brief(me, session, out->message, &brief);
}

/* QoS 0: encoded once for all receivers of the same version and RETAIN flag. */

static struct encoding *shared_encoding(struct worker *me, const struct client *client,
					const struct delivery *delivery)
{
	unsigned index = (client->version == MQTT_V5 ? 2u : 0u) | (delivery->retain ? 1u : 0u);
	struct encoding *shared = &delivery->encodings->slot[index];
	struct publish_encoding encoding;
	size_t size;

	if (shared->is_valid)
		return shared;
	if (!encoding_begin(me, client, delivery->message, &encoding))
		return NULL;
	encoding.retain = delivery->retain;
	size = publish_encoded_size(&encoding);
	if (size > shared->cap) {
		uint8_t *bytes = realloc(shared->bytes, size);

		if (!bytes) {
			counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
			return NULL;
		}
		shared->bytes = bytes;
		shared->cap = (uint32_t)size;
	}
	shared->len = (uint32_t)publish_encode(shared->bytes, &encoding);
	shared->is_valid = true;
	return shared;
}

static void send_shared(struct worker *me, struct client *client, const struct delivery *delivery)
{
	struct encoding *shared = shared_encoding(me, client, delivery);
	uint8_t *room;

	if (!shared || !fits_client(me, client, shared->len))
		return;
	room = connection_reserve(&client->conn, shared->len);
	if (!room)
		return;
	memcpy(room, shared->bytes, shared->len);
	connection_wrote(&client->conn, shared->len);
	count_sent(me, client->session, delivery->message, delivery->retain);
	trace_message(client->session, "sent", message_topic(delivery->message), 0);
}

void send_qos0(struct worker *me, struct session *session, const struct delivery *delivery)
{
	struct client *client = session->client;
	struct outgoing out;

	/* The only receiver gets it straight into its output. */
	if (!delivery->encodings && !delivery->subscription_id_count &&
	    is_brief(me, session, delivery->message)) {
		struct publish_brief packet = {.retain = delivery->retain};

		(void)send_brief(me, session, delivery->message, &packet);
		return;
	}
	if (delivery->encodings && !delivery->subscription_id_count &&
	    !client->topic_alias_maximum && !session_profile(me, session)->mount_point.len) {
		send_shared(me, client, delivery);
		return;
	}
	if (outgoing_init(me, &out, delivery) != ERR_NONE) {
		counter_add(me->counters, COUNTER_DROPPED_MEMORY, 1);
		return;
	}
	(void)send_publish(me, session, &out, 0, false);
	outgoing_fini(me, &out);
}
