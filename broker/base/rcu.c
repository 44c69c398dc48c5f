/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rcu.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/bug.h"

/*
 * What ThreadSanitizer knows of grace periods. Every reader releases into this byte when it leaves
 * a section, and who has waited for a grace period acquires from it: what readers did before they
 * left happened before the memory is freed. Entering a section acquires nothing, and waiting
 * releases nothing, so that two workers that merely both use RCU stay unordered and their races
 * are still found (tests/unit/base/rcu_planted_race.c).
 */
static char grace_period;

void rcu_thread_register(void)
{
	urcu_memb_register_thread();
}

void rcu_thread_unregister(void)
{
	urcu_memb_unregister_thread();
}

void rcu_read_section_begin(void)
{
	urcu_memb_read_lock();
}

void rcu_read_section_end(void)
{
	TSAN_RELEASE(&grace_period);
	urcu_memb_read_unlock();
}

int rcu_is_reading(void)
{
	return urcu_memb_read_ongoing();
}

void rcu_wait(void)
{
	DEBUG_BUG_ON(rcu_is_reading());
	urcu_memb_synchronize_rcu();
	TSAN_ACQUIRE(&grace_period);
}

#ifdef RCU_TELLS_TSAN

/* Stands between liburcu and free_fn, to say there what happened before. */
struct deferred {
	struct rcu_head head;
	struct rcu_head *user_head;
	void (*free_fn)(struct rcu_head *head);
};

static void deferred_run(struct rcu_head *head)
{
	struct deferred *deferred = RCU_OWNER(head, struct deferred, head);

	TSAN_ACQUIRE(deferred);
	TSAN_ACQUIRE(&grace_period);
	deferred->free_fn(deferred->user_head);
	free(deferred);
	TSAN_RELEASE(&grace_period);
}

void rcu_defer_free(struct rcu_head *head, void (*free_fn)(struct rcu_head *head))
{
	struct deferred *deferred = malloc(sizeof *deferred);

	BUG_ON(!deferred);
	deferred->user_head = head;
	deferred->free_fn = free_fn;
	TSAN_RELEASE(deferred);
	urcu_memb_call_rcu(&deferred->head, deferred_run);
}

#else

void rcu_defer_free(struct rcu_head *head, void (*free_fn)(struct rcu_head *head))
{
	urcu_memb_call_rcu(head, free_fn);
}

#endif

/*
 * liburcu runs what was deferred in its order, on one thread. A callback of our own at the end of
 * the line is therefore as good as its rcu_barrier(), and ThreadSanitizer understands it.
 */
struct end_of_line {
	struct rcu_head head;
	pthread_mutex_t lock;
	pthread_cond_t reached;
	bool is_reached; /* guarded by lock */
};

static void end_of_line_reached(struct rcu_head *head)
{
	struct end_of_line *end = RCU_OWNER(head, struct end_of_line, head);

	pthread_mutex_lock(&end->lock);
	end->is_reached = true;
	pthread_cond_signal(&end->reached);
	pthread_mutex_unlock(&end->lock);
}

void rcu_wait_deferred(void)
{
	struct end_of_line end = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.reached = PTHREAD_COND_INITIALIZER,
	};

	DEBUG_BUG_ON(rcu_is_reading());
	rcu_defer_free(&end.head, end_of_line_reached);
	pthread_mutex_lock(&end.lock);
	while (!end.is_reached)
		pthread_cond_wait(&end.reached, &end.lock);
	pthread_mutex_unlock(&end.lock);
	pthread_mutex_destroy(&end.lock);
	pthread_cond_destroy(&end.reached);
}
