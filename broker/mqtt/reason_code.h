/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reason_code.h - the one-byte answers of MQTT 5, and what is left of them in MQTT 3.
 *
 * The broker decides in Reason Codes whatever the client speaks; only what goes on the wire to an
 * older client is translated, at the last moment.
 */
#ifndef NIGHTJAR_MQTT_REASON_CODE_H
#define NIGHTJAR_MQTT_REASON_CODE_H

#include <stdbool.h>
#include <stdint.h>

#include "mqtt/version.h"

enum reason_code {
#define RC(name, value, text, packets) RC_##name = (value),
#include "mqtt/reason_code.def"
#undef RC
	RC_NORMAL_DISCONNECTION = RC_SUCCESS,
	RC_GRANTED_QOS_0 = RC_SUCCESS,
};

/* The return codes of a CONNACK in MQTT 3.1 and 3.1.1. */
enum connect_return_code {
	CONNECT_RETURN_ACCEPTED = 0,
	CONNECT_RETURN_UNACCEPTABLE_PROTOCOL_VERSION = 1,
	CONNECT_RETURN_IDENTIFIER_REJECTED = 2,
	CONNECT_RETURN_SERVER_UNAVAILABLE = 3,
	CONNECT_RETURN_BAD_USER_NAME_OR_PASSWORD = 4,
	CONNECT_RETURN_NOT_AUTHORIZED = 5,
	CONNECT_RETURN_NONE = 0xff, /* there is no code for it: close without a CONNACK */
};

/* From 0x80 on a Reason Code says that something failed. */
static inline bool reason_code_is_error(uint8_t code)
{
	return code >= 0x80;
}

/* The specification's words ("Session taken over"), or "unknown Reason Code". */
const char *reason_code_text(uint8_t code);

/* May a packet of this type carry this code in MQTT 5? */
bool reason_code_is_allowed(uint8_t code, enum packet_type type);

/*
 * What an MQTT 3 client is told when CONNECT was answered with this Reason Code. Malformed packets
 * and protocol errors give CONNECT_RETURN_NONE: MQTT 3 closes the connection and says nothing.
 */
enum connect_return_code reason_code_to_connect_return_code(uint8_t code);

#endif
