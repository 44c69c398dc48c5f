/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONNACK, SUBACK and UNSUBACK: packets that only a client decodes. Tests and the load generator
 * rely on these decoders, and their encoders are the broker's own.
 */
#include "fuzz/support.h"

static void check_connack(const struct packet_frame *frame, enum mqtt_version version)
{
	struct connack_packet packet, again;
	struct packet_frame again_frame;
	struct decode_error error;
	size_t size;
	uint8_t *out;

	if (connack_decode(frame, version, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return;
	}
	fuzz_assert_inside(packet.assigned_client_id, frame->body);
	fuzz_assert_inside(packet.server_reference, frame->body);
	/* A return code of MQTT 3 is no Reason Code, so only version 5 goes round. */
	if (version != MQTT_V5)
		return;
	size = connack_encoded_size(version, &packet);
	out = fuzz_room(size);
	FUZZ_ASSERT(connack_encode(out, version, &packet) == size);
	again_frame = fuzz_frame_of(slice_of(out, size), version);
	FUZZ_ASSERT(connack_decode(&again_frame, version, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(connack_encoded_size(version, &again) == size);
	FUZZ_ASSERT(again.reason_code == packet.reason_code);
	FUZZ_ASSERT(again.receive_maximum == packet.receive_maximum);
	FUZZ_ASSERT(slice_equal(again.assigned_client_id, packet.assigned_client_id));
	free(out);
}

static void check_suback(const struct packet_frame *frame, enum mqtt_version version)
{
	enum packet_type type = (enum packet_type)frame->type;
	struct suback_packet packet, again;
	struct packet_frame again_frame;
	struct decode_error error;
	size_t size;
	uint8_t *out;

	if (suback_decode(frame, version, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return;
	}
	fuzz_assert_inside(packet.reason_codes, frame->body);
	fuzz_assert_inside(packet.reason_string, frame->body);
	size = suback_encoded_size(version, type, &packet);
	out = fuzz_room(size);
	FUZZ_ASSERT(suback_encode(out, version, type, &packet) == size);
	again_frame = fuzz_frame_of(slice_of(out, size), version);
	FUZZ_ASSERT(suback_decode(&again_frame, version, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(again.packet_id == packet.packet_id);
	FUZZ_ASSERT(slice_equal(again.reason_codes, packet.reason_codes));
	FUZZ_ASSERT(slice_equal(again.reason_string, packet.reason_string));
	free(out);
}

/* Bits 3-2 of the choice: CONNACK, SUBACK, UNSUBACK, CONNACK. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum packet_type types[] = {PACKET_CONNACK, PACKET_SUBACK, PACKET_UNSUBACK,
						 PACKET_CONNACK};
	struct packet_frame frame;

	if (size == 0)
		return 0;
	frame = fuzz_frame(types[data[0] >> 2 & 3], data, size);
	if (frame.type == PACKET_CONNACK)
		check_connack(&frame, fuzz_version(data[0]));
	else
		check_suback(&frame, fuzz_version(data[0]));
	return 0;
}
