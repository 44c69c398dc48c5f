/* SPDX-License-Identifier: Apache-2.0 */
#include "server/service_manager.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define STATUS_BYTES 256
#define PATIENCE_S 5

static int manager = -1; /* a connected datagram socket; -1: nobody wants to know */

static void complain(const char *path, const char *what)
{
	log_event(LOG_TYPE_WARNING, NULL,
		  "The service manager cannot be told how the broker does (NOTIFY_SOCKET is '%s'): "
		  "%s. With Type=notify it will take the start for failed.",
		  path, what);
}

/* A path, or a name in the abstract space, written with an '@' for its zero byte. */
static socklen_t address_of(const char *name, struct sockaddr_un *address)
{
	size_t length = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof address->sun_path)
		return 0;
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path, name, length);
	if (name[0] == '@')
		address->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static int connect_to(const struct sockaddr_un *address, socklen_t length)
{
	static const struct timeval patience = {.tv_sec = PATIENCE_S};

	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (manager < 0)
		return -1;
	setsockopt(manager, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	return connect(manager, (const struct sockaddr *)address, length);
}

void service_manager_open(void)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address;
	socklen_t length;

	if (!name || !*name)
		return;
	length = address_of(name, &address);
	if (length == 0) {
		complain(name, "neither an absolute path nor a name with '@', or too long");
	} else if (connect_to(&address, length) != 0) {
		complain(name, strerror(errno));
		service_manager_close();
	}
	unsetenv("NOTIFY_SOCKET");
}

/* Few datagrams fit into the manager's queue, and a lost READY=1 would leave it waiting for the end of
 * a reload: so this waits, within PATIENCE_S. The main thread serves no client. */
static void tell(const char *text)
{
	if (manager < 0)
		return;
	if (send(manager, text, strlen(text), MSG_NOSIGNAL) < 0)
		log_event(LOG_TYPE_WARNING, NULL, "The service manager was not told '%.*s': %s",
			  (int)strcspn(text, "\n"), text, strerror(errno));
}

void service_manager_ready(void)
{
	tell("READY=1\nSTATUS=Serving clients");
}

/* The time tells the manager which READY=1 ends this reload. */
void service_manager_reloading(void)
{
	char text[STATUS_BYTES];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading",
		 (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
	tell(text);
}

void service_manager_stopping(void)
{
	tell("STOPPING=1\nSTATUS=Stopping");
}

void service_manager_close(void)
{
	if (manager >= 0)
		close(manager);
	manager = -1;
}
