/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nightjar-store - looks at the store of a Nightjar broker, copies it, fills it.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/version.h"
#include "tables.h"

enum exit_code { EXIT_DONE = 0, EXIT_USAGE = 2 };

#define DEFAULT_LOCATION "/var/lib/nightjar"

static const char usage_text[] = "usage: nightjar-store [-d LOCATION] COMMAND [ARGUMENT]\n";

static const char help_text[] =
	"Looks at the store of a Nightjar broker, copies it, fills it.\n"
	"\n"
	"  -d, --directory LOCATION  the broker's persistence_location (" DEFAULT_LOCATION ")\n"
	"      --no-lock             no broker uses it, where that cannot be seen\n"
	"\n"
	"  check                  read everything and say whether it is whole\n"
	"  dump                   show what is in it, for people\n"
	"  export [FILE]          write one line of JSON per record (standard output)\n"
	"  import [FILE]          fill an empty LOCATION with such lines (standard input)\n"
	"    --partly             leave out what names a session or message that is not there\n"
	"  backup DIR             copy it to DIR; the broker may be running\n"
	"  compact                give the disk back what the file does not need; broker stopped\n"
	"  import-mosquitto FILE  fill an empty LOCATION from a mosquitto.db\n"
	"\n"
	"  -h, --help             show this help\n"
	"      --version          show the version\n"
	"\n"
	"Exit code: 0 done, 1 failed or damaged, 2 wrong usage.\n";

static int usage(void)
{
	fputs(usage_text, stderr);
	return EXIT_USAGE;
}

static int run(const char *directory, const char *command, const char *argument, bool partly)
{
	struct slice name = slice_from_string(command);

	if (slice_equal_string(name, "import"))
		return import_store(directory, argument, partly);
	if (partly)
		return usage();
	if (slice_equal_string(name, "export"))
		return export_store(directory, argument);
	if (argument) {
		if (slice_equal_string(name, "backup"))
			return backup_store(directory, argument);
		if (slice_equal_string(name, "import-mosquitto"))
			return import_mosquitto(directory, argument);
	} else {
		if (slice_equal_string(name, "check"))
			return check_store(directory);
		if (slice_equal_string(name, "dump"))
			return dump_store(directory);
		if (slice_equal_string(name, "compact"))
			return compact_store(directory);
	}
	return usage();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"directory", required_argument, NULL, 'd'}, {"partly", no_argument, NULL, 'P'},
		{"no-lock", no_argument, NULL, 'L'},	     {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},	     {NULL, 0, NULL, 0},
	};
	const char *directory = DEFAULT_LOCATION;
	bool partly = false;
	int option;

	while ((option = getopt_long(argc, argv, "d:h", options, NULL)) != -1)
		switch (option) {
		case 'd': directory = optarg; break;
		case 'P': partly = true; break;
		case 'L': tables_trust_in_no_broker(); break;
		case 'h': printf("%s\n%s", usage_text, help_text); return EXIT_DONE;
		case 'V': puts("nightjar-store " NIGHTJAR_VERSION); return EXIT_DONE;
		default: return usage();
		}
	if (argc - optind < 1 || argc - optind > 2)
		return usage();
	return run(directory, argv[optind], argc - optind == 2 ? argv[optind + 1] : NULL, partly);
}
