/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - one worker's batches in a file mapping, so that they outlive the process (`process`).
 *
 *	header: tail, where the oldest batch that is not committed begins
 *	[ ...free... | tail: batch 17 | batch 18 | batch 19 | ...free... ]
 *	batch: length, checksum, nonce of this start, sequence, order, last post | bytes
 *
 * The worker writes at the head, header last; the writer moves the tail when the tables have it on
 * disk. What the page cache holds survives the death of the process; after the loss of power, a batch that
 * is not whole fails its checksum, and it and all behind it count as not there.
 *
 * A broker that ends in order removes its rings. What another version left is refused, not replayed:
 * RING_VERSION rises with the layout of entries and of posts (post.h).
 */
#ifndef NIGHTJAR_STORE_RING_H
#define NIGHTJAR_STORE_RING_H

#include "base/err.h"
#include "base/slice.h"

struct ring;

/* Makes the file anew, with room on disk. */
enum err ring_create(const char *directory, unsigned index, uint64_t bytes, uint64_t nonce,
		     struct ring **out, struct err_detail *detail) ERR_CHECKED;
void ring_close(struct ring **ring);

struct ring_entry {
	uint64_t sequence; /* of this ring; rises by one */
	uint64_t order;	   /* of all rings: what came because of another has a higher one */
	uint64_t highest_number;
	struct slice bytes;
	uint64_t end; /* where its room ends, for ring_release() */
};

/* Worker. Sets bytes to where they stand now, and end. false: there is no room. */
bool ring_add(struct ring *ring, struct ring_entry *entry);
/* Writer: all up to the entry with this end are on disk. */
void ring_release(struct ring *ring, uint64_t end);
/* Should the writer make room soon? Any thread. */
bool ring_is_filling(const struct ring *ring);

/* ERR_UNSUPPORTED: another version was killed, and left what this one cannot read. */
enum err ring_check_versions(const char *directory, struct err_detail *detail) ERR_CHECKED;

/* What an earlier process left. next: false at the end. */
struct ring_reader;
enum err ring_reader_open(const char *directory, unsigned index, uint64_t nonce, uint64_t applied,
			  struct ring_reader **out,
			  struct err_detail *detail) ERR_CHECKED; /* ERR_NOT_FOUND: no ring */
bool ring_reader_next(struct ring_reader *reader, struct ring_entry *out);
void ring_reader_close(struct ring_reader **reader);
/* Removes the ring files from index on. */
void ring_remove_all(const char *directory, unsigned from_index);

#endif
