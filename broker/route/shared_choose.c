/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_choose.c - which member of a group gets the next message?
 *
 * Members that may take one more stand in a binary heap, ordered by what is unacknowledged and,
 * between equals, by who waits longest since its last turn. So the choice costs O(1), and keeping
 * the order O(log members) for each message and each answer. Round robin is the same heap with the
 * turn alone.
 *
 * The hashing strategies promise one member to one publisher or topic for as long as the members
 * stay. Each member gets a weight from the hash and its own number, and the heaviest wins
 * (rendezvous): when a member comes or goes, only what was or becomes its own moves. Its message
 * waits for it even when others are idle.
 */
#include <stdlib.h>

#include "base/bug.h"
#include "base/hash.h"
#include "route/shared_home.h"

static bool comes_before(const struct shared_group *group, const struct shared_member *a,
			 const struct shared_member *b)
{
	if (group->home->settings.strategy == SHARED_LEAST_INFLIGHT &&
	    a->unacknowledged != b->unacknowledged)
		return a->unacknowledged < b->unacknowledged;
	return a->turn < b->turn;
}

static void ready_put(struct shared_group *group, struct shared_member *member, uint32_t at)
{
	group->ready[at] = member;
	member->ready_at = at;
}

static void ready_rise(struct shared_group *group, struct shared_member *member)
{
	uint32_t at = member->ready_at;

	while (at > 0 && comes_before(group, member, group->ready[(at - 1) / 2])) {
		ready_put(group, group->ready[(at - 1) / 2], at);
		at = (at - 1) / 2;
	}
	ready_put(group, member, at);
}

static void ready_sink(struct shared_group *group, struct shared_member *member)
{
	uint32_t at = member->ready_at;

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child + 1 < group->ready_count &&
		    comes_before(group, group->ready[child + 1], group->ready[child]))
			child++;
		if (child >= group->ready_count ||
		    !comes_before(group, group->ready[child], member))
			break;
		ready_put(group, group->ready[child], at);
		at = child;
	}
	ready_put(group, member, at);
}

static void ready_remove(struct shared_group *group, struct shared_member *member)
{
	struct shared_member *last = group->ready[--group->ready_count];
	uint32_t at = member->ready_at;

	member->ready_at = SHARED_NOT_READY;
	if (last == member)
		return;
	ready_put(group, last, at);
	ready_rise(group, last);
	ready_sink(group, last);
}

void shared_choose_update(struct shared_group *group, struct shared_member *member)
{
	bool is_ready = shared_member_is_ready(member);

	if (!is_ready && member->ready_at == SHARED_NOT_READY)
		return;
	if (!is_ready) {
		ready_remove(group, member);
		return;
	}
	if (member->ready_at == SHARED_NOT_READY)
		ready_put(group, member, group->ready_count++);
	ready_rise(group, member);
	ready_sink(group, member);
}

void shared_choose_rebuild(struct shared_group *group)
{
	for (uint32_t i = 0; i < group->member_count; i++)
		group->members[i]->ready_at = SHARED_NOT_READY;
	group->ready_count = 0;
	for (uint32_t i = 0; i < group->member_count; i++)
		shared_choose_update(group, group->members[i]);
}

enum err shared_choose_reserve(struct shared_group *group, uint32_t count)
{
	uint32_t cap = group->cap ? group->cap * 2 : 4;
	struct shared_member **grown;

	if (count <= group->cap)
		return ERR_NONE;
	grown = realloc(group->members, cap * sizeof *grown);
	if (!grown)
		return ERR_NOMEM;
	group->members = grown;
	grown = realloc(group->ready, cap * sizeof *grown);
	if (!grown)
		return ERR_NOMEM;
	group->ready = grown;
	group->cap = cap;
	return ERR_NONE;
}

/* splitmix64's last steps: every bit of the sum decides. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static struct shared_member *choose_by_hash(const struct shared_group *group, uint64_t hash)
{
	struct shared_member *best = NULL;
	uint64_t best_weight = 0;

	for (uint32_t i = 0; i < group->member_count; i++) {
		struct shared_member *member = group->members[i];
		uint64_t weight = mix(hash + member->number * 0x9e3779b97f4a7c15u);

		if (!shared_member_is_reachable(member) || (best && weight <= best_weight))
			continue;
		best = member;
		best_weight = weight;
	}
	return best;
}

static uint64_t publisher_hash(const struct message *message)
{
	return message->origin ? hash_slice(origin_client_id(message->origin)) : 0;
}

/* QoS 0 knows no window: when all are full, whoever waits longest gets it. */
static struct shared_member *choose_any_reachable(const struct shared_group *group)
{
	struct shared_member *best = NULL;

	for (uint32_t i = 0; i < group->member_count; i++) {
		struct shared_member *member = group->members[i];

		if (shared_member_is_reachable(member) && (!best || member->turn < best->turn))
			best = member;
	}
	return best;
}

static struct shared_member *choose_ready(struct shared_group *group)
{
	struct shared_worker *home = group->home;

	if (group->ready_count == 0)
		return NULL;
	if (home->settings.strategy != SHARED_RANDOM)
		return group->ready[0];
	home->random = mix(home->random + 0x9e3779b97f4a7c15u);
	return group->ready[((home->random >> 32) * group->ready_count) >> 32];
}

struct shared_member *shared_choose(struct shared_group *group, const struct shared_ticket *ticket)
{
	struct shared_member *chosen = NULL;

	switch (group->home->settings.strategy) {
	case SHARED_HASH_CLIENT:
		chosen = choose_by_hash(group, publisher_hash(ticket->message));
		break;
	case SHARED_HASH_TOPIC: chosen = choose_by_hash(group, ticket->message->topic_hash); break;
	case SHARED_LEAST_INFLIGHT:
	case SHARED_ROUND_ROBIN:
	case SHARED_RANDOM: chosen = choose_ready(group); break;
	}
	if (ticket->qos == 0)
		return chosen ? chosen : choose_any_reachable(group);
	return chosen && shared_member_is_ready(chosen) ? chosen : NULL;
}
