/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - work that blocks, on libuv's threads. Their number is set in runtime_create(), before
 * libuv starts them.
 */
#include "base/bug.h"
#include "runtime/worker.h"

static struct pool_work *pool_work_of(uv_work_t *request)
{
	return (struct pool_work *)request;
}

_Static_assert(offsetof(struct pool_work, request) == 0, "pool_work_of() converts");

static void pool_on_thread(uv_work_t *request)
{
	struct pool_work *work = pool_work_of(request);

	work->run(work);
}

static void pool_on_done(uv_work_t *request, int status)
{
	struct pool_work *work = pool_work_of(request);
	struct worker *me = work->worker;

	(void)status; /* nothing here is ever cancelled */
	worker_turn_begin(me);
	me->pool_pending--;
	work->done(me, work);
}

void pool_submit(struct worker *me, struct pool_work *work)
{
	work->worker = me;
	me->pool_pending++;
	BUG_ON(uv_queue_work(&me->loop, &work->request, pool_on_thread, pool_on_done) != 0);
}
