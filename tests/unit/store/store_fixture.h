/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_fixture.h - a store with workers, of each implementation, that a test can open again.
 *
 * What recovery gives is noted as lines of text, so that a test says what it expects in words.
 */
#ifndef NIGHTJAR_TESTS_UNIT_STORE_FIXTURE_H
#define NIGHTJAR_TESTS_UNIT_STORE_FIXTURE_H

#include "../runtime/runtime_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "store/engine.h"

enum implementation { MEMORY, LMDB_DISK, LMDB_PROCESS };

#define LINES_MAX 16384

struct shop {
	enum implementation implementation;
	unsigned workers;
	uint64_t max_bytes;
	unsigned origin_wait_ms;
	struct store *store;
	struct runtime *runtime;
	struct store_image *image;
	const struct upgrade_road *road; /* NULL: the broker's */
	void (*opened)(
		struct kv *kv); /* before anything is read or written by a thread; NULL: nothing */
	char directory[64];
	pthread_mutex_t lock;
	char *lines[LINES_MAX]; /* of the last recovery */
	unsigned line_count;
	struct err_detail detail;
};

static struct shop shop;

static inline uint16_t part_of(int kind, struct slice name, unsigned workers)
{
	(void)kind;
	return (uint16_t)(hash_slice(name) % workers);
}

static inline void note(const char *format, ...)
{
	va_list arguments;
	char text[512];

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&shop.lock);
	CHECK(shop.line_count < LINES_MAX);
	shop.lines[shop.line_count++] = strdup(text);
	pthread_mutex_unlock(&shop.lock);
}

#define TEXT(slice) (int)(slice).len, (const char *)(slice).data

static inline void note_record(struct store_recovery *recovery, struct store_record *record)
{
	struct message *message;

	switch (record->kind) {
	case STORE_RECORD_SESSION:
		note("%s %u %.*s user %.*s expiry %u offline %s",
		     record->session.kind == STORE_GROUP  ? "group"
		     : record->session.kind == STORE_WILL ? "departing"
							  : "session",
		     (unsigned)record->id, TEXT(record->session.name),
		     TEXT(record->session.username), record->session.expiry_s,
		     record->session.offline_ms ? "yes" : "no");
		break;
	case STORE_RECORD_SUBSCRIPTION:
		note("subscription %u %.*s qos %u id %u", (unsigned)record->id,
		     TEXT(record->subscription.text), record->subscription.qos,
		     record->subscription.subscription_id);
		break;
	case STORE_RECORD_WILL:
		note("will %u %.*s delay %u", (unsigned)record->id,
		     TEXT(message_payload(record->will.message)), record->will.delay_s);
		break;
	case STORE_RECORD_RECEIVED:
		note("received %u %u", (unsigned)record->id, record->packet_id);
		break;
	case STORE_RECORD_RELEASED:
		note("released %u as %u", (unsigned)record->id, record->item.packet_id);
		break;
	case STORE_RECORD_MESSAGE:
		message = store_recovery_message(recovery, record);
		CHECK(message &&
		      message->topic_len + message->payload_len + message->properties_len ==
			      record->message_bytes);
		note("message %u %.*s=%.*s qos %u%s ids %u flight %u as %u", (unsigned)record->id,
		     TEXT(message_topic(message)), TEXT(message_payload(message)),
		     record->item.delivery.qos, record->item.delivery.retain ? " retain" : "",
		     record->item.delivery.subscription_id_count, record->item.flight,
		     record->item.packet_id);
		break;
	case STORE_RECORD_RETAINED:
		message = store_recovery_message(recovery, record);
		CHECK(message);
		note("retained %.*s=%.*s version %u", TEXT(message_topic(message)),
		     TEXT(message_payload(message)), (unsigned)message->retained_version);
		break;
	case STORE_RECORD_END: break;
	}
}

static inline void recover_part(struct worker *me, void *latch)
{
	struct store_recovery *recovery;
	struct store_record record;
	struct err_detail detail = {""};
	unsigned budget;

	CHECK(store_recovery_begin(me, part_of, &recovery) == ERR_NONE);
	do {
		budget = 3;
		while (store_recovery_next(recovery, &budget, &record)) {
			if (record.kind == STORE_RECORD_END)
				break;
			note_record(recovery, &record);
		}
	} while (budget == 0);
	CHECK(store_recovery_end(&recovery, &detail) == ERR_NONE);
	latch_pass(latch);
}

static inline void forget_lines(void)
{
	for (unsigned i = 0; i < shop.line_count; i++)
		free(shop.lines[i]);
	shop.line_count = 0;
}

static inline enum err shop_try(void)
{
	struct store_settings settings = {
		.durability = shop.implementation == LMDB_PROCESS ? STORE_PROCESS : STORE_DISK,
		.directory = shop.implementation == MEMORY ? NULL : shop.directory,
		.max_bytes = shop.max_bytes,
		.workers = shop.workers,
		.image = shop.image,
		.origin_wait_ms = shop.origin_wait_ms,
		.upgrade_road = shop.road,
	};

	return store_open(&settings, &shop.store, &shop.detail);
}

static inline void shop_open(void)
{
	struct latch latch = LATCH((long)shop.workers);
	struct err_detail detail;

	forget_lines();
	if (shop_try() != ERR_NONE)
		fail_msg("%s", shop.detail.text);
	if (shop.opened)
		shop.opened(shop.store->kv);
	shop.runtime = runtime_make(shop.workers, 64);
	for (unsigned i = 0; i < shop.workers; i++)
		assert_int_equal(store_worker_init(shop.store,
						   runtime_worker(shop.runtime, (uint16_t)i)),
				 ERR_NONE);
	assert_int_equal(runtime_start(shop.runtime, start_nothing, &detail), ERR_NONE);
	for (unsigned i = 0; i < shop.workers; i++)
		run_on(runtime_worker(shop.runtime, (uint16_t)i), recover_part, &latch);
	assert_true(latch_wait(&latch));
}

/* The store first: it wakes workers. */
static inline void shop_close(void)
{
	struct runtime *runtime = shop.runtime;

	if (!shop.store)
		return;
	runtime_stop(runtime);
	store_close(&shop.store);
	runtime_destroy(&shop.runtime);
}

static inline void shop_reopen(void)
{
	shop_close();
	shop_open();
}

static inline int shop_setup(void **state)
{
	memset(&shop, 0, sizeof shop);
	pthread_mutex_init(&shop.lock, NULL);
	shop.implementation = *state ? *(enum implementation *)*state : MEMORY;
	shop.workers = 2;
	shop.max_bytes = 64 << 20;
	shop.image = store_image_create();
	strcpy(shop.directory, "/tmp/nightjar-store-XXXXXX");
	return mkdtemp(shop.directory) ? 0 : -1;
}

static inline int shop_teardown(void **unused)
{
	char path[512];
	struct dirent *file;
	DIR *directory;

	(void)unused;
	shop_close();
	forget_lines();
	store_image_destroy(&shop.image);
	directory = opendir(shop.directory);
	while (directory && (file = readdir(directory)) != NULL) {
		snprintf(path, sizeof path, "%s/%s", shop.directory, file->d_name);
		unlink(path);
	}
	if (directory)
		closedir(directory);
	rmdir(shop.directory);
	return 0;
}

/* A file of the directory, as bytes. */

static inline struct slice shop_read_file(const char *name)
{
	struct stat status;
	uint8_t *bytes;
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/%s", shop.directory, name);
	fd = open(path, O_RDONLY);
	assert_int_equal(fstat(fd, &status), 0);
	bytes = malloc((size_t)status.st_size);
	assert_int_equal(read(fd, bytes, (size_t)status.st_size), status.st_size);
	close(fd);
	return slice_of(bytes, (size_t)status.st_size);
}

static inline void shop_write_file(const char *name, struct slice bytes)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/%s", shop.directory, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, bytes.data, bytes.len), bytes.len);
	close(fd);
}

static inline void slice_free(struct slice *bytes)
{
	free((void *)(uintptr_t)bytes->data);
	*bytes = SLICE_NONE;
}

/* A function on a worker, in a turn of its own; returns when that has ended. */
static inline void on_worker(uint16_t worker, void (*run)(struct worker *, void *), void *context)
{
	run_on_and_wait(runtime_worker(shop.runtime, worker), run, context);
}

static inline void do_nothing(struct worker *me, void *unused)
{
	(void)me;
	(void)unused;
}

static inline void read_posted(struct worker *me, void *out)
{
	*(uint64_t *)out = store_posted(me);
}

static inline bool is_committed(uint16_t worker)
{
	struct worker *target = runtime_worker(shop.runtime, worker);
	uint64_t posted = 0;

	on_worker(worker, read_posted, &posted);
	return store_is_committed(target, worker, posted);
}

static inline void look_whether_left(struct worker *me, void *out)
{
	const struct store_worker *mine = store_worker_of(me);

	*(bool *)out = mine->posted == mine->posted_before;
}

/* What the worker has posted is with the writer: its turn has ended. */
static inline void wait_until_left(uint16_t worker)
{
	bool has_left = false;

	while (!has_left)
		on_worker(worker, look_whether_left, &has_left);
}

static inline bool wait_for(bool (*is_so)(void))
{
	for (unsigned i = 0; i < DEADLINE_S * 1000; i++) {
		if (is_so())
			return true;
		usleep(1000);
	}
	return false;
}

static inline bool all_is_committed(void)
{
	for (unsigned i = 0; i < shop.workers; i++)
		if (!is_committed((uint16_t)i))
			return false;
	return true;
}

static inline void settle(void)
{
	assert_true(wait_for(all_is_committed));
}

/* What is in a ring is in the tables as well. */
static inline bool tables_have_all(void)
{
	return __atomic_load_n(&shop.store->waiting_bytes, __ATOMIC_RELAXED) == 0;
}

static inline unsigned lines_with(const char *text)
{
	unsigned count = 0;

	for (unsigned i = 0; i < shop.line_count; i++)
		count += strstr(shop.lines[i], text) != NULL;
	return count;
}

static inline void expect_lines(const char *text, unsigned count)
{
	if (lines_with(text) == count)
		return;
	for (unsigned i = 0; i < shop.line_count; i++)
		fprintf(stderr, "  %s\n", shop.lines[i]);
	fail_msg("%u lines with '%s', not %u", lines_with(text), text, count);
}

/* A child opens the store, does the work, and is killed when that is committed. */
static inline void shop_fill_and_die(void (*work)(void))
{
	int fds[2], status;
	char byte;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		shop_open();
		work();
		settle();
		if (write(fds[1], "x", 1) != 1)
			abort();
		for (;;)
			pause();
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	close(fds[0]);
}

/* What a test posts. */

static inline struct message *say(struct worker *me, const char *topic, const char *payload)
{
	struct message_content content = {
		.topic = slice_from_string(topic),
		.payload = slice_from_string(payload),
		.topic_hash = hash_slice(slice_from_string(topic)),
		.qos = 1,
	};
	struct message *message;

	content.origin = origin_create(3, SLICE_LITERAL("publisher"), true, SLICE_LITERAL("ada"));
	message = message_create(me, &content);
	origin_unref(&content.origin);
	CHECK(message);
	return message;
}

static inline void put_session(struct worker *me, uint64_t id, const char *name,
			       enum store_session_kind kind)
{
	struct store_session session = {
		.kind = kind,
		.name = slice_from_string(name),
		.username = SLICE_LITERAL("ada"),
		.has_username = true,
		.expiry_s = 3600,
		.version = 5,
		.connected_ms = 1700000000000,
	};

	store_session_put(me, id, &session);
}

static inline uint64_t queue_qos(struct worker *me, uint64_t id, struct message *message,
				 uint8_t qos)
{
	struct store_delivery delivery = {.qos = qos};

	return store_queue(me, id, message, &delivery);
}

static enum implementation implementations[]
	__attribute__((unused)) = {MEMORY, LMDB_DISK, LMDB_PROCESS};

/* A test's line in main(), with the implementation that it runs on. */
#define WITH(test, which)                                                                          \
	{                                                                                          \
#test " (" #which ")", test, shop_setup, shop_teardown, &implementations[which]    \
	}

#endif
