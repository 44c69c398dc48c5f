/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"

#include "net/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_hello whole, part;
	enum client_hello_status status = client_hello_parse(slice_of(data, size), &whole);

	if (status == CLIENT_HELLO_NEED_MORE)
		FUZZ_ASSERT(whole.wanted > size);
	/* A beginning never says that it is done, or wants less than it has. */
	for (size_t len = size > 64 ? size - 64 : 0; len < size; len++) {
		enum client_hello_status before = client_hello_parse(slice_of(data, len), &part);

		FUZZ_ASSERT(before != CLIENT_HELLO_BAD || status == CLIENT_HELLO_BAD);
		FUZZ_ASSERT(before != CLIENT_HELLO_NEED_MORE || part.wanted > len);
		FUZZ_ASSERT(before != CLIENT_HELLO_DONE || status == CLIENT_HELLO_DONE);
	}
	return 0;
}
