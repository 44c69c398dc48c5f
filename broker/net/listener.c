/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/log.h"
#include "net/descriptors.h"
#include "net/first_bytes.h"
#include "net/unix_path.h"

#define LISTENER_BACKLOG 4096
#define LISTENER_ADDRESSES_MAX 16
/* Connections accepted per readiness; the rest in the next turn, since polling is level-triggered. */
#define ACCEPTS_PER_TURN 128
/* Without a descriptor, not even the spare one: polling would spin until somebody leaves. */
#define ACCEPT_AGAIN_MS 100

/* One address, for all workers. */
struct listener_address {
	struct sockaddr_storage sockaddr;
	socklen_t len;
	int *fds;  /* one per worker, -1: none */
	int claim; /* says that the address is this broker's; -1: none */
};

/* What one worker polls. Owner: that worker. */
struct listener_poll {
	uv_poll_t handle;
	struct listener *listener;
	struct worker *worker;
	struct timer again; /* armed: not polled */
	int fd;
	struct listener_poll *next;
};

struct listener {
	/* Frozen after listener_open(). */
	struct listener_settings settings;
	char name[160];
	char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	unsigned workers;
	unsigned address_count;
	struct listener_address addresses[LISTENER_ADDRESSES_MAX];
	struct listener_poll **polls; /* per worker; each touches its own only */
	unsigned next_worker;	      /* Unix: the accepting worker's only */

	/* Any thread. */
	int64_t connections __attribute__((aligned(64)));
};

/* A connection accepted on a Unix socket, on its way to the worker whose turn it is. */
struct accepted_letter {
	struct letter letter;
	struct listener *listener;
	struct address address;
	int fd;
};

static void accepted_on_arrive(struct worker *me, struct letter *letter)
{
	struct accepted_letter *accepted = (struct accepted_letter *)letter;

	first_bytes_accept(me, accepted->listener, accepted->fd, &accepted->address);
	letter_return(me, letter);
}

static const struct letter_type accepted_letter_type = {
	.name = "accepted",
	.on_arrive = accepted_on_arrive,
	.on_return = letter_destroy,
	.takes_credit = true,
};

/* The worker whose turn it is; those whose mailbox is full are passed over, this one never is. */
static uint16_t deal(struct listener *listener, struct worker *me)
{
	for (unsigned tries = 0; tries < listener->workers; tries++) {
		uint16_t id = (uint16_t)(listener->next_worker++ % listener->workers);

		if (id == me->id || letter_has_credit(me, id))
			return id;
	}
	return me->id;
}

static void hand_out(struct listener_poll *poll, int fd, const struct address *address)
{
	struct listener *listener = poll->listener;
	struct accepted_letter *accepted;
	uint16_t target = poll->worker->id;

	if (listener->settings.unix_path)
		target = deal(listener, poll->worker);
	if (target == poll->worker->id) {
		first_bytes_accept(poll->worker, listener, fd, address);
		return;
	}
	accepted = letter_create(poll->worker, &accepted_letter_type, sizeof *accepted);
	accepted->listener = listener;
	accepted->fd = fd;
	accepted->address = *address;
	letter_post(poll->worker, target, &accepted->letter);
}

static bool may_have_one_more(struct listener *listener)
{
	int64_t now = __atomic_add_fetch(&listener->connections, 1, __ATOMIC_RELAXED);

	return listener->settings.max_connections < 0 || now <= listener->settings.max_connections;
}

/* false: nothing left to accept. */
static bool accept_one(struct listener_poll *poll)
{
	struct listener *listener = poll->listener;
	struct sockaddr_storage from;
	struct address address;
	socklen_t len = sizeof from;
	int fd = accept4(poll->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		if (!descriptors_refuse_one(poll->fd, listener->name)) {
			uv_poll_stop(&poll->handle);
			timer_arm_in(&poll->worker->wheel, &poll->again, ACCEPT_AGAIN_MS);
			return false;
		}
		counter_add(poll->worker->counters, COUNTER_REFUSED_NO_DESCRIPTORS, 1);
		return true;
	}
	if (fd < 0)
		return errno == ECONNABORTED || errno == EINTR;
	counter_add(poll->worker->counters, COUNTER_CONNECTIONS_ACCEPTED, 1);
	if (descriptors_give_back(fd, listener->name)) {
		counter_add(poll->worker->counters, COUNTER_REFUSED_NO_DESCRIPTORS, 1);
		return true;
	}
	if (!may_have_one_more(listener)) {
		counter_add(poll->worker->counters, COUNTER_REFUSED_LIMIT, 1);
		listener_forget_connection(listener);
		close(fd);
		return true;
	}
	address_set(&address, &from);
	hand_out(poll, fd, &address);
	return true;
}

static void on_acceptable(uv_poll_t *handle, int status, int events)
{
	struct listener_poll *poll = handle->data;

	(void)events;
	worker_turn_begin(worker_current);
	if (status < 0)
		return;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		if (!accept_one(poll))
			return;
	}
}

static void on_again(struct timer *timer)
{
	struct listener_poll *poll = TIMER_OWNER(timer, struct listener_poll, again);

	uv_poll_start(&poll->handle, UV_READABLE, on_acceptable);
}

static int socket_fail(int fd, struct err_detail *detail, const struct listener *listener,
		       const char *what)
{
	const char *hint = "";

	if (errno == EADDRINUSE)
		hint = " Another program listens there; is the broker running already?";
	else if (errno == EACCES)
		hint = " Ports below 1024 need root or CAP_NET_BIND_SERVICE.";
	else if (errno == EADDRNOTAVAIL)
		hint = " This machine has no such address.";
	err_set(detail, ERR_IO, "Cannot %s %s: %s.%s", what, listener->name, strerror(errno), hint);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int socket_bind(const struct listener *listener, const struct listener_address *address,
		       bool reuse_port, struct err_detail *detail)
{
	int family = address->sockaddr.ss_family;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return socket_fail(fd, detail, listener, "open a socket for");
	if (family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
		return socket_fail(fd, detail, listener, "share the port of");
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	if (listener->settings.bind_interface &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, listener->settings.bind_interface,
		       (socklen_t)strlen(listener->settings.bind_interface)) != 0)
		return socket_fail(fd, detail, listener, "bind to the interface of");
	/* Accepted sockets inherit it, which saves a system call for each. */
	if (family != AF_UNIX && listener->settings.tcp_nodelay)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)&address->sockaddr, address->len) != 0)
		return socket_fail(fd, detail, listener, "listen on");
	return fd;
}

static int socket_listen(const struct listener *listener, const struct listener_address *address,
			 bool reuse_port, struct err_detail *detail)
{
	int fd = socket_bind(listener, address, reuse_port, detail);

	if (fd >= 0 && listen(fd, LISTENER_BACKLOG) != 0)
		return socket_fail(fd, detail, listener, "listen on");
	return fd;
}

/* Port 0 asks the kernel for a free one: all workers and addresses then use what came out. */
static void learn_port(struct listener *listener, struct listener_address *address, int fd)
{
	struct sockaddr_in *in = (void *)&address->sockaddr;

	/* sin_port and sin6_port stand at the same place. */
	if (address->sockaddr.ss_family == AF_UNIX)
		return;
	address->len = sizeof address->sockaddr;
	if (getsockname(fd, (struct sockaddr *)&address->sockaddr, &address->len) != 0)
		return;
	listener->settings.port = ntohs(in->sin_port);
}

static void use_port(struct listener *listener, struct listener_address *address)
{
	struct sockaddr_in *in = (void *)&address->sockaddr;

	if (address->sockaddr.ss_family != AF_UNIX)
		in->sin_port = htons(listener->settings.port);
}

/*
 * Two brokers that start at the same moment would both find the address free, and then share it. A
 * socket with an abstract name, one per address, network namespace and moment, lets one of them win.
 */
static int address_claim(const struct listener *listener, const struct listener_address *address,
			 struct err_detail *detail)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	char host[NI_MAXHOST] = "?";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int len;

	if (fd < 0)
		return socket_fail(fd, detail, listener, "open a socket for");
	getnameinfo((const struct sockaddr *)&address->sockaddr, address->len, host, sizeof host,
		    NULL, 0, NI_NUMERICHOST);
	len = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "nightjar-listens/%s/%u", host,
		       listener->settings.port);
	if (bind(fd, (const struct sockaddr *)&name,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) != 0)
		return socket_fail(fd, detail, listener, "listen on");
	return fd;
}

/*
 * bind() without SO_REUSEPORT fails where anybody listens, and that is all the probe is for: if it
 * listened itself, a client that comes just now would be reset when it closes.
 */
static enum err address_open_tcp(struct listener *listener, struct listener_address *address,
				 struct err_detail *detail)
{
	int probe;

	use_port(listener, address);
	probe = socket_bind(listener, address, false, detail);
	if (probe < 0)
		return ERR_IO;
	learn_port(listener, address, probe);
	address->claim = address_claim(listener, address, detail);
	close(probe);
	if (address->claim < 0)
		return ERR_IO;
	for (unsigned i = 0; i < listener->workers; i++) {
		address->fds[i] = socket_listen(listener, address, true, detail);
		if (address->fds[i] < 0)
			return ERR_IO;
	}
	return ERR_NONE;
}

static enum err address_open_unix(struct listener *listener, struct listener_address *address,
				  struct err_detail *detail)
{
	if (unix_path_clear((const void *)&address->sockaddr, "listener", detail) == ERR_NONE)
		address->fds[0] = socket_listen(listener, address, false, detail);
	if (address->fds[0] < 0) {
		listener->unix_path[0] = '\0'; /* not ours: must not be removed */
		return ERR_IO;
	}
	if (chmod(listener->unix_path, 0660) != 0)
		log_event(LOG_TYPE_WARNING, NULL, "Cannot set the permissions of %s: %s.",
			  listener->unix_path, strerror(errno));
	return ERR_NONE;
}

static struct listener_address *address_add(struct listener *listener)
{
	struct listener_address *address;

	if (listener->address_count == LISTENER_ADDRESSES_MAX)
		return NULL;
	address = &listener->addresses[listener->address_count];
	address->fds = malloc(listener->workers * sizeof *address->fds);
	if (!address->fds)
		return NULL;
	for (unsigned i = 0; i < listener->workers; i++)
		address->fds[i] = -1;
	address->claim = -1;
	listener->address_count++;
	return address;
}

static enum err resolve_unix(struct listener *listener, struct err_detail *detail)
{
	struct listener_address *address = address_add(listener);
	struct sockaddr_un *sun;
	size_t len = strlen(listener->settings.unix_path);

	if (!address)
		return err_set(detail, ERR_NOMEM, "No memory for the listener %s.", listener->name);
	sun = (void *)&address->sockaddr;
	if (len >= sizeof sun->sun_path)
		return err_set(
			detail, ERR_INVALID,
			"The path of the Unix socket %s is longer than the %zu bytes that the "
			"system allows.",
			listener->settings.unix_path, sizeof sun->sun_path - 1);
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, listener->settings.unix_path, len + 1);
	memcpy(listener->unix_path, listener->settings.unix_path, len + 1);
	address->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return ERR_NONE;
}

static enum err resolve_tcp(struct listener *listener, struct err_detail *detail)
{
	const struct listener_settings *settings = &listener->settings;
	struct addrinfo hints = {.ai_family = settings->family,
				 .ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE};
	struct addrinfo *found = NULL;
	char port[8];
	int failed;

	snprintf(port, sizeof port, "%u", settings->port);
	failed = getaddrinfo(settings->bind_address, port, &hints, &found);
	if (failed == EAI_ADDRFAMILY && settings->is_optional)
		return ERR_NONE;
	if (failed)
		return err_set(detail, ERR_INVALID,
			       "Cannot find the address of the listener %s: %s.", listener->name,
			       gai_strerror(failed));
	for (struct addrinfo *one = found; one; one = one->ai_next) {
		struct listener_address *address = address_add(listener);

		if (!address)
			break;
		memcpy(&address->sockaddr, one->ai_addr, one->ai_addrlen);
		address->len = one->ai_addrlen;
	}
	freeaddrinfo(found);
	return ERR_NONE;
}

static void address_close(struct listener *listener, struct listener_address *address)
{
	for (unsigned i = 0; i < listener->workers; i++) {
		if (address->fds[i] >= 0)
			close(address->fds[i]);
	}
	if (address->claim >= 0)
		close(address->claim);
	free(address->fds);
	address->fds = NULL;
}

/*
 * A host with IPv6 switched off is normal: of several addresses one has to open. One in use is an
 * error all the same, or a second broker would come up half.
 */
static enum err open_addresses(struct listener *listener, struct err_detail *detail)
{
	unsigned opened = 0;

	for (unsigned i = 0; i < listener->address_count; i++) {
		struct listener_address *address = &listener->addresses[i];
		enum err err;

		errno = 0;
		err = listener->settings.unix_path ? address_open_unix(listener, address, detail)
						   : address_open_tcp(listener, address, detail);
		if (err == ERR_NONE)
			opened++;
		else if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL)
			return err;
	}
	return opened || listener->settings.is_optional ? ERR_NONE : ERR_IO;
}

static void name_listener(struct listener *listener)
{
	const struct listener_settings *settings = &listener->settings;
	const char *address = settings->bind_address ? settings->bind_address : "*";
	bool is_v6 = strchr(address, ':') != NULL;

	if (settings->unix_path)
		snprintf(listener->name, sizeof listener->name, "unix:%s", settings->unix_path);
	else
		snprintf(listener->name, sizeof listener->name, "%s%s%s:%u%s%s", is_v6 ? "[" : "",
			 address, is_v6 ? "]" : "", settings->port,
			 settings->bind_interface ? " on " : "",
			 settings->bind_interface ? settings->bind_interface : "");
}

enum err listener_open(const struct listener_settings *settings, unsigned workers,
		       struct listener **out, struct err_detail *detail)
{
	struct listener *listener = aligned_alloc(64, (sizeof *listener + 63) / 64 * 64);
	enum err err;

	*out = NULL;
	if (!listener)
		return err_set(detail, ERR_NOMEM, "No memory for a listener.");
	memset(listener, 0, sizeof *listener);
	listener->settings = *settings;
	listener->workers = workers;
	name_listener(listener);
	listener->polls = calloc(workers, sizeof *listener->polls);
	if (!listener->polls) {
		free(listener);
		return err_set(detail, ERR_NOMEM, "No memory for a listener.");
	}
	err = settings->unix_path ? resolve_unix(listener, detail) : resolve_tcp(listener, detail);
	if (err == ERR_NONE)
		err = open_addresses(listener, detail);
	name_listener(listener);
	if (err != ERR_NONE)
		listener_close(&listener);
	*out = listener;
	return err;
}

static enum err poll_start(struct listener *listener, struct worker *me, int fd)
{
	struct listener_poll *poll = calloc(1, sizeof *poll);

	if (!poll)
		return ERR_NOMEM;
	poll->listener = listener;
	poll->worker = me;
	poll->fd = fd;
	timer_init(&poll->again, on_again);
	if (uv_poll_init(&me->loop, &poll->handle, fd) != 0) {
		free(poll);
		return ERR_IO;
	}
	poll->handle.data = poll;
	poll->next = listener->polls[me->id];
	listener->polls[me->id] = poll;
	uv_poll_start(&poll->handle, UV_READABLE, on_acceptable);
	return ERR_NONE;
}

enum err listener_start(struct listener *listener, struct worker *me)
{
	enum err err = ERR_NONE;

	for (unsigned i = 0; i < listener->address_count && err == ERR_NONE; i++) {
		int fd = listener->addresses[i].fds ? listener->addresses[i].fds[me->id] : -1;

		if (fd >= 0)
			err = poll_start(listener, me, fd);
	}
	return err;
}

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* Closing a socket resets whoever waits in its queue: those are taken and closed in order. */
static void empty_queue(struct listener_poll *poll)
{
	int fd;

	while ((fd = accept4(poll->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		counter_add(poll->worker->counters, COUNTER_REFUSED_SHUTDOWN, 1);
		close(fd);
	}
}

void listener_stop(struct listener *listener, struct worker *me)
{
	while (listener->polls[me->id]) {
		struct listener_poll *poll = listener->polls[me->id];

		listener->polls[me->id] = poll->next;
		empty_queue(poll);
		timer_disarm(&me->wheel, &poll->again);
		uv_poll_stop(&poll->handle);
		uv_close((uv_handle_t *)&poll->handle, on_poll_closed);
	}
	for (unsigned i = 0; i < listener->address_count; i++) {
		int *fd = &listener->addresses[i].fds[me->id];

		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
}

void listener_close(struct listener **listener_ref)
{
	struct listener *listener = *listener_ref;

	if (!listener)
		return;
	for (unsigned i = 0; i < listener->address_count; i++) {
		if (listener->addresses[i].fds)
			address_close(listener, &listener->addresses[i]);
	}
	if (listener->unix_path[0])
		unlink(listener->unix_path);
	free(listener->polls);
	free(listener);
	*listener_ref = NULL;
}

const char *listener_name(const struct listener *listener)
{
	return listener->name;
}

bool listener_is_open(const struct listener *listener)
{
	for (unsigned i = 0; i < listener->address_count; i++) {
		if (listener->addresses[i].fds && listener->addresses[i].fds[0] >= 0)
			return true;
	}
	return false;
}

uint16_t listener_port(const struct listener *listener)
{
	return listener->settings.port;
}

const struct listener_settings *listener_settings_of(const struct listener *listener)
{
	return &listener->settings;
}

void listener_take_place(struct listener *listener)
{
	__atomic_add_fetch(&listener->connections, 1, __ATOMIC_RELAXED);
}

void listener_forget_connection(struct listener *listener)
{
	__atomic_sub_fetch(&listener->connections, 1, __ATOMIC_RELAXED);
}
