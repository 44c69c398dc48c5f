/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"
#include "mqtt/topic.h"

static void check_filter(const struct subscribe_filter *filter, enum mqtt_version version,
			 struct slice input)
{
	fuzz_assert_inside(filter->text, input);
	fuzz_assert_inside(filter->filter, filter->text);
	fuzz_assert_inside(filter->group, filter->text);
	FUZZ_ASSERT(topic_filter_is_valid(filter->filter));
	FUZZ_ASSERT(filter->is_shared == (filter->group.len > 0));
	FUZZ_ASSERT(filter->qos <= 2 && filter->retain_handling <= RETAIN_DO_NOT_SEND);
	FUZZ_ASSERT(!(filter->is_shared && filter->no_local));
	if (version != MQTT_V5)
		FUZZ_ASSERT(!filter->no_local && !filter->retain_as_published &&
			    filter->retain_handling == RETAIN_SEND);
}

static void check_round_trip(const struct subscribe_packet *packet,
			     const struct subscribe_filter *filters)
{
	struct subscribe_encoding encoding = {
		.version = packet->version,
		.packet_id = packet->packet_id,
		.subscription_identifier = packet->subscription_identifier,
		.filters = filters,
		.filter_count = packet->filter_count,
		.user_properties = packet->user_properties,
	};
	size_t size = subscribe_encoded_size(&encoding);
	uint8_t *out = fuzz_room(size);
	struct subscribe_packet again;
	struct packet_frame frame;
	struct decode_error error;

	FUZZ_ASSERT(subscribe_encode(out, &encoding) == size);
	frame = fuzz_frame_of(slice_of(out, size), packet->version);
	FUZZ_ASSERT(subscribe_decode(&frame, packet->version, &again, &error) == DECODE_DONE);
	FUZZ_ASSERT(again.packet_id == packet->packet_id);
	FUZZ_ASSERT(again.filter_count == packet->filter_count);
	FUZZ_ASSERT(again.subscription_identifier == packet->subscription_identifier);
	/* Only MQTT 3.1 has bits in the options that nobody reads. */
	FUZZ_ASSERT(packet->version == MQTT_V31 || slice_equal(again.filters, packet->filters));
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct subscribe_filter *filters;
	struct subscribe_packet packet;
	struct packet_frame frame;
	struct decode_error error;
	enum mqtt_version version;
	size_t offset = 0, count = 0;

	if (size == 0)
		return 0;
	version = fuzz_version(data[0]);
	frame = fuzz_frame(PACKET_SUBSCRIBE, data, size);
	if (subscribe_decode(&frame, version, &packet, &error) != DECODE_DONE) {
		fuzz_assert_refusal(&error);
		return 0;
	}
	FUZZ_ASSERT(packet.packet_id > 0 && packet.filter_count > 0);
	filters = malloc(packet.filter_count * sizeof *filters);
	FUZZ_ASSERT(filters);
	while (count < packet.filter_count && subscribe_next(&packet, &offset, &filters[count]))
		check_filter(&filters[count++], version, frame.body);
	FUZZ_ASSERT(count == packet.filter_count && offset == packet.filters.len);
	check_round_trip(&packet, filters);
	free(filters);
	return 0;
}
