/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line with one hash, then the text of a password_file. A hash that reads must be written the
 * same way again; nothing is verified, since a fuzzer would soon ask for ten million iterations.
 */
#include "auth/password_file.h"
#include "auth/password_hash.h"
#include "fuzz/support.h"

static void check_hash(struct slice text)
{
	struct password_hash hash, again;
	struct err_detail detail = {0};
	char written[PASSWORD_TEXT_MAX];
	size_t length;

	if (password_hash_parse(text, &hash, &detail) != ERR_NONE) {
		FUZZ_ASSERT(detail.text[0]);
		return;
	}
	length = password_hash_format(&hash, written);
	FUZZ_ASSERT(slice_equal(slice_of(written, length), text));
	FUZZ_ASSERT(password_hash_parse(slice_of(written, length), &again, NULL) == ERR_NONE);
	FUZZ_ASSERT(password_hash_equal(&hash, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t len = end ? (size_t)(end - data) : size;
	struct slice rest = slice_of(data + len, size - len);
	struct err_detail detail = {0};
	struct password_file *file;

	check_hash(slice_of(data, len));
	if (password_file_parse(rest, "users", &file, &detail) != ERR_NONE) {
		FUZZ_ASSERT(!file && strncmp(detail.text, "users:", 6) == 0);
		return 0;
	}
	FUZZ_ASSERT(!password_file_find(file, SLICE_NONE));
	FUZZ_ASSERT(password_file_count(file) <= rest.len);
	password_file_unref(&file);
	return 0;
}
