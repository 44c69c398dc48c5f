/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include "mqtt/topic.h"

static struct slice text(const char *string)
{
	return slice_of(exact_copy(string, strlen(string)), strlen(string));
}

static void names_are_what_section_4_7_allows(void **state)
{
	static const char *const good[] = {"a",	 "/",	   "a/b", "/a",	 "a/",
					   "//", "$SYS/x", " ",	  "a b", "\xc3\xa9/x"};
	static const char *const bad[] = {"", "+", "#", "a/+", "a#", "a/b+c/d", "\xff", "a/\xc3"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		ROW_ASSERT(good[i], topic_name_is_valid(text(good[i])));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ROW_ASSERT(bad[i], !topic_name_is_valid(text(bad[i])));
	assert_false(topic_name_is_valid(slice_of("a\0b", 3)));
}

static void filters_have_wildcards_in_their_places_only(void **state)
{
	static const char *const good[] = {"#",	      "+",  "a/#", "+/+", "a/+/b",
					   "/+",      "+/", "/#",  "+/#", "$x/#",
					   "sport/+", "a",  "//",  "/",	  "a//+"};
	static const char *const bad[] = {"",	  "##",	  "a#", "#/a", "a/#/b", "a+",	"+a",
					  "a/b+", "+/+a", "#+", "+#",  "/a#",	"\xff", "a/##"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		ROW_ASSERT(good[i], topic_filter_is_valid(text(good[i])));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ROW_ASSERT(bad[i], !topic_filter_is_valid(text(bad[i])));
	assert_true(topic_filter_has_wildcard(text("a/+/b")));
	assert_true(topic_filter_has_wildcard(text("a/#")));
	assert_false(topic_filter_has_wildcard(text("a/b")));
}

static void a_topic_may_have_65535_bytes_and_no_more(void **state)
{
	uint8_t *long_name = malloc(TOPIC_MAX_BYTES + 1);

	(void)state;
	assert_non_null(long_name);
	memset(long_name, 'a', TOPIC_MAX_BYTES + 1);
	assert_true(topic_name_is_valid(slice_of(long_name, TOPIC_MAX_BYTES)));
	assert_true(topic_filter_is_valid(slice_of(long_name, TOPIC_MAX_BYTES)));
	assert_false(topic_name_is_valid(slice_of(long_name, TOPIC_MAX_BYTES + 1)));
	assert_false(topic_filter_is_valid(slice_of(long_name, TOPIC_MAX_BYTES + 1)));
	free(long_name);
}

static void a_shared_subscription_is_split_into_group_and_filter(void **state)
{
	struct slice group, filter;

	(void)state;
	assert_int_equal(topic_filter_parse_shared(text("$share/g/a/+"), &group, &filter),
			 TOPIC_SHARED);
	assert_slice(group, "g");
	assert_slice(filter, "a/+");
	assert_int_equal(topic_filter_parse_shared(text("$share/g//"), &group, &filter),
			 TOPIC_SHARED);
	assert_slice(filter, "/");
}

static void a_shared_subscription_needs_a_name_and_a_filter(void **state)
{
	static const char *const bad[] = {"$share/",	  "$share/g",	   "$share/g/",
					  "$share//a",	  "$share/+/a",	   "$share/g#/a",
					  "$share/g/#/a", "$share/\xff/a", "$share/g/a+"};
	static const char *const ordinary[] = {"$share", "$sharex/g/a", "share/g/a", "a",
					       "",	 "$SHARE/g/a"};
	struct slice group, filter;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ROW_ASSERT(bad[i], topic_filter_parse_shared(text(bad[i]), &group, &filter) ==
					   TOPIC_SHARE_INVALID);
	for (size_t i = 0; i < COUNT_OF(ordinary); i++)
		ROW_ASSERT(ordinary[i], topic_filter_parse_shared(text(ordinary[i]), &group,
								  &filter) == TOPIC_NOT_SHARED);
}

struct pair_row {
	const char *a;
	const char *b;
	bool expected;
};

static void names_match_filters_as_section_4_7_says(void **state)
{
	static const struct pair_row rows[] = {
		{"a", "a", true},
		{"a", "b", false},
		{"a/b", "a", false},
		{"a", "a/b", false},
		{"sport/tennis/player1", "sport/tennis/player1/#", true},
		{"sport/tennis/player1/ranking", "sport/tennis/player1/#", true},
		{"sport/tennis/player1/score/wimbledon", "sport/tennis/player1/#", true},
		{"sport", "sport/#", true},
		{"sports", "sport/#", false},
		{"sport/tennis/player1", "sport/tennis/+", true},
		{"sport/tennis/player1/ranking", "sport/tennis/+", false},
		{"sport", "sport/+", false},
		{"sport/", "sport/+", true},
		{"/finance", "+/+", true},
		{"/finance", "/+", true},
		{"/finance", "+", false},
		{"/", "+/+", true},
		{"/", "#", true},
		{"a/b/c", "a/+/c", true},
		{"a//c", "a/+/c", true},
		{"a/b/d", "a/+/c", false},
		{"a/b", "+/b/#", true},
		{"$SYS/uptime", "#", false},
		{"$SYS/uptime", "+/uptime", false},
		{"$SYS/uptime", "$SYS/#", true},
		{"$SYS/uptime", "$SYS/+", true},
		{"a/$SYS", "a/+", true},
		{"ACCOUNTS", "Accounts", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (topic_matches_filter(text(rows[i].a), text(rows[i].b)) != rows[i].expected)
			fail_msg("topic '%s' and filter '%s'", rows[i].a, rows[i].b);
}

static void a_filter_covers_another_when_it_matches_all_of_its_names(void **state)
{
	static const struct pair_row rows[] = {
		{"#", "a/b", true},	 {"#", "+/+", true},	  {"#", "#", true},
		{"#", "$SYS/#", false},	 {"+/#", "#", true},	  {"#", "+/#", true},
		{"a/#", "a", true},	 {"a/#", "a/#", true},	  {"a/#", "a/+/b", true},
		{"a/#", "#", false},	 {"a/+", "a/b", true},	  {"a/+", "a/#", false},
		{"a/+/#", "a/#", false}, {"a/#", "a/+/#", true},  {"a/+", "a/+", true},
		{"a/b", "a/+", false},	 {"+/b", "a/b", true},	  {"+/b", "$a/b", false},
		{"$a/+", "$a/b", true},	 {"+", "#", false},	  {"a/b", "a/b", true},
		{"a/b", "a/b/c", false}, {"a/b/c", "a/b", false}, {"+/+", "+", false},
		{"+/#", "+", true},	 {"+/+/#", "#", false},	  {"+/+", "a/b", true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (topic_filter_covers(text(rows[i].a), text(rows[i].b)) != rows[i].expected)
			fail_msg("'%s' over '%s'", rows[i].a, rows[i].b);
}

static void filters_overlap_when_one_name_matches_both(void **state)
{
	static const struct pair_row rows[] = {
		{"a", "a", true},	   {"a", "b", false},	     {"#", "a/b", true},
		{"#", "$SYS/#", false},	   {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/+", true},
		{"a/#", "a", true},	   {"a/#", "+", true},	     {"a/+", "+/b", true},
		{"a/+/c", "a/b", false},   {"a/+/c", "+/b/#", true}, {"a/b", "a/b/c", false},
		{"a/b/#", "a/c/#", false}, {"#", "+", true},	     {"a/+", "a", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (topic_filters_overlap(text(rows[i].a), text(rows[i].b)) != rows[i].expected)
			fail_msg("'%s' and '%s'", rows[i].a, rows[i].b);
		if (topic_filters_overlap(text(rows[i].b), text(rows[i].a)) != rows[i].expected)
			fail_msg("'%s' and '%s', turned round", rows[i].a, rows[i].b);
	}
}

static void levels_are_walked_with_the_empty_ones(void **state)
{
	struct topic_levels levels = topic_levels_of(text("/a//bc/"));
	static const char *const expected[] = {"", "a", "", "bc", ""};
	struct slice level;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		assert_true(topic_levels_next(&levels, &level));
		assert_slice(level, expected[i]);
	}
	assert_false(topic_levels_next(&levels, &level));
	assert_int_equal(topic_levels_count(text("/a//bc/")), 5);
	assert_int_equal(topic_levels_count(text("a")), 1);
	assert_int_equal(topic_levels_count(SLICE_NONE), 0);
}

/*
 * Small worlds, all of them: every filter of up to three levels over two literals, against every
 * name of up to four. What covers and overlap say must be what matching says.
 */
#define WORLD_MAX 1024

static size_t world_build(char world[][16], const char *const *levels, size_t level_count,
			  size_t depth)
{
	size_t count = 0, start = 0, end;

	for (size_t i = 0; i < level_count; i++)
		snprintf(world[count++], 16, "%s", levels[i]);
	for (size_t d = 1; d < depth; d++) {
		end = count;
		for (size_t k = start; k < end; k++) {
			if (strchr(world[k], '#'))
				continue;
			for (size_t i = 0; i < level_count; i++) {
				assert_true(count < WORLD_MAX);
				snprintf(world[count++], 16, "%.12s/%.2s", world[k], levels[i]);
			}
		}
		start = end;
	}
	return count;
}

static void covers_and_overlap_agree_with_matching_in_a_small_world(void **state)
{
	static const char *const filter_levels[] = {"a", "$", "+", "#"};
	static const char *const name_levels[] = {"a", "$", "z"};
	static char filters[WORLD_MAX][16], names[WORLD_MAX][16];
	size_t filter_count = world_build(filters, filter_levels, COUNT_OF(filter_levels), 3);
	size_t name_count = world_build(names, name_levels, COUNT_OF(name_levels), 4);

	(void)state;
	for (size_t i = 0; i < filter_count * filter_count; i++) {
		struct slice a = slice_from_string(filters[i / filter_count]);
		struct slice b = slice_from_string(filters[i % filter_count]);
		bool covers = true, overlap = false;

		for (size_t n = 0; n < name_count; n++) {
			struct slice name = slice_from_string(names[n]);
			bool in_a = topic_matches_filter(name, a);
			bool in_b = topic_matches_filter(name, b);

			covers = covers && (in_a || !in_b);
			overlap = overlap || (in_a && in_b);
		}
		if (topic_filter_covers(a, b) != covers || topic_filters_overlap(a, b) != overlap)
			fail_msg("'%s' and '%s'", (const char *)a.data, (const char *)b.data);
	}
}

int main(void)
{
	const struct CMUnitTest cases[] = {
		CASE(names_are_what_section_4_7_allows),
		CASE(filters_have_wildcards_in_their_places_only),
		CASE(a_topic_may_have_65535_bytes_and_no_more),
		CASE(a_shared_subscription_is_split_into_group_and_filter),
		CASE(a_shared_subscription_needs_a_name_and_a_filter),
		CASE(names_match_filters_as_section_4_7_says),
		CASE(a_filter_covers_another_when_it_matches_all_of_its_names),
		CASE(filters_overlap_when_one_name_matches_both),
		CASE(levels_are_walked_with_the_empty_ones),
		CASE(covers_and_overlap_agree_with_matching_in_a_small_world),
	};

	return cmocka_run_group_tests(cases, NULL, release_all);
}
