/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bug.h - what to do when we are wrong ourselves.
 *
 * BUG_ON(cond) stops the process, in release builds too: a broker whose invariants do not hold
 * must not go on acknowledging messages. It is never used for what a peer or the outside does.
 */
#ifndef NIGHTJAR_BASE_BUG_H
#define NIGHTJAR_BASE_BUG_H

_Noreturn void bug_stop(const char *file, int line, const char *condition);

#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			bug_stop(__FILE__, __LINE__, #cond);                                       \
	} while (0)

/* Checks that cost too much for the release build: threads, audits. */
#ifdef NIGHTJAR_DEBUG
#define DEBUG_BUG_ON(cond) BUG_ON(cond)
#else
#define DEBUG_BUG_ON(cond) ((void)0)
#endif

#endif
