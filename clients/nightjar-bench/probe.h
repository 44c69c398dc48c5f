/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - CPU time and memory of a process, and time.
 *
 * CPU time is the sum over the threads of the first field of /proc/PID/task/TID/schedstat: time on
 * a processor in nanoseconds, in the kernel and outside of it. What else runs on the machine does
 * not count, unlike with wall clock time. Its second field is how long a thread that could have run
 * had no processor: how much others have disturbed a measurement of latencies.
 */
#ifndef NIGHTJAR_BENCH_PROBE_H
#define NIGHTJAR_BENCH_PROBE_H

#include <stdint.h>
#include <sys/types.h>

struct probe_times {
	uint64_t cpu_ns, waited_ns;
};

/* Fails when the process has ended. 0 for pid 0: nobody is watched. */
struct probe_times probe_times_of(pid_t pid);

/* Of this process, threads that have ended included. */
uint64_t probe_own_cpu_ns(void);

/* Resident memory in bytes (VmRSS). */
uint64_t probe_memory_bytes(pid_t pid);

/* Monotonic. */
uint64_t probe_now_ns(void);

#endif
