/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls_files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PSK_LINE_BYTES 1024

static BIO *open_file(const char *what, const char *file, struct err_detail *detail)
{
	struct stat info;
	BIO *bio = NULL;

	/* A directory opens without an error, and then holds nothing. */
	if (stat(file, &info) == 0 && S_ISDIR(info.st_mode))
		errno = EISDIR;
	else
		bio = BIO_new_file(file, "r");
	if (!bio)
		(void)!err_set(detail, ERR_IO, "Cannot read the %s %s: %s.%s", what, file,
			       strerror(errno),
			       errno == EACCES ? " The broker's user needs the right to read it."
					       : "");
	ERR_clear_error();
	return bio;
}

static const char *library_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return reason ? reason : "no reason given";
}

/* Certificates. */

static enum err read_chain(BIO *bio, const char *file, struct tls_pair *out,
			   struct err_detail *detail)
{
	X509 *issuer;

	out->leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
	if (!out->leaf)
		return err_set(detail, ERR_INVALID,
			       "The certfile %s holds no certificate in PEM form, which begins "
			       "with -----BEGIN CERTIFICATE-----.",
			       file);
	out->chain = sk_X509_new_null();
	while (out->chain && (issuer = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (sk_X509_push(out->chain, issuer) > 0)
			continue;
		X509_free(issuer);
		return err_set(detail, ERR_NOMEM, "No memory for the certfile %s.", file);
	}
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return err_set(detail, ERR_INVALID,
			       "The certfile %s is damaged behind certificate "
			       "%d: %s.",
			       file, 1 + sk_X509_num(out->chain), library_reason());
	return ERR_NONE;
}

/* A server has nobody who could type. Remembers that it was asked. */
static int no_passphrase(char *out, int cap, int is_writing, void *asked)
{
	(void)out;
	(void)cap;
	(void)is_writing;
	*(bool *)asked = true;
	return -1;
}

static enum err read_key(BIO *bio, const char *file, struct tls_pair *out,
			 struct err_detail *detail)
{
	bool is_protected = false;

	out->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &is_protected);
	if (out->key)
		return ERR_NONE;
	if (is_protected)
		return err_set(detail, ERR_DENIED,
			       "The keyfile %s is protected by a passphrase, which a server cannot "
			       "be asked for: 'openssl pkey -in %s -out NEW' writes it without.",
			       file, file);
	return err_set(detail, ERR_INVALID,
		       "The keyfile %s holds no private key in PEM form, which begins with "
		       "-----BEGIN PRIVATE KEY-----.",
		       file);
}

enum err tls_pair_load(const char *certfile, const char *keyfile, struct tls_pair *out,
		       struct err_detail *detail)
{
	BIO *bio = open_file("certfile", certfile, detail);
	enum err err = ERR_IO;

	*out = (struct tls_pair){0};
	if (!bio)
		return ERR_IO;
	err = read_chain(bio, certfile, out, detail);
	BIO_free(bio);
	if (err == ERR_NONE) {
		bio = open_file("keyfile", keyfile, detail);
		err = bio ? read_key(bio, keyfile, out, detail) : ERR_IO;
		BIO_free(bio);
	}
	if (err == ERR_NONE && X509_check_private_key(out->leaf, out->key) != 1)
		err = err_set(detail, ERR_INVALID,
			      "The keyfile %s does not belong to the first certificate in %s: the "
			      "server's own certificate has to stand first, before those that "
			      "signed it.",
			      keyfile, certfile);
	ERR_clear_error();
	if (err != ERR_NONE)
		tls_pair_free(out);
	return err;
}

void tls_pair_free(struct tls_pair *pair)
{
	X509_free(pair->leaf);
	sk_X509_pop_free(pair->chain, X509_free);
	EVP_PKEY_free(pair->key);
	*pair = (struct tls_pair){0};
}

static void time_text(const ASN1_TIME *time, char *out, size_t cap)
{
	struct tm tm;

	out[0] = '\0';
	if (ASN1_TIME_to_tm(time, &tm) == 1)
		strftime(out, cap, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

enum err tls_certificate_check_time(const X509 *leaf, const char *file, struct err_detail *detail)
{
	char when[40];

	if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
		time_text(X509_get0_notAfter(leaf), when, sizeof when);
		return err_set(
			detail, ERR_INVALID,
			"The certificate in %s expired on %s: clients that check it will not "
			"connect. Have it renewed.",
			file, when);
	}
	if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) {
		time_text(X509_get0_notBefore(leaf), when, sizeof when);
		return err_set(detail, ERR_INVALID,
			       "The certificate in %s is not valid before %s. Is this machine's "
			       "clock right?",
			       file, when);
	}
	return ERR_NONE;
}

/* Whom we trust. */

static enum err load_authorities(X509_STORE *store, const char *file, struct err_detail *detail)
{
	BIO *bio = open_file("cafile", file, detail);
	unsigned count = 0;
	X509 *authority;

	if (!bio)
		return ERR_IO;
	while ((authority = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)) != NULL) {
		X509_STORE_add_cert(store, authority);
		X509_free(authority);
		count++;
	}
	BIO_free(bio);
	ERR_clear_error();
	if (count)
		return ERR_NONE;
	return err_set(detail, ERR_INVALID,
		       "The cafile %s holds no certificate in PEM form, which begins with "
		       "-----BEGIN CERTIFICATE-----.",
		       file);
}

static enum err load_revocations(X509_STORE *store, const char *file, struct err_detail *detail)
{
	BIO *bio = open_file("crlfile", file, detail);
	unsigned count = 0;
	X509_CRL *list;

	if (!bio)
		return ERR_IO;
	while ((list = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
		X509_STORE_add_crl(store, list);
		X509_CRL_free(list);
		count++;
	}
	BIO_free(bio);
	ERR_clear_error();
	if (!count)
		return err_set(detail, ERR_INVALID,
			       "The crlfile %s holds no list of revoked certificates in PEM form, "
			       "which begins with -----BEGIN X509 CRL-----.",
			       file);
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	return ERR_NONE;
}

enum err tls_trust_load(X509_STORE *store, const char *cafile, const char *capath,
			const char *crlfile, struct err_detail *detail)
{
	struct stat info;
	enum err err = ERR_NONE;

	if (cafile)
		err = load_authorities(store, cafile, detail);
	if (err == ERR_NONE && capath) {
		if (stat(capath, &info) != 0 || !S_ISDIR(info.st_mode))
			return err_set(detail, ERR_IO, "Cannot read the capath %s: %s.", capath,
				       errno ? strerror(errno) : "it is not a directory");
		if (X509_STORE_load_path(store, capath) != 1)
			err = err_set(detail, ERR_IO, "Cannot read the capath %s: %s.", capath,
				      library_reason());
	}
	if (err == ERR_NONE && crlfile)
		err = load_revocations(store, crlfile, detail);
	return err;
}

static void digest_file(EVP_MD_CTX *digest, const char *file)
{
	FILE *stream = file ? fopen(file, "re") : NULL;
	char part[4096];
	size_t got;

	while (stream && (got = fread(part, 1, sizeof part, stream)) > 0)
		EVP_DigestUpdate(digest, part, got);
	EVP_DigestUpdate(digest, "|", 1);
	if (stream)
		fclose(stream);
}

/* The files of a directory by name, size and time: their order is the file system's, so they are
 * added up and not chained. */
static void digest_directory(EVP_MD_CTX *digest, const char *path)
{
	DIR *directory = path ? opendir(path) : NULL;
	uint64_t sum = 0;
	struct dirent *entry;

	while (directory && (entry = readdir(directory)) != NULL) {
		struct stat info;

		if (fstatat(dirfd(directory), entry->d_name, &info, 0) != 0)
			continue;
		for (const char *at = entry->d_name; *at; at++)
			sum += (uint64_t)(unsigned char)*at * 1000003u;
		sum += (uint64_t)info.st_size * 31u + (uint64_t)info.st_mtim.tv_sec +
		       (uint64_t)info.st_mtim.tv_nsec * 7u;
	}
	EVP_DigestUpdate(digest, &sum, sizeof sum);
	if (directory)
		closedir(directory);
}

void tls_trust_digest(const char *salt, const char *cafile, const char *capath, const char *crlfile,
		      unsigned char *out)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();

	memset(out, 0, 32);
	if (!digest)
		return;
	if (EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1) {
		EVP_DigestUpdate(digest, salt, strlen(salt));
		digest_file(digest, cafile);
		digest_file(digest, crlfile);
		digest_directory(digest, capath);
		EVP_DigestFinal_ex(digest, out, NULL);
	}
	EVP_MD_CTX_free(digest);
}

/* The rest. */

enum err tls_dh_load(SSL_CTX *context, const char *file, struct err_detail *detail)
{
	BIO *bio = open_file("dhparamfile", file, detail);
	EVP_PKEY *parameters;

	if (!bio)
		return ERR_IO;
	parameters = PEM_read_bio_Parameters(bio, NULL);
	BIO_free(bio);
	if (!parameters) {
		ERR_clear_error();
		return err_set(detail, ERR_INVALID,
			       "The dhparamfile %s holds no parameters in PEM form, which begin "
			       "with -----BEGIN DH PARAMETERS-----.",
			       file);
	}
	if (SSL_CTX_set0_tmp_dh_pkey(context, parameters) != 1) {
		EVP_PKEY_free(parameters);
		(void)!err_set(detail, ERR_INVALID,
			       "The parameters in the dhparamfile %s cannot be used: %s. 'openssl "
			       "dhparam -out FILE 2048' makes some that can.",
			       file, library_reason());
		ERR_clear_error();
		return ERR_INVALID;
	}
	return ERR_NONE;
}

static bool is_about(OCSP_BASICRESP *basic, X509 *leaf)
{
	for (int i = 0; i < OCSP_resp_count(basic); i++) {
		const OCSP_CERTID *id = OCSP_SINGLERESP_get0_id(OCSP_resp_get0(basic, i));
		ASN1_INTEGER *serial = NULL;

		OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)id);
		if (serial && ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf)) == 0)
			return true;
	}
	return false;
}

static const char *ocsp_fault(OCSP_RESPONSE *response, X509 *leaf)
{
	OCSP_BASICRESP *basic;
	bool fits;

	if (!response)
		return "is not an OCSP response in DER form";
	if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		return "is the answer of a responder that refused";
	basic = OCSP_response_get1_basic(response);
	fits = basic && is_about(basic, leaf);
	OCSP_BASICRESP_free(basic);
	return fits ? NULL : "is about another certificate than certfile's first";
}

enum err tls_ocsp_load(const char *file, X509 *leaf, struct tls_bytes *out,
		       struct err_detail *detail)
{
	BIO *bio = open_file("ocsp_file", file, detail);
	OCSP_RESPONSE *response;
	const char *fault;
	int len;

	if (!bio)
		return ERR_IO;
	response = d2i_OCSP_RESPONSE_bio(bio, NULL);
	BIO_free(bio);
	fault = ocsp_fault(response, leaf);
	if (!fault) {
		len = i2d_OCSP_RESPONSE(response, &out->data);
		out->len = len > 0 ? (size_t)len : 0;
	}
	OCSP_RESPONSE_free(response);
	ERR_clear_error();
	if (!fault)
		return ERR_NONE;
	return err_set(detail, ERR_INVALID,
		       "The ocsp_file %s %s. 'openssl ocsp -issuer CA -cert CERT -url URL -respout "
		       "FILE' fetches one.",
		       file, fault);
}

/* Pre-shared keys. */

static int compare_psk(const void *a, const void *b)
{
	return strcmp(((const struct tls_psk *)a)->identity, ((const struct tls_psk *)b)->identity);
}

static const char *psk_fault(char *line, struct tls_psk *out)
{
	char *colon = strchr(line, ':');
	long len;

	if (!colon || colon == line)
		return "has no 'identity:key'";
	*colon = '\0';
	for (const char *at = colon + 1; *at; at++) {
		if (!isxdigit((unsigned char)*at))
			return "has a key that is not made of hexadecimal digits";
	}
	if (strlen(colon + 1) % 2 != 0 || !colon[1])
		return "has a key with an odd number of hexadecimal digits, or with none";
	if (strlen(colon + 1) > 2 * (size_t)PSK_MAX_PSK_LEN)
		return "has a key that is longer than OpenSSL takes";
	out->key.data = OPENSSL_hexstr2buf(colon + 1, &len);
	out->key.len = (size_t)len;
	out->identity = strdup(line);
	return out->key.data && out->identity ? NULL : "does not fit into memory";
}

static enum err psk_read(BIO *bio, const char *file, struct tls_psk_list *out,
			 struct err_detail *detail)
{
	char line[PSK_LINE_BYTES];
	unsigned number = 0;
	const char *fault;

	while (BIO_gets(bio, line, sizeof line) > 0) {
		struct tls_psk *more;

		number++;
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		more = reallocarray(out->keys, out->count + 1, sizeof *more);
		if (!more)
			return err_set(detail, ERR_NOMEM, "No memory for the psk_file %s.", file);
		out->keys = more;
		more[out->count] = (struct tls_psk){0};
		fault = psk_fault(line, &more[out->count++]);
		OPENSSL_cleanse(line, sizeof line);
		if (fault)
			return err_set(detail, ERR_INVALID, "The psk_file %s: line %u %s.", file,
				       number, fault);
	}
	qsort(out->keys, out->count, sizeof *out->keys, compare_psk);
	return ERR_NONE;
}

enum err tls_psk_load(const char *file, struct tls_psk_list *out, struct err_detail *detail)
{
	BIO *bio = open_file("psk_file", file, detail);
	enum err err;

	*out = (struct tls_psk_list){0};
	if (!bio)
		return ERR_IO;
	err = psk_read(bio, file, out, detail);
	BIO_free(bio);
	if (err != ERR_NONE)
		tls_psk_free(out);
	return err;
}

void tls_psk_free(struct tls_psk_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->keys[i].identity);
		OPENSSL_clear_free(list->keys[i].key.data, list->keys[i].key.len);
	}
	free(list->keys);
	*list = (struct tls_psk_list){0};
}

const struct tls_psk *tls_psk_find(const struct tls_psk_list *list, const char *identity)
{
	struct tls_psk wanted = {.identity = (char *)(uintptr_t)identity};

	if (!list->count)
		return NULL;
	return bsearch(&wanted, list->keys, list->count, sizeof *list->keys, compare_psk);
}
