/* SPDX-License-Identifier: Apache-2.0 */
#include "store/upgrade.h"

#include "base/log.h"
#include "store/record.h"

/* Format 1 is the first. */
static const upgrade_step steps[STORE_FORMAT] = {NULL};

const struct upgrade_road upgrade_road = {STORE_FORMAT, steps};

/* Behind the record's version, in all formats. */
static bool format_of(struct slice meta, uint32_t *out)
{
	struct unpack from = unpack_of(meta);

	(void)unpack_u8(&from);
	*out = unpack_u32(&from);
	return !from.is_bad && *out > 0;
}

static bool leads_on(const struct upgrade_road *road, uint32_t format)
{
	for (; format < road->format; format++)
		if (!road->steps[format])
			return false;
	return true;
}

static enum err judge(const struct upgrade_road *road, uint32_t format, struct err_detail *detail)
{
	if (format > road->format)
		return err_set(
			detail, ERR_UNSUPPORTED,
			"The store has format %u, and this version knows formats up to %u: it was "
			"written by a newer version. Start that one, or choose another "
			"persistence_location. Nothing was changed",
			format, road->format);
	if (!leads_on(road, format))
		return err_set(
			detail, ERR_UNSUPPORTED,
			"The store has format %u, which this version cannot upgrade to %u. Nothing "
			"was changed",
			format, road->format);
	return ERR_NONE;
}

enum err upgrade_look(struct kv *kv, const struct upgrade_road *road, uint32_t *out_format,
		      struct err_detail *detail)
{
	struct kv_reader *reader;
	struct slice key, value;
	enum err err = kv->ops->reader_open(kv, &reader);

	*out_format = 0;
	if (err != ERR_NONE)
		return err_set(detail, err, "Cannot read the store");
	err = kv->ops->read(reader, KV_META, SLICE_LITERAL(""), false, &key, &value);
	if (err == ERR_NONE && !format_of(value, out_format))
		err = err_set(
			detail, ERR_INVALID,
			"The store is damaged: its format does not read. Nothing was changed");
	else if (err == ERR_NONE)
		err = judge(road, *out_format, detail);
	else if (err == ERR_NOT_FOUND)
		err = ERR_NONE;
	else
		err_set(detail, err, "Cannot read the store, table %s", kv_table_name(KV_META));
	kv->ops->reader_close(&reader);
	return err;
}

/* After the last step this version reads it. */
static enum err set_format(struct kv *kv, uint32_t format)
{
	struct meta_record *meta = malloc(sizeof *meta);
	struct pack value = {NULL, 0, 0};
	struct key key = key_of(0);
	struct slice before;
	enum err err;

	BUG_ON(!meta);
	err = kv_get(kv, KV_META, key_slice(&key), &before);
	if (err == ERR_NONE && !record_get_meta(before, meta))
		err = ERR_INVALID;
	if (err == ERR_NONE) {
		meta->format = format;
		record_put_meta(&value, meta);
		err = kv->ops->put(kv, KV_META, key_slice(&key), pack_slice(&value), false);
	}
	pack_fini(&value);
	free(meta);
	return err;
}

static enum err transact(struct kv *kv, const struct upgrade_road *road, uint32_t format,
			 struct err_detail *detail)
{
	enum err err = kv->ops->begin(kv);

	if (err != ERR_NONE)
		return err;
	for (; err == ERR_NONE && format < road->format; format++)
		err = road->steps[format](kv, detail);
	if (err == ERR_NONE)
		err = set_format(kv, road->format);
	if (err == ERR_NONE)
		return kv->ops->commit(kv, detail);
	kv->ops->abort(kv);
	return err;
}

enum err upgrade_run(struct kv *kv, const struct upgrade_road *road, struct err_detail *detail)
{
	struct err_detail why = {""};
	uint32_t format;
	enum err err = upgrade_look(kv, road, &format, detail);

	if (err != ERR_NONE || format == 0 || format == road->format)
		return err;
	log_event(
		LOG_TYPE_NOTICE, NULL,
		"The store has format %u, of an older version: it is upgraded to format %u, which "
		"that version cannot read",
		format, road->format);
	err = transact(kv, road, format, &why);
	if (err != ERR_NONE)
		return err_set(detail, err,
			       "The store could not be upgraded from format %u to %u: %s. Nothing "
			       "was changed",
			       format, road->format, why.text[0] ? why.text : err_text(err));
	return ERR_NONE;
}

enum err upgrade_rewrite(struct kv *kv, enum kv_table table, upgrade_rewrite_fn rewrite,
			 struct err_detail *detail)
{
	struct pack fresh = {NULL, 0, 0};
	struct slice found, value;
	struct key key = {.len = 0};
	enum err err = ERR_NONE;

	while (err == ERR_NONE &&
	       (err = kv->ops->find(kv, table, key_slice(&key), &found, &value)) == ERR_NONE) {
		BUG_ON(found.len >= sizeof key.bytes);
		memcpy(key.bytes, found.data, found.len);
		key.len = found.len;
		fresh.len = 0;
		if (!rewrite(key_slice(&key), value, &fresh))
			err = err_set(detail, ERR_INVALID, "table %s, key %llu does not read",
				      kv_table_name(table),
				      (unsigned long long)key_number(key_slice(&key), 0));
		else
			err = kv->ops->put(kv, table, key_slice(&key), pack_slice(&fresh), false);
		key.bytes[key.len++] = 0; /* the next one is not below this */
	}
	pack_fini(&fresh);
	return err == ERR_NOT_FOUND ? ERR_NONE : err;
}
