/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.c - start and stop of everything, in an order that leaves no moment half open.
 *
 *	start: listeners -> users and rights -> less rights -> workers' state -> threads -> HTTP is
 *	       answered -> store opened, and all of it read back -> everybody is accepted
 *	stop:  no more accepts -> DISCONNECT to all -> connections gone -> sessions gone -> threads
 */
#include "server/broker.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/rcu.h"
#include "net/first_bytes.h"
#include "net/relay.h"
#include "net/trusted_addresses.h"
#include "net/web.h"
#include "server/broker_tls.h"
#include "server/persistence.h"
#include "server/pid_file.h"
#include "server/privileges.h"
#include "server/service_manager.h"
#include "server/sys_topics.h"
#include "session/client.h"

/* How often, and how long, stopping looks whether all connections have gone. */
#define STOP_TICK_MS 10
#define STOP_TICKS_MAX 500

/* Descriptors that the broker itself needs; the rest is for clients. */
#define OWN_DESCRIPTORS_PER_WORKER 8u
#define OWN_DESCRIPTORS 32u

static int family_of(enum config_socket_domain domain)
{
	switch (domain) {
	case CONFIG_DOMAIN_IPV4: return AF_INET;
	case CONFIG_DOMAIN_IPV6: return AF_INET6;
	case CONFIG_DOMAIN_ANY: break;
	}
	return AF_UNSPEC;
}

static enum listener_protocol protocol_of(enum config_protocol protocol)
{
	switch (protocol) {
	case CONFIG_PROTOCOL_WEBSOCKETS: return LISTENER_WEBSOCKETS;
	case CONFIG_PROTOCOL_ANY: return LISTENER_ANY;
	case CONFIG_PROTOCOL_MQTT: break;
	}
	return LISTENER_MQTT;
}

static enum listener_proxy proxy_of(enum config_proxy_protocol proxy)
{
	switch (proxy) {
	case CONFIG_PROXY_ON: return LISTENER_PROXY_ON;
	case CONFIG_PROXY_REQUIRED: return LISTENER_PROXY_REQUIRED;
	case CONFIG_PROXY_OFF: break;
	}
	return LISTENER_PROXY_OFF;
}

static enum err open_listener(struct broker *broker, const struct config *config, size_t index,
			      struct err_detail *detail)
{
	const struct config_listener *from = &config->listeners[index];
	struct listener_settings settings = {
		.bind_address = from->bind_address,
		.bind_interface = from->bind_interface,
		.unix_path = from->unix_path,
		.port = from->port,
		.family = family_of(from->socket_domain),
		.tcp_nodelay = config->set_tcp_nodelay,
		.max_connections = from->max_connections,
		.index = (uint16_t)index,
		.is_optional = from->is_loopback_default,
		.protocol = protocol_of(from->protocol),
		.proxy = proxy_of(from->proxy_protocol),
		.trusted = broker->trusted[index],
		.tls = broker_tls_server(broker, index),
		.on_client = client_accept,
		.on_http = broker_web_accept,
	};

	return listener_open(&settings, config->worker_threads, &broker->listeners[index], detail);
}

static enum err open_listeners(struct broker *broker, const struct config *config,
			       struct err_detail *detail)
{
	unsigned opened = 0;

	broker->listeners = calloc(config->listener_count, sizeof *broker->listeners);
	broker->trusted = calloc(config->listener_count, sizeof *broker->trusted);
	if (!broker->listeners || !broker->trusted)
		return err_set(detail, ERR_NOMEM, "No memory for the listeners.");
	broker->listener_count = config->listener_count;
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_texts *trusted = &config->listeners[i].trusted_proxies;
		enum err err = ERR_NONE;

		if (trusted->count)
			err = trusted_addresses_create(trusted->texts, trusted->count,
						       &broker->trusted[i], detail);
		if (err == ERR_NONE)
			err = open_listener(broker, config, i, detail);

		if (err != ERR_NONE)
			return err;
		opened += listener_is_open(broker->listeners[i]);
	}
	if (!opened)
		return err_set(detail, ERR_IO, "None of the addresses to listen on exists here.");
	return ERR_NONE;
}

static const char *carrier_of(const struct config_listener *listener)
{
	bool has_tls = config_tls_is_on(&listener->tls);

	if (listener->protocol == CONFIG_PROTOCOL_ANY)
		return has_tls ? "TCP, TLS and WebSocket, as the first bytes tell"
			       : "TCP and WebSocket, as the first bytes tell";
	if (listener->protocol == CONFIG_PROTOCOL_WEBSOCKETS)
		return has_tls ? "WebSocket in TLS, and HTTP" : "WebSocket, and HTTP";
	if (has_tls)
		return listener->unix_path ? "TLS over a Unix socket" : "TLS";
	return listener->unix_path ? "a Unix socket" : "TCP";
}

static void log_start(const struct broker *broker, const struct config *config,
		      uint64_t descriptors)
{
	uint64_t own =
		OWN_DESCRIPTORS + (uint64_t)config->worker_threads * OWN_DESCRIPTORS_PER_WORKER;

	for (size_t i = 0; i < config->note_count; i++)
		log_event(LOG_TYPE_WARNING, NULL, "%s", config->notes[i]);
	for (size_t i = 0; i < broker->listener_count; i++) {
		if (listener_is_open(broker->listeners[i]))
			log_event(LOG_TYPE_INFORMATION, NULL, "Listening on %s (MQTT over %s)",
				  listener_name(broker->listeners[i]),
				  carrier_of(&config->listeners[i]));
	}
	if (config->is_local_only)
		log_event(
			LOG_TYPE_NOTICE, NULL,
			"No listener is configured: only programs on this machine can connect, and "
			"anybody of them may. Add a 'listener' to serve others.");
	log_event(LOG_TYPE_INFORMATION, NULL,
		  "%u worker threads; %llu file descriptors, enough for about %llu clients",
		  config->worker_threads, (unsigned long long)descriptors,
		  (unsigned long long)(descriptors > own ? descriptors - own : 0));
}

static enum err prepare_process(struct config *config, struct err_detail *detail)
{
	enum err err = privileges_make_folders(config, detail);

	if (err == ERR_NONE)
		err = broker_open_log(config, detail);
	return err;
}

/* Behind the listeners: a second broker that finds the port in use leaves the first one's alone. */
static enum err write_pid_file(struct broker *broker, const struct config *config,
			       struct err_detail *detail)
{
	if (!config->pid_file)
		return ERR_NONE;
	return pid_file_write(config->pid_file, &broker->has_pid_file, detail);
}

enum err broker_open_take(struct broker *broker, struct config *config, struct err_detail *detail)
{
	uint64_t descriptors = descriptors_prepare();
	enum err err = prepare_process(config, detail);

	memory_limit_set(config->memory_limit);
	if (err == ERR_NONE)
		err = broker_tls_open(broker, config, detail);
	/* First: who finds a port open finds the control socket as well. */
	if (err == ERR_NONE && config->control_socket)
		err = control_open(broker, config->control_socket, &broker->control, detail);
	if (err == ERR_NONE)
		err = open_listeners(broker, config, detail);
	if (err == ERR_NONE)
		err = snapshot_create(config, broker->listeners, broker->hooks, &broker->settings,
				      detail);
	if (err != ERR_NONE) {
		config_destroy(config);
		return err;
	}
	log_start(broker, config, descriptors);
	err = write_pid_file(broker, config, detail);
	return err == ERR_NONE ? privileges_drop(config, detail) : err;
}

/* Start. */

static struct broker *running; /* frozen while there are workers */
/* Frozen too: a reload may replace the configuration before the first worker has looked at it. */
static unsigned sys_interval_at_start_s;

static void start_listeners(struct worker *me, bool with_http)
{
	for (size_t i = 0; i < running->listener_count; i++) {
		struct listener *listener = running->listeners[i];
		bool has_http = listener_settings_of(listener)->protocol != LISTENER_MQTT;

		if (has_http == with_http && listener_start(listener, me) != ERR_NONE)
			log_event(LOG_TYPE_ERROR, NULL, "Worker %u cannot accept on %s", me->id,
				  listener_name(listener));
	}
}

static void worker_serve(struct worker *me)
{
	if (me->id == 0)
		sys_topics_start(me, sys_interval_at_start_s);
	sessions_serve(me);
	start_listeners(me, false);
}

void broker_configure_net(struct worker *worker, const struct config *config)
{
	struct first_bytes_settings settings = {
		.connect_timeout_ms = config->connect_timeout_s * 1000,
		.max_handshakes = config->tls_max_handshakes,
		.connection_messages = config->connection_messages,
	};

	first_bytes_configure(worker, &settings);
}

/* Who asks over HTTP is told that the store is being read. An MQTT client that comes by a listener
 * which speaks both waits with its CONNECT, one that comes by another waits to be accepted. */
static void worker_on_start(struct worker *me)
{
	start_listeners(me, true);
	if (!running->has_persistence)
		worker_serve(me);
}

static enum err init_worker(struct broker *broker, struct worker *worker)
{
	enum err err = net_worker_init(worker);

	if (err == ERR_NONE)
		broker_configure_net(worker, broker_config(broker));
	if (err == ERR_NONE)
		err = route_worker_init(broker->route, worker);
	if (err == ERR_NONE)
		err = shared_worker_init(worker, &broker->settings->shared);
	if (err == ERR_NONE)
		err = sessions_worker_init(broker->world, worker, broker->settings);
	return err;
}

static enum err init_web(struct broker *broker, struct err_detail *detail)
{
	enum err err = broker_web_open(broker, detail);

	for (uint16_t i = 0; i < broker_config(broker)->worker_threads && err == ERR_NONE; i++)
		err = broker_web_init_worker(broker, runtime_worker(broker->runtime, i), detail);
	if (err == ERR_NONE && broker->web)
		web_ready();
	return err;
}

static void discard_worker(struct worker *me, void *context)
{
	(void)context;
	sessions_discard_all(me);
	route_worker_stop(me);
}

static void end_workers(struct broker *broker)
{
	runtime_on_every_worker(broker->runtime, discard_worker, NULL, NULL);
	runtime_stop(broker->runtime);
}

static void stop_workers(struct broker *broker);

/* Somebody may be connected by HTTP. */
static void end_early(struct broker *broker)
{
	stop_workers(broker);
	uv_run(&broker->loop, UV_RUN_DEFAULT);
}

enum err broker_start(struct broker *broker, struct err_detail *detail)
{
	const struct config *config = broker_config(broker);
	struct runtime_settings settings = {
		.workers = config->worker_threads,
		.mailbox_letters = config->mailbox_letters,
		.pool_threads = config->thread_pool_threads,
	};
	enum err err = runtime_create(&settings, &broker->runtime, detail);

	if (err != ERR_NONE)
		return err;
	err = route_create(&broker->settings->route, &broker->route);
	if (err == ERR_NONE)
		err = sessions_create(broker->runtime, broker->route, &broker->world);
	for (uint16_t i = 0; i < config->worker_threads && err == ERR_NONE; i++) {
		err = init_worker(broker, runtime_worker(broker->runtime, i));
		if (err == ERR_NONE)
			route_configure(runtime_worker(broker->runtime, i),
					&broker->settings->route);
	}
	if (err != ERR_NONE)
		return err_set(detail, err, "No memory to start the workers.");
	err = init_web(broker, detail);
	if (err != ERR_NONE)
		return err;
	running = broker;
	broker->started_ms = clock_now_ms();
	sys_interval_at_start_s = config->sys_interval_s;
	/* Before anybody can ask. */
	broker->has_persistence = persistence_is_on(broker);
	broker_web_set_phase(broker->has_persistence ? BROKER_READS_STORE : BROKER_SERVES);
	err = runtime_start(broker->runtime, worker_on_start, detail);
	if (err != ERR_NONE)
		return err;
	err = persistence_start(broker, worker_serve, detail);
	if (err != ERR_NONE)
		end_early(broker);
	return err;
}

/* Stop. */

static void stop_worker(struct worker *me, void *context)
{
	struct broker *broker = context;

	if (me->id == 0)
		sys_topics_stop(me);
	for (size_t i = 0; i < broker->listener_count; i++)
		listener_stop(broker->listeners[i], me);
	first_bytes_stop(me);
	web_stop(me);
	sessions_stop(me);
}

static void look_at_worker(struct worker *me, void *context)
{
	struct broker *broker = context;

	if (!sessions_are_gone(me) || !web_is_gone(me) || relay_count(me) > 0)
		__atomic_add_fetch(&broker->workers_busy, 1, __ATOMIC_RELAXED);
}

static void stop_looked(void *context)
{
	struct broker *broker = context;

	__atomic_store_n(&broker->has_looked, true, __ATOMIC_RELEASE);
	uv_async_send(&broker->wake);
}

static void finish_stop(struct broker *broker)
{
	end_workers(broker);
	uv_stop(&broker->loop);
}

static void on_stop_timer(uv_timer_t *timer)
{
	struct broker *broker = timer->data;

	__atomic_store_n(&broker->workers_busy, 0, __ATOMIC_RELAXED);
	broker->stop_ticks++;
	runtime_on_every_worker(broker->runtime, look_at_worker, stop_looked, broker);
}

static void stop_workers(struct broker *broker)
{
	broker->is_stopping = true;
	broker_web_set_phase(BROKER_STOPS);
	runtime_on_every_worker(broker->runtime, stop_worker, NULL, broker);
	on_stop_timer(&broker->stop_timer);
}

static void broker_stop(struct broker *broker, const char *why)
{
	if (broker->is_stopping)
		return;
	service_manager_stopping();
	log_event(LOG_TYPE_NOTICE, NULL, "%s: the broker is stopping", why);
	if (broker->control)
		control_stop(broker->control);
	stop_workers(broker);
}

static void on_wake(uv_async_t *async)
{
	struct broker *broker = async->data;

	broker_reload_report(broker);
	if (broker->control)
		control_on_reload(broker->control);
	/* A reload may wake as well, while workers_busy is being counted. */
	if (!broker->is_stopping ||
	    !__atomic_exchange_n(&broker->has_looked, false, __ATOMIC_ACQUIRE))
		return;
	if (__atomic_load_n(&broker->workers_busy, __ATOMIC_RELAXED) == 0 ||
	    broker->stop_ticks >= STOP_TICKS_MAX)
		finish_stop(broker);
	else
		uv_timer_start(&broker->stop_timer, on_stop_timer, STOP_TICK_MS, 0);
}

/* Signals. */

static void log_filter(void *context, struct slice filter, uint32_t workers)
{
	(void)context;
	log_event(LOG_TYPE_NOTICE, NULL, "Topic tree: '%.*s', subscribed on %u worker(s)",
		  (int)filter.len, (const char *)filter.data, workers);
}

static void log_tree(struct broker *broker)
{
	struct topic_tree *tree = route_tree(runtime_worker(broker->runtime, 0));
	struct topic_tree_stats stats;

	topic_tree_stats(tree, &stats);
	log_event(LOG_TYPE_NOTICE, NULL, "Topic tree: %llu nodes, %llu subscriptions",
		  (unsigned long long)stats.nodes, (unsigned long long)stats.links);
	topic_tree_visit(tree, log_filter, NULL);
}

static void on_signal(void *context, int signum)
{
	struct broker *broker = context;

	switch (signum) {
	case SIGTERM: broker_stop(broker, "SIGTERM"); break;
	case SIGINT: broker_stop(broker, "SIGINT"); break;
	case SIGHUP:
		if (!broker->is_stopping)
			(void)broker_reload(broker); /* the log has told */
		break;
	case SIGUSR2:
		if (!broker->is_stopping)
			log_tree(broker);
		break;
	default: break; /* SIGUSR1 is harmless, as in mosquitto */
	}
}

void broker_run(struct broker *broker)
{
	rcu_thread_register();
	if (broker->control)
		control_start(broker->control);
	broker_tls_start_watching(broker);
	uv_run(&broker->loop, UV_RUN_DEFAULT);
	broker_tls_stop_watching(broker);
	control_destroy(&broker->control);
	rcu_thread_unregister();
	signals_close(&broker->signals);
	uv_close((uv_handle_t *)&broker->wake, NULL);
	uv_close((uv_handle_t *)&broker->stop_timer, NULL);
	memory_return_close(&broker->memory);
	uv_run(&broker->loop, UV_RUN_DEFAULT);
	uv_loop_close(&broker->loop);
}

void broker_watch_signals(struct broker *broker)
{
	BUG_ON(uv_loop_init(&broker->loop) != 0);
	signals_open(&broker->signals, &broker->loop, on_signal, broker);
	uv_async_init(&broker->loop, &broker->wake, on_wake);
	broker->wake.data = broker;
	uv_timer_init(&broker->loop, &broker->stop_timer);
	broker->stop_timer.data = broker;
	memory_return_open(&broker->memory, &broker->loop);
}

void broker_close(struct broker *broker)
{
	unsigned workers = broker->runtime ? runtime_worker_count(broker->runtime) : 0;

	control_destroy(&broker->control); /* when it was never started */
	if (broker->has_pid_file)
		unlink(broker_config(broker)->pid_file);
	persistence_close(broker);
	if (broker->world)
		sessions_destroy(&broker->world);
	for (unsigned i = 0; i < workers; i++) {
		struct worker *worker = runtime_worker(broker->runtime, (uint16_t)i);

		sys_topics_free(worker);
		shared_worker_fini(worker);
		route_worker_fini(worker);
		broker_web_fini_worker(broker, worker);
		net_worker_fini(worker);
		persistence_worker_fini(worker);
	}
	broker_web_close(broker);
	if (broker->route)
		route_destroy(&broker->route);
	if (broker->runtime)
		runtime_destroy(&broker->runtime);
	for (size_t i = 0; i < broker->listener_count; i++)
		listener_close(&broker->listeners[i]);
	for (size_t i = 0; broker->trusted && i < broker->listener_count; i++)
		trusted_addresses_destroy(&broker->trusted[i]);
	free(broker->trusted);
	broker_tls_close(broker);
	free(broker->listeners);
	session_settings_unref(&broker->settings);
}
