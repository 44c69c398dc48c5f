/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger.h - what is stored, as far as the writer has to know, and what is still to be written.
 *
 *	ledger_take(batch): changes the picture -->  places: what each session and group waits for
 *	                                             records: how many still want each message
 *	ledger_write(kv):   one transaction of all that changed and still matters
 *	ledger_written() or ledger_failed(): then it may be tried again
 *
 * A message that nobody waits for any more when it would be written is not written. Progress
 * (acknowledgements at QoS 1, the end of QoS 2) promises nothing to anybody, so it gathers for up
 * to LEDGER_LATER_MS, or LEDGER_LATER_MAX sessions. Records that nobody wants any more are removed
 * with the next transaction, whichever: a state need not remember what they would contradict. But what
 * a state, or another record, takes over (released at QoS 2, moved) is not removed before that is written.
 *
 * Owner: the writer thread; before it starts, who opens the store.
 *
 * Invariants, checked by ledger_audit():
 *   L1  remaining of a record is the number of entries, not done, that name it.
 *   L2  refs of a record is the number of records, not removed, whose body it holds.
 *   L3  Entries of a place are in order of their numbers; the first is not done. So are its flights.
 */
#ifndef NIGHTJAR_STORE_LEDGER_H
#define NIGHTJAR_STORE_LEDGER_H

#include "store/kv.h"
#include "store/number_map.h"
#include "store/post.h"

#define LEDGER_LATER_MS 1000
#define LEDGER_LATER_MAX 8192

#define ENTRY_DONE (UINT64_C(1) << 63)

struct entry {
	uint64_t number;
	uint64_t record; /* or-ed with ENTRY_DONE: done, but the record lives on */
};

enum place_dirt { PLACE_CLEAN, PLACE_LATER, PLACE_NOW };

#define RECORD_MANY UINT64_MAX

/* A session's, or shared group's, part. */
struct place {
	uint64_t id;
	struct entry *entries; /* from head to end */
	uint32_t head, end, cap;
	uint32_t done; /* of them */
	uint32_t flight_count, flight_cap, received_count, received_cap;
	struct flight *flights;
	uint16_t *received;
	uint64_t next_number;
	uint64_t state_sum; /* of the state as it was written; 0: there is none */
	uint64_t
		need_record; /* whose life makes the state worth writing; RECORD_MANY, 0: nothing */
	struct loading *loading; /* while the store is read; ledger_load.c */
	uint16_t holding;	 /* keys in ledger->held that are its */
	uint8_t dirt;
	uint8_t is_group;
	uint32_t flight_head; /* flights from here on, in order of their numbers */
};

enum pending_state { PENDING_WAITS, PENDING_WRITTEN, PENDING_CANCELLED };

/* A message record that is not written. */
struct pending {
	struct slice body;
	uint64_t body_record; /* 0: here */
	uint64_t held_by;     /* key in ledger->held; 0: nobody */
	struct batch *batch;
	size_t first_receiver;
	uint32_t receivers, receiver_bytes;
	uint32_t remaining, refs;
	uint8_t state;
};

struct pending_receiver {
	uint64_t id, number;
	struct slice subscription_ids;
	uint8_t qos;
	bool retain;
};

enum change_kind { CHANGE_PUT, CHANGE_REMOVE, CHANGE_REMOVE_SESSION };

/* What goes into a table as it is. */
struct change {
	enum change_kind kind;
	enum kv_table table;
	uint64_t id, hash; /* hash: subscriptions */
	struct slice value, text;
};

struct retained_change {
	uint64_t hash, version;
	struct slice topic;
	struct slice value; /* empty: removal */
};

struct dead_record {
	uint64_t record;
	bool is_resolved; /* the record whose body it used knows */
	bool has_heir;	  /* as RECORD_HAS_HEIR */
};

/* In ledger.records: something that is not written yet takes its place for one of its receivers. */
#define RECORD_HAS_HEIR (UINT64_C(1) << 63)

/* Which record has the body of a message: to be found again by what other workers, or later slices,
 * deliver of it. */
#define BODY_PLACES 16384u

struct body_place {
	uint64_t message; /* struct message.number */
	uint64_t record;
};

#define VECTOR(type)                                                                               \
	struct {                                                                                   \
		type *at;                                                                          \
		size_t count, cap;                                                                 \
	}

struct ledger {
	struct number_map places;    /* id -> struct place */
	struct number_map records;   /* of those written: remaining, and refs above bit 32 */
	struct body_place *bodies;   /* BODY_PLACES; recent ones, each at the place of its number */
	struct number_map held;	     /* origin -> since when, or when it was last said to come */
	uint64_t named[WORKERS_MAX]; /* which question the worker has answered */
	struct number_map
		gone[2]; /* retained: hash -> version of the removal; this and the last round */
	uint64_t gone_since_ms;
	uint64_t round;		    /* rises when gone[0] becomes gone[1] */
	uint64_t seen[WORKERS_MAX]; /* by each worker at the end of a turn */
	unsigned workers;
	bool removes_retained; /* the next write does */

	VECTOR(struct pending) pending; /* record first_pending and on */
	VECTOR(struct pending_receiver) receivers;
	VECTOR(struct change) changes;
	VECTOR(struct retained_change) retained;
	struct number_map retained_at; /* hash -> index + 1 in retained */
	VECTOR(uint64_t) now, later;   /* ids of dirty places */
	VECTOR(struct dead_record) dead;
	VECTOR(uint64_t) with_heir; /* records that have RECORD_HAS_HEIR, and live */
	uint64_t later_since_ms;    /* 0: nothing waits */
	uint64_t now_ms;	    /* of the batch that is taken in */

	uint64_t first_pending, next_record, highest_written;
	uint64_t current_record; /* takes RECEIVERs */
	uint64_t current_message;
	uint64_t current_number;
	struct slice current_body;
	struct batch *current_batch;

	struct place *last_place; /* that was looked up; NULL: none, or it is gone */

	struct pack scratch, receivers_scratch;
	VECTOR(uint64_t) done_scratch;
	struct meta_record meta;
	uint64_t taken[WORKERS_MAX];   /* how far each ring is in the picture */
	uint64_t applied[WORKERS_MAX]; /* and how far it is written */
	uint64_t written_records;      /* of the last ledger_write() */
	uint64_t written_bytes;
	bool has_written_later;
};

void ledger_init(struct ledger *ledger);
void ledger_fini(struct ledger *ledger);
/* Reads all that is stored, in the present format (upgrade.h); checks all that belongs together. */
enum err ledger_load(struct ledger *ledger, struct kv *kv, struct err_detail *detail) ERR_CHECKED;

/* The batch has to live until it is written. ERR_INVALID: its bytes make no sense. */
enum err ledger_take(struct ledger *ledger, struct batch *batch, uint64_t now_ms) ERR_CHECKED;

/* Is there something whose poster may wait for it? */
bool ledger_has_work(const struct ledger *ledger);
/* When what is not urgent should be written. UINT64_MAX: never. */
uint64_t ledger_later_due_ms(const struct ledger *ledger);

enum ledger_part {
	LEDGER_ALL,
	LEDGER_REMOVALS, /* to make room */
};
/* Is there a record that can be removed before all the rest is written? */
bool ledger_has_removals(const struct ledger *ledger);
/* Within a transaction. later: what can wait too. */
enum err ledger_write(struct ledger *ledger, struct kv *kv, enum ledger_part part,
		      bool later) ERR_CHECKED;
void ledger_written(struct ledger *ledger, enum ledger_part part);
void ledger_failed(struct ledger *ledger);
/* Instead of a write when there is no work: what was cancelled is forgotten, what is held counted. */
void ledger_settle(struct ledger *ledger);
/* Since when the oldest origin is waited for; UINT64_MAX: none is. */
uint64_t ledger_held_since_ms(const struct ledger *ledger);
/* Origins that are waited for since before then are waited for no longer. Returns how many. */
unsigned ledger_release_held(struct ledger *ledger, uint64_t before_ms);

struct place *ledger_place(const struct ledger *ledger, uint64_t id);
/* Another process numbered them: what bodies say means nothing any more. */
void ledger_forget_bodies(struct ledger *ledger);
/* Is the record stored (and not only waiting to be)? */
bool ledger_is_written(const struct ledger *ledger, uint64_t record);
void ledger_audit(struct ledger *ledger);

/* ledger_place.c */
struct place *place_make(struct ledger *ledger, uint64_t id);
void place_destroy(struct ledger *ledger, struct place *place);
void place_add(struct place *place, uint64_t number, uint64_t record);
/* NULL: not there. It may be done. */
struct entry *place_entry(const struct place *place, uint64_t number);
/* Marks it done. record_lives: it has to be remembered. */
void place_done(struct place *place, struct entry *entry, bool record_lives);
static inline struct flight *place_flights(const struct place *place)
{
	return place->flights + place->flight_head;
}

/* NULL: not in flight. */
struct flight *place_flight(const struct place *place, uint64_t number);
void place_flight_set(struct place *place, const struct flight *flight);
bool place_flight_remove(struct place *place, uint64_t number);
bool place_received_add(struct place *place, uint16_t packet_id);
bool place_received_remove(struct place *place, uint16_t packet_id);
/* The state record. */
void place_pack_state(struct ledger *ledger, const struct place *place, struct pack *to);

/* ledger.c */
void ledger_dirty(struct ledger *ledger, struct place *place, enum place_dirt dirt,
		  uint64_t now_ms);
/* Among those not written; NULL: it is none. */
struct pending *ledger_pending(const struct ledger *ledger, uint64_t record);
/* One record less uses its body. */
void ledger_body_drop(struct ledger *ledger, uint64_t record);

void *vector_room(void *at, size_t count, size_t *cap, size_t size);
#define VECTOR_ADD(vector)                                                                         \
	((vector).at =                                                                             \
		 vector_room((vector).at, (vector).count, &(vector).cap, sizeof *(vector).at),     \
	 &(vector).at[(vector).count++])

#endif
