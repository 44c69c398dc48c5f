/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enhanced_auth.c - AUTH exchanges (MQTT 5, 4.12) with the authenticator behind the hooks.
 *
 *	CONNECT(method) -> start ---> reply: continue -> AUTH 0x18 -> client's AUTH 0x18 -> continue ...
 *	                              reply: success  -> CONNACK          (or AUTH 0x00 later on)
 *	                              reply: fail     -> CONNACK or DISCONNECT with its Reason Code
 *
 * Replies may come on any thread and are carried to the worker by a letter. While one is
 * outstanding the exchange cannot be freed: a client that goes leaves it to the letter.
 */
#include <stdlib.h>

#include "session/connect.h"

/* Owner: the client; while is_outstanding and orphaned: the letter. */
struct auth_exchange {
	const struct authority_hooks *hooks;
	struct authority *authority; /* keeps the hooks' owner alive: one reference */
	void *state;		     /* the authenticator's */
	bool is_outstanding, is_orphaned, is_reauthenticating, is_finished;
	uint16_t method_len;
	uint8_t method[];
};

/* Copies what the reply borrows. */
struct auth_letter {
	struct letter letter;
	struct worker *worker;
	handle_t client;
	struct auth_exchange *exchange;
	enum enhanced_auth_step step;
	uint8_t reason_code;
	bool has_username, has_data;
	uint8_t *username, *data;
	size_t username_len, data_len;
};

static void exchange_free(struct auth_exchange *exchange)
{
	if (exchange->state && exchange->hooks->enhanced_auth_end)
		exchange->hooks->enhanced_auth_end(exchange->hooks->context, exchange->state);
	authority_unref(&exchange->authority);
	free(exchange);
}

void client_auth_end(struct client *client)
{
	struct auth_exchange *exchange = client->auth;

	client->auth = NULL;
	if (!exchange)
		return;
	if (exchange->is_outstanding)
		exchange->is_orphaned = true;
	else
		exchange_free(exchange);
}

static struct slice exchange_method(const struct auth_exchange *exchange)
{
	return slice_of(exchange->method, exchange->method_len);
}

static void send_auth(struct client *client, uint8_t reason_code, const struct auth_letter *reply)
{
	struct auth_packet packet = {
		.reason_code = reason_code,
		.authentication_method = exchange_method(client->auth),
		.has_authentication_data = reply->has_data,
		.authentication_data = slice_of(reply->data, reply->data_len),
	};
	size_t size = auth_encoded_size(&packet);
	uint8_t *room;

	if (client->maximum_packet_size && size > client->maximum_packet_size) {
		client_close(client, CLOSE_PROTOCOL, RC_PACKET_TOO_LARGE,
			     "its Maximum Packet Size leaves no room for AUTH [MQTT-3.1.2-24]");
		return;
	}
	room = client_reserve(client, size);
	if (room)
		client_sent(client, COUNTER_PACKETS_SENT_AUTH, auth_encode(room, &packet));
}

static void on_success(struct client *client, struct auth_letter *reply)
{
	struct pending_connect *pending = client->pending;

	client->auth->is_finished = true;
	if (client->state == CLIENT_ONLINE) {
		client->auth->is_reauthenticating = false;
		send_auth(client, RC_SUCCESS, reply);
		client_unpark(client, PARK_HOOK);
		return;
	}
	/* It stays parked until CONNACK: nothing may be read on its way to another worker. */
	if (reply->has_username &&
	    !pending_connect_rename(client, slice_of(reply->username, reply->username_len))) {
		client_refuse(client, RC_SERVER_UNAVAILABLE, "no memory");
		return;
	}
	pending->has_auth_data = reply->has_data;
	pending->auth_data = reply->data;
	pending->auth_data_len = (uint32_t)reply->data_len;
	reply->data = NULL;
	client_admitted(client);
}

static void on_fail(struct client *client, uint8_t reason_code)
{
	if (!reason_code_is_error(reason_code))
		reason_code = RC_NOT_AUTHORIZED;
	if (client->state == CLIENT_ONLINE) {
		client_close(client, CLOSE_NOT_AUTHORIZED, reason_code, "re-authentication failed");
		return;
	}
	counter_add(client->conn.worker->counters, COUNTER_REFUSED_AUTH, 1);
	client_refuse(client, reason_code, "the authenticator said no");
}

static void apply_reply(struct client *client, struct auth_letter *reply)
{
	switch (reply->step) {
	case ENHANCED_AUTH_CONTINUE:
		send_auth(client, RC_CONTINUE_AUTHENTICATION, reply);
		client_unpark(client, PARK_HOOK);
		break;
	case ENHANCED_AUTH_SUCCESS: on_success(client, reply); break;
	case ENHANCED_AUTH_FAIL: on_fail(client, reply->reason_code); break;
	}
}

static void auth_on_arrive(struct worker *me, struct letter *letter)
{
	struct auth_letter *reply = (struct auth_letter *)letter;
	struct endpoint *endpoint = route_find(me, reply->client);
	struct client *client = endpoint ? TIMER_OWNER(endpoint, struct client, endpoint) : NULL;

	reply->exchange->is_outstanding = false;
	if (reply->exchange->is_orphaned)
		exchange_free(reply->exchange);
	else if (client && client->state != CLIENT_ENDING)
		apply_reply(client, reply);
	free(reply->username);
	free(reply->data);
	letter_return(me, letter);
}

static const struct letter_type auth_letter_type = {
	.name = "authenticator's reply",
	.on_arrive = auth_on_arrive,
	.on_return = letter_destroy,
};

static uint8_t *copy_of(struct slice bytes)
{
	uint8_t *copy = malloc(bytes.len + 1);

	if (copy)
		memcpy(copy, bytes.data, bytes.len);
	return copy;
}

/* On any thread. */
static void on_reply(void *arg, const struct enhanced_auth_reply *reply)
{
	struct auth_letter *letter = arg;

	letter->step = reply->step;
	letter->reason_code = reply->reason_code;
	letter->has_data = reply->data.data != NULL;
	letter->has_username = reply->has_username;
	if (letter->has_data) {
		letter->data = copy_of(reply->data);
		letter->data_len = letter->data ? reply->data.len : 0;
	}
	if (letter->has_username) {
		letter->username = copy_of(reply->username);
		letter->username_len = letter->username ? reply->username.len : 0;
	}
	if ((letter->has_data && !letter->data) || (letter->has_username && !letter->username)) {
		letter->step = ENHANCED_AUTH_FAIL;
		letter->reason_code = RC_SERVER_UNAVAILABLE;
	}
	letter_post_foreign(letter->worker, &letter->letter);
}

static struct auth_letter *letter_for(struct client *client)
{
	struct auth_letter *letter = letter_create(NULL, &auth_letter_type, sizeof *letter);

	letter->worker = client->conn.worker;
	letter->client = client->endpoint.handle;
	letter->exchange = client->auth;
	client->auth->is_outstanding = true;
	letter_lend(client->conn.worker, &letter->letter);
	return letter;
}

static struct auth_exchange *exchange_make(struct client *client, struct slice method)
{
	struct auth_exchange *exchange = calloc(1, sizeof *exchange + method.len);

	if (!exchange)
		return NULL;
	exchange->authority = authority_ref(client_profile(client)->authority);
	exchange->hooks = authority_hooks(exchange->authority);
	exchange->method_len = (uint16_t)method.len;
	memcpy(exchange->method, method.data, method.len);
	return exchange;
}

/* false: the method is not known, nothing is outstanding. */
static bool ask_start(struct client *client, const struct identity_request *request)
{
	struct auth_exchange *exchange = client->auth;
	struct auth_letter *letter;

	if (!exchange->hooks->enhanced_auth_start)
		return false;
	letter = letter_for(client);
	client_park(client, PARK_HOOK);
	if (exchange->hooks->enhanced_auth_start(exchange->hooks->context, request,
						 &exchange->state, on_reply, letter))
		return true;
	exchange->is_outstanding = false;
	letter_take_back(client->conn.worker, &letter->letter);
	letter_destroy(NULL, &letter->letter);
	return false;
}

void client_auth_start(struct client *client)
{
	char address[ADDRESS_TEXT_BYTES];
	struct identity_request request;

	pending_identity_request(client, &request, address);
	client->auth = exchange_make(client, request.auth_method);
	if (!client->auth) {
		client_refuse(client, RC_SERVER_UNAVAILABLE, "no memory");
		return;
	}
	if (ask_start(client, &request))
		return;
	counter_add(client->conn.worker->counters, COUNTER_REFUSED_AUTH, 1);
	client_refuse(client, RC_BAD_AUTHENTICATION_METHOD,
		      "no authenticator offers this Authentication Method");
}

static void restart(struct client *client, const struct auth_packet *packet)
{
	struct auth_exchange *exchange = client->auth;
	char address[ADDRESS_TEXT_BYTES];
	const struct origin *origin = client->session->origin;
	struct identity_request request = {
		.client_id = session_client_id(client->session),
		.has_username = origin->has_username,
		.username = origin_username(origin),
		.address = address_text(&client->conn.address, address),
		.listener = listener_name(client_profile(client)->listener),
		.protocol_version = client->version,
		.auth_method = packet->authentication_method,
		.auth_data = packet->authentication_data,
	};

	if (exchange->state && exchange->hooks->enhanced_auth_end)
		exchange->hooks->enhanced_auth_end(exchange->hooks->context, exchange->state);
	exchange->state = NULL;
	exchange->is_finished = false;
	exchange->is_reauthenticating = true;
	if (!ask_start(client, &request))
		client_close(client, CLOSE_NOT_AUTHORIZED, RC_BAD_AUTHENTICATION_METHOD, NULL);
}

static void go_on(struct client *client, const struct auth_packet *packet)
{
	struct auth_exchange *exchange = client->auth;
	struct auth_letter *letter = letter_for(client);

	client_park(client, PARK_HOOK);
	exchange->hooks->enhanced_auth_continue(exchange->hooks->context, exchange->state,
						packet->authentication_data, on_reply, letter);
}

static const char *check_auth(const struct client *client, const struct auth_packet *packet)
{
	const struct auth_exchange *exchange = client->auth;
	bool is_online = client->state == CLIENT_ONLINE;

	if (!exchange)
		return "AUTH, but CONNECT had no Authentication Method";
	if (!slice_equal(packet->authentication_method, exchange_method(exchange)))
		return "AUTH with another Authentication Method than CONNECT";
	if (packet->reason_code == RC_REAUTHENTICATE)
		return is_online ? NULL : "re-authentication before CONNACK";
	if (is_online && !exchange->is_reauthenticating)
		return "AUTH 0x18, but nothing is being authenticated";
	return exchange->is_finished ? "AUTH 0x18 after the exchange has ended" : NULL;
}

void client_on_auth(struct client *client, const struct packet_frame *frame)
{
	struct auth_packet packet;
	struct decode_error error;
	const char *wrong;

	if (auth_decode(frame, &packet, &error) == DECODE_BAD) {
		client_protocol_error(client, &error);
		return;
	}
	wrong = check_auth(client, &packet);
	if (wrong) {
		error = (struct decode_error){RC_PROTOCOL_ERROR, "MQTT-4.12.0-7", wrong};
		if (client->state == CLIENT_ONLINE)
			client_protocol_error(client, &error);
		else
			client_refuse(client, RC_PROTOCOL_ERROR, wrong);
		return;
	}
	if (packet.reason_code == RC_REAUTHENTICATE)
		restart(client, &packet);
	else
		go_on(client, &packet);
}
