/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_walk.c - do the pages of an LMDB file hang together?
 *
 * LMDB believes its file: a page that is cut off or overwritten makes it read behind the end, or
 * stop the process. So before a file is opened all its pages are looked at as plain bytes: each
 * stands within the file, knows its own number, is of the kind that its place asks for, and its nodes
 * lie within it. What the values hold is checked by ledger_load().
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/kv.h"

#define HEADER 16
#define NODE 8
#define TABLE_BYTES 48
#define NO_PAGE UINT64_MAX
#define DEPTH_MAX 32
#define MAGIC 0xBEEFC0DEu

enum page_flag { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum node_flag { NODE_BIG = 1, NODE_TABLE = 2 };

struct walk {
	const uint8_t *file;
	uint64_t bytes, page_bytes, last_page, seen;
	struct err_detail *detail;
	const char *path;
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
	return err_set(walk->detail, ERR_INVALID,
		       "The store %s is damaged: page %" PRIu64 ": %s. Nothing was changed. "
		       "'nightjar-store check' tells more; put a backup in its place, or move the "
		       "file away",
		       walk->path, page, what);
}

static enum err walk_page(struct walk *walk, uint64_t number, unsigned depth, unsigned left,
			  bool is_main);

/* table points to a table's 48 bytes. */
static enum err walk_table(struct walk *walk, const uint8_t *table, bool is_main)
{
	uint64_t root = fixed(table + 40, 8);
	unsigned depth = (unsigned)fixed(table + 6, 2);

	if (root == NO_PAGE)
		return ERR_NONE;
	if (depth == 0 || depth > DEPTH_MAX)
		return damaged(walk, root, "its table has an impossible depth");
	return walk_page(walk, root, 0, depth, is_main);
}

/* The start of a page within the file, or NULL. */
static const uint8_t *page_at(struct walk *walk, uint64_t number, uint64_t pages)
{
	if (number < 2 || number > walk->last_page || pages > walk->last_page - number + 1 ||
	    (number + pages) * walk->page_bytes > walk->bytes)
		return NULL;
	walk->seen += pages;
	if (walk->seen > walk->last_page + 1)
		return NULL; /* more than there are: a circle */
	return walk->file + number * walk->page_bytes;
}

static enum err walk_overflow(struct walk *walk, uint64_t number, uint64_t data_bytes)
{
	uint64_t pages = (HEADER - 1 + data_bytes) / walk->page_bytes + 1;
	const uint8_t *page = page_at(walk, number, pages);

	if (!page)
		return damaged(walk, number, "a large value is not within the file");
	if (fixed(page, 8) != number || !(fixed(page + 10, 2) & PAGE_OVERFLOW) ||
	    fixed(page + 12, 4) < pages)
		return damaged(walk, number, "it should hold a large value");
	return ERR_NONE;
}

static enum err walk_leaf_node(struct walk *walk, uint64_t number, const uint8_t *node,
			       uint64_t room, bool is_main)
{
	uint64_t size = fixed(node, 4), key_bytes = fixed(node + 6, 2);
	unsigned flags = (unsigned)fixed(node + 4, 2);
	uint64_t in_page = flags & NODE_BIG ? 8 : size;
	const uint8_t *data = node + NODE + key_bytes;

	if (key_bytes > room - NODE || in_page > room - NODE - key_bytes)
		return damaged(walk, number, "a value reaches over its end");
	if (flags & NODE_BIG)
		return walk_overflow(walk, fixed(data, 8), size);
	if (flags & NODE_TABLE) {
		if (!is_main || size != TABLE_BYTES)
			return damaged(walk, number, "a table where none can be");
		return walk_table(walk, data, false);
	}
	return ERR_NONE;
}

static enum err walk_nodes(struct walk *walk, uint64_t number, const uint8_t *page, unsigned depth,
			   unsigned left, bool is_main)
{
	uint64_t lower = fixed(page + 12, 2), upper = fixed(page + 14, 2);
	enum err err = ERR_NONE;

	if (lower < HEADER || lower > upper || upper > walk->page_bytes)
		return damaged(walk, number, "its inner limits are impossible");
	for (uint64_t at = HEADER; at + 1 < lower && err == ERR_NONE; at += 2) {
		uint64_t offset = fixed(page + at, 2);
		const uint8_t *node = page + offset;

		if (offset < upper || offset + NODE > walk->page_bytes)
			return damaged(walk, number, "a node is outside of it");
		if (left > 1)
			err = walk_page(walk, fixed(node, 6), depth + 1, left - 1, is_main);
		else
			err = walk_leaf_node(walk, number, node, walk->page_bytes - offset,
					     is_main);
	}
	return err;
}

static enum err walk_page(struct walk *walk, uint64_t number, unsigned depth, unsigned left,
			  bool is_main)
{
	const uint8_t *page = page_at(walk, number, 1);
	unsigned kind = left > 1 ? PAGE_BRANCH : PAGE_LEAF;

	if (!page)
		return damaged(walk, number, "it is not within the file, or named twice");
	if (fixed(page, 8) != number)
		return damaged(walk, number, "it does not know its own number");
	if (!(fixed(page + 10, 2) & kind))
		return damaged(walk, number, "it is not of the kind that stands there");
	return walk_nodes(walk, number, page, depth, left, is_main);
}

/* The valid one of the two metas with the higher transaction. */
static const uint8_t *newest_meta(struct walk *walk)
{
	const uint8_t *best = NULL;

	walk->page_bytes = fixed(walk->file + HEADER + 24, 4);
	if (walk->page_bytes < 512 || walk->page_bytes > 65536 ||
	    walk->bytes < 2 * walk->page_bytes)
		return NULL;
	for (unsigned i = 0; i < 2; i++) {
		const uint8_t *page = walk->file + i * walk->page_bytes;
		const uint8_t *meta = page + HEADER;

		if (!(fixed(page + 10, 2) & PAGE_META) || fixed(meta, 4) != MAGIC ||
		    fixed(meta + 4, 4) != 1)
			return NULL;
		if (!best || fixed(meta + 128, 8) > fixed(best + 128, 8))
			best = meta;
	}
	return best;
}

static enum err walk_file(struct walk *walk)
{
	const uint8_t *meta = newest_meta(walk);
	enum err err;

	if (!meta)
		return damaged(walk, 0, "this is no LMDB file of version 1");
	walk->last_page = fixed(meta + 120, 8);
	walk->seen = 2;
	err = walk_table(walk, meta + 24, false);
	if (err == ERR_NONE)
		err = walk_table(walk, meta + 24 + TABLE_BYTES, true);
	return err;
}

enum err lmdb_walk(const char *path, struct err_detail *detail)
{
	struct walk walk = {.detail = detail, .path = path};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *mapped;
	enum err err;

	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND
				       : err_set(detail, ERR_DENIED, "Cannot open %s: %s", path,
						 strerror(errno));
	if (fstat(fd, &status) != 0 || status.st_size == 0) {
		close(fd);
		return ERR_NOT_FOUND;
	}
	walk.bytes = (uint64_t)status.st_size;
	mapped = mmap(NULL, walk.bytes, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped == MAP_FAILED)
		return err_set(detail, ERR_IO, "Cannot map %s: %s", path, strerror(errno));
	walk.file = mapped;
	err = walk.bytes < 4096 ? damaged(&walk, 0, "the file is too short") : walk_file(&walk);
	munmap(mapped, walk.bytes);
	return err;
}
