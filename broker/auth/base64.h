/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64.h - the Base64 of password files (RFC 4648, section 4), strict.
 *
 * One value has one text: padding must be there (or absent, as asked), bits that no byte uses must
 * be zero, and white space is refused. Pure functions.
 */
#ifndef NIGHTJAR_AUTH_BASE64_H
#define NIGHTJAR_AUTH_BASE64_H

#include "base/slice.h"

enum base64_padding {
	BASE64_PADDED,
	BASE64_UNPADDED,
};

/* Room that base64_encode needs, the terminating zero included. */
#define BASE64_ROOM(bytes) (((bytes) + 2) / 3 * 4 + 1)

/* Returns the length without the terminating zero. */
size_t base64_encode(struct slice bytes, enum base64_padding padding, char *out);

/* Returns how many bytes were written, or -1: not Base64, or more than room bytes. */
int base64_decode(struct slice text, enum base64_padding padding, uint8_t *out, size_t room);

#endif
