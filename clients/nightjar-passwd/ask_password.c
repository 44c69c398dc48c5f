/* SPDX-License-Identifier: Apache-2.0 */
#include "ask_password.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/* What the signal handler needs; written before the handler is installed. */
static struct termios terminal_before;

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
#define ENDING_SIGNALS (sizeof ending_signals / sizeof ending_signals[0])

/* A password must not stay invisible in the shell that comes back. */
static void on_ending_signal(int number)
{
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal_before);
	signal(number, SIG_DFL);
	raise(number);
}

static enum err echo_off(struct err_detail *detail)
{
	struct termios quiet;

	if (tcgetattr(STDIN_FILENO, &terminal_before) != 0)
		return err_set(detail, ERR_IO, "cannot read the terminal's settings: %s",
			       strerror(errno));
	for (size_t i = 0; i < ENDING_SIGNALS; i++)
		signal(ending_signals[i], on_ending_signal);
	quiet = terminal_before;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	quiet.c_lflag |= ECHONL; /* the line break that ends the password is seen */
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) != 0)
		return err_set(detail, ERR_IO, "cannot turn the terminal's echo off: %s",
			       strerror(errno));
	return ERR_NONE;
}

static void echo_on(void)
{
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal_before);
	for (size_t i = 0; i < ENDING_SIGNALS; i++)
		signal(ending_signals[i], SIG_DFL);
}

/* Byte by byte past the C library's buffers, which would keep a copy of the password. */
static enum err read_line(char room[PASSWORD_ROOM], size_t *out_len, struct err_detail *detail)
{
	size_t len = 0;
	ssize_t got;

	while (len < PASSWORD_ROOM - 1) {
		got = read(STDIN_FILENO, &room[len], 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(detail, ERR_IO, "cannot read the password: %s",
				       strerror(errno));
		if (got == 0 || room[len] == '\n')
			break;
		len++;
	}
	if (len > 0 && room[len - 1] == '\r')
		len--;
	room[len] = '\0';
	*out_len = len;
	return ERR_NONE;
}

static enum err prompt(const char *text, char room[PASSWORD_ROOM], size_t *out_len,
		       struct err_detail *detail)
{
	fputs(text, stderr);
	fflush(stderr);
	return read_line(room, out_len, detail);
}

static enum err ask_twice(char room[PASSWORD_ROOM], size_t *out_len, struct err_detail *detail)
{
	char *again = malloc(PASSWORD_ROOM);
	size_t again_len = 0;
	enum err err;

	if (!again)
		return err_set(detail, ERR_NOMEM, "out of memory");
	err = prompt("Password: ", room, out_len, detail);
	if (!err)
		err = prompt("Reenter password: ", again, &again_len, detail);
	if (!err && (again_len != *out_len || memcmp(room, again, again_len) != 0))
		err = err_set(detail, ERR_INVALID, "the two passwords are not the same");
	OPENSSL_cleanse(again, PASSWORD_ROOM);
	free(again);
	return err;
}

enum err ask_password(char room[PASSWORD_ROOM], struct slice *out, struct err_detail *detail)
{
	size_t len = 0;
	enum err err;

	if (isatty(STDIN_FILENO)) {
		err = echo_off(detail);
		if (!err)
			err = ask_twice(room, &len, detail);
		echo_on();
	} else {
		err = read_line(room, &len, detail);
	}
	*out = slice_of(room, len);
	return err;
}
