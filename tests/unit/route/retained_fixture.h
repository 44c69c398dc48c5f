/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retained_fixture.h - retained messages, and the trail of who stores them.
 */
#ifndef NIGHTJAR_TESTS_UNIT_RETAINED_FIXTURE_H
#define NIGHTJAR_TESTS_UNIT_RETAINED_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/counters.h"
#include "base/memory.h"
#include "base/rcu.h"
#include "route/retained.h"
#include "route/topic_trail.h"

/* All messages here are made outside of workers, so that they have no home. */
static struct retained *retained;
static struct topic_trail trail;

static inline int start(void **unused)
{
	(void)unused;
	trail = (struct topic_trail){0};
	return retained_create(&(struct retained_settings){0, 0}, &retained) != ERR_NONE;
}

static inline int finish(void **unused)
{
	(void)unused;
	retained_audit(retained);
	retained_destroy(&retained);
	rcu_wait_deferred();
	assert_int_equal(memory_used(MEMORY_MESSAGE), 0);
	assert_int_equal(memory_used(MEMORY_RETAINED), 0);
	assert_int_equal(counter_total(COUNTER_RETAINED_MESSAGES), 0);
	assert_int_equal(counter_total(COUNTER_RETAINED_BYTES), 0);
	return 0;
}

#endif
