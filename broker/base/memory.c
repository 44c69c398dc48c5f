/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/bug.h"

__thread struct memory_thread *memory_mine;
struct memory_flag memory_flag;

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory_thread *list;		/* guarded by list_lock */
static int64_t ended_value[MEMORY_CLASS_COUNT]; /* guarded by list_lock: of threads that ended */

/* Shared totals, lagging by at most MEMORY_STEP_BYTES per thread. Relaxed atomics. */
static struct {
	int64_t all;
	uint64_t peak;
	int64_t high_water; /* the most since the last fall */
} __attribute__((aligned(64))) total;

static uint64_t limit_bytes;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static const char *const class_label[MEMORY_CLASS_COUNT] = {
#define MEMORY_CLASS(name, label, what) [MEMORY_##name] = label,
#include "base/memory_class.def"
#undef MEMORY_CLASS
};

/* Writes only on a change: the flag's cache line is read by all workers all the time. */
static void over_limit_update(int64_t used, uint64_t limit)
{
	bool is_over = limit != 0 && used > 0 && (uint64_t)used > limit;

	if (__atomic_load_n(&memory_flag.is_over_limit, __ATOMIC_RELAXED) != is_over)
		__atomic_store_n(&memory_flag.is_over_limit, is_over, __ATOMIC_RELAXED);
}

static void peak_raise(int64_t used)
{
	uint64_t seen = __atomic_load_n(&total.peak, __ATOMIC_RELAXED);

	while (used > 0 && (uint64_t)used > seen)
		if (__atomic_compare_exchange_n(&total.peak, &seen, (uint64_t)used, true,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
}

/* Guarded by fall_lock, which is only taken by who saw the fall. */
static pthread_mutex_t fall_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*on_fall)(void *context);
static void *on_fall_context;

void memory_on_fall(void (*fell)(void *context), void *context)
{
	pthread_mutex_lock(&fall_lock);
	on_fall = fell;
	on_fall_context = context;
	pthread_mutex_unlock(&fall_lock);
}

static void watch_fall(int64_t used)
{
	int64_t high = __atomic_load_n(&total.high_water, __ATOMIC_RELAXED);

	if (used > high) {
		__atomic_store_n(&total.high_water, used, __ATOMIC_RELAXED);
		return;
	}
	if (used > high / 2 || high - used < MEMORY_FALL_BYTES ||
	    !__atomic_compare_exchange_n(&total.high_water, &high, used, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&fall_lock);
	if (on_fall)
		on_fall(on_fall_context);
	pthread_mutex_unlock(&fall_lock);
}

/*
 * glibc lets the heap of a thread grow by what is asked for, a page and a system call at a time. So
 * who has got a step more asks for more than the next step at once, and gives it back: it stays with
 * the thread, untouched, as long as it is less than the trim threshold (server/memory_return.c).
 */
#define STRETCH_BYTES (96u * 1024u)

static void heap_stretch(struct memory_thread *mine)
{
	void *volatile room; /* volatile: or the compiler sees that nobody needs it */

	if (mine->grown_bytes < MEMORY_STEP_BYTES)
		return;
	mine->grown_bytes = 0;
	room = malloc(STRETCH_BYTES);
	free(room);
}

static void memory_carry_over_class(struct memory_thread *mine, size_t class)
{
	int64_t delta = mine->value[class] - mine->carried[class];

	if (delta == 0)
		return;
	mine->carried[class] = mine->value[class];
	mine->grown_bytes += delta;
	__atomic_add_fetch(&total.all, delta, __ATOMIC_RELAXED);
}

void memory_carry_over(struct memory_thread *mine)
{
	int64_t used;

	mine->drift_bytes = 0;
	for (size_t class = 0; class < MEMORY_CLASS_COUNT; class ++)
		memory_carry_over_class(mine, class);
	if (mine->grown_bytes < 0)
		mine->grown_bytes = 0;
	heap_stretch(mine);
	used = __atomic_load_n(&total.all, __ATOMIC_RELAXED);
	peak_raise(used);
	watch_fall(used);
	over_limit_update(used, __atomic_load_n(&limit_bytes, __ATOMIC_RELAXED));
}

void memory_look_again(void)
{
	memory_carry_over(memory_mine ? memory_mine : memory_thread_attach());
}

/* At the thread's end: what it still holds charged was handed to others, who will uncharge it. */
static void memory_thread_end(void *arg)
{
	struct memory_thread *mine = arg;
	struct memory_thread **link = &list;

	memory_carry_over(mine);
	pthread_mutex_lock(&list_lock);
	while (*link != mine)
		link = &(*link)->next;
	*link = mine->next;
	for (size_t class = 0; class < MEMORY_CLASS_COUNT; class ++)
		ended_value[class] += mine->value[class];
	pthread_mutex_unlock(&list_lock);
	memory_mine = NULL;
	free(mine);
}

static void key_make(void)
{
	BUG_ON(pthread_key_create(&key, memory_thread_end) != 0);
}

struct memory_thread *memory_thread_attach(void)
{
	struct memory_thread *mine = aligned_alloc(64, sizeof *mine);

	BUG_ON(!mine);
	*mine = (struct memory_thread){0};
	pthread_once(&key_once, key_make);
	BUG_ON(pthread_setspecific(key, mine) != 0);
	pthread_mutex_lock(&list_lock);
	mine->next = list;
	list = mine;
	pthread_mutex_unlock(&list_lock);
	memory_mine = mine;
	return mine;
}

static int64_t memory_sum_locked(enum memory_class class)
{
	int64_t sum = ended_value[class];

	for (const struct memory_thread *t = list; t; t = t->next)
		sum += __atomic_load_n(&t->value[class], __ATOMIC_RELAXED);
	return sum;
}

static int64_t memory_sum(enum memory_class class)
{
	int64_t sum;

	pthread_mutex_lock(&list_lock);
	sum = memory_sum_locked(class);
	pthread_mutex_unlock(&list_lock);
	return sum;
}

static int64_t memory_sum_all(void)
{
	int64_t sum = 0;

	pthread_mutex_lock(&list_lock);
	for (int class = 0; class < MEMORY_CLASS_COUNT; class ++)
		sum += memory_sum_locked((enum memory_class) class);
	pthread_mutex_unlock(&list_lock);
	peak_raise(sum);
	return sum;
}

void memory_limit_set(uint64_t bytes)
{
	__atomic_store_n(&limit_bytes, bytes, __ATOMIC_RELAXED);
	over_limit_update(memory_sum_all(), bytes);
}

/* The parts are read one after the other: what moves between threads can make a sum negative. */
static uint64_t not_below_zero(int64_t sum)
{
	return sum > 0 ? (uint64_t)sum : 0;
}

uint64_t memory_used(enum memory_class class)
{
	return not_below_zero(memory_sum(class));
}

uint64_t memory_used_total(void)
{
	return not_below_zero(memory_sum_all());
}

uint64_t memory_used_peak(void)
{
	memory_sum_all();
	return __atomic_load_n(&total.peak, __ATOMIC_RELAXED);
}

const char *memory_class_label(enum memory_class class)
{
	return class_label[class];
}
