/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - what must outlive the process: sessions, what they wait for, and what is retained.
 *
 *	worker: store_..._put(), store_queue(), store_done(): appended to the worker's batch
 *	   |    end of the turn, before the outboxes are posted: one batch per worker
 *	   v
 *	writer thread: everything that has arrived goes into one transaction
 *	   |
 *	   '--> store_committed(me, worker) rises; each worker's hook is called
 *
 * Promises.
 *   - The posts of one turn of one worker are committed together, and in the order of all batches:
 *     what a worker posts because of a letter is never committed before what the letter's sender had
 *     posted until then.
 *   - A message is kept once, whatever the number of its receivers. What all of its receivers are
 *     done with before its commit is never written.
 *   - store_committed() rises only over what survives as the durability says. After a failed write
 *     nothing is committed until the file was closed, opened again and checked; then all that was
 *     posted since is written.
 *   - A post costs no allocation as a rule, no lock and no system call.
 *
 * Things are named by numbers. An id (store_new_id) names what has a queue: a persistent session, or a
 * shared group. A message has, for each receiver, the number that store_queue() returned; numbers
 * rise along a queue, for which its owner posts, and no other worker. Operations on ids and numbers that
 * are gone are ignored.
 *
 * Times in here are wall time in milliseconds; 0: none. Structs are borrowed until the call returns.
 *
 * Threads: all functions run on the worker `me`, unless they say otherwise. Without a store (slot
 * empty) nothing is kept: posts do nothing, and everything counts as committed.
 */
#ifndef NIGHTJAR_STORE_STORE_H
#define NIGHTJAR_STORE_STORE_H

#include "base/err.h"
#include "runtime/message.h"
#include "runtime/worker.h"

struct store;
struct store_worker;
struct upgrade_road;

/* Open and close. */

enum store_durability {
	STORE_DISK,    /* committed: on disk */
	STORE_PROCESS, /* committed: survives the death of the broker; a power cut may take a second */
	STORE_NONE,    /* memory only */
};

struct store_settings {
	enum store_durability durability;
	const char *directory; /* borrowed for the store's life; NULL: the memory implementation */
	uint64_t max_bytes;    /* persistence_max_size: the map's address space */
	unsigned workers;
	struct store_image
		*image; /* memory only: what it holds outlives it (tests); NULL: its own */
	unsigned
		origin_wait_ms; /* when it asks for origins that do not come; 0: after ten seconds */
	const struct upgrade_road *upgrade_road; /* upgrade.h; NULL: to this version's format */
};

/*
 * Main thread. Locks the directory, upgrades what an older version wrote, checks all that is stored,
 * replays what a `process` broker left. ERR_DENIED: another broker uses it, or its permissions; ERR_INVALID: damaged, nothing was changed;
 * ERR_UNSUPPORTED: written by a newer version.
 */
enum err store_open(const struct store_settings *settings, struct store **out,
		    struct err_detail *detail) ERR_CHECKED;
/* Main thread, after the workers have stopped: commits what was posted, and ends the threads. */
void store_close(struct store **store);

/* On the worker, or before it starts; on all of them before one of them recovers. */
enum err store_worker_init(struct store *store, struct worker *worker) ERR_CHECKED;
void store_worker_fini(struct worker *worker);

/* hook runs on the worker, before output is written, whenever commits went on or the state changed. */
void store_set_hook(struct worker *worker, worker_hook hook);

static inline struct store_worker *store_worker_of(const struct worker *worker)
{
	return worker->slot[WORKER_SLOT_STORE];
}

static inline bool store_is_open(const struct worker *me)
{
	return store_worker_of(me) != NULL;
}

/* How far. */

/* The number of posts that me has made; rises with every one. */
uint64_t store_posted(const struct worker *me);
/* How many of the posts of that worker (perhaps another) are committed. One load. */
uint64_t store_committed(const struct worker *me, uint16_t worker);

static inline bool store_is_committed(const struct worker *me, uint16_t worker, uint64_t post)
{
	return post == 0 || post <= store_committed(me, worker);
}

/* May something be taken in that has to be kept? Asked before it is routed; what was admitted fits. */
enum store_state {
	STORE_OFF,    /* there is none */
	STORE_OK,     /* yes */
	STORE_BUSY,   /* not now: too much is waiting to be written */
	STORE_FULL,   /* no: 95 % of max_bytes, or the disk is full */
	STORE_FAILED, /* no: the disk refuses; it is tried again each second */
};
enum store_state store_state(const struct worker *me);

static inline bool store_has_room(const struct worker *me)
{
	return store_state(me) <= STORE_OK;
}

/* Does it refuse what is new? To wait for it would be for long. */
static inline bool store_refuses(const struct worker *me)
{
	return store_state(me) >= STORE_FULL;
}

/* Sessions and shared groups. */

/* Any thread. Rises, also over restarts. */
uint64_t store_new_id(struct store *store);
uint64_t store_new_id_of(const struct worker *me); /* the same; 0: there is no store */

enum store_session_kind {
	STORE_SESSION,
	STORE_GROUP,
	/* A will on its way to its receivers. It stands by itself, because its session may end, or get
	 * another will, before all have it. Deliveries name it as origin_id, with packet id 0. Its
	 * message has a retained_version when what it retains was stored in the same commit. */
	STORE_WILL,
};

struct store_session {
	enum store_session_kind kind;
	struct slice name; /* Client Identifier, or the group's key */
	struct slice username;
	struct slice listener; /* by which it was last connected, as text */
	uint64_t connected_ms; /* of its last CONNECT */
	uint64_t offline_ms;   /* since when it has no connection; 0: it has one */
	uint32_t expiry_s;
	uint8_t version; /* enum mqtt_version */
	bool has_username;
};

/* Makes it, or replaces what is known of it. */
void store_session_put(struct worker *me, uint64_t id, const struct store_session *session);
/* With all that belongs to it. */
void store_session_remove(struct worker *me, uint64_t id);

/* text is the key: as the client sent it, "$share/" included. */
struct store_subscription {
	struct slice text;
	uint32_t subscription_id; /* 0: none */
	uint8_t qos, retain_handling;
	bool no_local, retain_as_published;
};

void store_subscription_put(struct worker *me, uint64_t id,
			    const struct store_subscription *subscription);
void store_subscription_remove(struct worker *me, uint64_t id, struct slice text);

/* One per session; a second replaces the first. due_ms: the connection has ended, its delay runs. */
struct store_will {
	const struct message *message;
	uint64_t due_ms;
	uint32_t delay_s;
	uint32_t expiry_s;
	bool has_expiry;
};

void store_will_put(struct worker *me, uint64_t id, const struct store_will *will);
void store_will_remove(struct worker *me, uint64_t id);
/* All its receivers have queued what is STORE_WILL: it goes, in one transaction with their entries. */
void store_will_sent(struct worker *me, uint64_t id);

/* QoS 2 towards us: Packet Identifiers that wait for their PUBREL. */
void store_received_add(struct worker *me, uint64_t id, uint16_t packet_id);
/* The same, when no delivery has it as its origin: in `process` mode this waits for no disk. */
void store_received_add_alone(struct worker *me, uint64_t id, uint16_t packet_id);
void store_received_remove(struct worker *me, uint64_t id, uint16_t packet_id);

/*
 * What of a worker's has to come (below, "exactly once") may be long in coming, because a worker is
 * slow: then the store asks. Each worker names all of it, in the same turn; what none of them names was
 * lost, for want of memory, and is waited for no longer. A worker that stops does not answer.
 */
bool store_asks_for_origins(const struct worker *me);
void store_origin_comes(struct worker *me, uint64_t id, uint16_t packet_id);
void store_origins_named(struct worker *me);

/* Messages on their way. */

struct store_delivery {
	const uint32_t *subscription_ids;
	uint16_t subscription_id_count;
	uint8_t qos;
	bool retain;
	/*
	 * Moves, in one step: the other's entry is done with this one's coming. A shared group's message
	 * that a member takes over (QoS 2), or gives back. 0: does not move.
	 */
	uint64_t from_id, from_number;
	/*
	 * Exactly once: the persistent session that published it at QoS 2, and its Packet Identifier; or
	 * what is STORE_WILL, and 0. The entry, and with it its worker's posts from then on, is committed
	 * together with store_received_add(origin_id, origin_packet_id), or store_will_sent(origin_id),
	 * which is posted when all receipts are in, in any case (by a session that ends: its removal).
	 * 0: not so.
	 */
	uint64_t origin_id;
	uint16_t origin_packet_id;
};

/*
 * Returns the message's number in the queue of id. Successive calls with the same message are one
 * record with a list of receivers.
 */
uint64_t store_queue(struct worker *me, uint64_t id, const struct message *message,
		     const struct store_delivery *delivery);
/* id is finished with it: acknowledged to the end, dropped, expired. Nobody has to wait for this. */
void store_done(struct worker *me, uint64_t id, uint64_t number);

enum store_flight {
	STORE_QUEUED,	/* waits; recovery only */
	STORE_SENT,	/* has its Packet Identifier */
	STORE_RELEASED, /* PUBREC has come: only the Packet Identifier is kept now */
};
/* At QoS 2 each step waits for its commit; at QoS 1 nobody need, and it is written when others are. */
void store_inflight(struct worker *me, uint64_t id, uint64_t number, uint16_t packet_id,
		    enum store_flight state, uint8_t qos);

/* The retained message of its topic; an empty payload removes. A version lower than what was posted
 * for the topic, by any worker, is ignored. */
void store_retained_put(struct worker *me, const struct message *message);
/* It has expired, and nothing has replaced it. */
void store_retained_remove(struct worker *me, struct slice topic, uint64_t version);

/* Reading back. */

/* A message for one receiver, or a retained one (id 0). */
struct store_item {
	uint64_t id, number;
	struct message *message; /* made on me; NULL when there was no memory, and for RELEASED */
	struct store_delivery delivery;
	uint16_t packet_id;
	uint8_t flight; /* enum store_flight */
};

struct store_fetched {
	uint64_t handle, id, after;
	struct store_item *items; /* in order of their numbers */
	unsigned count;
	bool has_more;
	bool failed; /* the disk could not be read; try again later */
};

struct store_fetch {
	uint64_t id;
	uint64_t after; /* numbers above this; 0: from the first */
	unsigned max_messages;
	uint32_t max_bytes; /* of messages; one is always given */
	uint64_t handle;    /* handed back */
	/* On me, later, before output is written. A use of each message is dropped when it returns. */
	void (*done)(struct worker *me, const struct store_fetched *fetched);
};
/* Everything that me has posted up to now is seen. */
void store_fetch(struct worker *me, const struct store_fetch *fetch);

/* Recovery: each worker reads its part, in slices, before it serves. */

enum store_record_kind {
	STORE_RECORD_END,
	STORE_RECORD_SESSION,
	STORE_RECORD_SUBSCRIPTION, /* after its session */
	STORE_RECORD_WILL,
	STORE_RECORD_RECEIVED,
	STORE_RECORD_RELEASED, /* item: number, packet_id; before the messages */
	STORE_RECORD_MESSAGE,  /* item, in the order of numbers for each id */
	STORE_RECORD_RETAINED, /* item.message with its version and expiry */
};

/* Valid until the next step. */
struct store_record {
	enum store_record_kind kind;
	uint64_t id; /* not of RETAINED */
	struct store_session session;
	struct store_subscription subscription;
	struct store_will will; /* a use of its message is dropped with the next step */
	struct store_item item; /* message: only after store_recovery_message() */
	uint32_t message_bytes; /* topic, payload, properties */
	uint64_t expires_ms;	/* of the message; for who would not make it */
	uint16_t packet_id;	/* RECEIVED */
};

struct store_recovery;

/* part(name) says whose a session or group (kind), or a retained topic (kind -1) is; pure. */
typedef uint16_t (*store_part_fn)(int kind, struct slice name, unsigned workers);

enum err store_recovery_begin(struct worker *me, store_part_fn part,
			      struct store_recovery **out) ERR_CHECKED;
/* The next record of this worker's part; STORE_RECORD_END: there is none. At most budget records
 * (others' too) are looked at; false: call again. */
bool store_recovery_next(struct store_recovery *recovery, unsigned *budget,
			 struct store_record *out);
/* The message of a MESSAGE, RETAINED: made at the first call for all its receivers of this worker,
 * borrowed until the next step (take a use). NULL: no memory. */
struct message *store_recovery_message(struct store_recovery *recovery,
				       struct store_record *record);
/* When all workers have ended theirs, the writer begins. failed: what could not be read. */
enum err store_recovery_end(struct store_recovery **recovery,
			    struct err_detail *detail) ERR_CHECKED;

/* Above every version that was stored. */
uint64_t store_retained_version(const struct store *store);
/* Wall time, and never before the last commit: if the clock was set back, no time has passed. */
uint64_t store_wall_now_ms(const struct store *store);

/* Figures, for $SYS and the metrics. Any thread; numbers that only rise stand in counters.def. */
struct store_figures {
	enum store_state state;
	enum store_durability durability;
	uint64_t file_bytes, used_bytes, max_bytes;
	uint64_t waiting_bytes; /* posted, not committed */
	uint64_t commits, last_commit_us, last_commit_records;
};
void store_figures(const struct store *store, struct store_figures *out);
/* The same of the store that the worker posts to; STORE_OFF without one. Any thread. */
void store_figures_of(const struct worker *worker, struct store_figures *out);
const char *store_durability_name(enum store_durability durability);
const char *store_state_name(enum store_state state);

/* The memory implementation, for tests. */

struct store_image *store_image_create(void);
void store_image_destroy(struct store_image **image);
/* While held nothing is committed, as if the disk hung. Any thread. */
void store_image_hold(struct store_image *image, bool held);
/* Commits fail: ERR_NONE (no more), ERR_LIMIT (full), ERR_IO. Any thread. */
void store_image_fail(struct store_image *image, enum err err);
/* The next commit is carried out, and says that it failed. Any thread. */
void store_image_doubt(struct store_image *image);
/* From now on commits are lost, as by a power cut; close and open the store to see what is left. */
void store_image_cut(struct store_image *image);

#endif
