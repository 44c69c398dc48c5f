/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority.h - who is this client, and what may it do?
 *
 * An authority is the frozen snapshot of one security scope: the whole broker, or one listener with
 * `per_listener_settings true`. Server builds it off the workers; sessions hold a reference and ask
 * it; a reload builds a new one with a higher generation, and an error leaves the old one in use.
 *
 * auth promises: no call here blocks or locks except those that say so, and what is slow (password
 * hashes, plugins) answers later. auth calls base, mqtt, OpenSSL and libargon2, and the hooks.
 *
 * How a CONNECT is decided without hooks, as in mosquitto 2.0:
 *
 *   user name | password_file | result
 *   none      | any           | allow_anonymous ? allowed : 0x87 (a lone password is ignored)
 *   given     | none          | allow_anonymous ? allowed : 0x87
 *   given     | given         | no password: 0x86; else hashed in the thread pool: allowed or 0x86
 *
 * mosquitto answers 0x87 (3.x: 5) where this table says 0x86 (3.x: 4); the specification means 0x86.
 */
#ifndef NIGHTJAR_AUTH_AUTHORITY_H
#define NIGHTJAR_AUTH_AUTHORITY_H

#include "auth/acl_cache.h"
#include "auth/acl_file.h"
#include "auth/password_file.h"
#include "base/err.h"
#include "base/slice.h"

struct authority;

/* What CONNECT says about the client. All borrowed for the call. */
struct identity_request {
	struct slice client_id; /* after assignment, clientid_prefixes, use_username_as_clientid */
	bool has_username, has_password;
	struct slice username, password;
	const char *address;	   /* "127.0.0.1:51234", may be NULL */
	const char *listener;	   /* its name in the configuration, may be NULL */
	unsigned protocol_version; /* 3, 4 or 5 */
	struct slice auth_method;  /* enhanced authentication, else empty */
	struct slice auth_data;
};

enum identity_verdict {
	IDENTITY_ALLOWED,
	IDENTITY_DENIED,
	IDENTITY_NEEDS_HASH, /* run password_check_run() in the thread pool */
	IDENTITY_NEEDS_HOOK, /* call password_check_ask() and wait for its answer */
	IDENTITY_DEFERRED,   /* a hook's answer only: the built-in rules decide */
};

struct password_check; /* Owner: whoever the last call gave it to; one thread at a time. */

struct identity_answer {
	enum identity_verdict verdict;
	uint8_t reason_code;	      /* DENIED: 0x86, 0x87, or what a hook said; else 0 */
	const char *why;	      /* DENIED: for the log, static text; never for the client */
	struct password_check *check; /* NEEDS_*: owned by the caller now; else NULL */
};

/*
 * Hooks, filled in by plugins. Members that are NULL mean the built-in behaviour. The struct is
 * frozen and outlives every authority that was created with it. The broker does not end before
 * every answer that is due has come: who asks elsewhere needs a deadline of its own.
 */
typedef void (*identity_done_fn)(void *arg, enum identity_verdict verdict, uint8_t reason_code);

enum enhanced_auth_step {
	ENHANCED_AUTH_CONTINUE, /* send AUTH 0x18 with data, wait for the client's */
	ENHANCED_AUTH_SUCCESS,	/* CONNACK, or AUTH 0x00 when re-authenticating, with data */
	ENHANCED_AUTH_FAIL,	/* CONNACK or DISCONNECT with reason_code */
};

/* Borrowed for the call of done: copy what is needed later. */
struct enhanced_auth_reply {
	enum enhanced_auth_step step;
	uint8_t reason_code; /* FAIL: 0x80 or above */
	struct slice data;   /* Authentication Data to send; data.data NULL: property left out */
	bool has_username;   /* SUCCESS: the name that rights are looked up under, if it differs */
	struct slice username;
};

typedef void (*enhanced_auth_done_fn)(void *arg, const struct enhanced_auth_reply *reply);

enum permission {
	PERMISSION_DENIED,
	PERMISSION_ALLOWED,
	PERMISSION_DEFER,   /* the built-in rules (acl_file) decide */
	PERMISSION_PENDING, /* done is called later, once; not allowed for a delivery */
};

enum permission_act {
	PERMISSION_PUBLISH,   /* topic is a Topic Name; also for wills */
	PERMISSION_SUBSCRIBE, /* topic is a Topic Filter */
	PERMISSION_DELIVER,   /* topic is a Topic Name */
};

struct permission_request {
	enum permission_act act;
	struct acl_subject subject;
	struct slice topic;
	uint8_t qos;
	bool retain;
	struct slice payload; /* PUBLISH only */
};

typedef void (*permission_done_fn)(void *arg, bool allowed);

struct authority_hooks {
	void *context; /* first argument of each hook */

	/*
	 * done is called exactly once, on any thread, perhaps before this returns, with ALLOWED,
	 * DENIED (and a Reason Code of 0x80 or above; 0 means 0x87) or DEFERRED.
	 */
	void (*check_password)(void *context, const struct identity_request *request,
			       identity_done_fn done, void *arg);

	/* After a reload: is this user, admitted by check_password, still welcome? Any thread, fast. */
	bool (*still_admits)(void *context, bool has_username, struct slice username);

	/*
	 * On the connection's worker: answers at once, or PENDING and then done on any thread. done
	 * is NULL where nobody can wait (deliveries, wills): PENDING then means denied.
	 */
	enum permission (*check_permission)(void *context, const struct permission_request *request,
					    permission_done_fn done, void *arg);

	/*
	 * Enhanced authentication [MQTT-4.12]. Start is called on CONNECT and on an AUTH 0x19 and
	 * sets *out_exchange before done can be called; false: the method is not known (0x8C), and
	 * nothing was started. Continue hands on the client's AUTH 0x18. done is called exactly once
	 * per start or continue, on any thread. End frees the exchange, when no done is outstanding.
	 */
	bool (*enhanced_auth_start)(void *context, const struct identity_request *request,
				    void **out_exchange, enhanced_auth_done_fn done, void *arg);
	void (*enhanced_auth_continue)(void *context, void *exchange, struct slice data,
				       enhanced_auth_done_fn done, void *arg);
	void (*enhanced_auth_end)(void *context, void *exchange);
};

struct authority_settings {
	bool allow_anonymous;
	const char *password_file;	     /* NULL: none. Borrowed for the call */
	const char *acl_file;		     /* NULL: none, everything is allowed */
	const struct authority_hooks *hooks; /* NULL: none */
};

/*
 * Reads the files (never on a worker). *out: one reference. Each authority of the process gets a
 * generation of its own, higher than all before it and never 0.
 */
enum err authority_create(const struct authority_settings *settings, struct authority **out,
			  struct err_detail *detail) ERR_CHECKED;
struct authority *authority_ref(struct authority *authority);
void authority_unref(struct authority **authority);

uint64_t authority_generation(const struct authority *authority);
bool authority_allows_anonymous(const struct authority *authority);
struct password_file *authority_password_file(const struct authority *authority); /* borrowed */
struct acl_file *authority_acl(const struct authority *authority); /* borrowed, or NULL */
const struct authority_hooks *authority_hooks(const struct authority *authority); /* never NULL */

/*
 * Decides at once what can be decided at once. On NEEDS_* answer.check holds a copy of the password
 * and a reference to the authority: run it (or ask) on the right thread, read its answer, then
 * destroy it. On ERR_NOMEM inside, the answer is DENIED with 0x88 (Server unavailable).
 */
struct identity_answer authority_identify_begin(struct authority *authority,
						const struct identity_request *request);

/* NEEDS_HASH: slow, in the thread pool, once. Wipes the password when it is done. */
void password_check_run(struct password_check *check);

/*
 * NEEDS_HOOK: on the worker, once. done is called on any thread, perhaps before this returns; the
 * check must live until then. Read the answer afterwards with password_check_answer().
 */
void password_check_ask(struct password_check *check, void (*done)(void *arg), void *arg);

/*
 * After run: ALLOWED or DENIED. After ask's done also NEEDS_HASH, when the hook deferred: then
 * password_check_run() follows on the same check. answer.check is NULL: the caller has it.
 */
struct identity_answer password_check_answer(const struct password_check *check);

/* Wipes what is left of the password, drops the reference. */
void password_check_destroy(struct password_check **check);

/*
 * After a reload, may a client that `before` admitted stay? Without a user name: while anonymous
 * clients are allowed. With one: while its line in the password file is the same (a new password,
 * or the same one hashed anew, is a new line), or, where neither has a password file, while
 * anonymous clients are allowed. With hooks, still_admits decides, and without it a hook's clients
 * stay. Not for clients that enhanced authentication admitted, unless there is a still_admits hook.
 * Any thread, fast. When false: DISCONNECT 0x87.
 */
bool authority_still_admits(const struct authority *before, const struct authority *now,
			    bool has_username, struct slice username);

/*
 * The permission of one act: the check_permission hook first, then the acl_file. Worker only. For
 * SUBSCRIBE the answer is DENIED when no topic that the filter matches may be read. done may be
 * NULL when no hook may answer PENDING (as for DELIVER); then PENDING counts as DENIED.
 */
enum permission authority_check(const struct authority *authority, const struct acl_view *view,
				const struct permission_request *request, permission_done_fn done,
				void *arg);

#endif
