/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"

static void check_round_trip(const struct ack_packet *packet, enum packet_type type,
			     enum mqtt_version version)
{
	size_t size = ack_encoded_size(version, packet);
	uint8_t *out = fuzz_room(size);
	struct ack_packet again;
	struct packet_frame frame;
	struct decode_error error;

	FUZZ_ASSERT(ack_encode(out, version, type, packet) == size);
	frame = fuzz_frame_of(slice_of(out, size), version);
	FUZZ_ASSERT(frame.type == type);
	FUZZ_ASSERT(ack_decode(&frame, version, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(again.packet_id == packet->packet_id);
	FUZZ_ASSERT(again.reason_code == packet->reason_code);
	FUZZ_ASSERT(slice_equal(again.reason_string, packet->reason_string));
	FUZZ_ASSERT(ack_encoded_size(version, &again) == size);
	free(out);
}

/* Bits 3-2 of the choice: PUBACK, PUBREC, PUBREL, PUBCOMP. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ack_packet packet;
	struct packet_frame frame;
	struct decode_error error;
	enum mqtt_version version;
	enum packet_type type;

	if (size == 0)
		return 0;
	version = fuzz_version(data[0]);
	type = (enum packet_type)(PACKET_PUBACK + (data[0] >> 2 & 3));
	frame = fuzz_frame(type, data, size);
	if (ack_decode(&frame, version, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return 0;
	}
	FUZZ_ASSERT(packet.packet_id > 0);
	FUZZ_ASSERT(version == MQTT_V5 || packet.reason_code == RC_SUCCESS);
	FUZZ_ASSERT(reason_code_is_allowed(packet.reason_code, type));
	fuzz_assert_inside(packet.reason_string, frame.body);
	fuzz_assert_inside(packet.user_properties, frame.body);
	check_round_trip(&packet, type, version);
	return 0;
}
