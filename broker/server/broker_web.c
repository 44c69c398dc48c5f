/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_web.c - the listeners that speak WebSocket and HTTP, put together from the configuration.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/http.h"
#include "server/broker.h"
#include "server/broker_tls.h"
#include "session/client.h"

/* Owner: main thread; frozen while there are workers. */
struct broker_web {
	struct session_settings *settings; /* one reference: texts are borrowed from it */
	struct web *web;
	struct http *http;
	size_t count;
};

static int phase_now = BROKER_STARTING; /* enum broker_phase; any thread, atomic */

void broker_web_set_phase(enum broker_phase phase)
{
	__atomic_store_n(&phase_now, (int)phase, __ATOMIC_RELEASE);
}

static const char *why_not_ready(void)
{
	static const char *const texts[] = {
		[BROKER_STARTING] = "The broker is starting.\n",
		[BROKER_READS_STORE] = "The broker is starting: it reads its store.\n",
		[BROKER_SERVES] = NULL,
		[BROKER_STOPS] = "The broker is stopping.\n",
	};

	return texts[__atomic_load_n(&phase_now, __ATOMIC_ACQUIRE)];
}

bool broker_web_accept(struct worker *me, const struct newcomer *newcomer, bool is_tls)
{
	return client_may_accept(me) && web_adopt(me, newcomer, is_tls);
}

static struct http_endpoint endpoint_of(const char *text)
{
	struct http_endpoint endpoint = {.is_on = strcmp(text, "false") != 0};

	if (inet_pton(AF_INET, text, endpoint.at.bytes) == 1)
		endpoint.at.family = AF_INET;
	else if (inet_pton(AF_INET6, text, endpoint.at.bytes) == 1)
		endpoint.at.family = AF_INET6;
	endpoint.is_bound = endpoint.at.family != 0;
	return endpoint;
}

static void fill_http(const struct config_listener *from, uint16_t index, struct http_listener *out)
{
	*out = (struct http_listener){
		.listener = index,
		.health = endpoint_of(from->http_health),
		.metrics = endpoint_of(from->http_metrics),
		.console = endpoint_of(from->http_console),
		.directory = from->http_dir,
	};
}

static void fill_web(struct broker *broker, const struct config_listener *from, uint16_t index,
		     struct web_listener *out)
{
	struct tls_server *tls = broker_tls_server(broker, index);

	*out = (struct web_listener){
		.listener = index,
		.place = broker->listeners[index],
		.origins = from->websockets_origins.texts,
		.origin_count = from->websockets_origins.count,
		.trusted_proxies = broker->trusted[index],
		.is_plain = !tls || from->protocol == CONFIG_PROTOCOL_ANY,
		.tls = tls,
	};
}

static enum err make_http(struct broker_web *all, const struct http_listener *listeners,
			  struct err_detail *detail)
{
	struct http_settings settings = {
		.listeners = listeners,
		.listener_count = all->count,
		.started_ms = clock_now_ms(),
		.why_not_ready = why_not_ready,
	};

	return http_create(&settings, &all->http, detail);
}

static enum err make_web(struct broker_web *all, const struct web_listener *listeners,
			 struct err_detail *detail)
{
	const struct config *config = snapshot_config(all->settings);
	struct web_settings settings = {
		.workers = config->worker_threads,
		.headers_bytes = config->websockets_headers_size,
		.connect_timeout_ms = config->connect_timeout_s * 1000,
		.log_level = config->websockets_log_level ? config->websockets_log_level : 3,
		.listeners = listeners,
		.listener_count = all->count,
		.hooks = {.on_websocket = client_accept_websocket,
			  .on_request = http_on_request,
			  .may_accept = client_may_accept},
	};

	return web_create(&settings, &all->web, detail);
}

static enum err make_both(struct broker *broker, struct web_listener *web,
			  struct http_listener *http, struct err_detail *detail)
{
	const struct config *config = broker_config(broker);
	struct broker_web *all = broker->web;
	enum err err;

	for (uint16_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *from = &config->listeners[i];

		if (from->protocol == CONFIG_PROTOCOL_MQTT)
			continue;
		fill_http(from, i, &http[all->count]);
		fill_web(broker, from, i, &web[all->count]);
		all->count++;
	}
	err = make_http(all, http, detail);
	if (err == ERR_NONE)
		err = make_web(all, web, detail);
	return err;
}

static bool speaks_http(const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		if (config->listeners[i].protocol != CONFIG_PROTOCOL_MQTT)
			return true;
	}
	return false;
}

enum err broker_web_open(struct broker *broker, struct err_detail *detail)
{
	size_t count = broker_config(broker)->listener_count;
	struct web_listener *web = NULL;
	struct http_listener *http = NULL;
	enum err err = ERR_NOMEM;

	if (!speaks_http(broker_config(broker)))
		return ERR_NONE;
	broker->web = calloc(1, sizeof *broker->web);
	if (broker->web) {
		broker->web->settings = broker->settings;
		session_settings_ref(broker->settings);
		web = calloc(count, sizeof *web);
		http = calloc(count, sizeof *http);
	}
	if (web && http)
		err = make_both(broker, web, http, detail);
	else
		err_set(detail, err, "No memory for WebSocket and HTTP.");
	free(web);
	free(http);
	return err;
}

enum err broker_web_init_worker(struct broker *broker, struct worker *worker,
				struct err_detail *detail)
{
	if (!broker->web)
		return ERR_NONE;
	http_worker_init(broker->web->http, worker);
	return web_worker_init(broker->web->web, worker, detail);
}

void broker_web_fini_worker(struct broker *broker, struct worker *worker)
{
	if (broker->web)
		web_worker_fini(worker);
}

void broker_web_close(struct broker *broker)
{
	struct broker_web *all = broker->web;

	if (!all)
		return;
	web_destroy(&all->web);
	http_destroy(&all->http);
	session_settings_unref(&all->settings);
	free(all);
	broker->web = NULL;
}
