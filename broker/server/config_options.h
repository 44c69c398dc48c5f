/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_options.h - options.def as a table: how each directive is read, stored, compared, shown.
 *
 * Frozen at compile time. Used by the parser, by reload, and by the test that makes the reference
 * pages; nobody else needs it.
 */
#ifndef NIGHTJAR_SERVER_CONFIG_OPTIONS_H
#define NIGHTJAR_SERVER_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "server/config.h"

struct config_parser;

enum config_option_kind {
	CONFIG_OPTION_SECTION, /* a heading: name is the title, help the text below it */
	CONFIG_OPTION_FLAG,
	CONFIG_OPTION_NUMBER,
	CONFIG_OPTION_DURATION,
	CONFIG_OPTION_TEXT,
	CONFIG_OPTION_CHOICE,
	CONFIG_OPTION_SPECIAL,
	CONFIG_OPTION_LATER,
	CONFIG_OPTION_LATER_PREFIX,
	CONFIG_OPTION_NO_MEANING,
	CONFIG_OPTION_ALIAS,
};

enum config_option_scope {
	CONFIG_SCOPE_GLOBAL,   /* offset counts in struct config */
	CONFIG_SCOPE_LISTENER, /* offset counts in struct config_listener */
	CONFIG_SCOPE_ACCESS,   /* the same; one value for all unless per_listener_settings */
};

enum config_option_traits {
	CONFIG_TRAIT_RELOAD = 0,
	CONFIG_TRAIT_RESTART = 1 << 0,
	CONFIG_TRAIT_OWN = 1 << 1,
	CONFIG_TRAIT_NEWER = 1 << 2,
	CONFIG_TRAIT_ZERO_OK = 1 << 3,
	CONFIG_TRAIT_MINUS_ONE_OK = 1 << 4,
	CONFIG_TRAIT_LAST_WINS = 1 << 5,
};

/* What a LATER option waits for, and what to do without it. */
struct config_feature {
	const char *name;
	const char *mend;
};

struct config_choice {
	const char *name; /* NULL ends the list */
	int value;
};

struct config_option {
	const char *name;
	enum config_option_kind kind;
	enum config_option_scope scope;
	unsigned traits;
	const char *help;
	size_t offset; /* of the field, by scope; its size in bytes */
	size_t size;
	int64_t default_number; /* FLAG, NUMBER, DURATION, CHOICE */
	const char
		*default_text; /* TEXT: the value or NULL; CHOICE and SPECIAL: for the reference */
	int64_t min, max;
	const char *syntax; /* what follows the name, or a number's unit; ALIAS: the target */
	const struct config_choice *choices;
	/* TEXT: is the value sound? If not, the detail says why: "is not a topic prefix: ...". */
	enum err (*check)(const char *value, struct err_detail *why);
	void (*parse)(struct config_parser *parser, const struct config_option *option,
		      char *value);
	const struct config_feature *feature;
};

/* More rows than options.def has, so that per-option arrays can have a fixed size. */
#define CONFIG_OPTIONS_MAX 192

extern const struct config_option config_options[];
extern const size_t config_option_count;

/* The row of a name, an alias followed; NULL: unknown. */
const struct config_option *config_option_find(const char *name);

/* The known name that is most like name, NULL when none is near. */
const char *config_option_nearest(const char *name);

static inline size_t config_option_index(const struct config_option *option)
{
	return (size_t)(option - config_options);
}

/* Does the option have a field (is it FLAG, NUMBER, DURATION, TEXT or CHOICE)? */
bool config_option_has_field(const struct config_option *option);

/*
 * Fields by option. base is the struct config or the struct config_listener that holds the field;
 * numbers include flags and choices.
 */
void config_option_set_number(const struct config_option *option, void *base, int64_t value);
int64_t config_option_number(const struct config_option *option, const void *base);
void config_option_set_text(const struct config_option *option, void *base, const char *value);
const char *config_option_text(const struct config_option *option, const void *base);

void config_option_copy(const struct config_option *option, void *to, const void *from);
bool config_option_is_same(const struct config_option *option, const void *a, const void *b);
bool config_option_is_default(const struct config_option *option, const void *base);
void config_option_set_default(const struct config_option *option, void *base);

/* The value as one would write it; "nothing" for a text that is not set. Returns buffer. */
const char *config_option_show(const struct config_option *option, const void *base, char *buffer,
			       size_t bytes);

/* What may follow the name, for messages and the reference: "a whole number from 0 to 2". */
const char *config_option_allowed(const struct config_option *option, char *buffer, size_t bytes);

/* The default as it stands in the reference: "10", "true", "none". Returns buffer. */
const char *config_option_default(const struct config_option *option, char *buffer, size_t bytes);

#endif
