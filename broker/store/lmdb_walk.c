/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_walk.c - do the pages of an LMDB file hang together?
 *
 * LMDB believes its file: a page that is cut off or overwritten makes it read behind the end, or
 * stop the process. So before a file is opened all its pages are looked at as plain bytes: each
 * stands within the file, knows its own number, is of the kind that its place asks for, and its nodes
 * lie within it. What the values hold is checked by ledger_load().
 *
 * The same walk saves what a damaged file still has: then it passes over what makes no sense, and goes on
 * with the next page.
 *
 * While another process writes, the pages of an older transaction may be used again under the walk. Those of one
 * that a reader holds are not; its meta page can be overwritten as soon as it is not the newest any more, and
 * is therefore copied.
 *
 *	page: number, 8 | -, 2 | flags, 2 | lower, 2 | upper, 2 | offsets of nodes, 2 each ... | nodes
 *	node: size or page (low 32), 4 | flags or page (high 16), 2 | key size, 2 | key | data
 *	meta: magic, 4 | version, 4 | address, 8 | map size, 8 | free table | main table | last page, 8 |
 *	      transaction, 8         table: pad, 4 | flags, 2 | depth, 2 | counts, 8 each: branch, leaf,
 *	      overflow pages, entries | root, 8
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/kv.h"

#define HEADER 16
#define NODE 8
#define TABLE_BYTES 48
#define NO_PAGE UINT64_MAX
#define META_BYTES 136
#define DEPTH_MAX 32
#define MAGIC 0xBEEFC0DEu

enum page_flag { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum node_flag { NODE_BIG = 1, NODE_TABLE = 2 };

struct walk {
	const uint8_t *file;
	uint64_t bytes, page_bytes, last_page, seen;
	uint64_t transaction;
	bool has_numbers_as_keys; /* the free pages' table: in the order of the machine's numbers */
	uint8_t meta[META_BYTES];
	struct err_detail *detail;
	const char *path;

	/* Saving what can be read. */
	kv_record_fn *one;
	void *context;
	struct slice table; /* its name */
	struct lmdb_damage *damage;
	uint8_t *visited; /* a bit for each page */
};

static uint64_t fixed(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

static enum err damaged(const struct walk *walk, uint64_t page, const char *what)
{
	if (walk->one) {
		walk->damage->pages++;
		return ERR_NONE;
	}
	return err_set(
		walk->detail, ERR_INVALID,
		"The store %s is damaged: page %" PRIu64 ": %s. Nothing was changed. "
		"'nightjar-store check' tells more, 'nightjar-store export' saves what can be "
		"read. Put a backup in its place, or move the file away",
		walk->path, page, what);
}

static enum err walk_page(struct walk *walk, uint64_t number, unsigned left, bool is_main);

/* table points to a table's 48 bytes. */
static enum err walk_table(struct walk *walk, const uint8_t *table, bool is_main)
{
	uint64_t root = fixed(table + 40, 8);
	unsigned depth = (unsigned)fixed(table + 6, 2);

	if (root == NO_PAGE)
		return ERR_NONE;
	if (depth == 0 || depth > DEPTH_MAX)
		return damaged(walk, root, "its table has an impossible depth");
	return walk_page(walk, root, depth, is_main);
}

/* The start of a page within the file, or NULL. */
static const uint8_t *page_at(struct walk *walk, uint64_t number, uint64_t pages)
{
	if (number < 2 || number > walk->last_page || pages > walk->last_page - number + 1)
		return NULL;
	walk->seen += pages;
	if (walk->visited) {
		if (walk->visited[number / 8] & 1 << number % 8)
			return NULL;
		walk->visited[number / 8] |= (uint8_t)(1 << number % 8);
	} else if (walk->seen > walk->last_page + 1) {
		return NULL; /* more than there are: a circle */
	}
	return walk->file + number * walk->page_bytes;
}

static enum err walk_overflow(struct walk *walk, uint64_t number, uint64_t data_bytes,
			      const uint8_t **out_data)
{
	uint64_t pages = (HEADER - 1 + data_bytes) / walk->page_bytes + 1;
	const uint8_t *page = page_at(walk, number, pages);

	*out_data = NULL;
	if (!page)
		return damaged(walk, number, "a large value is not within the file");
	if (fixed(page, 8) != number || !(fixed(page + 10, 2) & PAGE_OVERFLOW) ||
	    fixed(page + 12, 4) < pages)
		return damaged(walk, number, "it should hold a large value");
	*out_data = page + HEADER;
	return ERR_NONE;
}

/* A record is there. Whether it makes sense is for who saves it to say. */
static enum err take_record(struct walk *walk, struct slice key, const uint8_t *data, uint64_t size)
{
	enum err err;

	if (!walk->one || !data)
		return ERR_NONE;
	err = walk->one(walk->context, key, slice_of(data, size));
	walk->damage->records += err == ERR_INVALID;
	return err == ERR_INVALID ? ERR_NONE : err;
}

static enum err walk_leaf_node(struct walk *walk, uint64_t number, const uint8_t *node,
			       uint64_t room, bool is_main)
{
	uint64_t size = fixed(node, 4), key_bytes = fixed(node + 6, 2);
	unsigned flags = (unsigned)fixed(node + 4, 2);
	uint64_t in_page = flags & NODE_BIG ? 8 : size;
	const uint8_t *data = node + NODE + key_bytes;
	struct slice key = slice_of(node + NODE, key_bytes);
	enum err err = ERR_NONE;

	if (key_bytes > room - NODE || in_page > room - NODE - key_bytes)
		return damaged(walk, number, "a value reaches over its end");
	if (flags & NODE_TABLE) {
		if (!is_main || size != TABLE_BYTES)
			return damaged(walk, number, "a table where none can be");
		return walk->one && !slice_equal(key, walk->table) ? ERR_NONE
								   : walk_table(walk, data, false);
	}
	if (flags & NODE_BIG)
		err = walk_overflow(walk, fixed(data, 8), size, &data);
	return err == ERR_NONE && !is_main ? take_record(walk, key, data, size) : err;
}

/* Keys rise from node to node; that of a branch's first stands for all below the second, and is empty. */
static bool is_above(const uint8_t *node, uint64_t room, struct slice *last)
{
	struct slice key = slice_of(node + NODE, fixed(node + 6, 2));
	size_t common = key.len < last->len ? key.len : last->len;
	int order;

	if (key.len > room - NODE)
		return false;
	order = common ? memcmp(key.data, last->data, common) : 0;
	if (last->len && (order < 0 || (order == 0 && key.len <= last->len)))
		return false;
	*last = key;
	return true;
}

static enum err walk_nodes(struct walk *walk, uint64_t number, const uint8_t *page, unsigned left,
			   bool is_main)
{
	uint64_t lower = fixed(page + 12, 2), upper = fixed(page + 14, 2);
	struct slice last = SLICE_NONE;
	enum err err = ERR_NONE;

	if (lower < HEADER || lower > upper || upper > walk->page_bytes)
		return damaged(walk, number, "its inner limits are impossible");
	for (uint64_t at = HEADER; at + 1 < lower && err == ERR_NONE; at += 2) {
		uint64_t offset = fixed(page + at, 2);
		const uint8_t *node = page + offset;

		if (offset < upper || offset + NODE > walk->page_bytes)
			err = damaged(walk, number, "a node is outside of it");
		else if (!walk->has_numbers_as_keys &&
			 !is_above(node, walk->page_bytes - offset, &last))
			err = damaged(walk, number, "its keys are not in order");
		else if (left > 1)
			err = walk_page(walk, fixed(node, 6), left - 1, is_main);
		else
			err = walk_leaf_node(walk, number, node, walk->page_bytes - offset,
					     is_main);
	}
	return err;
}

static enum err walk_page(struct walk *walk, uint64_t number, unsigned left, bool is_main)
{
	const uint8_t *page = page_at(walk, number, 1);
	unsigned kind = left > 1 ? PAGE_BRANCH : PAGE_LEAF;

	if (!page)
		return damaged(walk, number, "it is not within the file, or named twice");
	if (fixed(page, 8) != number)
		return damaged(walk, number, "it does not know its own number");
	if (!(fixed(page + 10, 2) & kind))
		return damaged(walk, number, "it is not of the kind that stands there");
	return walk_nodes(walk, number, page, left, is_main);
}

static bool is_meta(const uint8_t *page)
{
	return (fixed(page + 10, 2) & PAGE_META) && fixed(page + HEADER, 4) == MAGIC &&
	       fixed(page + HEADER + 4, 4) == 1;
}

/* The one of the two metas with the higher transaction. LMDB wants both to be valid; to save what can be
 * read one is enough. */
static const uint8_t *newest_meta(struct walk *walk)
{
	const uint8_t *best = NULL;

	walk->page_bytes = fixed(walk->file + HEADER + 24, 4);
	if (walk->one && !is_meta(walk->file))
		walk->page_bytes = 4096;
	if (walk->page_bytes < 512 || walk->page_bytes > 65536 ||
	    walk->bytes < 2 * walk->page_bytes)
		return NULL;
	for (unsigned i = 0; i < 2; i++) {
		const uint8_t *page = walk->file + i * walk->page_bytes;
		const uint8_t *meta = page + HEADER;

		if (!is_meta(page)) {
			if (!walk->one)
				return NULL;
			continue;
		}
		if (!best || fixed(meta + 128, 8) > fixed(best + 128, 8))
			best = meta;
	}
	return best;
}

static uint64_t newest_transaction(struct walk *walk)
{
	const uint8_t *meta = newest_meta(walk);

	return meta ? fixed(meta + 128, 8) : 0;
}

/* Again until it is the same twice: it may be written meanwhile. */
static bool copy_meta(struct walk *walk)
{
	const uint8_t *meta;

	do {
		meta = newest_meta(walk);
		if (!meta)
			return false;
		memcpy(walk->meta, meta, META_BYTES);
	} while (memcmp(walk->meta, meta, META_BYTES) != 0);
	walk->transaction = fixed(walk->meta + 128, 8);
	/* Those behind the end of the file cannot be read, whatever a damaged page says. */
	walk->last_page = fixed(walk->meta + 120, 8);
	if (walk->last_page >= walk->bytes / walk->page_bytes)
		walk->last_page = walk->bytes / walk->page_bytes - 1;
	walk->seen = 2;
	return true;
}

static enum err walk_file(struct walk *walk)
{
	enum err err;

	if (walk->bytes < 4096)
		return damaged(walk, 0, "the file is too short");
	if (!copy_meta(walk))
		return damaged(walk, 0, "this is no LMDB file of version 1");
	walk->has_numbers_as_keys = true;
	err = walk_table(walk, walk->meta + 24, false);
	walk->has_numbers_as_keys = false;
	if (err == ERR_NONE)
		err = walk_table(walk, walk->meta + 24 + TABLE_BYTES, true);
	return err;
}

/* ERR_NOT_FOUND: there is no file, or nothing in it. */
static enum err map_file(struct walk *walk, const char *path, struct err_detail *detail)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *mapped;

	*walk = (struct walk){.detail = detail, .path = path};
	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND
				       : err_set(detail, ERR_DENIED, "Cannot open %s: %s", path,
						 strerror(errno));
	if (fstat(fd, &status) != 0 || status.st_size == 0) {
		close(fd);
		return ERR_NOT_FOUND;
	}
	mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped == MAP_FAILED)
		return err_set(detail, ERR_IO, "Cannot map %s: %s", path, strerror(errno));
	walk->file = mapped;
	walk->bytes = (uint64_t)status.st_size;
	return ERR_NONE;
}

static void unmap_file(const struct walk *walk)
{
	munmap((void *)(uintptr_t)walk->file, walk->bytes);
}

/* Then what the meta page says may be of after the file was mapped. */
static bool has_grown(const struct walk *walk)
{
	struct stat status;

	return stat(walk->path, &status) == 0 && (uint64_t)status.st_size != walk->bytes;
}

enum err lmdb_walk(const char *path, bool *out_is_written, struct err_detail *detail)
{
	struct walk walk;
	enum err err = map_file(&walk, path, detail);

	*out_is_written = false;
	if (err != ERR_NONE)
		return err;
	err = walk_file(&walk);
	*out_is_written = walk.transaction &&
			  (newest_transaction(&walk) != walk.transaction || has_grown(&walk));
	unmap_file(&walk);
	return err;
}

enum err lmdb_walk_held(const char *path, uint64_t transaction, struct err_detail *detail)
{
	struct walk walk;
	enum err err = map_file(&walk, path, detail);

	if (err != ERR_NONE)
		return err;
	if (newest_transaction(&walk) != transaction || !copy_meta(&walk) ||
	    newest_transaction(&walk) != transaction)
		err = ERR_NOT_FOUND;
	else
		err = walk_table(&walk, walk.meta + 24 + TABLE_BYTES, true);
	unmap_file(&walk);
	return err;
}

enum err lmdb_salvage(const char *path, enum kv_table table, kv_record_fn *one, void *context,
		      struct lmdb_damage *out_damage, struct err_detail *detail)
{
	struct walk walk;
	enum err err = map_file(&walk, path, detail);

	*out_damage = (struct lmdb_damage){0, 0};
	if (err != ERR_NONE)
		return err;
	walk.one = one;
	walk.context = context;
	walk.table = slice_from_string(kv_table_name(table));
	walk.damage = out_damage;
	if (walk.bytes < 4096 || !copy_meta(&walk)) {
		out_damage->pages = 1; /* the first: nothing can be found without it */
	} else {
		walk.visited = calloc(walk.last_page / 8 + 1, 1);
		err = walk.visited ? walk_table(&walk, walk.meta + 24 + TABLE_BYTES, true)
				   : ERR_NOMEM;
		free(walk.visited);
	}
	unmap_file(&walk);
	return err;
}
