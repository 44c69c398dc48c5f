/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nightjar-ctl - looks inside a running broker through its control socket, and acts on it.
 */
#include <signal.h>
#include <stdio.h>

#include "ask.h"
#include "show.h"

int main(int argc, char **argv)
{
	struct options options;
	bool is_finished;
	enum exit_code code = options_parse(argc, argv, &options, &is_finished);

	if (code != EXIT_DONE || is_finished)
		return (int)code;
	signal(SIGPIPE, SIG_IGN); /* a broker that goes is told as what it is */
	code = ask(&options, show_record);
	if (code == EXIT_DONE)
		show_end(&options);
	if (fflush(stdout) != 0 && code == EXIT_DONE)
		perror("nightjar-ctl: cannot write what was found");
	return (int)code;
}
