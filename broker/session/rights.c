/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights.c - what a session may do, with the last decisions kept.
 *
 * A reload gives the listener's profile another authority. Each check compares the pointer first, so
 * a change holds for the very next delivery, before anybody has walked through the sessions.
 */
#include "base/log.h"
#include "session/client.h"

enum err rights_init(struct rights *rights, struct authority *authority,
		     const struct session *session)
{
	struct acl_subject subject = {
		.client_id = session_client_id(session),
		.has_username = session->origin->has_username,
		.username = origin_username(session->origin),
	};

	rights->authority = authority_ref(authority);
	rights->cache = NULL;
	if (acl_view_create(authority_acl(authority), &subject, &rights->view) != ERR_NONE) {
		authority_unref(&rights->authority);
		return ERR_NOMEM;
	}
	return ERR_NONE;
}

void rights_fini(struct rights *rights)
{
	acl_view_destroy(&rights->view);
	acl_cache_destroy(&rights->cache);
	if (rights->authority)
		authority_unref(&rights->authority);
}

bool rights_refresh(struct worker *me, struct session *session)
{
	struct authority *now = session_profile(me, session)->authority;
	struct rights fresh;
	bool is_admitted;

	if (now == session->rights.authority)
		return true;
	/* Whom TLS has named, no password file knows. */
	is_admitted = session_profile(me, session)->name_source != NAME_FROM_CONNECT ||
		      authority_still_admits(session->rights.authority, now,
					     session->origin->has_username,
					     origin_username(session->origin));
	if (rights_init(&fresh, now, session) != ERR_NONE)
		return false;
	rights_fini(&session->rights);
	session->rights = fresh;
	if (!is_admitted && session->client)
		client_close(session->client, CLOSE_NOT_AUTHORIZED, 0, NULL);
	return is_admitted;
}

static enum permission acl_decide(struct session *session, enum acl_access access,
				  struct slice topic, uint64_t hash)
{
	struct rights *rights = &session->rights;
	uint64_t generation = authority_generation(rights->authority);
	enum acl_cached known = acl_cache_get(rights->cache, access, hash, generation);
	bool is_allowed;

	if (known != ACL_CACHED_MISS)
		return known == ACL_CACHED_ALLOWED ? PERMISSION_ALLOWED : PERMISSION_DENIED;
	is_allowed = access == ACL_READ ? acl_view_may_read(rights->view, topic)
					: acl_view_may_publish(rights->view, topic);
	acl_cache_put(&rights->cache, access, hash, generation, is_allowed);
	return is_allowed ? PERMISSION_ALLOWED : PERMISSION_DENIED;
}

static void set_subject(struct session *session, struct permission_request *request)
{
	request->subject = (struct acl_subject){
		.client_id = session_client_id(session),
		.has_username = session->origin->has_username,
		.username = origin_username(session->origin),
	};
}

bool rights_may_read(struct worker *me, struct session *session, const struct message *message)
{
	struct permission_request request = {
		.act = PERMISSION_DELIVER,
		.topic = message_topic(message),
		.qos = message->qos,
		.retain = (message->flags & MESSAGE_RETAIN) != 0,
	};

	if (!rights_refresh(me, session))
		return false;
	if (rights_are_open(&session->rights))
		return true;
	if (!authority_hooks(session->rights.authority)->check_permission)
		return acl_decide(session, ACL_READ, request.topic, message->topic_hash) ==
		       PERMISSION_ALLOWED;
	set_subject(session, &request);
	return authority_check(session->rights.authority, session->rights.view, &request, NULL,
			       NULL) == PERMISSION_ALLOWED;
}

enum permission rights_check(struct worker *me, struct session *session,
			     const struct permission_request *asked, permission_done_fn done,
			     void *arg)
{
	struct permission_request request = *asked;

	if (!rights_refresh(me, session))
		return PERMISSION_DENIED;
	if (rights_are_open(&session->rights))
		return PERMISSION_ALLOWED;
	if (request.act == PERMISSION_PUBLISH &&
	    !authority_hooks(session->rights.authority)->check_permission)
		return acl_decide(session, ACL_WRITE, request.topic, acl_topic_hash(request.topic));
	set_subject(session, &request);
	return authority_check(session->rights.authority, session->rights.view, &request, done,
			       arg);
}

bool rights_source_may_publish(struct worker *me, const struct message *message)
{
	struct session_worker *mine = session_worker_of(me);
	const struct origin *origin = message->origin;
	const struct listener_profile *profile;
	struct acl_subject subject;
	uint64_t generation;

	if (!mine->settings->check_retain_source || !origin ||
	    origin->listener >= mine->settings->listener_count)
		return true;
	profile = &mine->settings->listeners[origin->listener];
	if (!authority_acl(profile->authority))
		return true;
	generation = authority_generation(profile->authority);
	if (mine->source_generation != generation || mine->source_number != origin->number) {
		acl_view_destroy(&mine->source_view);
		subject = (struct acl_subject){
			.client_id = origin_client_id(origin),
			.has_username = origin->has_username,
			.username = origin_username(origin),
		};
		if (acl_view_create(authority_acl(profile->authority), &subject,
				    &mine->source_view) != ERR_NONE)
			return false;
		mine->source_generation = generation;
		mine->source_number = origin->number;
	}
	return acl_view_may_publish(mine->source_view, message_topic(message));
}
