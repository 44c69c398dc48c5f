/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl_file.h - who may publish and read what, from mosquitto's acl_file.
 *
 *   topic [read|write|readwrite|deny] TOPIC     for the user above; before any `user`: for
 *                                               clients without a user name
 *   user NAME                                   the topics that follow are for NAME only
 *   pattern [read|write|readwrite|deny] TOPIC   for everybody, %c = client id, %u = user name
 *   # comment
 *
 * A topic is decided as in mosquitto 2.0: (1) a `topic deny` of the user that matches refuses;
 * (2) a `topic` of the user that grants the access allows; (3) a `pattern deny` that matches
 * refuses; (4) a `pattern` that grants the access allows; (5) else refused. A wildcard in the first
 * level does not match topics that begin with '$'. A pattern with %u does not concern clients
 * without a user name.
 *
 * A client id or user name that contains '+' or '#' would become a wildcard inside a pattern, so
 * such a client gets nothing from (4): only its user's `topic` lines count (as mosquitto 2.0).
 * Two things go further than mosquitto, for patterns that grant; those that deny stay. A pattern
 * with %c is left out for a client whose id holds a '/', which would reach into other levels. A
 * pattern is left out where an id or name would put a '$' at its start, and so open the $-topics.
 * What is left out is logged when the view is made.
 *
 * Topics are the broker's: with the listener's mount_point in front, and without "$share/GROUP/".
 */
#ifndef NIGHTJAR_AUTH_ACL_FILE_H
#define NIGHTJAR_AUTH_ACL_FILE_H

#include "base/err.h"
#include "base/slice.h"

struct acl_file; /* Frozen after load, reference counted, read by any thread without a lock. */
struct acl_view; /* Owner: the connection's worker. The rules of one client, ready to check. */

struct acl_subject {
	struct slice client_id;
	bool has_username;
	struct slice username; /* ignored without has_username */
};

/* May every topic, some topics, or no topic that a filter can match be read? */
enum acl_scope {
	ACL_SCOPE_ALL,	/* proven: deliveries need no check */
	ACL_SCOPE_PART, /* grant it, check each delivery */
	ACL_SCOPE_NONE, /* proven: the SUBACK refuses */
};

/* Reads a file: never on a worker. ERR_IO, ERR_INVALID with FILE:LINE, ERR_NOMEM. */
enum err acl_file_load(const char *path, struct acl_file **out,
		       struct err_detail *detail) ERR_CHECKED;

/* The same for a text in memory; name stands for the path in messages. */
enum err acl_file_parse(struct slice text, const char *name, struct acl_file **out,
			struct err_detail *detail) ERR_CHECKED;

struct acl_file *acl_file_ref(struct acl_file *acl);
void acl_file_unref(struct acl_file **acl);

/*
 * Binds a client to the rules, once per connection and again after a reload. The view holds a
 * reference to acl and copies what it needs of the subject. The rules of a user are shared by all
 * of its connections; a view itself is as large as the patterns with %c or %u in the file.
 *
 * acl may be NULL (no acl_file): *out is then NULL, and a NULL view allows everything and costs
 * nothing. ERR_NOMEM: refuse the client.
 */
enum err acl_view_create(struct acl_file *acl, const struct acl_subject *subject,
			 struct acl_view **out) ERR_CHECKED;
void acl_view_destroy(struct acl_view **view);

/* Exact checks of a Topic Name, without a system call, lock or allocation. */
bool acl_view_may_publish(const struct acl_view *view, struct slice topic);
bool acl_view_may_read(const struct acl_view *view, struct slice topic);

/* Conservative: when in doubt ACL_SCOPE_PART. For a subscription that is made or rights that changed. */
enum acl_scope acl_view_read_scope(const struct acl_view *view, struct slice filter);

#endif
