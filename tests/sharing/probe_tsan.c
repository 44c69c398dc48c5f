/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe_tsan.c - the functions that gcc calls with -fsanitize=thread, instead of libtsan's.
 *
 * An access that a compiler leaves out, because it proves that nobody can see it (a variable on the
 * stack whose address nobody has), is none here either.
 */
#include "sharing/probe.h"

/* gcc knows these names without a declaration; others must not. */
#define CALLER __builtin_extract_return_addr(__builtin_return_address(0))

void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_read_range(void *at, unsigned long bytes);
void __tsan_write_range(void *at, unsigned long bytes);
void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_signal_fence(int order);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
	(void)caller;
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *at, unsigned long bytes)
{
	probe_touch(at, bytes, PROBE_READ, CALLER);
}

void __tsan_write_range(void *at, unsigned long bytes)
{
	probe_touch(at, bytes, PROBE_WRITE, CALLER);
}

void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int order)
{
	(void)order;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

#define PLAIN(bytes)                                                                               \
	void __tsan_read##bytes(void *at);                                                         \
	void __tsan_read##bytes(void *at)                                                          \
	{                                                                                          \
		probe_touch(at, bytes, PROBE_READ, CALLER);                                        \
	}                                                                                          \
	void __tsan_write##bytes(void *at);                                                        \
	void __tsan_write##bytes(void *at)                                                         \
	{                                                                                          \
		probe_touch(at, bytes, PROBE_WRITE, CALLER);                                       \
	}

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define FETCH(bits, type, name)                                                                    \
	type __tsan_atomic##bits##_fetch_##name(volatile void *at, type operand, int order);       \
	type __tsan_atomic##bits##_fetch_##name(volatile void *at, type operand, int order)        \
	{                                                                                          \
		(void)order;                                                                       \
		probe_touch((const void *)at, sizeof(type), PROBE_RMW, CALLER);                    \
		return __atomic_fetch_##name((volatile type *)at, operand, __ATOMIC_SEQ_CST);      \
	}

#define COMPARE(bits, type, strength)                                                              \
	_Bool __tsan_atomic##bits##_compare_exchange_##strength(volatile void *at, void *expected, \
								type desired, int order,           \
								int failure);                      \
	_Bool __tsan_atomic##bits##_compare_exchange_##strength(volatile void *at, void *expected, \
								type desired, int order,           \
								int failure)                       \
	{                                                                                          \
		(void)order;                                                                       \
		(void)failure;                                                                     \
		probe_touch((const void *)at, sizeof(type), PROBE_RMW, CALLER);                    \
		return __atomic_compare_exchange_n((volatile type *)at, (type *)expected, desired, \
						   0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
	}

#define ATOMIC(bits, type)                                                                         \
	type __tsan_atomic##bits##_load(const volatile void *at, int order);                       \
	type __tsan_atomic##bits##_load(const volatile void *at, int order)                        \
	{                                                                                          \
		(void)order;                                                                       \
		probe_touch((const void *)at, sizeof(type), PROBE_READ, CALLER);                   \
		return __atomic_load_n((const volatile type *)at, __ATOMIC_SEQ_CST);               \
	}                                                                                          \
	void __tsan_atomic##bits##_store(volatile void *at, type value, int order);                \
	void __tsan_atomic##bits##_store(volatile void *at, type value, int order)                 \
	{                                                                                          \
		(void)order;                                                                       \
		probe_touch((const void *)at, sizeof(type), PROBE_WRITE, CALLER);                  \
		__atomic_store_n((volatile type *)at, value, __ATOMIC_SEQ_CST);                    \
	}                                                                                          \
	type __tsan_atomic##bits##_exchange(volatile void *at, type value, int order);             \
	type __tsan_atomic##bits##_exchange(volatile void *at, type value, int order)              \
	{                                                                                          \
		(void)order;                                                                       \
		probe_touch((const void *)at, sizeof(type), PROBE_RMW, CALLER);                    \
		return __atomic_exchange_n((volatile type *)at, value, __ATOMIC_SEQ_CST);          \
	}                                                                                          \
	FETCH(bits, type, add)                                                                     \
	FETCH(bits, type, sub)                                                                     \
	FETCH(bits, type, and)                                                                     \
	FETCH(bits, type, or)                                                                      \
	FETCH(bits, type, xor)                                                                     \
	COMPARE(bits, type, strong)                                                                \
	COMPARE(bits, type, weak)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
