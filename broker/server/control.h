/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the control socket: an administrator looks inside, and acts (nightjar-ctl).
 *
 * A Unix socket on the main thread's loop. Its file has mode 0600 and belongs to the broker's user,
 * and who connects is asked for by SO_PEERCRED as well: that user and root may, nobody else.
 *
 *	request:  one JSON object, one line            {"version":1,"command":"client","id":"a"}
 *	answer:   any number of records, one a line    {"type":"client","id":"a","online":true,...}
 *	          and the end                          {"type":"end","version":1,"records":3}
 *	          or                                   {"type":"error","code":"not_found","message":"..."}
 *
 * A connection may send one request after another. What the workers know is fetched in slices by
 * letters (control_job.h), and the next slice only when the peer takes what it has been sent; so
 * neither a long listing nor a slow reader stalls a worker or takes memory without a bound.
 *
 * Owner: the main thread.
 */
#ifndef NIGHTJAR_SERVER_CONTROL_H
#define NIGHTJAR_SERVER_CONTROL_H

#include "base/err.h"

struct broker;
struct control;

/* Makes the socket; before the rights of root are dropped. Nobody is accepted yet. */
enum err control_open(struct broker *broker, const char *path, struct control **out,
		      struct err_detail *detail) ERR_CHECKED;
/* The workers run. */
void control_start(struct control *control);
/* broker->reloads_logged has risen. */
void control_on_reload(struct control *control);
/* The broker is stopping, its workers run still. All handles close; may be called twice. */
void control_stop(struct control *control);
/* After the workers ended. Removes the socket's file. */
void control_destroy(struct control **control);

#endif
