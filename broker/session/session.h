/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - what a client leaves with the broker: subscriptions, queue, in-flight state, will.
 *
 * A session lives on one worker from its birth to its end; its connection (struct client) comes and
 * goes. session promises what MQTT says of a server; it calls route for everything that concerns
 * others, auth for rights, net for bytes. Owner of everything here: the session's worker.
 *
 *	session_open    resumes the session of a Client Identifier, or makes one (session_open.c)
 *	session_detach  its connection is gone: will, expiry                      (session.c)
 *	session_end     the session is over: subscriptions, queue and all          (session.c)
 */
#ifndef NIGHTJAR_SESSION_SESSION_H
#define NIGHTJAR_SESSION_SESSION_H

#include "auth/acl_cache.h"
#include "base/timer_wheel.h"
#include "session/outgoing.h"
#include "session/packet_id_set.h"
#include "session/registry.h"
#include "session/settings.h"

struct client;
struct departing_will;
struct feed;
struct kept;
struct recovery;
struct room_waiter;
struct session;
struct subscription_walk;

#define SESSION_EXPIRY_NEVER 0xffffffffu

/* The broker's sessions, for all workers. Frozen after create, but for settings. */
struct session_world {
	struct runtime *runtime;
	struct route *route;
	struct registry *registry;
	unsigned with_groups; /* atomic: at a start, workers whose groups have their queues */
};

/* Owner: its worker (worker->slot[WORKER_SLOT_SESSION]). */
struct session_worker {
	struct session_world *world;
	struct session_settings *settings; /* one reference */
	struct client *moving;		   /* to be handed to another worker with this turn's end */
	uint32_t clients;		   /* connections, in any state */
	bool is_serving;		   /* else a CONNECT waits */
	bool is_stopping;
	struct recovery *recovery; /* while the store is read at a start */
	struct room_waiter *room_waiters, **room_waiters_end; /* room.c */
	struct timer room_timer;
	uint64_t room_due_ms; /* when the timer is armed */
	uint8_t room_state;   /* enum store_state that all of them wait to see gone */
	/* The last Topic Name in the bytes that are being handled, and its hash. Empty in between. */
	struct slice topic_seen;
	uint64_t topic_seen_hash;
	uint8_t *scratch; /* Topic Names with the mount point in front */
	size_t scratch_cap;
	/* The publisher of the last retained message that was looked at (check_retain_source). */
	struct acl_view *source_view;
	uint64_t source_generation;
	uint64_t source_number;
	uint32_t audit_cursor;		 /* audit.c */
	struct subscription_walk *walks; /* inspect.h: those that stand somewhere */
	struct departing_will *wills;	 /* will.c: on their way to their receivers */
};

static inline struct session_worker *session_worker_of(struct worker *worker)
{
	return worker->slot[WORKER_SLOT_SESSION];
}

/* What a session may do. The view is made anew when the authority changed. */
struct rights {
	struct authority *authority; /* one reference */
	struct acl_view *view;	     /* NULL: everything is allowed by the file */
	struct acl_cache *cache;
};

/* A Will Message, ready to be published; owned by its session. */
struct will {
	struct message *message;
	uint64_t due_ms; /* 0: not yet known; offline only */
	uint32_t delay_s;
	uint32_t expiry_s; /* Message Expiry Interval, which starts when it is published */
	bool has_expiry;
};

struct session_subscription {
	struct subscription subscription; /* first member; not in the tree when shared */
	struct session_subscription *next, **pprev;
	struct shared_membership *membership; /* not NULL: a Shared Subscription */
};

enum session_flag {
	SESSION_TRACED = 1 << 0, /* each stage says what it does with its messages */
	SESSION_ENDING = 1 << 1,
};

struct session {
	struct endpoint endpoint; /* first member: the subscriber */
	struct timer timer;	  /* offline: the will's delay, then expiry */
	struct registration *registration;
	struct client *client; /* NULL: offline */
	struct origin *origin; /* client id and user, as messages carry them */
	struct session_subscription *subscriptions;
	struct feed *feeds; /* retained messages still to be delivered */
	struct queue *queue;
	struct window *window;
	struct will *will;
	struct rights rights;
	struct packet_id_set received; /* QoS 2 publications received, not released */
	struct kept *kept;	       /* NULL: it ends with the process */
	uint64_t expiry_due_ms;	       /* 0: none; offline only */
	uint64_t since_ms;	       /* online, or offline, since then */
	uint32_t expiry_s;	       /* Session Expiry Interval; SESSION_EXPIRY_NEVER */
	uint32_t subscription_count;
	uint16_t listener;   /* index of the profile it was last connected through */
	uint8_t flags;	     /* enum session_flag */
	uint8_t version : 3; /* enum mqtt_version of its last connection */
	/* The end of the connection before: enum close_cause + 1 (0: there was none), and when, in
	 * seconds of clock_now_ms(). */
	uint8_t last_cause : 5;
	uint32_t last_end_s;
};

static inline struct slice session_client_id(const struct session *session)
{
	return registration_client_id(session->registration);
}

static inline const struct listener_profile *session_profile(struct worker *me,
							     const struct session *session)
{
	return &session_worker_of(me)->settings->listeners[session->listener];
}

/*
 * Finds the session of client's Client Identifier or makes one, takes an older connection's place,
 * and attaches the client. The caller is the owner by the registration. ERR_NOMEM.
 */
enum err session_open(struct worker *me, struct client *client, struct registration *registration,
		      bool *out_session_present) ERR_CHECKED;

/* The connection is gone; publish_will: as its cause says. Ends the session when it does not
 * outlive the connection. client is not used any more afterwards. */
void session_detach(struct worker *me, struct session *session, bool publish_will);

/* Sets the Session Expiry Interval, capped as the settings say. */
void session_set_expiry(struct worker *me, struct session *session, uint32_t expiry_s);

/* A session without anything, offline, which has the registration. NULL: no memory. */
struct session *session_make(struct worker *me, struct registration *registration);
/* Offline, since offline_for_ms: sets when the will is due, if it has one, and expiry_due_ms; arms. */
void session_arm_offline(struct worker *me, struct session *session, uint64_t offline_for_ms);

/* Everything goes; a will that is still due is published [MQTT-3.1.2-8]. */
void session_end(struct worker *me, struct session **session);

/* Sends what can be sent: what is to be sent again, then the queue, then retained messages. */
void session_pump(struct worker *me, struct session *session);

/* struct endpoint_ops.deliver of sessions. */
void session_deliver(struct worker *me, struct endpoint *endpoint, const struct delivery *delivery);
extern const struct endpoint_ops session_endpoint_ops;

/* How many messages of QoS 1 and 2 may be under way to the client at once. */
uint32_t session_window_limit(struct worker *me, const struct session *session);
/* Would a message of this QoS be sent at once? For those who can wait (feeds). */
bool session_is_ready(struct worker *me, const struct session *session, uint8_t qos);

/* Answers of the receiver (RC_SUCCESS or a code; 0x80 and above discard). */
void session_on_puback(struct worker *me, struct session *session, uint16_t packet_id,
		       uint8_t reason_code);
void session_on_pubrec(struct worker *me, struct session *session, uint16_t packet_id,
		       uint8_t reason_code);
void session_on_pubcomp(struct worker *me, struct session *session, uint16_t packet_id);

/* The window starts afresh on a new connection: everything in it has to be sent again. */
void session_window_restart(struct session *session);
/* What shared groups gave and was not finished goes back when the connection ends. */
void session_return_tickets(struct worker *me, struct session *session);
void session_drop_outgoing(struct worker *me, struct session *session);

/* room.c */
void room_init(struct session_worker *mine);
void room_stop(struct worker *me);
void room_fini(struct session_worker *mine);

/* The topic with the listener's mount point in front: a view into the worker's scratch memory, or
 * the topic itself when there is none. Empty when there is no memory. */
struct slice session_mount(struct worker *me, const struct listener_profile *profile,
			   struct slice topic);

static inline struct slice session_mounted_topic(struct worker *me,
						 const struct listener_profile *profile,
						 struct slice topic)
{
	return profile->mount_point.len ? session_mount(me, profile, topic) : topic;
}

/* rights.c */
enum err rights_init(struct rights *rights, struct authority *authority,
		     const struct session *session) ERR_CHECKED;
void rights_fini(struct rights *rights);
/* Takes over the authority of the current settings if it is another one. false: the client is not
 * admitted any more. */
bool rights_refresh(struct worker *me, struct session *session);
bool rights_may_read(struct worker *me, struct session *session, const struct message *message);
/* The acl_file and, for PUBLISH, the cache; a hook may answer PENDING when done is not NULL. */
enum permission rights_check(struct worker *me, struct session *session,
			     const struct permission_request *request, permission_done_fn done,
			     void *arg);
/* Does check_retain_source let this retained message be sent? */
bool rights_source_may_publish(struct worker *me, const struct message *message);

static inline bool rights_are_open(const struct rights *rights)
{
	return !rights->view && !authority_hooks(rights->authority)->check_permission;
}

/*
 * Is it known, without asking anybody, that this topic may be published to? now: the authority of
 * the current settings; another one than before knows nothing. The cache holds what the acl_file
 * says, so with a hook it is empty.
 */
static inline bool rights_publish_is_known(const struct rights *rights, const struct authority *now,
					   uint64_t topic_hash)
{
	if (rights->authority != now)
		return false;
	if (rights_are_open(rights))
		return true;
	return acl_cache_get(rights->cache, ACL_WRITE, topic_hash, authority_generation(now)) ==
	       ACL_CACHED_ALLOWED;
}

/* subscriptions.c. text is the filter as the client sent it, for shared ones with "$share/". */
struct subscribe_request {
	struct slice text;   /* key */
	struct slice filter; /* with the mount point in front */
	struct slice group;  /* empty unless shared */
	bool is_shared, no_local, retain_as_published;
	uint8_t qos, retain_handling;
	uint32_t subscription_id;
	/* Shared: called when the subscription is live. */
	void (*done)(struct worker *me, uint64_t handle, uint64_t token);
	uint64_t done_handle, done_token;
};

/* Returns the SUBACK's Reason Code. *out_is_waiting: done will be called (or was). */
uint8_t session_subscribe(struct worker *me, struct session *session,
			  const struct subscribe_request *request, bool *out_is_waiting);
uint8_t session_unsubscribe(struct worker *me, struct session *session,
			    const struct subscribe_request *request, bool *out_is_waiting);
void session_unsubscribe_all(struct worker *me, struct session *session);
void session_members_online(struct worker *me, struct session *session, bool online);

/* feed.c: retained messages for new subscriptions, in slices under flow control. */
enum err feed_start(struct worker *me, struct session *session, struct slice filter,
		    const struct session_subscription *subscription) ERR_CHECKED;
/* There is room again. */
void feeds_wake(struct worker *me, struct session *session);
/* Those of one subscription, or all (NULL). */
void feeds_cancel(struct session *session, const struct session_subscription *subscription);

/*
 * trace.c: what becomes of the messages of a session that is traced (trace_clientid). Each stage of
 * the road calls trace_message(), which costs one look at a flag for all others.
 */
void trace_set(struct worker *me, struct session *session);
void trace_write(const struct session *session, const char *stage, struct slice topic, uint8_t qos);

static inline void trace_message(const struct session *session, const char *stage,
				 struct slice topic, uint8_t qos)
{
	if (__builtin_expect(session->flags & SESSION_TRACED, 0))
		trace_write(session, stage, topic, qos);
}

/* will.c */
void will_publish(struct worker *me, struct session *session);
void will_free(struct worker *me, struct will **will);
/* It will not be published: withdrawn, also in the store. */
void will_withdraw(struct worker *me, struct session *session);
/* One that was on its way when the last broker ended (store.h, STORE_WILL). */
void will_send_again(struct worker *me, uint64_t store_id, struct message *message);
/* Those on their way, when the store asks for origins. */
void wills_name(struct worker *me);
/* The broker stops: those on their way are left to the next one. */
void wills_forget(struct worker *me);

#endif
