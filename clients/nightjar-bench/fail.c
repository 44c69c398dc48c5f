/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fail.h"

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("nightjar-bench: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
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
