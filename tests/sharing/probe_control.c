/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe_control.c - a thread that answers on a Unix socket, whose path is in NIGHTJAR_SHARING.
 *
 *	count     the broker's counters, since "begin" or the start
 *	begin     nothing has been seen; from now on everything is
 *	end       what was seen since
 *
 * Each answer is lines of words, and a last one that is only ".".
 *
 *	counter NAME VALUE
 *	line_bytes N                    thread NUMBER WORKER (-1: no worker)
 *	lost N                          accesses for which there was no room
 *	total THREAD KIND COUNT TRANSFERS
 *	rmw THREAD PLACE COUNT          atomic operations that write, on whatever line
 *	event THREAD EVENT PLACE COUNT
 *	line ADDRESS READERS WRITERS    of those written by one thread and touched by another
 *	site ADDRESS THREAD KIND PLACE COUNT TRANSFERS
 *	block ADDRESS BYTES MADE IS_FREED PLACE PLACE PLACE PLACE
 *
 * A place in the program is +HEX, from where it is loaded, as addr2line wants it; in a library it is
 * the library's name and a function's. So is the address of a line in the program's data.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/counters.h"
#include "sharing/probe.h"

extern const char __executable_start[], _end[];

static const char *const kind_name[] = {"read", "write", "rmw"};
static const char *const event_name[PROBE_EVENTS] = {
	[PROBE_LOCK] = "lock",
	[PROBE_WAKE] = "wake",
	[PROBE_MALLOC] = "malloc",
	[PROBE_FREE] = "free",
	[PROBE_FOREIGN_FREE] = "foreign-free",
};

static uint64_t counted_before[COUNTER_COUNT];

static bool is_in_program(uintptr_t at)
{
	return at >= (uintptr_t)__executable_start && at < (uintptr_t)_end;
}

static void print_place(FILE *out, const void *pc)
{
	Dl_info info;
	const char *name;

	if (!pc) {
		fputs(" -", out);
	} else if (is_in_program((uintptr_t)pc)) {
		fprintf(out, " +%" PRIxPTR, (uintptr_t)pc - (uintptr_t)__executable_start);
	} else if (dladdr(pc, &info) && info.dli_fname) {
		name = strrchr(info.dli_fname, '/');
		fprintf(out, " %s!%s", name ? name + 1 : info.dli_fname,
			info.dli_sname ? info.dli_sname : "?");
	} else {
		fputs(" ?", out);
	}
}

static void print_line_address(FILE *out, uintptr_t line)
{
	uintptr_t at = line * probe_line_bytes();

	if (is_in_program(at))
		fprintf(out, " +%" PRIxPTR, at - (uintptr_t)__executable_start);
	else
		fprintf(out, " %" PRIxPTR, at);
}

static void print_counters(FILE *out)
{
	uint64_t sum[COUNTER_COUNT];

	counters_sum(sum);
	for (size_t i = 0; i < COUNTER_COUNT; i++)
		if (sum[i] != counted_before[i])
			fprintf(out, "counter %s %" PRIu64 "\n", counter_info[i].name,
				sum[i] - counted_before[i]);
}

/* Written by one, touched by another. */
static bool line_is_shared(uintptr_t line, uint64_t *out_readers, uint64_t *out_writers)
{
	uint64_t users;

	if (!probe_line_users(line, out_readers, out_writers) || *out_writers == 0)
		return false;
	users = *out_readers | *out_writers;
	return (users & (users - 1)) != 0;
}

/* Sites come thread by thread, so that totals are printed when the next one begins. */
struct report {
	FILE *out;
	uint64_t count[PROBE_KINDS], transfers[PROBE_KINDS];
	unsigned thread;
};

static void print_totals(struct report *report)
{
	for (unsigned kind = 0; kind < PROBE_KINDS; kind++) {
		if (report->count[kind])
			fprintf(report->out, "total %u %s %" PRIu64 " %" PRIu64 "\n",
				report->thread, kind_name[kind], report->count[kind],
				report->transfers[kind]);
		report->count[kind] = report->transfers[kind] = 0;
	}
}

static void print_site(const struct probe_site *site, void *context)
{
	struct report *report = context;
	FILE *out = report->out;
	uint64_t readers, writers;

	if (site->thread != report->thread)
		print_totals(report);
	report->thread = site->thread;
	if (site->line < PROBE_EVENTS) {
		fprintf(out, "event %u %s", site->thread, event_name[site->line]);
		print_place(out, site->pc);
		fprintf(out, " %" PRIu64 "\n", site->count);
		return;
	}
	report->count[site->kind] += site->count;
	report->transfers[site->kind] += site->transfers;
	if (site->kind == PROBE_RMW) {
		fprintf(out, "rmw %u", site->thread);
		print_place(out, site->pc);
		fprintf(out, " %" PRIu64 "\n", site->count);
	}
	if (!line_is_shared(site->line, &readers, &writers))
		return;
	fprintf(out, "line");
	print_line_address(out, site->line);
	fprintf(out, " %" PRIx64 " %" PRIx64 "\nsite", readers, writers);
	print_line_address(out, site->line);
	fprintf(out, " %u %s", site->thread, kind_name[site->kind]);
	print_place(out, site->pc);
	fprintf(out, " %" PRIu64 " %" PRIu64 "\n", site->count, site->transfers);
}

static bool block_is_shared(const struct probe_place *block)
{
	uintptr_t first = block->at / probe_line_bytes();
	uintptr_t last = (block->at + (block->bytes ? block->bytes - 1 : 0)) / probe_line_bytes();
	uint64_t readers, writers;

	for (uintptr_t line = first; line <= last; line++)
		if (line_is_shared(line, &readers, &writers))
			return true;
	return false;
}

static void print_block(const struct probe_place *block, void *context)
{
	FILE *out = context;

	if (!block_is_shared(block))
		return;
	fprintf(out, "block %" PRIxPTR " %zu %" PRIu64 " %d", block->at, block->bytes, block->made,
		block->is_freed);
	for (unsigned n = 0; n < PROBE_STACK; n++)
		print_place(out, block->stack[n]);
	fputc('\n', out);
}

static void print_report(FILE *out)
{
	struct report report = {.out = out};

	print_counters(out);
	fprintf(out, "line_bytes %u\nlost %" PRIu64 "\n", probe_line_bytes(), probe_lost());
	for (unsigned i = 0; i < probe_thread_count(); i++)
		fprintf(out, "thread %u %d\n", i, probe_thread_worker(i));
	probe_each_site(print_site, &report);
	print_totals(&report);
	probe_each_place(print_block, out);
}

static void answer(FILE *out, const char *word)
{
	if (strcmp(word, "count\n") == 0) {
		print_counters(out);
	} else if (strcmp(word, "begin\n") == 0) {
		counters_sum(counted_before);
		probe_begin();
	} else if (strcmp(word, "end\n") == 0) {
		probe_end();
		print_report(out);
	}
	fputs(".\n", out);
	fflush(out);
}

static void serve(int fd)
{
	FILE *in = fdopen(fd, "r");
	FILE *out = fdopen(dup(fd), "w");
	char word[32];

	while (in && out && fgets(word, sizeof word, in))
		answer(out, word);
	if (in)
		fclose(in);
	if (out)
		fclose(out);
}

static void *control_main(void *argument)
{
	int listener = (int)(intptr_t)argument;
	int fd;

	probe_ignore_me();
	while ((fd = accept(listener, NULL, NULL)) >= 0)
		serve(fd);
	return NULL;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof address.sun_path)
		return -1;
	strcpy(address.sun_path, path);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
		return -1;
	return fd;
}

__attribute__((constructor)) static void control_start(void)
{
	const char *path = getenv("NIGHTJAR_SHARING");
	sigset_t all, before;
	pthread_t thread;
	int listener;

	if (!path)
		return;
	listener = listen_at(path);
	if (listener < 0) {
		perror(path);
		abort();
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, control_main, (void *)(intptr_t)listener) != 0)
		abort();
	pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
