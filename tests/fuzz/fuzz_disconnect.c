/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"

static enum decode_status decode(const struct packet_frame *frame, enum mqtt_version version,
				 bool from_server, struct disconnect_packet *out,
				 struct decode_error *error)
{
	if (from_server)
		return disconnect_decode_from_server(frame, out, error);
	return disconnect_decode(frame, version, out, error);
}

/* Bit 2 of the choice: sent by a server, which only version 5 knows. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct disconnect_packet packet, again;
	struct packet_frame frame;
	struct decode_error error;
	enum mqtt_version version;
	bool from_server;
	size_t encoded_size;
	uint8_t *out;

	if (size == 0)
		return 0;
	from_server = (data[0] & 4) != 0;
	version = from_server ? MQTT_V5 : fuzz_version(data[0]);
	frame = fuzz_frame(PACKET_DISCONNECT, data, size);
	if (decode(&frame, version, from_server, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return 0;
	}
	FUZZ_ASSERT(reason_code_is_allowed(packet.reason_code, PACKET_DISCONNECT));
	fuzz_assert_inside(packet.reason_string, frame.body);
	fuzz_assert_inside(packet.server_reference, frame.body);
	fuzz_assert_inside(packet.user_properties, frame.body);

	encoded_size = disconnect_encoded_size(version, &packet);
	out = fuzz_room(encoded_size);
	FUZZ_ASSERT(disconnect_encode(out, version, &packet) == encoded_size);
	frame = fuzz_frame_of(slice_of(out, encoded_size), version);
	FUZZ_ASSERT(decode(&frame, version, from_server, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(again.reason_code == packet.reason_code);
	FUZZ_ASSERT(again.has_session_expiry == packet.has_session_expiry);
	FUZZ_ASSERT(again.session_expiry_s == packet.session_expiry_s);
	FUZZ_ASSERT(slice_equal(again.reason_string, packet.reason_string));
	FUZZ_ASSERT(slice_equal(again.server_reference, packet.server_reference));
	free(out);
	return 0;
}
