/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic.h - Topic Names and Topic Filters (sections 4.7 and 4.8.2).
 *
 * A Topic Name is what one publishes to; a Topic Filter is what one subscribes to and may hold
 * wildcards. Both are levels with '/' between them; "/a" has two levels, the first of them empty.
 * Names are compared byte by byte and never normalised [MQTT-4.7.3-4].
 *
 * Everything here is a pure function of its arguments. Functions that compare take what
 * topic_name_is_valid / topic_filter_is_valid have accepted; on other bytes they give an answer
 * without meaning, but read nothing outside of the slices.
 */
#ifndef NIGHTJAR_MQTT_TOPIC_H
#define NIGHTJAR_MQTT_TOPIC_H

#include "base/slice.h"

#define TOPIC_MAX_BYTES 65535 /* [MQTT-4.7.3-3] */

/* At least one character, UTF-8 without U+0000, no wildcard, at most TOPIC_MAX_BYTES. */
bool topic_name_is_valid(struct slice name);

/* The same with wildcards in their places [MQTT-4.7.1-1, -2]. Says nothing about "$share/". */
bool topic_filter_is_valid(struct slice filter);

bool topic_filter_has_wildcard(struct slice filter);

enum topic_share {
	TOPIC_NOT_SHARED,    /* does not start with "$share/": an ordinary filter, not checked */
	TOPIC_SHARED,	     /* $share/group/filter, all of it valid */
	TOPIC_SHARE_INVALID, /* starts with "$share/" and is not valid */
};

/*
 * Splits "$share/group/filter" [MQTT-4.8.2-1, -2]. The group has at least one character and none of
 * '/', '+' and '#'; the filter must be a valid Topic Filter. out_group and out_filter are
 * views, and set for TOPIC_SHARED only.
 */
enum topic_share topic_filter_parse_shared(struct slice text, struct slice *out_group,
					   struct slice *out_filter);

/*
 * Would a message to this name be delivered to this filter? A filter that begins with a wildcard
 * does not match a name that begins with '$' [MQTT-4.7.2-1].
 */
bool topic_matches_filter(struct slice name, struct slice filter);

/* Does every Topic Name that matches narrow also match broad? */
bool topic_filter_covers(struct slice broad, struct slice narrow);

/* Is there a Topic Name that matches both? */
bool topic_filters_overlap(struct slice a, struct slice b);

/*
 * Walks over the levels of a name or filter, empty ones included:
 *
 *	struct topic_levels levels = topic_levels_of(topic);
 *	struct slice level;
 *	while (topic_levels_next(&levels, &level))
 *		...
 */
struct topic_levels {
	const uint8_t *at; /* NULL when all levels were given out */
	const uint8_t *end;
};

static inline struct topic_levels topic_levels_of(struct slice topic)
{
	if (topic.len == 0)
		return (struct topic_levels){NULL, NULL};
	return (struct topic_levels){topic.data, topic.data + topic.len};
}

static inline bool topic_levels_next(struct topic_levels *levels, struct slice *out_level)
{
	const uint8_t *start = levels->at;
	const uint8_t *slash;

	if (!start)
		return false;
	/* Levels are short, so a plain loop beats memchr() and its call. */
	for (slash = start; slash < levels->end && *slash != '/'; slash++)
		;
	*out_level = slice_of(start, (size_t)(slash - start));
	levels->at = slash < levels->end ? slash + 1 : NULL;
	return true;
}

/* The number of levels; 0 for an empty slice. */
size_t topic_levels_count(struct slice topic);

#endif
