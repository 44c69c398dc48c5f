/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/support.h"

#include "net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header whole, part;
	enum proxy_header_status status = proxy_header_parse(slice_of(data, size), &whole);

	if (status == PROXY_HEADER_NEED_MORE)
		FUZZ_ASSERT(whole.wanted > size && whole.wanted <= PROXY_HEADER_BYTES_MAX);
	if (status == PROXY_HEADER_BAD)
		FUZZ_ASSERT(whole.fault != NULL);
	if (status != PROXY_HEADER_DONE)
		return 0;
	FUZZ_ASSERT(whole.len <= size && whole.len <= PROXY_HEADER_BYTES_MAX);
	/* No beginning of a good header is anything else, and none wants bytes behind it. */
	for (size_t len = 0; len < whole.len; len++) {
		FUZZ_ASSERT(proxy_header_parse(slice_of(data, len), &part) ==
			    PROXY_HEADER_NEED_MORE);
		FUZZ_ASSERT(part.wanted <= whole.len);
	}
	return 0;
}
