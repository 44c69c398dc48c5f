/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bug.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void bug_stop(const char *file, int line, const char *condition)
{
	fprintf(stderr, "nightjar: bug at %s:%d: %s. Please report it with this line.\n", file,
		line, condition);
	abort();
}
