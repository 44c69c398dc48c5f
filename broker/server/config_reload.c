/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_reload.c - a new configuration for a broker that is running.
 *
 * What can only change with a restart (ports, threads, ...) is taken from the running one, so that
 * the configuration in force never claims what the process does not do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/config_options.h"
#include "server/config_parse.h"

static bool is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_same_listener(const struct config_listener *a, const struct config_listener *b)
{
	return a->port == b->port && a->socket_domain == b->socket_domain &&
	       is_same_text(a->unix_path, b->unix_path) &&
	       is_same_text(a->bind_address, b->bind_address) &&
	       is_same_text(a->bind_interface, b->bind_interface);
}

static const struct config_listener *find_listener(const struct config *config,
						   const struct config_listener *like)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if (is_same_listener(&config->listeners[i], like))
			return &config->listeners[i];
	return NULL;
}

static const char *listener_name(const struct config_listener *listener, char *buffer, size_t bytes)
{
	static const char *const domains[] = {"", ", ipv4", ", ipv6"};
	const char *where = listener->unix_path ? listener->unix_path : listener->bind_address;
	bool is_loopback = listener->is_loopback_default;

	snprintf(buffer, bytes, "listener %u%s%s%s%s%s", listener->port, where ? " " : "",
		 where ? config_quote(where).text : "",
		 is_loopback ? "" : domains[listener->socket_domain],
		 listener->bind_interface ? ", " : "",
		 listener->bind_interface ? listener->bind_interface : "");
	return buffer;
}

/* With TLS or without: that is settled when the listener opens. */
static bool is_same_kind(const struct config_listener *a, const struct config_listener *b)
{
	return config_tls_is_on(&a->tls) == config_tls_is_on(&b->tls);
}

static void report_option(struct config_errors *report, const char *where,
			  const struct config_option *option, const void *running,
			  const void *fresh)
{
	char before[128], after[128];

	if (config_option_is_same(option, running, fresh))
		return;
	config_errors_add(report, "%s'%s' changed from %s to %s: this needs a restart", where,
			  option->name, config_option_show(option, running, before, sizeof(before)),
			  config_option_show(option, fresh, after, sizeof(after)));
}

static void report_listener(struct config_errors *report, const struct config_listener *running,
			    const struct config_listener *fresh)
{
	char name[128], where[140];

	listener_name(running, name, sizeof(name));
	if (!fresh) {
		config_errors_add(report, "'%s' is gone: it goes on until a restart", name);
		return;
	}
	snprintf(where, sizeof(where), "'%s': ", name);
	if (!is_same_kind(running, fresh))
		config_errors_add(report, "%sTLS was switched %s: this needs a restart", where,
				  config_tls_is_on(&fresh->tls) ? "on" : "off");
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];

		if (option->scope == CONFIG_SCOPE_LISTENER &&
		    (option->traits & CONFIG_TRAIT_RESTART))
			report_option(report, where, option, running, fresh);
	}
}

/* The count of the report is what decides, so it is always filled. */
static void compare(const struct config *running, const struct config *fresh,
		    struct config_errors *report)
{
	char name[128];

	report->count = 0;
	report->is_cut = false;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];

		if (option->scope == CONFIG_SCOPE_GLOBAL && (option->traits & CONFIG_TRAIT_RESTART))
			report_option(report, "", option, running, fresh);
	}
	for (size_t i = 0; i < running->listener_count; i++)
		report_listener(report, &running->listeners[i],
				find_listener(fresh, &running->listeners[i]));
	for (size_t i = 0; i < fresh->listener_count; i++)
		if (!find_listener(running, &fresh->listeners[i]))
			config_errors_add(report, "'%s' is new: it opens after a restart",
					  listener_name(&fresh->listeners[i], name, sizeof(name)));
}

bool config_is_reloadable_change(const struct config *running, const struct config *fresh,
				 struct config_errors *report)
{
	struct config_errors *own = report ? report : malloc(sizeof(*own));
	bool is_reloadable;

	if (!own)
		return false;
	compare(running, fresh, own);
	is_reloadable = own->count == 0;
	if (own != report)
		free(own);
	return is_reloadable;
}

/* Copies a text into config's memory. */
static bool keep_text(struct config *config, const char **text)
{
	char *copy;

	if (!*text)
		return true;
	copy = config_alloc(config, strlen(*text) + 1);
	if (!copy)
		return false;
	strcpy(copy, *text);
	*text = copy;
	return true;
}

static bool keep_globals(struct config *fresh, const struct config *running)
{
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		const char *text;

		if (option->scope != CONFIG_SCOPE_GLOBAL || !config_option_has_field(option) ||
		    !(option->traits & CONFIG_TRAIT_RESTART))
			continue;
		config_option_copy(option, fresh, running);
		if (option->kind != CONFIG_OPTION_TEXT)
			continue;
		text = config_option_text(option, fresh);
		if (!keep_text(fresh, &text))
			return false;
		config_option_set_text(option, fresh, text);
	}
	return true;
}

static bool keep_texts(struct config *config, struct config_texts *list)
{
	const char **texts;

	if (list->count == 0)
		return true;
	texts = config_alloc(config, list->count * sizeof(*texts));
	if (!texts)
		return false;
	memcpy(texts, list->texts, list->count * sizeof(*texts));
	list->texts = texts;
	for (size_t i = 0; i < list->count; i++)
		if (!keep_text(config, &texts[i]))
			return false;
	return true;
}

static bool keep_http(struct config *fresh, struct config_listener *listener)
{
	return keep_texts(fresh, &listener->websockets_origins) &&
	       keep_texts(fresh, &listener->trusted_proxies) &&
	       keep_text(fresh, &listener->http_dir) && keep_text(fresh, &listener->http_health) &&
	       keep_text(fresh, &listener->http_metrics) &&
	       keep_text(fresh, &listener->http_console);
}

static bool keep_tls(struct config *config, struct config_tls *tls)
{
	const char **texts[] = {
		&tls->certfile, &tls->keyfile,	     &tls->cafile,    &tls->capath,
		&tls->crlfile,	&tls->dhparamfile,   &tls->ocsp_file, &tls->tls_version,
		&tls->ciphers,	&tls->ciphers_tls13, &tls->psk_hint,
	};
	struct config_certificate *sni = NULL;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (!keep_text(config, texts[i]))
			return false;
	if (!tls->sni_count)
		return true;
	sni = config_alloc(config, tls->sni_count * sizeof *sni);
	for (size_t i = 0; sni && i < tls->sni_count; i++) {
		sni[i] = tls->sni[i];
		if (!keep_text(config, &sni[i].certfile) || !keep_text(config, &sni[i].keyfile))
			return false;
	}
	tls->sni = sni;
	return sni != NULL;
}

/* All texts of a listener point into running yet; what reloads comes from found afterwards. */
static bool keep_listener(struct config *fresh, struct config_listener *listener,
			  const struct config_listener *found)
{
	bool is_kept = keep_text(fresh, &listener->bind_address) &&
		       keep_text(fresh, &listener->bind_interface) &&
		       keep_text(fresh, &listener->unix_path) &&
		       keep_text(fresh, &listener->mount_point) && keep_http(fresh, listener) &&
		       keep_text(fresh, &listener->file);

	if (found && is_same_kind(found, listener))
		listener->tls = found->tls;
	else if (!keep_tls(fresh, &listener->tls))
		return false;
	if (found) {
		listener->access = found->access;
		return is_kept;
	}
	return is_kept && keep_text(fresh, &listener->access.psk_file) &&
	       keep_text(fresh, &listener->access.password_file) &&
	       keep_text(fresh, &listener->access.acl_file) &&
	       keep_text(fresh, &listener->access.auto_id_prefix);
}

static bool keep_listeners(struct config *fresh, const struct config *running)
{
	struct config_listener *listeners =
		config_alloc(fresh, running->listener_count * sizeof(*listeners));

	if (!listeners)
		return false;
	for (size_t i = 0; i < running->listener_count; i++) {
		listeners[i] = running->listeners[i];
		if (!keep_listener(fresh, &listeners[i], find_listener(fresh, &listeners[i])))
			return false;
	}
	fresh->listeners = listeners;
	fresh->listener_count = running->listener_count;
	fresh->is_local_only = running->is_local_only;
	fresh->daemonize = running->daemonize;
	return true;
}

enum err config_reload(const struct config *running, const struct config_overrides *overrides,
		       struct config **out, struct config_errors *errors,
		       struct config_errors *report)
{
	enum err err = config_load(running->path, overrides, out, errors);

	report->count = 0;
	if (err != ERR_NONE)
		return err;
	compare(running, *out, report);
	if (keep_globals(*out, running) && keep_listeners(*out, running))
		return ERR_NONE;
	config_errors_add(errors, "no memory for the configuration");
	config_destroy(*out);
	*out = NULL;
	return ERR_NOMEM;
}
