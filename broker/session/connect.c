/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - from CONNECT to CONNACK.
 *
 *	decode, check --> identity (at once, thread pool, or hook) --> whose session is it?
 *	    mine: open it, CONNACK            another worker's: the connection moves there, whole
 */
#include "session/connect.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/bug.h"
#include "base/log.h"
#include "base/memory.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "net/tls_context.h"
#include "store/commit_wait.h"

/* Says no: CONNACK where the client's version has a code for it, and the end. */
void client_refuse(struct client *client, uint8_t reason_code, const char *why)
{
	struct connack_packet connack = {.reason_code = reason_code};
	bool is_silent = client->version == MQTT_VERSION_NONE ||
			 (client->version != MQTT_V5 &&
			  reason_code_to_connect_return_code(reason_code) == CONNECT_RETURN_NONE);
	char address[ADDRESS_TEXT_BYTES];
	struct log_fields fields;
	uint8_t *room;

	if (!is_silent) {
		room = client_reserve(client, connack_encoded_size(client->version, &connack));
		if (room)
			client_sent(client, COUNTER_PACKETS_SENT_CONNACK,
				    connack_encode(room, client->version, &connack));
	}
	client_log_fields(client, address, &fields);
	if (client->pending) {
		fields.client_id = client->pending->client_id;
		fields.user = client->pending->username;
	}
	fields.reason = why;
	log_event(LOG_TYPE_NOTICE, &fields, "Connection refused (0x%02x %s)", reason_code,
		  reason_code_text(reason_code));
	client_close(client, CLOSE_CONNECT_REFUSED, 0, why);
}

static void refuse_counted(struct client *client, enum counter counter, uint8_t reason_code,
			   const char *why)
{
	counter_add(client->conn.worker->counters, counter, 1);
	client_refuse(client, reason_code, why);
}

void pending_connect_free(struct client *client)
{
	struct pending_connect *pending = client->pending;

	if (!pending)
		return;
	memory_uncharge(MEMORY_INPUT, sizeof *pending + pending->byte_count);
	explicit_bzero(pending->bytes, pending->byte_count); /* there is a password in it */
	free(pending->renamed);
	free(pending->id_text);
	free(pending->auth_data);
	free(pending);
	client->pending = NULL;
}

bool pending_connect_rename(struct client *client, struct slice username)
{
	struct pending_connect *pending = client->pending;
	uint8_t *copy = malloc(username.len + 1);

	if (!copy)
		return false;
	memcpy(copy, username.data, username.len);
	free(pending->renamed);
	pending->renamed = copy;
	pending->has_username = true;
	pending->username = slice_of(copy, username.len);
	return true;
}

/* The frame's body is copied and decoded again, so that all views point into the copy. */
static struct pending_connect *pending_connect_make(const struct packet_frame *frame)
{
	struct pending_connect *pending = malloc(sizeof *pending + frame->body.len);
	struct packet_frame copy = *frame;
	struct decode_error error;

	if (!pending)
		return NULL;
	memset(pending, 0, sizeof *pending);
	pending->byte_count = frame->body.len;
	memcpy(pending->bytes, frame->body.data, frame->body.len);
	copy.body.data = pending->bytes;
	BUG_ON(connect_decode(&copy, &pending->packet, &error) != DECODE_DONE);
	pending->client_id = pending->packet.client_id;
	pending->has_username = pending->packet.has_user_name;
	pending->username = pending->packet.user_name;
	memory_charge(MEMORY_INPUT, sizeof *pending + pending->byte_count);
	return pending;
}

/* auto_id_prefix and 128 random bits. */
static bool assign_client_id(struct pending_connect *pending, struct slice prefix)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t random[16];
	uint8_t *at;

	if (getrandom(random, sizeof random, 0) != sizeof random)
		return false;
	pending->id_text = malloc(prefix.len + 2 * sizeof random);
	if (!pending->id_text)
		return false;
	memcpy(pending->id_text, prefix.data, prefix.len);
	at = pending->id_text + prefix.len;
	for (size_t i = 0; i < sizeof random; i++) {
		*at++ = (uint8_t)digits[random[i] >> 4];
		*at++ = (uint8_t)digits[random[i] & 15];
	}
	pending->client_id = slice_of(pending->id_text, prefix.len + 2 * sizeof random);
	pending->is_assigned = true;
	return true;
}

/* use_identity_as_username, use_subject_as_username. NULL: the name is settled. Else why not. */
static const char *settle_name(struct client *client, uint8_t *out_code)
{
	enum name_source source = client_profile(client)->name_source;
	SSL *ssl = connection_tls(&client->conn);
	char name[TLS_NAME_BYTES];
	struct slice text;
	size_t len = 0;

	if (source == NAME_FROM_CONNECT)
		return NULL;
	*out_code = RC_BAD_USER_NAME_OR_PASSWORD;
	if (ssl)
		len = tls_peer_name(ssl,
				    source == NAME_FROM_TLS_SUBJECT ? TLS_NAME_SUBJECT
								    : TLS_NAME_IDENTITY,
				    name);
	text = slice_of((const uint8_t *)name, len);
	if (!len || !utf8_is_valid(text))
		return source == NAME_FROM_TLS_SUBJECT
			       ? "there is no client certificate with a subject that can be a user name"
			       : "there is neither a client certificate with a common name nor a "
				 "pre-shared key, which would be the user name";
	if (!pending_connect_rename(client, text))
		return *out_code = RC_SERVER_UNAVAILABLE, "no memory";
	return NULL;
}

/* NULL: the identifier is settled. Else why not, with the Reason Code. */
static const char *settle_client_id(struct client *client, uint8_t *out_code)
{
	const struct listener_profile *profile = client_profile(client);
	const struct session_settings *settings = client_settings(client);
	struct pending_connect *pending = client->pending;
	const struct connect_packet *packet = &pending->packet;

	*out_code = RC_CLIENT_IDENTIFIER_NOT_VALID;
	if (profile->use_username_as_clientid) {
		if (!pending->has_username || pending->username.len == 0)
			return *out_code = RC_NOT_AUTHORIZED,
			       "use_username_as_clientid is set, and there is no user name";
		pending->client_id = pending->username;
	}
	if (pending->client_id.len == 0) {
		if (packet->version == MQTT_V31)
			return "MQTT 3.1 demands a client id";
		if (packet->version == MQTT_V311 && !packet->clean_start)
			return "an empty client id needs Clean Session [MQTT-3.1.3-8]";
		if (!profile->allow_zero_length_clientid)
			return "allow_zero_length_clientid is false";
		if (!assign_client_id(pending, profile->auto_id_prefix))
			return *out_code = RC_SERVER_UNAVAILABLE, "no memory";
		return NULL;
	}
	if (pending->client_id.len < settings->clientid_prefixes.len ||
	    !slice_equal(slice_of(pending->client_id.data, settings->clientid_prefixes.len),
			 settings->clientid_prefixes))
		return *out_code = RC_NOT_AUTHORIZED,
		       "the client id is not one of clientid_prefixes";
	return NULL;
}

static const char *check_will(const struct client *client, uint8_t *out_code)
{
	const struct session_settings *settings = client_settings(client);
	const struct connect_will *will = &client->pending->packet.will;

	if (!will->present)
		return NULL;
	if (will->qos > client_profile(client)->max_qos)
		return *out_code = RC_QOS_NOT_SUPPORTED, "the will's QoS is above max_qos";
	if (will->retain && !settings->retain_available)
		return *out_code = RC_RETAIN_NOT_SUPPORTED,
		       "the will is retained, retain_available is false";
	if (settings->message_size_limit && will->payload.len > settings->message_size_limit)
		return *out_code = RC_PACKET_TOO_LARGE,
		       "the will is larger than message_size_limit";
	if (client_profile(client)->mount_point.len + will->topic.len > TOPIC_MAX_BYTES)
		return *out_code = RC_TOPIC_NAME_INVALID,
		       "the will's topic is too long behind the mount_point";
	if (settings->max_topic_levels &&
	    topic_levels_count(will->topic) > settings->max_topic_levels)
		return *out_code = RC_TOPIC_NAME_INVALID, "the will's topic has too many levels";
	if (will->topic.len >= 5 && memcmp(will->topic.data, "$SYS/", 5) == 0)
		return *out_code = RC_NOT_AUTHORIZED, "the will's topic is the broker's own ($SYS)";
	if (settings->payload_format_check && will->payload_format_indicator == 1 &&
	    !utf8_payload_is_valid(will->payload))
		return *out_code = RC_PAYLOAD_FORMAT_INVALID, "the will's payload is not UTF-8";
	return NULL;
}

void pending_identity_request(const struct client *client, struct identity_request *out,
			      char *address)
{
	const struct pending_connect *pending = client->pending;
	const struct connect_packet *packet = &pending->packet;

	*out = (struct identity_request){
		.client_id = pending->client_id,
		.has_username = packet->has_user_name,
		.has_password = packet->has_password,
		.username = packet->user_name,
		.password = packet->password,
		.address = address_text(&client->conn.address, address),
		.listener = listener_name(client_profile(client)->listener),
		.protocol_version = packet->version,
		.auth_method = packet->authentication_method,
		.auth_data = packet->authentication_data,
	};
}

/* Identity. */

/* A password being hashed. Lives on while its client goes. */
struct identity_work {
	struct pool_work work;
	struct password_check *check;
	handle_t client;
};

static void identity_settled(struct client *client, const struct identity_answer *answer)
{
	if (answer->verdict == IDENTITY_ALLOWED) {
		client->pending->is_admitted = true;
		client_admitted(client);
		return;
	}
	refuse_counted(client, COUNTER_REFUSED_AUTH, answer->reason_code, answer->why);
}

static bool hash_submit(struct client *client, struct password_check *check);

static struct client *deciding_client(struct worker *me, handle_t handle)
{
	struct endpoint *endpoint = route_find(me, handle);
	struct client *client;

	if (!endpoint || endpoint->ops != &client_endpoint_ops)
		return NULL;
	client = TIMER_OWNER(endpoint, struct client, endpoint);
	return client->state == CLIENT_DECIDING ? client : NULL;
}

static void identity_answered(struct worker *me, handle_t handle, struct password_check *check)
{
	struct client *client = deciding_client(me, handle);
	struct identity_answer answer = password_check_answer(check);

	/* The hook has left the decision to the password file. */
	if (client && answer.verdict == IDENTITY_NEEDS_HASH) {
		if (hash_submit(client, check))
			return;
		client_refuse(client, RC_SERVER_UNAVAILABLE, "no memory");
	} else if (client) {
		identity_settled(client, &answer);
	}
	password_check_destroy(&check);
}

static void hash_run(struct pool_work *work)
{
	password_check_run(((struct identity_work *)(void *)work)->check);
}

static void hash_done(struct worker *me, struct pool_work *work)
{
	struct identity_work *identity = (struct identity_work *)(void *)work;

	identity_answered(me, identity->client, identity->check);
	free(identity);
}

static bool hash_submit(struct client *client, struct password_check *check)
{
	struct identity_work *identity = calloc(1, sizeof *identity);

	if (!identity)
		return false;
	identity->work.run = hash_run;
	identity->work.done = hash_done;
	identity->check = check;
	identity->client = client->endpoint.handle;
	pool_submit(client->conn.worker, &identity->work);
	return true;
}

/* A plugin's answer, which may come on any thread, as a letter to the worker that waits. */
struct identity_letter {
	struct letter letter;
	struct worker *worker;
	struct password_check *check;
	handle_t client;
};

static void identity_on_arrive(struct worker *me, struct letter *letter)
{
	struct identity_letter *identity = (struct identity_letter *)letter;

	identity_answered(me, identity->client, identity->check);
	letter_return(me, letter);
}

static const struct letter_type identity_letter_type = {
	.name = "identity",
	.on_arrive = identity_on_arrive,
	.on_return = letter_destroy,
};

static void hook_done(void *arg)
{
	struct identity_letter *identity = arg;

	letter_post_foreign(identity->worker, &identity->letter);
}

static void hook_ask(struct client *client, struct password_check *check)
{
	struct identity_letter *identity =
		letter_create(NULL, &identity_letter_type, sizeof *identity);

	identity->worker = client->conn.worker;
	identity->client = client->endpoint.handle;
	identity->check = check;
	letter_lend(client->conn.worker, &identity->letter);
	password_check_ask(check, hook_done, identity);
}

static void identify(struct client *client)
{
	char address[ADDRESS_TEXT_BYTES];
	struct identity_request request;
	struct identity_answer answer;

	pending_identity_request(client, &request, address);
	answer = authority_identify_begin(client_profile(client)->authority, &request);
	if (answer.verdict == IDENTITY_NEEDS_HASH) {
		client_park(client, PARK_HOOK);
		if (!hash_submit(client, answer.check)) {
			password_check_destroy(&answer.check);
			client_refuse(client, RC_SERVER_UNAVAILABLE, "no memory");
		}
	} else if (answer.verdict == IDENTITY_NEEDS_HOOK) {
		client_park(client, PARK_HOOK);
		hook_ask(client, answer.check);
	} else {
		identity_settled(client, &answer);
	}
}

void client_on_connect(struct client *client, const struct packet_frame *frame)
{
	struct connect_packet packet;
	struct decode_error error;
	const char *why;
	uint8_t code = 0;

	if (connect_decode(frame, &packet, &error) == DECODE_BAD) {
		char text[ERR_DETAIL_BYTES];

		client->version = (uint8_t)packet.version;
		snprintf(text, sizeof text, "%s [%s]", error.text, error.statement);
		refuse_counted(client, COUNTER_REFUSED_PROTOCOL, error.reason_code, text);
		return;
	}
	client->version = (uint8_t)packet.version;
	client->maximum_packet_size = packet.maximum_packet_size; /* holds for AUTH already */
	client->pending = pending_connect_make(frame);
	if (!client->pending) {
		client_refuse(client, RC_SERVER_UNAVAILABLE, "no memory");
		return;
	}
	client->state = CLIENT_DECIDING;
	why = settle_name(client, &code);
	if (why) {
		refuse_counted(client, COUNTER_REFUSED_AUTH, code, why);
		return;
	}
	why = settle_client_id(client, &code);
	if (why) {
		refuse_counted(client, COUNTER_REFUSED_CLIENT_ID, code, why);
		return;
	}
	why = check_will(client, &code);
	if (why) {
		refuse_counted(client, COUNTER_REFUSED_PROTOCOL, code, why);
		return;
	}
	if (packet.has_authentication_method)
		client_auth_start(client);
	else if (client_profile(client)->name_source != NAME_FROM_CONNECT)
		identity_settled(client,
				 &(struct identity_answer){IDENTITY_ALLOWED, 0, NULL, NULL});
	else
		identify(client);
}

/* Whose session is it? */

struct moving_letter {
	struct letter letter;
	struct client *client;
};

static void moving_on_arrive(struct worker *me, struct letter *letter)
{
	struct client *client = ((struct moving_letter *)letter)->client;
	struct session_worker *mine = session_worker_of(me);

	letter_return(me, letter);
	mine->clients++;
	client->state = CLIENT_DECIDING;
	connection_attach(&client->conn, me);
	if (client->state == CLIENT_ENDING)
		return;
	if (route_register(me, &client->endpoint) != ERR_NONE || mine->is_stopping) {
		client_refuse(client, RC_SERVER_UNAVAILABLE, "the broker is stopping");
		return;
	}
	timer_arm_at(&me->wheel, &client->timer, me->now_ms + mine->settings->connect_timeout_ms);
	client_admitted(client);
}

static const struct letter_type moving_letter_type = {
	.name = "moving connection",
	.on_arrive = moving_on_arrive,
	.on_return = letter_destroy,
	.takes_credit = true,
};

/* The connection leaves at the end of the turn, when nobody on the stack still uses it. */
static void move_to(struct client *client, uint16_t owner)
{
	struct session_worker *mine = session_worker_of(client->conn.worker);

	client->moving_to = owner;
	client->state = CLIENT_MOVING;
	client->moving_next = mine->moving;
	mine->moving = client;
	client_park(client, PARK_MOVING);
	worker_do_not_sleep(client->conn.worker);
}

static void post_moving(struct worker *me, struct client *client)
{
	struct moving_letter *letter = letter_create(me, &moving_letter_type, sizeof *letter);

	timer_disarm(&me->wheel, &client->timer);
	route_retire(me, &client->endpoint);
	session_worker_of(me)->clients--;
	connection_detach(&client->conn);
	letter->client = client;
	letter_post(me, client->moving_to, &letter->letter);
}

void client_post_moving(struct worker *me)
{
	struct session_worker *mine = session_worker_of(me);
	struct client *list = mine->moving;

	mine->moving = NULL;
	while (list) {
		struct client *client = list;

		list = client->moving_next;
		client->moving_next = NULL;
		if (client->state != CLIENT_MOVING)
			continue; /* lost in this very turn */
		if (letter_has_credit(me, client->moving_to)) {
			post_moving(me, client);
			continue;
		}
		/* The mailbox there is full; letters come home soon. */
		client->moving_next = mine->moving;
		mine->moving = client;
	}
	if (mine->moving)
		worker_do_not_sleep(me);
}

/* CONNACK. */

static uint16_t keep_alive_in_force(const struct client *client, bool *out_is_ours)
{
	uint16_t maximum = client_settings(client)->max_keepalive_s;
	uint16_t asked = client->pending->packet.keep_alive_s;

	*out_is_ours =
		client->version == MQTT_V5 && maximum < 65535 && (asked == 0 || asked > maximum);
	return *out_is_ours ? maximum : asked;
}

/* What the client may count on as long as this connection lasts. */
static void settle_limits(struct client *client)
{
	const struct session_settings *settings = client_settings(client);
	const struct listener_profile *profile = client_profile(client);
	uint32_t receive_maximum = settings->max_inflight_messages;

	client->our_packet_size = settings->max_packet_size;
	client->our_receive_maximum =
		(uint16_t)(receive_maximum && receive_maximum < 65535 ? receive_maximum : 65535);
	client->our_topic_alias_maximum = profile->max_topic_alias;
	client->our_maximum_qos = profile->max_qos;
	if (settings->retain_available)
		client->flags |= CLIENT_MAY_RETAIN;
}

static void connack_fill(struct client *client, bool session_present, struct connack_packet *out)
{
	const struct pending_connect *pending = client->pending;
	const struct connect_packet *packet = &pending->packet;

	*out = (struct connack_packet){
		.session_present = session_present,
		.has_session_expiry = client->session->expiry_s != packet->session_expiry_s,
		.session_expiry_s = client->session->expiry_s,
		.has_maximum_qos = client->our_maximum_qos < 2,
		.maximum_qos = client->our_maximum_qos,
		.retain_unavailable = !(client->flags & CLIENT_MAY_RETAIN),
		.maximum_packet_size = client->our_packet_size,
		.topic_alias_maximum = client->our_topic_alias_maximum,
	};
	if (client->our_receive_maximum < 65535)
		out->receive_maximum = client->our_receive_maximum;
	client->keep_alive_s = keep_alive_in_force(client, &out->has_server_keep_alive);
	out->server_keep_alive_s = client->keep_alive_s;
	if (pending->is_assigned ||
	    !slice_equal(pending->client_id, packet->client_id)) /* use_username_as_clientid */
		out->assigned_client_id = pending->client_id;
	if (packet->has_authentication_method) {
		out->authentication_method = packet->authentication_method;
		out->has_authentication_data = pending->has_auth_data;
		out->authentication_data = slice_of(pending->auth_data, pending->auth_data_len);
	}
}

static void log_connected(const struct client *client)
{
	const struct connect_packet *packet = &client->pending->packet;
	char address[ADDRESS_TEXT_BYTES];
	struct log_fields fields;

	if (!client_settings(client)->connection_messages || !log_is_enabled(LOG_TYPE_NOTICE))
		return;
	client_log_fields(client, address, &fields);
	log_event(LOG_TYPE_NOTICE, &fields, "New client connected (p%u, c%d, k%u)", packet->version,
		  packet->clean_start, client->keep_alive_s);
}

static bool send_connack(struct client *client, bool session_present)
{
	struct connack_packet connack;
	uint8_t *room;
	size_t size;

	settle_limits(client);
	connack_fill(client, session_present, &connack);
	if (client->session->kept)
		connack.user_properties = client_settings(client)->connack_properties;
	size = connack_encoded_size(client->version, &connack);
	if (client->maximum_packet_size && size > client->maximum_packet_size) {
		connack.user_properties = SLICE_NONE; /* [MQTT-3.2.2-20] */
		size = connack_encoded_size(client->version, &connack);
	}
	if (client->maximum_packet_size && size > client->maximum_packet_size) {
		client_close(client, CLOSE_CONNECT_REFUSED, 0,
			     "its Maximum Packet Size leaves no room for CONNACK");
		return false;
	}
	room = client_reserve(client, size);
	if (!room)
		return false;
	client_sent(client, COUNTER_PACKETS_SENT_CONNACK,
		    connack_encode(room, client->version, &connack));
	return true;
}

/* Another worker accepted it, maybe, in a turn that began after this one. */
static void record_connect(struct worker *me, const struct client *client)
{
	int32_t took_ms = (int32_t)((uint32_t)me->now_ms - client->conn.opened_ms);

	RECORD(CONNECT, took_ms > 0 ? (uint64_t)took_ms * 1000000 : 0);
}

static void client_go_online(struct client *client, bool session_present)
{
	struct worker *me = client->conn.worker;
	const struct connect_packet *packet = &client->pending->packet;

	client->receive_maximum = packet->receive_maximum;
	client->topic_alias_maximum = packet->topic_alias_maximum;
	if (packet->request_problem_information)
		client->flags |= CLIENT_PROBLEM_INFORMATION;
	if (packet->is_bridge)
		client->flags |= CLIENT_IS_BRIDGE;
	if (client->parked & (PARK_HOOK | PARK_STORE))
		connection_answers_late(&client->conn);
	if (!send_connack(client, session_present))
		return;
	client->state = CLIENT_ONLINE;
	counter_add(me->counters, COUNTER_CLIENTS_CONNECTED, 1);
	record_connect(me, client);
	log_connected(client);
	pending_connect_free(client);
	client_watch_keep_alive(client);
	client_unpark(client, PARK_HOOK);
	client_unpark(client, PARK_MOVING);
	client_unpark(client, PARK_STORE);
	session_members_online(me, client->session, true);
	session_pump(me, client->session);
}

/* What CONNACK says is stored: handle is the client's, token whether a session was resumed. */
static void on_session_stored(struct worker *me, uint64_t handle, uint64_t token)
{
	struct client *client = deciding_client(me, handle);

	if (client)
		client_go_online(client, token != 0);
}

/* CONNACK of a session that is made, resumed or discarded in the store waits until that is true. */
static void client_go_online_after(struct client *client, bool session_present,
				   uint64_t store_number)
{
	struct worker *me = client->conn.worker;

	if (!commit_is_pending(me, me->id, store_number)) {
		client_go_online(client, session_present);
		return;
	}
	client_park(client, PARK_STORE);
	commit_wait_add(me, me->id, store_number, on_session_stored, client->endpoint.handle,
			session_present);
}

void client_admitted(struct client *client)
{
	struct worker *me = client->conn.worker;
	struct session_worker *mine = session_worker_of(me);
	struct registration *registration;
	uint64_t mark = commit_mark(me);
	bool session_present;
	uint16_t owner;
	enum err err;

	err = registry_claim(mine->world->registry, client->pending->client_id, me->id,
			     mine->settings->max_sessions, &registration, &owner);
	if (err == ERR_LIMIT) {
		refuse_counted(client, COUNTER_REFUSED_LIMIT, RC_QUOTA_EXCEEDED,
			       "max_sessions is reached");
		return;
	}
	if (err != ERR_NONE) {
		client_refuse(client, RC_SERVER_UNAVAILABLE, "no memory");
		return;
	}
	if (owner != me->id) {
		move_to(client, owner);
		return;
	}
	if (!client_session_fits(client, registration))
		return;
	if (session_open(me, client, registration, &session_present) != ERR_NONE) {
		client_refuse(client, RC_SERVER_UNAVAILABLE, "no memory");
		return;
	}
	client_go_online_after(client, session_present, commit_number_since(me, mark));
}
