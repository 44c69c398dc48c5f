/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt/disconnect.h"
#include "mqtt/property_set.h"
#include "mqtt/wire.h"

static enum decode_status properties_decode(struct reader *reader, enum property_sender sender,
					    struct auth_packet *out, struct decode_error *error)
{
	struct property_set set;

	if (property_set_decode(reader, PACKET_AUTH, sender, &set, error) != DECODE_DONE)
		return DECODE_BAD;
	if (!property_set_has(&set, PROPERTY_AUTHENTICATION_METHOD))
		return decode_fail(error, RC_PROTOCOL_ERROR, "3.15.2.2.2",
				   "An AUTH has no Authentication Method.");
	out->authentication_method = property_set_text(&set, PROPERTY_AUTHENTICATION_METHOD);
	out->has_authentication_data = property_set_has(&set, PROPERTY_AUTHENTICATION_DATA);
	out->authentication_data = property_set_text(&set, PROPERTY_AUTHENTICATION_DATA);
	out->reason_string = property_set_text(&set, PROPERTY_REASON_STRING);
	out->user_properties = property_set_user_properties(&set);
	return DECODE_DONE;
}

/* Only a server says Success, only a client asks to authenticate again (table 3-13). */
static bool reason_is_of(uint8_t code, enum property_sender sender)
{
	if (code == RC_CONTINUE_AUTHENTICATION)
		return true;
	return code == (sender == PROPERTY_FROM_SERVER ? RC_SUCCESS : RC_REAUTHENTICATE);
}

/* A Remaining Length of 0 means Success without properties, so for a client it is never right. */
static enum decode_status decode_any(const struct packet_frame *frame, enum property_sender sender,
				     struct auth_packet *out, struct decode_error *error)
{
	struct reader reader = reader_of(frame->body);

	*out = (struct auth_packet){0};
	(void)read_u8(&reader, &out->reason_code);
	if (!reason_is_of(out->reason_code, sender))
		return decode_fail(error, RC_PROTOCOL_ERROR, "MQTT-3.15.2-1",
				   "The Reason Code of an AUTH is none that this side may send.");
	if (frame->body.len == 0)
		return DECODE_DONE;
	if (properties_decode(&reader, sender, out, error) != DECODE_DONE)
		return DECODE_BAD;
	if (reader_left(&reader) > 0)
		return decode_fail(error, RC_MALFORMED_PACKET, "2.1.4",
				   "An AUTH is longer than its fields.");
	return DECODE_DONE;
}

enum decode_status auth_decode(const struct packet_frame *frame, struct auth_packet *out,
			       struct decode_error *error)
{
	return decode_any(frame, PROPERTY_FROM_CLIENT, out, error);
}

enum decode_status auth_decode_from_server(const struct packet_frame *frame,
					   struct auth_packet *out, struct decode_error *error)
{
	return decode_any(frame, PROPERTY_FROM_SERVER, out, error);
}

static void properties_write(struct writer *writer, const void *packet)
{
	const struct auth_packet *auth = packet;

	write_property_binary(writer, true, PROPERTY_AUTHENTICATION_METHOD,
			      auth->authentication_method);
	write_property_binary(writer, auth->has_authentication_data, PROPERTY_AUTHENTICATION_DATA,
			      auth->authentication_data);
	write_property_string(writer, PROPERTY_REASON_STRING, auth->reason_string);
	write_user_properties(writer, auth->user_properties);
}

static void body_write(struct writer *writer, const void *packet)
{
	const struct auth_packet *auth = packet;

	write_u8(writer, auth->reason_code);
	write_property_block(writer, properties_write, auth);
}

size_t auth_encoded_size(const struct auth_packet *packet)
{
	return write_packet(NULL, PACKET_AUTH, 0, body_write, packet);
}

size_t auth_encode(uint8_t *out, const struct auth_packet *packet)
{
	return write_packet(out, PACKET_AUTH, 0, body_write, packet);
}
