/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus_main.c - runs one fuzz target over its stored inputs, without a fuzzer.
 *
 * usage: corpus_<name> FOLDER...
 *
 * Every input that once mattered stays in the corpus, so this is a regression test that any
 * compiler can run. A folder without a file fails: a test of nothing must not pass.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_bytes(const uint8_t *bytes, size_t size)
{
	/* An allocation of the exact size, so that AddressSanitizer sees a read past the end. */
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy) {
		fprintf(stderr, "corpus: no memory for %zu bytes\n", size);
		exit(1);
	}
	if (size)
		memcpy(copy, bytes, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes;
	struct stat status;
	size_t size;

	if (!file || fstat(fileno(file), &status) != 0) {
		fprintf(stderr, "corpus: %s: %s\n", path, strerror(errno));
		if (file)
			fclose(file);
		return -1;
	}
	size = (size_t)status.st_size;
	bytes = malloc(size + 1);
	if (!bytes || fread(bytes, 1, size, file) != size) {
		fprintf(stderr, "corpus: %s: cannot be read whole\n", path);
		free(bytes);
		fclose(file);
		return -1;
	}
	fclose(file);
	run_bytes(bytes, size);
	free(bytes);
	return 0;
}

/* Returns how many files ran, or -1. */
static long run_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[4096];
	long count = 0;

	if (!dir) {
		fprintf(stderr, "corpus: %s: %s\n", folder, strerror(errno));
		return -1;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (run_file(path) != 0) {
			closedir(dir);
			return -1;
		}
		count++;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FOLDER...\n", argv[0]);
		return 2;
	}
	run_bytes((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++) {
		long count = run_folder(argv[i]);

		if (count <= 0) {
			fprintf(stderr, "corpus: %s holds no input; add at least one file\n",
				argv[i]);
			return 1;
		}
		printf("%s: %ld inputs\n", argv[i], count);
	}
	return 0;
}
