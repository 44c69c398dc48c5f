/* SPDX-License-Identifier: Apache-2.0 */
#include "store/kv.h"

const char *kv_table_name(enum kv_table table)
{
	static const char *const names[] = {
#define KV_NAME(name, text) text,
		KV_TABLE_LIST(KV_NAME)
#undef KV_NAME
	};

	return names[table];
}
