/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"
#include "mqtt/topic.h"

static void check_round_trip(const struct unsubscribe_packet *packet, enum mqtt_version version,
			     const struct subscribe_filter *filters)
{
	struct subscribe_encoding encoding = {
		.version = version,
		.packet_id = packet->packet_id,
		.filters = filters,
		.filter_count = packet->filter_count,
		.user_properties = packet->user_properties,
	};
	size_t size = unsubscribe_encoded_size(&encoding);
	uint8_t *out = fuzz_room(size);
	struct unsubscribe_packet again;
	struct packet_frame frame;
	struct decode_error error;

	FUZZ_ASSERT(unsubscribe_encode(out, &encoding) == size);
	frame = fuzz_frame_of(slice_of(out, size), version);
	FUZZ_ASSERT(unsubscribe_decode(&frame, version, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(again.packet_id == packet->packet_id);
	FUZZ_ASSERT(again.filter_count == packet->filter_count);
	FUZZ_ASSERT(slice_equal(again.filters, packet->filters));
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct subscribe_filter *filters;
	struct unsubscribe_packet packet;
	struct packet_frame frame;
	struct decode_error error;
	enum mqtt_version version;
	size_t offset = 0, count = 0;

	if (size == 0)
		return 0;
	version = fuzz_version(data[0]);
	frame = fuzz_frame(PACKET_UNSUBSCRIBE, data, size);
	if (unsubscribe_decode(&frame, version, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return 0;
	}
	FUZZ_ASSERT(packet.packet_id > 0 && packet.filter_count > 0);
	filters = malloc(packet.filter_count * sizeof *filters);
	FUZZ_ASSERT(filters);
	while (count < packet.filter_count && unsubscribe_next(&packet, &offset, &filters[count])) {
		fuzz_assert_inside(filters[count].text, frame.body);
		FUZZ_ASSERT(topic_filter_is_valid(filters[count].filter));
		count++;
	}
	FUZZ_ASSERT(count == packet.filter_count && offset == packet.filters.len);
	check_round_trip(&packet, version, filters);
	free(filters);
	return 0;
}
