/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "probe.h"

/* A thread may end between the listing and the reading; its time is then lost, as in the kernel's
 * own sums over living threads. */
static void add_thread(pid_t pid, const char *thread, struct probe_times *sum)
{
	uint64_t cpu_ns, waited_ns;
	char path[320];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int)pid, thread);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fscanf(file, "%" SCNu64 " %" SCNu64, &cpu_ns, &waited_ns) == 2) {
		sum->cpu_ns += cpu_ns;
		sum->waited_ns += waited_ns;
	}
	fclose(file);
}

struct probe_times probe_times_of(pid_t pid)
{
	struct probe_times sum = {0};
	struct dirent *entry;
	char path[64];
	DIR *threads;

	if (!pid)
		return sum;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	threads = opendir(path);
	if (!threads)
		fail("process %d, given with --broker-pid, is not there", (int)pid);
	while ((entry = readdir(threads)))
		if (isdigit((unsigned char)entry->d_name[0]))
			add_thread(pid, entry->d_name, &sum);
	closedir(threads);
	return sum;
}

uint64_t probe_memory_bytes(pid_t pid)
{
	uint64_t pages = 0;
	char path[64];
	FILE *file;

	if (!pid)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%*u %" SCNu64, &pages) != 1)
		fail("process %d, given with --broker-pid, is not there", (int)pid);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t read_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t probe_own_cpu_ns(void)
{
	return read_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t probe_now_ns(void)
{
	return read_clock_ns(CLOCK_MONOTONIC);
}
