/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook.c - a packet that waits for a plugin's permission.
 *
 *	check_permission --> PENDING: the client is parked, its packet stays unread
 *	answer (any thread) --> a letter to the worker --> kept in answers --> unpark: the packet is
 *	handled again from its start, and finds the answer
 */
#include <stdlib.h>

#include "base/bug.h"
#include "session/client.h"

struct hook_answer {
	uint64_t hash;
	uint8_t act;	 /* enum permission_act */
	bool is_pending; /* asked, not answered */
	bool is_allowed;
};

struct hook_answers {
	uint32_t count, cap;
	struct hook_answer list[];
};

struct hook_letter {
	struct letter letter;
	struct worker *worker;
	handle_t client;
	struct hook_answer answer;
};

void client_answers_clear(struct client *client)
{
	free(client->answers);
	client->answers = NULL;
}

static bool answers_add(struct client *client, const struct hook_answer *answer)
{
	struct hook_answers *answers = client->answers;

	if (!answers || answers->count == answers->cap) {
		uint32_t cap = answers ? answers->cap * 2 : 4;

		answers = realloc(answers, sizeof *answers + cap * sizeof *answer);
		if (!answers)
			return false;
		if (!client->answers)
			answers->count = 0;
		answers->cap = cap;
		client->answers = answers;
	}
	answers->list[answers->count++] = *answer;
	return true;
}

static struct hook_answer *answers_find(const struct client *client, uint8_t act, uint64_t hash)
{
	for (uint32_t i = 0; client->answers && i < client->answers->count; i++) {
		struct hook_answer *answer = &client->answers->list[i];

		if (answer->act == act && answer->hash == hash)
			return answer;
	}
	return NULL;
}

static bool answers_are_complete(const struct client *client)
{
	for (uint32_t i = 0; i < client->answers->count; i++) {
		if (client->answers->list[i].is_pending)
			return false;
	}
	return true;
}

static void hook_on_arrive(struct worker *me, struct letter *letter)
{
	struct hook_letter *hook = (struct hook_letter *)letter;
	struct endpoint *endpoint = route_find(me, hook->client);
	struct hook_answer *asked;
	struct client *client;

	if (endpoint) {
		client = TIMER_OWNER(endpoint, struct client, endpoint);
		asked = answers_find(client, hook->answer.act, hook->answer.hash);
		if (asked) {
			*asked = hook->answer;
			if (answers_are_complete(client))
				client_unpark(client, PARK_HOOK);
		}
	}
	letter_return(me, letter);
}

static const struct letter_type hook_letter_type = {
	.name = "plugin's answer",
	.on_arrive = hook_on_arrive,
	.on_return = letter_destroy,
};

static void hook_done(void *arg, bool allowed)
{
	struct hook_letter *hook = arg;

	hook->answer.is_allowed = allowed;
	letter_post_foreign(hook->worker, &hook->letter);
}

static enum permission answer_of(const struct hook_answer *answer)
{
	if (answer->is_pending)
		return PERMISSION_PENDING;
	return answer->is_allowed ? PERMISSION_ALLOWED : PERMISSION_DENIED;
}

static enum permission ask_hook(struct client *client, const struct permission_request *request)
{
	uint64_t hash = acl_topic_hash(request->topic);
	const struct hook_answer *known = answers_find(client, (uint8_t)request->act, hash);
	struct hook_letter *hook;
	enum permission permission;

	if (known)
		return answer_of(known);
	hook = letter_create(NULL, &hook_letter_type, sizeof *hook);
	hook->worker = client->conn.worker;
	hook->client = client->endpoint.handle;
	hook->answer = (struct hook_answer){.hash = hash,
					    .act = (uint8_t)request->act,
					    .is_pending = true};
	if (!answers_add(client, &hook->answer)) {
		letter_destroy(NULL, &hook->letter);
		return PERMISSION_DENIED;
	}
	hook->answer.is_pending = false;
	letter_lend(client->conn.worker, &hook->letter);
	/* Beyond this call the letter may be on its way already. */
	permission = rights_check(client->conn.worker, client->session, request, hook_done, hook);
	if (permission == PERMISSION_PENDING) {
		client_park(client, PARK_HOOK);
		return permission;
	}
	letter_take_back(client->conn.worker, &hook->letter);
	letter_destroy(NULL, &hook->letter);
	client->answers->count--; /* it was the last one: nothing to remember */
	return permission;
}

enum permission client_check(struct client *client, const struct permission_request *request)
{
	const struct authority *authority = client->session->rights.authority;

	if (authority_hooks(authority)->check_permission)
		return ask_hook(client, request);
	return rights_check(client->conn.worker, client->session, request, NULL, NULL);
}
