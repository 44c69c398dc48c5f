/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe_wraps.c - what the compiler does not instrument, and we want to see.
 *
 *	__wrap_...      calls from our code only: the linker's --wrap sends them here
 *	malloc, locks   calls from everywhere in the process: these names stand before the C library's
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "runtime/worker.h"
#include "sharing/probe.h"

#define CALLER __builtin_extract_return_addr(__builtin_return_address(0))

/* --- copies --------------------------------------------------------------------------------------- */

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__real_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__real_memset(void *at, int value, size_t bytes);
void *__wrap_memset(void *at, int value, size_t bytes);
int __real_memcmp(const void *one, const void *other, size_t bytes);
int __wrap_memcmp(const void *one, const void *other, size_t bytes);

void *__wrap_memcpy(void *to, const void *from, size_t bytes)
{
	probe_touch(from, bytes, PROBE_READ, CALLER);
	probe_touch(to, bytes, PROBE_WRITE, CALLER);
	return __real_memcpy(to, from, bytes);
}

void *__wrap_memmove(void *to, const void *from, size_t bytes)
{
	probe_touch(from, bytes, PROBE_READ, CALLER);
	probe_touch(to, bytes, PROBE_WRITE, CALLER);
	return __real_memmove(to, from, bytes);
}

void *__wrap_memset(void *at, int value, size_t bytes)
{
	probe_touch(at, bytes, PROBE_WRITE, CALLER);
	return __real_memset(at, value, bytes);
}

int __wrap_memcmp(const void *one, const void *other, size_t bytes)
{
	probe_touch(one, bytes, PROBE_READ, CALLER);
	probe_touch(other, bytes, PROBE_READ, CALLER);
	return __real_memcmp(one, other, bytes);
}

/* --- sockets and wake-ups ------------------------------------------------------------------------- */

ssize_t __real_recv(int fd, void *to, size_t bytes, int flags);
ssize_t __wrap_recv(int fd, void *to, size_t bytes, int flags);
ssize_t __real_send(int fd, const void *from, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *from, size_t bytes, int flags);
int __real_eventfd_write(int fd, eventfd_t value);
int __wrap_eventfd_write(int fd, eventfd_t value);

ssize_t __wrap_recv(int fd, void *to, size_t bytes, int flags)
{
	ssize_t got = __real_recv(fd, to, bytes, flags);

	if (got > 0)
		probe_touch(to, (size_t)got, PROBE_WRITE, CALLER);
	return got;
}

ssize_t __wrap_send(int fd, const void *from, size_t bytes, int flags)
{
	ssize_t sent = __real_send(fd, from, bytes, flags);

	if (sent > 0)
		probe_touch(from, (size_t)sent, PROBE_READ, CALLER);
	return sent;
}

int __wrap_eventfd_write(int fd, eventfd_t value)
{
	probe_event(PROBE_WAKE, CALLER);
	return __real_eventfd_write(fd, value);
}

/* --- the heap ------------------------------------------------------------------------------------- */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

void *malloc(size_t bytes)
{
	PROBE_STACK_HERE(stack);
	void *block = __libc_malloc(bytes);

	probe_event(PROBE_MALLOC, CALLER);
	probe_block_made(block, bytes, stack);
	return block;
}

void *calloc(size_t count, size_t bytes)
{
	PROBE_STACK_HERE(stack);
	void *block = __libc_calloc(count, bytes);

	probe_event(PROBE_MALLOC, CALLER);
	probe_block_made(block, count * bytes, stack);
	return block;
}

void *realloc(void *old, size_t bytes)
{
	PROBE_STACK_HERE(stack);
	void *block = __libc_realloc(old, bytes);

	probe_event(PROBE_MALLOC, CALLER);
	if (old && (block || bytes == 0))
		probe_block_freed(old, CALLER);
	probe_block_made(block, bytes, stack);
	return block;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	PROBE_STACK_HERE(stack);
	void *block = __libc_memalign(alignment, bytes);

	probe_event(PROBE_MALLOC, CALLER);
	probe_block_made(block, bytes, stack);
	return block;
}

void *memalign(size_t alignment, size_t bytes)
{
	return aligned_alloc(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
	void *block = aligned_alloc(alignment, bytes);

	if (!block)
		return ENOMEM;
	*out = block;
	return 0;
}

void free(void *block)
{
	probe_block_freed(block, CALLER);
	__libc_free(block);
}

/* A block of a worker's cache has a new purpose whenever it is taken. */
void *__real_block_alloc(struct worker *me, size_t bytes);
void *__wrap_block_alloc(struct worker *me, size_t bytes);

void *__wrap_block_alloc(struct worker *me, size_t bytes)
{
	PROBE_STACK_HERE(stack);
	void *block = __real_block_alloc(me, bytes);

	probe_block_made(block, bytes, stack);
	return block;
}

/* --- locks ---------------------------------------------------------------------------------------- */

/* name(lock) in the C library; looked up once, by whoever is first. */
#define LOCK(name, type)                                                                           \
	int name(type *lock)                                                                       \
	{                                                                                          \
		static int (*real)(type *);                                                        \
                                                                                                   \
		if (!real)                                                                         \
			real = (int (*)(type *))dlsym(RTLD_NEXT, #name);                           \
		probe_event(PROBE_LOCK, CALLER);                                                   \
		probe_touch((const void *)lock, sizeof(int), PROBE_RMW, CALLER);                   \
		return real(lock);                                                                 \
	}

LOCK(pthread_mutex_lock, pthread_mutex_t)
LOCK(pthread_mutex_trylock, pthread_mutex_t)
LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
LOCK(pthread_spin_lock, pthread_spinlock_t)
