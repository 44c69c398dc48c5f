/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv_memory.c - tables in memory, for tests that want to hold, fill and break a store.
 *
 * Each table is an array in order. A transaction changes it at once and remembers how it was (the
 * journal), so that it can be undone. Guarded by image->lock as a whole; speed is no aim.
 */
#include <pthread.h>
#include <stdlib.h>

#include "store/kv.h"
#include "store/store.h"

struct pair {
	struct slice key, value; /* owned */
};

struct undo {
	enum kv_table table;
	struct slice key;   /* owned */
	struct slice value; /* owned; data NULL: it was not there */
};

struct store_image {
	pthread_mutex_t lock;
	pthread_cond_t released;
	struct pair *pairs[KV_TABLES];
	size_t count[KV_TABLES], cap[KV_TABLES];
	uint64_t bytes;
	struct undo *journal;
	size_t journal_count, journal_cap;
	bool is_held, is_cut, is_doubtful;
	enum err failure;
};

struct kv_memory {
	struct kv kv;
	struct store_image *image;
	bool owns_image;
	uint64_t max_bytes;
};

/* What was read is copied, because a writer may change it as soon as the lock is free. */
struct kv_reader {
	struct store_image *image;
	struct pack key, value;
};

static void *must_alloc(void *memory)
{
	BUG_ON(!memory);
	return memory;
}

static struct slice copy_of(struct slice from)
{
	uint8_t *data = must_alloc(malloc(from.len + 1));

	if (from.len)
		memcpy(data, from.data, from.len);
	return slice_of(data, from.len);
}

static void slice_free(struct slice *owned)
{
	free((void *)(uintptr_t)owned->data);
	*owned = SLICE_NONE;
}

static int compare(struct slice a, struct slice b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int order = shorter ? memcmp(a.data, b.data, shorter) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* The first that is not below key. */
static size_t place_of(const struct store_image *image, enum kv_table table, struct slice key)
{
	size_t low = 0, high = image->count[table];

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare(image->pairs[table][middle].key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool stands_at(const struct store_image *image, enum kv_table table, size_t at,
		      struct slice key)
{
	return at < image->count[table] && slice_equal(image->pairs[table][at].key, key);
}

static void set_at(struct store_image *image, enum kv_table table, struct slice key,
		   struct slice value)
{
	size_t at = place_of(image, table, key);
	struct pair *pairs;

	if (stands_at(image, table, at, key)) {
		image->bytes -= image->pairs[table][at].value.len;
		slice_free(&image->pairs[table][at].value);
	} else {
		if (image->count[table] == image->cap[table]) {
			image->cap[table] = image->cap[table] ? image->cap[table] * 2 : 64;
			image->pairs[table] =
				must_alloc(realloc(image->pairs[table],
						   image->cap[table] * sizeof(struct pair)));
		}
		pairs = image->pairs[table];
		memmove(&pairs[at + 1], &pairs[at],
			(image->count[table]++ - at) * sizeof(struct pair));
		pairs[at].key = copy_of(key);
		image->bytes += key.len;
	}
	image->pairs[table][at].value = copy_of(value);
	image->bytes += value.len;
}

static void take_away(struct store_image *image, enum kv_table table, struct slice key)
{
	size_t at = place_of(image, table, key);
	struct pair *pairs = image->pairs[table];

	if (!stands_at(image, table, at, key))
		return;
	image->bytes -= pairs[at].key.len + pairs[at].value.len;
	slice_free(&pairs[at].key);
	slice_free(&pairs[at].value);
	memmove(&pairs[at], &pairs[at + 1], (--image->count[table] - at) * sizeof(struct pair));
}

static void remember(struct store_image *image, enum kv_table table, struct slice key)
{
	size_t at = place_of(image, table, key);
	struct undo *undo;

	if (image->journal_count == image->journal_cap) {
		image->journal_cap = image->journal_cap ? image->journal_cap * 2 : 64;
		image->journal = must_alloc(
			realloc(image->journal, image->journal_cap * sizeof *image->journal));
	}
	undo = &image->journal[image->journal_count++];
	*undo = (struct undo){.table = table, .key = copy_of(key)};
	if (stands_at(image, table, at, key))
		undo->value = copy_of(image->pairs[table][at].value);
}

static void journal_clear(struct store_image *image)
{
	for (size_t i = 0; i < image->journal_count; i++) {
		slice_free(&image->journal[i].key);
		slice_free(&image->journal[i].value);
	}
	image->journal_count = 0;
}

static void journal_undo(struct store_image *image)
{
	for (size_t i = image->journal_count; i-- > 0;) {
		struct undo *undo = &image->journal[i];

		if (undo->value.data)
			set_at(image, undo->table, undo->key, undo->value);
		else
			take_away(image, undo->table, undo->key);
	}
	journal_clear(image);
}

static struct store_image *image_of(struct kv *kv)
{
	return ((struct kv_memory *)(void *)kv)->image;
}

static enum err memory_begin(struct kv *kv)
{
	(void)kv;
	return ERR_NONE;
}

static enum err memory_put(struct kv *kv, enum kv_table table, struct slice key, struct slice value,
			   bool append)
{
	struct store_image *image = image_of(kv);
	enum err err = ERR_LIMIT;

	(void)append;
	pthread_mutex_lock(&image->lock);
	if (image->bytes + key.len + value.len <= ((struct kv_memory *)(void *)kv)->max_bytes) {
		remember(image, table, key);
		set_at(image, table, key, value);
		err = ERR_NONE;
	}
	pthread_mutex_unlock(&image->lock);
	return err;
}

static enum err memory_remove(struct kv *kv, enum kv_table table, struct slice key)
{
	struct store_image *image = image_of(kv);

	pthread_mutex_lock(&image->lock);
	remember(image, table, key);
	take_away(image, table, key);
	pthread_mutex_unlock(&image->lock);
	return ERR_NONE;
}

static enum err memory_find(struct kv *kv, enum kv_table table, struct slice from,
			    struct slice *out_key, struct slice *out_value)
{
	struct store_image *image = image_of(kv);
	size_t at;

	/* Only the writer changes, and it is the one who asks. */
	at = place_of(image, table, from);
	if (at == image->count[table])
		return ERR_NOT_FOUND;
	*out_key = image->pairs[table][at].key;
	*out_value = image->pairs[table][at].value;
	return ERR_NONE;
}

static enum err memory_commit(struct kv *kv, struct err_detail *detail)
{
	struct store_image *image = image_of(kv);
	enum err err;

	pthread_mutex_lock(&image->lock);
	while (image->is_held)
		pthread_cond_wait(&image->released, &image->lock);
	err = image->failure;
	if (err != ERR_NONE || image->is_cut)
		journal_undo(image);
	else
		journal_clear(image);
	if (err == ERR_NONE && image->is_doubtful) {
		image->is_doubtful = false;
		err = ERR_IO;
	}
	pthread_mutex_unlock(&image->lock);
	return err ? err_set(detail, err, "The memory store was told to fail") : ERR_NONE;
}

static void memory_abort(struct kv *kv)
{
	struct store_image *image = image_of(kv);

	pthread_mutex_lock(&image->lock);
	journal_undo(image);
	pthread_mutex_unlock(&image->lock);
}

static enum err memory_reopen(struct kv *kv, struct err_detail *detail)
{
	struct store_image *image = image_of(kv);
	enum err err;

	pthread_mutex_lock(&image->lock);
	err = image->failure == ERR_IO ? ERR_IO : ERR_NONE;
	pthread_mutex_unlock(&image->lock);
	return err ? err_set(detail, err, "The memory store was told to fail") : ERR_NONE;
}

static enum err memory_space(struct kv *kv, bool exact, struct kv_space *out)
{
	struct kv_memory *memory = (struct kv_memory *)(void *)kv;

	(void)exact;
	pthread_mutex_lock(&memory->image->lock);
	*out = (struct kv_space){memory->image->bytes, memory->image->bytes, memory->max_bytes,
				 memory->image->bytes};
	pthread_mutex_unlock(&memory->image->lock);
	return ERR_NONE;
}

static enum err memory_reserve(struct kv *kv, uint64_t bytes)
{
	struct store_image *image = image_of(kv);
	enum err err;

	(void)bytes;
	pthread_mutex_lock(&image->lock);
	err = image->failure == ERR_LIMIT ? ERR_LIMIT : ERR_NONE;
	pthread_mutex_unlock(&image->lock);
	return err;
}

static enum err memory_reader_open(struct kv *kv, struct kv_reader **out)
{
	*out = must_alloc(calloc(1, sizeof **out));
	(*out)->image = image_of(kv);
	return ERR_NONE;
}

static void memory_reader_close(struct kv_reader **reader)
{
	if (!*reader)
		return;
	pack_fini(&(*reader)->key);
	pack_fini(&(*reader)->value);
	free(*reader);
	*reader = NULL;
}

static enum err memory_read(struct kv_reader *reader, enum kv_table table, struct slice from,
			    bool above, struct slice *out_key, struct slice *out_value)
{
	struct store_image *image = reader->image;
	struct pack key = {NULL, 0, 0};
	size_t at;

	pthread_mutex_lock(&image->lock);
	at = place_of(image, table, from);
	if (above && stands_at(image, table, at, from))
		at++;
	if (at < image->count[table]) {
		pack_bytes(&key, image->pairs[table][at].key);
		reader->value.len = 0;
		pack_bytes(&reader->value, image->pairs[table][at].value);
		pack_fini(&reader->key); /* only now: from may lie in it */
		reader->key = key;
		*out_key = pack_slice(&reader->key);
		*out_value = pack_slice(&reader->value);
	} else {
		at = SIZE_MAX;
	}
	pthread_mutex_unlock(&image->lock);
	return at == SIZE_MAX ? ERR_NOT_FOUND : ERR_NONE;
}

static uint64_t memory_count(struct kv_reader *reader, enum kv_table table)
{
	uint64_t count;

	pthread_mutex_lock(&reader->image->lock);
	count = reader->image->count[table];
	pthread_mutex_unlock(&reader->image->lock);
	return count;
}

static void memory_close(struct kv **kv)
{
	struct kv_memory *memory = (struct kv_memory *)(void *)*kv;

	if (!memory)
		return;
	if (memory->owns_image)
		store_image_destroy(&memory->image);
	free(memory);
	*kv = NULL;
}

static const struct kv_ops memory_ops = {
	.close = memory_close,
	.reopen = memory_reopen,
	.begin = memory_begin,
	.put = memory_put,
	.remove = memory_remove,
	.find = memory_find,
	.commit = memory_commit,
	.abort = memory_abort,
	.space = memory_space,
	.reserve = memory_reserve,
	.reader_open = memory_reader_open,
	.reader_close = memory_reader_close,
	.read = memory_read,
	.count = memory_count,
};

enum err kv_memory_open(struct store_image *image, uint64_t max_bytes, struct kv **out)
{
	struct kv_memory *memory = calloc(1, sizeof *memory);

	*out = NULL;
	if (!memory)
		return ERR_NOMEM;
	memory->kv.ops = &memory_ops;
	memory->owns_image = !image;
	memory->image = image ? image : store_image_create();
	memory->max_bytes = max_bytes ? max_bytes : UINT64_MAX;
	if (!memory->image) {
		free(memory);
		return ERR_NOMEM;
	}
	memory->image->is_cut = false;
	*out = &memory->kv;
	return ERR_NONE;
}

struct store_image *store_image_create(void)
{
	struct store_image *image = calloc(1, sizeof *image);

	if (!image)
		return NULL;
	pthread_mutex_init(&image->lock, NULL);
	pthread_cond_init(&image->released, NULL);
	return image;
}

void store_image_destroy(struct store_image **image_ref)
{
	struct store_image *image = *image_ref;

	if (!image)
		return;
	journal_clear(image);
	free(image->journal);
	for (int table = 0; table < KV_TABLES; table++) {
		for (size_t i = 0; i < image->count[table]; i++) {
			slice_free(&image->pairs[table][i].key);
			slice_free(&image->pairs[table][i].value);
		}
		free(image->pairs[table]);
	}
	pthread_cond_destroy(&image->released);
	pthread_mutex_destroy(&image->lock);
	free(image);
	*image_ref = NULL;
}

void store_image_hold(struct store_image *image, bool held)
{
	pthread_mutex_lock(&image->lock);
	image->is_held = held;
	pthread_cond_broadcast(&image->released);
	pthread_mutex_unlock(&image->lock);
}

void store_image_fail(struct store_image *image, enum err err)
{
	pthread_mutex_lock(&image->lock);
	image->failure = err;
	pthread_mutex_unlock(&image->lock);
}

void store_image_doubt(struct store_image *image)
{
	pthread_mutex_lock(&image->lock);
	image->is_doubtful = true;
	pthread_mutex_unlock(&image->lock);
}

void store_image_cut(struct store_image *image)
{
	pthread_mutex_lock(&image->lock);
	image->is_cut = true;
	pthread_mutex_unlock(&image->lock);
}
