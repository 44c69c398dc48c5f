/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "session/keep.h"

/* Owner: the session. In the order in which they were published. */
struct publishing {
	struct publishing *next;
	uint64_t token;
	uint64_t client_token; /* of the PUBREC that waits */
	handle_t client;
	unsigned receipts; /* still to come */
	uint16_t packet_id;
	bool is_released;
};

uint64_t publishing_next_token(struct session *session)
{
	return ++session->kept->publishing_token;
}

bool publishing_begin(struct worker *me, struct session *session, uint16_t packet_id,
		      unsigned receipts, handle_t client, uint64_t client_token)
{
	struct publishing *fresh = block_alloc(me, sizeof *fresh);

	if (!fresh)
		return false;
	*fresh = (struct publishing){
		.token = session->kept->publishing_token,
		.client_token = client_token,
		.client = client,
		.receipts = receipts,
		.packet_id = packet_id,
	};
	if (!session->kept->publishing_first)
		session->kept->publishing_last = &session->kept->publishing_first;
	*session->kept->publishing_last = fresh;
	session->kept->publishing_last = &fresh->next;
	return true;
}

static void publishing_remove(struct worker *me, struct session *session, struct publishing **at)
{
	struct publishing *gone = *at;

	*at = gone->next;
	if (!*at)
		session->kept->publishing_last = at;
	block_free(me, gone, sizeof *gone);
}

/* Receipts come nearly in order: the one that is meant stands near the beginning. */
static struct publishing **find_by_token(struct session *session, uint64_t token)
{
	struct publishing **at = &session->kept->publishing_first;

	while (*at && (*at)->token != token)
		at = &(*at)->next;
	return at;
}

static struct publishing *find_by_id(const struct session *session, uint16_t packet_id)
{
	struct publishing *at = session->kept ? session->kept->publishing_first : NULL;

	while (at && at->packet_id != packet_id)
		at = at->next;
	return at;
}

void publishing_on_receipt(struct worker *me, struct endpoint *endpoint, uint64_t token)
{
	struct session *session = (struct session *)(void *)endpoint;
	struct publishing *here = session->kept ? *find_by_token(session, token) : NULL;

	if (!here || --here->receipts > 0)
		return;
	store_received_add(me, session->kept->id, here->packet_id);
	if (here->is_released)
		store_received_remove(me, session->kept->id, here->packet_id);
	route_receipt(me, me->id, commit_mark(me), here->client, here->client_token);
	publishing_remove(me, session, find_by_token(session, token));
}

enum publishing_again publishing_repeat(struct session *session, uint16_t packet_id,
					handle_t client, uint64_t client_token)
{
	struct publishing *here = find_by_id(session, packet_id);

	if (!here)
		return PUBLISHING_UNKNOWN;
	if (here->client == client)
		return PUBLISHING_COMES;
	here->client = client;
	here->client_token = client_token;
	return PUBLISHING_WAIT;
}

bool publishing_release(struct session *session, uint16_t packet_id)
{
	struct publishing *here = find_by_id(session, packet_id);

	if (!here)
		return false;
	here->is_released = true;
	return true;
}

void publishing_name(struct worker *me, const struct session *session)
{
	for (const struct publishing *at = session->kept->publishing_first; at; at = at->next)
		store_origin_comes(me, session->kept->id, at->packet_id);
}

void publishing_free_all(struct worker *me, struct session *session)
{
	while (session->kept->publishing_first)
		publishing_remove(me, session, &session->kept->publishing_first);
}
