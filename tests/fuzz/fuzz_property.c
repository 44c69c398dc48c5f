/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"
#include "mqtt/property_set.h"
#include "mqtt/topic.h"
#include "mqtt/utf8.h"

static void check_property(const struct property *property, enum packet_type packet,
			   struct slice block)
{
	fuzz_assert_inside(property->encoded, block);
	fuzz_assert_inside(property->text, property->encoded);
	fuzz_assert_inside(property->value, property->encoded);
	FUZZ_ASSERT(property_is_allowed(property->id, packet));
	if (property->type == PROPERTY_TYPE_BYTE)
		FUZZ_ASSERT(property->number <= 1);
	if (property->type == PROPERTY_TYPE_STRING || property->type == PROPERTY_TYPE_PAIR)
		FUZZ_ASSERT(utf8_is_valid(property->text) && utf8_is_valid(property->value));
	if (property->id == PROPERTY_RESPONSE_TOPIC)
		FUZZ_ASSERT(topic_name_is_valid(property->text));
}

/* The walk over a checked block sees all of it, and agrees with the set. */
static void check_set(const struct property_set *set, enum packet_type packet)
{
	struct slice rest = set->block;
	struct property property;
	uint64_t seen = 0;
	size_t len = 0;

	while (property_next(&rest, &property)) {
		check_property(&property, packet, set->block);
		if (!(seen >> property.id & 1)) {
			FUZZ_ASSERT(property_set_number(set, (enum property_id)property.id, 0) ==
				    property.number);
			FUZZ_ASSERT(
				slice_equal(property_set_text(set, (enum property_id)property.id),
					    property.text));
		}
		seen |= 1ULL << property.id;
		len += property.encoded.len;
	}
	FUZZ_ASSERT(len == set->block.len && rest.len == 0);
	FUZZ_ASSERT(seen == set->seen);
}

static void check_user_properties(const struct property_set *set)
{
	size_t size = 0;
	struct writer writer = {NULL, 0};
	struct slice rest = set->block, name, value;

	while (user_property_next(&rest, &name, &value))
		size += user_property_encoded_size(name, value);
	write_user_properties(&writer, set->block);
	FUZZ_ASSERT(writer.len == size);
	FUZZ_ASSERT((size > 0) == property_set_has(set, PROPERTY_USER_PROPERTY));
}

/* Bits 7-4 of the choice: the type of the packet. Bit 0: sent by a server. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum packet_type packet;
	struct property_set set;
	struct property property;
	struct decode_error error;
	struct reader reader;
	struct slice input;

	if (size == 0)
		return 0;
	packet = (enum packet_type)(data[0] >> 4);
	input = slice_of(data + 1, size - 1);
	reader = reader_of(input);
	if (property_set_decode(&reader, packet,
				data[0] & 1 ? PROPERTY_FROM_SERVER : PROPERTY_FROM_CLIENT, &set,
				&error) == DECODE_DONE) {
		fuzz_assert_inside(set.block, input);
		check_set(&set, packet);
		check_user_properties(&set);
		free(fuzz_forward_copy(&set.forward));
	} else {
		fuzz_assert_refusal(&error);
	}
	/* And over bytes that nobody has checked. */
	while (property_next(&input, &property))
		FUZZ_ASSERT(property.encoded.len > 0);
	return 0;
}
