/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"

static enum decode_status decode(const struct packet_frame *frame, bool from_server,
				 struct auth_packet *out, struct decode_error *error)
{
	if (from_server)
		return auth_decode_from_server(frame, out, error);
	return auth_decode(frame, out, error);
}

/* Bit 2 of the choice: sent by a server. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct auth_packet packet, again;
	struct packet_frame frame;
	struct decode_error error;
	bool from_server;
	size_t encoded_size;
	uint8_t *out;

	if (size == 0)
		return 0;
	from_server = (data[0] & 4) != 0;
	frame = fuzz_frame(PACKET_AUTH, data, size);
	if (decode(&frame, from_server, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return 0;
	}
	FUZZ_ASSERT(reason_code_is_allowed(packet.reason_code, PACKET_AUTH));
	fuzz_assert_inside(packet.authentication_method, frame.body);
	fuzz_assert_inside(packet.authentication_data, frame.body);
	fuzz_assert_inside(packet.reason_string, frame.body);
	fuzz_assert_inside(packet.user_properties, frame.body);

	encoded_size = auth_encoded_size(&packet);
	out = fuzz_room(encoded_size);
	FUZZ_ASSERT(auth_encode(out, &packet) == encoded_size);
	frame = fuzz_frame_of(slice_of(out, encoded_size), MQTT_V5);
	FUZZ_ASSERT(decode(&frame, from_server, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(again.reason_code == packet.reason_code);
	FUZZ_ASSERT(again.has_authentication_data == packet.has_authentication_data);
	FUZZ_ASSERT(slice_equal(again.authentication_method, packet.authentication_method));
	FUZZ_ASSERT(slice_equal(again.authentication_data, packet.authentication_data));
	FUZZ_ASSERT(slice_equal(again.reason_string, packet.reason_string));
	free(out);
	return 0;
}
