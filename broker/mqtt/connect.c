/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/connect.h"

#include "mqtt/property_set.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"
#include "mqtt/wire.h"

/* The Connect Flags. */
#define FLAG_RESERVED 0x01
#define FLAG_CLEAN_START 0x02
#define FLAG_WILL 0x04
#define FLAG_WILL_QOS(f) ((f) >> 3 & 3)
#define FLAG_WILL_RETAIN 0x20
#define FLAG_PASSWORD 0x40
#define FLAG_USER_NAME 0x80

#define LEVEL_BRIDGE 0x80

void connect_packet_init(struct connect_packet *packet, enum mqtt_version version)
{
	*packet = (struct connect_packet){
		.version = version,
		.protocol_level = (uint8_t)version,
		.receive_maximum = CONNECT_RECEIVE_MAXIMUM_DEFAULT,
		.request_problem_information = true,
		.will.forward.is_run = true,
	};
}

static enum decode_status fail_cut_off(struct decode_error *error)
{
	return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.4-1",
			   "A CONNECT ends before or within a field that it must have.");
}

static enum decode_status fail_level(struct connect_packet *out, enum mqtt_version nearest,
				     struct decode_error *error)
{
	out->version = nearest;
	return decode_fail(error, RC_UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-2",
			   "This Protocol Level is not supported; 3, 4 and 5 are.");
}

/* Only mosquitto's bridges of 3.1 and 3.1.1 use bit 7; a version 5 bridge says nothing. */
static enum decode_status level_decode(struct slice name, uint8_t level, struct connect_packet *out,
				       struct decode_error *error)
{
	bool is_31 = slice_equal_string(name, "MQIsdp");

	if (!is_31 && !slice_equal_string(name, "MQTT"))
		return decode_fail(error, RC_UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-1",
				   "The Protocol Name is neither \"MQTT\" nor \"MQIsdp\".");
	if ((level & ~LEVEL_BRIDGE) == MQTT_V31 || (level & ~LEVEL_BRIDGE) == MQTT_V311) {
		out->is_bridge = (level & LEVEL_BRIDGE) != 0;
		level &= (uint8_t)~LEVEL_BRIDGE;
	}
	out->protocol_level = level;
	if (is_31 && level != MQTT_V31)
		return fail_level(out, MQTT_V31, error);
	if (!is_31 && level < MQTT_V311)
		return fail_level(out, MQTT_V311, error);
	if (level > MQTT_V5)
		return fail_level(out, MQTT_V5, error);
	out->version = (enum mqtt_version)level;
	return DECODE_DONE;
}

static enum decode_status will_flags_check(uint8_t flags, struct decode_error *error)
{
	if (FLAG_WILL_QOS(flags) == 3)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-12",
				   "The Will QoS of a CONNECT is 3.");
	if (flags & FLAG_WILL)
		return DECODE_DONE;
	if (FLAG_WILL_QOS(flags) != 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-11",
				   "A CONNECT without a Will has a Will QoS.");
	if (flags & FLAG_WILL_RETAIN)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-13",
				   "A CONNECT without a Will has Will Retain set.");
	return DECODE_DONE;
}

/* MQTT 3.1 reserved no bit and left the Will's bits without a meaning when there is no Will. */
static enum decode_status flags_check(uint8_t flags, enum mqtt_version version,
				      struct decode_error *error)
{
	bool lone_password = (flags & (FLAG_PASSWORD | FLAG_USER_NAME)) == FLAG_PASSWORD;

	if (version != MQTT_V31 && (flags & FLAG_RESERVED))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-3",
				   "The reserved Connect Flag is set.");
	if (version != MQTT_V5 && lone_password)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-22",
				   "A CONNECT has a Password and no User Name, which only MQTT 5 "
				   "allows (the statement is 3.1.1's).");
	if (version == MQTT_V31 && !(flags & FLAG_WILL))
		return DECODE_DONE;
	return will_flags_check(flags, error);
}

static void flags_take(uint8_t flags, struct connect_packet *out)
{
	out->clean_start = (flags & FLAG_CLEAN_START) != 0;
	out->has_user_name = (flags & FLAG_USER_NAME) != 0;
	out->has_password = (flags & FLAG_PASSWORD) != 0;
	out->will.present = (flags & FLAG_WILL) != 0;
	if (!out->will.present)
		return;
	out->will.qos = FLAG_WILL_QOS(flags);
	out->will.retain = (flags & FLAG_WILL_RETAIN) != 0;
}

static enum decode_status variable_header_decode(struct reader *reader, struct connect_packet *out,
						 struct decode_error *error)
{
	struct slice name;
	uint8_t level, flags;

	if (!read_binary(reader, &name) || !read_u8(reader, &level))
		return fail_cut_off(error);
	if (level_decode(name, level, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (!read_u8(reader, &flags) || !read_u16(reader, &out->keep_alive_s))
		return fail_cut_off(error);
	if (flags_check(flags, out->version, error) != DECODE_DONE)
		return DECODE_BAD;
	flags_take(flags, out);
	return DECODE_DONE;
}

static enum decode_status properties_decode(struct reader *reader, struct connect_packet *out,
					    struct decode_error *error)
{
	struct property_set set;

	if (property_set_decode(reader, PACKET_CONNECT, PROPERTY_FROM_CLIENT, &set, error) !=
	    DECODE_DONE)
		return DECODE_BAD;
	out->has_session_expiry = property_set_has(&set, PROPERTY_SESSION_EXPIRY_INTERVAL);
	out->session_expiry_s = property_set_number(&set, PROPERTY_SESSION_EXPIRY_INTERVAL, 0);
	out->receive_maximum = (uint16_t)property_set_number(&set, PROPERTY_RECEIVE_MAXIMUM,
							     CONNECT_RECEIVE_MAXIMUM_DEFAULT);
	out->maximum_packet_size = property_set_number(&set, PROPERTY_MAXIMUM_PACKET_SIZE, 0);
	out->topic_alias_maximum =
		(uint16_t)property_set_number(&set, PROPERTY_TOPIC_ALIAS_MAXIMUM, 0);
	out->request_response_information =
		property_set_number(&set, PROPERTY_REQUEST_RESPONSE_INFORMATION, 0) != 0;
	out->request_problem_information =
		property_set_number(&set, PROPERTY_REQUEST_PROBLEM_INFORMATION, 1) != 0;
	out->has_authentication_method = property_set_has(&set, PROPERTY_AUTHENTICATION_METHOD);
	out->authentication_method = property_set_text(&set, PROPERTY_AUTHENTICATION_METHOD);
	out->has_authentication_data = property_set_has(&set, PROPERTY_AUTHENTICATION_DATA);
	out->authentication_data = property_set_text(&set, PROPERTY_AUTHENTICATION_DATA);
	out->user_properties = property_set_user_properties(&set);
	if (out->has_authentication_data && !out->has_authentication_method)
		return decode_fail(error, RC_PROTOCOL_ERROR, "3.1.2.11.10",
				   "A CONNECT has Authentication Data and no method.");
	return DECODE_DONE;
}

static enum decode_status will_properties_decode(struct reader *reader, struct connect_will *out,
						 struct decode_error *error)
{
	struct property_set set;

	if (property_set_decode(reader, PACKET_WILL, PROPERTY_FROM_CLIENT, &set, error) !=
	    DECODE_DONE)
		return DECODE_BAD;
	out->delay_interval_s = property_set_number(&set, PROPERTY_WILL_DELAY_INTERVAL, 0);
	out->payload_format_indicator =
		(uint8_t)property_set_number(&set, PROPERTY_PAYLOAD_FORMAT_INDICATOR, 0);
	out->has_message_expiry = property_set_has(&set, PROPERTY_MESSAGE_EXPIRY_INTERVAL);
	out->message_expiry_s = property_set_number(&set, PROPERTY_MESSAGE_EXPIRY_INTERVAL, 0);
	out->content_type = property_set_text(&set, PROPERTY_CONTENT_TYPE);
	out->response_topic = property_set_text(&set, PROPERTY_RESPONSE_TOPIC);
	out->correlation_data = property_set_text(&set, PROPERTY_CORRELATION_DATA);
	out->forward = set.forward;
	out->properties = set.block;
	return DECODE_DONE;
}

static enum decode_status will_decode(struct reader *reader, struct connect_packet *out,
				      struct decode_error *error)
{
	struct connect_will *will = &out->will;

	if (out->version == MQTT_V5 && will_properties_decode(reader, will, error) != DECODE_DONE)
		return DECODE_BAD;
	if (!read_binary(reader, &will->topic) || !read_binary(reader, &will->payload))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-9",
				   "A CONNECT ends before or within its Will.");
	if (!topic_name_is_valid(will->topic))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.3-11",
				   "The Will Topic is no valid Topic Name.");
	return DECODE_DONE;
}

/*
 * In MQTT 3.1 the Remaining Length goes before the flags: a User Name or Password that is announced
 * and not there is none.
 */
static enum decode_status credentials_decode(struct reader *reader, struct connect_packet *out,
					     struct decode_error *error)
{
	bool may_miss = out->version == MQTT_V31;

	if (may_miss && reader_left(reader) == 0)
		out->has_user_name = false;
	if (out->has_user_name && !read_binary(reader, &out->user_name))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-17",
				   "A CONNECT ends before or within its User Name.");
	if (!utf8_is_valid(out->user_name))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.3-12",
				   "The User Name is not valid UTF-8 or holds U+0000.");
	if (may_miss && reader_left(reader) == 0)
		out->has_password = false;
	if (out->has_password && !read_binary(reader, &out->password))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.2-19",
				   "A CONNECT ends before or within its Password.");
	if (reader_left(reader) > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.4-1",
				   "A CONNECT is longer than its fields.");
	return DECODE_DONE;
}

enum decode_status connect_decode(const struct packet_frame *frame, struct connect_packet *out,
				  struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);
	size_t shortest = 1 + varint_size((uint32_t)frame->body.len) + frame->body.len;

	connect_packet_init(out, MQTT_VERSION_NONE);
	if (variable_header_decode(&reader, out, error) != DECODE_DONE)
		return DECODE_BAD;
	/* The frame decoder let it pass, because it could not know the version. */
	if (out->version == MQTT_V5 && frame->total_len != shortest)
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-1.5.5-1",
				   "The Remaining Length has more bytes than it needs.");
	if (out->version == MQTT_V5 && properties_decode(&reader, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (!read_binary(&reader, &out->client_id))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.3-3",
				   "A CONNECT ends before or within its Client Identifier.");
	if (!utf8_is_valid(out->client_id))
		return decode_fail(error, RC_MALFORMED_PACKET, "MQTT-3.1.3-4",
				   "The Client Identifier is not valid UTF-8 or holds U+0000.");
	if (out->will.present && will_decode(&reader, out, error) != DECODE_DONE)
		return DECODE_BAD;
	return credentials_decode(&reader, out, error);
}

static void properties_write(struct writer *writer, const void *packet)
{
	const struct connect_packet *connect = packet;

	write_property_u32(writer, connect->has_session_expiry, PROPERTY_SESSION_EXPIRY_INTERVAL,
			   connect->session_expiry_s);
	write_property_u16(writer, connect->receive_maximum != CONNECT_RECEIVE_MAXIMUM_DEFAULT,
			   PROPERTY_RECEIVE_MAXIMUM, connect->receive_maximum);
	write_property_u32(writer, connect->maximum_packet_size > 0, PROPERTY_MAXIMUM_PACKET_SIZE,
			   connect->maximum_packet_size);
	write_property_u16(writer, connect->topic_alias_maximum > 0, PROPERTY_TOPIC_ALIAS_MAXIMUM,
			   connect->topic_alias_maximum);
	write_property_u8(writer, connect->request_response_information,
			  PROPERTY_REQUEST_RESPONSE_INFORMATION, 1);
	write_property_u8(writer, !connect->request_problem_information,
			  PROPERTY_REQUEST_PROBLEM_INFORMATION, 0);
	write_property_binary(writer, connect->has_authentication_method,
			      PROPERTY_AUTHENTICATION_METHOD, connect->authentication_method);
	write_property_binary(writer, connect->has_authentication_data,
			      PROPERTY_AUTHENTICATION_DATA, connect->authentication_data);
	write_user_properties(writer, connect->user_properties);
}

/* The User Properties of a Will are those in will->properties. */
static void will_properties_write(struct writer *writer, const void *packet)
{
	const struct connect_will *will = packet;

	write_property_u32(writer, will->delay_interval_s > 0, PROPERTY_WILL_DELAY_INTERVAL,
			   will->delay_interval_s);
	write_property_u8(writer, will->payload_format_indicator > 0,
			  PROPERTY_PAYLOAD_FORMAT_INDICATOR, will->payload_format_indicator);
	write_property_u32(writer, will->has_message_expiry, PROPERTY_MESSAGE_EXPIRY_INTERVAL,
			   will->message_expiry_s);
	write_property_string(writer, PROPERTY_CONTENT_TYPE, will->content_type);
	write_property_string(writer, PROPERTY_RESPONSE_TOPIC, will->response_topic);
	write_property_binary(writer, will->correlation_data.data != NULL,
			      PROPERTY_CORRELATION_DATA, will->correlation_data);
	write_user_properties(writer, will->properties);
}

static uint8_t flags_of(const struct connect_packet *connect)
{
	unsigned flags = 0;

	if (connect->clean_start)
		flags |= FLAG_CLEAN_START;
	if (connect->has_user_name)
		flags |= FLAG_USER_NAME;
	if (connect->has_password)
		flags |= FLAG_PASSWORD;
	if (connect->will.present)
		flags |= FLAG_WILL | (unsigned)connect->will.qos << 3 |
			 (connect->will.retain ? FLAG_WILL_RETAIN : 0U);
	return (uint8_t)flags;
}

static void body_write(struct writer *writer, const void *packet)
{
	const struct connect_packet *connect = packet;
	bool is_31 = connect->version == MQTT_V31;

	write_binary(writer, is_31 ? SLICE_LITERAL("MQIsdp") : SLICE_LITERAL("MQTT"));
	write_u8(writer,
		 (uint8_t)((unsigned)connect->version | (connect->is_bridge ? LEVEL_BRIDGE : 0U)));
	write_u8(writer, flags_of(connect));
	write_u16(writer, connect->keep_alive_s);
	if (connect->version == MQTT_V5)
		write_property_block(writer, properties_write, connect);
	write_binary(writer, connect->client_id);
	if (connect->will.present) {
		if (connect->version == MQTT_V5)
			write_property_block(writer, will_properties_write, &connect->will);
		write_binary(writer, connect->will.topic);
		write_binary(writer, connect->will.payload);
	}
	if (connect->has_user_name)
		write_binary(writer, connect->user_name);
	if (connect->has_password)
		write_binary(writer, connect->password);
}

size_t connect_encoded_size(const struct connect_packet *packet)
{
	return write_packet(NULL, PACKET_CONNECT, 0, body_write, packet);
}

size_t connect_encode(uint8_t *out, const struct connect_packet *packet)
{
	return write_packet(out, PACKET_CONNECT, 0, body_write, packet);
}
