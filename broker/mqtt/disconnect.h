/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disconnect.h - PINGREQ, PINGRESP, DISCONNECT and AUTH (sections 3.12 to 3.15).
 */
#ifndef NIGHTJAR_MQTT_DISCONNECT_H
#define NIGHTJAR_MQTT_DISCONNECT_H

#include "mqtt/frame.h"
#include "mqtt/property.h"

/* PINGREQ and PINGRESP have no body. */
enum decode_status ping_decode(const struct packet_frame *frame, struct decode_error *error);

#define PING_BYTES 2
size_t pingreq_encode(uint8_t *out);
size_t pingresp_encode(uint8_t *out);

struct disconnect_packet {
	uint8_t reason_code; /* RC_NORMAL_DISCONNECTION before version 5 */
	bool has_session_expiry;
	uint32_t session_expiry_s; /* only a client sends it [MQTT-3.14.2-2] */
	struct slice reason_string;
	struct slice server_reference; /* only a server sends it */
	struct slice user_properties;  /* a property block; only its User Properties count */
};

/*
 * Decodes what a client sent. Whether a Session Expiry Interval may be set here depends on CONNECT,
 * so the session checks it. A code that only a server may use is refused.
 */
enum decode_status disconnect_decode(const struct packet_frame *frame, enum mqtt_version version,
				     struct disconnect_packet *out, struct decode_error *error);
/* Decodes what a server sent, in version 5. */
enum decode_status disconnect_decode_from_server(const struct packet_frame *frame,
						 struct disconnect_packet *out,
						 struct decode_error *error);

/* Before version 5 (where only clients send it) the packet is two bytes. */
size_t disconnect_encoded_size(enum mqtt_version version, const struct disconnect_packet *packet);
size_t disconnect_encode(uint8_t *out, enum mqtt_version version,
			 const struct disconnect_packet *packet);

/* Version 5 only: in older versions the frame decoder refuses the type. */
struct auth_packet {
	uint8_t reason_code; /* RC_SUCCESS, RC_CONTINUE_AUTHENTICATION, RC_REAUTHENTICATE */
	struct slice authentication_method;
	bool has_authentication_data;
	struct slice authentication_data;
	struct slice reason_string;
	struct slice user_properties; /* a property block; only its User Properties count */
};

/* Decodes what a client sent: there must be a method, and the Reason Code is 0x18 or 0x19. */
enum decode_status auth_decode(const struct packet_frame *frame, struct auth_packet *out,
			       struct decode_error *error);
/* Decodes what a server sent: the Reason Code is 0x00 or 0x18. */
enum decode_status auth_decode_from_server(const struct packet_frame *frame,
					   struct auth_packet *out, struct decode_error *error);

size_t auth_encoded_size(const struct auth_packet *packet);
size_t auth_encode(uint8_t *out, const struct auth_packet *packet);

#endif
