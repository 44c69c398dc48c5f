/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fail.h"

enum { SENTENCE_MAX = 1024 };

/* Recursive: a second thread that fails meanwhile waits here for the end of the process. */
static pthread_mutex_t failing = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static fail_fn *also_do;
static void *also_with;

void fail_also(fail_fn *also, void *context)
{
	also_do = also;
	also_with = context;
}

void fail(const char *format, ...)
{
	char sentence[SENTENCE_MAX];
	va_list arguments;
	fail_fn *also;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof sentence, format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&failing);
	fprintf(stderr, "nightjar-bench: %s\n", sentence);
	also = also_do;
	also_do = NULL;
	if (also)
		also(also_with, sentence);
	exit(EXIT_FAILED);
}

void *must_allocate(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		fail("out of memory: %zu bytes wanted", count * size);
	return memory;
}

void *must_resize(void *old, size_t size)
{
	void *memory = realloc(old, size);

	if (!memory)
		fail("out of memory: %zu bytes wanted", size);
	return memory;
}
