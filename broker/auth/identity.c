/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.c - is this client who it says it is? The table in authority.h, and the two ways in
 * which the answer can come later: a hash in the thread pool, a hook's callback.
 */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "auth/authority.h"
#include "base/bug.h"
#include "base/memory.h"
#include "mqtt/reason_code.h"

/*
 * Owner: whoever it was given to last (worker, then pool thread or hook, then worker again). The
 * hand-over between threads orders the accesses; nothing in here is atomic.
 */
struct password_check {
	struct authority *authority;	 /* one reference */
	struct identity_request request; /* its slices and strings point into bytes */
	struct identity_answer answer;
	void (*done)(void *arg);
	void *done_arg;
	size_t length; /* of bytes */
	uint8_t bytes[];
};

static struct identity_answer allowed(void)
{
	return (struct identity_answer){.verdict = IDENTITY_ALLOWED};
}

static struct identity_answer denied(uint8_t reason_code, const char *why)
{
	return (struct identity_answer){.verdict = IDENTITY_DENIED,
					.reason_code = reason_code,
					.why = why};
}

/* What can be said without hashing and without hooks. */
static struct identity_answer judge(const struct authority *authority,
				    const struct identity_request *request)
{
	bool anonymous = authority_allows_anonymous(authority);

	if (!request->has_username)
		return anonymous ? allowed()
				 : denied(RC_NOT_AUTHORIZED, "anonymous clients are not allowed");
	if (!authority_password_file(authority))
		return anonymous ? allowed()
				 : denied(RC_NOT_AUTHORIZED,
					  "there is no password_file to check user names with");
	if (!request->has_password)
		return denied(RC_BAD_USER_NAME_OR_PASSWORD, "user name without a password");
	return (struct identity_answer){.verdict = IDENTITY_NEEDS_HASH};
}

static size_t string_bytes(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static size_t request_bytes(const struct identity_request *request)
{
	return request->client_id.len + request->username.len + request->password.len +
	       request->auth_method.len + request->auth_data.len + string_bytes(request->address) +
	       string_bytes(request->listener);
}

static void keep_slice(struct password_check *check, struct slice *slice)
{
	uint8_t *at = check->bytes + check->length;

	if (slice->len)
		memcpy(at, slice->data, slice->len);
	check->length += slice->len;
	*slice = slice_of(at, slice->len);
}

static void keep_string(struct password_check *check, const char **text)
{
	struct slice bytes = slice_of(*text, string_bytes(*text));

	if (!*text)
		return;
	keep_slice(check, &bytes);
	*text = (const char *)bytes.data;
}

static struct password_check *check_create(struct authority *authority,
					   const struct identity_request *request)
{
	struct password_check *check = calloc(1, sizeof *check + request_bytes(request) + 1);

	if (!check)
		return NULL;
	check->authority = authority_ref(authority);
	check->request = *request;
	keep_slice(check, &check->request.client_id);
	keep_slice(check, &check->request.username);
	keep_slice(check, &check->request.password);
	keep_slice(check, &check->request.auth_method);
	keep_slice(check, &check->request.auth_data);
	keep_string(check, &check->request.address);
	keep_string(check, &check->request.listener);
	memory_charge(MEMORY_INPUT, sizeof *check + check->length);
	return check;
}

struct identity_answer authority_identify_begin(struct authority *authority,
						const struct identity_request *request)
{
	struct identity_answer answer;

	if (authority_hooks(authority)->check_password)
		answer = (struct identity_answer){.verdict = IDENTITY_NEEDS_HOOK};
	else
		answer = judge(authority, request);
	if (answer.verdict != IDENTITY_NEEDS_HASH && answer.verdict != IDENTITY_NEEDS_HOOK)
		return answer;
	answer.check = check_create(authority, request);
	if (!answer.check)
		return denied(RC_SERVER_UNAVAILABLE, "no memory to check the password");
	answer.check->answer.verdict = answer.verdict;
	return answer;
}

static void wipe(struct password_check *check)
{
	OPENSSL_cleanse(check->bytes, check->length);
}

void password_check_run(struct password_check *check)
{
	const struct identity_request *request = &check->request;

	BUG_ON(check->answer.verdict != IDENTITY_NEEDS_HASH);
	if (password_file_verify(authority_password_file(check->authority), request->username,
				 request->password))
		check->answer = allowed();
	else
		check->answer =
			denied(RC_BAD_USER_NAME_OR_PASSWORD, "user name or password is not right");
	wipe(check);
}

static void on_hook_answer(void *arg, enum identity_verdict verdict, uint8_t reason_code)
{
	struct password_check *check = arg;

	if (verdict == IDENTITY_DEFERRED)
		check->answer = judge(check->authority, &check->request);
	else if (verdict == IDENTITY_ALLOWED)
		check->answer = allowed();
	else
		check->answer =
			denied(reason_code_is_error(reason_code) ? reason_code : RC_NOT_AUTHORIZED,
			       "a plugin refused the client");
	if (check->answer.verdict != IDENTITY_NEEDS_HASH)
		wipe(check);
	check->done(check->done_arg);
}

void password_check_ask(struct password_check *check, void (*done)(void *arg), void *arg)
{
	const struct authority_hooks *hooks = authority_hooks(check->authority);

	BUG_ON(check->answer.verdict != IDENTITY_NEEDS_HOOK);
	check->done = done;
	check->done_arg = arg;
	hooks->check_password(hooks->context, &check->request, on_hook_answer, check);
}

struct identity_answer password_check_answer(const struct password_check *check)
{
	return check->answer;
}

void password_check_destroy(struct password_check **check)
{
	struct password_check *gone = *check;

	*check = NULL;
	if (!gone)
		return;
	wipe(gone);
	memory_uncharge(MEMORY_INPUT, sizeof *gone + gone->length);
	authority_unref(&gone->authority);
	free(gone);
}
