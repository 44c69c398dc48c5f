/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - the parts of a store and how they hang together. For the files of this folder.
 *
 *	worker: posting.c --> batch --> mailbox --> writer thread: ledger --> kv, a transaction
 *	worker: hook <------- committed, woken <-----'      | fetches
 *	worker: done() <----- arrivals <-- reader thread <--'  (readback.c)
 */
#ifndef NIGHTJAR_STORE_ENGINE_H
#define NIGHTJAR_STORE_ENGINE_H

#include <semaphore.h>
#include <signal.h>

#include "store/ledger.h"
#include "store/ring.h"

/* What waits for a worker: results of fetches. Guarded by lock. */
struct arrivals {
	pthread_mutex_t lock;
	struct fetch_request *first, **tail;
	bool is_empty; /* atomic: read without the lock */
};

struct store_worker {
	/* Owner: the worker. */
	struct store *store;
	struct worker *worker;
	worker_hook hook;
	struct pack posts;
	struct fetch_request *fetches, **fetches_tail;
	uint64_t posted, posted_before; /* in all; before this batch */
	uint64_t next_number;
	uint64_t wall_offset_ms;
	uint64_t last_message; /* the message of the receivers that were posted last; 0: none */
	uint64_t next_after_last;
	size_t receiver_at, receiver_end; /* the one posted last, in posts; equal: none */
	uint64_t seen_change;		  /* store->changes, when the hook ran last */
	struct ring *ring;		  /* `process`; NULL else */
	uint64_t outside;     /* the last post of the last batch that is not in the ring */
	uint64_t origins[16]; /* of this batch: publications that wait for their origin */
	unsigned origin_count;
	uint64_t question;    /* the last that was answered */
	uint64_t round;	      /* of the store, which the writer was told */
	uint64_t removals_at; /* of the store, before anything of this batch was posted */
	bool is_outside;      /* this batch: cannot be in the ring */
	bool has_retained;    /* this batch */

	/* Any thread. */
	uint64_t committed __attribute__((aligned(64)));
	uint64_t retained_sequence; /* of the last batch in the ring that has_retained */
	bool is_adding;		    /* such a batch, to the ring and to the mailbox */
	struct arrivals arrivals __attribute__((aligned(64)));
};

struct store {
	/* Frozen after open. */
	struct store_settings settings;
	struct kv *kv;
	uint64_t seed;
	uint64_t first_number;
	uint64_t started_wall_ms; /* of the last commit before this start */
	uint64_t first_retained_version;
	struct store_worker *workers[WORKERS_MAX]; /* set before the workers start */
	int lock_fd;				   /* of the directory; -1: none */

	/* Any thread, atomic. */
	uint64_t next_id __attribute__((aligned(64)));
	uint64_t changes;	/* rises with each commit and each change of state */
	int state;		/* enum store_state; BUSY is not kept here */
	uint64_t waiting_bytes; /* posted, not committed */
	uint64_t busy_bytes;	/* so much may wait: there is room for it, for certain */
	unsigned recovering;	/* workers that have not ended their recovery */
	uint64_t question;	/* rises when workers are to say which origins will come */
	uint64_t round;		/* rises when they are to say that they have ended a turn */
	uint64_t removals; /* commits with removals of retained messages, twice; see overtaken.c */
	bool is_stopping;
	uint64_t file_bytes, used_bytes, commits, last_commit_us, last_commit_records;

	/* The writer's mailbox and what wakes it. */
	struct mailbox *mailbox;
	sem_t wake;
	pthread_t writer, reader;
	bool has_writer, has_reader;
	struct counters counters_writer, counters_reader;

	/* Owner: the writer. */
	struct ledger ledger;
	struct batch *batches[WORKERS_MAX], **batches_tail[WORKERS_MAX];
	uint64_t first_waits_ms; /* since when the oldest batch waits; 0: none does */
	bool is_urgent;		 /* somebody waits for a commit */
	bool is_broken;		 /* the file has to be opened again */
	bool is_in_doubt;	 /* the last commit failed, and may be on disk */
	enum ledger_part doubtful_part;
	uint64_t retry_ms;	 /* after a failure: not before */
	uint64_t space_ms;	 /* when the free pages were counted last */
	uint64_t written_since;	 /* then, about */
	uint64_t reserved_bytes; /* of the file, on disk for sure */
	uint64_t held_look_ms;	 /* when what is held was looked at last */
	uint64_t asked_ms;	 /* since when the question is open; 0: there is none */
	bool is_answer_late;	 /* the log has it */

	/* To the reader thread. Guarded by reader_lock. */
	pthread_mutex_t reader_lock;
	pthread_cond_t reader_wake;
	struct fetch_request *to_read, **to_read_tail;
};

/* A fetch, on its way through the writer (which messages?) and the reader (their bodies). */
struct fetch_request {
	struct fetch_request *next;
	struct store_fetch fetch;
	uint16_t worker;
	/* Filled by the writer. */
	struct wanted {
		uint64_t number, record;
		uint16_t packet_id;
		uint8_t flight;
	} * wanted;
	unsigned wanted_count;
	bool has_more;
	/* Filled by the reader: items whose slices lie in bodies. */
	struct pack bodies;
	struct fetched_item {
		size_t body_at, body_len, ids_at;
		struct wanted wanted;
		uint16_t id_count;
		uint8_t qos;
		bool retain;
	} * items;
	unsigned count;
	bool failed;
};

void *writer_main(void *store);
/* Opening, before the thread: takes a batch of an earlier process. */
enum err writer_commit_now(struct store *store, struct err_detail *detail) ERR_CHECKED;
void writer_space(struct store *store, bool exact);
void store_set_state(struct store *store, enum store_state state);
void store_changed(struct store *store);

/* readback.c */
void *reader_main(void *store);
/* On the writer: what is it about? Then on to the reader. */
void fetch_resolve(struct store *store, struct fetch_request *request);
void fetch_free(struct fetch_request *request);
/* On the worker. */
void fetch_deliver(struct store_worker *mine);

/*
 * overtaken.c: an older value of a retained topic that comes after the removal of a newer one.
 * On the worker: at the end of a turn; around the way of a batch that has_retained into the ring and the
 * mailbox. false: it must not be in the ring.
 */
void overtaken_look(struct store_worker *mine);
bool overtaken_begin(struct store_worker *mine);
void overtaken_end(struct store_worker *mine);
/* On the writer, before a commit: takes in what is in a ring already. */
void overtaken_gather(struct store *store);
/* And after it has taken in: has a round begun? */
void overtaken_tell_round(struct store *store);

/* writer.c */
void writer_take_batches(struct store *store);

/* posting.c */
void posting_flush(struct worker *me);

/* Wall time less the monotonic clock's. */
uint64_t store_wall_offset_ms(const struct store *store);

#endif
