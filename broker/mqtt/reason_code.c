/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/reason_code.h"

#include <stddef.h>

static const char *const texts[256] = {
#define RC(name, value, text, packets) [value] = (text),
#include "mqtt/reason_code.def"
#undef RC
};

static const uint16_t allowed_in[256] = {
#define RC(name, value, text, packets) [value] = (uint16_t)(packets),
#include "mqtt/reason_code.def"
#undef RC
};

const char *reason_code_text(uint8_t code)
{
	return texts[code] ? texts[code] : "unknown Reason Code";
}

bool reason_code_is_allowed(uint8_t code, enum packet_type type)
{
	return (allowed_in[code] & 1U << type) != 0;
}

enum connect_return_code reason_code_to_connect_return_code(uint8_t code)
{
	switch (code) {
	case RC_SUCCESS: return CONNECT_RETURN_ACCEPTED;
	case RC_UNSUPPORTED_PROTOCOL_VERSION: return CONNECT_RETURN_UNACCEPTABLE_PROTOCOL_VERSION;
	case RC_CLIENT_IDENTIFIER_NOT_VALID: return CONNECT_RETURN_IDENTIFIER_REJECTED;
	case RC_BAD_USER_NAME_OR_PASSWORD: return CONNECT_RETURN_BAD_USER_NAME_OR_PASSWORD;
	case RC_NOT_AUTHORIZED:
	case RC_BANNED:
	case RC_BAD_AUTHENTICATION_METHOD: return CONNECT_RETURN_NOT_AUTHORIZED;
	case RC_SERVER_UNAVAILABLE:
	case RC_SERVER_BUSY:
	case RC_QUOTA_EXCEEDED:
	case RC_CONNECTION_RATE_EXCEEDED:
	case RC_USE_ANOTHER_SERVER:
	case RC_SERVER_MOVED: return CONNECT_RETURN_SERVER_UNAVAILABLE;
	default: return CONNECT_RETURN_NONE;
	}
}
