/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - what sessions have to know of the configuration, as a frozen snapshot.
 *
 * server fills it in; each worker holds one reference to the snapshot that it uses, and a reload
 * brings each a new one. A connection points to its listener's profile inside the snapshot.
 */
#ifndef NIGHTJAR_SESSION_SETTINGS_H
#define NIGHTJAR_SESSION_SETTINGS_H

#include "auth/authority.h"
#include "net/listener.h"
#include "route/route.h"
#include "route/shared_group.h"

/* Where a client's user name comes from. */
enum name_source {
	NAME_FROM_CONNECT,
	NAME_FROM_TLS_IDENTITY, /* use_identity_as_username */
	NAME_FROM_TLS_SUBJECT,	/* use_subject_as_username */
};

/* Frozen after the snapshot was handed out. Strings are owned by the snapshot's owner (free_fn). */
struct listener_profile {
	uint16_t index;
	struct listener *listener;
	struct authority *authority; /* one reference, held by the snapshot */
	struct slice mount_point;    /* empty: none */
	struct slice auto_id_prefix;
	uint8_t max_qos;
	uint16_t max_topic_alias;	 /* the Topic Alias Maximum that we announce */
	uint16_t max_topic_alias_broker; /* of those that we make ourselves */
	enum name_source name_source;
	bool use_username_as_clientid;
	bool allow_zero_length_clientid;
};

struct session_settings {
	uint32_t refs; /* any thread */

	uint32_t connect_timeout_ms;
	uint16_t max_keepalive_s;
	uint64_t persistent_client_expiration_s; /* 0: never */
	uint32_t max_session_expiry_interval_s;	 /* 0: no cap */
	uint32_t max_sessions;			 /* 0: no limit */
	uint32_t max_subscriptions_per_client;	 /* 0: no limit */
	bool check_subscription_rights;
	struct slice clientid_prefixes; /* a prefix that is demanded; empty: any */

	uint32_t max_inflight_messages; /* 0: 65535 */
	uint64_t max_inflight_bytes;	/* 0: no limit */
	uint32_t max_queued_messages;	/* 0: no limit */
	uint64_t max_queued_bytes;	/* 0: no limit */
	uint32_t queue_memory_messages; /* of a kept session; the rest is in the store alone */
	uint32_t room_wait_ms;		/* so long an old client waits for room in the store */
	bool queue_qos0_messages;
	bool queue_drop_oldest;
	uint32_t output_buffer_bytes;

	uint32_t max_packet_size;	  /* 0: what MQTT allows */
	uint32_t max_connect_packet_size; /* before the client is known */
	uint32_t message_size_limit;	  /* payload; 0: none */
	uint32_t max_topic_levels;	  /* 0: no limit */
	bool payload_format_check;
	bool retain_available;
	bool check_retain_source;
	uint32_t retain_expiry_s; /* 0: never */
	bool connection_messages;
	struct slice trace_clientid; /* whose messages are traced; empty: nobody's */

	struct slice connack_properties; /* User Properties for who has a session that is kept */

	struct route_settings route;
	struct shared_settings shared;

	uint16_t listener_count;
	struct listener_profile *listeners;
	void (*free_fn)(struct session_settings *settings); /* the last reference is gone */
};

void session_settings_ref(struct session_settings *settings);
void session_settings_unref(struct session_settings **settings);

#endif
