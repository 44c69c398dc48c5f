/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.c - well-formed or not, quickly for the ASCII that topics are made of.
 *
 * A word of eight bytes is plain when each byte is ASCII, not zero, and none of the two forbidden
 * characters. For bytes y below 0x80, y + 0x7f has its top bit set exactly when y is not zero, and
 * nothing is carried into the next byte; y is the byte itself, or its exclusive-or with a forbidden
 * character.
 */
#include "mqtt/utf8.h"

#define EVERY_BYTE(value) (0x0101010101010101ULL * (uint8_t)(value))
#define TOP_BITS EVERY_BYTE(0x80)

static inline bool word_is_plain(uint64_t word, uint64_t a, uint64_t b)
{
	uint64_t low = EVERY_BYTE(0x7f);
	/* With top bits set in the word the sums may carry, but then ~word refuses it anyway. */
	uint64_t plain = (word + low) & ((word ^ a) + low) & ((word ^ b) + low) & ~word;

	return (plain & TOP_BITS) == TOP_BITS;
}

static inline uint64_t load_word(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof word);
	return word;
}

/* All bytes of a text of one to seven, some of them more than once. */
static inline uint64_t short_word(struct slice text)
{
	const uint8_t *end = text.data + text.len;
	uint32_t first, last;
	uint16_t two, more;

	if (text.len >= 4) {
		memcpy(&first, text.data, sizeof first);
		memcpy(&last, end - sizeof last, sizeof last);
		return (uint64_t)first << 32 | last;
	}
	if (text.len == 1)
		return EVERY_BYTE(*text.data);
	memcpy(&two, text.data, sizeof two);
	memcpy(&more, end - sizeof more, sizeof more);
	return 0x100000001ULL * ((uint32_t)two << 16 | more);
}

static inline bool is_continuation(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/*
 * The length of the well-formed character at the start of text, or 0. Bounds of the second byte
 * keep out overlong forms (E0, F0), surrogates (ED) and what is above U+10FFFF (F4); table 3-7 of
 * the Unicode standard.
 */
static size_t character_len(const uint8_t *text, size_t left)
{
	uint8_t first = text[0];

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	if (first < 0xe0)
		return left >= 2 && is_continuation(text[1]) ? 2 : 0;
	if (first < 0xf0) {
		if (left < 3 || !is_continuation(text[1]) || !is_continuation(text[2]))
			return 0;
		if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f))
			return 0;
		return 3;
	}
	if (left < 4 || !is_continuation(text[1]) || !is_continuation(text[2]) ||
	    !is_continuation(text[3]))
		return 0;
	if ((first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))
		return 0;
	return 4;
}

bool utf8_is_valid_without(struct slice text, uint8_t a, uint8_t b)
{
	const uint8_t *at = text.data;
	const uint8_t *end = text.len > 0 ? at + text.len : at;
	uint64_t word_a = EVERY_BYTE(a), word_b = EVERY_BYTE(b);
	size_t len;

	if (text.len > 0 && text.len < 8 && word_is_plain(short_word(text), word_a, word_b))
		return true;
	while (at < end) {
		if (end - at >= 8 && word_is_plain(load_word(at), word_a, word_b)) {
			at += 8;
			continue;
		}
		/* The tail, together with bytes before it that were looked at already. */
		if (end - at < 8 && text.len >= 8 &&
		    word_is_plain(load_word(end - 8), word_a, word_b))
			return true;
		if (*at == 0 || *at == a || *at == b)
			return false;
		len = character_len(at, (size_t)(end - at));
		if (len == 0)
			return false;
		at += len;
	}
	return true;
}

bool utf8_payload_is_valid(struct slice payload)
{
	const uint8_t *at = payload.data;
	const uint8_t *end = payload.len > 0 ? at + payload.len : at;
	size_t len;

	while (at < end) {
		if (end - at >= 8 && (load_word(at) & TOP_BITS) == 0) {
			at += 8;
			continue;
		}
		len = character_len(at, (size_t)(end - at));
		if (len == 0)
			return false;
		at += len;
	}
	return true;
}
