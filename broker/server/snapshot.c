/* SPDX-License-Identifier: Apache-2.0 */
#include "server/snapshot.h"

#include <stdlib.h>
#include <string.h>

/* The snapshot and what its strings point into. Frozen after create, reference counted. */
struct snapshot {
	struct session_settings settings; /* first member */
	struct config *config;
};

static void snapshot_free(struct session_settings *settings)
{
	struct snapshot *snapshot = (struct snapshot *)(void *)settings;

	for (uint16_t i = 0; i < settings->listener_count; i++) {
		if (settings->listeners[i].authority)
			authority_unref(&settings->listeners[i].authority);
	}
	free(settings->listeners);
	config_destroy(snapshot->config);
	free(snapshot);
}

const struct config *snapshot_config(const struct session_settings *settings)
{
	return ((const struct snapshot *)(const void *)settings)->config;
}

static void fill_limits(struct session_settings *out, const struct config *config)
{
	out->connect_timeout_ms = config->connect_timeout_s * 1000;
	out->max_keepalive_s = (uint16_t)config->max_keepalive_s;
	out->persistent_client_expiration_s = config->persistent_client_expiration_s;
	out->max_session_expiry_interval_s = config->max_session_expiry_interval_s;
	out->max_sessions = config->max_sessions;
	out->max_subscriptions_per_client = config->max_subscriptions_per_client;
	out->check_subscription_rights = config->check_subscription_rights;
	out->clientid_prefixes = slice_from_string(config->clientid_prefixes);
	out->max_inflight_messages = config->max_inflight_messages;
	out->max_inflight_bytes = config->max_inflight_bytes;
	out->max_queued_messages = config->max_queued_messages;
	out->max_queued_bytes = config->max_queued_bytes;
	out->queue_memory_messages = config->queue_memory_messages;
	out->room_wait_ms = config->persistence_full_wait * 1000;
	out->queue_qos0_messages = config->queue_qos0_messages;
	out->queue_drop_oldest = config->queue_drop == CONFIG_DROP_OLDEST;
	out->output_buffer_bytes = (uint32_t)config->output_buffer_bytes;
	out->max_packet_size = config->max_packet_size;
	out->max_connect_packet_size = config->max_connect_packet_size;
	out->message_size_limit = config->message_size_limit;
	out->max_topic_levels = config->max_topic_levels;
	out->payload_format_check = config->payload_format_check;
	out->retain_available = config->retain_available;
	out->check_retain_source = config->check_retain_source;
	out->retain_expiry_s = config->retain_expiry_interval_min * 60;
	out->connection_messages = config->connection_messages;
	if (config->persistence && config->durability == STORE_DISK)
		out->connack_properties = SLICE_LITERAL("\x26\x00\x0a"
							"durability"
							"\x00\x04"
							"disk");
	else if (config->persistence && config->durability == STORE_PROCESS)
		out->connack_properties = SLICE_LITERAL("\x26\x00\x0a"
							"durability"
							"\x00\x07"
							"process");
	out->trace_clientid = slice_from_string(config->trace_clientid);
}

static enum shared_strategy strategy_of(enum config_shared_strategy strategy)
{
	switch (strategy) {
	case CONFIG_SHARED_ROUND_ROBIN: return SHARED_ROUND_ROBIN;
	case CONFIG_SHARED_RANDOM: return SHARED_RANDOM;
	case CONFIG_SHARED_HASH_CLIENT: return SHARED_HASH_CLIENT;
	case CONFIG_SHARED_HASH_TOPIC: return SHARED_HASH_TOPIC;
	case CONFIG_SHARED_LEAST_INFLIGHT: break;
	}
	return SHARED_LEAST_INFLIGHT;
}

static void fill_routing(struct session_settings *out, const struct config *config)
{
	out->route = (struct route_settings){
		.allow_duplicate_messages = config->allow_duplicate_messages,
		.upgrade_outgoing_qos = config->upgrade_outgoing_qos,
		.fanout_slice = config->fanout_slice,
		.retained = {.max_messages = config->max_retained_messages,
			     .max_bytes = config->max_retained_bytes},
	};
	out->shared = (struct shared_settings){
		.strategy = strategy_of(config->shared_subscription_strategy),
		.max_queued_messages = config->max_queued_messages,
		.max_queued_bytes = config->max_queued_bytes,
		.drop_oldest = config->queue_drop == CONFIG_DROP_OLDEST,
	};
}

static bool same_access(const struct config_access *a, const struct config_access *b)
{
	const char *one = a->password_file ? a->password_file : "";
	const char *two = b->password_file ? b->password_file : "";
	const char *three = a->acl_file ? a->acl_file : "";
	const char *four = b->acl_file ? b->acl_file : "";

	return a->allow_anonymous == b->allow_anonymous && strcmp(one, two) == 0 &&
	       strcmp(three, four) == 0;
}

/* Listeners with the same rules share one authority: files are read once. */
static enum err make_authority(struct session_settings *out, const struct config *config,
			       uint16_t index, const struct authority_hooks *hooks,
			       struct err_detail *detail)
{
	const struct config_access *access = &config->listeners[index].access;
	struct authority_settings settings = {
		.allow_anonymous = access->allow_anonymous,
		.password_file = access->password_file,
		.acl_file = access->acl_file,
		.hooks = hooks,
	};

	for (uint16_t i = 0; i < index; i++) {
		if (same_access(access, &config->listeners[i].access)) {
			out->listeners[index].authority =
				authority_ref(out->listeners[i].authority);
			return ERR_NONE;
		}
	}
	return authority_create(&settings, &out->listeners[index].authority, detail);
}

static void fill_profile(struct listener_profile *profile, const struct config_listener *from,
			 uint16_t index, struct listener *listener)
{
	profile->index = index;
	profile->listener = listener;
	profile->mount_point = slice_from_string(from->mount_point);
	profile->auto_id_prefix = slice_from_string(from->access.auto_id_prefix);
	profile->max_qos = (uint8_t)from->max_qos;
	profile->max_topic_alias = from->max_topic_alias;
	profile->max_topic_alias_broker = from->max_topic_alias_broker;
	if (from->tls.use_identity_as_username)
		profile->name_source = NAME_FROM_TLS_IDENTITY;
	else if (from->tls.use_subject_as_username)
		profile->name_source = NAME_FROM_TLS_SUBJECT;
	profile->use_username_as_clientid = from->use_username_as_clientid;
	profile->allow_zero_length_clientid = from->access.allow_zero_length_clientid;
}

enum err snapshot_create(struct config *config, struct listener *const *listeners,
			 const struct authority_hooks *hooks, struct session_settings **out,
			 struct err_detail *detail)
{
	struct snapshot *snapshot = calloc(1, sizeof *snapshot);
	struct session_settings *settings = &snapshot->settings;
	enum err err = ERR_NONE;

	*out = NULL;
	if (!snapshot)
		return err_set(detail, ERR_NOMEM, "No memory for the configuration.");
	settings->refs = 1;
	settings->free_fn = snapshot_free;
	settings->listeners = calloc(config->listener_count, sizeof *settings->listeners);
	if (!settings->listeners) {
		free(snapshot);
		return err_set(detail, ERR_NOMEM, "No memory for the configuration.");
	}
	settings->listener_count = (uint16_t)config->listener_count;
	fill_limits(settings, config);
	fill_routing(settings, config);
	for (uint16_t i = 0; i < settings->listener_count && err == ERR_NONE; i++) {
		fill_profile(&settings->listeners[i], &config->listeners[i], i, listeners[i]);
		err = make_authority(settings, config, i, hooks, detail);
	}
	if (err != ERR_NONE) {
		session_settings_unref(&settings); /* the configuration stays the caller's */
		return err;
	}
	snapshot->config = config;
	*out = settings;
	return ERR_NONE;
}

enum err snapshot_check_file(const char *kind, const char *path, struct err_detail *detail,
			     void *context)
{
	struct authority_settings settings = {.allow_anonymous = false};
	struct authority *authority;
	enum err err;

	(void)context;
	if (strcmp(kind, "password_file") == 0)
		settings.password_file = path;
	else
		settings.acl_file = path;
	err = authority_create(&settings, &authority, detail);
	if (err == ERR_NONE)
		authority_unref(&authority);
	return err;
}
