/* SPDX-License-Identifier: Apache-2.0 */
#include "net_fixture.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/counters.h"
#include "net/listener.h"

#define WORKERS 3

/* Any thread, atomic. */
static struct {
	unsigned accepted[WORKERS], total, refuse;
	int family;
	uint16_t index;
} guests;

/* Accepted descriptors stay open until the test is over. Guarded by lock. */
static struct {
	pthread_mutex_t lock;
	int fds[256];
	unsigned count;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct listener *listener;
static char path[64];

static bool on_client(struct worker *me, const struct newcomer *newcomer)
{
	const struct address *address = &newcomer->address;
	uint16_t index = newcomer->listener;
	int fd = newcomer->fd;

	CHECK(worker_current == me);
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	__atomic_store_n(&guests.family, address->family, __ATOMIC_RELAXED);
	__atomic_store_n(&guests.index, index, __ATOMIC_RELAXED);
	__atomic_add_fetch(&guests.accepted[me->id], 1, __ATOMIC_RELAXED);
	if (__atomic_load_n(&guests.refuse, __ATOMIC_RELAXED)) {
		__atomic_add_fetch(&guests.total, 1, __ATOMIC_RELEASE);
		return false;
	}
	pthread_mutex_lock(&kept.lock);
	CHECK(kept.count < 256);
	kept.fds[kept.count++] = fd;
	pthread_mutex_unlock(&kept.lock);
	__atomic_add_fetch(&guests.total, 1, __ATOMIC_RELEASE);
	return true;
}

static struct listener_settings settings_of_tcp(void)
{
	return (struct listener_settings){
		.bind_address = "127.0.0.1",
		.family = AF_UNSPEC,
		.tcp_nodelay = true,
		.max_connections = -1,
		.index = 7,
		.on_client = on_client,
	};
}

static void begin_tcp(const struct listener_settings *settings)
{
	struct err_detail detail = {.text = ""};
	enum err err = listener_open(settings, WORKERS, &listener, &detail);

	if (err != ERR_NONE)
		fail_msg("%s", detail.text);
}

static void start_on(struct worker *me, void *context)
{
	(void)context;
	CHECK(listener_start(listener, me) == ERR_NONE);
}

static void stop_on(struct worker *me, void *context)
{
	(void)context;
	listener_stop(listener, me);
}

static int begin(void **unused)
{
	(void)unused;
	memset(&guests, 0, sizeof guests);
	net_begin(WORKERS);
	return 0;
}

static void start_all(void)
{
	for (uint16_t i = 0; i < WORKERS; i++)
		do_on(i, start_on, NULL);
}

static int finish(void **unused)
{
	(void)unused;
	for (uint16_t i = 0; listener && i < WORKERS; i++)
		do_on(i, stop_on, NULL);
	net_end();
	listener_close(&listener);
	assert_null(listener);
	while (kept.count)
		close(kept.fds[--kept.count]);
	return 0;
}

static int call_tcp(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(listener_port(listener)),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static int call_unix(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, strlen(path) + 1);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void wait_guests(unsigned wanted)
{
	uint64_t end = clock_now_ms() + DEADLINE_S * 1000;

	while (__atomic_load_n(&guests.total, __ATOMIC_ACQUIRE) < wanted) {
		if (clock_now_ms() > end)
			fail_msg("%u connections were accepted, not %u", guests.total, wanted);
		usleep(1000);
	}
	assert_int_equal(__atomic_load_n(&guests.total, __ATOMIC_ACQUIRE), wanted);
}

/* The other side closes without a word. */
static void expect_end(int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};
	uint8_t byte;

	assert_int_equal(poll(&one, 1, DEADLINE_S * 1000), 1);
	assert_true(recv(fd, &byte, 1, 0) <= 0);
}

static void call_in_vain(void)
{
	int fd = call_tcp();

	expect_end(fd);
	close(fd);
}

static void connections_are_accepted_with_address_and_index(void **unused)
{
	struct listener_settings settings = settings_of_tcp();
	int calls[20];

	(void)unused;
	begin_tcp(&settings);
	assert_int_not_equal(listener_port(listener), 0);
	assert_true(listener_is_open(listener));
	start_all();
	for (int i = 0; i < 20; i++)
		calls[i] = call_tcp();
	wait_guests(20);
	assert_int_equal(guests.family, AF_INET);
	assert_int_equal(guests.index, 7);
	for (int i = 0; i < 20; i++)
		close(calls[i]);
}

static void a_port_in_use_is_an_error_that_names_it(void **unused)
{
	struct listener_settings settings = settings_of_tcp();
	struct err_detail detail = {.text = ""};
	struct listener *second = NULL;
	char name[64];

	(void)unused;
	begin_tcp(&settings);
	/* SO_REUSEPORT alone would let the second one in. */
	settings.port = listener_port(listener);
	snprintf(name, sizeof name, "127.0.0.1:%u", settings.port);
	assert_int_equal(listener_open(&settings, WORKERS, &second, &detail), ERR_IO);
	assert_null(second);
	assert_non_null(strstr(detail.text, name));
	assert_non_null(strstr(detail.text, strerror(EADDRINUSE)));
	start_all();
	close(call_tcp());
	wait_guests(1);
}

static void an_address_that_is_not_here_is_an_error_unless_it_is_optional(void **unused)
{
	struct listener_settings settings = settings_of_tcp();
	struct err_detail detail = {.text = ""};

	(void)unused;
	settings.bind_address = "192.0.2.1"; /* TEST-NET-1 */
	assert_int_equal(listener_open(&settings, WORKERS, &listener, &detail), ERR_IO);
	assert_non_null(strstr(detail.text, "192.0.2.1"));
	assert_null(listener);
	settings.is_optional = true;
	assert_int_equal(listener_open(&settings, WORKERS, &listener, &detail), ERR_NONE);
	assert_false(listener_is_open(listener));
	start_all();
}

static void more_than_max_connections_are_refused_until_one_leaves(void **unused)
{
	struct listener_settings settings = settings_of_tcp();
	int one, two;

	(void)unused;
	settings.max_connections = 2;
	begin_tcp(&settings);
	start_all();
	one = call_tcp();
	two = call_tcp();
	wait_guests(2);
	call_in_vain();
	assert_int_equal(guests.total, 2);
	listener_forget_connection(listener);
	close(call_tcp());
	wait_guests(3);
	close(one);
	close(two);
}

static void who_is_refused_by_the_owner_is_closed_and_forgotten(void **unused)
{
	struct listener_settings settings = settings_of_tcp();

	(void)unused;
	/* One for each worker that has closed it, but has not forgotten it yet. */
	settings.max_connections = WORKERS + 1;
	begin_tcp(&settings);
	start_all();
	__atomic_store_n(&guests.refuse, 1, __ATOMIC_RELAXED);
	for (unsigned i = 1; i <= 30; i++) {
		call_in_vain();
		wait_guests(i);
	}
}

static struct listener_settings settings_of_unix(void)
{
	struct listener_settings settings = settings_of_tcp();

	snprintf(path, sizeof path, "/tmp/nightjar-test-%d.sock", (int)getpid());
	settings.bind_address = NULL;
	settings.unix_path = path;
	return settings;
}

static void a_unix_socket_is_dealt_round(void **unused)
{
	struct listener_settings settings = settings_of_unix();
	int calls[30];

	(void)unused;
	begin_tcp(&settings);
	start_all();
	for (int i = 0; i < 30; i++)
		calls[i] = call_unix();
	wait_guests(30);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(guests.accepted[i], 30 / WORKERS);
	assert_int_equal(guests.family, AF_UNIX);
	for (int i = 0; i < 30; i++)
		close(calls[i]);
}

static void a_unix_socket_in_use_is_an_error_and_a_stale_one_is_replaced(void **unused)
{
	struct listener_settings settings = settings_of_unix();
	struct err_detail detail = {.text = ""};
	struct listener *second = NULL;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)unused;
	memcpy(address.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(fd); /* as a broker that was killed leaves it */
	begin_tcp(&settings);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0660);
	assert_int_equal(listener_open(&settings, WORKERS, &second, &detail), ERR_IO);
	assert_non_null(strstr(detail.text, path));
	start_all();
	close(call_unix()); /* it was not taken away */
	wait_guests(2);	    /* the second listener has looked whether anybody is there */
	for (uint16_t i = 0; i < WORKERS; i++)
		do_on(i, stop_on, NULL);
	listener_close(&listener);
	assert_int_equal(stat(path, &status), -1);
}

static void a_path_too_long_for_a_unix_socket_is_an_error(void **unused)
{
	struct listener_settings settings = settings_of_unix();
	struct err_detail detail = {.text = ""};
	char long_path[300];

	(void)unused;
	memset(long_path, 'x', sizeof long_path);
	long_path[sizeof long_path - 1] = '\0';
	settings.unix_path = long_path;
	assert_int_equal(listener_open(&settings, WORKERS, &listener, &detail), ERR_INVALID);
	assert_null(listener);
}

static struct {
	struct latch are_busy, go_on, have_stopped;
} halt;

static void stop_when_told(struct worker *me, void *context)
{
	latch_pass(&halt.are_busy);
	CHECK(latch_wait(&halt.go_on));
	stop_on(me, context);
	latch_pass(&halt.have_stopped);
}

static void who_waits_when_the_listener_stops_is_closed_in_order(void **unused)
{
	struct listener_settings settings = settings_of_tcp();
	int calls[9];
	uint8_t byte;

	(void)unused;
	halt.are_busy = halt.have_stopped = (struct latch)LATCH(WORKERS);
	halt.go_on = (struct latch)LATCH(1);
	begin_tcp(&settings);
	start_all();
	for (uint16_t i = 0; i < WORKERS; i++)
		run_on(runtime_worker(runtime, i), stop_when_told, NULL);
	assert_true(latch_wait(&halt.are_busy));
	for (int i = 0; i < 9; i++)
		calls[i] = call_tcp(); /* nobody has time to accept */
	latch_pass(&halt.go_on);
	assert_true(latch_wait(&halt.have_stopped));
	for (int i = 0; i < 9; i++) {
		assert_int_equal(recv(calls[i], &byte, 1, 0), 0); /* not a reset */
		close(calls[i]);
	}
	assert_int_equal(guests.total, 0);
}

static void wait_refused(uint64_t wanted)
{
	uint64_t end = clock_now_ms() + DEADLINE_S * 1000;

	while (counter_total(COUNTER_REFUSED_NO_DESCRIPTORS) < wanted && clock_now_ms() < end)
		usleep(1000);
	assert_int_equal(counter_total(COUNTER_REFUSED_NO_DESCRIPTORS), wanted);
}

/* The last case: it lowers the limit for the whole process. */
static void without_descriptors_connections_are_closed_and_those_before_live_on(void **unused)
{
	struct listener_settings settings = settings_of_tcp();
	struct rlimit limit;
	int guest, calls[4], fillers[512], filled = 0;
	uint64_t before;
	uint8_t byte;

	(void)unused;
	begin_tcp(&settings);
	start_all();
	guest = call_tcp();
	wait_guests(1);
	before = counter_total(COUNTER_REFUSED_NO_DESCRIPTORS);
	for (int i = 0; i < 4; i++) {
		calls[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(calls[i] >= 0);
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 256;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (filled < 512 && (fillers[filled] = open("/dev/null", O_RDONLY)) >= 0)
		filled++;
	assert_int_equal(errno, EMFILE);
	for (int i = 0; i < 4; i++) {
		struct sockaddr_in address = {.sin_family = AF_INET,
					      .sin_port = htons(listener_port(listener)),
					      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

		assert_int_equal(connect(calls[i], (struct sockaddr *)&address, sizeof address), 0);
		expect_end(calls[i]);
		/* The spare one is back: until then another worker could take the place. */
		wait_refused(before + (uint64_t)i + 1);
	}
	assert_int_equal(guests.total, 1);
	assert_int_equal(send(guest, "x", 1, 0), 1);
	assert_int_equal(recv(kept.fds[0], &byte, 1, 0), 1);
	while (filled)
		close(fillers[--filled]);
	for (int i = 0; i < 4; i++)
		close(calls[i]);
	close(call_tcp()); /* there are some again */
	wait_guests(2);
	close(guest);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(connections_are_accepted_with_address_and_index),
		CASE(a_port_in_use_is_an_error_that_names_it),
		CASE(an_address_that_is_not_here_is_an_error_unless_it_is_optional),
		CASE(more_than_max_connections_are_refused_until_one_leaves),
		CASE(who_is_refused_by_the_owner_is_closed_and_forgotten),
		CASE(a_unix_socket_is_dealt_round),
		CASE(a_unix_socket_in_use_is_an_error_and_a_stale_one_is_replaced),
		CASE(a_path_too_long_for_a_unix_socket_is_an_error),
		CASE(who_waits_when_the_listener_stops_is_closed_in_order),
		CASE(without_descriptors_connections_are_closed_and_those_before_live_on),
	};

	/* Before there are threads, as at the start of the broker. */
	if (descriptors_prepare() == 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
