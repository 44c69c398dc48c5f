/* SPDX-License-Identifier: Apache-2.0 */
/* test_lmdb_walk.c - pages of a file that is whole, is written meanwhile, or is damaged. */
#include "../runtime/runtime_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/kv.h"
#include "store/record.h"

#define KEYS 500
#define PAGE 4096

static char directory[64], path[80];
static struct err_detail detail;

/* In memory where there is such a file system: the faster commits follow each other the better. */
static int setup(void **unused)
{
	(void)unused;
	snprintf(directory, sizeof directory, "%s/walk-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/nightjar.db", directory);
	return 0;
}

static int teardown(void **unused)
{
	char lock[96];

	(void)unused;
	snprintf(lock, sizeof lock, "%s-lock", path);
	unlink(path);
	unlink(lock);
	rmdir(directory);
	return 0;
}

static struct kv *open_kv(bool read_only)
{
	struct kv_lmdb_settings settings = {.path = path,
					    .max_bytes = read_only ? 0 : 64 << 20,
					    .read_only = read_only};
	struct kv *kv;

	if (kv_lmdb_open(&settings, &kv, &detail) != ERR_NONE)
		fail_msg("%s", detail.text);
	return kv;
}

static uint32_t chance(uint32_t most)
{
	static uint32_t state = 1;

	state = state * 1103515245u + 12345u;
	return (state >> 8) % most;
}

/* Values of all sizes come and go, so that a page is a leaf now and part of a large value then. */
static void change_some(struct kv *kv)
{
	static const uint8_t bytes[9000];

	for (unsigned i = 0; i < 4; i++) {
		struct key key = key_of(1 + chance(KEYS));
		size_t size = chance(3) ? 60 : chance(sizeof bytes);

		CHECK(kv->ops->put(kv, KV_RETAINED, key_slice(&key), slice_of(bytes, size),
				   false) == ERR_NONE);
		key = key_of(1 + chance(KEYS));
		if (chance(2))
			CHECK(kv->ops->remove(kv, KV_RETAINED, key_slice(&key)) == ERR_NONE);
	}
}

static void write_for_ever(void)
{
	struct kv *kv;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	kv = open_kv(false);
	for (;;) {
		CHECK(kv->ops->begin(kv) == ERR_NONE);
		change_some(kv);
		CHECK(kv->ops->commit(kv, &detail) == ERR_NONE);
	}
}

static void a_file_that_is_being_written_is_not_called_damaged(void **unused)
{
	struct kv_lmdb_settings settings = {.path = path, .read_only = true};
	struct kv *kv = open_kv(false);
	enum err err = ERR_NONE;
	pid_t writer;
	int status;

	(void)unused;
	kv->ops->close(&kv);
	writer = fork();
	assert_true(writer >= 0);
	if (writer == 0)
		write_for_ever();
	for (unsigned i = 0; i < 700 && err == ERR_NONE; i++) {
		err = kv_lmdb_open(&settings, &kv, &detail);
		if (err == ERR_NONE)
			kv->ops->close(&kv);
	}
	kill(writer, SIGKILL);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	if (err != ERR_NONE)
		fail_msg("%s", detail.text);
}

static void put_message(struct kv *kv, uint64_t number)
{
	struct stored_message message = {
		.topic = SLICE_LITERAL("some/topic"),
		.payload = SLICE_LITERAL("0123456789abcdef0123456789abcdef"),
	};
	struct key key = key_of(number);
	struct pack value = {NULL, 0, 0};

	record_put_retained(&value, &message);
	CHECK(kv->ops->put(kv, KV_RETAINED, key_slice(&key), pack_slice(&value), true) == ERR_NONE);
	pack_fini(&value);
}

/* A file of some pages. The last record is written again, so that both of the first two pages know all. */
static void fill(void)
{
	struct kv *kv = open_kv(false);

	CHECK(kv->ops->begin(kv) == ERR_NONE);
	for (uint64_t i = 1; i <= KEYS; i++)
		put_message(kv, i);
	CHECK(kv->ops->commit(kv, &detail) == ERR_NONE);
	CHECK(kv->ops->begin(kv) == ERR_NONE);
	put_message(kv, KEYS);
	CHECK(kv->ops->commit(kv, &detail) == ERR_NONE);
	kv->ops->close(&kv);
}

static enum err count_whole(void *count, struct slice key, struct slice value)
{
	struct stored_message message;

	(void)key;
	if (!record_get_retained(value, &message))
		return ERR_INVALID;
	++*(uint64_t *)count;
	return ERR_NONE;
}

static uint64_t saved(struct lmdb_damage *damage)
{
	uint64_t count = 0;

	assert_int_equal(lmdb_salvage(path, KV_RETAINED, count_whole, &count, damage, &detail),
			 ERR_NONE);
	return count;
}

static bool is_refused(void)
{
	bool is_written;

	return lmdb_walk(path, &is_written, &detail) == ERR_INVALID && !is_written;
}

/* Where the key of a record stands; its value follows. */
static off_t find_key(uint64_t number)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct key key = key_of(number);
	uint8_t page[PAGE];
	off_t found_at = -1;

	for (off_t at = 0; found_at < 0 && pread(fd, page, PAGE, at) == PAGE; at += PAGE) {
		const uint8_t *found = memmem(page, PAGE, key.bytes, key.len);

		if (found && page[10] == 2) /* a leaf */
			found_at = at + (found - page);
	}
	close(fd);
	assert_true(found_at >= 0);
	return found_at;
}

static void overwrite(off_t at, const void *bytes, size_t count)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, bytes, count, at), (ssize_t)count);
	close(fd);
}

static void a_key_that_is_not_in_order_is_damage(void **unused)
{
	struct lmdb_damage damage;
	off_t at;

	(void)unused;
	fill();
	assert_false(is_refused());
	assert_int_equal(saved(&damage), KEYS);
	at = find_key(9);
	overwrite(at + 7, "\x02", 1);
	assert_true(is_refused());
	assert_non_null(strstr(detail.text, "keys are not in order"));
	assert_int_equal(saved(&damage), KEYS - 1);
}

/* The page's offset, and that of its end, are more than 64 bits can say. */
static void a_root_beyond_all_files_is_damage(void **unused)
{
	const uint64_t root = (UINT64_MAX / PAGE), last_page = UINT64_MAX - 1;
	struct lmdb_damage damage;

	(void)unused;
	fill();
	for (off_t meta = 0; meta < 2 * PAGE; meta += PAGE) {
		overwrite(meta + 16 + 112, &root, sizeof root);
		overwrite(meta + 16 + 120, &last_page, sizeof last_page);
	}
	assert_true(is_refused());
	assert_non_null(strstr(detail.text, "not within the file"));
	assert_int_equal(saved(&damage), 0);
	assert_int_equal(damage.pages, 1);
}

static void a_page_that_is_gone_takes_no_other_with_it(void **unused)
{
	struct lmdb_damage damage;
	uint8_t zeros[PAGE] = {0};
	uint64_t count;
	off_t at;

	(void)unused;
	fill();
	at = find_key(100);
	overwrite(at / PAGE * PAGE, zeros, PAGE);
	assert_true(is_refused());
	count = saved(&damage);
	assert_in_range(count, KEYS - PAGE / 60, KEYS - 1);
	assert_int_equal(damage.pages, 1);
	assert_int_equal(damage.records, 0);
}

static void a_record_whose_checksum_is_wrong_is_left_out_alone(void **unused)
{
	struct lmdb_damage damage;
	off_t at;

	(void)unused;
	fill();
	at = find_key(77);
	overwrite(at + 8 + 20, "?", 1);
	assert_false(is_refused()); /* what is in them is not for pages to know */
	assert_int_equal(saved(&damage), KEYS - 1);
	assert_int_equal(damage.pages, 0);
	assert_int_equal(damage.records, 1);
}

static void one_of_the_first_two_pages_is_enough_to_save_the_rest(void **unused)
{
	struct lmdb_damage damage;
	uint8_t zeros[PAGE] = {0};

	(void)unused;
	fill();
	overwrite(0, zeros, PAGE);
	assert_true(is_refused());
	assert_int_equal(saved(&damage), KEYS);
	overwrite(PAGE, zeros, PAGE);
	assert_int_equal(saved(&damage), 0);
	assert_int_equal(damage.pages, 1);
}

static void a_copy_is_its_owners_alone_and_overwrites_nothing(void **unused)
{
	char copy[96];
	struct stat status;
	struct kv *kv;

	(void)unused;
	fill();
	snprintf(copy, sizeof copy, "%s-copy", path);
	kv = open_kv(true);
	assert_int_equal(kv_lmdb_copy(kv, copy, &detail), ERR_NONE);
	assert_int_equal(stat(copy, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_int_equal(kv_lmdb_copy(kv, copy, &detail), ERR_EXISTS);
	assert_int_equal(access(copy, F_OK), 0);
	kv->ops->close(&kv);
	unlink(copy);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_file_that_is_being_written_is_not_called_damaged),
		CASE(a_key_that_is_not_in_order_is_damage),
		CASE(a_root_beyond_all_files_is_damage),
		CASE(a_page_that_is_gone_takes_no_other_with_it),
		CASE(a_record_whose_checksum_is_wrong_is_left_out_alone),
		CASE(one_of_the_first_two_pages_is_enough_to_save_the_rest),
		CASE(a_copy_is_its_owners_alone_and_overwrites_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
