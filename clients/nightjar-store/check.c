/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - is a store whole, and how much of it reads if it is not? */
#include <inttypes.h>
#include <stdio.h>

#include "tables.h"

/* Everything is read by the broker's own code, and compared. */
static enum err load_all(struct kv *kv, struct err_detail *detail)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);
	enum err err;

	if (!ledger)
		return err_set(detail, ERR_NOMEM, "No memory");
	ledger_init(ledger);
	err = ledger_load(ledger, kv, detail);
	if (err == ERR_NONE)
		err = tables_check_order(ledger, detail);
	if (err == ERR_NONE) {
		ledger_audit(ledger);
		tables_print_counts(kv);
		printf("%-14s %" PRIu64 ", format %u\n", "commit", ledger->meta.commit,
		       ledger->meta.format);
	}
	ledger_fini(ledger);
	free(ledger);
	return err;
}

/* All tables, page by page: the first damage that was found may not be the only one. */

static enum err count_record(void *count, struct slice key, struct slice value)
{
	struct unpack from;

	(void)key;
	if (!record_open(value, &from))
		return ERR_INVALID;
	++*(uint64_t *)count;
	return ERR_NONE;
}

static void print_damage(const char *directory)
{
	char path[TABLES_PATH_BYTES];
	struct err_detail detail;

	tables_path(path, directory);
	for (enum kv_table table = 0; table < KV_TABLES; table++) {
		struct lmdb_damage damage;
		uint64_t good = 0;

		if (lmdb_salvage(path, table, count_record, &good, &damage, &detail) != ERR_NONE)
			continue;
		printf("%-14s %" PRIu64 " can be read", kv_table_name(table), good);
		if (damage.records)
			printf(", %" PRIu64 " cannot", damage.records);
		if (damage.pages)
			printf(", %" PRIu64 " pages with more are damaged", damage.pages);
		putchar('\n');
	}
	puts("'export FILE' saves what can be read; 'import --partly FILE', with an empty LOCATION, "
	     "makes a store of it.");
}

int check_store(const char *directory)
{
	struct err_detail detail = {""};
	struct kv *kv;
	enum err err = tables_open(directory, &kv, &detail);

	if (err == ERR_NONE) {
		enum err closed;

		err = load_all(kv, &detail);
		closed = tables_close(&kv, &detail);
		if (closed != ERR_NONE)
			err = closed;
	}
	if (err != ERR_NONE)
		fail(&detail);
	if (err == ERR_INVALID && !tables_are_in_use(directory))
		print_damage(directory);
	if (err != ERR_NONE)
		return 1;
	tables_tell_of_rings(directory);
	puts("The store is whole.");
	return 0;
}
