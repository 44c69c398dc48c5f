/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"

/* What a beginning of the input says must not contradict what the whole says. */
static void check_beginning(struct slice input, size_t len, enum mqtt_version version,
			    enum decode_status whole, const struct packet_frame *frame)
{
	struct packet_frame part;
	struct decode_error error;
	enum decode_status status =
		packet_frame_decode(slice_of(input.data, len), version, &part, &error);

	if (status == DECODE_BAD)
		FUZZ_ASSERT(whole == DECODE_BAD);
	if (status == DECODE_DONE)
		FUZZ_ASSERT(whole == DECODE_DONE && part.total_len <= len);
	if (status == DECODE_NEED_MORE && part.total_len > 0)
		FUZZ_ASSERT(whole != DECODE_BAD && part.total_len == frame->total_len);
	if (status == DECODE_NEED_MORE && whole == DECODE_DONE)
		FUZZ_ASSERT(len < frame->total_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packet_frame frame;
	struct decode_error error;
	enum mqtt_version version;
	enum decode_status status;
	struct slice input;

	if (size == 0)
		return 0;
	version = data[0] & 4 ? MQTT_VERSION_NONE : fuzz_version(data[0]);
	input = slice_of(data + 1, size - 1);
	status = packet_frame_decode(input, version, &frame, &error);
	if (status == DECODE_BAD)
		fuzz_assert_refusal(&error);
	if (status == DECODE_DONE) {
		FUZZ_ASSERT(frame.type >= PACKET_CONNECT && frame.type <= PACKET_AUTH);
		FUZZ_ASSERT(frame.total_len <= input.len);
		FUZZ_ASSERT(frame.body.data + frame.body.len == input.data + frame.total_len);
		fuzz_assert_inside(frame.body, input);
	}
	for (size_t len = 0; len < input.len && len < 12; len++)
		check_beginning(input, len, version, status, &frame);
	return 0;
}
