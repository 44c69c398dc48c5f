/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "session/session.h"

void trace_set(struct worker *me, struct session *session)
{
	struct slice wanted = session_worker_of(me)->settings->trace_clientid;

	session->flags &= (uint8_t)~SESSION_TRACED;
	if (wanted.len && slice_equal(wanted, session_client_id(session)))
		session->flags |= SESSION_TRACED;
}

void trace_write(const struct session *session, const char *stage, struct slice topic, uint8_t qos)
{
	log_event(LOG_TYPE_NOTICE,
		  &(struct log_fields){.client_id = session_client_id(session),
				       .user = origin_username(session->origin)},
		  "Trace: %s '%.*s' (QoS %u)", stage, (int)topic.len, (const char *)topic.data,
		  qos);
}
