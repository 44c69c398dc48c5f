/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_http.c - directives of listeners that speak HTTP.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <sys/socket.h>

#include "net/trusted_addresses.h"
#include "server/config_parse.h"

/* Adds a copy of text to a list. NULL: no memory, and an error was added. */
static char *add_text(struct config_parser *parser, const struct config_option *option,
		      struct config_texts *list, const char *text)
{
	struct config_place *place = &parser->current->set[config_option_index(option)];
	const char **grown = config_parser_alloc(parser, (list->count + 1) * sizeof(*grown));
	char *copy = config_parser_copy(parser, text);

	if (!grown || !copy)
		return NULL;
	if (list->count)
		memcpy(grown, list->texts, list->count * sizeof(*grown));
	grown[list->count] = copy;
	list->texts = grown;
	list->count++;
	*place = (struct config_place){parser->file, parser->line, parser->order++};
	return copy;
}

void config_parse_websockets_origin(struct config_parser *parser,
				    const struct config_option *option, char *value)
{
	const char *word = config_parser_word(&value);
	char *copy;

	if (!word || (strcmp(word, "null") != 0 && !strstr(word, "://"))) {
		config_parser_error(parser,
				    "'websockets_origin' takes an origin such as "
				    "https://example.org, not '%s'",
				    word ? config_quote(word).text : "");
		return;
	}
	if (!config_parser_end(parser, option, value))
		return;
	copy = add_text(parser, option, &parser->current->values.websockets_origins, word);
	for (; copy && *copy; copy++)
		*copy = (char)tolower((unsigned char)*copy);
}

void config_parse_trusted_proxy(struct config_parser *parser, const struct config_option *option,
				char *value)
{
	const char *word = config_parser_word(&value);
	struct trusted_addresses *list;
	struct err_detail detail;

	if (!word) {
		config_parser_refuse(parser, option, NULL);
		return;
	}
	if (!config_parser_end(parser, option, value))
		return;
	if (trusted_addresses_create(&word, 1, &list, &detail) != ERR_NONE) {
		config_parser_error(parser, "'trusted_proxy': %s", detail.text);
		return;
	}
	trusted_addresses_destroy(&list);
	add_text(parser, option, &parser->current->values.trusted_proxies, word);
}

enum err config_check_endpoint(const char *value, struct err_detail *why)
{
	unsigned char address[16];

	if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0 ||
	    inet_pton(AF_INET, value, address) == 1 || inet_pton(AF_INET6, value, address) == 1)
		return ERR_NONE;
	return err_set(why, ERR_INVALID, "takes true, false, or an address such as 127.0.0.1");
}
