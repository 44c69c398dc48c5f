/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nightjar-bench - measures an MQTT broker, and checks what it measures.
 *
 *      options -> scenario -> engine (clients on epoll) -> report (table, JSON)
 *                    \-> flow: messages from publishers to subscribers
 *      relay: the other end, the least that a broker could do
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "fail.h"
#include "options.h"
#include "relay.h"
#include "report.h"
#include "scenario.h"

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void run_on_processor(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)processor, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fail("cannot run on processor %d: %s", processor, strerror(errno));
}

struct run {
	struct report *report;
	pthread_t thread; /* that measures; some scenarios have another beside it */
};

/* Who reads the JSON is told of a run that was given up, too. */
static void write_aborted(void *context, const char *error)
{
	struct run *run = context;

	report_aborted(run->report, error, pthread_equal(run->thread, pthread_self()));
	report_json(run->report);
}

int main(int argc, char **argv)
{
	struct options options;
	struct report report = {.options = &options};
	struct run run = {&report, pthread_self()};
	bool passed;

	raise_descriptor_limit();
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 && strcmp(argv[1], "relay") == 0)
		return relay_main(argc - 1, argv + 1);
	options_parse(&options, argc, argv);
	if (options.json)
		fail_also(write_aborted, &run);
	if (options.processor >= 0)
		run_on_processor(options.processor);
	/* Otherwise the kernel may end each wait for the next due message 50 us late. */
	prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0);
	options.scenario->run(&options, &report);
	fail_also(NULL, NULL);
	if (options.json)
		report_json(&report);
	if (!options.json || options.json_path)
		report_print(&report);
	passed = report_passed(&report);
	report_fini(&report);
	return passed ? EXIT_DONE : EXIT_FAILED;
}
