/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planted_race.h - does ThreadSanitizer see what it is there to see? A test program runs itself as
 * "PROGRAM planted-race", where two threads count in a variable called raced.
 */
#ifndef NIGHTJAR_TESTS_UNIT_PLANTED_RACE_H
#define NIGHTJAR_TESTS_UNIT_PLANTED_RACE_H

#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static inline void planted_race_read(int fd, char *out, size_t cap)
{
	size_t len = 0;
	ssize_t got;

	while (len < cap - 1 && (got = read(fd, out + len, cap - 1 - len)) > 0)
		len += (size_t)got;
	out[len] = '\0';
}

static inline void expect_planted_race(const char *program)
{
	extern char **environ;
	char *argv[] = {(char *)(uintptr_t)program, (char *)"planted-race", NULL};
	static char output[65536];
	posix_spawn_file_actions_t actions;
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	planted_race_read(ends[0], output, sizeof output);
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	assert_non_null(strstr(output, "ThreadSanitizer: data race"));
	assert_non_null(strstr(output, "raced"));
}

#endif
