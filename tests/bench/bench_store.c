/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_store.c - what the store costs by itself: bytes written, commits, start.
 *
 * usage: bench_store [DIRECTORY] [SESSIONS] [RETAINED] [fill]   (a folder on the disk in question;
 *        100000; 1000000). Prints a line for each figure. Bytes are what the process hands to write
 *        calls. fill: only leaves a store there, of sessions with a subscription and ten queued
 *        messages each, for who wants to see a broker start with it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "store/engine.h"

#define WORKERS 2

static struct {
	struct store *store;
	struct runtime *runtime;
	const char *directory;
	uint64_t sessions, retained, first_number;
	uint64_t step; /* of posts that go in several turns */
	bool is_empty; /* the store is opened for the first time */
	sem_t done;
	uint64_t records;
} bench;

static uint64_t written_bytes(void)
{
	unsigned long long bytes = 0;
	char line[64];
	FILE *file = fopen("/proc/self/io", "r");

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "wchar: %llu", &bytes) == 1)
			break;
	if (file)
		fclose(file);
	return bytes;
}

struct job {
	struct letter letter;
	void (*run)(struct worker *me);
};

static void job_arrives(struct worker *me, struct letter *letter)
{
	struct job *job = (struct job *)letter;

	job->run(me);
	letter_return(me, letter);
	sem_post(&bench.done);
}

static const struct letter_type job_type = {.name = "job",
					    .on_arrive = job_arrives,
					    .on_return = letter_destroy};

static void run_on(uint16_t worker, void (*run)(struct worker *me))
{
	struct job *job = letter_create(NULL, &job_type, sizeof *job);

	job->run = run;
	letter_post_foreign(runtime_worker(bench.runtime, worker), &job->letter);
}

static void run_and_wait(void (*run)(struct worker *me))
{
	run_on(0, run);
	sem_wait(&bench.done);
}

static void wait_for_commit(void)
{
	struct store_worker *mine = bench.store->workers[0];

	while (__atomic_load_n(&mine->committed, __ATOMIC_ACQUIRE) <
	       __atomic_load_n(&mine->posted, __ATOMIC_RELAXED))
		usleep(200);
}

static uint16_t part_of(int kind, struct slice name, unsigned workers)
{
	(void)kind;
	return (uint16_t)(hash_slice(name) % workers);
}

static void recover(struct worker *me)
{
	struct store_recovery *recovery;
	struct store_record record;
	struct err_detail detail;
	unsigned budget = UINT32_MAX;
	uint64_t records = 0;

	BUG_ON(store_recovery_begin(me, part_of, &recovery) != ERR_NONE);
	while (store_recovery_next(recovery, &budget, &record) && record.kind != STORE_RECORD_END) {
		records++;
		if (record.kind == STORE_RECORD_MESSAGE || record.kind == STORE_RECORD_RETAINED)
			BUG_ON(!store_recovery_message(recovery, &record));
	}
	BUG_ON(store_recovery_end(&recovery, &detail) != ERR_NONE);
	__atomic_add_fetch(&bench.records, records, __ATOMIC_RELAXED);
}

static void on_start(struct worker *me)
{
	(void)me;
}

static void open_store(enum store_durability durability)
{
	struct store_settings settings = {.durability = durability,
					  .directory = bench.directory,
					  .max_bytes = UINT64_C(4) << 30,
					  .workers = WORKERS};
	struct runtime_settings runtime = {.workers = WORKERS,
					   .mailbox_letters = 64,
					   .pool_threads = 1};
	uint64_t began = clock_now_us(), opened;
	struct err_detail detail = {""};

	if (store_open(&settings, &bench.store, &detail) != ERR_NONE) {
		fprintf(stderr, "bench_store: %s\n", detail.text);
		exit(1);
	}
	opened = clock_now_us();
	BUG_ON(runtime_create(&runtime, &bench.runtime, &detail) != ERR_NONE);
	for (uint16_t i = 0; i < WORKERS; i++)
		BUG_ON(store_worker_init(bench.store, runtime_worker(bench.runtime, i)) !=
		       ERR_NONE);
	BUG_ON(runtime_start(bench.runtime, on_start, &detail) != ERR_NONE);
	bench.records = 0;
	for (uint16_t i = 0; i < WORKERS; i++)
		run_on(i, recover);
	for (int i = 0; i < WORKERS; i++)
		sem_wait(&bench.done);
	if (!bench.is_empty)
		printf("start: %llu records read back in %.2f s (%.2f s of it to check and count)\n",
		       (unsigned long long)bench.records, (double)(clock_now_us() - began) / 1e6,
		       (double)(opened - began) / 1e6);
	bench.is_empty = false;
}

static void close_store(void)
{
	runtime_stop(bench.runtime);
	store_close(&bench.store);
	runtime_destroy(&bench.runtime);
}

static struct message *make(struct worker *me, const char *topic, size_t bytes)
{
	static const uint8_t payload[64];
	struct message_content content = {.topic = slice_from_string(topic),
					  .payload = slice_of(payload, bytes),
					  .qos = 1};
	struct message *message = message_create(me, &content);

	BUG_ON(!message);
	return message;
}

static void post_sessions(struct worker *me)
{
	char name[32];
	struct store_session session = {.kind = STORE_SESSION,
					.expiry_s = 3600,
					.version = 5,
					.offline_ms = clock_wall_ms()};

	for (uint64_t id = 1; id <= bench.sessions; id++) {
		session.name = slice_of(name, (size_t)snprintf(name, sizeof name, "client-%llu",
							       (unsigned long long)id));
		store_session_put(me, id, &session);
	}
}

static void post_subscriptions(struct worker *me)
{
	char text[32];
	struct store_subscription subscription = {.qos = 1};

	for (uint64_t id = 1; id <= bench.sessions; id++) {
		subscription.text = slice_of(text, (size_t)snprintf(text, sizeof text, "to/%llu",
								    (unsigned long long)id));
		store_subscription_put(me, id, &subscription);
	}
}

static void post_fanout(struct worker *me)
{
	struct message *message = make(me, "to/all", 64);
	struct store_delivery delivery = {.qos = 1};

	for (uint64_t id = 1; id <= bench.sessions; id++) {
		uint64_t number = store_queue(me, id, message, &delivery);

		if (id == 1)
			bench.first_number = number;
	}
	message_drop(me, &message);
}

/* A hundredth of the sessions, here and there. */
static void post_acknowledgements(struct worker *me)
{
	for (uint64_t id = 1 + bench.step; id <= bench.sessions; id += 100)
		store_done(me, id, bench.first_number + id - 1);
	bench.step++;
}

static void post_retained(struct worker *me)
{
	uint64_t first = bench.step * 10000;
	char topic[64];

	for (uint64_t i = first; i < first + 10000 && i < bench.retained; i++) {
		struct message *message;

		snprintf(topic, sizeof topic, "site/%llu/device/%llu/state",
			 (unsigned long long)i % 1000, (unsigned long long)i);
		message = make(me, topic, 32);
		message->retained_version = i + 1;
		store_retained_put(me, message);
		message_drop(me, &message);
	}
	bench.step++;
}

static void post_queues(struct worker *me)
{
	uint64_t first = bench.step * 1000;
	struct store_delivery delivery = {.qos = 1};

	char topic[32];

	for (uint64_t id = first + 1; id <= first + 1000 && id <= bench.sessions; id++)
		for (int i = 0; i < 10; i++) {
			struct message *message;

			snprintf(topic, sizeof topic, "to/%llu", (unsigned long long)id);
			message = make(me, topic, 64);
			store_queue(me, id, message, &delivery);
			message_drop(me, &message);
		}
	bench.step++;
}

static void steps(void (*run)(struct worker *me), uint64_t count)
{
	for (bench.step = 0; bench.step < count;) {
		run_and_wait(run);
		wait_for_commit();
	}
}

static void measure_bytes(void)
{
	uint64_t before;

	run_and_wait(post_sessions);
	wait_for_commit();
	before = written_bytes();
	run_and_wait(post_fanout);
	wait_for_commit();
	printf("one message to %llu offline sessions: %.1f bytes written for each session\n",
	       (unsigned long long)bench.sessions,
	       (double)(written_bytes() - before) / (double)bench.sessions);
	before = written_bytes();
	for (bench.step = 0; bench.step < 100;) {
		run_and_wait(post_acknowledgements);
		usleep(20000);
	}
	usleep(1500000); /* what may wait a second has been written then */
	wait_for_commit();
	printf("%llu sessions acknowledge one message each, over 2 s: %.1f bytes written for each\n",
	       (unsigned long long)bench.sessions,
	       (double)(written_bytes() - before) / (double)bench.sessions);
}

static double syncs_per_second(void)
{
	char path[4096], page[4096] = {0};
	uint64_t began, count = 0;
	int fd;

	snprintf(path, sizeof path, "%s/sync", bench.directory);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	began = clock_now_us();
	while (fd >= 0 && clock_now_us() - began < 1000000) {
		if (pwrite(fd, page, sizeof page, (off_t)(count % 64 * sizeof page)) < 0 ||
		    fdatasync(fd) != 0)
			break;
		count++;
	}
	close(fd);
	unlink(path);
	return (double)count * 1e6 / (double)(clock_now_us() - began);
}

static void post_one(struct worker *me)
{
	struct message *message = make(me, "to/one", 64);
	struct store_delivery delivery = {.qos = 1};

	store_queue(me, 1, message, &delivery);
	message_drop(me, &message);
}

static void post_thousand(struct worker *me)
{
	for (int i = 0; i < 1000; i++)
		post_one(me);
}

static void measure_commits(void)
{
	double syncs = syncs_per_second();
	uint64_t began = clock_now_us(), turns = 0, commits;
	struct store_figures figures;

	store_figures(bench.store, &figures);
	commits = figures.commits;
	while (clock_now_us() - began < 1000000) {
		run_and_wait(post_one);
		wait_for_commit();
		turns++;
	}
	printf("fdatasync of a page: %.0f a second; one message a commit: %.0f a second\n", syncs,
	       (double)turns * 1e6 / (double)(clock_now_us() - began));
	began = clock_now_us();
	for (turns = 0; clock_now_us() - began < 1000000; turns++)
		run_and_wait(post_thousand);
	wait_for_commit();
	store_figures(bench.store, &figures);
	printf("1,000 messages a turn: %.0f messages a second on disk, %.0f times one sync for each\n",
	       (double)turns * 1e9 / (double)(clock_now_us() - began),
	       (double)turns * 1e9 / (double)(clock_now_us() - began) / syncs);
	printf("commits: %llu\n", (unsigned long long)(figures.commits - commits));
}

static void fill(void)
{
	steps(post_retained, bench.retained / 10000);
	run_and_wait(post_sessions);
	wait_for_commit();
	run_and_wait(post_subscriptions);
	wait_for_commit();
	steps(post_queues, bench.sessions / 1000);
}

int main(int argc, char **argv)
{
	char made[] = "/tmp/bench-store-XXXXXX", command[4200];

	bench.directory = argc > 1 ? argv[1] : mkdtemp(made);
	bench.sessions = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
	bench.retained = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000000;
	sem_init(&bench.done, 0, 0);
	bench.is_empty = true;
	open_store(STORE_DISK);
	if (argc > 4) {
		fill();
		close_store();
		return 0;
	}
	measure_bytes();
	measure_commits();
	steps(post_retained, bench.retained / 10000);
	steps(post_queues, bench.sessions / 1000);
	close_store();
	open_store(STORE_DISK);
	close_store();
	if (argc <= 1) {
		snprintf(command, sizeof command, "%s/nightjar.db", made);
		unlink(command);
		snprintf(command, sizeof command, "%s/nightjar.db-lock", made);
		unlink(command);
		snprintf(command, sizeof command, "%s/nightjar.db.lock", made);
		unlink(command);
		rmdir(made);
	}
	return 0;
}
