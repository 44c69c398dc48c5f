/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/pack.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The highest byte is the version of what is in it. */
#define RING_NAME UINT64_C(0x474e49524a4e01)
#define RING_NAME_BITS (UINT64_MAX >> 8)
#define RING_VERSION ((uint64_t)'1')
#define RING_MAGIC (RING_VERSION << 56 | RING_NAME)
#define HEADER_BYTES 4096
#define SKIP UINT32_MAX

/*
 * Offsets only rise; where one lies is its rest by the capacity. An entry holds its own offset, so
 * that what an earlier round left at the same place is not taken for it.
 */
struct ring_header {
	uint64_t magic, nonce, capacity;
	uint64_t tail; /* any thread */
};

struct entry_header {
	uint32_t length; /* of the bytes; SKIP: the rest up to the end of the file is unused */
	uint32_t checksum;
	uint64_t nonce, offset, sequence, order, highest_number;
};

struct ring {
	struct ring_header *header; /* the mapping's start */
	uint8_t *bytes;
	uint64_t capacity, mapped;
	/* Owner: the worker. */
	uint64_t head, sequence, nonce;
	/* Any thread. */
	uint64_t shown_head;
};

struct ring_reader {
	const struct ring_header *header;
	const uint8_t *bytes;
	uint64_t mapped, capacity, at, nonce, sequence, applied;
};

static uint64_t orders; /* any thread */

static void path_of(char *out, size_t size, const char *directory, unsigned index)
{
	snprintf(out, size, "%s/ring-%u", directory, index);
}

static uint32_t checksum_of(const struct entry_header *header, const uint8_t *bytes)
{
	struct entry_header copy = *header;
	uint64_t sum = 0;

	copy.checksum = 0;
	if (header->length != SKIP)
		sum = XXH3_64bits(bytes, header->length);
	return (uint32_t)XXH3_64bits_withSeed(&copy, sizeof copy, sum);
}

static uint64_t room_of(uint64_t length)
{
	return sizeof(struct entry_header) + (length + 7) / 8 * 8;
}

enum err ring_create(const char *directory, unsigned index, uint64_t bytes, uint64_t nonce,
		     struct ring **out, struct err_detail *detail)
{
	struct ring *ring = calloc(1, sizeof *ring);
	char path[4096];
	int fd, failed;

	*out = NULL;
	if (!ring)
		return ERR_NOMEM;
	path_of(path, sizeof path, directory, index);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ring->mapped = bytes + HEADER_BYTES;
	/* Room on disk now: a page that could not be had later would kill the process. */
	failed = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)ring->mapped);
	ring->header = failed ? MAP_FAILED
			      : mmap(NULL, ring->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!failed && ring->header == MAP_FAILED)
		failed = errno;
	if (fd >= 0)
		close(fd);
	if (failed) {
		free(ring);
		return err_set(detail, ERR_IO, "Cannot make %s with %llu bytes: %s", path,
			       (unsigned long long)bytes, strerror(failed));
	}
	ring->bytes = (uint8_t *)ring->header + HEADER_BYTES;
	ring->capacity = bytes;
	ring->nonce = nonce;
	ring->header->nonce = nonce;
	ring->header->capacity = bytes;
	ring->header->magic = RING_MAGIC;
	*out = ring;
	return ERR_NONE;
}

void ring_close(struct ring **ring)
{
	if (!*ring)
		return;
	munmap((*ring)->header, (*ring)->mapped);
	free(*ring);
	*ring = NULL;
}

/* The header last, and its checksum with it: before that the entry is not there. */
static void write_entry(struct ring *ring, const struct ring_entry *entry, uint32_t length)
{
	uint8_t *at = ring->bytes + ring->head % ring->capacity;
	struct entry_header header = {
		.length = length,
		.nonce = ring->nonce,
		.offset = ring->head,
		.sequence = entry->sequence,
		.order = entry->order,
		.highest_number = entry->highest_number,
	};

	if (length != SKIP && length)
		memcpy(at + sizeof header, entry->bytes.data, length);
	header.checksum = checksum_of(&header, entry->bytes.data);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memcpy(at, &header, sizeof header);
}

bool ring_add(struct ring *ring, struct ring_entry *entry)
{
	uint64_t room = room_of(entry->bytes.len);
	uint64_t to_end = ring->capacity - ring->head % ring->capacity;
	uint64_t skipped = to_end < room ? to_end : 0;
	uint64_t used = ring->head - __atomic_load_n(&ring->header->tail, __ATOMIC_ACQUIRE);

	if (entry->bytes.len >= SKIP || room + skipped > ring->capacity - used)
		return false;
	if (skipped) {
		struct ring_entry skip = {.sequence = ring->sequence};

		if (to_end >= sizeof(struct entry_header))
			write_entry(ring, &skip, SKIP);
		ring->head += skipped;
	}
	entry->sequence = ++ring->sequence;
	entry->order = __atomic_add_fetch(&orders, 1, __ATOMIC_SEQ_CST);
	write_entry(ring, entry, (uint32_t)entry->bytes.len);
	entry->bytes.data = ring->bytes + ring->head % ring->capacity + sizeof(struct entry_header);
	ring->head += room;
	entry->end = ring->head;
	__atomic_store_n(&ring->shown_head, ring->head, __ATOMIC_RELAXED);
	return true;
}

void ring_release(struct ring *ring, uint64_t end)
{
	__atomic_store_n(&ring->header->tail, end, __ATOMIC_RELEASE);
}

bool ring_is_filling(const struct ring *ring)
{
	if (!ring)
		return false;
	return __atomic_load_n(&ring->shown_head, __ATOMIC_RELAXED) -
		       __atomic_load_n(&ring->header->tail, __ATOMIC_RELAXED) >
	       ring->capacity / 2;
}

/* Reading what is left. */

static enum err map_old(const char *path, struct ring_reader *reader, struct err_detail *detail)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *mapped;

	if (fd < 0 && errno == ENOENT)
		return ERR_NOT_FOUND;
	if (fd < 0) {
		err_set(detail, ERR_IO, "Cannot open %s: %s", path, strerror(errno));
		return ERR_IO;
	}
	if (fstat(fd, &status) != 0 || status.st_size <= HEADER_BYTES) {
		close(fd);
		return ERR_NOT_FOUND;
	}
	reader->mapped = (uint64_t)status.st_size;
	mapped = mmap(NULL, reader->mapped, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped == MAP_FAILED) {
		err_set(detail, ERR_IO, "Cannot map %s: %s", path, strerror(errno));
		return ERR_IO;
	}
	reader->header = mapped;
	reader->bytes = (const uint8_t *)mapped + HEADER_BYTES;
	return ERR_NONE;
}

enum err ring_check_versions(const char *directory, struct err_detail *detail)
{
	char path[4096];
	uint64_t magic;
	int fd;

	for (unsigned i = 0;; i++) {
		path_of(path, sizeof path, directory, i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return ERR_NONE;
		if (read(fd, &magic, sizeof magic) != sizeof magic)
			magic = 0;
		close(fd);
		if ((magic & RING_NAME_BITS) == RING_NAME && magic != RING_MAGIC)
			return err_set(
				detail, ERR_UNSUPPORTED,
				"%s was left by another version of the broker, which was killed. "
				"Start that version once, and stop it, so that what it has "
				"acknowledged is in the store. Nothing was changed",
				path);
	}
}

/* Of another start: all of it was committed. Damaged: as a power cut does it. */
static bool is_readable(const struct ring_reader *reader, uint64_t nonce)
{
	return reader->header->magic == RING_MAGIC && reader->header->nonce == nonce &&
	       reader->capacity >= sizeof(struct entry_header) &&
	       reader->capacity <= reader->mapped - HEADER_BYTES;
}

enum err ring_reader_open(const char *directory, unsigned index, uint64_t nonce, uint64_t applied,
			  struct ring_reader **out, struct err_detail *detail)
{
	struct ring_reader *reader = calloc(1, sizeof *reader);
	char path[4096];
	enum err err;

	*out = NULL;
	if (!reader)
		return ERR_NOMEM;
	path_of(path, sizeof path, directory, index);
	err = map_old(path, reader, detail);
	if (err != ERR_NONE) {
		free(reader);
		return err;
	}
	*out = reader;
	reader->capacity = reader->header->capacity;
	if (!is_readable(reader, nonce)) {
		ring_reader_close(out);
		return ERR_NOT_FOUND;
	}
	reader->at = reader->header->tail;
	reader->nonce = nonce;
	reader->applied = applied;
	return ERR_NONE;
}

/* The entry at reader->at, if it is whole. */
static bool read_header(const struct ring_reader *reader, struct entry_header *out)
{
	uint64_t position = reader->at % reader->capacity;
	uint64_t to_end = reader->capacity - position;

	memcpy(out, reader->bytes + position, sizeof *out);
	if (out->nonce != reader->nonce || out->offset != reader->at)
		return false;
	if (out->length != SKIP && room_of(out->length) > to_end)
		return false;
	return out->checksum == checksum_of(out, reader->bytes + position + sizeof *out);
}

/* No batch is taken when one before it is not there. */
static bool follows(const struct ring_reader *reader, uint64_t sequence)
{
	return reader->sequence ? sequence == reader->sequence + 1
				: sequence <= reader->applied + 1;
}

bool ring_reader_next(struct ring_reader *reader, struct ring_entry *out)
{
	struct entry_header header;

	for (;;) {
		uint64_t to_end = reader->capacity - reader->at % reader->capacity;

		if (to_end < sizeof header) {
			reader->at += to_end;
			continue;
		}
		if (!read_header(reader, &header))
			return false;
		if (header.length == SKIP) {
			reader->at += to_end;
			continue;
		}
		if (!follows(reader, header.sequence))
			return false;
		*out = (struct ring_entry){
			.sequence = header.sequence,
			.order = header.order,
			.highest_number = header.highest_number,
			.bytes = slice_of(reader->bytes + reader->at % reader->capacity +
						  sizeof header,
					  header.length),
		};
		reader->sequence = header.sequence;
		reader->at += room_of(header.length);
		if (header.sequence > reader->applied)
			return true;
	}
}

void ring_reader_close(struct ring_reader **reader)
{
	if (!*reader)
		return;
	munmap((void *)(uintptr_t)(*reader)->header, (*reader)->mapped);
	free(*reader);
	*reader = NULL;
}

void ring_remove_all(const char *directory, unsigned from_index)
{
	char path[4096];

	do
		path_of(path, sizeof path, directory, from_index++);
	while (unlink(path) == 0);
}
