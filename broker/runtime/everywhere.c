/* SPDX-License-Identifier: Apache-2.0 */
/*
 * everywhere.c - one function on every worker, and another one when all have run it.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "runtime/runtime.h"

struct errand {
	void (*run)(struct worker *, void *);
	void (*done)(void *);
	void *context;
	unsigned left; /* atomic */
};

struct errand_letter {
	struct letter letter;
	struct errand *errand;
};

static void errand_on_arrive(struct worker *me, struct letter *letter)
{
	struct errand *errand = ((struct errand_letter *)letter)->errand;

	errand->run(me, errand->context);
	if (__atomic_sub_fetch(&errand->left, 1, __ATOMIC_ACQ_REL) == 0) {
		if (errand->done)
			errand->done(errand->context);
		free(errand);
	}
	letter_return(me, letter);
}

static const struct letter_type errand_type = {
	.name = "errand",
	.on_arrive = errand_on_arrive,
	.on_return = letter_destroy,
};

static void errand_post(struct worker *me, struct worker *target, struct errand *errand)
{
	struct errand_letter *letter = letter_create(me, &errand_type, sizeof *letter);

	letter->errand = errand;
	if (me)
		letter_post(me, target->id, &letter->letter);
	else
		letter_post_foreign(target, &letter->letter);
}

void runtime_on_every_worker(struct runtime *runtime, void (*run)(struct worker *, void *context),
			     void (*done)(void *context), void *context)
{
	struct errand *errand = malloc(sizeof *errand);
	unsigned count = runtime_worker_count(runtime);

	BUG_ON(!errand);
	*errand = (struct errand){.run = run, .done = done, .context = context, .left = count};
	for (unsigned i = 0; i < count; i++)
		errand_post(worker_current, runtime_worker(runtime, (uint16_t)i), errand);
}
