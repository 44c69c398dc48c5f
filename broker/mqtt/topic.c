/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic.c - Topic Names and Topic Filters, level by level.
 *
 * What a filter matches, as sets of names, is all that covers and overlap rest on:
 *
 *	literal   exactly this level
 *	+	  any one level, at the first level none that begins with '$'
 *	#	  the parent and all below it; alone: every name that does not begin with '$'
 */
#include "mqtt/topic.h"

#include "mqtt/utf8.h"

static inline bool level_is(struct slice level, char wildcard)
{
	return level.len == 1 && level.data[0] == (uint8_t)wildcard;
}

static inline bool starts_with_wildcard(struct slice filter)
{
	return filter.len > 0 && (filter.data[0] == '+' || filter.data[0] == '#');
}

static inline bool starts_with_dollar(struct slice text)
{
	return text.len > 0 && text.data[0] == '$';
}

bool topic_name_is_valid(struct slice name)
{
	return name.len > 0 && name.len <= TOPIC_MAX_BYTES && utf8_is_valid_without(name, '+', '#');
}

/* Bytes may be compared without decoding: no byte of a longer UTF-8 character is ASCII. */
static bool wildcards_are_in_place(struct slice filter)
{
	for (size_t i = 0; i < filter.len; i++) {
		uint8_t byte = filter.data[i];

		if (byte != '+' && byte != '#')
			continue;
		if (i > 0 && filter.data[i - 1] != '/')
			return false;
		if (i + 1 == filter.len)
			return true;
		if (byte == '#' || filter.data[i + 1] != '/')
			return false;
	}
	return true;
}

bool topic_filter_is_valid(struct slice filter)
{
	return filter.len > 0 && filter.len <= TOPIC_MAX_BYTES && utf8_is_valid(filter) &&
	       wildcards_are_in_place(filter);
}

/* In a valid filter a wildcard character is always a wildcard. */
bool topic_filter_has_wildcard(struct slice filter)
{
	for (size_t i = 0; i < filter.len; i++)
		if (filter.data[i] == '+' || filter.data[i] == '#')
			return true;
	return false;
}

enum topic_share topic_filter_parse_shared(struct slice text, struct slice *out_group,
					   struct slice *out_filter)
{
	static const char prefix[] = "$share/";
	const size_t prefix_len = sizeof prefix - 1;
	const uint8_t *slash;
	struct slice rest, group, filter;

	if (text.len < prefix_len || memcmp(text.data, prefix, prefix_len) != 0)
		return TOPIC_NOT_SHARED;
	rest = slice_of(text.data + prefix_len, text.len - prefix_len);
	slash = rest.len > 0 ? memchr(rest.data, '/', rest.len) : NULL;
	if (!slash)
		return TOPIC_SHARE_INVALID;
	group = slice_of(rest.data, (size_t)(slash - rest.data));
	filter = slice_of(slash + 1, rest.len - group.len - 1);
	if (text.len > TOPIC_MAX_BYTES || group.len == 0 ||
	    !utf8_is_valid_without(group, '+', '#') || !topic_filter_is_valid(filter))
		return TOPIC_SHARE_INVALID;
	*out_group = group;
	*out_filter = filter;
	return TOPIC_SHARED;
}

bool topic_matches_filter(struct slice name, struct slice filter)
{
	struct topic_levels names = topic_levels_of(name);
	struct topic_levels filters = topic_levels_of(filter);
	struct slice level, wanted;

	if (starts_with_dollar(name) && starts_with_wildcard(filter))
		return false;
	while (topic_levels_next(&filters, &wanted)) {
		/* Here the name may have ended: "a/#" matches "a" too. */
		if (level_is(wanted, '#'))
			return true;
		if (!topic_levels_next(&names, &level))
			return false;
		if (!level_is(wanted, '+') && !slice_equal(wanted, level))
			return false;
	}
	return !topic_levels_next(&names, &level);
}

bool topic_filter_covers(struct slice broad, struct slice narrow)
{
	struct topic_levels broads = topic_levels_of(broad);
	struct topic_levels narrows = topic_levels_of(narrow);
	struct slice wide, tight;

	if (starts_with_wildcard(broad) && starts_with_dollar(narrow))
		return false;
	/* "#" and "+/#" are the same set: every name has a first level. */
	if (slice_equal_string(narrow, "#"))
		return slice_equal_string(broad, "#") || slice_equal_string(broad, "+/#");
	while (topic_levels_next(&broads, &wide)) {
		if (level_is(wide, '#'))
			return true;
		if (!topic_levels_next(&narrows, &tight) || level_is(tight, '#'))
			return false;
		if (!level_is(wide, '+') && !slice_equal(wide, tight))
			return false;
	}
	return !topic_levels_next(&narrows, &tight);
}

bool topic_filters_overlap(struct slice a, struct slice b)
{
	struct topic_levels levels_a = topic_levels_of(a);
	struct topic_levels levels_b = topic_levels_of(b);
	struct slice level_a = SLICE_NONE, level_b = SLICE_NONE;
	bool more_a, more_b;

	if ((starts_with_wildcard(a) && starts_with_dollar(b)) ||
	    (starts_with_wildcard(b) && starts_with_dollar(a)))
		return false;
	for (;;) {
		more_a = topic_levels_next(&levels_a, &level_a);
		more_b = topic_levels_next(&levels_b, &level_b);
		if ((more_a && level_is(level_a, '#')) || (more_b && level_is(level_b, '#')))
			return true;
		if (!more_a || !more_b)
			return more_a == more_b;
		if (!level_is(level_a, '+') && !level_is(level_b, '+') &&
		    !slice_equal(level_a, level_b))
			return false;
	}
}

size_t topic_levels_count(struct slice topic)
{
	struct topic_levels levels = topic_levels_of(topic);
	struct slice level;
	size_t count = 0;

	while (topic_levels_next(&levels, &level))
		count++;
	return count;
}
