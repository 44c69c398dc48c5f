/* SPDX-License-Identifier: Apache-2.0 */
#include "server/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static const struct passwd *find_user(const struct config *config)
{
	const struct passwd *found;

	if (config->user)
		return getpwnam(config->user);
	found = getpwnam("nightjar");
	return found ? found : getpwnam("nobody");
}

/* The log is opened again by the user after SIGHUP. A device (/dev/null) stays whose it is. */
static void give_file(const char *path, const struct passwd *user)
{
	struct stat info;

	if (!path || (stat(path, &info) == 0 && (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode))))
		return;
	if (chown(path, user->pw_uid, user->pw_gid) != 0)
		log_event(LOG_TYPE_WARNING, NULL, "Cannot give %s to the user %s: %s.", path,
			  user->pw_name, strerror(errno));
}

/* mkdir -p of the folder that the file is in. What it makes is the user's, who has to open files
 * there anew. */
static enum err make_folder_of(const char *file, const struct passwd *user,
			       struct err_detail *detail)
{
	const char *end = strrchr(file, '/');
	enum err err = ERR_NONE;
	char *folder;

	/* A bare name lies in the working directory, and "/name" in the root: both are there. */
	if (!end || end == file)
		return ERR_NONE;
	folder = strndup(file, (size_t)(end - file));
	if (!folder)
		return err_set(detail, ERR_NOMEM, "No memory.");
	for (char *slash = folder + 1; err == ERR_NONE; slash++) {
		if (*slash != '/' && *slash != '\0')
			continue;
		char was = *slash;

		*slash = '\0';
		if (mkdir(folder, 0750) == 0) {
			if (user)
				give_file(folder, user);
		} else if (errno != EEXIST) {
			err = err_set(
				detail, ERR_IO,
				"Cannot make the folder %s for %s: %s. Make it, or name another "
				"file in the configuration.",
				folder, file, strerror(errno));
		}
		*slash = was;
		if (was == '\0')
			break;
	}
	free(folder);
	return err;
}

static enum err make_store_folder(const char *folder, const struct passwd *user,
				  struct err_detail *detail)
{
	char path[4096];
	int len = snprintf(path, sizeof path, "%s/store", folder);

	if (len < 0 || (size_t)len >= sizeof path)
		return err_set(detail, ERR_INVALID, "The persistence_location is too long.");
	return make_folder_of(path, user, detail);
}

enum err privileges_make_folders(const struct config *config, struct err_detail *detail)
{
	const struct passwd *user = geteuid() == 0 ? find_user(config) : NULL;
	enum err err = ERR_NONE;

	if (config->log_file)
		err = make_folder_of(config->log_file, user, detail);
	if (err == ERR_NONE && config->pid_file)
		err = make_folder_of(config->pid_file, user, detail);
	if (err == ERR_NONE && config->control_socket)
		err = make_folder_of(config->control_socket, user, detail);
	if (err == ERR_NONE && config->persistence && config->persistence_location)
		err = make_store_folder(config->persistence_location, user, detail);
	return err;
}

static void warn_unreadable(const char *what, const char *path)
{
	if (path && access(path, R_OK) != 0)
		log_event(
			LOG_TYPE_WARNING, NULL,
			"The %s %s cannot be read any more by the user that the broker runs as (%s): a "
			"reload will fail. Make it readable for that user.",
			what, path, strerror(errno));
}

/* A key that several listeners have is named once. */
static bool is_named_before(const struct config *config, size_t listener)
{
	const char *keyfile = config->listeners[listener].tls.keyfile;

	for (size_t i = 0; keyfile && i < listener; i++) {
		const char *other = config->listeners[i].tls.keyfile;

		if (other && strcmp(other, keyfile) == 0)
			return true;
	}
	return false;
}

static void warn_about_files(const struct config *config)
{
	warn_unreadable("configuration file", config->path);
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_access *access = &config->listeners[i].access;

		const struct config_tls *tls = &config->listeners[i].tls;

		if (!is_named_before(config, i)) {
			warn_unreadable("keyfile", tls->keyfile);
			warn_unreadable("certfile", tls->certfile);
		}
		for (size_t j = 0; j < tls->sni_count; j++)
			warn_unreadable("key of an sni_certificate", tls->sni[j].keyfile);
		if (i > 0 && !config->per_listener_settings)
			continue;
		warn_unreadable("psk_file", tls->psk_hint ? access->psk_file : NULL);
		warn_unreadable("password_file", access->password_file);
		warn_unreadable("acl_file", access->acl_file);
	}
}

enum err privileges_drop(const struct config *config, struct err_detail *detail)
{
	const struct passwd *user;

	if (geteuid() != 0)
		return ERR_NONE;
	user = find_user(config);
	if (!user && !config->user)
		return err_set(
			detail, ERR_NOT_FOUND,
			"There is neither a user nightjar nor nobody to run as. Make one, or set "
			"'user' in the configuration.");
	if (!user)
		return err_set(
			detail, ERR_NOT_FOUND,
			"The user '%s' to run as does not exist. Make it (adduser --system %s), "
			"or set 'user' to another one.",
			config->user, config->user);
	if (user->pw_uid == 0) {
		log_event(
			LOG_TYPE_WARNING, NULL,
			"The broker runs as root, as 'user root' asks. It needs no rights of root.");
		return ERR_NONE;
	}
	give_file(config->log_file, user);
	give_file(config->pid_file, user);
	give_file(config->control_socket, user);
	if (initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
	    setuid(user->pw_uid) != 0)
		return err_set(detail, ERR_DENIED, "Cannot become the user %s: %s.", user->pw_name,
			       strerror(errno));
	if (config->path)
		warn_about_files(config);
	return ERR_NONE;
}
