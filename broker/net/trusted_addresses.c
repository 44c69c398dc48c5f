/* SPDX-License-Identifier: Apache-2.0 */
#include "net/trusted_addresses.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

struct trusted_range {
	uint8_t family;
	uint8_t bits; /* that have to be the same */
	uint8_t bytes[16];
};

struct trusted_addresses {
	size_t count;
	struct trusted_range ranges[];
};

static bool parse_bits(const char *text, unsigned most, uint8_t *out)
{
	char *end;
	long bits = strtol(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || bits < 0 || bits > (long)most)
		return false;
	*out = (uint8_t)bits;
	return true;
}

static bool parse_range(const char *text, struct trusted_range *out)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	unsigned most = 128;

	if (strcmp(text, "unix") == 0) {
		out->family = AF_UNIX;
		return true;
	}
	if (len >= sizeof address)
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	out->family = AF_INET6;
	if (inet_pton(AF_INET, address, out->bytes) == 1) {
		out->family = AF_INET;
		most = 32;
	} else if (inet_pton(AF_INET6, address, out->bytes) != 1) {
		return false;
	}
	out->bits = (uint8_t)most;
	return text[len] == '\0' || parse_bits(text + len + 1, most, &out->bits);
}

enum err trusted_addresses_create(const char *const *texts, size_t count,
				  struct trusted_addresses **out, struct err_detail *detail)
{
	struct trusted_addresses *list = calloc(1, sizeof *list + count * sizeof *list->ranges);

	*out = NULL;
	if (!list)
		return err_set(detail, ERR_NOMEM, "No memory for the trusted addresses.");
	list->count = count;
	for (size_t i = 0; i < count; i++) {
		if (parse_range(texts[i], &list->ranges[i]))
			continue;
		free(list);
		return err_set(
			detail, ERR_INVALID,
			"'%s' is neither an address (10.0.0.1, fd00::1), nor a range of them "
			"(10.0.0.0/8), nor 'unix'.",
			texts[i]);
	}
	*out = list;
	return ERR_NONE;
}

void trusted_addresses_destroy(struct trusted_addresses **list)
{
	free(*list);
	*list = NULL;
}

static bool is_in_range(const struct trusted_range *range, const uint8_t *bytes)
{
	unsigned whole = range->bits / 8, rest = range->bits % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	if (memcmp(range->bytes, bytes, whole) != 0)
		return false;
	return rest == 0 || ((range->bytes[whole] ^ bytes[whole]) & mask) == 0;
}

bool trusted_addresses_has(const struct trusted_addresses *list, const struct address *address)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	const uint8_t *bytes = address->bytes;
	uint8_t family = address->family;

	if (family == AF_INET6 && memcmp(bytes, mapped, sizeof mapped) == 0) {
		family = AF_INET;
		bytes += sizeof mapped;
	}
	for (size_t i = 0; list && i < list->count; i++) {
		if (list->ranges[i].family == family &&
		    (family == AF_UNIX || is_in_range(&list->ranges[i], bytes)))
			return true;
	}
	return false;
}
