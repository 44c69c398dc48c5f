/* SPDX-License-Identifier: Apache-2.0 */
#include "server/config_options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bug.h"
#include "server/config_parse.h"

const struct config_choice config_domains[] = {
	{"ipv4", CONFIG_DOMAIN_IPV4},
	{"ipv6", CONFIG_DOMAIN_IPV6},
	{NULL, 0},
};

const struct config_choice config_queue_drops[] = {
	{"newest", CONFIG_DROP_NEWEST},
	{"oldest", CONFIG_DROP_OLDEST},
	{NULL, 0},
};

const struct config_choice config_shared_strategies[] = {
	{"least_inflight", CONFIG_SHARED_LEAST_INFLIGHT},
	{"round_robin", CONFIG_SHARED_ROUND_ROBIN},
	{"random", CONFIG_SHARED_RANDOM},
	{"hash_client", CONFIG_SHARED_HASH_CLIENT},
	{"hash_topic", CONFIG_SHARED_HASH_TOPIC},
	{NULL, 0},
};

const struct config_choice config_log_formats[] = {
	{"text", CONFIG_LOG_TEXT},
	{"json", CONFIG_LOG_JSON},
	{NULL, 0},
};

const struct config_choice config_proxy_protocols[] = {
	{"off", CONFIG_PROXY_OFF},
	{"on", CONFIG_PROXY_ON},
	{"required", CONFIG_PROXY_REQUIRED},
	{NULL, 0},
};

const struct config_choice config_durabilities[] = {
	{"disk", STORE_DISK},
	{"process", STORE_PROCESS},
	{"none", STORE_NONE},
	{NULL, 0},
};

const struct config_feature config_feature_engines = {
	"OpenSSL engines",
	"take the line out, and keep the key in the file that 'keyfile' names",
};
const struct config_feature config_feature_plugins = {
	"plugins",
	"take the line out, and use password_file and acl_file",
};
const struct config_feature config_feature_bridges = {
	"bridges",
	"take out all lines of the bridge, from 'connection' to its last 'topic'",
};

#define RELOAD CONFIG_TRAIT_RELOAD
#define RESTART CONFIG_TRAIT_RESTART
#define OWN CONFIG_TRAIT_OWN
#define NEWER CONFIG_TRAIT_NEWER
#define ZERO_OK CONFIG_TRAIT_ZERO_OK
#define MINUS_ONE_OK CONFIG_TRAIT_MINUS_ONE_OK
#define LAST_WINS CONFIG_TRAIT_LAST_WINS

#define PLACE_GLOBAL(field) offsetof(struct config, field), sizeof(((struct config *)0)->field)
#define PLACE_LISTENER(field)                                                                      \
	offsetof(struct config_listener, field), sizeof(((struct config_listener *)0)->field)
#define PLACE_ACCESS(field) PLACE_LISTENER(access.field)

#define ENGINES config_feature_engines
#define PLUGINS config_feature_plugins
#define BRIDGES config_feature_bridges

#define ROW(n, k, s, t, h)                                                                         \
	.name = (n), .kind = CONFIG_OPTION_##k, .scope = CONFIG_SCOPE_##s, .traits = (t),          \
	.help = (h)
#define FIELD(s, f) .offset = PLACE_OFFSET(PLACE_##s(f)), .size = PLACE_SIZE(PLACE_##s(f))
#define PLACE_OFFSET(...) PLACE_FIRST(__VA_ARGS__)
#define PLACE_SIZE(...) PLACE_SECOND(__VA_ARGS__)
#define PLACE_FIRST(a, b) (a)
#define PLACE_SECOND(a, b) (b)

#define SECTION(title, text) {ROW(title, SECTION, GLOBAL, RELOAD, text)},
#define FLAG(name, scope, field, value, traits, help)                                              \
	{ROW(name, FLAG, scope, traits, help), FIELD(scope, field), .default_number = (value)},
#define NUMBER(name, scope, field, value, low, high, unit, traits, help)                           \
	{ROW(name, NUMBER, scope, traits, help),                                                   \
	 FIELD(scope, field),                                                                      \
	 .default_number = (value),                                                                \
	 .min = (low),                                                                             \
	 .max = (high),                                                                            \
	 .syntax = (unit)},
#define DURATION(name, scope, field, traits, help)                                                 \
	{ROW(name, DURATION, scope, traits, help), FIELD(scope, field), .syntax = "DURATION"},
#define TEXT(name, scope, field, value, what, sound, traits, help)                                 \
	{ROW(name, TEXT, scope, traits, help), FIELD(scope, field), .default_text = (value),       \
	 .syntax = (what), .check = (sound)},
#define CHOICE(name, scope, field, value, value_name, list, traits, help)                          \
	{ROW(name, CHOICE, scope, traits, help), FIELD(scope, field), .default_number = (value),   \
	 .default_text = (value_name), .choices = (list)},
#define SPECIAL(name, scope, function, what, value, traits, help)                                  \
	{ROW(name, SPECIAL, scope, traits, help), .parse = (function), .syntax = (what),           \
	 .default_text = (value)},
#define LATER(name, what) {ROW(name, LATER, GLOBAL, RELOAD, NULL), .feature = &(what)},
#define LATER_PREFIX(name, what)                                                                   \
	{ROW(name, LATER_PREFIX, GLOBAL, RELOAD, NULL), .feature = &(what)},
#define NO_MEANING(name, help) {ROW(name, NO_MEANING, GLOBAL, RELOAD, help)},
#define ALIAS(name, target) {ROW(name, ALIAS, GLOBAL, RELOAD, NULL), .syntax = (target)},

const struct config_option config_options[] = {
#include "server/options.def"
};

const size_t config_option_count = sizeof(config_options) / sizeof(config_options[0]);

_Static_assert(sizeof(config_options) / sizeof(config_options[0]) <= CONFIG_OPTIONS_MAX,
	       "raise CONFIG_OPTIONS_MAX");

static bool row_has_name(const struct config_option *option, const char *name)
{
	switch (option->kind) {
	case CONFIG_OPTION_SECTION: return false;
	case CONFIG_OPTION_LATER_PREFIX:
		return strncmp(name, option->name, strlen(option->name)) == 0;
	default: return strcmp(name, option->name) == 0;
	}
}

const struct config_option *config_option_find(const char *name)
{
	for (size_t i = 0; i < config_option_count; i++) {
		if (!row_has_name(&config_options[i], name))
			continue;
		if (config_options[i].kind == CONFIG_OPTION_ALIAS)
			return config_option_find(config_options[i].syntax);
		return &config_options[i];
	}
	return NULL;
}

#define NEAR_NAME_BYTES 48

/*
 * How many single-letter edits (insert, delete, replace, case apart) lead from a to b. Both are
 * shorter than NEAR_NAME_BYTES; the table of distances needs one row at a time.
 */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[NEAR_NAME_BYTES + 1];
	size_t b_length = strlen(b);

	for (unsigned j = 0; j <= b_length; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1] != '\0'; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned replace = diagonal + (tolower((unsigned char)a[i - 1]) !=
						       tolower((unsigned char)b[j - 1]));
			unsigned indel = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);

			diagonal = row[j];
			row[j] = replace < indel ? replace : indel;
		}
	}
	return row[b_length];
}

const char *config_option_nearest(const char *name)
{
	size_t length = strlen(name);
	unsigned best = length < 6 ? 2 : 4; /* one wrong letter in a short name, three in others */
	const char *nearest = NULL;

	if (length >= NEAR_NAME_BYTES)
		return NULL;
	for (size_t i = 0; i < config_option_count; i++) {
		const struct config_option *option = &config_options[i];

		if (option->kind == CONFIG_OPTION_SECTION ||
		    option->kind == CONFIG_OPTION_LATER_PREFIX ||
		    strlen(option->name) >= NEAR_NAME_BYTES)
			continue;
		unsigned distance = edit_distance(name, option->name);

		if (distance < best) {
			best = distance;
			nearest = option->name;
		}
	}
	return nearest;
}

bool config_option_has_field(const struct config_option *option)
{
	return option->size != 0;
}

void config_option_set_number(const struct config_option *option, void *base, int64_t value)
{
	void *field = (char *)base + option->offset;

	switch (option->size) {
	case 1: {
		uint8_t narrow = (uint8_t)value;
		memcpy(field, &narrow, sizeof(narrow));
		break;
	}
	case 2: {
		uint16_t narrow = (uint16_t)value;
		memcpy(field, &narrow, sizeof(narrow));
		break;
	}
	case 4: {
		uint32_t narrow = (uint32_t)value;
		memcpy(field, &narrow, sizeof(narrow));
		break;
	}
	default: BUG_ON(option->size != sizeof(value)); memcpy(field, &value, sizeof(value));
	}
}

int64_t config_option_number(const struct config_option *option, const void *base)
{
	const void *field = (const char *)base + option->offset;
	uint64_t value = 0;

	switch (option->size) {
	case 1: return *(const uint8_t *)field;
	case 2: return *(const uint16_t *)field;
	case 4:
		if (option->traits & CONFIG_TRAIT_MINUS_ONE_OK)
			return *(const int32_t *)field;
		return *(const uint32_t *)field;
	default:
		BUG_ON(option->size != sizeof(value));
		memcpy(&value, field, sizeof(value));
		return (int64_t)value;
	}
}

void config_option_set_text(const struct config_option *option, void *base, const char *value)
{
	memcpy((char *)base + option->offset, &value, sizeof(value));
}

const char *config_option_text(const struct config_option *option, const void *base)
{
	const char *value;

	memcpy(&value, (const char *)base + option->offset, sizeof(value));
	return value;
}

void config_option_copy(const struct config_option *option, void *to, const void *from)
{
	memcpy((char *)to + option->offset, (const char *)from + option->offset, option->size);
}

static bool is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool config_option_is_same(const struct config_option *option, const void *a, const void *b)
{
	if (!config_option_has_field(option))
		return true;
	if (option->kind == CONFIG_OPTION_TEXT)
		return is_same_text(config_option_text(option, a), config_option_text(option, b));
	return config_option_number(option, a) == config_option_number(option, b);
}

bool config_option_is_default(const struct config_option *option, const void *base)
{
	if (option->kind == CONFIG_OPTION_TEXT)
		return is_same_text(config_option_text(option, base), option->default_text);
	return config_option_number(option, base) == option->default_number;
}

void config_option_set_default(const struct config_option *option, void *base)
{
	if (!config_option_has_field(option))
		return;
	if (option->kind == CONFIG_OPTION_TEXT)
		config_option_set_text(option, base, option->default_text);
	else
		config_option_set_number(option, base, option->default_number);
}

static const char *choice_name(const struct config_option *option, int64_t value)
{
	for (const struct config_choice *choice = option->choices; choice->name; choice++)
		if (choice->value == value)
			return choice->name;
	return option->default_text;
}

const char *config_option_show(const struct config_option *option, const void *base, char *buffer,
			       size_t bytes)
{
	const char *text;

	switch (option->kind) {
	case CONFIG_OPTION_FLAG:
		text = config_option_number(option, base) ? "true" : "false";
		break;
	case CONFIG_OPTION_TEXT: text = config_option_text(option, base); break;
	case CONFIG_OPTION_CHOICE:
		text = choice_name(option, config_option_number(option, base));
		break;
	default:
		snprintf(buffer, bytes, "%" PRId64 "%s", config_option_number(option, base),
			 option->kind == CONFIG_OPTION_DURATION ? "s" : "");
		return buffer;
	}
	snprintf(buffer, bytes, "%s", text ? text : "nothing");
	return buffer;
}

static void show_choices(const struct config_option *option, char *buffer, size_t bytes)
{
	size_t used = 0;

	for (const struct config_choice *choice = option->choices; choice->name; choice++) {
		const char *before = choice == option->choices ? ""
				     : choice[1].name	       ? ", "
							       : " or ";
		int n = snprintf(buffer + used, bytes - used, "%s%s", before, choice->name);

		if (n < 0 || (size_t)n >= bytes - used)
			return;
		used += (size_t)n;
	}
}

const char *config_option_allowed(const struct config_option *option, char *buffer, size_t bytes)
{
	switch (option->kind) {
	case CONFIG_OPTION_FLAG: snprintf(buffer, bytes, "true or false"); break;
	case CONFIG_OPTION_NUMBER:
		snprintf(buffer, bytes, "%sa whole number from %" PRId64 " to %" PRId64,
			 option->traits & CONFIG_TRAIT_ZERO_OK	      ? "0 or "
			 : option->traits & CONFIG_TRAIT_MINUS_ONE_OK ? "-1 or "
								      : "",
			 option->min, option->max);
		break;
	case CONFIG_OPTION_DURATION:
		snprintf(buffer, bytes,
			 "a whole number and one of s, h, d, w, m, y (30s, 2h, 14d, ...), or 0");
		break;
	case CONFIG_OPTION_CHOICE: show_choices(option, buffer, bytes); break;
	default: snprintf(buffer, bytes, "%s", option->syntax ? option->syntax : "nothing");
	}
	return buffer;
}

const char *config_option_default(const struct config_option *option, char *buffer, size_t bytes)
{
	switch (option->kind) {
	case CONFIG_OPTION_FLAG:
		snprintf(buffer, bytes, "%s", option->default_number ? "true" : "false");
		break;
	case CONFIG_OPTION_NUMBER:
	case CONFIG_OPTION_DURATION:
		snprintf(buffer, bytes, "%" PRId64, option->default_number);
		break;
	default:
		snprintf(buffer, bytes, "%s", option->default_text ? option->default_text : "none");
	}
	return buffer;
}
