/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_shim.h - what the preloaded library and the tests share: two files that both map.
 *
 * The control file says which calls shall fail, from now on and at run time. The record of writes
 * tells what a power cut could still take away, and what stood there before. Both outlive the process
 * that is killed. shim.py reads and writes the same layout; numbers are little-endian, as on every
 * machine that this runs on.
 */
#ifndef NIGHTJAR_TESTS_STORAGE_SHIM_H
#define NIGHTJAR_TESTS_STORAGE_SHIM_H

#include <stdint.h>

#define SHIM_FOR_EVER UINT32_MAX

/* Which calls are meant, or-ed. */
enum shim_call {
	SHIM_PWRITE = 1 << 0,
	SHIM_WRITEV = 1 << 1,	 /* and pwritev */
	SHIM_WRITE = 1 << 2,	 /* at the file's position */
	SHIM_SIZE = 1 << 3,	 /* ftruncate, fallocate */
	SHIM_FDATASYNC = 1 << 4, /* and fsync */
	SHIM_DSYNC = 1 << 5,	 /* what writes through O_DSYNC are besides */
	SHIM_MSYNC = 1 << 6,
};

/* A fault of a kind of call: fails `times` times with error (0: none), counted down. */
struct shim_fault {
	uint32_t error;
	uint32_t times;
};

struct shim_control {
	struct shim_fault write; /* any write into a file of the store */
	struct shim_fault grow;	 /* only those that need new room in the file */
	struct shim_fault sync;	 /* fsync, fdatasync, msync, and writes through O_DSYNC */
	uint32_t short_writes;	 /* so many writes do only half of their work */
	uint32_t sync_delay_ms;	 /* each sync takes that much longer */
	uint32_t sync_lies;	 /* not 0: a sync says that all is well, and covers nothing */
	/* What happened, for the tests to see that the fault was met. */
	uint32_t writes, syncs, faults;
	uint32_t only;		/* enum shim_call: only these fail or are slow; 0: all */
	uint32_t calls;		/* enum shim_call: those that there were */
	uint32_t stalled;	/* bit n: worker n does nothing from its next step on (stand()) */
	uint32_t stalled_after; /* steps that it does first, since it was started */
	uint32_t standing;	/* bit n: it does nothing now */
};

#define SHIM_UNDO_BYTES (256u << 20)
#define SHIM_UNDO_MAGIC 0x4f444e55u /* "UNDO" */
#define SHIM_PATH_BYTES 240

enum shim_state {
	SHIM_PENDING, /* a power cut may take it */
	SHIM_SYNCED,
	SHIM_LOST, /* a sync that failed: the kernel may forget it, and no later sync covers it */
};

/* Then old_length bytes follow, the former content; padded to 8. */
struct shim_record {
	uint32_t magic;
	uint32_t state;
	uint64_t bytes; /* of the whole record */
	uint64_t device, inode;
	uint64_t offset, length;
	uint64_t old_size; /* of the file */
	uint64_t old_length;
	char path[SHIM_PATH_BYTES];
};

struct shim_undo {
	uint32_t magic;
	uint32_t unused;
	uint64_t used; /* bytes of records behind this header */
};

#endif
