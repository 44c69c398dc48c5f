/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_keep.c - what of a shared group outlives the process: the messages that it holds.
 *
 * A group has a queue in the store like a session, from the first message on that a persistent member
 * may have to get. A message stays there while it is out at a member at QoS 1: after a crash it goes to
 * another. At QoS 2 it moves to the member's session with its Packet Identifier.
 */
#include "route/shared_home.h"

/* The group itself, when there is something of it to be kept. */
static uint64_t group_id(struct worker *me, struct shared_group *group)
{
	if (group->store_id == 0) {
		group->store_id = store_new_id_of(me);
		store_session_put(me, group->store_id,
				  &(struct store_session){
					  .kind = STORE_GROUP,
					  .name = slice_of(group->key, group->key_len),
				  });
	}
	return group->store_id;
}

void shared_keep(struct worker *me, struct shared_group *group, struct shared_ticket *ticket,
		 const struct delivery *delivery)
{
	if (delivery->qos == 0 || group->persistent_count == 0 || !store_is_open(me) ||
	    (delivery->message->flags & MESSAGE_OF_BROKER))
		return;
	ticket->store_id = group_id(me, group);
	ticket->store_number = store_queue(me, ticket->store_id, delivery->message,
					   &(struct store_delivery){
						   .qos = delivery->qos,
						   .retain = delivery->retain,
						   .origin_id = delivery->origin.id,
						   .origin_packet_id = delivery->origin.packet_id,
					   });
}

/* By the group's home, as all that is posted for its queue: so the numbers rise. */
void shared_keep_back(struct worker *me, const struct shared_group *group,
		      struct shared_ticket *ticket)
{
	if (ticket->taken_id == 0)
		return;
	if (group->store_id)
		ticket->store_number = store_queue(me, group->store_id, ticket->message,
						   &(struct store_delivery){
							   .qos = ticket->qos,
							   .retain = ticket->is_retained,
							   .from_id = ticket->taken_id,
							   .from_number = ticket->taken_number,
						   });
	else
		store_done(me, ticket->taken_id, ticket->taken_number);
	ticket->taken_id = 0;
}

void shared_keep_done(struct worker *me, const struct shared_group *group,
		      const struct shared_ticket *ticket)
{
	if (ticket->store_number && group->store_id)
		store_done(me, group->store_id, ticket->store_number);
}

void shared_keep_end(struct worker *me, struct shared_group *group)
{
	if (group->store_id && !group->home->is_stopping)
		store_session_remove(me, group->store_id);
	group->store_id = 0;
}

uint64_t shared_ticket_take_over(struct worker *me, struct shared_ticket *ticket, uint64_t store_id,
				 const struct store_delivery *delivery)
{
	struct store_delivery moving = *delivery;

	if (ticket->store_number == 0)
		return 0;
	moving.from_id = ticket->store_id;
	moving.from_number = ticket->store_number;
	ticket->store_number = 0;
	ticket->taken_id = store_id;
	ticket->taken_number = store_queue(me, store_id, ticket->message, &moving);
	return ticket->taken_number;
}
