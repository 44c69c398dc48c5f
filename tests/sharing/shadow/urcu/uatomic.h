/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uatomic.h - stands before liburcu's own in the build for tests/sharing: the same operations as
 * atomics of the compiler's, which its instrumentation sees. liburcu's are assembler.
 */
#ifndef _URCU_UATOMIC_H
#define _URCU_UATOMIC_H

#include <urcu/arch.h>
#include <urcu/compiler.h>
#include <urcu/system.h>

#define uatomic_set(at, value) __atomic_store_n((at), (value), __ATOMIC_RELAXED)
#define uatomic_read(at) __atomic_load_n((at), __ATOMIC_RELAXED)
#define uatomic_xchg(at, value) __atomic_exchange_n((at), (value), __ATOMIC_SEQ_CST)
#define uatomic_cmpxchg(at, old, new)                                                              \
	__extension__({                                                                            \
		__typeof__(*(at)) expected_ = (old);                                               \
		__atomic_compare_exchange_n((at), &expected_, (new), false, __ATOMIC_SEQ_CST,      \
					    __ATOMIC_SEQ_CST);                                     \
		expected_;                                                                         \
	})
#define uatomic_add_return(at, n) __atomic_add_fetch((at), (n), __ATOMIC_SEQ_CST)
#define uatomic_sub_return(at, n) __atomic_sub_fetch((at), (n), __ATOMIC_SEQ_CST)
#define uatomic_add(at, n) ((void)__atomic_add_fetch((at), (n), __ATOMIC_SEQ_CST))
#define uatomic_sub(at, n) ((void)__atomic_sub_fetch((at), (n), __ATOMIC_SEQ_CST))
#define uatomic_inc(at) uatomic_add((at), 1)
#define uatomic_dec(at) uatomic_sub((at), 1)
#define uatomic_and(at, mask) ((void)__atomic_and_fetch((at), (mask), __ATOMIC_SEQ_CST))
#define uatomic_or(at, mask) ((void)__atomic_or_fetch((at), (mask), __ATOMIC_SEQ_CST))

#define cmm_smp_mb__before_uatomic_and() cmm_barrier()
#define cmm_smp_mb__after_uatomic_and() cmm_barrier()
#define cmm_smp_mb__before_uatomic_or() cmm_barrier()
#define cmm_smp_mb__after_uatomic_or() cmm_barrier()
#define cmm_smp_mb__before_uatomic_add() cmm_barrier()
#define cmm_smp_mb__after_uatomic_add() cmm_barrier()
#define cmm_smp_mb__before_uatomic_sub() cmm_barrier()
#define cmm_smp_mb__after_uatomic_sub() cmm_barrier()
#define cmm_smp_mb__before_uatomic_inc() cmm_barrier()
#define cmm_smp_mb__after_uatomic_inc() cmm_barrier()
#define cmm_smp_mb__before_uatomic_dec() cmm_barrier()
#define cmm_smp_mb__after_uatomic_dec() cmm_barrier()

#endif
