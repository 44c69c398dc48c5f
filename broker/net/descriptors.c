/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptors.c - what happens when there are none left.
 *
 * A listening socket stays readable while somebody waits in its queue; without a free descriptor
 * accept() fails, and level-triggered polling would spin. So one descriptor is kept in reserve: it
 * is given up, the connection accepted and closed, and the reserve taken again. Without a reserve the
 * caller leaves the queue alone for a while.
 */
#include "net/descriptors.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/listener.h"

static struct {
	pthread_mutex_t lock; /* accept errors of several workers at once; nothing waits long */
	int spare;
	uint64_t logged_ms, refused_since;
	bool is_lost;	     /* somebody else got the descriptor of the spare one */
	bool is_in_question; /* any thread, atomic: the spare one is given up just now, or lost */
} reserve = {PTHREAD_MUTEX_INITIALIZER, -1, 0, 0, false, false};

/* A descriptor 0, 1 or 2 that is free would be given to a client, and printf would talk to it. */
static void occupy_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd >= 0)
		close(fd);
}

uint64_t descriptors_prepare(void)
{
	struct rlimit limit;

	occupy_standard_descriptors();
	if (reserve.spare < 0)
		reserve.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	if (limit.rlim_cur != limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
		(void)getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur;
}

static void log_once_a_second(const char *listener)
{
	uint64_t now = clock_now_ms();

	reserve.refused_since++;
	if (reserve.logged_ms && now - reserve.logged_ms < 1000)
		return;
	log_event(LOG_TYPE_ERROR, NULL,
		  "No file descriptors left: %llu connection(s) to %s refused. Raise the limit "
		  "(ulimit -n, or LimitNOFILE= in the service).",
		  (unsigned long long)reserve.refused_since, listener);
	reserve.logged_ms = now;
	reserve.refused_since = 0;
}

static void reserve_take(void)
{
	reserve.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	reserve.is_lost = reserve.spare < 0;
	__atomic_store_n(&reserve.is_in_question, reserve.is_lost, __ATOMIC_RELEASE);
}

bool descriptors_refuse_one(int listening_fd, const char *listener)
{
	bool is_refused = false;
	int fd;

	pthread_mutex_lock(&reserve.lock);
	if (reserve.spare >= 0) {
		/* Before it is closed: whoever gets it must find this set, and then waits for us. */
		__atomic_store_n(&reserve.is_in_question, true, __ATOMIC_SEQ_CST);
		close(reserve.spare);
		fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			is_refused = true;
			close(fd);
		}
	}
	/* At once: whoever else opens something meanwhile, another worker's accept() for one, has it. */
	reserve_take();
	if (is_refused)
		log_once_a_second(listener);
	pthread_mutex_unlock(&reserve.lock);
	return is_refused;
}

bool descriptors_give_back(int fd, const char *listener)
{
	bool is_given = false;

	if (!__atomic_load_n(&reserve.is_in_question, __ATOMIC_ACQUIRE))
		return false;
	pthread_mutex_lock(&reserve.lock);
	if (reserve.is_lost) {
		is_given = true;
		close(fd);
		reserve_take();
		log_once_a_second(listener);
	}
	pthread_mutex_unlock(&reserve.lock);
	return is_given;
}
