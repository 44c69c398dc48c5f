/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_shim.c - LD_PRELOAD: a disk that fails, and one that forgets when the power goes; and workers
 * that are stalled, as by a machine that swaps.
 *
 *	broker, LMDB --> pwrite, writev, fdatasync ... --> this --> the C library
 *	                                                   | reads: which faults are on
 *	                                                   ' writes: what stood there before each write
 *
 * The writes are done at once, so the process sees what it wrote, as through a page cache. What no sync
 * has covered is in the record of writes, whose mapping survives kill -9; power.py then puts the former
 * content back, wholly or sector by sector. A write through a descriptor with O_DSYNC is on disk when
 * it returns. Stores into a mapping are not seen.
 *
 * NIGHTJAR_SHIM_DIR: only files below it. NIGHTJAR_SHIM_CONTROL, NIGHTJAR_SHIM_UNDO: the two files.
 *
 * Threads: any; one mutex, held over each write so that the record and the file agree.
 */
#include "durability/storage_shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct {
	ssize_t (*pwrite)(int, const void *, size_t, off_t);
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*pwritev)(int, const struct iovec *, int, off_t);
	ssize_t (*writev)(int, const struct iovec *, int);
	int (*fsync)(int);
	int (*fdatasync)(int);
	int (*msync)(void *, size_t, int);
	int (*ftruncate)(int, off_t);
	int (*fallocate)(int, int, off_t, off_t);
	int (*epoll_wait)(int, struct epoll_event *, int, int);
	int (*epoll_pwait)(int, struct epoll_event *, int, int, const sigset_t *);
} real;

static const char *folder;
static size_t folder_length;
static struct shim_control *control;
static struct shim_undo *undo;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *map(const char *variable, size_t size)
{
	const char *path = getenv(variable);
	void *memory;
	int fd;

	if (!path)
		return NULL;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return memory == MAP_FAILED ? NULL : memory;
}

/* ISO C knows no conversion from an object's address to a function's. */
static void find(void *function, const char *name)
{
	void *address = dlsym(RTLD_NEXT, name);

	if (!address)
		abort();
	memcpy(function, &address, sizeof address);
}

__attribute__((constructor)) static void start(void)
{
	find(&real.pwrite, "pwrite");
	find(&real.write, "write");
	find(&real.pwritev, "pwritev");
	find(&real.writev, "writev");
	find(&real.fsync, "fsync");
	find(&real.fdatasync, "fdatasync");
	find(&real.msync, "msync");
	find(&real.ftruncate, "ftruncate");
	find(&real.fallocate, "fallocate");
	find(&real.epoll_wait, "epoll_wait");
	find(&real.epoll_pwait, "epoll_pwait");
	folder = getenv("NIGHTJAR_SHIM_DIR");
	folder_length = folder ? strlen(folder) : 0;
	control = map("NIGHTJAR_SHIM_CONTROL", sizeof *control);
	undo = map("NIGHTJAR_SHIM_UNDO", SHIM_UNDO_BYTES);
	if (folder && getenv("NIGHTJAR_SHIM_CONTROL") && !control)
		abort();
	if (folder && getenv("NIGHTJAR_SHIM_UNDO") && !undo)
		abort();
}

/* Is it a file of the store? Its path then; a deleted file is nobody's. */
static bool is_ours(int fd, char *path)
{
	char link[64];
	ssize_t length;

	if (!folder)
		return false;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, SHIM_PATH_BYTES - 1);
	if (length <= 0)
		return false;
	path[length] = '\0';
	return strncmp(path, folder, folder_length) == 0 && path[folder_length] == '/';
}

/* Faults. Under the lock. */

static bool is_meant(enum shim_call call)
{
	return control->only == 0 || (control->only & (uint32_t)call);
}

static bool is_hit(struct shim_fault *fault, enum shim_call call)
{
	control->calls |= (uint32_t)call;
	if (fault->error == 0 || fault->times == 0 || !is_meant(call))
		return false;
	if (fault->times != SHIM_FOR_EVER)
		fault->times--;
	control->faults++;
	errno = (int)fault->error;
	return true;
}

static bool write_fails(int fd, uint64_t end, enum shim_call call)
{
	struct stat status;

	if (!control)
		return false;
	control->writes++;
	if (is_hit(&control->write, call))
		return true;
	return control->grow.error && fstat(fd, &status) == 0 && end > (uint64_t)status.st_size &&
	       is_hit(&control->grow, call);
}

static size_t shorten(size_t length, enum shim_call call)
{
	if (!control || control->short_writes == 0 || length < 2 || !is_meant(call))
		return length;
	control->short_writes--;
	control->faults++;
	return length / 2;
}

/* Without the lock: others may write while a disk is slow. A test that makes it fast again waits no
 * longer. */
static void be_slow(enum shim_call call)
{
	uint32_t step_ms = 10;
	struct timespec pause = {.tv_nsec = step_ms * 1000000l};

	if (!control || !is_meant(call))
		return;
	for (uint32_t ms = 0; ms < *(volatile uint32_t *)&control->sync_delay_ms; ms += step_ms)
		nanosleep(&pause, NULL);
}

/* The record of writes. Under the lock. */

static struct shim_record *record_at(uint64_t at)
{
	return (struct shim_record *)((char *)(undo + 1) + at);
}

/* What a write of this range destroys. */
static uint64_t former_bytes(const struct stat *status, uint64_t offset, uint64_t length)
{
	uint64_t size = (uint64_t)status->st_size;

	if (offset >= size)
		return 0;
	return length < size - offset ? length : size - offset;
}

/* A descriptor for writing only cannot be read. */
static void keep_former(struct shim_record *record)
{
	int in = open(record->path, O_RDONLY | O_CLOEXEC);

	if (in < 0 || pread(in, record + 1, record->old_length, (off_t)record->offset) !=
			      (ssize_t)record->old_length)
		abort();
	close(in);
}

static void note(int fd, const char *path, uint64_t offset, uint64_t length)
{
	bool is_synced = (fcntl(fd, F_GETFL) & O_DSYNC) && !(control && control->sync_lies);
	struct shim_record *record;
	uint64_t former, bytes;
	struct stat status;

	if (!undo || fstat(fd, &status) != 0 || (is_synced && undo->used == 0))
		return;
	former = is_synced ? 0 : former_bytes(&status, offset, length);
	bytes = (sizeof *record + former + 7) & ~7ull;
	if (sizeof *undo + undo->used + bytes > SHIM_UNDO_BYTES) {
		fprintf(stderr, "storage_shim: the record of writes is full\n");
		abort();
	}
	record = record_at(undo->used);
	*record = (struct shim_record){
		.magic = SHIM_UNDO_MAGIC,
		.state = is_synced ? SHIM_SYNCED : SHIM_PENDING,
		.bytes = bytes,
		.device = status.st_dev,
		.inode = status.st_ino,
		.offset = offset,
		.length = length,
		.old_size = (uint64_t)status.st_size,
		.old_length = former,
	};
	strcpy(record->path, path);
	if (former)
		keep_former(record);
	/* Whoever looks after a kill sees whole records only. */
	__atomic_store_n(&undo->used, undo->used + bytes, __ATOMIC_RELEASE);
}

/* The records up to `end` of this file: synced, or lost for good. */
static void settle(int fd, uint64_t end, uint32_t state)
{
	struct shim_record *record;
	struct stat status;
	bool is_clean = true;

	if (!undo || fstat(fd, &status) != 0)
		return;
	for (uint64_t at = 0; at < undo->used; at += record->bytes) {
		record = record_at(at);
		if (at < end && record->state == SHIM_PENDING && record->device == status.st_dev &&
		    record->inode == status.st_ino)
			record->state = state;
		is_clean = is_clean && record->state == SHIM_SYNCED;
	}
	if (is_clean)
		__atomic_store_n(&undo->used, 0, __ATOMIC_RELEASE);
}

/* Workers that are stalled. */

/* Its bit in control->stalled; 0: no worker. The broker names its threads before they wait. */
static uint32_t worker_bit(void)
{
	char name[16] = "";
	unsigned worker;

	if (pthread_getname_np(pthread_self(), name, sizeof name) != 0 ||
	    sscanf(name, "worker %u", &worker) != 1 || worker >= 32)
		return 0;
	return 1u << worker;
}

static bool must_stand(uint32_t bit, uint32_t steps)
{
	return (__atomic_load_n(&control->stalled, __ATOMIC_RELAXED) & bit) &&
	       steps > __atomic_load_n(&control->stalled_after, __ATOMIC_RELAXED);
}

/* Before a worker sleeps, before it sees what woke it, and when it has woken another. */
static void stand(void)
{
	static __thread bool is_known;
	static __thread uint32_t bit, steps;
	struct timespec pause = {.tv_nsec = 1000000};
	int error = errno;

	if (!control)
		return;
	if (!is_known)
		bit = worker_bit();
	is_known = true;
	steps++;
	if (must_stand(bit, steps)) {
		__atomic_fetch_or(&control->standing, bit, __ATOMIC_RELAXED);
		while (must_stand(bit, steps))
			nanosleep(&pause, NULL);
		__atomic_fetch_and(&control->standing, ~bit, __ATOMIC_RELAXED);
	}
	errno = error;
}

/* Calls. */

/* moves: at the file's position, which goes on. */
static ssize_t write_at(int fd, const void *data, size_t length, off_t offset, const char *path,
			enum shim_call call, bool moves)
{
	bool is_dsync = fcntl(fd, F_GETFL) & O_DSYNC;
	ssize_t done = -1;

	if (is_dsync)
		be_slow(SHIM_DSYNC);
	pthread_mutex_lock(&lock);
	if (!write_fails(fd, (uint64_t)offset + length, call) &&
	    !(is_dsync && control && is_hit(&control->sync, SHIM_DSYNC))) {
		length = shorten(length, call);
		note(fd, path, (uint64_t)offset, length);
		done = moves ? real.write(fd, data, length) : real.pwrite(fd, data, length, offset);
	}
	pthread_mutex_unlock(&lock);
	return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	char path[SHIM_PATH_BYTES];

	if (!is_ours(fd, path))
		return real.pwrite(fd, data, length, offset);
	return write_at(fd, data, length, offset, path, SHIM_PWRITE, false);
}

/* Where write() would write. */
static off_t position(int fd)
{
	struct stat status;

	if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &status) == 0)
		return status.st_size;
	return lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t length)
{
	char path[SHIM_PATH_BYTES];

	ssize_t done;

	if (is_ours(fd, path))
		return write_at(fd, data, length, position(fd), path, SHIM_WRITE, true);
	done = real.write(fd, data, length);
	stand();
	return done;
}

/* Vectors are joined: a short write may end anywhere in them. */
static char *join(const struct iovec *vector, int count, size_t *out_length)
{
	size_t length = 0;
	char *data, *to;

	for (int i = 0; i < count; i++)
		length += vector[i].iov_len;
	data = to = malloc(length + 1);
	if (!data)
		abort();
	for (int i = 0; i < count; i++) {
		memcpy(to, vector[i].iov_base, vector[i].iov_len);
		to += vector[i].iov_len;
	}
	*out_length = length;
	return data;
}

static ssize_t write_joined(int fd, const struct iovec *vector, int count, off_t offset,
			    const char *path, bool moves)
{
	size_t length;
	char *data = join(vector, count, &length);
	ssize_t done = write_at(fd, data, length, offset, path, SHIM_WRITEV, moves);
	int error = errno;

	free(data);
	errno = error;
	return done;
}

ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	char path[SHIM_PATH_BYTES];

	if (!is_ours(fd, path))
		return real.pwritev(fd, vector, count, offset);
	return write_joined(fd, vector, count, offset, path, false);
}

ssize_t writev(int fd, const struct iovec *vector, int count)
{
	char path[SHIM_PATH_BYTES];

	if (!is_ours(fd, path))
		return real.writev(fd, vector, count);
	return write_joined(fd, vector, count, position(fd), path, true);
}

static int sync_file(int fd, int (*call)(int))
{
	char path[SHIM_PATH_BYTES];
	uint64_t end;
	int result = -1;
	bool fails;

	if (!is_ours(fd, path))
		return call(fd);
	be_slow(SHIM_FDATASYNC);
	pthread_mutex_lock(&lock);
	end = undo ? undo->used : 0;
	if (control)
		control->syncs++;
	fails = control && is_hit(&control->sync, SHIM_FDATASYNC);
	if (fails)
		settle(fd, end, SHIM_LOST);
	pthread_mutex_unlock(&lock);
	if (fails) {
		errno = (int)control->sync.error;
		return -1;
	}
	/* With the record there is no need to wait for the real disk: only this machine's power would
	 * show the difference. */
	result = undo ? 0 : call(fd);
	if (result == 0 && !(control && control->sync_lies)) {
		pthread_mutex_lock(&lock);
		settle(fd, end, SHIM_SYNCED);
		pthread_mutex_unlock(&lock);
	}
	return result;
}

int fsync(int fd)
{
	return sync_file(fd, real.fsync);
}

int fdatasync(int fd)
{
	return sync_file(fd, real.fdatasync);
}

/* Of which file a mapping is, is not known here: it is slow and it fails, and covers nothing. */
int msync(void *address, size_t length, int flags)
{
	bool fails;

	if (!folder)
		return real.msync(address, length, flags);
	be_slow(SHIM_MSYNC);
	pthread_mutex_lock(&lock);
	if (control)
		control->syncs++;
	fails = control && is_hit(&control->sync, SHIM_MSYNC);
	pthread_mutex_unlock(&lock);
	return fails ? -1 : real.msync(address, length, flags);
}

int ftruncate(int fd, off_t size)
{
	char path[SHIM_PATH_BYTES];
	struct stat status;
	int result = -1;

	if (!is_ours(fd, path))
		return real.ftruncate(fd, size);
	pthread_mutex_lock(&lock);
	if (!write_fails(fd, (uint64_t)size, SHIM_SIZE) && fstat(fd, &status) == 0) {
		if (size < status.st_size)
			note(fd, path, (uint64_t)size, (uint64_t)(status.st_size - size));
		else if (size > status.st_size)
			note(fd, path, (uint64_t)status.st_size, (uint64_t)(size - status.st_size));
		result = real.ftruncate(fd, size);
	}
	pthread_mutex_unlock(&lock);
	return result;
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	char path[SHIM_PATH_BYTES];
	int result = -1;

	if (!is_ours(fd, path))
		return real.fallocate(fd, mode, offset, length);
	pthread_mutex_lock(&lock);
	if (!write_fails(fd, (uint64_t)offset + (uint64_t)length, SHIM_SIZE))
		result = real.fallocate(fd, mode, offset, length);
	pthread_mutex_unlock(&lock);
	return result;
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
	return fallocate(fd, 0, offset, length) == 0 ? 0 : errno;
}

/* What a worker waits for. */

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
	int result;

	stand();
	result = real.epoll_wait(fd, events, count, timeout);
	stand();
	return result;
}

int epoll_pwait(int fd, struct epoll_event *events, int count, int timeout, const sigset_t *mask)
{
	int result;

	stand();
	result = real.epoll_pwait(fd, events, count, timeout, mask);
	stand();
	return result;
}

/* On the architectures that we build for, an off_t has 64 bits and these are the same calls. */
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
	__attribute__((alias("pwrite")));
ssize_t pwritev64(int fd, const struct iovec *vector, int count, off_t offset)
	__attribute__((alias("pwritev")));
int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));
int fallocate64(int fd, int mode, off_t offset, off_t length) __attribute__((alias("fallocate")));
int posix_fallocate64(int fd, off_t offset, off_t length) __attribute__((alias("posix_fallocate")));
