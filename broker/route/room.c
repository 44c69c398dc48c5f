/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.c - the store takes nothing at the moment: who would have to be kept this message for?
 *
 * Decided before a publication is routed to anybody, so that it is never delivered to some and refused to
 * its publisher. It costs one load while there is room. Without room, this worker looks through the
 * subscribers that match, and asks the others: that is slow, and only then.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "route/room.h"

/* One question, to several workers. Owner: the worker that asks. */
struct asking {
	handle_t publisher;
	unsigned open; /* answers still to come */
	bool somebody_keeps;
};

struct ask_letter {
	struct letter letter;
	struct asking *asking;	 /* home only */
	struct message *message; /* a shared reference */
	bool somebody_keeps;
};

static bool result_keeps(const struct match_result *result, const struct message *message,
			 bool upgrades)
{
	for (uint32_t i = 0; i < result->target_count; i++) {
		const struct route_target *target = &result->targets[i];
		const struct endpoint *endpoint = target->endpoint;

		if (target->qos && (message->qos || upgrades) && endpoint->ops->keeps &&
		    endpoint->ops->keeps(endpoint))
			return true;
	}
	return false;
}

enum route_status room_decide(struct worker *me, const struct match_result *result,
			      const struct message *message)
{
	bool upgrades = route_worker_of(me)->settings.upgrade_outgoing_qos;

	if (message->flags & MESSAGE_OF_BROKER)
		return ROUTE_DONE;
	if ((message->flags & MESSAGE_RETAIN) && message->payload_len > 0)
		return ROUTE_NO_ROOM;
	if (message->qos == 0 && !upgrades)
		return ROUTE_DONE;
	if (result_keeps(result, message, upgrades))
		return ROUTE_NO_ROOM;
	return result->other_count ? ROUTE_ASK : ROUTE_DONE;
}

static void ask_on_arrive(struct worker *me, struct letter *letter)
{
	struct ask_letter *ask = (struct ask_letter *)(void *)letter;
	const struct route_settings *settings = &route_worker_of(me)->settings;
	struct match_result *result = match_cache_find(route_worker_of(me)->cache, ask->message,
						       settings->allow_duplicate_messages);

	ask->somebody_keeps =
		!result || result_keeps(result, ask->message, settings->upgrade_outgoing_qos);
	match_result_unref(&result);
	letter_return(me, letter);
}

static void ask_on_return(struct worker *me, struct letter *letter)
{
	struct ask_letter *ask = (struct ask_letter *)(void *)letter;
	struct asking *asking = ask->asking;
	struct endpoint *publisher;

	message_unref_shared(me, &ask->message);
	asking->somebody_keeps |= ask->somebody_keeps;
	letter_destroy(me, letter);
	if (--asking->open > 0)
		return;
	publisher = route_find(me, asking->publisher);
	if (publisher && publisher->ops->on_keepers)
		publisher->ops->on_keepers(me, publisher, asking->somebody_keeps);
	free(asking);
}

/* A publisher waits for its answer before it publishes again: so the letters are few. */
static const struct letter_type ask_letter_type = {
	.name = "who keeps this?",
	.on_arrive = ask_on_arrive,
	.on_return = ask_on_return,
	.return_is_awaited = true,
};

static void ask(struct worker *me, uint16_t target, struct message *message, struct asking *asking)
{
	struct ask_letter *letter = letter_create(me, &ask_letter_type, sizeof *letter);

	letter->asking = asking;
	letter->message = message;
	message_ref_shared(message);
	letter_post(me, target, &letter->letter);
}

/* All other workers: what matched a moment ago is not known here any more. */
void route_ask_keepers(struct worker *me, struct message *message, handle_t publisher)
{
	unsigned workers = runtime_worker_count(me->runtime);
	struct asking *asking = calloc(1, sizeof *asking);

	BUG_ON(!asking || workers < 2);
	asking->publisher = publisher;
	asking->open = workers - 1;
	for (unsigned i = 0; i < workers; i++) {
		if (i != me->id)
			ask(me, (uint16_t)i, message, asking);
	}
}
