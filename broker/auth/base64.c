/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(struct slice bytes, enum base64_padding padding, char *out)
{
	size_t length = 0;

	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t group = (uint32_t)bytes.data[i] << 16;

		if (left > 1)
			group |= (uint32_t)bytes.data[i + 1] << 8;
		if (left > 2)
			group |= bytes.data[i + 2];
		out[length++] = alphabet[group >> 18];
		out[length++] = alphabet[group >> 12 & 63];
		if (left > 1 || padding == BASE64_PADDED)
			out[length++] = left > 1 ? alphabet[group >> 6 & 63] : '=';
		if (left > 2 || padding == BASE64_PADDED)
			out[length++] = left > 2 ? alphabet[group & 63] : '=';
	}
	out[length] = '\0';
	return length;
}

static int digit_value(uint8_t digit)
{
	if (digit >= 'A' && digit <= 'Z')
		return digit - 'A';
	if (digit >= 'a' && digit <= 'z')
		return digit - 'a' + 26;
	if (digit >= '0' && digit <= '9')
		return digit - '0' + 52;
	if (digit == '+')
		return 62;
	return digit == '/' ? 63 : -1;
}

/* The text without its padding; false when the padding is not as it must be. */
static bool strip_padding(struct slice *text, enum base64_padding padding)
{
	size_t pads = 0;

	if (padding == BASE64_PADDED) {
		if (text->len % 4 != 0)
			return false;
		while (pads < 2 && text->len > 0 && text->data[text->len - 1] == '=') {
			text->len--;
			pads++;
		}
	}
	return text->len % 4 != 1;
}

int base64_decode(struct slice text, enum base64_padding padding, uint8_t *out, size_t room)
{
	uint32_t bits = 0; /* what was read and not yet written, in the lowest `held` bits */
	unsigned held = 0;
	size_t length = 0;

	if (!strip_padding(&text, padding))
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		int value = digit_value(text.data[i]);

		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
		held += 6;
		if (held < 8)
			continue;
		if (length == room)
			return -1;
		held -= 8;
		out[length++] = (uint8_t)(bits >> held);
		bits &= (1u << held) - 1;
	}
	return bits == 0 ? (int)length : -1;
}
