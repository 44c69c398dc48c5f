/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the broker's settings: mosquitto.conf and the command line, checked and frozen.
 *
 * options.def holds one row per directive: the parser, the reference in docs/configuration.md, the
 * manual page and conf/nightjar.conf are all made from it. A configuration is loaded whole or not at
 * all, never changes afterwards, and any thread may read it; a reload makes a new one. No other
 * folder reads it: the server copies what a module needs into that module's own settings struct.
 *
 * Strings belong to the configuration and live until config_destroy(). Relative paths are meant
 * from the process's working directory, as in mosquitto.
 */
#ifndef NIGHTJAR_SERVER_CONFIG_H
#define NIGHTJAR_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "store/store.h"

#define CONFIG_COMMAND_LINE_PORTS 10

enum config_socket_domain {
	CONFIG_DOMAIN_ANY, /* IPv4 and IPv6 */
	CONFIG_DOMAIN_IPV4,
	CONFIG_DOMAIN_IPV6,
};

enum config_protocol {
	CONFIG_PROTOCOL_MQTT,
	CONFIG_PROTOCOL_WEBSOCKETS, /* and HTTP */
	CONFIG_PROTOCOL_ANY,	    /* the first bytes tell */
};

enum config_proxy_protocol {
	CONFIG_PROXY_OFF,
	CONFIG_PROXY_ON,
	CONFIG_PROXY_REQUIRED,
};

enum config_log_format {
	CONFIG_LOG_TEXT,
	CONFIG_LOG_JSON,
};

enum config_queue_drop {
	CONFIG_DROP_NEWEST, /* a full queue refuses what arrives, as mosquitto does */
	CONFIG_DROP_OLDEST,
};

enum config_shared_strategy {
	CONFIG_SHARED_LEAST_INFLIGHT,
	CONFIG_SHARED_ROUND_ROBIN,
	CONFIG_SHARED_RANDOM,
	CONFIG_SHARED_HASH_CLIENT,
	CONFIG_SHARED_HASH_TOPIC,
};

/*
 * Who gets in, and with which rights. Each listener has its own when per_listener_settings is true;
 * else all listeners hold the same values. Either way it is resolved: read it from the listener.
 */
struct config_access {
	bool allow_anonymous;
	bool allow_zero_length_clientid;
	const char *password_file;  /* NULL: none */
	const char *acl_file;	    /* NULL: none, everything is allowed */
	const char *auto_id_prefix; /* never NULL */
	const char *psk_file;	    /* NULL: none */
};

struct config_texts {
	const char *const *texts;
	size_t count;
};

struct config_certificate {
	const char *certfile, *keyfile;
};

/* TLS of a listener. NULL: not set. */
struct config_tls {
	const char *certfile, *keyfile;
	const struct config_certificate *sni;
	size_t sni_count;
	const char *cafile, *capath, *crlfile;
	const char *dhparamfile, *ocsp_file;
	const char *tls_version, *ciphers, *ciphers_tls13;
	const char *psk_hint;
	bool require_certificate;
	bool use_identity_as_username, use_subject_as_username;
};

static inline bool config_tls_is_on(const struct config_tls *tls)
{
	return tls->certfile || tls->psk_hint;
}

struct config_listener {
	const char *bind_address;   /* host name or address; NULL: every address */
	const char *bind_interface; /* NULL: any. Wins over bind_address */
	const char *unix_path;	    /* not NULL: a Unix socket, port is 0 */
	uint16_t port;
	enum config_socket_domain socket_domain;
	/*
	 * The listener was not asked for but is what the broker opens without any: 127.0.0.1 or ::1.
	 * A machine without that address family is no error then, as long as one of them opens.
	 */
	bool is_loopback_default;

	int32_t max_connections;	 /* -1: no limit */
	uint32_t max_qos;		 /* 0, 1 or 2 */
	uint16_t max_topic_alias;	 /* Topic Alias Maximum we announce; 0: none */
	uint16_t max_topic_alias_broker; /* how many aliases we make ourselves, at most; 0: none */
	const char *mount_point;	 /* prefix of every topic, NULL: none */
	bool use_username_as_clientid;
	struct config_access access;
	enum config_proxy_protocol proxy_protocol;
	struct config_tls tls;

	enum config_protocol protocol;
	struct config_texts websockets_origins; /* lower case; none: any */
	struct config_texts trusted_proxies;
	const char *http_dir; /* NULL: none */
	/* "true", "false", or an address of this machine; never NULL. */
	const char *http_health, *http_metrics, *http_console;

	const char *file; /* where it was defined; NULL: nowhere */
	unsigned line;
};

struct config {
	/* Listeners: at least one. */
	struct config_listener *listeners;
	size_t listener_count;
	bool is_local_only; /* no listener was configured: loopback and anonymous, and we say so */
	bool per_listener_settings;
	bool set_tcp_nodelay;

	/* The process. */
	const char *path;	    /* the file that was loaded, NULL: none */
	const char *user;	    /* NULL: not set; the server tries nightjar, then nobody */
	const char *pid_file;	    /* NULL: none */
	const char *control_socket; /* NULL: none */
	bool daemonize;		    /* -d */
	uint32_t worker_threads;    /* resolved, 1..256 */
	uint32_t thread_pool_threads;
	uint32_t mailbox_letters;
	uint32_t fanout_slice;
	uint32_t sys_interval_s;     /* 0: no $SYS */
	uint32_t tls_max_handshakes; /* on each worker */
	bool tls_watch;

	/* Sessions. */
	uint32_t connect_timeout_s;
	uint32_t max_keepalive_s;
	uint64_t persistent_client_expiration_s; /* 0: never; for clients before version 5 too */
	uint32_t max_session_expiry_interval_s;	 /* 0: no cap */
	uint32_t max_sessions;
	uint32_t max_subscriptions_per_client; /* 0: no limit */
	bool check_subscription_rights; /* refuse a filter of which nothing can be readable */
	const char *clientid_prefixes;	/* NULL: every Client Identifier is allowed */

	/* Delivery. 0 means no limit where a size or a count is meant. */
	uint32_t max_inflight_messages;
	uint64_t max_inflight_bytes;
	uint32_t max_queued_messages;
	uint64_t max_queued_bytes;
	bool queue_qos0_messages;
	enum config_queue_drop queue_drop;
	bool upgrade_outgoing_qos;
	bool allow_duplicate_messages;
	enum config_shared_strategy shared_subscription_strategy;
	uint64_t output_buffer_bytes; /* unsent bytes of one connection */

	/* Packets. */
	uint32_t max_packet_size; /* whole packet; 0: the protocol's 268,435,460 */
	uint32_t max_connect_packet_size;
	uint32_t message_size_limit; /* payload; 0: no limit */
	uint32_t max_topic_levels;
	bool payload_format_check;

	/* WebSocket and HTTP. */
	uint32_t websockets_headers_size;
	uint32_t websockets_log_level;

	/* Retained messages. */
	bool retain_available;
	bool check_retain_source;
	uint32_t retain_expiry_interval_min; /* 0: never; minutes, as in mosquitto */
	uint64_t max_retained_messages;	     /* 0: no limit */
	uint64_t max_retained_bytes;	     /* 0: no limit */

	uint64_t memory_limit; /* 0: no limit */

	/* Persistence. */
	bool persistence;
	const char *persistence_location; /* NULL: the folder that the broker was started in */
	enum store_durability durability;
	uint64_t persistence_max_size;
	uint32_t queue_memory_messages;
	uint32_t persistence_full_wait;

	/* Log. */
	unsigned log_types; /* enum log_type, or-ed */
	bool log_to_stderr, log_to_stdout, log_to_syslog, log_to_topic;
	const char *log_file; /* NULL: none */
	int log_facility;     /* LOG_DAEMON, LOG_LOCAL0, ... */
	bool log_timestamp;
	const char *log_timestamp_format; /* NULL: seconds since 1970 */
	enum config_log_format log_format;
	bool connection_messages;
	const char *trace_clientid; /* NULL: nobody is traced */

	/* Things to tell the administrator at start as warnings, one sentence each. */
	const char *const *notes;
	size_t note_count;

	struct config_memory *memory; /* private to config.c */
};

/* What the command line says; see command_line.h. */
struct config_overrides {
	uint16_t ports[CONFIG_COMMAND_LINE_PORTS]; /* -p */
	size_t port_count;
	bool daemonize; /* -d */
	bool verbose;	/* -v: every log_type */
};

#define CONFIG_ERRORS_MAX 20
#define CONFIG_ERROR_BYTES 1024

/* All that is wrong, so that one start shows it all. Texts are "FILE:LINE: what, and how to mend it". */
struct config_errors {
	size_t count; /* at most CONFIG_ERRORS_MAX */
	bool is_cut;  /* there were more */
	char text[CONFIG_ERRORS_MAX][CONFIG_ERROR_BYTES];
};

/*
 * Loads and checks a configuration; blocks on files. path NULL: the defaults (loopback only).
 * overrides may be NULL. On failure *out is NULL and errors holds at least one text. errors need
 * not be initialised.
 */
enum err config_load(const char *path, const struct config_overrides *overrides,
		     struct config **out, struct config_errors *errors) ERR_CHECKED;

/* As config_load() with the bytes of the main file given; name stands in messages for the file. */
enum err config_load_bytes(const char *name, const char *bytes, size_t length,
			   const struct config_overrides *overrides, struct config **out,
			   struct config_errors *errors) ERR_CHECKED;

/* The settings without a file. NULL when there is no memory. */
struct config *config_default(void);

void config_destroy(struct config *config); /* NULL is fine */

/* Adds one text to the list; cut and counted when it is full. For checks made elsewhere. */
void config_errors_add(struct config_errors *errors, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Is every difference one that a running broker can take? When not, report (may be NULL) gets one
 * sentence per option that waits for a restart.
 */
bool config_is_reloadable_change(const struct config *running, const struct config *fresh,
				 struct config_errors *report);

/*
 * For SIGHUP: loads path again and gives the settings that hold from now on: reloadable options from
 * the file, all others (listeners too) as they run. report says which changes wait for a restart.
 * On failure the running configuration simply goes on.
 */
enum err config_reload(const struct config *running, const struct config_overrides *overrides,
		       struct config **out, struct config_errors *errors,
		       struct config_errors *report) ERR_CHECKED;

/* Settings for log_open(). The strings are borrowed from config; to_topic is left NULL. */
void config_log_settings(const struct config *config, struct log_settings *out);

/*
 * The seam for --test-config: calls check for each file that the configuration names for reading
 * (once per file), collects what fails. kind is "password_file" or "acl_file".
 */
typedef enum err (*config_file_check)(const char *kind, const char *path, struct err_detail *detail,
				      void *context);
enum err config_check_files(const struct config *config, config_file_check check, void *context,
			    struct config_errors *errors) ERR_CHECKED;

#endif
