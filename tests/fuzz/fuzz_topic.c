/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name and two filters, with line breaks between them. What matching, covering and overlapping
 * say must agree, and validity must agree with a plain reading of the rules.
 */
#include "fuzz/support.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

static struct slice take_line(struct slice *rest)
{
	const uint8_t *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
	struct slice line = *rest;

	if (!end) {
		*rest = SLICE_NONE;
		return line;
	}
	line.len = (size_t)(end - line.data);
	*rest = slice_of(end + 1, rest->len - line.len - 1);
	return line;
}

static bool has_byte(struct slice text, uint8_t byte)
{
	return text.len > 0 && memchr(text.data, byte, text.len) != NULL;
}

/* One character at a time, the numbers compared as numbers. */
static bool utf8_is_valid_slowly(struct slice text)
{
	static const uint32_t smallest[] = {0, 1, 0x80, 0x800, 0x10000};
	size_t i = 0;

	while (i < text.len) {
		uint8_t first = text.data[i];
		size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
		uint32_t code = first < 0x80 ? first : first & (0x7fU >> len);

		if ((first >= 0x80 && first < 0xc0) || first >= 0xf8 || text.len - i < len)
			return false;
		for (size_t k = 1; k < len; k++) {
			if ((text.data[i + k] & 0xc0) != 0x80)
				return false;
			code = code << 6 | (text.data[i + k] & 0x3f);
		}
		if (code < smallest[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
			return false;
		i += len;
	}
	return true;
}

/* Level by level: a wildcard stands alone in its level, and '#' in the last one. */
static bool filter_is_valid_slowly(struct slice filter)
{
	struct topic_levels levels = topic_levels_of(filter);
	struct slice level;

	if (filter.len == 0 || filter.len > TOPIC_MAX_BYTES || !utf8_is_valid_slowly(filter))
		return false;
	while (topic_levels_next(&levels, &level)) {
		if ((has_byte(level, '+') || has_byte(level, '#')) && level.len != 1)
			return false;
		if (has_byte(level, '#') && levels.at)
			return false;
	}
	return true;
}

static void check_validity(struct slice text)
{
	bool is_utf8 = utf8_is_valid_slowly(text);
	struct slice group, filter;

	FUZZ_ASSERT(utf8_is_valid(text) == is_utf8);
	FUZZ_ASSERT(topic_filter_is_valid(text) == filter_is_valid_slowly(text));
	FUZZ_ASSERT(topic_name_is_valid(text) ==
		    (is_utf8 && text.len > 0 && text.len <= TOPIC_MAX_BYTES &&
		     !has_byte(text, '+') && !has_byte(text, '#')));
	if (is_utf8)
		FUZZ_ASSERT(utf8_payload_is_valid(text));
	if (topic_filter_parse_shared(text, &group, &filter) != TOPIC_SHARED)
		return;
	fuzz_assert_inside(group, text);
	fuzz_assert_inside(filter, text);
	FUZZ_ASSERT(filter_is_valid_slowly(filter) && group.len > 0 && !has_byte(group, '/'));
}

static void check_two_filters(struct slice a, struct slice b)
{
	FUZZ_ASSERT(topic_filters_overlap(a, b) == topic_filters_overlap(b, a));
	/* No filter is empty as a set, so who covers also overlaps. */
	if (topic_filter_covers(a, b))
		FUZZ_ASSERT(topic_filters_overlap(a, b));
	FUZZ_ASSERT(topic_filter_covers(a, a) && topic_filters_overlap(a, a));
}

static void check_name(struct slice name, struct slice a, struct slice b)
{
	bool in_a = topic_matches_filter(name, a), in_b = topic_matches_filter(name, b);

	/* A name is a filter that matches itself alone. */
	FUZZ_ASSERT(topic_matches_filter(name, name));
	FUZZ_ASSERT(in_a == topic_filter_covers(a, name));
	FUZZ_ASSERT(in_a == topic_filters_overlap(a, name));
	if (in_a && in_b)
		FUZZ_ASSERT(topic_filters_overlap(a, b));
	if (in_b && topic_filter_covers(a, b))
		FUZZ_ASSERT(in_a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size);
	struct slice name = take_line(&rest), a = take_line(&rest), b = rest;

	check_validity(name);
	check_validity(a);
	check_validity(b);
	/* Without meaning for bad ones, but they must read nothing outside. */
	if (!topic_filter_is_valid(a) || !topic_filter_is_valid(b)) {
		(void)topic_matches_filter(name, a);
		(void)topic_filter_covers(a, b);
		(void)topic_filters_overlap(a, b);
		return 0;
	}
	check_two_filters(a, b);
	if (topic_name_is_valid(name))
		check_name(name, a, b);
	return 0;
}
