/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_queue.c - the queue of a shared group.
 *
 *	first: 17 <-> 18 <-> 21 <-> 40 <-> 41 :last      new messages have the highest number
 *	                     ^ recent
 *
 * What a member gives back goes to its old place, which is near the front. It comes one by one, in
 * either direction, and each then belongs beside the one before: that is where the search begins.
 */
#include "route/shared_home.h"

size_t shared_message_bytes(const struct message *message)
{
	return (size_t)message->topic_len + message->payload_len + message->properties_len;
}

/* The ticket that the new one comes behind; NULL: it is the first. */
static struct shared_ticket *find_place(const struct shared_queue *queue, uint64_t number)
{
	struct shared_ticket *at = queue->recent;

	if (!queue->last || queue->last->number < number)
		return queue->last;
	if (!at)
		at = queue->first;
	while (at && at->number > number)
		at = at->previous;
	while (at && at->next && at->next->number < number)
		at = at->next;
	return at;
}

void shared_queue_add(struct shared_queue *queue, struct shared_ticket *ticket)
{
	struct shared_ticket *before = find_place(queue, ticket->number);

	if (before != queue->last)
		queue->recent = ticket;
	ticket->previous = before;
	ticket->next = before ? before->next : queue->first;
	if (ticket->next)
		ticket->next->previous = ticket;
	else
		queue->last = ticket;
	if (before)
		before->next = ticket;
	else
		queue->first = ticket;
	queue->count++;
	queue->bytes += shared_message_bytes(ticket->message);
}

void shared_queue_remove(struct shared_queue *queue, struct shared_ticket *ticket)
{
	if (ticket->next)
		ticket->next->previous = ticket->previous;
	else
		queue->last = ticket->previous;
	if (ticket->previous)
		ticket->previous->next = ticket->next;
	else
		queue->first = ticket->next;
	if (queue->recent == ticket)
		queue->recent = ticket->next;
	ticket->next = ticket->previous = NULL;
	queue->count--;
	queue->bytes -= shared_message_bytes(ticket->message);
}
