/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_audit.c - checks the invariants of shared_home.h on one worker. For tests.
 */
#include "base/bug.h"
#include "route/shared_home.h"

static void audit_queue(const struct shared_queue *queue, bool is_qos0)
{
	const struct shared_ticket *ticket = queue->first, *previous = NULL;
	uint32_t count = 0;
	uint64_t bytes = 0;
	bool has_recent = queue->recent == NULL;

	for (; ticket; previous = ticket, ticket = ticket->next) {
		BUG_ON((ticket->qos == 0) != is_qos0);
		BUG_ON(ticket->previous != previous || ticket->group || ticket->member);
		BUG_ON(previous && previous->number >= ticket->number);
		count++;
		bytes += shared_message_bytes(ticket->message);
		has_recent = has_recent || queue->recent == ticket;
	}
	BUG_ON(queue->last != previous || !has_recent);
	BUG_ON(queue->count != count || queue->bytes != bytes);
}

static bool is_after(const struct shared_group *group, const struct shared_member *a,
		     const struct shared_member *b)
{
	if (group->home->settings.strategy == SHARED_LEAST_INFLIGHT &&
	    a->unacknowledged != b->unacknowledged)
		return a->unacknowledged > b->unacknowledged;
	return a->turn > b->turn;
}

static void audit_members(const struct shared_group *group)
{
	uint32_t online = 0, persistent = 0, ready = 0;

	for (uint32_t i = 0; i < group->member_count; i++) {
		const struct shared_member *member = group->members[i];

		BUG_ON(member->at != i || member->group != group || member->refs == 0);
		BUG_ON(member->refs != member->unacknowledged + 1);
		BUG_ON(shared_member_is_ready(member) != (member->ready_at != SHARED_NOT_READY));
		online += member->is_online;
		persistent += member->options.is_persistent;
		ready += shared_member_is_ready(member);
	}
	BUG_ON(online != group->online_count || persistent != group->persistent_count);
	BUG_ON(ready != group->ready_count);
	for (uint32_t i = 0; i < ready; i++) {
		BUG_ON(group->ready[i]->ready_at != i);
		BUG_ON(i > 0 && is_after(group, group->ready[(i - 1) / 2], group->ready[i]));
	}
}

void shared_audit(struct worker *me)
{
	struct shared_worker *mine = shared_worker_of(me);
	struct shared_group *group, *next;
	uint32_t members = 0;

	HASH_ITER(hh, mine->groups, group, next) {
		BUG_ON(group->is_dead || group->refs == 0 || group->member_count == 0); /* G4 */
		audit_queue(&group->queue, false);					/* G1 */
		audit_queue(&group->qos0, true);
		audit_members(group); /* G2 */
		members += group->member_count;
	}
	BUG_ON(members != HASH_COUNT(mine->members));
}
