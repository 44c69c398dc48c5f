/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

enum err err_set(struct err_detail *detail, enum err code, const char *format, ...)
{
	va_list args;

	if (!detail)
		return code;
	va_start(args, format);
	vsnprintf(detail->text, sizeof detail->text, format, args);
	va_end(args);
	return code;
}

const char *err_text(enum err code)
{
	switch (code) {
	case ERR_NONE: return "no error";
	case ERR_NOMEM: return "out of memory";
	case ERR_IO: return "input/output error";
	case ERR_LIMIT: return "limit reached";
	case ERR_NOT_FOUND: return "not found";
	case ERR_EXISTS: return "exists already";
	case ERR_INVALID: return "not valid";
	case ERR_DENIED: return "not permitted";
	case ERR_UNSUPPORTED: return "not supported by this build";
	}
	return "unknown error";
}
