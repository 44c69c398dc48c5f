/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

#include "base/bug.h"

/* Both 0 in production; relaxed, because a test that moves the clock also wakes who should look. */
static uint64_t advanced_ms;
static uint64_t frozen_at_ms;

static uint64_t clock_read_us(clockid_t id)
{
	struct timespec now;

	BUG_ON(clock_gettime(id, &now) != 0);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t clock_fine_us(void)
{
	uint64_t frozen = __atomic_load_n(&frozen_at_ms, __ATOMIC_RELAXED);
	uint64_t base = frozen ? frozen * 1000u : clock_read_us(CLOCK_MONOTONIC) + 1000u;

	return base + __atomic_load_n(&advanced_ms, __ATOMIC_RELAXED) * 1000u;
}

uint64_t clock_now_ms(void)
{
	return clock_fine_us() / 1000u;
}

uint64_t clock_now_us(void)
{
	return clock_read_us(CLOCK_MONOTONIC);
}

uint64_t clock_now_ns(void)
{
	struct timespec now;

	BUG_ON(clock_gettime(CLOCK_MONOTONIC, &now) != 0);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_wall_ms(void)
{
	return clock_read_us(CLOCK_REALTIME) / 1000u +
	       __atomic_load_n(&advanced_ms, __ATOMIC_RELAXED);
}

void clock_test_advance_ms(uint64_t delta_ms)
{
	__atomic_fetch_add(&advanced_ms, delta_ms, __ATOMIC_RELAXED);
}

void clock_test_freeze(uint64_t now_ms)
{
	BUG_ON(now_ms == 0);
	__atomic_store_n(&advanced_ms, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&frozen_at_ms, now_ms, __ATOMIC_RELAXED);
}

void clock_test_reset(void)
{
	__atomic_store_n(&frozen_at_ms, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&advanced_ms, 0, __ATOMIC_RELAXED);
}
