/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "fail.h"
#include "flow.h"
#include "options.h"
#include "scenario.h"

static const char usage_text[] =
	"usage: nightjar-bench SCENARIO [OPTION...] [URL]\n"
	"       nightjar-bench relay [--websocket] PORT\n"
	"\nURL: tcp://HOST:PORT, tls://, ws://HOST:PORT/PATH, wss://, unix://PATH\n";

static const char options_text[] =
	"\nOptions (numbers may end in k or M):\n"
	"  -V, --mqtt VERSION      3.1.1 (default) or 5\n"
	"  -q, --qos N             0, 1 or 2\n"
	"  -P, --publishers N      how many publish\n"
	"  -S, --subscribers N     how many listen\n"
	"  -n, --count N           connections, topics, sessions or subscriptions\n"
	"      --base N            idle: connections before the slope begins\n"
	"  -m, --messages N        offline: messages for each session\n"
	"      --filters N         offline: subscriptions of each session, default 1\n"
	"  -b, --payload BYTES     16 to 1M, default 64\n"
	"  -w, --window N          messages of a publisher under way\n"
	"  -r, --rate N            messages a second over all publishers, at fixed times;\n"
	"                          latencies then count from when a message was due\n"
	"  -c, --concurrency N     handshakes under way at once\n"
	"      --match-percent N   match: of 100 messages, how many have a receiver (default 1)\n"
	"      --exact             match: filters without wildcards only\n"
	"      --levels N          one-to-one: of the topics, default 2\n"
	"      --persistent        one-to-one, wildcard, fan-out, fan-in: the subscribers' sessions\n"
	"                          outlive their connections\n"
	"  -s, --seconds S         how long to measure, default 5\n"
	"      --warm-up S         time before, default 1\n"
	"  -u, --username NAME, --password TEXT\n"
	"      --ca FILE           certificates to trust with tls:// and wss://\n"
	"      --insecure          trust any certificate\n"
	"      --keep-alive S      default 600\n"
	"      --prefix TEXT       of topics and Client Identifiers, default bench\n"
	"      --broker-pid PID    measure that process's CPU time and memory (same machine)\n"
	"      --second URL        one-to-one, wildcard: every second connection goes there\n"
	"      --cpu N             run on processor N only\n"
	"  -j, --json[=FILE]       JSON instead of the table, or besides it in FILE\n"
	"      --quiet             no progress line\n"
	"  -h, --help, --version\n"
	"\nThe broker's address is tcp://127.0.0.1:1883 unless given. Exit code: 0 every message came once\n"
	"and in order, 1 one did not or the broker failed, 2 wrong usage.\n";

enum long_only {
	OPTION_BASE = 256,
	OPTION_MATCH_PERCENT,
	OPTION_LEVELS,
	OPTION_FILTERS,
	OPTION_EXACT,
	OPTION_PERSISTENT,
	OPTION_WARM_UP,
	OPTION_PASSWORD,
	OPTION_CA,
	OPTION_INSECURE,
	OPTION_KEEP_ALIVE,
	OPTION_PREFIX,
	OPTION_BROKER_PID,
	OPTION_SECOND,
	OPTION_CPU,
	OPTION_QUIET,
	OPTION_VERSION,
};

static const struct option names[] = {
	{"mqtt", required_argument, NULL, 'V'},
	{"qos", required_argument, NULL, 'q'},
	{"publishers", required_argument, NULL, 'P'},
	{"subscribers", required_argument, NULL, 'S'},
	{"count", required_argument, NULL, 'n'},
	{"base", required_argument, NULL, OPTION_BASE},
	{"messages", required_argument, NULL, 'm'},
	{"payload", required_argument, NULL, 'b'},
	{"window", required_argument, NULL, 'w'},
	{"rate", required_argument, NULL, 'r'},
	{"concurrency", required_argument, NULL, 'c'},
	{"match-percent", required_argument, NULL, OPTION_MATCH_PERCENT},
	{"levels", required_argument, NULL, OPTION_LEVELS},
	{"filters", required_argument, NULL, OPTION_FILTERS},
	{"exact", no_argument, NULL, OPTION_EXACT},
	{"persistent", no_argument, NULL, OPTION_PERSISTENT},
	{"seconds", required_argument, NULL, 's'},
	{"warm-up", required_argument, NULL, OPTION_WARM_UP},
	{"username", required_argument, NULL, 'u'},
	{"password", required_argument, NULL, OPTION_PASSWORD},
	{"ca", required_argument, NULL, OPTION_CA},
	{"insecure", no_argument, NULL, OPTION_INSECURE},
	{"keep-alive", required_argument, NULL, OPTION_KEEP_ALIVE},
	{"prefix", required_argument, NULL, OPTION_PREFIX},
	{"broker-pid", required_argument, NULL, OPTION_BROKER_PID},
	{"second", required_argument, NULL, OPTION_SECOND},
	{"cpu", required_argument, NULL, OPTION_CPU},
	{"json", optional_argument, NULL, 'j'},
	{"quiet", no_argument, NULL, OPTION_QUIET},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

_Noreturn static void usage_error(const char *what, const char *found)
{
	fprintf(stderr, "nightjar-bench: %s%s%s%s\n%sTry: nightjar-bench --help\n", what,
		found ? " '" : "", found ? found : "", found ? "'" : "", usage_text);
	exit(EXIT_USAGE);
}

_Noreturn static void show_help(void)
{
	printf("%s\nMeasures an MQTT broker, and checks that every message arrives once and in "
	       "order.\n\nScenarios:\n",
	       usage_text);
	for (unsigned i = 0; i < scenario_count; i++)
		printf("  %-12s %s\n", scenarios[i].name, scenarios[i].help);
	printf("  %-12s serve as the least that a broker could do, to compare with\n%s", "relay",
	       options_text);
	exit(EXIT_DONE);
}

static double parse_number(const char *option, const char *text, double least, double most)
{
	char what[128], *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (end != text && (*end == 'k' || *end == 'K')) {
		value *= 1000;
		end++;
	} else if (end != text && *end == 'M') {
		value *= 1000000;
		end++;
	}
	if (end == text || *end || errno || !(value >= least && value <= most)) {
		snprintf(what, sizeof(what), "%s takes a number from %.10g to %.10g, not", option,
			 least, most);
		usage_error(what, text);
	}
	return value;
}

static uint32_t parse_count(const char *option, const char *text, uint32_t least, uint32_t most)
{
	double value = parse_number(option, text, least, most);

	if (value != (double)(uint32_t)value)
		usage_error("a whole number is needed, not", text);
	return (uint32_t)value;
}

/* 1M of payload means 1 MiB, and 4k means 4 KiB. */
static uint32_t parse_payload(const char *text)
{
	const char *letter = strpbrk(text, "kKM");
	uint32_t unit = letter && *letter == 'M' ? 1u << 20 : 1u << 10;
	unsigned long many = strtoul(text, NULL, 10);

	if (!letter)
		return parse_count("--payload", text, FLOW_PAYLOAD_MIN, FLOW_PAYLOAD_MAX);
	if (letter[1] || strspn(text, "0123456789") != (size_t)(letter - text) || many < 1 ||
	    many > FLOW_PAYLOAD_MAX / unit)
		usage_error("--payload takes a number from 16 to 1M, not", text);
	return (uint32_t)many * unit;
}

static enum mqtt_version parse_version(const char *text)
{
	if (strcmp(text, "3.1.1") == 0 || strcmp(text, "4") == 0 || strcmp(text, "311") == 0)
		return MQTT_3_1_1;
	if (strcmp(text, "5") == 0 || strcmp(text, "5.0") == 0)
		return MQTT_5;
	usage_error("--mqtt takes 3.1.1 or 5, not", text);
}

static void take_load_option(struct options *options, int letter)
{
	switch (letter) {
	case 'q': options->qos = (int)parse_count("--qos", optarg, 0, 2); break;
	case 'P': options->publishers = parse_count("--publishers", optarg, 1, 60000); break;
	case 'S': options->subscribers = parse_count("--subscribers", optarg, 1, 60000); break;
	case 'n': options->count = parse_count("--count", optarg, 1, 50000000); break;
	case OPTION_BASE: options->base_count = parse_count("--base", optarg, 1, 1000000); break;
	case 'm': options->messages = parse_count("--messages", optarg, 1, 1000000); break;
	case 'b': options->payload_bytes = parse_payload(optarg); break;
	case 'w': options->window = parse_count("--window", optarg, 1, FLOW_WINDOW_MAX); break;
	case 'r': options->rate = parse_number("--rate", optarg, 0.001, 1e9); break;
	case 'c': options->concurrency = parse_count("--concurrency", optarg, 1, 60000); break;
	case OPTION_MATCH_PERCENT:
		options->match_percent = parse_count("--match-percent", optarg, 1, 100);
		break;
	case OPTION_LEVELS: options->levels = parse_count("--levels", optarg, 2, 60); break;
	case OPTION_FILTERS: options->filters = parse_count("--filters", optarg, 1, 1000); break;
	case OPTION_EXACT: options->exact = true; break;
	case OPTION_PERSISTENT: options->persistent = true; break;
	case 's': options->seconds = parse_number("--seconds", optarg, 0.01, 86400); break;
	case OPTION_WARM_UP: options->warm_up_s = parse_number("--warm-up", optarg, 0, 3600); break;
	default: usage_error("an option is missing or unknown; see above", NULL);
	}
}

static void take_option(struct options *options, int letter)
{
	switch (letter) {
	case 'V': options->version = parse_version(optarg); break;
	case 'u': options->username = optarg; break;
	case OPTION_PASSWORD: options->password = optarg; break;
	case OPTION_KEEP_ALIVE:
		options->keep_alive_s = (uint16_t)parse_count("--keep-alive", optarg, 0, 65535);
		break;
	case OPTION_CA: options->ca_file = optarg; break;
	case OPTION_INSECURE: options->insecure = true; break;
	case OPTION_PREFIX: options->prefix = optarg; break;
	case OPTION_BROKER_PID:
		*(options->broker_pid ? &options->second_broker_pid : &options->broker_pid) =
			(pid_t)parse_count("--broker-pid", optarg, 1, 1u << 30);
		break;
	case OPTION_SECOND: options->second_url = optarg; break;
	case OPTION_CPU: options->processor = (int)parse_count("--cpu", optarg, 0, 4095); break;
	case 'j':
		options->json = true;
		options->json_path = optarg;
		break;
	case OPTION_QUIET: options->quiet = true; break;
	case 'h': show_help();
	case OPTION_VERSION: printf("nightjar-bench version %s\n", NIGHTJAR_VERSION); exit(0);
	default: take_load_option(options, letter); break;
	}
}

static void put_default(uint32_t *value, uint32_t normally, const char *option,
			const struct scenario *scenario)
{
	char what[128];

	if (*value == 0) {
		*value = normally;
	} else if (normally == 0) {
		snprintf(what, sizeof(what), "%s has no meaning for the scenario", option);
		usage_error(what, scenario->name);
	}
}

/* Before version 5 no broker says how many messages at QoS 2 it takes at once; mosquitto takes 20. */
static uint32_t default_window(const struct options *options, const struct options *defaults)
{
	bool is_unknown = options->qos == 2 && options->version == MQTT_3_1_1;

	return is_unknown && defaults->window > 20 ? 20 : defaults->window;
}

/* Of those that run for a time there are publishers to say how many; the others run until all is done. */
static void put_time_defaults(struct options *options, const struct scenario *scenario)
{
	if (scenario->defaults.publishers == 0) {
		if (options->rate > 0)
			usage_error("--rate has no meaning for the scenario", scenario->name);
		if (options->seconds > 0 || options->warm_up_s >= 0)
			usage_error("--seconds and --warm-up have no meaning for the scenario",
				    scenario->name);
	}
	if (options->seconds <= 0)
		options->seconds = 5;
	if (options->warm_up_s < 0)
		options->warm_up_s = 1;
}

static void put_defaults(struct options *options, const struct scenario *scenario)
{
	const struct options *defaults = &scenario->defaults;

	if (scenario->paired && options->publishers && options->subscribers &&
	    options->publishers != options->subscribers)
		usage_error("there are as many subscribers as publishers in", scenario->name);
	if (scenario->paired && options->publishers)
		options->subscribers = options->publishers;
	else if (scenario->paired)
		options->publishers = options->subscribers;
	put_default(&options->publishers, defaults->publishers, "--publishers", scenario);
	put_default(&options->subscribers, defaults->subscribers, "--subscribers", scenario);
	put_default(&options->count, defaults->count, "--count", scenario);
	put_default(&options->base_count, defaults->base_count, "--base", scenario);
	put_default(&options->messages, defaults->messages, "--messages", scenario);
	put_default(&options->window, default_window(options, defaults), "--window", scenario);
	put_default(&options->concurrency, defaults->concurrency, "--concurrency", scenario);
	put_default(&options->match_percent, defaults->match_percent, "--match-percent", scenario);
	put_default(&options->levels, defaults->levels, "--levels", scenario);
	put_default(&options->filters, defaults->filters, "--filters", scenario);
	if (options->exact && !defaults->match_percent)
		usage_error("--exact has no meaning for the scenario", scenario->name);
	put_default(&options->payload_bytes, scenario->silent ? 0 : 64, "--payload", scenario);
	if (options->qos >= 0 && scenario->silent)
		usage_error("--qos has no meaning for the scenario", scenario->name);
	put_time_defaults(options, scenario);
	if (options->rate <= 0)
		options->rate = defaults->rate;
	if (options->qos < 0)
		options->qos = defaults->qos;
}

/* Before the measurement, not after it. */
static void check_json_path(const char *path)
{
	FILE *file = path ? fopen(path, "ae") : NULL;

	if (path && !file)
		fail("cannot write %s: %s", path, strerror(errno));
	if (file)
		fclose(file);
}

static void check(const struct options *options)
{
	check_json_path(options->json_path);
	if (strlen(options->prefix) > 60 || strpbrk(options->prefix, "+#") || !*options->prefix)
		usage_error("--prefix takes 1 to 60 characters without + and #, not",
			    options->prefix);
	if (options->password && !options->username && options->version == MQTT_3_1_1)
		usage_error("MQTT 3.1.1 allows no --password without a --username", NULL);
	if (options->persistent && !options->scenario->can_persist)
		usage_error("--persistent has no meaning for the scenario",
			    options->scenario->name);
	if (options->second_url && !options->scenario->paired)
		usage_error("--second has no meaning for the scenario", options->scenario->name);
	if (options->base_count && options->base_count >= options->count)
		usage_error("--base must be less than --count", NULL);
	if (options->scenario == scenario_find("offline") && options->qos == 0)
		usage_error("offline needs --qos 1 or 2: no broker has to keep QoS 0", NULL);
	if ((uint64_t)options->count * options->messages > UINT32_MAX)
		usage_error("--count times --messages is more than can be counted", NULL);
}

void options_parse(struct options *options, int argc, char **argv)
{
	int letter;

	*options = (struct options){
		.url = "127.0.0.1:1883",
		.version = MQTT_3_1_1,
		.prefix = "bench",
		.keep_alive_s = 600,
		.processor = -1,
		.qos = -1,
		.warm_up_s = -1,
	};
	while ((letter = getopt_long(argc, argv, "V:q:P:S:n:m:b:w:r:c:s:u:j::h", names, NULL)) !=
	       -1)
		take_option(options, letter);
	if (optind == argc)
		usage_error("the scenario is missing", NULL);
	options->scenario = scenario_find(argv[optind]);
	if (!options->scenario)
		usage_error("there is no scenario", argv[optind]);
	if (optind + 1 < argc)
		options->url = argv[optind + 1];
	if (optind + 2 < argc)
		usage_error("there are too many arguments, from", argv[optind + 2]);
	put_defaults(options, options->scenario);
	check(options);
}
