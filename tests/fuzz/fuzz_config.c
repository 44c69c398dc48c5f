/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration is written by an administrator, but a damaged file must end in a message, too.
 * What loads must be sound, must survive a reload by itself, and must free everything.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The files of the machine are no part of the input. */
static bool reads_files(const uint8_t *data, size_t size)
{
	return memmem(data, size, "include_dir", 11) != NULL;
}

static void check_listener(const struct config_listener *listener)
{
	BUG_ON((listener->port == 0) != (listener->unix_path != NULL));
	BUG_ON(listener->max_qos > 2);
	BUG_ON(listener->max_connections == 0 || listener->max_connections < -1);
	BUG_ON(!listener->access.auto_id_prefix);
}

static void check_config(const struct config *config)
{
	static struct config_errors report;

	BUG_ON(config->listener_count == 0);
	BUG_ON(config->worker_threads < 1 || config->worker_threads > 256);
	BUG_ON(config->mailbox_letters < 4);
	for (size_t i = 0; i < config->listener_count; i++)
		check_listener(&config->listeners[i]);
	for (size_t i = 0; i < config->note_count; i++)
		BUG_ON(!config->notes[i][0]);
	BUG_ON(!config_is_reloadable_change(config, config, &report));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config_errors errors;
	struct config *config = NULL;
	enum err err;

	if (reads_files(data, size))
		return 0;
	err = config_load_bytes("fuzz.conf", (const char *)data, size, NULL, &config, &errors);
	BUG_ON((err == ERR_NONE) != (config != NULL));
	BUG_ON((err == ERR_NONE) != (errors.count == 0));
	if (config)
		check_config(config);
	config_destroy(config);
	return 0;
}
