/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exposition.h - is this a page that Prometheus takes (text format 0.0.4)? A strict reader: one HELP
 * and one TYPE for each metric, all its samples behind them and together, names and labels well formed,
 * buckets that rise, +Inf and _count that agree.
 */
#ifndef NIGHTJAR_TESTS_UNIT_HTTP_EXPOSITION_H
#define NIGHTJAR_TESTS_UNIT_HTTP_EXPOSITION_H

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPOSITION_METRICS_MAX 512
#define EXPOSITION_SAMPLES_MAX 8192

struct exposition {
	char metric[128], type[16]; /* that the samples belong to */
	char seen[EXPOSITION_METRICS_MAX][128];
	unsigned seen_count;
	char series[EXPOSITION_SAMPLES_MAX][192];
	unsigned sample_count;
	double bucket, bound; /* of the histogram's series that is being read */
	bool has_inf;
	char why[256]; /* empty: nothing is wrong */
};

static inline bool exposition_wrong(struct exposition *page, const char *what, const char *line)
{
	snprintf(page->why, sizeof page->why, "%s: %.150s", what, line);
	return false;
}

static inline size_t exposition_name(const char *text)
{
	size_t len = 0;

	while (isalpha((unsigned char)text[len]) || text[len] == '_' || text[len] == ':' ||
	       (len > 0 && isdigit((unsigned char)text[len])))
		len++;
	return len;
}

/* The length of {name="value",...}; 0: malformed. */
static inline size_t exposition_labels(const char *text)
{
	const char *at = text + 1;

	for (;;) {
		size_t name = exposition_name(at);

		if (name == 0 || strncmp(at + name, "=\"", 2) != 0)
			return 0;
		for (at += name + 2; *at != '"'; at++) {
			if (*at == '\n' || *at == '\0')
				return 0;
			if (*at == '\\' && !strchr("\\\"n", *++at))
				return 0;
		}
		at++;
		if (*at == '}')
			return (size_t)(at + 1 - text);
		if (*at++ != ',')
			return 0;
	}
}

static inline bool exposition_comment(struct exposition *page, const char *line)
{
	char name[128] = "", type[16] = "";

	if (sscanf(line, "# HELP %127s", name) == 1) {
		for (unsigned i = 0; i < page->seen_count; i++)
			if (strcmp(page->seen[i], name) == 0)
				return exposition_wrong(page, "HELP twice, or apart", line);
		if (page->seen_count == EXPOSITION_METRICS_MAX)
			return exposition_wrong(page, "too many metrics", line);
		memcpy(page->seen[page->seen_count++], name, sizeof name);
		memcpy(page->metric, name, sizeof name);
		page->type[0] = '\0';
		return true;
	}
	if (sscanf(line, "# TYPE %127s %15s", name, type) != 2 || page->type[0] ||
	    strcmp(name, page->metric) != 0)
		return exposition_wrong(page, "a TYPE that does not follow its HELP", line);
	if (strcmp(type, "counter") != 0 && strcmp(type, "gauge") != 0 &&
	    strcmp(type, "histogram") != 0)
		return exposition_wrong(page, "an unknown type", line);
	memcpy(page->type, type, sizeof type);
	return true;
}

/* Buckets come in order, +Inf last, then _sum and _count of the same. */
static inline bool exposition_histogram(struct exposition *page, const char *line,
					const char *suffix, double value)
{
	const char *le = strstr(line, "le=\"");
	double bound;

	if (strncmp(suffix, "_bucket", 7) == 0 && le) {
		bound = strncmp(le, "le=\"+Inf", 8) == 0 ? INFINITY : strtod(le + 4, NULL);
		if (!page->has_inf && page->bucket >= 0 &&
		    (bound <= page->bound || value < page->bucket))
			return exposition_wrong(page, "buckets that do not rise", line);
		page->bound = bound;
		page->bucket = value;
		page->has_inf = isinf(bound);
		return true;
	}
	if (strncmp(suffix, "_sum", 4) == 0)
		return page->has_inf || exposition_wrong(page, "a sum without +Inf", line);
	if (strncmp(suffix, "_count", 6) != 0)
		return exposition_wrong(page, "no part of a histogram", line);
	if (!page->has_inf || value != page->bucket)
		return exposition_wrong(page, "a count that is not +Inf's", line);
	page->bucket = -1;
	page->has_inf = false;
	return true;
}

static inline bool exposition_sample(struct exposition *page, const char *line)
{
	size_t name = exposition_name(line), base = strlen(page->metric), labels = 0;
	bool is_histogram = strcmp(page->type, "histogram") == 0;
	char *end;
	double value;

	if (!page->type[0] || strncmp(line, page->metric, base) != 0 ||
	    (!is_histogram && name != base))
		return exposition_wrong(page, "a sample apart from its metric", line);
	if (line[name] == '{' && !(labels = exposition_labels(line + name)))
		return exposition_wrong(page, "malformed labels", line);
	if (line[name + labels] != ' ')
		return exposition_wrong(page, "no value", line);
	value = strtod(line + name + labels + 1, &end);
	if (*end != '\n' || isnan(value))
		return exposition_wrong(page, "a value that is no number", line);
	if (strcmp(page->type, "counter") == 0 &&
	    (value < 0 || base < 6 || strcmp(page->metric + base - 6, "_total") != 0))
		return exposition_wrong(page, "a counter that is none", line);
	for (unsigned i = 0; i < page->sample_count; i++)
		if (strncmp(page->series[i], line, name + labels + 1) == 0)
			return exposition_wrong(page, "a series twice", line);
	if (page->sample_count == EXPOSITION_SAMPLES_MAX || name + labels + 2 > 192)
		return exposition_wrong(page, "too many samples, or too long", line);
	snprintf(page->series[page->sample_count++], 192, "%.*s", (int)(name + labels + 1), line);
	return !is_histogram || exposition_histogram(page, line, line + base, value);
}

/* text ends with a zero byte. The result is freed by the caller. */
static inline struct exposition *exposition_read(const char *text)
{
	struct exposition *page = calloc(1, sizeof *page);

	page->bucket = -1;
	while (*text) {
		const char *next = strchr(text, '\n');

		if (!next) {
			exposition_wrong(page, "no line break at the end", text);
			return page;
		}
		if (!(*text == '#' ? exposition_comment(page, text)
				   : exposition_sample(page, text)))
			return page;
		text = next + 1;
	}
	return page;
}

#endif
