/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - one MQTT connection, from accept to close.
 *
 *	accepted --CONNECT--> deciding (thread pool, hooks) --> [handed to the session's worker]
 *	         --> online --> ending
 *
 * Owner: conn.worker. While it moves between workers: the letter that carries it.
 */
#ifndef NIGHTJAR_SESSION_CLIENT_H
#define NIGHTJAR_SESSION_CLIENT_H

#include "base/log.h"
#include "mqtt/packet.h"
#include "net/connection.h"
#include "net/web.h"
#include "session/ack_queue.h"
#include "session/session.h"
#include "session/topic_alias.h"

enum close_cause {
#define CLOSE_CAUSE(name, text, reason_code, level, will) CLOSE_##name,
#include "session/close_cause.def"
#undef CLOSE_CAUSE
	CLOSE_CAUSE_COUNT
};

enum client_state {
	CLIENT_ACCEPTED, /* waits for CONNECT */
	CLIENT_DECIDING, /* CONNECT is here; identity or extended authentication is being decided */
	CLIENT_MOVING,	 /* on its way to the worker that owns the session */
	CLIENT_ONLINE,
	CLIENT_ENDING,
};

enum client_flag {
	CLIENT_PROBLEM_INFORMATION = 1 << 0, /* Request Problem Information */
	CLIENT_IS_BRIDGE = 1 << 1,	     /* a mosquitto bridge: RETAIN as published, No Local */
	CLIENT_MAY_RETAIN = 1 << 2,	     /* CONNACK said so */
	CLIENT_HOLDS_PLACE = 1 << 3,	     /* counts for its listener's max_connections */
	CLIENT_PUMP_IS_DUE = 1 << 4, /* what was just read has made room for its session to send */
};

/* Why it is not read. Several may hold at once; it goes on when the last is gone. */
enum park {
	PARK_CREDIT = 1 << 0, /* another worker's mailbox is full */
	PARK_HOOK = 1 << 1,   /* identity, permission, or an authenticator is being asked */
	PARK_FANOUT = 1 << 2, /* its last publication is being spread in slices */
	PARK_ACKS = 1 << 3,   /* very many of its publications wait for receipts */
	PARK_MOVING = 1 << 4, /* it is to be handed to another worker */
	PARK_STORE = 1 << 5,  /* what it asks for has to be stored first, or cannot be now */
	PARK_START = 1 << 6,  /* its CONNECT has come before the store was read */
};

/* What was found out about a publication that comes again, while the store takes nothing. */
enum room {
	ROOM_UNKNOWN,
	ROOM_NOT_NEEDED, /* nobody has to keep it */
	ROOM_NEEDED,
};

struct pending_connect;
struct auth_exchange;
struct hook_answers;

struct client {
	struct connection conn;	  /* first member */
	struct endpoint endpoint; /* the publisher: receipts come here */
	struct timer timer;	  /* CONNECT in time, then keep alive */
	struct session *session;  /* from CONNACK on */
	struct ack_queue acks;
	struct topic_alias_table *aliases_in;
	union {
		struct client *moving_next; /* while it waits to be handed over; then NULL */
		struct topic_alias_out *aliases_out; /* online */
	};
	struct pending_connect *pending; /* while deciding or moving */
	struct auth_exchange *auth;   /* enhanced authentication, as long as the connection lives */
	struct hook_answers *answers; /* what plugins said about the packet at the head */
	struct credit_waiter credit;
	uint32_t maximum_packet_size; /* the client's; 0: none */
	/* Ours, as CONNACK told them: a reload binds later connections only. */
	uint32_t our_packet_size; /* 0: none */
	uint16_t our_receive_maximum;
	uint16_t our_topic_alias_maximum;
	uint8_t our_maximum_qos;
	uint16_t listener;	      /* index of its profile */
	uint16_t moving_to;	      /* the worker it goes to */
	uint16_t receive_maximum;     /* the client's */
	uint16_t keep_alive_s;	      /* in force; 0: none */
	uint16_t topic_alias_maximum; /* the client's */
	uint16_t subacks;	      /* that wait, and retained messages for them */
	uint16_t received;	      /* publications of QoS 1 and 2 that we have not finished */
	uint8_t version;	      /* enum mqtt_version */
	uint8_t state;		      /* enum client_state */
	uint8_t close_cause;	      /* enum close_cause */
	uint8_t flags;		      /* enum client_flag */
	uint8_t parked;		      /* enum park, or-ed */
	uint8_t room;		      /* enum room, of the packet at the head */
};

static inline struct client *client_of_connection(struct connection *conn)
{
	return (struct client *)(void *)conn;
}

static inline const struct session_settings *client_settings(const struct client *client)
{
	return session_worker_of(client->conn.worker)->settings;
}

static inline const struct listener_profile *client_profile(const struct client *client)
{
	return &client_settings(client)->listeners[client->listener];
}

/* May more be written for it now, or does it not take what it has? */
static inline bool client_has_room(const struct client *client)
{
	const struct connection *conn = &client->conn;

	return client->state == CLIENT_ONLINE &&
	       (!connection_is_choked(conn) ||
		conn->out_len - conn->out_start < conn->output_limit);
}

/* struct listener_settings.on_client */
bool client_accept(struct worker *me, const struct newcomer *newcomer);
/* Over a transport that is pushed, which must know the connection before anything arrives. NULL: there
 * is no memory, or the broker takes nobody now. */
struct connection *client_accept_pushed(struct worker *me, const struct transport *transport,
					void *transport_state, uint16_t listener,
					const struct address *address, uint64_t deadline_ms);
/* struct web_hooks: may_accept, on_websocket. */
bool client_may_accept(struct worker *me);
bool client_accept_websocket(struct worker *me, struct web_socket *socket,
			     const struct web_peer *peer, uint64_t deadline_ms);

/*
 * Ends the connection with this turn: DISCONNECT to a version 5 client where the cause has a Reason
 * Code, one log line. reason_code 0: that of the cause; detail (may be NULL): for the log and, when
 * the client wants problem information, the Reason String.
 */
void client_close(struct client *client, enum close_cause cause, uint8_t reason_code,
		  const char *detail);
/* In words, as the log has them. */
const char *close_cause_text(enum close_cause cause);
/* The peer broke the protocol. */
void client_protocol_error(struct client *client, const struct decode_error *error);

void client_log_fields(const struct client *client, char *address_text, struct log_fields *out);

/* connect.c: CONNECT, identity, handing over, CONNACK. */
void client_on_connect(struct client *client, const struct packet_frame *frame);
void client_refuse(struct client *client, uint8_t reason_code, const char *why);
void client_post_moving(struct worker *me);
void pending_connect_free(struct client *client);
/* The identity is certain: finds the session's worker, and goes on there. */
void client_admitted(struct client *client);
/* Puts the identity's name, when an authenticator gave another one than CONNECT did. */
bool pending_connect_rename(struct client *client, struct slice username);

/* enhanced_auth.c: AUTH (MQTT 5, 4.12). */
void client_auth_start(struct client *client);
void client_on_auth(struct client *client, const struct packet_frame *frame);
void client_auth_end(struct client *client);

/*
 * hook.c: may it? PENDING: the client is parked, and the same packet comes again when the answer is
 * here. What plugins said is kept until client_answers_clear(), after the packet.
 */
enum permission client_check(struct client *client, const struct permission_request *request);
void client_answers_clear(struct client *client);

/*
 * Answers a packet: at once, or behind the answers that wait. Takes ack->codes. An answer that waits
 * for receipts gets the token that ack_queue_next_token() gave before. false: the client is closing.
 */
bool client_answer(struct client *client, const struct pending_ack *ack);
/* How many receipts more (0 or 1) the answer with this token waits for, for this post to the store. */
unsigned client_wait_for_commit(struct client *client, uint64_t store_number, uint64_t token);
/* One of the receipts that the answer with this token waits for. */
void client_receipt(struct client *client, uint64_t token);

/* publish.c. false: parked, the packet comes again. */
bool client_on_publish(struct client *client, const struct packet_frame *frame);
void client_on_pubrel(struct client *client, uint16_t packet_id);
extern const struct endpoint_ops client_endpoint_ops;

/* room.c: a publication that would have to be kept, while the store takes nothing: because of state,
 * which may have passed since. true: the packet is refused. false: it waits, and comes again. */
bool client_no_room(struct client *client, const struct publish_packet *packet,
		    enum store_state state);
void client_on_keepers(struct worker *me, struct endpoint *endpoint, bool somebody_keeps);

/* subscribe.c */
bool client_on_subscribe(struct client *client, const struct packet_frame *frame);
bool client_on_unsubscribe(struct client *client, const struct packet_frame *frame);

/* Stops reading until every reason has been taken back with client_unpark(); counts the reason. */
void client_park(struct client *client, enum park reason);
void client_unpark(struct client *client, enum park reason);
/* The worker serves from now on: a CONNECT that waited for it goes on. */
void client_on_serving(struct client *client);

/* A packet made of one of the encoders: reserve, encode, count. NULL: closing, nothing to do. */
static inline uint8_t *client_reserve(struct client *client, size_t len)
{
	return client->state == CLIENT_ENDING ? NULL : connection_reserve(&client->conn, len);
}

static inline void client_sent(struct client *client, enum counter packet, size_t len)
{
	connection_wrote(&client->conn, len);
	counter_add(client->conn.worker->counters, packet, 1);
}

void client_send_ack(struct client *client, enum packet_type type, uint16_t packet_id,
		     uint8_t reason_code);

/* The same for RC_SUCCESS, which is four bytes in every version. counter: the one of type. */
static inline void client_send_success(struct client *client, enum packet_type type,
				       enum counter counter, uint16_t packet_id)
{
	uint8_t *room = client_reserve(client, ACK_BRIEF_BYTES);

	if (room)
		client_sent(client, counter, ack_encode_success(room, type, packet_id));
}

/* Arms the keep alive timer; called once online. */
void client_watch_keep_alive(struct client *client);

#endif
