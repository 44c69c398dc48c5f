/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a broker that was built without the console. */
#include "http/console_assets.h"

const struct console_asset console_assets[] = {{0}};
const size_t console_assets_count = 0;
