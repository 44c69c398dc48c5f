/* SPDX-License-Identifier: Apache-2.0 */
#include "server/command_line.h"

#include <string.h>

#include "server/config_parse.h"

struct argument {
	const char *short_name, *long_name;
	const char *value; /* what must follow, NULL: nothing */
	enum err (*apply)(struct command_line *line, const char *value, struct err_detail *detail);
};

static enum err apply_config(struct command_line *line, const char *value,
			     struct err_detail *detail)
{
	if (line->config_path)
		return err_set(
			detail, ERR_INVALID,
			"-c is given twice ('%s' and '%s'): there is one configuration file; "
			"it can load others with include_dir",
			config_quote(line->config_path).text, config_quote(value).text);
	line->config_path = value;
	return ERR_NONE;
}

static enum err apply_port(struct command_line *line, const char *value, struct err_detail *detail)
{
	struct config_overrides *overrides = &line->overrides;
	int64_t port;

	if (!config_number_parse(value, &port) || port < 1 || port > UINT16_MAX)
		return err_set(detail, ERR_INVALID, "-p takes a port from 1 to 65535, not '%s'",
			       config_quote(value).text);
	if (overrides->port_count == CONFIG_COMMAND_LINE_PORTS)
		return err_set(detail, ERR_INVALID, "-p can be given %d times at most",
			       CONFIG_COMMAND_LINE_PORTS);
	overrides->ports[overrides->port_count++] = (uint16_t)port;
	return ERR_NONE;
}

static enum err apply_daemon(struct command_line *line, const char *value,
			     struct err_detail *detail)
{
	(void)value;
	(void)detail;
	line->overrides.daemonize = true;
	return ERR_NONE;
}

static enum err apply_verbose(struct command_line *line, const char *value,
			      struct err_detail *detail)
{
	(void)value;
	(void)detail;
	line->overrides.verbose = true;
	return ERR_NONE;
}

static enum err apply_test(struct command_line *line, const char *value, struct err_detail *detail)
{
	(void)value;
	(void)detail;
	if (line->action == COMMAND_LINE_RUN)
		line->action = COMMAND_LINE_TEST_CONFIG;
	return ERR_NONE;
}

static enum err apply_healthcheck(struct command_line *line, const char *value,
				  struct err_detail *detail)
{
	(void)value;
	(void)detail;
	if (line->action == COMMAND_LINE_RUN)
		line->action = COMMAND_LINE_HEALTHCHECK;
	return ERR_NONE;
}

static enum err apply_help(struct command_line *line, const char *value, struct err_detail *detail)
{
	(void)value;
	(void)detail;
	line->action = COMMAND_LINE_HELP;
	return ERR_NONE;
}

static enum err apply_version(struct command_line *line, const char *value,
			      struct err_detail *detail)
{
	(void)value;
	(void)detail;
	if (line->action != COMMAND_LINE_HELP)
		line->action = COMMAND_LINE_VERSION;
	return ERR_NONE;
}

static const struct argument arguments[] = {
	{"-c", "--config-file", "a file name", apply_config},
	{"-d", "--daemon", NULL, apply_daemon},
	{"-h", "--help", NULL, apply_help},
	{"-p", "--port", "a port number", apply_port},
	{"-v", "--verbose", NULL, apply_verbose},
	{NULL, "--healthcheck", NULL, apply_healthcheck},
	{NULL, "--test-config", NULL, apply_test},
	{NULL, "--version", NULL, apply_version},
};

static const struct argument *find_argument(const char *name)
{
	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
		if ((arguments[i].short_name && strcmp(name, arguments[i].short_name) == 0) ||
		    strcmp(name, arguments[i].long_name) == 0)
			return &arguments[i];
	return NULL;
}

enum err command_line_parse(int argc, char *const argv[], struct command_line *out,
			    struct err_detail *detail)
{
	*out = (struct command_line){.action = COMMAND_LINE_RUN};
	for (int i = 1; i < argc; i++) {
		const struct argument *argument = find_argument(argv[i]);
		const char *value = NULL;
		enum err err;

		if (!argument)
			return err_set(detail, ERR_INVALID,
				       "unknown option '%s': try --help, which lists them",
				       config_quote(argv[i]).text);
		if (argument->value) {
			if (i + 1 >= argc)
				return err_set(detail, ERR_INVALID, "%s needs %s behind it",
					       argv[i], argument->value);
			value = argv[++i];
		}
		err = argument->apply(out, value, detail);
		if (err != ERR_NONE)
			return err;
	}
	return ERR_NONE;
}

const char *command_line_help(void)
{
	return "Usage: nightjar [-c FILE] [-p PORT] [-d] [-v]\n"
	       "\n"
	       "Nightjar is an MQTT broker for versions 5, 3.1.1 and 3.1.\n"
	       "\n"
	       "  -c, --config-file FILE  take the settings from FILE, see nightjar.conf(5)\n"
	       "  -p, --port PORT         listen on PORT of 127.0.0.1 and ::1; may be given 10 times;\n"
	       "                          ignored when FILE defines listeners\n"
	       "  -d, --daemon            go into the background once the broker serves\n"
	       "  -v, --verbose           log every type of event, whatever FILE says\n"
	       "      --test-config       check FILE and the files it names, then exit\n"
	       "      --healthcheck       ask the broker that runs with FILE (and PORT) whether it\n"
	       "                          serves; exit 0 if so, else 1\n"
	       "      --version           print the version, then exit\n"
	       "  -h, --help              print this, then exit\n"
	       "\n"
	       "Without FILE the broker listens on 127.0.0.1 and ::1 only, port 1883, and lets\n"
	       "clients in without a password.\n";
}
