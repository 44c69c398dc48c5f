/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h - is this a UTF-8 Encoded String in the sense of MQTT (section 1.5.4)?
 *
 * Refused: what is not well-formed (overlong forms, surrogates, above U+10FFFF)
 * [MQTT-1.5.4-1] and U+0000 [MQTT-1.5.4-2]. Accepted: control characters and non-characters, which
 * the specification lets a receiver refuse or take; devices in the field send them, and nothing in
 * the broker gives them a meaning. U+FEFF is a character like others [MQTT-1.5.4-3].
 */
#ifndef NIGHTJAR_MQTT_UTF8_H
#define NIGHTJAR_MQTT_UTF8_H

#include "base/slice.h"

/*
 * Valid, and neither of two ASCII characters in it: the wildcards, when it is a Topic Name. Looks
 * at eight bytes at a time while they are ASCII. An empty string is valid.
 */
bool utf8_is_valid_without(struct slice text, uint8_t a, uint8_t b);

static inline bool utf8_is_valid(struct slice text)
{
	return utf8_is_valid_without(text, 0, 0);
}

/*
 * The same for a payload whose Payload Format Indicator is 1: U+0000 is well-formed UTF-8, and the
 * rule against it holds for strings of the protocol only.
 */
bool utf8_payload_is_valid(struct slice payload);

#endif
