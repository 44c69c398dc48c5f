/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_auth.c - the broker with an authenticator behind its hooks, for the tests.
 *
 *	enhanced authentication  method NJ-CHALLENGE: "who?" is answered with "me", and then
 *	                         "welcome"; every second answer comes from another thread
 *	check_password           user names "hook-...": from another thread, allowed when the password
 *	                         is the user name; all others: as the configuration says
 *	check_permission         topics "slow/...": from another thread, allowed without "deny" in them;
 *	                         all others: as the configuration says
 *
 * Names with "hold" in them are answered when somebody asks for "slow/release", so that a test says
 * when (stderr tells it that the question is here); those with "late" half a second later, for
 * answers that come when nobody waits any more.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth/authority.h"
#include "mqtt/reason_code.h"
#include "server/server.h"

#define METHOD "NJ-CHALLENGE"
#define HOLD_MAX_S 25
#define LATE_MS 500

enum pace { PACE_SOON, PACE_LATE, PACE_HELD };

/* One enhanced authentication: it checks that the broker keeps to the order of the calls. */
struct exchange {
	bool is_asked; /* any thread, atomic: a reply is due */
};

/* An answer that is due, and whom it is for. */
struct answer {
	struct answer *next;
	struct timespec due; /* CLOCK_REALTIME, as pthread_cond_timedwait() wants it */
	enum pace pace;
	identity_done_fn identity_done;
	permission_done_fn permission_done;
	enhanced_auth_done_fn auth_done;
	struct exchange *exchange;
	void *arg;
	bool is_allowed;
	struct enhanced_auth_reply reply;
};

/* Guarded by lock. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct answer *answers;
	bool is_running, is_ending;
	pthread_t thread;
} answerer = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool contains(struct slice text, const char *word)
{
	return text.len && memmem(text.data, text.len, word, strlen(word));
}

static bool begins_with(struct slice text, const char *word)
{
	return text.len >= strlen(word) && memcmp(text.data, word, strlen(word)) == 0;
}

static bool is_over(const struct timespec *due)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec > due->tv_sec ||
	       (now.tv_sec == due->tv_sec && now.tv_nsec >= due->tv_nsec);
}

/* The first answer whose time has come; else NULL, and when to look again. */
static struct answer *take_due(struct timespec *next)
{
	next->tv_sec += HOLD_MAX_S;
	for (struct answer **at = &answerer.answers; *at; at = &(*at)->next) {
		struct answer *answer = *at;

		if (is_over(&answer->due)) {
			*at = answer->next;
			return answer;
		}
		if (answer->due.tv_sec < next->tv_sec ||
		    (answer->due.tv_sec == next->tv_sec && answer->due.tv_nsec < next->tv_nsec))
			*next = answer->due;
	}
	return NULL;
}

static void give(const struct answer *answer)
{
	if (answer->identity_done)
		answer->identity_done(answer->arg,
				      answer->is_allowed ? IDENTITY_ALLOWED : IDENTITY_DENIED,
				      answer->is_allowed ? 0 : RC_BAD_USER_NAME_OR_PASSWORD);
	if (answer->permission_done)
		answer->permission_done(answer->arg, answer->is_allowed);
	if (!answer->auth_done)
		return;
	/* Beyond done the exchange may be gone. */
	__atomic_store_n(&answer->exchange->is_asked, false, __ATOMIC_RELAXED);
	answer->auth_done(answer->arg, &answer->reply);
}

static void *answer_all(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&answerer.lock);
	while (!answerer.is_ending) {
		struct timespec next;
		struct answer *answer;

		clock_gettime(CLOCK_REALTIME, &next);
		answer = take_due(&next);
		if (!answer) {
			pthread_cond_timedwait(&answerer.changed, &answerer.lock, &next);
			continue;
		}
		pthread_mutex_unlock(&answerer.lock);
		give(answer);
		free(answer);
		pthread_mutex_lock(&answerer.lock);
	}
	pthread_mutex_unlock(&answerer.lock);
	return NULL;
}

static void answer_later(const struct answer *made)
{
	struct answer *answer = malloc(sizeof *answer);
	struct answer **at = &answerer.answers;

	if (!answer)
		abort();
	*answer = *made;
	clock_gettime(CLOCK_REALTIME, &answer->due);
	if (answer->pace == PACE_HELD)
		answer->due.tv_sec += HOLD_MAX_S;
	else if (answer->pace == PACE_LATE)
		answer->due.tv_nsec += LATE_MS * 1000000L;
	answer->due.tv_sec += answer->due.tv_nsec / 1000000000L;
	answer->due.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&answerer.lock);
	while (*at)
		at = &(*at)->next;
	answer->next = NULL;
	*at = answer;
	/* Not before the first question: with -d there is a fork() between main() and here. */
	if (!answerer.is_running && pthread_create(&answerer.thread, NULL, answer_all, NULL) != 0)
		abort();
	answerer.is_running = true;
	pthread_cond_signal(&answerer.changed);
	pthread_mutex_unlock(&answerer.lock);
}

static void release_held(void)
{
	pthread_mutex_lock(&answerer.lock);
	for (struct answer *answer = answerer.answers; answer; answer = answer->next) {
		if (answer->pace == PACE_HELD)
			answer->due.tv_sec = 0;
	}
	pthread_cond_signal(&answerer.changed);
	pthread_mutex_unlock(&answerer.lock);
}

static void answerer_end(void)
{
	pthread_mutex_lock(&answerer.lock);
	answerer.is_ending = true;
	pthread_cond_signal(&answerer.changed);
	pthread_mutex_unlock(&answerer.lock);
	if (answerer.is_running)
		pthread_join(answerer.thread, NULL);
	if (answerer.answers)
		abort(); /* the broker has ended without waiting for its answers */
}

static enum pace pace_of(struct slice name)
{
	if (contains(name, "hold")) {
		fprintf(stderr, "test-auth: holds %.*s\n", (int)name.len, (const char *)name.data);
		return PACE_HELD;
	}
	return contains(name, "late") ? PACE_LATE : PACE_SOON;
}

/* The hooks. */

static void check_password(void *context, const struct identity_request *request,
			   identity_done_fn done, void *arg)
{
	(void)context;
	if (!request->has_username || !begins_with(request->username, "hook-")) {
		done(arg, IDENTITY_DEFERRED, 0);
		return;
	}
	answer_later(&(struct answer){
		.pace = pace_of(request->username),
		.identity_done = done,
		.arg = arg,
		.is_allowed =
			request->has_password && slice_equal(request->username, request->password),
	});
}

static enum permission check_permission(void *context, const struct permission_request *request,
					permission_done_fn done, void *arg)
{
	(void)context;
	if (!done || !begins_with(request->topic, "slow/"))
		return PERMISSION_DEFER;
	if (slice_equal(request->topic, slice_from_string("slow/release")))
		release_held();
	answer_later(&(struct answer){
		.pace = pace_of(request->topic),
		.permission_done = done,
		.arg = arg,
		.is_allowed = !contains(request->topic, "deny"),
	});
	return PERMISSION_PENDING;
}

static void reply_with(struct exchange *exchange, enhanced_auth_done_fn done, void *arg,
		       const struct enhanced_auth_reply *reply)
{
	static unsigned asked; /* any thread, atomic */
	const struct answer answer = {.exchange = exchange,
				      .auth_done = done,
				      .arg = arg,
				      .reply = *reply};

	if (__atomic_exchange_n(&exchange->is_asked, true, __ATOMIC_RELAXED))
		abort(); /* a second question before the first was answered */
	if (__atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED) % 2)
		give(&answer);
	else
		answer_later(&answer);
}

static bool auth_start(void *context, const struct identity_request *request, void **out_exchange,
		       enhanced_auth_done_fn done, void *arg)
{
	struct exchange *exchange;

	(void)context;
	if (!slice_equal(request->auth_method, slice_from_string(METHOD)))
		return false;
	exchange = calloc(1, sizeof *exchange);
	if (!exchange)
		abort();
	*out_exchange = exchange;
	reply_with(exchange, done, arg,
		   &(struct enhanced_auth_reply){.step = ENHANCED_AUTH_CONTINUE,
						 .data = slice_from_string("who?")});
	return true;
}

static void auth_continue(void *context, void *exchange, struct slice data,
			  enhanced_auth_done_fn done, void *arg)
{
	struct enhanced_auth_reply reply = {.step = ENHANCED_AUTH_FAIL,
					    .reason_code = RC_NOT_AUTHORIZED};

	(void)context;
	if (slice_equal(data, slice_from_string("me")))
		reply = (struct enhanced_auth_reply){.step = ENHANCED_AUTH_SUCCESS,
						     .data = slice_from_string("welcome")};
	reply_with(exchange, done, arg, &reply);
}

static void auth_end(void *context, void *exchange)
{
	(void)context;
	if (((struct exchange *)exchange)->is_asked)
		abort(); /* a reply is still due */
	free(exchange);
}

int main(int argc, char **argv)
{
	static const struct authority_hooks hooks = {
		.check_password = check_password,
		.check_permission = check_permission,
		.enhanced_auth_start = auth_start,
		.enhanced_auth_continue = auth_continue,
		.enhanced_auth_end = auth_end,
	};
	int status = server_main(argc, argv, &hooks);

	answerer_end();
	return status;
}
