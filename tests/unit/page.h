/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h - a part of a document that is made from a table, between two marker lines of the page.
 * With NIGHTJAR_UPDATE_DOCS=1 in the environment check_page() writes the part instead of comparing.
 */
#ifndef NIGHTJAR_TESTS_UNIT_PAGE_H
#define NIGHTJAR_TESTS_UNIT_PAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct page {
	const char *path, *begin, *end;
	void (*render)(FILE *out);
};

/* The root of the source tree, three folders above this file. */
static inline char *source_path(char *buffer, size_t bytes, const char *path)
{
	snprintf(buffer, bytes, "%s", __FILE__);
	for (int i = 0; i < 3; i++) {
		char *slash = strrchr(buffer, '/');

		if (slash)
			*slash = '\0';
		else
			strcpy(buffer, ".");
	}
	snprintf(buffer + strlen(buffer), bytes - strlen(buffer), "/%s", path);
	return buffer;
}

static inline char *read_source(const char *path)
{
	char full[512];
	char *text = calloc(1, 1 << 20);
	FILE *file = fopen(source_path(full, sizeof(full), path), "r");

	if (!file || !text)
		fail_msg("%s cannot be read", full);
	else {
		assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
		fclose(file);
	}
	return text;
}

static inline void write_source(const char *path, const char *text)
{
	char full[512];
	FILE *file = fopen(source_path(full, sizeof(full), path), "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* The page as it ought to be: its own text outside of the markers, what is made inside. */
static inline char *render_page(const struct page *page, const char *text)
{
	const char *begin = strstr(text, page->begin), *end = strstr(text, page->end);
	char *whole = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&whole, &size);

	assert_non_null(out);
	if (!begin || !end || end < begin) {
		fclose(out);
		free(whole);
		fail_msg("%s has lost its marker lines", page->path);
		return NULL;
	}
	fprintf(out, "%.*s%s", (int)(begin - text), text, page->begin);
	page->render(out);
	fprintf(out, "%s", end);
	assert_int_equal(fclose(out), 0);
	return whole;
}

static inline void check_page(const struct page *page)
{
	char *text = read_source(page->path);
	char *want = render_page(page, text);

	if (strcmp(text, want) != 0) {
		if (getenv("NIGHTJAR_UPDATE_DOCS"))
			write_source(page->path, want);
		else
			fail_msg("%s is out of date: run this test with NIGHTJAR_UPDATE_DOCS=1",
				 page->path);
	}
	free(want);
	free(text);
}

#endif
