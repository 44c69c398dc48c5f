/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.h - CONNECT and CONNACK (sections 3.1 and 3.2).
 *
 * The structs serve decoder and encoder alike. All slices are views: into the packet when decoded,
 * into the caller's memory when it encodes.
 */
#ifndef NIGHTJAR_MQTT_CONNECT_H
#define NIGHTJAR_MQTT_CONNECT_H

#include "mqtt/frame.h"
#include "mqtt/property.h"

struct connect_will {
	bool present;
	bool retain;
	uint8_t qos;
	uint8_t payload_format_indicator;
	bool has_message_expiry;
	uint32_t message_expiry_s;
	uint32_t delay_interval_s; /* Will Delay Interval, default 0 */
	struct slice topic;	   /* a valid Topic Name */
	struct slice payload;
	struct slice content_type;
	struct slice response_topic;   /* a valid Topic Name, or empty */
	struct slice correlation_data; /* data is NULL when absent: it may be empty and present */
	struct forward_properties forward;
	struct slice properties; /* all Will Properties, encoded */
};

#define CONNECT_RECEIVE_MAXIMUM_DEFAULT 65535

struct connect_packet {
	enum mqtt_version version; /* in which to answer; MQTT_VERSION_NONE: not MQTT at all */
	uint8_t protocol_level;	   /* as sent, bit 7 taken off */
	bool is_bridge;		   /* bit 7 of the level, as mosquitto's bridges set it */
	bool clean_start;	   /* Clean Session before version 5 */
	uint16_t keep_alive_s;
	struct slice client_id; /* may be empty; its length and characters are not judged here */
	bool has_user_name;
	bool has_password;
	struct slice user_name;
	struct slice password;
	struct connect_will will;

	/* Version 5; decoding an older CONNECT sets the defaults. */
	bool has_session_expiry;
	uint32_t session_expiry_s;	   /* default 0; 0xffffffff: never */
	uint16_t receive_maximum;	   /* default 65535, never 0 after decoding */
	uint32_t maximum_packet_size;	   /* 0: no limit but that of the protocol */
	uint16_t topic_alias_maximum;	   /* default 0 */
	bool request_response_information; /* default false */
	bool request_problem_information;  /* default true */
	bool has_authentication_method;
	bool has_authentication_data;
	struct slice authentication_method;
	struct slice authentication_data;
	struct slice user_properties; /* a property block; only its User Properties count */
};

/* An empty CONNECT with the defaults of the specification, to fill and encode. */
void connect_packet_init(struct connect_packet *packet, enum mqtt_version version);

/*
 * On DECODE_BAD, out->version is the version whose CONNACK the client is likely to understand: for
 * a level that is not ours, which gives RC_UNSUPPORTED_PROTOCOL_VERSION, that of the nearest level,
 * and for a foreign protocol name MQTT_VERSION_NONE. The other members are then without meaning.
 */
enum decode_status connect_decode(const struct packet_frame *frame, struct connect_packet *out,
				  struct decode_error *error);

size_t connect_encoded_size(const struct connect_packet *packet);
size_t connect_encode(uint8_t *out, const struct connect_packet *packet);

/* All zero but for the Reason Code: a plain CONNACK. Before version 5 properties are ignored. */
struct connack_packet {
	bool session_present;
	uint8_t reason_code; /* decoded from MQTT 3: the Connect Return Code */

	bool has_session_expiry;
	uint32_t session_expiry_s;
	uint16_t receive_maximum; /* 0: not sent, the default of 65535 holds */
	bool has_maximum_qos;
	uint8_t maximum_qos; /* 0 or 1 */
	bool retain_unavailable;
	bool wildcard_subscription_unavailable;
	bool subscription_identifier_unavailable;
	bool shared_subscription_unavailable;
	uint32_t maximum_packet_size; /* 0: not sent */
	uint16_t topic_alias_maximum; /* 0: not sent */
	bool has_server_keep_alive;
	uint16_t server_keep_alive_s;
	struct slice assigned_client_id; /* empty: not sent; so for the strings below */
	struct slice reason_string;
	struct slice response_information;
	struct slice server_reference;
	struct slice authentication_method;
	bool has_authentication_data;
	struct slice authentication_data;
	struct slice user_properties;
};

/*
 * For MQTT 3 the Reason Code is translated with reason_code_to_connect_return_code(); one without a
 * translation is sent as 3 (server unavailable), so ask first whether to send anything.
 */
size_t connack_encoded_size(enum mqtt_version version, const struct connack_packet *packet);
size_t connack_encode(uint8_t *out, enum mqtt_version version, const struct connack_packet *packet);

enum decode_status connack_decode(const struct packet_frame *frame, enum mqtt_version version,
				  struct connack_packet *out, struct decode_error *error);

#endif
