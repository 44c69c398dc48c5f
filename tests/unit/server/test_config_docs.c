/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages about the options agree with options.def, because they are made from it: the part
 * between two marker lines of each page. With NIGHTJAR_UPDATE_DOCS=1 in the environment the test
 * writes these parts instead of comparing them.
 */
#include "unit/page.h"

#include <ctype.h>

#include "server/config.h"
#include "server/config_options.h"

/* Prints text in lines of at most width columns, each behind prefix. */
static void wrap(FILE *out, const char *prefix, int width, const char *text)
{
	int column = 0;

	while (*text) {
		int word = (int)strcspn(text, " ");

		if (column > 0 && column + 1 + word > width) {
			fputc('\n', out);
			column = 0;
		}
		column += fprintf(out, "%s%.*s", column == 0 ? prefix : " ", word, text);
		text += word + (text[word] == ' ');
	}
	fputc('\n', out);
}

static bool is_listed(const struct config_option *option)
{
	return option->kind >= CONFIG_OPTION_FLAG && option->kind <= CONFIG_OPTION_SPECIAL;
}

static const char *value_name(const struct config_option *option)
{
	static char choices[128];

	switch (option->kind) {
	case CONFIG_OPTION_FLAG: return "true|false";
	case CONFIG_OPTION_NUMBER: return "NUMBER";
	case CONFIG_OPTION_CHOICE:
		choices[0] = '\0';
		for (const struct config_choice *choice = option->choices; choice->name; choice++)
			snprintf(choices + strlen(choices), sizeof(choices) - strlen(choices),
				 "%s%s", choice == option->choices ? "" : "|", choice->name);
		return choices;
	default: return option->syntax;
	}
}

static const char *scope_name(const struct config_option *option)
{
	switch (option->scope) {
	case CONFIG_SCOPE_LISTENER: return "of a listener";
	case CONFIG_SCOPE_ACCESS: return "of a listener with per_listener_settings, else for all";
	default: return "for the whole broker";
	}
}

static const char *origin_name(const struct config_option *option)
{
	if (option->traits & CONFIG_TRAIT_OWN)
		return "Nightjar's own";
	if (option->traits & CONFIG_TRAIT_NEWER)
		return "as in mosquitto 2.1";
	return "";
}

static const char *default_name(const struct config_option *option)
{
	static char text[128];

	return config_option_default(option, text, sizeof(text));
}

/* "0 to 65535 seconds", "" where there is nothing to say. */
static const char *range_name(const struct config_option *option)
{
	static char text[160];
	char allowed[128];
	bool is_measure;

	if (option->kind != CONFIG_OPTION_NUMBER || option->max >= INT64_MAX)
		return "";
	config_option_allowed(option, allowed, sizeof(allowed));
	is_measure = strcmp(option->syntax, "bytes") == 0 ||
		     strcmp(option->syntax, "seconds") == 0 ||
		     strcmp(option->syntax, "minutes") == 0;
	snprintf(text, sizeof(text), "%s%s%s", allowed, is_measure ? ", in " : "",
		 is_measure ? option->syntax : "");
	return text;
}

static const struct config_option *next_section(const struct config_option *option)
{
	const struct config_option *end = config_options + config_option_count;

	while (option < end && option->kind != CONFIG_OPTION_SECTION)
		option++;
	return option;
}

/* Calls visit for each heading with the options below it. */
static void each_section(FILE *out, void (*visit)(FILE *out, const struct config_option *section,
						  const struct config_option *end))
{
	const struct config_option *end = config_options + config_option_count;

	for (const struct config_option *section = config_options; section < end;) {
		const struct config_option *next = next_section(section + 1);

		visit(out, section, next);
		section = next;
	}
}

/* docs/configuration.md */

static void markdown_option(FILE *out, const struct config_option *option)
{
	const char *origin = origin_name(option), *range = range_name(option);

	fprintf(out, "\n#### `%s %s`\n\n", option->name, value_name(option));
	wrap(out, "", 100, option->help);
	fprintf(out, "\n- Default: `%s`", default_name(option));
	if (*range)
		fprintf(out, "; takes %s", range);
	fprintf(out, "\n- Holds %s; %s%s%s\n", scope_name(option),
		option->traits & CONFIG_TRAIT_RESTART ? "a change needs a restart"
						      : "read again on SIGHUP",
		*origin ? "; " : "", origin);
}

static void markdown_names(FILE *out, const struct config_option *section,
			   const struct config_option *end)
{
	const struct config_feature *feature = NULL;

	for (const struct config_option *option = section + 1; option < end; option++) {
		if (option->feature && option->feature != feature)
			fprintf(out, "%s- %s: ", feature ? "\n" : "\n", option->feature->name);
		else if (option->kind == CONFIG_OPTION_NO_MEANING)
			fprintf(out, "\n- ");
		else
			fprintf(out, "%s", option == section + 1 ? "\n" : ", ");
		feature = option->feature;
		fprintf(out, "`%s%s`", option->name,
			option->kind == CONFIG_OPTION_LATER_PREFIX ? "*" : "");
		if (option->kind == CONFIG_OPTION_NO_MEANING)
			fprintf(out, ": %s", option->help);
	}
	fputc('\n', out);
}

static void markdown_section(FILE *out, const struct config_option *section,
			     const struct config_option *end)
{
	fprintf(out, "\n### %s\n", section->name);
	if (*section->help) {
		fputc('\n', out);
		wrap(out, "", 100, section->help);
	}
	if (section + 1 < end && !is_listed(section + 1)) {
		markdown_names(out, section, end);
		return;
	}
	for (const struct config_option *option = section + 1; option < end; option++) {
		if (is_listed(option))
			markdown_option(out, option);
		else if (option->kind == CONFIG_OPTION_ALIAS)
			fprintf(out, "\nAn older name of `%s` is `%s`.\n", option->syntax,
				option->name);
	}
}

static void render_markdown(FILE *out)
{
	each_section(out, markdown_section);
	fputc('\n', out);
}

/* docs/man/nightjar.conf.5 */

static void roff(FILE *out, const char *text)
{
	/* At the start of a line these two would begin a request. */
	if (*text == '.' || *text == '\'')
		fprintf(out, "\\&");
	for (; *text; text++) {
		if (*text == '-' || *text == '\\')
			fputc('\\', out);
		fputc(*text == '\\' ? 'e' : *text, out);
	}
}

static void roff_option(FILE *out, const struct config_option *option)
{
	const char *origin = origin_name(option), *range = range_name(option);

	fprintf(out, ".TP\n.B ");
	roff(out, option->name);
	fprintf(out, " \\fI");
	roff(out, value_name(option));
	fprintf(out, "\\fR\n");
	roff(out, option->help);
	fprintf(out, "\nThe default is ");
	roff(out, default_name(option));
	if (*range) {
		fprintf(out, "; it takes ");
		roff(out, range);
	}
	fprintf(out, ".\nHolds %s; %s.%s%s%s\n", scope_name(option),
		option->traits & CONFIG_TRAIT_RESTART ? "a change needs a restart"
						      : "read again on SIGHUP",
		*origin ? " (" : "", origin, *origin ? ".)" : "");
}

static void roff_section(FILE *out, const struct config_option *section,
			 const struct config_option *end)
{
	const struct config_feature *feature = NULL;

	fprintf(out, ".SS %s\n", section->name);
	roff(out, section->help);
	if (*section->help)
		fprintf(out, "\n");
	for (const struct config_option *option = section + 1; option < end; option++) {
		if (is_listed(option)) {
			roff_option(out, option);
			continue;
		}
		if (option->kind == CONFIG_OPTION_ALIAS) {
			fprintf(out, ".PP\n.B %s\nis an older name of\n.BR %s .\n", option->name,
				option->syntax);
			continue;
		}
		if (option->feature != feature)
			fprintf(out, ".PP\n%s:\n", option->feature->name);
		feature = option->feature;
		fprintf(out, ".B ");
		roff(out, option->name);
		fprintf(out, "%s\n", option->kind == CONFIG_OPTION_LATER_PREFIX ? "*" : "");
	}
}

static void render_man(FILE *out)
{
	each_section(out, roff_section);
}

/* conf/nightjar.conf */

static void conf_option(FILE *out, const struct config_option *option)
{
	const char *value = default_name(option), *origin = origin_name(option);
	char syntax[128], *rest = syntax, *form;

	fprintf(out, "\n");
	wrap(out, "# ", 96, option->help);
	if (*origin)
		fprintf(out, "# (%s.)\n", origin);
	if (option->traits & CONFIG_TRAIT_RESTART)
		fprintf(out, "# (A change needs a restart.)\n");
	if (strcmp(value, "none") != 0 && strcmp(value, "both") != 0) {
		fprintf(out, "#%s %s\n", option->name, value);
		return;
	}
	snprintf(syntax, sizeof(syntax), "%s", value_name(option));
	while ((form = strsep(&rest, "|")))
		fprintf(out, "#%s %.*s\n", option->name,
			(int)(strlen(form) - (rest && form[strlen(form) - 1] == ' ')),
			form + (*form == ' '));
}

static void conf_section(FILE *out, const struct config_option *section,
			 const struct config_option *end)
{
	if (section + 1 == end || !is_listed(section + 1))
		return;
	fprintf(out, "\n# ==== %s ====\n", section->name);
	if (*section->help) {
		fprintf(out, "#\n");
		wrap(out, "# ", 96, section->help);
	}
	for (const struct config_option *option = section + 1; option < end; option++)
		if (is_listed(option))
			conf_option(out, option);
}

static void render_conf(FILE *out)
{
	each_section(out, conf_section);
	fputc('\n', out);
}

static const struct page markdown = {
	"docs/configuration.md",
	"<!-- Made from broker/server/options.def: begin -->\n",
	"<!-- Made from broker/server/options.def: end -->\n",
	render_markdown,
};
static const struct page man = {
	"docs/man/nightjar.conf.5",
	".\\\" Made from broker/server/options.def: begin\n",
	".\\\" Made from broker/server/options.def: end\n",
	render_man,
};
static const struct page conf = {
	"conf/nightjar.conf",
	"# All options with their defaults (made from broker/server/options.def):\n",
	"# The end of the options.\n",
	render_conf,
};

static void configuration_page_is_made_from_the_table(void **state)
{
	(void)state;
	check_page(&markdown);
}

static void manual_page_is_made_from_the_table(void **state)
{
	(void)state;
	check_page(&man);
}

static void example_file_is_made_from_the_table(void **state)
{
	(void)state;
	check_page(&conf);
}

static struct config *load(const char *text)
{
	static struct config_errors errors;
	struct config *config = NULL;

	if (config_load_bytes("nightjar.conf", text, strlen(text), NULL, &config, &errors) !=
	    ERR_NONE)
		fail_msg("%s", errors.text[0]);
	return config;
}

static void example_file_loads_as_it_is(void **state)
{
	char *text = read_source(conf.path);
	struct config *config = load(text);

	(void)state;
	assert_true(config->is_local_only);
	assert_int_equal(config->note_count, 0);
	config_destroy(config);
	free(text);
}

static void deployment_examples_load_without_a_warning(void **state)
{
	static const char *const names[] = {"local", "network", "many-clients"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64], *text;
		struct config *config;

		snprintf(path, sizeof(path), "conf/examples/%s.conf", names[i]);
		text = read_source(path);
		config = load(text);
		assert_false(config->is_local_only);
		assert_int_equal(config->note_count, 0);
		config_destroy(config);
		free(text);
	}
}

/* "#max_qos 2" of the example file with its '#' taken away changes nothing. */
static void each_default_of_the_example_file_is_the_default(void **state)
{
	char *text = read_source(conf.path), *rest = text, *line;
	unsigned seen = 0, listed = 0;

	(void)state;
	for (size_t i = 0; i < config_option_count; i++)
		listed += is_listed(&config_options[i]);
	while ((line = strsep(&rest, "\n"))) {
		char name[64], allowed[128];
		const struct config_option *option;
		struct config *config;
		const void *base;

		if (sscanf(line, "#%63[a-z0-9_.] ", name) != 1)
			continue;
		option = config_option_find(name);
		assert_non_null(option);
		seen++;
		if (!config_option_has_field(option) ||
		    strcmp(config_option_default(option, allowed, sizeof(allowed)), "none") == 0 ||
		    strcmp(allowed, "both") == 0)
			continue;
		config = load(line + 1);
		base = option->scope == CONFIG_SCOPE_GLOBAL ? (const void *)config
							    : &config->listeners[0];
		if (strcmp(name, "worker_threads") != 0)
			assert_true(config_option_is_default(option, base));
		config_destroy(config);
	}
	assert_true(seen >= listed && listed > 50);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_page_is_made_from_the_table),
		cmocka_unit_test(manual_page_is_made_from_the_table),
		cmocka_unit_test(example_file_is_made_from_the_table),
		cmocka_unit_test(example_file_loads_as_it_is),
		cmocka_unit_test(deployment_examples_load_without_a_warning),
		cmocka_unit_test(each_default_of_the_example_file_is_the_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
