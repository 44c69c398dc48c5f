/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_parse.h - between the bytes of a file and a struct config: private to config_*.c.
 *
 * The parser collects what the files say (config_parse.c, config_special.c); when the last line is
 * read, config_resolve.c makes the final listeners of it, because options such as
 * per_listener_settings change what lines above them mean.
 */
#ifndef NIGHTJAR_SERVER_CONFIG_PARSE_H
#define NIGHTJAR_SERVER_CONFIG_PARSE_H

#include "server/config.h"
#include "server/config_options.h"

#define CONFIG_LISTENERS_MAX 256
#define CONFIG_NOTES_MAX 64
#define CONFIG_FILE_BYTES_MAX ((size_t)16 << 20)
#define CONFIG_LINE_BYTES_MAX 65536
#define CONFIG_INCLUDED_FILES_MAX 10000

/* Where an option was set; file NULL: nowhere. order counts up over all files. */
struct config_place {
	const char *file;
	unsigned line;
	unsigned order;
};

/* A listener while the files are read. */
struct config_draft {
	struct config_listener values;
	struct config_place set[CONFIG_OPTIONS_MAX];
};

struct config_parser {
	struct config *config;
	struct config_errors *errors;
	const char *file; /* being read; lives as long as config */
	unsigned line;
	unsigned order;
	bool is_included;
	struct config_draft unnamed; /* what stands above the first 'listener' of each file */
	struct config_draft *drafts[CONFIG_LISTENERS_MAX];
	size_t draft_count;
	struct config_draft *current;		     /* unnamed, or one of drafts */
	struct config_place set[CONFIG_OPTIONS_MAX]; /* global options */
	const char *notes[CONFIG_NOTES_MAX];
	size_t note_count;
	bool has_log_type, has_log_dest;  /* the first such line replaces the default */
	uint64_t main_device, main_inode; /* of the main file, 0 when it is none */
};

/* Adds "FILE:LINE: " and the text to the errors, for the line being read. */
void config_parser_error(struct config_parser *parser, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void config_parser_error_at(struct config_parser *parser, const struct config_place *place,
			    const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for notes; those beyond CONFIG_NOTES_MAX are left out. */
void config_parser_note(struct config_parser *parser, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void config_parser_note_at(struct config_parser *parser, const struct config_place *place,
			   const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Memory of the configuration, zeroed, freed with it. NULL: an error was added. */
void *config_parser_alloc(struct config_parser *parser, size_t bytes);
char *config_parser_copy(struct config_parser *parser, const char *text);

struct config_draft *config_parser_new_draft(struct config_parser *parser);

/*
 * Takes the next word off *rest, NULL at the end. A '#' at the start of a word ends the line, as
 * mosquitto reads options of one word; texts to the end of the line are not read through this.
 */
char *config_parser_word(char **rest);

/* Complains about words that are left over; true when there are none. */
bool config_parser_end(struct config_parser *parser, const struct config_option *option,
		       char *rest);

/*
 * Notes that option is set here. A text that is set already is an error, as in mosquitto (returns
 * false); of other options the last line counts, with a note when both stand in one file.
 */
bool config_parser_mark(struct config_parser *parser, const struct config_option *option);

/* Text of a peer or a file, made harmless and short for a message. */
struct config_quoted {
	char text[88];
};
struct config_quoted config_quote(const char *text);

/* Reads a whole file, or its bytes as if they were that file's. */
void config_parser_read_file(struct config_parser *parser, const char *path);
void config_parser_read_bytes(struct config_parser *parser, const char *name, const char *bytes,
			      size_t length);

/* Whole decimal numbers only; false also when it does not fit. */
bool config_number_parse(const char *text, int64_t *out);

/* "'max_qos' takes a whole number from 0 to 2, not '3'". */
void config_parser_refuse(struct config_parser *parser, const struct config_option *option,
			  const char *found);

/* Makes config->listeners and the notes; complains about what does not fit together. */
void config_resolve(struct config_parser *parser, const struct config_overrides *overrides);

/* Of config_tls.c: complains about TLS options of a listener that do not fit together. */
void config_check_tls(struct config_parser *parser, const struct config_listener *listener);

/* Functions that options.def names. */
void config_parse_include_dir(struct config_parser *parser, const struct config_option *option,
			      char *value);
void config_parse_listener(struct config_parser *parser, const struct config_option *option,
			   char *value);
void config_parse_port(struct config_parser *parser, const struct config_option *option,
		       char *value);
void config_parse_bind_address(struct config_parser *parser, const struct config_option *option,
			       char *value);
void config_parse_protocol(struct config_parser *parser, const struct config_option *option,
			   char *value);
void config_parse_websockets_origin(struct config_parser *parser,
				    const struct config_option *option, char *value);
void config_parse_trusted_proxy(struct config_parser *parser, const struct config_option *option,
				char *value);
void config_parse_sni_certificate(struct config_parser *parser, const struct config_option *option,
				  char *value);
void config_parse_log_dest(struct config_parser *parser, const struct config_option *option,
			   char *value);
void config_parse_log_type(struct config_parser *parser, const struct config_option *option,
			   char *value);
void config_parse_log_facility(struct config_parser *parser, const struct config_option *option,
			       char *value);

enum err config_check_any(const char *value, struct err_detail *why) ERR_CHECKED;
enum err config_check_path(const char *value, struct err_detail *why) ERR_CHECKED;
enum err config_check_interface(const char *value, struct err_detail *why) ERR_CHECKED;
enum err config_check_endpoint(const char *value, struct err_detail *why) ERR_CHECKED;
enum err config_check_tls_version(const char *value, struct err_detail *why) ERR_CHECKED;
enum err config_check_topic_prefix(const char *value, struct err_detail *why) ERR_CHECKED;

extern const struct config_choice config_domains[], config_queue_drops[],
	config_shared_strategies[], config_log_formats[], config_log_types[],
	config_proxy_protocols[], config_durabilities[];
extern const struct config_feature config_feature_engines, config_feature_plugins,
	config_feature_bridges;

/* Of config.c: memory that lives as long as the configuration. NULL: none left. */
void *config_alloc(struct config *config, size_t bytes);

#endif
