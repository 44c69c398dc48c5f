/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth_broker.c - the broker with an authenticator, so that enhanced authentication can be tested.
 *
 * Authentication Method NJ-CHALLENGE: "who?" is asked, "me" is the right answer, "welcome" is the
 * last word. The question is put at once; the answer is judged on a thread of its own, as a plugin
 * that asks a server would do.
 */
#include <pthread.h>
#include <stdlib.h>

#include "auth/authority.h"
#include "server/server.h"

#define NOT_AUTHORIZED 0x87

/* Owner: the exchange's connection; while judging, the thread reads data, done and arg. */
struct exchange {
	pthread_t thread;
	bool is_judging;
	bool is_right;
	enhanced_auth_done_fn done;
	void *arg;
};

static bool on_start(void *context, const struct identity_request *request, void **out_exchange,
		     enhanced_auth_done_fn done, void *arg)
{
	const struct enhanced_auth_reply question = {
		.step = ENHANCED_AUTH_CONTINUE,
		.data = SLICE_LITERAL("who?"),
	};
	struct exchange *exchange;

	(void)context;
	if (!slice_equal_string(request->auth_method, "NJ-CHALLENGE"))
		return false;
	exchange = calloc(1, sizeof *exchange);
	if (!exchange)
		return false;
	*out_exchange = exchange;
	done(arg, &question);
	return true;
}

static void *judge(void *arg)
{
	struct exchange *exchange = arg;
	const struct enhanced_auth_reply verdict = {
		.step = exchange->is_right ? ENHANCED_AUTH_SUCCESS : ENHANCED_AUTH_FAIL,
		.reason_code = exchange->is_right ? 0 : NOT_AUTHORIZED,
		.data = exchange->is_right ? SLICE_LITERAL("welcome") : SLICE_NONE,
	};

	exchange->done(exchange->arg, &verdict);
	return NULL;
}

/* The thread before has called done, so that it ends. */
static void join(struct exchange *exchange)
{
	if (exchange->is_judging)
		pthread_join(exchange->thread, NULL);
	exchange->is_judging = false;
}

static void on_continue(void *context, void *state, struct slice data, enhanced_auth_done_fn done,
			void *arg)
{
	const struct enhanced_auth_reply failure = {
		.step = ENHANCED_AUTH_FAIL,
		.reason_code = NOT_AUTHORIZED,
	};
	struct exchange *exchange = state;

	(void)context;
	join(exchange);
	exchange->is_right = slice_equal_string(data, "me");
	exchange->done = done;
	exchange->arg = arg;
	exchange->is_judging = pthread_create(&exchange->thread, NULL, judge, exchange) == 0;
	if (!exchange->is_judging)
		done(arg, &failure);
}

static void on_end(void *context, void *state)
{
	(void)context;
	join(state);
	free(state);
}

static const struct authority_hooks hooks = {
	.enhanced_auth_start = on_start,
	.enhanced_auth_continue = on_continue,
	.enhanced_auth_end = on_end,
};

int main(int argc, char **argv)
{
	return server_main(argc, argv, &hooks);
}
