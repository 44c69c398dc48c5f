/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask_password.h - a password from a person or from a pipe.
 */
#ifndef NIGHTJAR_PASSWD_ASK_PASSWORD_H
#define NIGHTJAR_PASSWD_ASK_PASSWORD_H

#include "base/err.h"
#include "base/slice.h"

/* Room for the longest password of a CONNECT, one byte more to notice a longer one, and a zero. */
#define PASSWORD_ROOM (65535 + 2)

/*
 * When standard input is a terminal: asks twice on standard error, without echo; the two must be
 * equal. Otherwise reads the first line of standard input. *out points into room, which the caller
 * wipes, whatever the result. The echo is back on return and when a signal ends the program.
 */
enum err ask_password(char room[PASSWORD_ROOM], struct slice *out,
		      struct err_detail *detail) ERR_CHECKED;

#endif
