/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_resolve.c - what the lines mean together, once all of them are read.
 *
 * Which listeners there are, as in mosquitto 2:
 *
 *   'listener' lines                         these
 *   'port' or 'bind_address' as well         these, and the default listener, on all addresses
 *   neither, but bind_interface              the default listener, on that interface
 *   none of it                               127.0.0.1 and ::1 only, anonymous clients allowed;
 *                                            -p gives the ports
 *
 * An option that belongs to a listener but stands above all of them belongs to the default one.
 * Where there is none it would be lost, and that is an error: it might be the password file.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "server/config_parse.h"

#define DEFAULT_PORT 1883

static bool is_set(const struct config_parser *parser, const char *name)
{
	return parser->set[config_option_index(config_option_find(name))].file != NULL;
}

static bool has_default_listener(const struct config_parser *parser)
{
	const struct config_option *interface = config_option_find("bind_interface");

	return is_set(parser, "port") || is_set(parser, "bind_address") ||
	       (parser->draft_count == 0 &&
		parser->unnamed.set[config_option_index(interface)].file != NULL);
}

/* The drafts in a row, the unnamed one first. */
static struct config_draft *draft_at(struct config_parser *parser, size_t i)
{
	return i == 0 ? &parser->unnamed : parser->drafts[i - 1];
}

/* Two texts that differ are an error, as in mosquitto; of other options the last one counts. */
static void compare_shared(struct config_parser *parser, const struct config_option *option,
			   const struct config_draft *older, const struct config_draft *last)
{
	size_t index = config_option_index(option);
	const struct config_place *before = &older->set[index], *here = &last->set[index];

	if (config_option_is_same(option, &older->values, &last->values))
		return;
	if (option->kind == CONFIG_OPTION_TEXT)
		config_parser_error_at(parser, here,
				       "'%s' is set differently at %s:%u, but holds for all "
				       "listeners: take one out, or let each listener have its own "
				       "with 'per_listener_settings true'",
				       option->name, before->file, before->line);
	else
		config_parser_note_at(parser, here,
				      "'%s' is set differently at %s:%u; this line counts, for all "
				      "listeners, because per_listener_settings is false",
				      option->name, before->file, before->line);
}

/* The draft whose setting holds for all listeners: the one that was set last. NULL: none. */
static struct config_draft *last_setter(struct config_parser *parser,
					const struct config_option *option)
{
	size_t index = config_option_index(option);
	struct config_draft *last = NULL;

	for (size_t i = 0; i <= parser->draft_count; i++) {
		struct config_draft *draft = draft_at(parser, i);

		if (draft->set[index].file &&
		    (!last || draft->set[index].order > last->set[index].order))
			last = draft;
	}
	return last;
}

static void share_access_option(struct config_parser *parser, const struct config_option *option)
{
	size_t index = config_option_index(option);
	struct config_draft *last = last_setter(parser, option);

	for (size_t i = 0; last && i <= parser->draft_count; i++) {
		struct config_draft *draft = draft_at(parser, i);

		if (draft->set[index].file)
			compare_shared(parser, option, draft, last);
		config_option_copy(option, &draft->values, &last->values);
		draft->set[index] = last->set[index];
	}
}

static void share_access(struct config_parser *parser)
{
	if (parser->config->per_listener_settings)
		return;
	for (size_t i = 0; i < config_option_count; i++)
		if (config_options[i].scope == CONFIG_SCOPE_ACCESS)
			share_access_option(parser, &config_options[i]);
}

static void refuse_orphans(struct config_parser *parser)
{
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];
		const struct config_place *place = &parser->unnamed.set[i];

		if (!place->file || (config_option_has_field(option) &&
				     config_option_is_default(option, &parser->unnamed.values)))
			continue;
		if (option->scope == CONFIG_SCOPE_ACCESS && !parser->config->per_listener_settings)
			continue;
		config_parser_error_at(
			parser, place,
			"'%s' stands above the first listener and belongs to none: put "
			"it below the 'listener' line that it is meant for",
			option->name);
	}
}

static bool is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_same_address(const struct config_listener *a, const struct config_listener *b)
{
	bool is_apart = a->socket_domain != b->socket_domain &&
			a->socket_domain != CONFIG_DOMAIN_ANY &&
			b->socket_domain != CONFIG_DOMAIN_ANY;

	return a->port == b->port && !is_apart && is_same_text(a->unix_path, b->unix_path) &&
	       is_same_text(a->bind_address, b->bind_address) &&
	       is_same_text(a->bind_interface, b->bind_interface);
}

static void refuse_duplicates(struct config_parser *parser)
{
	const struct config *config = parser->config;

	for (size_t i = 0; i < config->listener_count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct config_listener *one = &config->listeners[j];
			const struct config_listener *two = &config->listeners[i];
			struct config_place place = {two->file, two->line, 0};

			if (!is_same_address(one, two))
				continue;
			config_parser_error_at(
				parser, &place,
				"there is a listener for the same address already, at "
				"%s:%u: take one of them out",
				one->file, one->line);
			return;
		}
}

static struct config_listener *add_listener(struct config *config,
					    const struct config_listener *values)
{
	struct config_listener *listener = &config->listeners[config->listener_count++];

	*listener = *values;
	return listener;
}

static void add_loopback(struct config *config, const struct config_listener *values, uint16_t port)
{
	static const struct {
		const char *address;
		enum config_socket_domain domain;
	} loopbacks[] = {{"127.0.0.1", CONFIG_DOMAIN_IPV4}, {"::1", CONFIG_DOMAIN_IPV6}};

	for (size_t i = 0; i < 2; i++) {
		struct config_listener *listener;

		if (values->socket_domain != CONFIG_DOMAIN_ANY &&
		    values->socket_domain != loopbacks[i].domain)
			continue;
		listener = add_listener(config, values);
		listener->port = port;
		listener->bind_address = loopbacks[i].address;
		listener->socket_domain = loopbacks[i].domain;
		listener->is_loopback_default = true;
		listener->file = NULL;
		listener->line = 0;
	}
}

static void add_local_only(struct config_parser *parser, const struct config_overrides *overrides)
{
	struct config *config = parser->config;
	struct config_listener values = parser->unnamed.values;
	const struct config_option *anonymous = config_option_find("allow_anonymous");
	const struct config_option *protocol = config_option_find("protocol");

	config->is_local_only = true;
	if (!parser->unnamed.set[config_option_index(protocol)].file)
		values.protocol = CONFIG_PROTOCOL_ANY;
	if (!parser->unnamed.set[config_option_index(anonymous)].file)
		values.access.allow_anonymous = true;
	for (size_t i = 0; i < overrides->port_count; i++)
		add_loopback(config, &values, overrides->ports[i]);
	if (overrides->port_count == 0)
		add_loopback(config, &values, DEFAULT_PORT);
}

static void add_default_listener(struct config_parser *parser)
{
	struct config_listener *listener = add_listener(parser->config, &parser->unnamed.values);
	const char *names[] = {"port", "bind_address"};

	if (listener->port == 0)
		listener->port = DEFAULT_PORT;
	for (size_t i = 0; i < 2; i++) {
		const struct config_place *place =
			&parser->set[config_option_index(config_option_find(names[i]))];

		if (!place->file || listener->file)
			continue;
		listener->file = place->file;
		listener->line = place->line;
	}
}

static void add_listeners(struct config_parser *parser, const struct config_overrides *overrides)
{
	struct config *config = parser->config;
	size_t room = parser->draft_count + 1 + 2 * (overrides->port_count + 1);
	bool has_default = has_default_listener(parser);

	config->listeners = config_parser_alloc(parser, room * sizeof(*config->listeners));
	if (!config->listeners)
		return;
	if (has_default)
		add_default_listener(parser);
	else if (parser->draft_count == 0)
		add_local_only(parser, overrides);
	else
		refuse_orphans(parser);
	for (size_t i = 0; i < parser->draft_count; i++)
		add_listener(config, &parser->drafts[i]->values);
	if (!config->is_local_only && overrides->port_count > 0)
		config_parser_note_at(parser, &(struct config_place){NULL, 0, 0},
				      "-p is ignored, because %s defines listeners", config->path);
}

/* Settings that are allowed but are hardly what was meant. */
static void note_oddities(struct config_parser *parser)
{
	struct config *config = parser->config;

	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];
		struct config_place place = {listener->file, listener->line, 0};

		config_check_tls(parser, listener);
		if (!listener->access.allow_anonymous && !listener->access.password_file &&
		    !listener->tls.use_identity_as_username &&
		    !listener->tls.use_subject_as_username)
			config_parser_note_at(parser, &place,
					      "nobody can connect to this listener: give it a "
					      "password_file, or set 'allow_anonymous true'");
		if (listener->use_username_as_clientid && config->clientid_prefixes)
			config_parser_note_at(parser, &place,
					      "use_username_as_clientid makes clientid_prefixes a "
					      "rule for user names");
	}
}

/* The processors that this process may use, which may be fewer than the machine has. */
static uint32_t count_processors(void)
{
	cpu_set_t set;
	int count = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		count = CPU_COUNT(&set);
	return count < 1 ? 1 : count > 256 ? 256 : (uint32_t)count;
}

static void publish_notes(struct config_parser *parser)
{
	struct config *config = parser->config;
	const char **notes = config_parser_alloc(parser, sizeof(parser->notes));

	if (!notes)
		return;
	memcpy(notes, parser->notes, parser->note_count * sizeof(*notes));
	config->notes = notes;
	config->note_count = parser->note_count;
}

void config_resolve(struct config_parser *parser, const struct config_overrides *overrides)
{
	struct config *config = parser->config;

	config->daemonize = overrides->daemonize;
	if (overrides->verbose)
		config->log_types = LOG_TYPES_ALL;
	if (config->worker_threads == 0)
		config->worker_threads = count_processors();
	share_access(parser);
	add_listeners(parser, overrides);
	refuse_duplicates(parser);
	note_oddities(parser);
	publish_notes(parser);
}
