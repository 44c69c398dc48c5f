/* SPDX-License-Identifier: Apache-2.0 */
#include "store/replay.h"

#include "base/clock.h"
#include "store/ring.h"

struct replay {
	struct ring_reader *readers[WORKERS_MAX];
	struct ring_entry heads[WORKERS_MAX];
	bool has_head[WORKERS_MAX];
	unsigned count;
};

static enum err replay_open(struct replay *replay, const struct meta_record *meta,
			    const char *directory, struct err_detail *detail)
{
	for (unsigned i = 0; i < meta->rings; i++) {
		enum err err = ring_reader_open(directory, i, meta->rings_nonce, meta->applied[i],
						&replay->readers[i], detail);

		if (err != ERR_NONE && err != ERR_NOT_FOUND)
			return err;
		replay->count = i + 1;
		if (err == ERR_NONE)
			replay->has_head[i] =
				ring_reader_next(replay->readers[i], &replay->heads[i]);
	}
	return ERR_NONE;
}

/* The oldest batch of all; WORKERS_MAX: none is left. */
static unsigned replay_oldest(const struct replay *replay)
{
	unsigned oldest = WORKERS_MAX;

	for (unsigned i = 0; i < replay->count; i++)
		if (replay->has_head[i] &&
		    (oldest == WORKERS_MAX || replay->heads[i].order < replay->heads[oldest].order))
			oldest = i;
	return oldest;
}

static enum err replay_all(struct replay *replay, struct ledger *ledger, struct batch ***tail,
			   unsigned *count, struct err_detail *detail)
{
	unsigned i;

	while ((i = replay_oldest(replay)) != WORKERS_MAX) {
		const struct ring_entry *entry = &replay->heads[i];
		struct batch *batch = calloc(1, sizeof *batch);

		BUG_ON(!batch);
		batch->worker = (uint16_t)i;
		batch->highest_number = entry->highest_number;
		pack_bytes(&batch->pack, entry->bytes);
		batch->bytes = pack_slice(&batch->pack);
		**tail = batch;
		*tail = &batch->next;
		(*count)++;
		if (ledger_take(ledger, batch, clock_now_ms()) != ERR_NONE)
			return err_set(detail, ERR_INVALID,
				       "What the last broker left in ring-%u does not read, though "
				       "its checksum is right: was it another version?",
				       i);
		replay->has_head[i] = ring_reader_next(replay->readers[i], &replay->heads[i]);
	}
	return ERR_NONE;
}

enum err replay_rings(struct ledger *ledger, const char *directory, struct batch **out_batches,
		      unsigned *out_count, struct err_detail *detail)
{
	struct replay *replay = calloc(1, sizeof *replay);
	struct batch **tail = out_batches;
	enum err err;

	*out_batches = NULL;
	*out_count = 0;
	if (!replay)
		return ERR_NOMEM;
	err = replay_open(replay, &ledger->meta, directory, detail);
	if (err == ERR_NONE)
		err = replay_all(replay, ledger, &tail, out_count, detail);
	for (unsigned i = 0; i < replay->count; i++)
		ring_reader_close(&replay->readers[i]);
	free(replay);
	/* Numbers of messages were those of that process. */
	ledger_forget_bodies(ledger);
	(void)ledger_release_held(ledger, UINT64_MAX);
	return err;
}

void replay_free(struct batch **batches)
{
	struct batch *batch;

	while ((batch = *batches) != NULL) {
		*batches = batch->next;
		pack_fini(&batch->pack);
		free(batch);
	}
}
