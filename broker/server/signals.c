/* SPDX-License-Identifier: Apache-2.0 */
#include "server/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/bug.h"

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct signals *signals = poll->data;
	struct signalfd_siginfo info;

	(void)status;
	(void)events;
	while (read(signals->fd, &info, sizeof info) == (ssize_t)sizeof info)
		signals->on_signal(signals->context, (int)info.ssi_signo);
}

void signals_open(struct signals *signals, uv_loop_t *loop,
		  void (*on_signal)(void *context, int signum), void *context)
{
	static const int watched[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
		sigaddset(&set, watched[i]);
	BUG_ON(pthread_sigmask(SIG_BLOCK, &set, NULL) != 0);
	signals->on_signal = on_signal;
	signals->context = context;
	signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	BUG_ON(signals->fd < 0);
	BUG_ON(uv_poll_init(loop, &signals->poll, signals->fd) != 0);
	signals->poll.data = signals;
	BUG_ON(uv_poll_start(&signals->poll, UV_READABLE, on_readable) != 0);
}

static void on_closed(uv_handle_t *handle)
{
	struct signals *signals = handle->data;

	close(signals->fd);
	signals->fd = -1;
}

void signals_close(struct signals *signals)
{
	uv_close((uv_handle_t *)&signals->poll, on_closed);
}
