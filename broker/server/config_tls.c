/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_tls.c - directives about TLS that are more than a name and a value, and which of them belong
 * together.
 */
#include <string.h>

#include "server/config_parse.h"

void config_parse_sni_certificate(struct config_parser *parser, const struct config_option *option,
				  char *value)
{
	struct config_tls *tls = &parser->current->values.tls;
	struct config_place *place = &parser->current->set[config_option_index(option)];
	const char *certfile = config_parser_word(&value);
	const char *keyfile = config_parser_word(&value);
	struct config_certificate *grown;

	if (!certfile || !keyfile) {
		config_parser_error(parser,
				    "'sni_certificate' takes the paths of a certificate and of its "
				    "key");
		return;
	}
	if (!config_parser_end(parser, option, value))
		return;
	grown = config_parser_alloc(parser, (tls->sni_count + 1) * sizeof *grown);
	if (!grown)
		return;
	if (tls->sni_count)
		memcpy(grown, tls->sni, tls->sni_count * sizeof *grown);
	grown[tls->sni_count].certfile = config_parser_copy(parser, certfile);
	grown[tls->sni_count].keyfile = config_parser_copy(parser, keyfile);
	tls->sni = grown;
	tls->sni_count++;
	*place = (struct config_place){parser->file, parser->line, parser->order++};
}

enum err config_check_tls_version(const char *value, struct err_detail *why)
{
	if (strcmp(value, "tlsv1.2") == 0 || strcmp(value, "tlsv1.3") == 0)
		return ERR_NONE;
	return err_set(why, ERR_INVALID, "takes tlsv1.2 or tlsv1.3 (older versions are unsafe)");
}

/* What is wrong with the options as they stand, or NULL. */
static const char *tls_fault(const struct config_listener *listener)
{
	const struct config_tls *tls = &listener->tls;

	if (tls->certfile && !tls->keyfile)
		return "there is a certfile, and no keyfile that belongs to it";
	if (tls->keyfile && !tls->certfile)
		return "there is a keyfile, and no certfile that it belongs to";
	if (tls->psk_hint && !listener->access.psk_file)
		return "there is a psk_hint, and no psk_file that holds the keys";
	if (!config_tls_is_on(tls) && (tls->require_certificate || tls->sni_count))
		return "it has options of TLS, and neither certfile nor psk_hint that turns TLS on";
	if (tls->require_certificate && !tls->cafile && !tls->capath)
		return "require_certificate needs a cafile or a capath that says whose certificates "
		       "are good";
	if (tls->use_identity_as_username && tls->use_subject_as_username)
		return "use_identity_as_username and use_subject_as_username exclude each other: take "
		       "one out";
	return NULL;
}

void config_check_tls(struct config_parser *parser, const struct config_listener *listener)
{
	const struct config_tls *tls = &listener->tls;
	struct config_place place = {listener->file, listener->line, 0};
	const char *fault = tls_fault(listener);
	bool has_names =
		tls->require_certificate || (tls->psk_hint && !tls->use_subject_as_username);

	if (fault) {
		config_parser_error_at(parser, &place, "this listener: %s", fault);
		return;
	}
	if ((tls->use_identity_as_username || tls->use_subject_as_username) && !has_names)
		config_parser_note_at(parser, &place,
				      "nobody can connect to this listener: user names come from "
				      "certificates, and clients are not asked for one. Set "
				      "'require_certificate true'");
	if (config_tls_is_on(tls) && !tls->require_certificate && (tls->crlfile || tls->cafile))
		config_parser_note_at(parser, &place,
				      "clients are not asked for certificates, so that cafile and "
				      "crlfile have no effect; 'require_certificate true' asks");
}
