/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"

static const char help[] =
	"usage: nightjar-ctl [OPTION]... COMMAND [ARGUMENT]\n"
	"\n"
	"Looks inside a running nightjar broker, and acts on it.\n"
	"\n"
	"  clients                 who is connected, and whose session waits for its client\n"
	"  client ID               one session: connection, subscriptions, queue, last disconnect\n"
	"  disconnect ID           end the client's connection; its session stays if it may\n"
	"  forget ID               end the client's session with its subscriptions and its queue\n"
	"  subscriptions [FILTER]  all subscriptions, or those that lie within FILTER\n"
	"  retained TOPIC          the message retained for TOPIC; with wildcards, all that match\n"
	"  stats                   counters, latency and memory\n"
	"  reload                  read the configuration again, as SIGHUP does, and say how it went\n"
	"  log-level [LEVEL...]    show or change what is logged: none, error, warning, notice,\n"
	"                          information, debug or all; +TYPE and -TYPE for single types\n"
	"\n"
	"  -s, --socket PATH   the broker's control_socket; the default is $NIGHTJAR_CONTROL_SOCKET,\n"
	"                      or " SOCKET_DEFAULT "\n"
	"  -j, --json          one JSON object a line\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n"
	"\n"
	"Only root and the broker's user may ask. The exit code is 0 when it is done, 1 when the broker\n"
	"said no, 2 for a wrong command line, 3 when no broker could be asked. See nightjar-ctl(1).\n";

struct command {
	const char *name;
	const char *key; /* of its argument in the request */
	int least, most; /* arguments */
};

static const struct command commands[] = {
	{"clients", NULL, 0, 0},
	{"client", "id", 1, 1},
	{"disconnect", "id", 1, 1},
	{"forget", "id", 1, 1},
	{"subscriptions", "filter", 0, 1},
	{"retained", "topic", 1, 1},
	{"stats", NULL, 0, 0},
	{"reload", NULL, 0, 0},
	{"log-level", "level", 0, 10},
};

static enum exit_code wrong(const char *what, const char *which)
{
	fprintf(stderr, "nightjar-ctl: %s%s. See nightjar-ctl --help.\n", what, which);
	return EXIT_USAGE;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* The words of log-level are one argument. */
static const char *join(char **words, int count)
{
	static char text[256];
	size_t len = 0;

	for (int i = 0; i < count; i++) {
		int more = snprintf(text + len, sizeof text - len, "%s%s", i ? " " : "", words[i]);

		if (more < 0 || (size_t)more >= sizeof text - len)
			return NULL;
		len += (size_t)more;
	}
	return text;
}

static enum exit_code parse_command(char **words, int count, struct options *out)
{
	const struct command *command;

	if (count == 0)
		return wrong("there is no command", "");
	command = find_command(words[0]);
	if (!command)
		return wrong("there is no command ", words[0]);
	if (count - 1 < command->least)
		return wrong("an argument is missing for ", words[0]);
	if (count - 1 > command->most)
		return wrong("there are too many arguments for ", words[0]);
	out->command = command->name;
	if (count == 1)
		return EXIT_DONE;
	out->argument_key = command->key;
	out->argument = count == 2 ? words[1] : join(words + 1, count - 1);
	return out->argument ? EXIT_DONE : wrong("the arguments are too long for ", words[0]);
}

enum exit_code options_parse(int argc, char **argv, struct options *out, bool *out_is_finished)
{
	static const struct option names[] = {
		{"socket", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	const char *from_environment = getenv("NIGHTJAR_CONTROL_SOCKET");
	int letter;

	*out = (struct options){.socket_path = from_environment && *from_environment
						       ? from_environment
						       : SOCKET_DEFAULT};
	*out_is_finished = true;
	/* "+": what follows the command is the command's, such as "log-level -debug". */
	while ((letter = getopt_long(argc, argv, "+s:jhV", names, NULL)) != -1) {
		switch (letter) {
		case 's': out->socket_path = optarg; break;
		case 'j': out->json = true; break;
		case 'h': fputs(help, stdout); return EXIT_DONE;
		case 'V': printf("nightjar-ctl version %s\n", NIGHTJAR_VERSION); return EXIT_DONE;
		default: fputs("See nightjar-ctl --help.\n", stderr); return EXIT_USAGE;
		}
	}
	/* --json is found behind the command as well, where people type it. */
	while (argc > optind + 1 && (strcmp(argv[argc - 1], "--json") == 0)) {
		out->json = true;
		argc--;
	}
	*out_is_finished = false;
	return parse_command(argv + optind, argc - optind, out);
}
