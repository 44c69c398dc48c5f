/* SPDX-License-Identifier: Apache-2.0 */
/* A line on the control socket. What is accepted has the argument that its command needs. */
#include <stdlib.h>

#include "fuzz/support.h"

#include "server/control_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_request request;
	struct err_detail detail = {.text = ""};

	if (control_request_parse(slice_of(data, size), &request, &detail) != ERR_NONE) {
		FUZZ_ASSERT(detail.text[0] && !request.argument);
		return 0;
	}
	FUZZ_ASSERT(control_command_name(request.command));
	FUZZ_ASSERT(!request.argument || request.argument[0]);
	control_request_fini(&request);
	return 0;
}
