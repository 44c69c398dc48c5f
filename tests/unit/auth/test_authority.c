/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/authority.h"
#include "auth/password_hash.h"

/* Made with mosquitto_passwd 2.0.11; the passwords are "secret" and "hunter2". */
#define ALICE                                                                                      \
	"alice:$7$101$l+hAxJd/xdHe7VDN$VAX6elb9/N1p/EgWmSjMt8ovcdPQNiMEoeStvm70lkc8+y0/"           \
	"jnaNFOetya8S7d9I4VDmINVXj+7HEBv/xlfoZQ==\n"
#define BOB_HASH                                                                                   \
	"$6$/GZdMWAigGetRkND$/egA6pYv0H6jaeBYYVZ5rs0IkPNNpxLo74iqGTuXH1TggSmW0UTY3ashtN68aQmd+"    \
	"TurWNokob3EK0VYXsmW/Q==\n"
#define BOB "bob:" BOB_HASH
#define ALICE_ANEW "alice:" BOB_HASH

static char folder[] = "/tmp/nightjar-test-XXXXXX";
static char users_path[64], acl_path[64];

static int make_folder(void **unused)
{
	(void)unused;
	if (!mkdtemp(folder))
		return -1;
	snprintf(users_path, sizeof users_path, "%s/users", folder);
	snprintf(acl_path, sizeof acl_path, "%s/acl", folder);
	return 0;
}

static int remove_folder(void **unused)
{
	(void)unused;
	unlink(users_path);
	unlink(acl_path);
	return rmdir(folder);
}

static void put_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* users and acl: the files' texts, NULL for no such file. */
static struct authority *make(bool allow_anonymous, const char *users, const char *acl,
			      const struct authority_hooks *hooks)
{
	struct authority_settings settings = {
		.allow_anonymous = allow_anonymous,
		.password_file = users ? users_path : NULL,
		.acl_file = acl ? acl_path : NULL,
		.hooks = hooks,
	};
	struct err_detail detail = {0};
	struct authority *authority;

	if (users)
		put_file(users_path, users);
	if (acl)
		put_file(acl_path, acl);
	if (authority_create(&settings, &authority, &detail) != ERR_NONE)
		fail_msg("%s", detail.text);
	return authority;
}

static struct identity_request request_of(const char *user, const char *password)
{
	return (struct identity_request){
		.client_id = SLICE_LITERAL("c"),
		.has_username = user != NULL,
		.username = slice_from_string(user),
		.has_password = password != NULL,
		.password = slice_from_string(password),
		.address = "127.0.0.1:1",
		.protocol_version = 5,
	};
}

static void *run_check(void *check)
{
	password_check_run(check);
	return NULL;
}

/* Begins, and where a hash is needed lets another thread make it, as the broker does. */
static struct identity_answer identify(struct authority *authority, const char *user,
				       const char *password)
{
	struct identity_request request = request_of(user, password);
	struct identity_answer answer = authority_identify_begin(authority, &request);
	struct password_check *check = answer.check;
	pthread_t thread;

	if (answer.verdict != IDENTITY_NEEDS_HASH) {
		assert_null(check);
		return answer;
	}
	assert_non_null(check);
	assert_int_equal(pthread_create(&thread, NULL, run_check, check), 0);
	pthread_join(thread, NULL);
	answer = password_check_answer(check);
	assert_null(answer.check);
	password_check_destroy(&check);
	assert_null(check);
	return answer;
}

static void assert_allowed(struct authority *authority, const char *user, const char *password)
{
	struct identity_answer answer = identify(authority, user, password);

	if (answer.verdict != IDENTITY_ALLOWED)
		fail_msg("%s: %s", user ? user : "anonymous", answer.why);
	assert_int_equal(answer.reason_code, 0);
}

static void assert_denied(struct authority *authority, const char *user, const char *password,
			  uint8_t reason_code)
{
	struct identity_answer answer = identify(authority, user, password);

	assert_int_equal(answer.verdict, IDENTITY_DENIED);
	assert_int_equal(answer.reason_code, reason_code);
	assert_non_null(answer.why);
}

static void anonymous_broker_lets_everybody_in(void **unused)
{
	struct authority *authority = make(true, NULL, NULL, NULL);

	(void)unused;
	assert_allowed(authority, NULL, NULL);
	assert_allowed(authority, NULL, "lonely");
	assert_allowed(authority, "anybody", "anything");
	assert_allowed(authority, "anybody", NULL);
	authority_unref(&authority);
	assert_null(authority);
}

static void broker_without_users_and_anonymous_lets_nobody_in(void **unused)
{
	struct authority *authority = make(false, NULL, NULL, NULL);

	(void)unused;
	assert_denied(authority, NULL, NULL, 0x87);
	assert_denied(authority, NULL, "lonely", 0x87);
	assert_denied(authority, "anybody", "anything", 0x87);
	authority_unref(&authority);
}

static void password_file_decides_who_has_a_name(void **unused)
{
	(void)unused;
	for (int anonymous = 0; anonymous < 2; anonymous++) {
		struct authority *authority = make(anonymous, ALICE BOB, NULL, NULL);

		assert_allowed(authority, "alice", "secret");
		assert_allowed(authority, "bob", "hunter2");
		assert_denied(authority, "alice", "hunter2", 0x86);
		assert_denied(authority, "alice", "", 0x86);
		assert_denied(authority, "alice", NULL, 0x86);
		assert_denied(authority, "mallory", "secret", 0x86);
		assert_denied(authority, "mallory", NULL, 0x86);
		assert_denied(authority, "", "secret", 0x86);
		if (anonymous)
			assert_allowed(authority, NULL, NULL);
		else
			assert_denied(authority, NULL, NULL, 0x87);
		authority_unref(&authority);
	}
}

static void no_password_is_not_an_empty_one(void **unused)
{
	struct authority *authority;
	struct password_hash hash;
	char users[PASSWORD_TEXT_MAX + 16] = "empty:";

	(void)unused;
	assert_int_equal(password_hash_make(PASSWORD_SHA512, 0, SLICE_LITERAL(""), &hash, NULL),
			 ERR_NONE);
	password_hash_format(&hash, users + strlen(users));
	authority = make(false, users, NULL, NULL);
	assert_allowed(authority, "empty", "");
	assert_denied(authority, "empty", NULL, 0x86);
	authority_unref(&authority);
}

static void check_outlives_the_snapshot_and_the_callers_bytes(void **unused)
{
	struct authority *authority = make(false, ALICE, NULL, NULL);
	char user[] = "alice", password[] = "secret";
	struct identity_request request = request_of(user, password);
	struct identity_answer answer = authority_identify_begin(authority, &request);

	(void)unused;
	assert_int_equal(answer.verdict, IDENTITY_NEEDS_HASH);
	memset(user, 'x', sizeof user);
	memset(password, 'x', sizeof password);
	authority_unref(&authority);
	password_check_run(answer.check);
	assert_int_equal(password_check_answer(answer.check).verdict, IDENTITY_ALLOWED);
	password_check_destroy(&answer.check);
	/* One that is never run is freed as well: the client left meanwhile. */
	authority = make(false, ALICE, NULL, NULL);
	answer = authority_identify_begin(authority, &request);
	authority_unref(&authority);
	password_check_destroy(&answer.check);
}

static void each_snapshot_has_a_higher_generation(void **unused)
{
	struct authority *first = make(true, NULL, NULL, NULL);
	struct authority *second = make(true, NULL, NULL, NULL);
	struct authority *mine = authority_ref(first);

	(void)unused;
	assert_true(authority_generation(first) > 0);
	assert_true(authority_generation(second) > authority_generation(first));
	authority_unref(&first);
	assert_true(authority_generation(mine) < authority_generation(second));
	authority_unref(&mine);
	authority_unref(&second);
}

static void bad_file_makes_no_authority_and_is_named(void **unused)
{
	struct authority_settings settings = {.password_file = users_path, .acl_file = acl_path};
	struct authority *authority = (void *)(uintptr_t)1;
	struct err_detail detail = {0};

	(void)unused;
	put_file(users_path, ALICE "carl:opensesame\n");
	put_file(acl_path, "topic read a\n");
	assert_int_equal(authority_create(&settings, &authority, &detail), ERR_INVALID);
	assert_null(authority);
	assert_non_null(strstr(detail.text, users_path));
	assert_non_null(strstr(detail.text, ":2: "));
	put_file(users_path, ALICE);
	put_file(acl_path, "topic read a\n\ntopic read b/#/c\n");
	assert_int_equal(authority_create(&settings, &authority, &detail), ERR_INVALID);
	assert_null(authority);
	assert_non_null(strstr(detail.text, acl_path));
	assert_non_null(strstr(detail.text, ":3: "));
}

static bool admits(struct authority *before, struct authority *now, const char *user)
{
	return authority_still_admits(before, now, user != NULL, slice_from_string(user));
}

static void reload_keeps_clients_whose_line_is_the_same(void **unused)
{
	struct authority *before = make(true, ALICE BOB, NULL, NULL);
	struct authority *same = make(true, "# moved\n" BOB "\n" ALICE, NULL, NULL);
	struct authority *changed = make(false, ALICE_ANEW, NULL, NULL);

	(void)unused;
	assert_true(admits(before, same, "alice"));
	assert_true(admits(before, same, "bob"));
	assert_true(admits(before, same, NULL));
	assert_false(admits(before, changed, "alice")); /* another password */
	assert_false(admits(before, changed, "bob"));	/* gone */
	assert_false(admits(before, changed, NULL));	/* anonymous clients no more */
	authority_unref(&before);
	authority_unref(&same);
	authority_unref(&changed);
}

static void reload_that_adds_or_drops_the_password_file(void **unused)
{
	struct authority *open = make(true, NULL, NULL, NULL);
	struct authority *closed = make(false, NULL, NULL, NULL);
	struct authority *users = make(false, ALICE, NULL, NULL);

	(void)unused;
	assert_false(admits(open, users, "alice")); /* nobody ever saw a password of hers */
	assert_true(admits(users, open, "alice"));
	assert_false(admits(users, closed, "alice"));
	assert_true(admits(closed, open, NULL));
	authority_unref(&open);
	authority_unref(&closed);
	authority_unref(&users);
}

/* A plugin that answers at once, with what the test tells it. */
struct fake_plugin {
	enum identity_verdict verdict;
	uint8_t reason_code;
	bool admits;
	enum permission permission;
	unsigned calls, done_calls;
	char seen[64];
};

static void fake_check_password(void *context, const struct identity_request *request,
				identity_done_fn done, void *arg)
{
	struct fake_plugin *plugin = context;

	plugin->calls++;
	snprintf(plugin->seen, sizeof plugin->seen, "%.*s/%.*s/%s", (int)request->username.len,
		 (const char *)request->username.data, (int)request->password.len,
		 (const char *)request->password.data, request->address);
	done(arg, plugin->verdict, plugin->reason_code);
}

static bool fake_still_admits(void *context, bool has_username, struct slice username)
{
	struct fake_plugin *plugin = context;

	assert_true(has_username && slice_equal_string(username, "alice"));
	return plugin->admits;
}

static enum permission fake_check_permission(void *context,
					     const struct permission_request *request,
					     permission_done_fn done, void *arg)
{
	struct fake_plugin *plugin = context;

	(void)request;
	(void)done;
	(void)arg;
	plugin->calls++;
	return plugin->permission;
}

static void count_done(void *arg)
{
	((struct fake_plugin *)arg)->done_calls++;
}

static struct identity_answer ask(struct authority *authority, struct fake_plugin *plugin,
				  const char *user, const char *password)
{
	struct identity_request request = request_of(user, password);
	struct identity_answer answer = authority_identify_begin(authority, &request);
	struct password_check *check = answer.check;
	unsigned before = plugin->done_calls;

	assert_int_equal(answer.verdict, IDENTITY_NEEDS_HOOK);
	password_check_ask(check, count_done, plugin);
	assert_int_equal(plugin->done_calls, before + 1);
	answer = password_check_answer(check);
	if (answer.verdict == IDENTITY_NEEDS_HASH) {
		password_check_run(check);
		answer = password_check_answer(check);
	}
	password_check_destroy(&check);
	return answer;
}

static void hook_decides_before_the_password_file(void **unused)
{
	struct fake_plugin plugin = {.verdict = IDENTITY_ALLOWED};
	struct authority_hooks hooks = {.context = &plugin, .check_password = fake_check_password};
	struct authority *authority = make(false, ALICE, NULL, &hooks);

	(void)unused;
	assert_int_equal(ask(authority, &plugin, "eve", "pw").verdict, IDENTITY_ALLOWED);
	assert_string_equal(plugin.seen, "eve/pw/127.0.0.1:1");
	assert_int_equal(ask(authority, &plugin, NULL, NULL).verdict, IDENTITY_ALLOWED);
	plugin.verdict = IDENTITY_DENIED;
	assert_int_equal(ask(authority, &plugin, "alice", "secret").reason_code, 0x87);
	plugin.reason_code = 0x8a;
	assert_int_equal(ask(authority, &plugin, "alice", "secret").reason_code, 0x8a);
	assert_int_equal(plugin.calls, 4);
	authority_unref(&authority);
}

static void hook_that_defers_leaves_it_to_the_password_file(void **unused)
{
	struct fake_plugin plugin = {.verdict = IDENTITY_DEFERRED};
	struct authority_hooks hooks = {.context = &plugin, .check_password = fake_check_password};
	struct authority *authority = make(false, ALICE, NULL, &hooks);

	(void)unused;
	assert_int_equal(ask(authority, &plugin, "alice", "secret").verdict, IDENTITY_ALLOWED);
	assert_int_equal(ask(authority, &plugin, "alice", "wrong").reason_code, 0x86);
	assert_int_equal(ask(authority, &plugin, NULL, NULL).reason_code, 0x87);
	authority_unref(&authority);
}

static void hook_says_who_stays_after_a_reload(void **unused)
{
	struct fake_plugin plugin = {.admits = true};
	struct authority_hooks hooks = {.context = &plugin, .still_admits = fake_still_admits};
	struct authority_hooks silent = {.context = &plugin, .check_password = fake_check_password};
	struct authority *before = make(false, NULL, NULL, &hooks);
	struct authority *now = make(false, BOB, NULL, &hooks);
	struct authority *quiet = make(false, BOB, NULL, &silent);

	(void)unused;
	assert_true(admits(before, now, "alice"));
	plugin.admits = false;
	assert_false(admits(before, now, "alice"));
	assert_true(admits(before, quiet, "alice"));
	authority_unref(&before);
	authority_unref(&now);
	authority_unref(&quiet);
}

static enum permission check(struct authority *authority, const struct acl_view *view,
			     enum permission_act act, const char *topic)
{
	struct permission_request request = {.act = act,
					     .subject = {.client_id = SLICE_LITERAL("c")},
					     .topic = slice_from_string(topic)};

	return authority_check(authority, view, &request, NULL, NULL);
}

static void acts_are_judged_by_the_acl_file(void **unused)
{
	struct authority *authority = make(true, NULL, "topic read in/#\ntopic write out\n", NULL);
	struct acl_subject subject = {.client_id = SLICE_LITERAL("c")};
	struct acl_view *view;

	(void)unused;
	assert_int_equal(acl_view_create(authority_acl(authority), &subject, &view), ERR_NONE);
	assert_int_equal(check(authority, view, PERMISSION_DELIVER, "in/a"), PERMISSION_ALLOWED);
	assert_int_equal(check(authority, view, PERMISSION_PUBLISH, "in/a"), PERMISSION_DENIED);
	assert_int_equal(check(authority, view, PERMISSION_PUBLISH, "out"), PERMISSION_ALLOWED);
	assert_int_equal(check(authority, view, PERMISSION_DELIVER, "out"), PERMISSION_DENIED);
	assert_int_equal(check(authority, view, PERMISSION_SUBSCRIBE, "in/+"), PERMISSION_ALLOWED);
	assert_int_equal(check(authority, view, PERMISSION_SUBSCRIBE, "#"), PERMISSION_ALLOWED);
	assert_int_equal(check(authority, view, PERMISSION_SUBSCRIBE, "out"), PERMISSION_DENIED);
	acl_view_destroy(&view);
	authority_unref(&authority);
}

static void permission_hook_is_asked_first(void **unused)
{
	struct fake_plugin plugin = {.permission = PERMISSION_DENIED};
	struct authority_hooks hooks = {.context = &plugin,
					.check_permission = fake_check_permission};
	struct authority *authority = make(true, NULL, NULL, &hooks);

	(void)unused;
	assert_int_equal(check(authority, NULL, PERMISSION_PUBLISH, "a"), PERMISSION_DENIED);
	plugin.permission = PERMISSION_DEFER;
	assert_int_equal(check(authority, NULL, PERMISSION_PUBLISH, "a"), PERMISSION_ALLOWED);
	plugin.permission = PERMISSION_ALLOWED;
	assert_int_equal(check(authority, NULL, PERMISSION_DELIVER, "a"), PERMISSION_ALLOWED);
	/* Nobody could be called back. */
	plugin.permission = PERMISSION_PENDING;
	assert_int_equal(check(authority, NULL, PERMISSION_DELIVER, "a"), PERMISSION_DENIED);
	assert_int_equal(plugin.calls, 4);
	authority_unref(&authority);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous_broker_lets_everybody_in),
		cmocka_unit_test(broker_without_users_and_anonymous_lets_nobody_in),
		cmocka_unit_test(password_file_decides_who_has_a_name),
		cmocka_unit_test(no_password_is_not_an_empty_one),
		cmocka_unit_test(check_outlives_the_snapshot_and_the_callers_bytes),
		cmocka_unit_test(each_snapshot_has_a_higher_generation),
		cmocka_unit_test(bad_file_makes_no_authority_and_is_named),
		cmocka_unit_test(reload_keeps_clients_whose_line_is_the_same),
		cmocka_unit_test(reload_that_adds_or_drops_the_password_file),
		cmocka_unit_test(hook_decides_before_the_password_file),
		cmocka_unit_test(hook_that_defers_leaves_it_to_the_password_file),
		cmocka_unit_test(hook_says_who_stays_after_a_reload),
		cmocka_unit_test(acts_are_judged_by_the_acl_file),
		cmocka_unit_test(permission_hook_is_asked_first),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
