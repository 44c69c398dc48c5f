/* SPDX-License-Identifier: Apache-2.0 */
#include "session/settings.h"

void session_settings_ref(struct session_settings *settings)
{
	__atomic_add_fetch(&settings->refs, 1, __ATOMIC_RELAXED);
}

void session_settings_unref(struct session_settings **settings)
{
	if (*settings && __atomic_sub_fetch(&(*settings)->refs, 1, __ATOMIC_ACQ_REL) == 0)
		(*settings)->free_fn(*settings);
	*settings = NULL;
}
