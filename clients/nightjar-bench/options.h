/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the command line, read once at the start and constant afterwards.
 */
#ifndef NIGHTJAR_BENCH_OPTIONS_H
#define NIGHTJAR_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "packet.h"

struct scenario;

struct options {
	const struct scenario *scenario;
	const char *url;	/* tcp://host:port, ws://host:port/path ... */
	const char *second_url; /* every second connection goes there; NULL: none does */
	const char *ca_file;	/* NULL: the system's certificates */
	bool insecure;		/* any certificate will do */
	enum mqtt_version version;
	const char *username;
	const char *password;
	const char *prefix; /* of topics and Client Identifiers */
	uint16_t keep_alive_s;
	pid_t broker_pid; /* 0: unknown */
	pid_t second_broker_pid;
	int processor; /* to run on; -1: any */

	/* What the scenario takes; 0 (qos: -1) until the scenario's default is put in. */
	uint32_t publishers;
	uint32_t subscribers;
	uint32_t count;	      /* connections, topics, sessions or subscriptions */
	uint32_t base_count;  /* idle: connections before the slope begins */
	uint32_t messages;    /* in all or for each session; 0: by time */
	uint32_t window;      /* messages of a publisher that nobody has confirmed */
	uint32_t concurrency; /* handshakes under way at once */
	uint32_t payload_bytes;
	uint32_t match_percent;
	uint32_t levels;  /* of a topic */
	uint32_t filters; /* of each session */
	int qos;
	bool persistent; /* the subscribers' sessions */
	bool exact;	 /* filters without wildcards only */
	double rate;	 /* messages a second over all publishers; 0: as fast as the window lets */
	double seconds;
	double warm_up_s;

	bool json;
	const char *json_path; /* NULL: standard output */
	bool quiet;	       /* no progress line */
};

/*
 * Reads the command line of a measurement, argv[0] being the program; ends the process on --help
 * and on mistakes. The scenario's defaults are in place afterwards.
 */
void options_parse(struct options *options, int argc, char **argv);

#endif
