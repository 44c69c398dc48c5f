/* SPDX-License-Identifier: Apache-2.0 */
#include "auth/authority.h"

#include <stdlib.h>

/* Frozen after create. */
struct authority {
	unsigned references; /* atomic */
	bool allow_anonymous;
	uint64_t generation;
	struct password_file *password_file; /* NULL: none */
	struct acl_file *acl;		     /* NULL: none */
	const struct authority_hooks *hooks;
};

static const struct authority_hooks no_hooks;
static uint64_t last_generation; /* atomic */

static enum err load_files(struct authority *authority, const struct authority_settings *settings,
			   struct err_detail *detail)
{
	enum err err = ERR_NONE;

	if (settings->password_file)
		err = password_file_load(settings->password_file, &authority->password_file,
					 detail);
	if (!err && settings->acl_file)
		err = acl_file_load(settings->acl_file, &authority->acl, detail);
	return err;
}

enum err authority_create(const struct authority_settings *settings, struct authority **out,
			  struct err_detail *detail)
{
	struct authority *authority = calloc(1, sizeof *authority);
	enum err err;

	*out = NULL;
	if (!authority)
		return err_set(detail, ERR_NOMEM, "no memory for users and rights");
	authority->references = 1;
	authority->allow_anonymous = settings->allow_anonymous;
	authority->hooks = settings->hooks ? settings->hooks : &no_hooks;
	err = load_files(authority, settings, detail);
	if (err) {
		authority_unref(&authority);
		return err;
	}
	authority->generation = __atomic_add_fetch(&last_generation, 1, __ATOMIC_RELAXED);
	*out = authority;
	return ERR_NONE;
}

struct authority *authority_ref(struct authority *authority)
{
	__atomic_add_fetch(&authority->references, 1, __ATOMIC_RELAXED);
	return authority;
}

void authority_unref(struct authority **authority)
{
	struct authority *gone = *authority;

	*authority = NULL;
	if (!gone || __atomic_sub_fetch(&gone->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	password_file_unref(&gone->password_file);
	acl_file_unref(&gone->acl);
	free(gone);
}

uint64_t authority_generation(const struct authority *authority)
{
	return authority->generation;
}

bool authority_allows_anonymous(const struct authority *authority)
{
	return authority->allow_anonymous;
}

struct acl_file *authority_acl(const struct authority *authority)
{
	return authority->acl;
}

struct password_file *authority_password_file(const struct authority *authority)
{
	return authority->password_file;
}

const struct authority_hooks *authority_hooks(const struct authority *authority)
{
	return authority->hooks;
}

/* Only a line that was there before, and is still the same, stands for a password that was shown. */
static bool same_line(const struct authority *before, const struct authority *now,
		      struct slice username)
{
	const struct password_entry *new_line = password_file_find(now->password_file, username);
	const struct password_entry *old_line = NULL;

	if (before->password_file)
		old_line = password_file_find(before->password_file, username);
	return new_line && old_line && password_entry_equal(new_line, old_line);
}

bool authority_still_admits(const struct authority *before, const struct authority *now,
			    bool has_username, struct slice username)
{
	const struct authority_hooks *hooks = now->hooks;

	if (hooks->still_admits)
		return hooks->still_admits(hooks->context, has_username, username);
	if (hooks->check_password)
		return true;
	if (!has_username || !now->password_file)
		return now->allow_anonymous;
	return same_line(before, now, username);
}

static bool is_permitted(const struct acl_view *view, const struct permission_request *request)
{
	switch (request->act) {
	case PERMISSION_PUBLISH: return acl_view_may_publish(view, request->topic);
	case PERMISSION_DELIVER: return acl_view_may_read(view, request->topic);
	case PERMISSION_SUBSCRIBE:
		return acl_view_read_scope(view, request->topic) != ACL_SCOPE_NONE;
	}
	return false;
}

enum permission authority_check(const struct authority *authority, const struct acl_view *view,
				const struct permission_request *request, permission_done_fn done,
				void *arg)
{
	const struct authority_hooks *hooks = authority->hooks;
	enum permission permission = PERMISSION_DEFER;

	if (hooks->check_permission)
		permission = hooks->check_permission(hooks->context, request, done, arg);
	if (permission == PERMISSION_PENDING && !done)
		return PERMISSION_DENIED;
	if (permission != PERMISSION_DEFER)
		return permission;
	return is_permitted(view, request) ? PERMISSION_ALLOWED : PERMISSION_DENIED;
}
